"""What the engines are given to carry: every weak kind, inside and outside, by every way.

Importable in workers. `look` says what arrived, in one word.
"""

from __future__ import annotations

import functools
import gc
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import weakreduce


class Target:
    """A referent."""

    def __init__(self, name: str = "target") -> None:
        self.name = name

    def method(self) -> str:
        return self.name


class CallableTarget(Target):
    """A referent whose proxy is a CallableProxyType."""

    def __call__(self) -> str:
        return self.name


class SubRef(weakref.ref):  # type: ignore[type-arg]
    """A subclass with a slot and no compatible constructor."""

    __slots__ = ("note",)

    def __new__(cls, referent: Any, note: str) -> SubRef:
        self = super().__new__(cls, referent)
        self.note = note
        return self

    def __init__(self, referent: Any, note: str) -> None:
        super().__init__(referent)


def called(reference: Any) -> None:
    """A callback that can be pickled."""


@dataclass(frozen=True)
class Kind:
    make: Callable[[Any], Any]
    read: Callable[[Any], Any]
    target: type[Target] = Target


def _first(collection: Any) -> Any:
    return next(iter(collection), None)


def _behind(proxy: Any) -> Any:
    try:
        return proxy.method.__self__
    except ReferenceError:
        return None


def _instance(method: Any) -> Any:
    bound = method()
    return None if bound is None else bound.__self__


KINDS: dict[str, Kind] = {
    "ref": Kind(weakref.ref, lambda weak: weak()),
    "ref with a callback": Kind(lambda t: weakref.ref(t, called), lambda weak: weak()),
    "subclass of ref": Kind(lambda t: SubRef(t, "note"), lambda weak: weak()),
    "WeakMethod": Kind(lambda t: weakref.WeakMethod(t.method), _instance),
    "proxy": Kind(weakref.proxy, _behind),
    "callable proxy": Kind(weakref.proxy, _behind, CallableTarget),
    "WeakSet": Kind(lambda t: weakref.WeakSet([t]), _first),
    "WeakValueDictionary": Kind(
        lambda t: weakref.WeakValueDictionary(key=t), lambda weak: weak.get("key")
    ),
    "WeakKeyDictionary": Kind(lambda t: weakref.WeakKeyDictionary({t: "value"}), _first),
    "finalize": Kind(
        lambda t: weakref.finalize(t, called, None),
        lambda weak: None if weak.peek() is None else weak.peek()[0],
    ),
}
PLACES = ("inside", "outside")


class Cargo:
    """A weak thing, and its referent too where that is to be inside."""

    def __init__(self, kind: str, weak: Any, held: Any) -> None:
        self.kind = kind
        self.weak = weak
        self.held = held

    def look(self) -> str:
        """A task that is a method of what holds the weak thing."""
        return look(self)


class CargoError(Exception):
    """An exception with cargo."""

    def __init__(self, cargo: Any) -> None:
        super().__init__(cargo)
        self.cargo = cargo


def load(kind: str, place: str) -> tuple[Cargo, Any]:
    """Cargo, and the referent, which the caller keeps or drops."""
    target = KINDS[kind].target()
    weak = KINDS[kind].make(target)
    if kind == "finalize":
        weak.atexit = False
    return Cargo(kind, weak, target if place == "inside" else None), target


def look(cargo: Cargo, *_ignored: Any) -> str:
    """What arrived: ``link``, ``pinned``, ``dead``; ``detached`` for a finalizer."""
    read = KINDS[cargo.kind].read
    if cargo.kind == "finalize":
        return "alive" if cargo.weak.alive else "detached"
    gc.collect()
    referent = read(cargo.weak)
    if referent is None:
        return "dead"
    if referent.name != "target":
        return f"wrong: {referent.name}"
    if weakreduce.is_pinned(cargo.weak):
        return "pinned" if cargo.held is None else "pinned, though inside"
    if referent is not cargo.held:
        return "alive, though nothing holds it"
    del referent
    cargo.held = None
    # A thread of the engine's may hold for a moment what it has handed over.
    for _ in range(500):
        gc.collect()
        if read(cargo.weak) is None:
            return "link"
        time.sleep(0.01)
    return "kept alive"


def expected(kind: str, place: str, policy: str = "snapshot") -> str:
    """What `look` says if all went well."""
    if kind == "finalize":
        return "detached"
    if place == "inside":
        return "link"
    return {"snapshot": "pinned", "dangle": "dead"}[policy]


# --- tasks --------------------------------------------------------------------------------


def closure(cargo: Cargo, by_value: bool) -> Callable[[], str]:
    """A task of no arguments that holds cargo."""
    if not by_value:
        return functools.partial(look, cargo)

    def task() -> str:
        return look(cargo)

    return task


def give(kind: str, place: str, *_ticket: Any) -> Any:
    """A task whose result is cargo; `_ticket` is a weak thing that readies the worker."""
    cargo, target = load(kind, place)
    # The referent must live until the result is pickled, as a cache of the worker's would.
    kept.append(target)
    return cargo


def fail(kind: str, place: str, *_ticket: Any) -> None:
    """A task that raises cargo."""
    raise CargoError(give(kind, place))


kept: list[Any] = []


def stuck() -> Any:
    """Cargo with an object that no pickler takes."""
    return [load("ref", "inside")[0], (item for item in ())]


def give_stuck(*_ticket: Any) -> Any:
    """A result that cannot be pickled, with a weak thing in it."""
    return stuck()


def fail_stuck(*_ticket: Any) -> None:
    """An exception that cannot be pickled, with a weak thing in it."""
    raise CargoError(stuck())


class Sulking:
    """Cannot be pickled, nor can the error that says so."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        raise CargoError(self.held)


def give_sulking() -> Any:
    """A result whose error has a weak thing in it."""
    return Sulking(stuck())


def give_sulking_without() -> Any:
    """A result whose error has none."""
    return Sulking(item for item in ())


def look_at_all(*loads: Any) -> list[str]:
    """What arrived, of each argument."""
    return [look(load) for load in loads]


def dead(weak: Any) -> bool:
    """Whether a weak reference arrived dead."""
    return weak() is None


def same(weak: Any, target: Any) -> bool:
    """Whether two arguments of one call still belong together."""
    return weak() is target


def add_one(number: int) -> int:
    """A task without weak things, of one argument."""
    return number + 1


def add(one: int, two: int) -> int:
    """A task without weak things."""
    return one + two


class Counted:
    """Tells how often it was asked for its reduction."""

    def __init__(self) -> None:
        self.asked = 0

    def __reduce__(self) -> Any:
        self.asked += 1
        return Counted, ()


def number_of(_counted: Counted, number: Any, _weak: Any = None, **_beside: Any) -> Any:
    """A task that gives one of its arguments."""
    return number


def own_key(_held: Any) -> str:
    """A task of Dask's that gives its key."""
    from distributed import get_worker

    return str(get_worker().get_current_task())
