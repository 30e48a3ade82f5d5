"""Classes as people write them: plain, or with code of their own that pickle asks.

`shapes` imports them, or runs this file in ``__main__``, as a script or a notebook does: classes
of ``__main__`` travel by value. Nothing else is here.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any


class Plain:
    """A record of three fields."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"record {number}"
        self.weight = number * 0.5


class Stateful(Plain):
    """What leaves a cache at home."""

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("cache", None)
        return state


class Slotted:
    """As attrs, and dataclasses that are frozen and have slots, make a record."""

    __slots__ = ("__weakref__", "name", "number", "weight")

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"record {number}"
        self.weight = number * 0.5

    def __getstate__(self) -> list[Any]:
        return [self.number, self.name, self.weight]

    def __setstate__(self, state: list[Any]) -> None:
        self.number, self.name, self.weight = state


class Reduced(Plain):
    """What its class makes anew."""

    def __reduce__(self) -> Any:
        return type(self), (self.number,)


class Watcher:
    """References that are made strong, and weak again, by hand."""

    def __init__(self, objects: Iterable[Any]) -> None:
        self.references = [weakref.ref(obj) for obj in objects]

    def __getstate__(self) -> list[Any]:
        return [reference() for reference in self.references]

    def __setstate__(self, state: list[Any]) -> None:
        self.references = [weakref.ref(obj) for obj in state]
