"""States that wait for what is constructed from their objects: the shapes that seldom occur."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import pytest

import weakreduce

HOSTS = ("cloudpickle", "dill", "pickle")


class Thing:
    def __init__(self) -> None:
        self.more = [1]


class Made:
    """Constructed from what it holds."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return type(self), (self.held,)


class Items(list[Any]):
    """With arguments, and with items."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.part = part

    def __reduce__(self) -> Any:
        return Items, (self.part,), None, iter(self)


def call(*arguments: Any) -> Any:
    return arguments


def make(reference: Any, held: Any) -> Any:
    assert type(reference) is weakref.ref
    return Called(held)


class Called(Made):
    """Made by calling a `functools.partial` that it holds."""

    def __init__(self, held: Any) -> None:
        super().__init__(held)
        self.by: Any = None

    def __reduce__(self) -> Any:
        return self.by, (self.held,)


class Named:
    """One of them is reduced to its name."""

    def __reduce__(self) -> Any:
        return "NAMED" if self is NAMED else super().__reduce__()


NAMED = Named()


class One:
    kept: Any = None


class Other(One):
    pass


@pytest.mark.parametrize("host", HOSTS)
def test_items_wait(host: str) -> None:
    items = Items(Thing())
    made = Made(items)
    items += [1, weakref.ref(made), 2]
    found = weakreduce.loads(weakreduce.dumps(made, host=host), host=host)
    first, reference, last = found.held
    assert (first, reference(), last) == (1, found, 2)
    assert found.held.part.more == [1]


@pytest.mark.parametrize("host", HOSTS)
def test_a_partial_waits(host: str) -> None:
    made = Made(None)
    made.held = functools.partial(call, weakref.ref(made), 5)
    found = weakreduce.loads(weakreduce.dumps(made, host=host), host=host)
    reference, number = found.held()
    assert (reference(), number) == (found, 5)


@pytest.mark.parametrize("host", HOSTS)
def test_a_partial_that_is_called_does_not_wait(host: str) -> None:
    waiting, called = Made(None), Called(Thing())
    waiting.held = functools.partial(call, weakref.ref(waiting))
    called.by = functools.partial(make, weakref.ref(called))
    with pytest.warns(weakreduce.DanglingWarning, match="circular|constructed"):
        data = weakreduce.dumps([waiting, called], host=host)
    found, other = weakreduce.loads(data, host=host)
    assert found.held()[0]() is found
    assert type(other) is Called
    assert other.held.more == [1]


@pytest.mark.parametrize("host", HOSTS)
def test_what_waits_may_be_a_name(host: str) -> None:
    named = Named()
    made = Made(named)
    named.reference = weakref.ref(made)
    found, other = weakreduce.loads(weakreduce.dumps([made, NAMED], host=host), host=host)
    assert found.held.reference() is found
    assert other is NAMED


@pytest.mark.parametrize("host", HOSTS)
def test_two_that_share_a_container_wait(host: str) -> None:
    one, other = One(), Other()
    first, second = Made(one), Made(other)
    one.kept = weakref.WeakSet([first, second])
    other.kept = [one, one.kept]
    found, *made = weakreduce.loads(weakreduce.dumps([other, first, second], host=host), host=host)
    assert [each.held for each in made] == [found.kept[0], found]
    assert set(found.kept[1]) == set(made)
    assert found.kept[0].kept is found.kept[1]
