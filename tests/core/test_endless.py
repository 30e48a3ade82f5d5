"""Graphs that change as they are dumped: a dump tries again a bounded number of times."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import things

import weakreduce


class Breeding(things.Thing):
    """Cannot be pickled, and who tries leaves another one of it behind."""

    kept: list[Any] = []
    members: Any = weakref.WeakSet()

    @classmethod
    def breed(cls) -> None:
        assert len(cls.kept) < 10_000, "without end"
        cls.kept.append(cls("another"))
        cls.members.add(cls.kept[-1])

    def __reduce__(self) -> Any:
        self.breed()
        raise TypeError("never")


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_what_cannot_be_pickled_grows_while_it_is_looked_for(host: Any) -> None:
    Breeding.breed()
    try:
        with pytest.raises(TypeError, match="never"):
            weakreduce.dumps([Breeding.members], host=host)
    finally:
        Breeding.members.clear()
        Breeding.kept.clear()
    assert weakreduce.loads(weakreduce.dumps([Breeding.members], host=host), host=host)
