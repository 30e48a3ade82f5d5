"""What is written before all else: referents whose hash needs more of them than can come early.

A reference may be a key, and is hashed where it is met. Where that would be before its referent is
complete, the payload could not be loaded, or the key would be under a wrong hash for good. So such
a reference is written first, and its referent after it, as if the root began with that.
Containers are not among these: they wait with their entries by themselves.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, Final, final

from weakreduce.core.expressions import Reduction, Rest
from weakreduce.core.facts import Facts
from weakreduce.core.hashing import Attributes, hashes_by
from weakreduce.model.kinds import Edge

#: How often a walk is run again for that. Each may find what only the one before it has let come
#: too early, and what is left then is hashed as far as it is known.
_SEARCHES: Final = 50


@final
class Foremost:
    """What one walk finds of that, and what was found by those before it."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        #: By the referent's id, edges in the order of meeting.
        self._found: dict[int, Edge] = {}
        self._asked: set[int] = set()

    def note(self, edge: Edge, early: Attributes) -> None:
        """Look at a weak thing that is made on a shell with some attributes."""
        facts, identity = self._facts, id(edge.referent)
        if not issubclass(type(edge.weak), weakref.ref) or identity in self._asked:
            return
        self._asked.add(identity)
        if facts.searches == _SEARCHES or identity in facts.foremost:
            return
        if not hashes_by(edge.referent, early):
            self._found[identity] = edge

    def remember(self) -> bool:
        """Let the next walk know; True where there is anything new for it."""
        if not self._found:
            return False
        # What was found last may be needed by what was found before it.
        self._facts.foremost = dict(reversed(self._found.items())) | self._facts.foremost
        self._facts.searches += 1
        return True

    def items(self, travels: Callable[[object], bool]) -> list[Any]:
        """What to write before the root, given what says whether a referent travels by then."""
        items: list[Any] = []
        for edge in self._facts.foremost.values():
            items += [edge.weak, Rest(functools.partial(_finished, edge.referent, travels))]
        return items


def _finished(referent: object, travels: Callable[[object], bool]) -> Reduction:
    return (max, ((referent,),)) if travels(referent) else (list, ())
