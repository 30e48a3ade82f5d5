"""Measure: how many bytes a snapshot's referent takes by itself, and all snapshots together.

A finished session's pickler is borrowed and run again, on one referent or on the root with the
snapshots left out; then everything is put back. What the user's code was asked once is
remembered (`Known.again`), so it is not run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from weakreduce.core.session import Session

#: No more distinct referents than this are measured, the ones met first.
MOST: Final = 20_000
#: Bytes that may be written to measure a payload: so many times its own size, and so many more.
_TIMES, _MORE = 4, 1 << 24
#: The C pickler hands its bytes over in pieces of this size.
_PIECE = 1 << 16


class Scale:
    """Weighs objects with the pickler of a session whose payload is finished."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._payload: Any = session.place.keep()
        self._memo = session.engine.memo()
        self.budget = _TIMES * session.place.size() + _MORE

    def weigh(self, obj: Any, limit: float | None = None, *, snapshots: bool = True) -> int | None:
        """Bytes of the pickle of `obj`; None where that is larger than `limit`, or fails."""
        try:
            return self.session.weigh(obj, limit, with_snapshots=snapshots)
        finally:
            self.budget -= self.session.place.size() + (_PIECE if limit is None else 0)

    def put_back(self) -> None:
        """Leave the session as it was found."""
        session = self.session
        session.place.put_back(self._payload)
        session.engine.reset(self._memo)

    def sizes(self, referents: list[Any], tick: Callable[[], None]) -> dict[int, int]:
        """Id -> bytes of the own pickle of each referent, as far as the budget goes.

        Where 100,000 snapshots drag in the same megabyte, weighing each would take 100,000
        times as long as the dump did. So all are weighed up to a limit first, which takes
        time in proportion to the payload, and then those that are larger, until the budget is
        spent.
        """
        found: dict[int, int] = {}
        large: list[Any] = []
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
