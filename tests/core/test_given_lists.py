"""References in builtin containers that are arguments of their referent's own construction.

Those containers have no state that could wait, so no receiver could make such a reference: it
arrives dead, and a warning says so, wherever the referent is met first.
"""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import weakreduce


class Reduces:
    def __init__(self, given: Any = None) -> None:
        self.given = given

    def __reduce__(self) -> Any:
        return type(self), (self.given,)


class New:
    def __new__(cls, given: Any = None) -> Any:
        made = super().__new__(cls)
        made.given = given
        return made

    def __getnewargs__(self) -> Any:
        return (self.given,)


class NewByName:
    def __new__(cls, *, given: Any = None) -> Any:
        made = super().__new__(cls)
        made.given = given
        return made

    def __getnewargs_ex__(self) -> Any:
        return (), {"given": self.given}


def rebuild(state: Any) -> Any:
    made = GivesState()
    vars(made).update(state)
    return made


class GivesState:
    given: Any = None

    def __reduce__(self) -> Any:
        return rebuild, (dict(vars(self)),)


def callback(_: Any) -> None: ...


MAKE: dict[str, Any] = {
    "ref": weakref.ref,
    "proxy": weakref.proxy,
    "with a callback": lambda obj: weakref.ref(obj, callback),
}
PUT: dict[str, Any] = {
    "bare": (lambda weak: weak, lambda found: found),
    "list": (lambda weak: [weak], lambda found: found[0]),
    "dict": (lambda weak: {1: weak}, lambda found: found[1]),
    "tuple": (lambda weak: (weak,), lambda found: found[0]),
    "nested": (lambda weak: [{1: ([weak],)}], lambda found: found[0][1][0][0]),
}


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("put", PUT)
@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("cls", [Reduces, New, NewByName, GivesState])
def test_what_is_lost_is_warned_of(cls: Any, make: str, put: str, policy: str, host: Any) -> None:
    into, out_of = PUT[put]
    for protocol in (2, 5):
        for weak_first in (False, True):
            obj = cls()
            obj.given = into(MAKE[make](obj))
            root = [weakref.WeakSet([obj]), obj] if weak_first else [obj]
            with pytest.warns(weakreduce.DanglingWarning, match=f"{cls.__name__} arrives dead"):
                data = weakreduce.dumps(root, policy=policy, host=host, protocol=protocol)
            copy = weakreduce.loads(data)[-1]
            weak = out_of(copy.given)
            if make == "proxy":
                with pytest.raises(ReferenceError):
                    weak.given  # noqa: B018
            else:
                assert weak() is None
            assert type(copy) is cls


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_or_is_an_error_or_meant(host: Any) -> None:
    obj = Reduces()
    obj.given = [weakref.ref(obj)]
    with pytest.raises(weakreduce.WeakrefPicklingError, match="constructed from"):
        weakreduce.dumps(obj, policy=weakreduce.Policy(unpicklable="raise"), host=host)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meant = weakreduce.Policy(rules=((Reduces, "sever"),))
        data = weakreduce.dumps(obj, policy=meant, host=host)
    assert weakreduce.loads(data).given[0]() is None


class Copies(Reduces):
    """What a list holds when it is constructed is all that it gets."""

    def __init__(self, given: Any = ()) -> None:
        self.given = list(given)


#: Which of an object, the list that it is made from, and the reference are in the root, in order.
ORDERS = ("object list", "list object", "list", "object reference", "reference object", "reference")


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cls", [Reduces, New, NewByName, GivesState, Copies])
def test_the_order_plays_no_part(cls: Any, order: str, host: Any) -> None:
    obj, names = cls(), order.split()
    obj.given = given = [1, weak := weakref.ref(obj), 2]
    things = {"object": obj, "list": given, "reference": weak}
    with pytest.warns(weakreduce.DanglingWarning, match=f"{cls.__name__} arrives dead"):
        data = weakreduce.dumps([things[name] for name in names], host=host)
    for name, copy in zip(names, weakreduce.loads(data), strict=True):
        found = copy.given if name == "object" else copy
        if name == "reference":
            assert found() is None
        else:
            assert (found[0], found[1](), found[2]) == (1, None, 2)


class Other(Reduces):
    def method(self) -> None: ...


class Third(Reduces):
    pass


class Pair(NamedTuple):
    part: Any


#: What two objects are made from: the first from the second, the second from a reference.
BETWEEN: dict[str, Any] = {
    "bare": (lambda part: part, lambda found: found),
    "list": (lambda part: [part], lambda found: found[0]),
    "dict": (lambda part: {1: [part]}, lambda found: found[1][0]),
    "a third": (lambda part: [Third([part])], lambda found: found[0].given[0]),
    "a named tuple": (lambda part: [Pair(part)], lambda found: found[0].part),
}
#: What else is made from what it holds.
MADE_FROM: dict[str, Callable[[Any], Any]] = {
    "a bound method": lambda part: part.method,
    "a slice": slice,
    "an iterator": lambda part: iter([part]),
    "a map": lambda part: map(id, [part]),
    "a frozenset": lambda part: frozenset([part]),
}


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("second", BETWEEN)
@pytest.mark.parametrize("first", BETWEEN)
def test_nor_does_it_where_other_objects_are_between(
    first: str, second: str, policy: str, host: Any
) -> None:
    (put, _), (put_reference, get_reference) = BETWEEN[first], BETWEEN[second]
    outer, inner = Reduces(), Other()
    weak = weakref.ref(outer)
    outer.given, inner.given = put(inner), put_reference(weak)
    things = [outer, inner, outer.given, inner.given, weak]
    for order in [*itertools.permutations(range(5))][::11]:
        root = [things[place] for place in order]
        with pytest.warns(weakreduce.DanglingWarning, match="Reduces arrives dead") as warned:
            data = weakreduce.dumps(root, host=host, policy=policy)
        assert len(warned) == 1
        copies = weakreduce.loads(data)
        found = {place: copy for place, copy in zip(order, copies, strict=True)}
        assert found[4]() is None
        assert get_reference(found[1].given) is found[4]
        (edge,) = weakreduce.explain(root, host=host, policy=policy).to_dict()["findings"]
        assert edge["fate"] == "dangle"


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("between", MADE_FROM)
def test_nor_what_kind_of_object_is_between(between: str, host: Any) -> None:
    outer, inner = Reduces(), Other()
    outer.given, inner.given = [MADE_FROM[between](inner)], weakref.ref(outer)
    for root in itertools.permutations([outer, inner, outer.given]):
        with pytest.warns(weakreduce.DanglingWarning, match="Reduces arrives dead"):
            data = weakreduce.dumps(root, host=host)
        (copy,) = (copy for copy in weakreduce.loads(data) if type(copy) is Other)
        assert copy.given() is None


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("put", BETWEEN)
def test_of_two_that_are_made_from_each_other_neither_is_first(put: str, host: Any) -> None:
    """Either could be made, and not both."""
    into, out_of = BETWEEN[put]
    one, other = Reduces(), Other()
    one.given, other.given = into(weakref.ref(other, callback)), into(weakref.ref(one))
    for root in ([one, other], [other, one], [other.given, one, other]):
        with pytest.warns(weakreduce.DanglingWarning) as warned:
            data = weakreduce.dumps(root, host=host)
        assert len(warned) == 2
        for copy in weakreduce.loads(data)[-2:]:
            assert out_of(copy.given)() is None
    # What does not travel is in no circle.
    severed = weakreduce.Policy(rules=((Other, "sever"),))
    for root in ([one, other], [other, one]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host, policy=severed))
        for copy in copies:
            found = out_of(copy.given)()
            assert (found in copies) is (type(copy) is Other)
