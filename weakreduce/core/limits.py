"""Whether a snapshot would be larger than the policy allows."""

from __future__ import annotations

from weakreduce.core import watchers
from weakreduce.core.adapter import Adapter
from weakreduce.core.sink import Limit, TooLarge
from weakreduce.model.in_force import policy as block
from weakreduce.model.policies import Policy
from weakreduce.model.scarce import is_too_deep


def excess(adapter: Adapter, policy: Policy, referent: object) -> str | None:
    """Why a referent's own pickle is not known to be within a policy's `max_snapshot_bytes`."""
    limit = policy.max_snapshot_bytes
    assert limit is not None
    try:
        with block(policy, max_snapshot_bytes=None), watchers.watching(False):
            adapter.sibling_dump(referent, Limit(limit))
    except TooLarge:
        return f"its own pickle is larger than max_snapshot_bytes={limit}"
    except MemoryError as error:
        # It says nothing of the referent; and if it struck while a `TooLarge` was on its way, who
        # looks for signals of the dump around this one is not to find that.
        error.__context__ = None
        raise
    except Exception as error:  # noqa: BLE001 - if it travels, the walk itself fails, and says why
        # But here the recursion may have fewer frames than in the walk.
        if is_too_deep(error):
            return f"it is too deep to be measured for max_snapshot_bytes={limit}"
    return None
