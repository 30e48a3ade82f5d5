"""Whether a snapshot would be larger than the policy allows."""

from __future__ import annotations

from weakreduce.core import observe
from weakreduce.core.engine import Engine
from weakreduce.core.sink import Limit, TooLarge
from weakreduce.model.in_force import policy as block
from weakreduce.model.policies import Policy


def is_too_large(engine: Engine, policy: Policy, referent: object) -> bool:
    """Whether a referent's own pickle is larger than a policy's `max_snapshot_bytes`."""
    limit = policy.max_snapshot_bytes
    assert limit is not None
    try:
        with block(policy, max_snapshot_bytes=None), observe.watching(False):
            engine.sibling_dump(referent, Limit(limit))
    except TooLarge:
        return True
    except MemoryError as error:
        # It says nothing of the referent; and if it struck while a `TooLarge` was on its way, who
        # looks for signals of the dump around this one is not to find that.
        error.__context__ = None
        raise
    except Exception:  # noqa: BLE001 - if it travels, the walk itself fails, and says why
        return False
    return False
