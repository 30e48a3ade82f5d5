"""A list in the payload whose items become known while it is being written."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final, Protocol

from weakreduce.core.adapter import Adapter
from weakreduce.core.expressions import Reduction, Rest, Stream

MISSING: Final[Any] = object()


class Source(Protocol):
    """A walk. It forgets its adapter when it ends: a memo that holds a `Rest` holds none."""

    adapter: Adapter

    def next_item(self) -> Any:
        """The next object to be written, as far as is known now, or `MISSING`."""


def drained(source: Source, head: list[Any]) -> Stream:
    """A list of `head` and of all that `next_item` gives, also while that is being written."""
    if source.adapter.save_apart is not None:
        return Stream(iter([*head, Rest(functools.partial(_save_rest, source))]))
    return Stream(_slots(source, head))


def _slots(source: Source, head: list[Any]) -> Iterator[Any]:
    # A C pickler asks for one item more than it has written, so what it is given is a
    # slot, to be filled when it is written.
    yield from head
    unwritten = 0
    #: What was taken from the source, and is not written yet.
    taken: list[Any] = []

    def fill() -> Reduction:
        nonlocal unwritten
        unwritten -= 1
        found = taken.pop() if taken else source.next_item()
        return (list, ()) if found is MISSING else (max, ((found,),))

    if head:
        unwritten += 1
        yield Rest(fill)
    while True:
        if unwritten == 0:
            item = source.next_item()
            if item is MISSING:
                return
            taken.append(item)
        unwritten += 1
        yield Rest(fill)


def _save_rest(source: Source) -> Reduction:
    save = source.adapter.save_apart
    assert save is not None
    while (item := source.next_item()) is not MISSING:
        save(item)
    return (list, ())
