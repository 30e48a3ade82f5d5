"""How many dumps of this thread met a weak thing: how an engine's file learns that one did.

Nothing else lives here: it is imported with weakreduce, and has to be light.
"""

from __future__ import annotations

import threading


class _Seen(threading.local):
    """Counts for one thread, so that dumps in other threads do not mingle."""

    def __init__(self) -> None:
        self.dumps = 0


seen = _Seen()


class Since:
    """A moment, the one when it is made; to be asked in the same thread."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before = seen.dumps

    @property
    def met_weak(self) -> bool:
        """Whether a dump of this thread has met a weak thing since."""
        return seen.dumps != self._before
