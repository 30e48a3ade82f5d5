"""What an engine made of a function under each policy, for engines that pickle a function once.

Ray exports a remote function, and Spark a UDF, at its first use. Where it held a weak thing, its
use under another policy has to make it anew. Which engine, and how, is not known here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Final, final

from weakreduce.model.in_force import get_policy
from weakreduce.model.locks import new_lock
from weakreduce.model.policies import Policy

#: So many are kept for one function. Policies made anew for every call may not pile up.
KEPT: Final = 16


@final
class Made:
    """What was made of one function; empty where it held no weak thing."""

    __slots__ = ("lock", "things", "used")

    def __init__(self) -> None:
        self.lock = new_lock()
        #: Whether the function was made at all.
        self.used = False
        self.things: list[tuple[Policy, object]] = []

    def under_the_policy(self, make: Callable[[], object]) -> object:
        """What was made under the policy in force, made now if need be."""
        policy = get_policy()
        with self.lock:
            for known, thing in self.things:
                if known == policy:
                    return thing
            return self.note(policy, make())

    def note(self, policy: Policy, thing: object) -> object:
        """Remember what was made under a policy."""
        del self.things[: max(0, len(self.things) - KEPT + 1)]
        self.things.append((policy, thing))
        return thing


@final
class PerPolicy:
    """`Made` of each function, for as long as the function lives; nothing is kept in it.

    The functions themselves are pickled, too, and may know nothing of ours.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._made: weakref.WeakKeyDictionary[object, Made] = weakref.WeakKeyDictionary()

    def of(self, function: object) -> Made:
        """What was made of a function."""
        made = self._made.get(function)
        if made is None:
            with self._lock:
                made = self._made.setdefault(function, Made())
        return made
