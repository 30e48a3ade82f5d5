"""Importable classes and functions for the tests: what a worker can import, too."""

from __future__ import annotations

import dataclasses
import functools
import threading
import weakref
from typing import Any, TypeVar


class Thing:
    def __init__(self, name: str = "thing", **attributes: Any) -> None:
        self.name = name
        vars(self).update(attributes)

    def method(self) -> str:
        return self.name


class CachedThing(Thing):
    """A method of it is an object around a function."""

    @functools.lru_cache  # noqa: B019
    def cached(self) -> str:
        return self.name


class CallableThing(Thing):
    def __call__(self) -> str:
        return self.name


class Locked(Thing):
    """Cannot be pickled."""

    def __init__(self, name: str = "locked", **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle a lock")  # dill takes locks; this no host takes


class OddError(Exception):
    pass


class Big(Thing):
    def __init__(self, name: str = "big", size: int = 100_000) -> None:
        super().__init__(name, data=b"x" * size)


@dataclasses.dataclass(frozen=True)
class Frozen:
    key: int
    extra: Any = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)
class FrozenSlots:
    key: int
    extra: Any = dataclasses.field(default=None, compare=False)


class Valued(Thing):
    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Valued) and other.name == self.name


class Named(Valued):
    """Says itself by which name it is found."""

    def __reduce__(self) -> str:
        return "NAMED"


NAMED = Named("named")


class Arithmetic(Thing):
    """Has every operator that finding a proxy's referent might use, and lies in each."""

    def __divmod__(self, other: Any) -> Any:
        return self

    def __matmul__(self, other: Any) -> str:
        return "lie"

    def __pow__(self, other: Any) -> str:
        return "lie"

    def __str__(self) -> str:
        raise AssertionError("code of the referent's class ran")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def function() -> str:
    return "function"


@functools.cache
def cached_function() -> str:
    return "cached"


Variable = TypeVar("Variable")


def called(reference: Any) -> None:
    """A callback."""


class Recorder:
    """A callback that remembers that it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, reference: Any) -> None:
        self.calls += 1


class SubRef(weakref.ref):  # type: ignore[type-arg]
    """Needs an argument, has a slot and a dict."""

    __slots__ = ("__dict__", "identity")

    def __new__(cls, obj: Any, identity: int) -> SubRef:
        return super().__new__(cls, obj)

    def __init__(self, obj: Any, identity: int) -> None:
        super().__init__(obj)
        self.identity = identity
        self.note = "note"

    def __call__(self) -> Any:  # type: ignore[override]
        return ("overridden", super().__call__())


class OwnReduce(weakref.ref):  # type: ignore[type-arg]
    def __reduce__(self) -> Any:
        return (str, ("its own way",))


class SubMethod(weakref.WeakMethod):  # type: ignore[type-arg]
    note = "class"


class Listeners(weakref.WeakSet):  # type: ignore[type-arg]
    def __init__(self, name: str, items: Any = ()) -> None:
        super().__init__(items)
        self.name = name

    def add(self, item: Any) -> None:
        super().add(item)


class Index(weakref.WeakValueDictionary):  # type: ignore[type-arg]
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Notes(weakref.WeakKeyDictionary):  # type: ignore[type-arg]
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


LOG: list[Any] = []


def log(*args: Any, **keywords: Any) -> None:
    LOG.append((args, keywords))


class Once:
    """Its ``__reduce__`` works once."""

    def __init__(self) -> None:
        self.reduced = 0

    def __reduce__(self) -> Any:
        self.reduced += 1
        if self.reduced > 1:
            raise RuntimeError("reduced twice")
        return (Thing, ("once",))


class Fresh:
    """Makes new weak references, and new things, each time it is asked for its state."""

    def __init__(self) -> None:
        self.part = Thing("part")

    def __getstate__(self) -> Any:
        temporary = Thing("temporary")
        return {"temporary": temporary, "to_it": weakref.ref(temporary), "part": self.part,
                "to_part": weakref.ref(self.part)}  # fmt: skip


class Restless(dict):  # type: ignore[type-arg]
    """The collection of a weak dictionary that may be looked at `left` times, and no more."""

    left = 0

    def items(self) -> Any:
        Restless.left -= 1
        if Restless.left < 0:
            raise ZeroDivisionError
        return super().items()


def restless(thing: Any, *others: Any) -> list[Any]:
    """A root: a weak dictionary with such a collection, the thing that it holds, and others."""
    weak: Any = weakref.WeakValueDictionary(thing=thing)
    weak.data = Restless(weak.data)
    return [weak, thing, *others]
