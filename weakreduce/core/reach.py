"""What is strongly reached from the root: the `Reach` of a dump, which grows, and then is complete.

While a pickler writes for the first time, its walk notes each object that it meets. What was not
met by then may be met later, so the reach cannot say that anything is outside. When the strong
walk has come to its end, all that was not met is outside. (Strong edges of weak
things count where the referent is inside, see `FirstWalk.rest`.)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any


class Reach:
    """What was met strongly, by id, in that order.

    Args:
        met: where a walk notes what it meets.
        written_before: ids of what earlier dumps of the same pickler wrote: they share its memo.
    """

    def __init__(self, met: dict[int, Any], written_before: Iterable[int] = ()) -> None:
        self.met = met
        self.complete = False
        #: Whether `met` is in the order in which a strong walk comes to its objects.
        self.in_order = True
        self._positions = dict.fromkeys(written_before, -1)

    def holds(self, obj: object) -> bool | None:
        """Whether an object is inside; None where it may still be met."""
        return True if id(obj) in self.met else (False if self.complete else None)

    def position(self, obj: object) -> float:
        """Where in that order an object is, or infinity; found out when it is first asked for."""
        return self.positions().get(id(obj), float("inf"))

    def positions(self) -> dict[int, int]:
        """By id, where in that order each object is that was met."""
        positions = self._positions
        if len(positions) < len(self.met):
            # Those that were met since: `met` only grows.
            new = itertools.islice(self.met, len(positions), None)
            positions.update(zip(new, itertools.count(len(positions)), strict=False))
        return positions

    def extend(self, met: dict[int, Any], *, complete: bool) -> None:
        """Add what was found in another way than by a strong walk, and so in no order."""
        self.met.update(met)
        self.complete = complete
        self.in_order = False
