"""What is constructed from what leads back to it: rare shapes, each small.

`tests/hosts/test_circles.py` has the shapes that are met in the wild.
"""

from __future__ import annotations

import functools
import gc
import itertools
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from things import Thing

import weakreduce

HOSTS = ["cloudpickle", "dill", "pickle"]


class Node(Thing):
    """Has any attributes."""

    inner: Any
    outer: Any
    behind: Any
    weak: Any


class Pair:
    """Made from two objects."""

    def __init__(self, one: Any, two: Any) -> None:
        self.one, self.two = one, two

    def __reduce__(self) -> Any:
        return Pair, (self.one, self.two)

    def method(self) -> Any:
        return self


class Reference(weakref.ref[Any]):
    """Can be referred to weakly itself."""


class Method(weakref.WeakMethod[Any]):
    """The same."""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("way", ["held", "behind another", "with the outer one"])
@pytest.mark.parametrize("make", [Reference, lambda obj: Method(obj.method)])
def test_a_reference_in_what_its_referent_is_made_from_is_referred_to(
    host: Any, way: str, make: Any
) -> None:
    held, other = Node("held"), Node("other")
    pair = Pair(held, None)
    inner = make(pair)
    outer = weakref.ref(inner)
    if way == "held":
        held.inner = inner
    elif way == "behind another":
        held.behind = make(other)
        held.behind.inner = inner
    else:
        held.outer, held.inner, inner.held = outer, inner, held
    for root in ([outer], [outer, pair]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        gc.collect()
        found = copies[0]()
        assert type(found) is type(inner)
        pair_copy = found() if make is Reference else found().__self__
        assert type(pair_copy) is Pair
        holder = pair_copy.one.behind if way == "behind another" else pair_copy.one
        assert holder.inner is found
        assert len(root) == 1 or pair_copy in copies


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("make", [Reference, lambda obj: Method(obj.method)])
def test_a_reference_that_has_one_in_its_attributes(make: Any, host: Any) -> None:
    """The attributes of a reference wait, too, in every order."""
    held, other = Node("held"), Node("other")
    pair = Pair(held, None)
    held.behind = make(other)
    held.behind.inner = Reference(pair)
    parts = {"pair": pair, "held": held, "behind": held.behind, "inner": held.behind.inner}
    for order in itertools.permutations(parts, 2):
        root = [*(parts[name] for name in order), pair, held, other]
        *found, pair_copy, held_copy, other_copy = weakreduce.loads(
            weakreduce.dumps(root, host=host), host=host
        )
        copies = dict(zip(order, found, strict=True))
        assert pair_copy.one is held_copy
        assert held_copy.behind() == (other_copy if make is Reference else other_copy.method)
        assert held_copy.behind.inner() is pair_copy
        assert copies.get("inner", held_copy.behind.inner) is held_copy.behind.inner


@pytest.mark.parametrize("host", HOSTS)
def test_what_many_objects_are_made_from_is_looked_at_once(host: Any) -> None:
    """Each way through forty pairs of the same pairs would never be done."""
    held = Node("held")
    left: Any = Node("left")
    right: Any = Node("right")
    for _ in range(40):
        left, right = Pair(left, right), Pair(left, right)
    top, holder = Pair(left, right), Pair(held, held)
    held.weak = weakref.ref(top)
    copy, top_copy = weakreduce.loads(weakreduce.dumps([holder, top], host=host), host=host)
    assert copy.one.weak() is top_copy
    assert top_copy.one.one is top_copy.two.one


class Announced:
    """A name from the moment when it was asked first; nothing of its reduction can be had twice."""

    given: Any
    asked = 0

    def __reduce__(self) -> Any:
        self.asked += 1
        if self.asked > 1:
            return "ANNOUNCED"
        return functools.partial(_with, self.given), ()


def _with(given: Any) -> Announced:
    made = Announced()
    made.given = given
    return made


ANNOUNCED = Announced()


@pytest.mark.parametrize("host", HOSTS)
def test_what_becomes_a_name_in_its_own_construction(host: Any) -> None:
    """Stock writes the name there, too."""
    ANNOUNCED.given, ANNOUNCED.asked = [ANNOUNCED], 0
    (stock,) = pickle.loads(pickle.dumps([ANNOUNCED]))
    assert stock.given == [ANNOUNCED]
    ANNOUNCED.asked = 0
    (weak,) = weakreduce.loads(weakreduce.dumps([weakref.ref(ANNOUNCED)], host=host), host=host)
    assert weak() is not ANNOUNCED
    assert weak().given == [ANNOUNCED]


class Part:
    """Constructed from what it holds."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __reduce__(self) -> Any:
        return type(self), (self.part,)


BETWEEN: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda part: part,
    "one": Part,
    "list": lambda part: [Part([part])],
    "two": lambda part: Part((Part(part),)),
    "tuple": lambda part: WithReference((part,)),
}


class WithReference(tuple[Any, ...]):
    __slots__ = ()


def _part(made: Any) -> Any:
    while type(made) is not weakref.ref:
        made = made.part if type(made) is Part else made[0]
    return made


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("between", BETWEEN)
def test_what_its_own_part_holds_by_something_else(between: str, host: Any) -> None:
    """The state of the part waits, whatever the reference is in."""
    thing = Thing("thing")
    owner = Part(thing)
    thing.made = BETWEEN[between](weakref.ref(owner))
    for root in ([owner], [thing], [owner, thing], [thing, owner]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        found = copies[0] if type(copies[0]) is Thing else copies[0].part
        assert _part(found.made)().part is found
        assert all(copy in (found, _part(found.made)()) for copy in copies)
