"""Objects whose ``__class__`` is not their type: with nothing weak, the same as without us."""

from __future__ import annotations

import io
import types
import unittest.mock
import weakref
from typing import Any

import cloudpickle
import dill
import pytest
from other_picklers import check_nothing_changes
from things import Thing

import weakreduce
from weakreduce.model.classes import ClassFacts


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_nothing_changes_where_nothing_is_weak(host: str) -> None:
    check_nothing_changes(host)


def plus(x: int) -> int:
    return x + 1


class Lazy:
    """Stands for a function, as `isinstance` sees it."""

    def __init__(self, target: Any) -> None:
        self.__dict__["target"] = target

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.__dict__["target"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["target"], name)


class Raises:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("nobody asks for my class")


class Once:
    """Reduced by code of its own, and `isinstance` may take it for anything."""

    def __init__(self) -> None:
        self.asked = 0

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return float

    def __reduce__(self) -> Any:
        self.asked += 1
        return Thing, (f"asked {self.asked} times",)


def test_beside_weak_things() -> None:
    """Where there are two walks, the host is asked for each object all the same."""
    thing, lazy = Thing(), Lazy(lambda x: x + 1)
    found = cloudpickle.loads(cloudpickle.dumps([weakref.ref(thing), lazy, lazy]))
    assert found[0]().name == "thing"
    assert type(found[1]) is types.FunctionType
    assert found[1] is found[2]
    assert found[1](1) == 2
    once = Once()
    for host in (cloudpickle, dill):
        once.asked = 0
        reference, copy = host.loads(host.dumps([weakref.ref(thing), once]))
        assert copy.name == "asked 1 times"
    # Behind the weak reference itself, in either order.
    for payload in ([weakref.ref(lazy), lazy], [lazy, weakref.ref(lazy)]):
        found = cloudpickle.loads(cloudpickle.dumps(payload))
        function, reference = found if callable(found[0]) and type(found[0]) is types.FunctionType \
            else found[::-1]  # fmt: skip
        assert reference() is function
    assert cloudpickle.loads(cloudpickle.dumps(weakref.ref(lazy)))()(1) == 2


def test_one_that_cannot_be_asked_dangles_or_fails_as_ever() -> None:
    raises = Raises()
    with pytest.warns(weakreduce.DanglingWarning, match="nobody asks for my class"):
        assert cloudpickle.loads(cloudpickle.dumps(weakref.ref(raises)))() is None
    with pytest.raises(RuntimeError, match="nobody asks for my class"):
        cloudpickle.dumps([weakref.ref(KEEP), raises])
    with pytest.raises(RuntimeError, match="nobody asks for my class"):
        dill.dumps([weakref.ref(KEEP), raises])


def test_an_override_may_give_a_name() -> None:
    """What a pickler's own override writes as a name lives on the receiver."""

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            return "KEEP" if obj is KEEP else super().reducer_override(obj)

    file = io.BytesIO()
    with weakreduce.policy("strict"):
        Pickler(file).dump([weakref.ref(KEEP)])
    assert cloudpickle.loads(file.getvalue())[0]() is KEEP


KEEP = Thing("keep")
KEEP.__module__ = __name__


def test_what_may_pretend() -> None:
    assert all(ClassFacts(cls).may_pretend for cls in (Lazy, Raises, Once))
    ordinary = (int, dict, object, type, Thing, types.FunctionType, types.ModuleType, Exception,
                types.GenericAlias, type("S", (list,), {}), type("M", (type,), {}))  # fmt: skip
    assert not any(ClassFacts(cls).may_pretend for cls in ordinary)


@pytest.mark.parametrize("make", [unittest.mock.MagicMock, unittest.mock.NonCallableMagicMock])
def test_mocks_travel_as_ever_and_are_left_as_they_are(make: Any) -> None:
    """A look at a class's method makes a child of the mock."""
    stock, mock = make(), make()
    weakreduce.uninstall("cloudpickle")
    try:
        size = len(cloudpickle.dumps(stock))
    finally:
        weakreduce.install("cloudpickle")
    assert len(cloudpickle.dumps(mock)) == size
    cloudpickle.dumps([weakref.ref(mock), mock])
    assert not mock._mock_children
