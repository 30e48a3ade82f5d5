"""A WeakValueDictionary by the ``id`` of its values: sets of what has no hash, caches by identity.

Such a key means nothing elsewhere: the copy's has to be in its place, however it is written.
"""

from __future__ import annotations

import collections
import gc
import pickle
import weakref
from typing import Any

import pytest

import weakreduce

HOSTS = ["cloudpickle", "dill", "pickle"]


class Leaf:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Valued(Leaf):
    """Is met in its own state: its construction is no leaf, and its hash needs its attributes."""

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self.parts = [self]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Valued) and other.number == self.number

    def __hash__(self) -> int:
        return hash(self.number)


class Unhashable(Leaf):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable) and other.number == self.number


class Ordered(weakref.WeakValueDictionary):  # type: ignore[type-arg]
    def __init__(self) -> None:
        super().__init__()
        self.data = collections.OrderedDict()  # type: ignore[assignment]


class Named(weakref.WeakValueDictionary):  # type: ignore[type-arg]
    name = "none"


def registry(cls: Any, things: list[Any]) -> Any:
    made = cls()
    if cls is Named:
        made.name = "some"
    for thing in things:
        made[id(thing)] = thing
    return made


def known(registered: Any) -> list[int]:
    """The numbers of what is found by its identity."""
    found = [thing for thing in registered.values() if registered.get(id(thing)) is thing]
    assert len(found) == len(registered.data)
    return sorted(thing.number for thing in found)


@pytest.mark.parametrize("order", ["inside first", "registry first", "outside"])
@pytest.mark.parametrize("container", [weakref.WeakValueDictionary, Named, Ordered])
@pytest.mark.parametrize("cls", [Leaf, Valued, Unhashable])
@pytest.mark.parametrize("host", HOSTS)
def test_values_are_found_by_the_identity_of_the_copy(
    host: Any, cls: Any, container: Any, order: str
) -> None:
    things = [cls(number) for number in range(30)]
    table = registry(container, things)
    table[0] = things[0]  # a number, and no identity
    del table[0]
    root = {"inside first": (things, table), "registry first": (table, things)}.get(order, table)
    copy = pickle.loads(weakreduce.dumps(root, host=host))
    found = next(part for part in copy if type(part) is container) if root is not table else copy
    assert known(found) == list(range(30))
    if root is table:
        return
    things_there = next(part for part in copy if type(part) is list)
    assert all(found[id(thing)] is thing for thing in things_there)
    gone = id(things_there.pop())
    del copy
    gc.collect()
    assert gone not in found  # it is evicted by the key that it has there


@pytest.mark.parametrize("host", HOSTS)
def test_other_numbers_stay_what_they_are(host: Any) -> None:
    one, two = Leaf(1), Leaf(2)
    table: Any = weakref.WeakValueDictionary({1: one, id(one): two, "two": two})
    *kept, there = pickle.loads(weakreduce.dumps((one, two, table), host=host))
    assert len(kept) == 2
    assert list(there) == list(table)


@pytest.mark.parametrize("host", HOSTS)
def test_the_bytes_hold_no_address(host: Any) -> None:
    kept = [[Leaf(number) for number in range(3)] for _ in range(2)]
    payloads = {
        weakreduce.dumps((things, registry(weakref.WeakValueDictionary, things)), host=host)
        for things in kept
    }
    assert len(payloads) == 1


def test_what_comes_home_is_found_by_the_originals_identity() -> None:
    things = [Leaf(number) for number in range(3)]
    with weakreduce.policy(identity="home"):
        there = pickle.loads(cloud(registry(weakref.WeakValueDictionary, things)))
        back = pickle.loads(cloud(there))
    assert all(back[id(thing)] is thing for thing in things)


def cloud(obj: Any) -> bytes:
    return weakreduce.dumps(obj, host="cloudpickle")
