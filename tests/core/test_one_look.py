"""A weak container is looked at once, whatever evicts entries, writes them, or raises meanwhile."""

from __future__ import annotations

import collections
import gc
import os
import subprocess
import sys
import threading
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import pytest
from things import Thing

import weakreduce


def mixed_table() -> tuple[weakref.WeakValueDictionary[int, Any], list[Any]]:
    """Twenty entries, two of which the collector evicts whenever it runs."""
    table: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
    kept = []
    for number in range(20):
        table[number] = thing = Thing(number=number)
        if number in (3, 11):
            circle: list[Any] = [thing]
            circle.append(circle)
            del circle
        else:
            kept.append(thing)
        del thing
    return table, kept


def test_no_value_is_under_another_key() -> None:
    """The collector runs somewhere in the dump: at another place with each threshold."""
    for threshold in range(1, 700):
        gc.disable()
        table, kept = mixed_table()
        gc.enable()
        gc.set_threshold(threshold, 1, 1)
        try:
            payload = weakreduce.dumps(table)
        finally:
            gc.set_threshold(700, 10, 10)
        copy = weakreduce.loads(payload)
        assert all(key == value.number for key, value in copy.items())
        assert len(copy) >= len(kept)
        gc.collect()


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_thread_that_writes_meanwhile(host: str, inside: bool) -> None:
    things = [Thing(number=number) for number in range(300)]
    values = weakref.WeakValueDictionary(enumerate(things))
    keys: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
    members = weakref.WeakSet(things)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            for thing in things[100:]:
                values.pop(thing.number, None)
                members.discard(thing)
                keys[thing] = thing.number
            for thing in things[100:]:
                values[thing.number] = thing
                members.add(thing)
                keys.pop(thing, None)

    writer = threading.Thread(target=write)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    writer.start()
    try:
        for _ in range(20):
            root = [things if inside else None, values, keys, members]
            _, *copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
            assert all(key == value.number for key, value in copies[0].items())
            assert all(key.number == value for key, value in copies[1].items())
            assert len(copies[0]) >= 100
            assert len(copies[2]) >= 100
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        writer.join()


class Asked:
    """Counts, in each of the collections below, how often a container's entries are asked for."""

    calls = 0


class RaisingSet(set):  # type: ignore[type-arg]
    error: type[Exception] = RuntimeError

    def __iter__(self) -> Any:
        Asked.calls += 1
        raise self.error("no")


class RaisingItems(dict):  # type: ignore[type-arg]
    error: type[Exception] = RuntimeError

    def items(self) -> Any:
        Asked.calls += 1
        raise self.error("no")

    keys = values = __iter__ = items


class RaisingOrder(collections.OrderedDict):  # type: ignore[type-arg]
    error: type[Exception] = RuntimeError

    def items(self) -> Any:
        Asked.calls += 1
        raise self.error("no")

    keys = values = __iter__ = items


class TooDeep(RaisingSet):
    error = RecursionError


class Unready(RaisingSet):
    error = KeyError


@pytest.mark.parametrize(
    ("container", "collection", "most"),
    [
        (weakref.WeakSet, RaisingSet, 1000),
        (weakref.WeakValueDictionary, RaisingItems, 1000),
        (weakref.WeakKeyDictionary, RaisingOrder, 1000),
        (weakref.WeakSet, TooDeep, 10),
        (weakref.WeakSet, Unready, 10),
    ],
)
def test_a_container_that_raises(container: Any, collection: Any, most: int) -> None:
    """Its own error is raised, after no more than so many attempts."""
    weak = container()
    weak.data = collection()
    Asked.calls = 0
    with pytest.raises((RuntimeError, KeyError), match="no"):
        weakreduce.dumps([weak], host="pickle")
    assert 0 < Asked.calls <= most


def test_each_pin_is_taken_where_it_is() -> None:
    """Entries that were overwritten since the dump stay as they are."""
    things = [Thing(number=number) for number in range(3)]
    values = weakreduce.loads(weakreduce.dumps(weakref.WeakValueDictionary(enumerate(things))))
    values[1] = things[0]
    weakreduce.unpin(values)
    gc.collect()
    assert list(values.items()) == [(1, things[0])]
    keys = weakreduce.loads(weakreduce.dumps([weakref.WeakKeyDictionary({things[0]: 1})]))[0]
    (key,) = keys
    keys[key] = 2
    weakreduce.unpin(keys)
    assert list(keys.items()) == [(key, 2)]
    del key
    gc.collect()
    assert len(keys) == 0


# --- the order of a WeakSet ------------------------------------------------------------------


class Watched:
    """Counts how often what it holds is looked at."""

    looks = 0

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        Watched.looks += 1
        return {}


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_members_in_a_known_order_are_not_looked_at(host: str) -> None:
    members = [Thing(shared=Watched()) for _ in range(10)]
    weakreduce.dumps(members, host=host)
    Watched.looks = 0
    weakreduce.dumps([members], host=host)
    alone, Watched.looks = Watched.looks, 0
    weakreduce.dumps([members, weakref.WeakSet(members)], host=host)
    assert Watched.looks <= 2 * alone  # two walks at most


def test_what_members_share_is_looked_at_once() -> None:
    shared = [Watched() for _ in range(50)]
    members = [Thing(shared=shared) for _ in range(100)]
    Watched.looks = 0
    weakreduce.dumps(weakref.WeakSet(members))
    assert Watched.looks <= 10 * len(shared)


def test_large_members_are_not_copied_to_be_compared() -> None:
    members = [Thing(data=bytes([number]) * 4_000_000) for number in range(3)]
    weakreduce.dumps(weakref.WeakSet(members[:1]))
    tracemalloc.start()
    try:
        payload = weakreduce.dumps(weakref.WeakSet(members))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(payload)


SUPPORT = str(Path(__file__).parent.parent / "support")
ORDER = """
import weakref
from things import Frozen, Thing
from weakreduce.core.alike import Alike
from weakreduce.model.kinds import kind_of
class Text(str):
    def __repr__(self): raise ValueError
class Items(list): pass
nested = [[i, {"k": (i, None, ..., float(i))}] for i in range(5)]
held = [Thing(str(i)) for i in range(9)] + [Thing(x=10 ** 5000 + i) for i in range(3)]
held += [Thing(x="y" * 70000 + str(i)) for i in range(3)]
held += [Thing(x=b"b" * 70 + bytes([i])) for i in range(3)]
held += [Thing(x=Text(i)) for i in range(3)] + [Thing(x=part) for part in nested]
held += [Thing(x={str(j) for j in range(i, i + 50)}) for i in range(3)]
held += [Frozen(i) for i in range(3)] + [Thing(x=Items([i])) for i in range(3)]
held += [Thing(x=Thing(x=[Thing(x=i)])) for i in range(3)]
group = weakref.WeakSet(held)
edges = kind_of(weakref.WeakSet).edges(group)
print([held.index(edge.referent) for edge in Alike().ordered(edges)])
"""


def test_members_that_nothing_orders_have_one_order_in_every_process() -> None:
    found = set()
    for seed in ("1", "2", "3"):
        run = subprocess.run(
            [sys.executable, "-c", ORDER],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": SUPPORT},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found.add(run.stdout)
    assert len(found) == 1
