"""A list in the payload whose items become known while it is being written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol, final

from weakreduce.core.engine import Engine
from weakreduce.core.expressions import Reduction, Rest, Stream

MISSING: Final[Any] = object()


class Source(Protocol):
    """A walk, which forgets its engine when it ends: so a memo that holds a `Drain` does not."""

    engine: Engine

    def next_item(self) -> Any:
        """The next object to be written, as far as is known now, or `MISSING`."""


@final
class Drain:
    """Writes what a walk's `next_item` gives, also what it gives while that is being written."""

    def __init__(self, source: Source) -> None:
        self.source = source
        #: What was taken, and is not written yet.
        self._ahead: list[Any] = []

    def stream(self, head: list[Any]) -> Stream:
        """A list of `head` and of all that is to come."""
        if self.source.engine.save_apart is not None:
            return Stream(iter([*head, Rest(self._save_rest)]))
        return Stream(self._slots(head))

    def _slots(self, head: list[Any]) -> Iterator[Any]:
        # A C pickler asks for one item more than it has written, so what it is given is a
        # slot, to be filled when it is written.
        yield from head
        unwritten = 0
        item: Any = None

        def fill() -> Reduction:
            nonlocal unwritten
            unwritten -= 1
            found = self._next()
            return (list, ()) if found is MISSING else (max, ((found,),))

        if head:
            unwritten += 1
            yield Rest(fill)
        while True:
            if unwritten == 0:
                item = self._next()
                if item is MISSING:
                    return
                self._ahead.append(item)
            unwritten += 1
            yield Rest(fill)

    def _next(self) -> Any:
        return self._ahead.pop() if self._ahead else self.source.next_item()

    def _save_rest(self) -> Reduction:
        save = self.source.engine.save_apart
        assert save is not None
        while (item := self.source.next_item()) is not MISSING:
            save(item)
        return (list, ())
