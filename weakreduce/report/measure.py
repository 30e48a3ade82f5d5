"""Measure: how many bytes a snapshot's referent takes by itself, and all snapshots together.

The pickler of a dump that has ended is borrowed and run again (`Dump.weigh`), on one referent or on
the root with the snapshots left out; then everything is put back. What the user's code was asked
once is remembered, so it is not run again. How much may be written for it all stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from weakreduce.core.watches import Dump

#: No more distinct referents than this are measured, the ones met first.
MOST: Final = 20_000
#: Bytes that may be written to measure a payload: so many times its own size, and so many more.
_TIMES, _MORE = 4, 1 << 24
#: The C pickler hands its bytes over in pieces of this size.
_PIECE: Final = 1 << 16


@final
class Scale:
    """Weighs objects with the pickler of a dump, which is left as it was found: a block."""

    def __init__(self, dump: Dump) -> None:
        self.dump = dump
        self._payload = dump.payload()
        self.budget = _TIMES * dump.size() + _MORE

    def __enter__(self) -> Scale:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.dump.put_back(self._payload)

    def weigh(
        self, obj: object, limit: float | None = None, *, with_snapshots: bool = True
    ) -> int | None:
        """Bytes of the pickle of `obj`; None where that is larger than `limit`, or fails."""
        try:
            return self.dump.weigh(obj, limit, with_snapshots=with_snapshots)
        finally:
            self.budget -= self.dump.size() + (_PIECE if limit is None else 0)

    def sizes(self, referents: list[object], tick: Callable[[], None]) -> dict[int, int]:
        """Id -> bytes of the own pickle of each referent, as far as the budget goes.

        Where 100,000 snapshots drag in the same megabyte, weighing each would take 100,000
        times as long as the dump did. So all are weighed up to a limit first, which takes
        time in proportion to the payload, and then those that are larger, until the budget is
        spent.
        """
        found: dict[int, int] = {}
        large: list[object] = []
        reserve = self.budget // 2
        limit = max(_PIECE, reserve // max(1, len(referents)))
        for position, referent in enumerate(referents[:MOST]):
            if self.budget < reserve:
                large += referents[position:MOST]
                break
            size = self.weigh(referent, limit)
            tick()
            if size is None:
                large.append(referent)
            else:
                found[id(referent)] = size
        for referent in large:
            if self.budget < 0:
                break
            size = self.weigh(referent)
            tick()
            if size is not None:
                found[id(referent)] = size
        return found
