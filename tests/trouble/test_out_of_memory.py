"""Code of the user's that runs out of memory: that says nothing of the object, so it is never lost.

Wherever an error of the user's would make a reference dangle, or have no name, a `MemoryError` ends
the dump as it would end stock's.
"""

from __future__ import annotations

import copyreg
import io
import weakref
from collections.abc import Iterator
from typing import Any

import cloudpickle
import dill
import pytest
from things import Thing, Valued

import weakreduce
from weakreduce.hosts import standard


class Short:
    """Runs out of memory at the `at`-th question of a dump, if ever."""

    at = 0
    asked = 0

    @classmethod
    def ask(cls) -> None:
        cls.asked += 1
        if cls.asked == cls.at:
            raise MemoryError("of the user's")


class Reduced(Thing):
    def __reduce__(self) -> Any:
        Short.ask()
        return Reduced, (self.name,), vars(self)


class Stated(Thing):
    def __getstate__(self) -> Any:
        Short.ask()
        return vars(self)


class Naming(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            Short.ask()
        return super().__getattribute__(name)


class Called(Thing, metaclass=Naming):
    """Its metaclass says what it is called."""


class ByTable(Thing):
    """Reduced by an entry of copyreg's table."""


def by_table(thing: ByTable) -> Any:
    Short.ask()
    return ByTable, (thing.name,), vars(thing)


class Overridden(Thing):
    """Reduced by the pickler's own override, which may be asked any number of times."""


class Key(Valued):
    """Hashed by its name, which is an object with a hash by value and a reduction of its own."""


class HashedName(Valued):
    def __reduce__(self) -> Any:
        Short.ask()
        return HashedName, (self.name,)


def overriding(base: Any) -> Any:
    class Pickler(base):
        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is Overridden:
                Short.ask()
                return Overridden, (obj.name,), vars(obj)
            theirs = getattr(super(), "reducer_override", None)
            return NotImplemented if theirs is None else theirs(obj)

    return Pickler


PICKLERS: dict[str, Any] = {
    "cloudpickle": overriding(cloudpickle.Pickler),
    "dill": dill.Pickler,
    "pickle": overriding(standard.Pickler),
}


def weakly(things: list[Any]) -> list[Any]:
    return [weakref.ref(thing) for thing in things]


def graph(cls: Any) -> tuple[Any, Any]:
    """A root in which instances of a class are outside, inside and hashed, and what keeps them."""
    name = HashedName("name")
    one, other, inner = cls("one"), cls("other"), cls("inner")
    one.inner, one.back = inner, weakref.ref(other)
    key = Key("key")
    key.name = name
    weak = weakref.WeakKeyDictionary({key: one})
    alone = [cls("alone"), cls("lonely")]  # which nothing puts in order but what they hold
    root = [
        weakref.WeakSet(alone),
        weakly([one, other, one]),
        weakref.WeakSet([one, other]),
        weak,
        weakly([key]),
    ]
    return [root, inner, weakly([inner])], (alone, one, other, inner, key)


@pytest.fixture(autouse=True)
def _table() -> Iterator[None]:
    copyreg.pickle(ByTable, by_table)
    yield
    del copyreg.dispatch_table[ByTable]
    Short.at = Short.asked = 0


@pytest.mark.parametrize("limit", [None, 10_000])
@pytest.mark.parametrize("cls", [Reduced, Stated, Called, ByTable, Overridden])
@pytest.mark.parametrize("host", PICKLERS)
def test_at_whichever_question_the_dump_ends_by_it(host: str, cls: Any, limit: Any) -> None:
    def dump() -> bytes:
        Short.asked = 0
        file = io.BytesIO()
        with weakreduce.policy(max_snapshot_bytes=limit):
            PICKLERS[host](file, 4).dump(root)
        return file.getvalue()

    root, _kept = graph(cls)
    Short.at = 0
    dump()  # the first fills caches
    right, questions = dump(), Short.asked
    for number in range(1, questions + 1):
        Short.at = number
        with pytest.raises(MemoryError, match="of the user's") as caught:
            dump()
        assert type(caught.value) is MemoryError
    Short.at = 0
    assert dump() == right
    assert Short.asked == questions


class Dividing(Thing):
    def __divmod__(self, other: Any) -> Any:
        raise MemoryError("of the user's")


@pytest.mark.parametrize("host", PICKLERS)
def test_an_operator_that_a_proxy_hands_over_by(host: str) -> None:
    """The next operator is not tried: that would need memory, too."""
    thing = Dividing()
    with pytest.raises(MemoryError, match="of the user's"):
        PICKLERS[host](io.BytesIO()).dump([thing, weakref.proxy(thing)])
