"""Messages of multiprocessing: a scout goes first, and the ForkingPickler takes over from it."""

from __future__ import annotations

import abc
import collections
import collections.abc
import contextlib
import copyreg
import decimal
import enum
import fractions
import gc
import pathlib
import pickle
import uuid
import weakref
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
from things import Thing

import weakreduce
from weakreduce.engines.submit import forking_way, pack_call


class Counted:
    """Tells how often its code was asked; each answer can be had once."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.asked = 0

    def __reduce__(self) -> Any:
        self.asked += 1
        assert self.asked == 1
        if self.way == "state":
            return Arrived, (), {"number": 1}
        if self.way == "items":
            return Arrived, (), None, iter([1, 2, 3])
        if self.way == "entries":
            return Arrived, (), None, None, iter([("one", 1)])
        if self.way == "both":
            return Arrived, (), None, (number for number in (1, 2)), iter([("one", 1)])
        return Arrived, ()


class Arrived:
    """What it arrives as."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def extend(self, items: Any) -> None:
        self.items.extend(items)

    def append(self, item: Any) -> None:
        self.items.append(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))


ITEMS: dict[str, list[Any]] = {
    "bare": [], "state": [], "items": [1, 2, 3], "entries": [("one", 1)],
    "both": [1, 2, ("one", 1)],
}  # fmt: skip


@pytest.mark.parametrize("way", ITEMS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
def test_code_of_the_user_is_asked_once(way: str, first: bool, policy: str) -> None:
    """Whether the weak thing comes after that, or before."""
    outside, counted = Thing("outside"), Counted(way)
    parts = [counted, weakref.ref(outside)]
    with weakreduce.policy(policy):
        copies = pickle.loads(ForkingPickler.dumps(parts if first else parts[::-1]))
    assert counted.asked == 1
    (arrived,) = (copy for copy in copies if type(copy) is Arrived)
    assert arrived.items == ITEMS[way]


class Once:
    """What raises when it is asked, and would not a second time."""

    def __init__(self) -> None:
        self.asked = 0

    def __getstate__(self) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise LookupError("not now")
        return {}


def test_an_error_of_that_code_is_raised_with_its_path() -> None:
    once = Once()
    with pytest.raises(LookupError, match="not now") as raised:
        ForkingPickler.dumps({"key": [once]})
    assert once.asked == 1
    assert "root['key'][0]" in "".join(raised.value.__notes__)
    assert raised.value.__context__ is None


class Registered:
    """What multiprocessing was told how to send."""


def test_a_reducer_that_may_have_effects_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def reduce(obj: Any) -> Any:
        asked.append(obj)
        return Registered, ()

    monkeypatch.setitem(ForkingPickler._extra_reducers, Registered, reduce)
    obj, outside = Registered(), Thing("outside")
    for message in ([obj], [obj, weakref.ref(outside)], [weakref.ref(outside), obj]):
        asked.clear()
        copies = pickle.loads(ForkingPickler.dumps(message))
        assert asked == [obj]
        assert Registered in map(type, copies)


class Colour(enum.Enum):
    RED = 1


class Slotted:
    __slots__ = ("one",)

    class Abstract(abc.ABC):
        """A class by its qualified name."""

    def __init__(self) -> None:
        self.one = [1]


class Stateful:
    def __getstate__(self) -> Any:
        return {"one": 1}


def plain_messages() -> Iterator[Any]:
    yield (12, "a name", [1.5, None, True], {"key": {b"value"}})
    yield fractions.Fraction(1, 3), decimal.Decimal("0.1"), 1j
    yield [uuid.UUID(int=1), pathlib.PurePosixPath("/a/b"), Colour.RED, Colour]
    yield collections.OrderedDict(one=1), collections.deque([1]), collections.Counter("abc")
    yield [Thing("one"), Slotted(), Stateful(), Stateful(), ValueError("one")]
    yield [Thing.__init__, Thing("one").__repr__, len, [].append, print]
    yield [Slotted.Abstract, Slotted.Abstract(), collections.abc.Mapping]


@pytest.mark.parametrize("protocol", [None, -1, 2, 3, 4, 5])
def test_a_message_without_weak_things_is_as_stock_writes_it(protocol: int | None) -> None:
    for message in plain_messages():
        ours = bytes(ForkingPickler.dumps(message, protocol))
        weakreduce.uninstall()
        try:
            stock = bytes(ForkingPickler.dumps(message, protocol))
        finally:
            weakreduce.install()
        assert ours == stock


@pytest.mark.parametrize("whose", ["copyreg", "ForkingPickler"])
def test_a_reducer_of_abstract_classes_counts(whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = copyreg.dispatch_table if whose == "copyreg" else ForkingPickler._extra_reducers
    monkeypatch.setitem(table, abc.ABCMeta, lambda cls: (str, (cls.__name__,)))
    assert pickle.loads(ForkingPickler.dumps([Slotted.Abstract, Thing])) == ["Abstract", Thing]


def test_a_subclass_keeps_its_own_way() -> None:
    class Own(ForkingPickler):
        def reducer_override(self, obj: Any) -> Any:
            return (list, ()) if type(obj) is Thing else NotImplemented

    assert pickle.loads(Own.dumps([Thing("one")])) == [[]]
    assert type(pickle.loads(ForkingPickler.dumps([Thing("one")]))[0]) is Thing


@pytest.mark.parametrize("fails", [Once, lambda: (item for item in ()), object])
def test_a_message_leaves_nothing_behind(fails: Any) -> None:
    held = Thing("held")
    watched = weakref.ref(held)
    message = [Stateful(), held, fails()]
    message[0].held = held
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(LookupError, TypeError):
            ForkingPickler.dumps(message)
        message.clear()
        del held
        assert watched() is None
    finally:
        gc.enable()


def test_a_task_is_asked_once() -> None:
    outside, counted = Thing("outside"), Counted("items")
    packed = pack_call(list, ([counted, weakref.ref(outside)],), {}, forking_way("multiprocessing"))
    arrived, weak = pickle.loads(bytes(ForkingPickler.dumps(packed)))()
    assert (arrived.items, type(weak())) == ([1, 2, 3], Thing)


@pytest.mark.parametrize("hook", ["reducer_override", "persistent_id"])
def test_hooks_that_somebody_gave_the_class_are_asked(
    hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def ask(_pickler: object, obj: object) -> Any:
        asked.append(obj)
        return NotImplemented if hook == "reducer_override" else None

    monkeypatch.setattr(ForkingPickler, hook, ask, raising=False)
    thing = Thing()
    ForkingPickler.dumps([thing])
    assert any(obj is thing for obj in asked)
