"""Dumps that fail do no more work than others: no reducer runs twice, and every one ends."""

from __future__ import annotations

import io
import pickle
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
import dill
import pytest
from things import Locked, Thing

import weakreduce

HOSTS: dict[str, Callable[[Any], bytes]] = {
    "cloudpickle": cloudpickle.dumps,
    "dill": dill.dumps,
    "cloudpickle of ours": weakreduce.dumps,
    "dill of ours": lambda obj: weakreduce.dumps(obj, host="dill"),
    "pickle of ours": lambda obj: weakreduce.dumps(obj, host="pickle"),
}
dumps: Callable[[Any], bytes] = cloudpickle.dumps


@pytest.fixture(params=list(HOSTS), autouse=True)
def host(request: Any) -> str:
    global dumps
    dumps = HOSTS[request.param]
    Nested.calls = 0
    return str(request.param)


class Nested:
    """Pickles what it holds by itself, as a wrapper of tasks does."""

    calls = 0

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __reduce__(self) -> Any:
        Nested.calls += 1
        return bytes, (dumps(self.inner),)


class NestedState(Nested):
    __reduce__ = object.__reduce__

    def __getstate__(self) -> Any:
        Nested.calls += 1
        return dumps([self.inner])


class NestedWeakly(Nested):
    """The same, by a weak reference."""

    def __reduce__(self) -> Any:
        Nested.calls += 1
        return bytes, (dumps(weakref.ref(self.inner)),)


class Translating(Nested):
    """Raises an error of its own."""

    def __reduce__(self) -> Any:
        try:
            return super().__reduce__()
        except Exception as error:
            raise ValueError("translated") from error


@pytest.mark.parametrize("wrapper", [Nested, NestedState, Translating])
def test_nested_dumps_that_fail_run_each_reducer_once(wrapper: Any) -> None:
    obj: Any = Locked()
    for _ in range(8):
        obj = wrapper([obj])
    with pytest.raises((TypeError, ValueError)) as caught:
        dumps({"key": obj})
    assert Nested.calls == 8
    assert [text for text in caught.value.__notes__ if "root['key']" in text]


def test_nested_dumps_that_are_refused_run_each_reducer_once() -> None:
    kept: list[Any] = [Locked()]
    for _ in range(8):
        kept.append(NestedWeakly(kept[-1]))
    with (
        weakreduce.policy(unpicklable="raise"),
        pytest.raises(weakreduce.WeakrefPicklingError),
    ):
        dumps(weakref.ref(kept[-1]))
    assert Nested.calls == 8


@pytest.mark.parametrize("weakly", [False, True])
def test_a_reducer_that_dumps_its_own_object_ends(weakly: bool) -> None:
    held = [Thing("a"), Thing("b")]
    kept = [weakref.ref(thing) for thing in held] if weakly else []

    class Itself:
        calls = 0

        def __reduce__(self) -> Any:
            Itself.calls += 1
            return bytes, (dumps([kept, self, kept]),)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        with pytest.raises((RecursionError, pickle.PicklingError)):
            dumps([kept, Itself()])
    finally:
        sys.setrecursionlimit(limit)
    assert Itself.calls < 1000


def test_the_error_is_the_one_that_was_raised() -> None:
    """With its own traceback, although it was asked for a second time on the way."""
    obj = Nested(Locked())
    with pytest.raises(TypeError, match="cannot pickle a lock") as caught:
        dumps([weakref.ref(obj), obj])
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "test_the_error_is_the_one_that_was_raised" in frames
    assert frames[-1] == "__reduce__"
    assert "_culprit" not in frames


class Made:
    """Its reduction makes an object that is nowhere in the graph and cannot be pickled."""

    def __init__(self, *held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return Made, (*self.held, Unnamed())


class Unnamed:
    """Refused by every pickler, without code of its own."""

    def __init__(self) -> None:
        self.generator = (number for number in ())


class Counting(cloudpickle.Pickler):  # type: ignore[misc]
    asked = 0

    def reducer_override(self, obj: Any) -> Any:
        Counting.asked += 1
        return super().reducer_override(obj)


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("by_value", [True, False])
def test_the_search_for_the_culprit_asks_for_no_more_than_the_dump(
    made: bool, by_value: bool
) -> None:
    class Local:
        """By value, and so are those that hold it."""

        def __init__(self, *held: Any) -> None:
            self.held = held

    holder: Any = Local if by_value else Thing
    obj: Any = Made() if made else Unnamed()
    for _ in range(30):
        things = [Thing(str(number)) for number in range(100)]
        obj = holder(obj, things) if by_value else Thing(things=things, last=obj)
        if by_value:
            obj.held = obj.held[::-1]
    Counting.asked = 0
    with weakreduce.policy("dangle"):
        weakreduce.uninstall()
        try:
            with pytest.raises(TypeError):
                Counting(io.BytesIO()).dump(obj)
        finally:
            weakreduce.install()
        stock, Counting.asked = Counting.asked, 0
        with pytest.raises(TypeError) as caught:
            Counting(io.BytesIO()).dump(obj)
    assert Counting.asked <= 3 * stock + 2000
    assert caught.value.__notes__


def test_what_a_class_by_value_holds_is_told(host: str) -> None:
    class Local:
        lock = (number for number in ())

    if host == "pickle of ours":
        return  # it has no classes by value
    with pytest.raises(TypeError) as caught:
        dumps([Local])
    assert "root[0].lock" in caught.value.__notes__[-1]


def test_threads_do_not_wait_for_one_another() -> None:
    errors: list[type[BaseException]] = []

    def fail() -> None:
        try:
            dumps(Nested(Nested(Locked())))
        except TypeError as error:
            errors.append(type(error))

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == [TypeError] * 4
    assert Nested.calls == 8


# --- many that fail --------------------------------------------------------------------------


def _chain(locks: list[Any]) -> tuple[Any, Any]:
    kept: list[Any] = [None]
    for lock in locks:
        before = None if kept[-1] is None else weakref.ref(kept[-1])
        kept.append(Thing(lock=weakref.ref(lock), before=before))
    return weakref.ref(kept[-1]), kept


def _holders(locks: list[Any]) -> tuple[Any, Any]:
    holders = [Thing(lock=weakref.ref(lock)) for lock in locks]
    return [weakref.ref(holder) for holder in holders], holders


def _one_holder(locks: list[Any]) -> tuple[Any, Any]:
    holder = Thing(locks=[weakref.ref(lock) for lock in locks])
    return weakref.ref(holder), holder


#: What leads to the locks, and what has to be kept alive for it.
MANY: dict[str, Any] = {
    "refs": lambda locks: ([weakref.ref(lock) for lock in locks], None),
    "proxies": lambda locks: ([weakref.proxy(lock) for lock in locks], None),
    "sets": lambda locks: ([weakref.WeakSet([lock]) for lock in locks], None),
    "one set": lambda locks: (weakref.WeakSet(locks), None),
    "holders": _holders,
    "one holder": _one_holder,
    "chain": _chain,
}


@pytest.mark.parametrize("shape", MANY)
def test_however_many_cannot_be_pickled_all_of_them_dangle(shape: str) -> None:
    """One survey finds them all: not one for each walk that fails, until no more are made."""
    locks = [Locked() for _ in range(50)]
    root, _kept = MANY[shape](locks)
    with pytest.warns(weakreduce.DanglingWarning, match="cannot be pickled"):
        data = dumps(root)
    pickle.loads(data)
