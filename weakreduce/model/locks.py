"""Locks that a forked child finds free, whoever held them in the parent.

A fork copies the locks as they are, and none of the other threads that would let go of them.
"""

from __future__ import annotations

import os
from _thread import RLock  # `threading` imports half of the library
from weakref import WeakSet

_made: WeakSet[RLock] = WeakSet()


def new_lock() -> RLock:
    """A lock, reentrant: the collector may run code of ours while we hold it."""
    lock = RLock()
    _made.add(lock)
    return lock


def _free() -> None:
    for lock in _made:
        # One that the forking thread holds itself is let go of where it was taken.
        if not lock._is_owned():  # type: ignore[attr-defined]
            lock._at_fork_reinit()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not fork
    os.register_at_fork(after_in_child=_free)
