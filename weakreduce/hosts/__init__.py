"""The hosts: how each Pickler class is driven, and readied to write weak things.

`patch.py` puts ours in place, `picklers.py` drives a pickler; what one host needs besides is in a
file of its own, with a ``make_patch(module)`` that a row of `weakreduce.registry` names. `own.py`
are the dumps that need no host to be readied. Nothing here knows an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weakreduce.registry import HOSTS as HOSTS


def __getattr__(name: str) -> Any:
    # For `report/trace.py`, until it asks no more.
    if name != "HOSTS":
        raise AttributeError(name)
    import weakreduce.registry

    return weakreduce.registry.HOSTS
