"""Tasks for workers without weakreduce, which could not import `cargo`."""

from __future__ import annotations

import sys
import weakref
from typing import Any


class Target:
    """A referent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def method(self) -> str:
        return self.name


def imported() -> bool:
    """Whether weakreduce is imported here."""
    return sys.modules.get("weakreduce") is not None


def named(weak: Any, *others: Any) -> tuple[Any, ...]:
    """The name of a referent, and whatever else came."""
    referent = weak() if isinstance(weak, weakref.ref) else weak.method.__self__
    return (None if referent is None else referent.name, *others)


def weak_result() -> Any:
    """A result that stock cannot pickle."""
    return weakref.ref(Target)


def add(one: int, two: int) -> int:
    """A task without weak things."""
    return one + two
