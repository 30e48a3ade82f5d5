"""Every function of ours whose name may stand in a payload.

Only a shared name (`weakreduce.share`) and ``Policy(identity="home")`` need one: all else is
written with the standard library alone. Old payloads call these, so names stay and arguments added
later have defaults.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

from weakreduce.model import homes, sharing
from weakreduce.model.errors import DanglingWarning
from weakreduce.model.kinds import Holding


def shared(name: str, is_callable: bool = True) -> Any:
    """What this process shares under `name`; with a warning, a throw-away object if nothing.

    The throw-away dies with the load, which leaves the weak thing on it dead, as it should be.
    """
    found = sharing.lookup(name)
    if found is not None:
        return found
    warnings.warn(
        f"nothing is shared as {name!r} in this process, so the weak reference to it arrived dead; "
        f"call weakreduce.share({name!r}, obj) here before loading",
        DanglingWarning,
        stacklevel=2,
    )
    return functools.partial(int) if is_callable else set()


def at_home(copy: object, *of: Any) -> Any:
    """The object that a copy was made of, where it lives in this process; else the copy.

    `of` are the object's homes: the id of a process and a serial number, one after the other.
    """
    found = homes.original(of)
    if found is not None:
        return found
    homes.remember(copy, of)
    return copy


def is_away(found: object, *of: Any) -> bool:
    """Whether what `at_home` found is the copy, which nothing else may keep alive."""
    return homes.original(of) is not found


def holding(function: object, callback: object = None) -> Any:
    """A callback of a WeakMethod that keeps its function alive, and calls `callback`, if any."""
    return Holding(function, callback)
