"""What is measured: each case makes its objects and gives one action on them to time.

A case is a function of a size that returns a `Prepared`. It runs in a process of its own
(`child.py`), with or without weakreduce, and knows nothing of rows, bars or ratios (`rows.py`).
Modules that a side must not import (weakreduce itself, dill, engines) are imported inside.
"""

from __future__ import annotations

import functools
import io
import pickle
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import cloudpickle


class Prepared(NamedTuple):
    """An action to time, and the size of what it makes, in bytes, where that is of interest."""

    action: Callable[[], Any]
    size: int = 0
    waits: bool = False  # for another process: then the time on the wall counts, not the CPU's


class Node:
    """A node of a tree; `parent` is strong or weak, as the tree is made."""

    def __init__(self, number: int, parent: Any = None) -> None:
        self.name = f"node {number}"
        self.value = number * 0.5
        self.children: list[Any] = []
        self.parent = parent


class HandWritten(Node):
    """The same, made picklable by hand: the weak parent is left out and put back."""

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["parent"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for child in self.children:
            child.parent = weakref.ref(self)


class Wrapper:
    """A weak reference in a class with a ``__reduce__``, as pydantic has one."""

    def __init__(self, referent: Any) -> None:
        self.reference = weakref.ref(referent)

    def __call__(self) -> Any:
        return self.reference()

    def __reduce__(self) -> Any:
        return Wrapper, (self.reference(),)


class Small:
    """A small object: a record of three fields."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"record {number}"
        self.weight = number * 0.5


class Item:
    """An item of a list, linked to its neighbours."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.previous: Any = None
        self.following: Any = None


def tree(size: int, wrap: Callable[[Any], Any], cls: type = Node) -> list[Any]:
    """The nodes of a tree with four children each, the root first."""
    nodes = [cls(0)]
    for number in range(1, size):
        parent = nodes[(number - 1) // 4]
        nodes.append(cls(number, wrap(parent)))
        parent.children.append(nodes[-1])
    return nodes


def itself(obj: Any) -> Any:
    """A strong reference, where `tree` asks how to refer to a parent."""
    return obj


def dumps_of(obj: Any, *keep: Any, dumps: Callable[[Any], bytes] = cloudpickle.dumps) -> Prepared:
    """An action that dumps an object; what else is to live meanwhile is kept."""

    def action() -> bytes:
        return dumps(obj)

    action.keep = keep  # type: ignore[attr-defined]
    return Prepared(action, len(action()))


def _loads(obj: Any, loads: Callable[[bytes], Any] = pickle.loads) -> Prepared:
    data = cloudpickle.dumps(obj)
    del obj
    return Prepared(lambda: loads(data), len(data))


# --- trees ---------------------------------------------------------------------------------


def dumps_strong_tree(size: int) -> Prepared:
    return dumps_of(tree(size, itself)[0])


def loads_strong_tree(size: int) -> Prepared:
    return _loads(tree(size, itself)[0])


def dumps_weak_tree(size: int) -> Prepared:
    return dumps_of(tree(size, weakref.ref)[0])


def loads_weak_tree(size: int) -> Prepared:
    return _loads(tree(size, weakref.ref)[0])


def dumps_hand_written_tree(size: int) -> Prepared:
    return dumps_of(tree(size, weakref.ref, HandWritten)[0])


def loads_hand_written_tree(size: int) -> Prepared:
    return _loads(tree(size, weakref.ref, HandWritten)[0])


def dumps_wrapper_tree(size: int) -> Prepared:
    return dumps_of(tree(size, Wrapper)[0])


def dumps_dill_tree(size: int) -> Prepared:
    import dill

    return dumps_of(tree(size, weakref.ref)[0], dumps=dill.dumps)


def dumps_strong_first(size: int) -> Prepared:
    nodes = tree(size, itself)
    return dumps_of([nodes, nodes[0]])


def dumps_weak_first(size: int) -> Prepared:
    nodes = tree(size, weakref.ref)
    return dumps_of([[weakref.ref(node) for node in nodes], nodes[0]])


def loads_tree_without_parents(size: int) -> Prepared:
    return _loads(tree(size, lambda _: None)[0])


# --- nothing weak --------------------------------------------------------------------------


def dumps_plain_list(size: int) -> Prepared:
    return dumps_of([Small(number) for number in range(size)])


def dumps_closures(size: int) -> Prepared:
    offset = 1

    def add(number: int) -> int:
        return number + offset

    return Prepared(lambda: [cloudpickle.dumps(add) for _ in range(size)])


# --- outside -------------------------------------------------------------------------------


def dumps_plain_dict(size: int) -> Prepared:
    return dumps_of(dict(enumerate([Small(number) for number in range(size)])))


def dumps_outside_refs(size: int) -> Prepared:
    outside = [Small(number) for number in range(size)]
    return dumps_of([weakref.ref(obj) for obj in outside], outside)


def dumps_outside_values(size: int) -> Prepared:
    outside = [Small(number) for number in range(size)]
    return dumps_of(weakref.WeakValueDictionary(enumerate(outside)), outside)


def dumps_dangling(size: int) -> Prepared:
    """`size` objects inside; one of them holds a reference into a graph five times as large."""
    import weakreduce

    weakreduce.set_policy("dangle")
    outside = tree(5 * size, itself)
    inside = [Small(number) for number in range(size)]
    inside[0].number = weakref.ref(outside[0])  # type: ignore[assignment]
    return dumps_of(inside, outside)


def dumps_inside_alone(size: int) -> Prepared:
    """The same with a reference that is dead already."""
    import weakreduce

    weakreduce.set_policy("dangle")
    inside = [Small(number) for number in range(size)]
    inside[0].number = weakref.ref(Small(0))  # type: ignore[assignment]
    return dumps_of(inside)


class BarePickler(pickle.Pickler):
    """What writes refs as calls, does no book-keeping at all, and is wrong about most of them."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not weakref.ref:
            return NotImplemented
        referent = obj()
        return weakref.ref, (referent, referent)


class NotingPickler(pickle.Pickler):
    """What writes refs to what was met as links, and does no more than note what it meets."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        met: dict[int, Any] = {}

        def reducer_override(obj: Any) -> Any:
            if type(obj) is weakref.ref:
                return weakref.ref, (obj(),)
            met[id(obj)] = obj
            return NotImplemented

        self.reducer_override = reducer_override


def bare_dumps_weak_tree(size: int) -> Prepared:
    return dumps_of(tree(size, weakref.ref)[0], dumps=functools.partial(_bare_dumps, NotingPickler))


def _bare_dumps(cls: Any, obj: Any) -> bytes:
    file = io.BytesIO()
    cls(file).dump(obj)
    return file.getvalue()


def bare_dumps_outside_refs(size: int) -> Prepared:
    outside = [Small(number) for number in range(size)]
    return dumps_of(
        [weakref.ref(obj) for obj in outside],
        outside,
        dumps=functools.partial(_bare_dumps, BarePickler),
    )


# --- long lists ----------------------------------------------------------------------------


def dumps_linked_list(size: int) -> Prepared:
    """Weak links both ways."""
    items = [Item(number) for number in range(size)]
    for first, second in zip(items, items[1:], strict=False):
        first.following = weakref.ref(second)
        second.previous = weakref.ref(first)
    return Prepared(lambda: len(cloudpickle.dumps(items)))


def dumps_backward_list(size: int) -> Prepared:
    """Strong links back."""
    items = [Item(number) for number in range(size)]
    for first, second in zip(items, items[1:], strict=False):
        second.previous = first
    return Prepared(lambda: len(cloudpickle.dumps(items)))


def bare_dumps_backward_list(size: int) -> Prepared:
    """Weak links back."""
    items = [Item(number) for number in range(size)]
    for first, second in zip(items, items[1:], strict=False):
        second.previous = weakref.ref(first)
    return Prepared(lambda: len(_bare_dumps(BarePickler, items)))


# --- proxies -------------------------------------------------------------------------------


def _many_objects(size: int) -> list[Any]:
    return [[number] for number in range(size)]


def dumps_proxies(size: int) -> Prepared:
    """1,000 proxies, in a process with `size` objects."""
    nodes = [Small(number) for number in range(1000)]
    return dumps_of([nodes, [weakref.proxy(node) for node in nodes]], _many_objects(size))


def dumps_refs(size: int) -> Prepared:
    nodes = [Small(number) for number in range(1000)]
    return dumps_of([nodes, [weakref.ref(node) for node in nodes]], _many_objects(size))


# --- engines -------------------------------------------------------------------------------


def small_task(number: int) -> int:
    return number + 1


def submit_to_pool(size: int) -> Prepared:
    """`size` small tasks, one after another, to a pool of one process."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(1, get_context("forkserver"))
    pool.submit(small_task, 1).result()
    return Prepared(lambda: [pool.submit(small_task, n).result() for n in range(size)], waits=True)


def submit_to_dask(size: int) -> Prepared:
    """`size` small tasks, one after another, to a Dask cluster in this process."""
    from dask.distributed import Client

    client = Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    offset = 1

    def task(number: int) -> int:
        return number + offset

    client.submit(task, 1, pure=False).result()
    return Prepared(
        lambda: [client.submit(task, n, pure=False).result() for n in range(size)], waits=True
    )
