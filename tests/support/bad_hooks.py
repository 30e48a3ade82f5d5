"""Objects whose own code does what it is told when it is asked, by every method that may be.

An `Act` is armed when the graph is made, and does nothing before.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import things


class Act:
    """What a method of the user's does, once it is armed."""

    armed = False
    calls = 0
    #: Gives what the method returns, or raises; None: the method answers as it should.
    does: Callable[[], Any] | None = None

    @classmethod
    @contextlib.contextmanager
    def arm(cls, does: Callable[[], Any]) -> Iterator[None]:
        """Let methods do that in the block."""
        cls.armed, cls.calls, cls.does = True, 0, staticmethod(does)
        try:
            yield
        finally:
            cls.armed, cls.does = False, None


#: What an act gives where the method is to answer as it should.
AS_IT_SHOULD: Any = object()


def act(otherwise: Callable[[], Any]) -> Any:
    """What the act gives, or `otherwise` does."""
    if not Act.armed or Act.does is None:
        return otherwise()
    does = Act.does
    Act.calls += 1
    Act.armed = False  # it may come back here by its own code
    try:
        found = does()
    finally:
        Act.armed = True
    return otherwise() if found is AS_IT_SHOULD else found


class Reduce(things.Thing):
    def __reduce__(self) -> Any:
        return act(lambda: (things.Thing, ("reduced",)))


class ReduceEx(things.Thing):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return act(lambda: super(ReduceEx, self).__reduce_ex__(protocol))


class GetState(things.Thing):
    def __getstate__(self) -> Any:
        return act(lambda: vars(self))


class GetNewArguments(things.Thing):
    def __getnewargs__(self) -> Any:
        return act(tuple)


class GetNewArgumentsEx(things.Thing):
    def __getnewargs_ex__(self) -> Any:
        return act(lambda: ((), {}))


class Hashes(things.Thing):
    def __hash__(self) -> int:
        return act(lambda: 1)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return self is other


class Compares(things.Thing):
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return act(lambda: self is other)  # type: ignore[no-any-return]


class Class(things.Thing):
    @property
    def __class__(self) -> Any:
        return act(lambda: Class)


class Attributes(things.Thing):
    def __getattribute__(self, name: str) -> Any:
        return act(lambda: object.__getattribute__(self, name))


class Dict(things.Thing):
    @property
    def __dict__(self) -> Any:
        return act(dict)

    def __init__(self, name: str = "") -> None:
        pass


class Module(things.Thing):
    @property
    def __module__(self) -> Any:
        return act(lambda: __name__)


class _Instances(type):
    def __instancecheck__(cls, instance: Any) -> Any:
        return act(lambda: type.__instancecheck__(cls, instance))

    def __subclasscheck__(cls, subclass: Any) -> Any:
        return act(lambda: type.__subclasscheck__(cls, subclass))


class Instances(things.Thing, metaclass=_Instances):
    pass


class _ClassAttributes(type):
    def __getattribute__(cls, name: str) -> Any:
        return act(lambda: type.__getattribute__(cls, name))


class ClassAttributes(things.Thing, metaclass=_ClassAttributes):
    pass


class _ClassCompares(type):
    def __eq__(cls, other: object) -> bool:
        return act(lambda: cls is other)  # type: ignore[no-any-return]

    def __hash__(cls) -> int:
        return type.__hash__(cls)


class ClassCompares(things.Thing, metaclass=_ClassCompares):
    pass


class _ClassHashes(type):
    def __eq__(cls, other: object) -> bool:
        return cls is other

    def __hash__(cls) -> int:
        return act(lambda: type.__hash__(cls))  # type: ignore[no-any-return]


class ClassHashes(things.Thing, metaclass=_ClassHashes):
    pass


class Items(list):  # type: ignore[type-arg]
    """The items that its reduction gives come one by one."""

    name = "items"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Items, (), None, self._items()

    def _items(self) -> Iterator[Any]:
        yield 1
        yield act(lambda: 2)

    __hash__ = object.__hash__  # type: ignore[assignment]

    def method(self) -> None:
        pass


HOOKS: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (Reduce, ReduceEx, GetState, GetNewArguments, GetNewArgumentsEx, Hashes, Compares,
                Class, Attributes, Dict, Module, Instances, ClassAttributes, ClassCompares,
                ClassHashes, Items)
}  # fmt: skip


# --- where such an object stands ----------------------------------------------------------------


class Calls:
    """A callback that holds an object."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, reference: Any) -> None:
        pass


def placed(thing: Any) -> dict[str, Any]:
    """Roots with a thing in every place; what else they need lives in the thing's own list."""
    other = KEPT[0]
    return {
        "strong": [thing],
        "inside, met first": [thing, weakref.ref(thing), weakref.ref(other)],
        "inside, met last": [weakref.ref(thing), thing],
        "outside": [weakref.ref(thing), weakref.ref(other)],
        "proxy": [weakref.proxy(thing)],
        "method": [weakref.WeakMethod(thing.method)],
        "set": [weakref.WeakSet([thing, other])],
        "set inside": [weakref.WeakSet([thing, other]), thing],
        "value": [weakref.WeakValueDictionary(key=thing)],
        "key": [weakref.WeakKeyDictionary({thing: 1})],
        "value of a key": [weakref.WeakKeyDictionary({other: thing})],
        "value of an inner key": [weakref.WeakKeyDictionary({other: thing}), other],
        "called": [weakref.ref(other, Calls(thing)), other],
        "finalize": [weakref.finalize(other, things.log, thing)],
    }


#: Referents that nothing in a payload holds.
KEPT = [things.Thing("other")]


# --- what it does -------------------------------------------------------------------------------


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def does() -> NoReturn:
        raise error.with_traceback(None)

    return does


class Odd(BaseException):
    """Neither an error nor an interrupt."""


ERRORS: tuple[BaseException, ...] = (
    ValueError("of the user's"), KeyboardInterrupt(), MemoryError("of the user's"), Odd(),
    StopIteration(), RecursionError("of the user's"), AttributeError("of the user's"),
)  # fmt: skip
NONSENSE: tuple[Any, ...] = (
    None, 5, (), (1,), (len,), (things.Thing, 5), (things.Thing, (), 5, 6, 7, 8, 9), "no such name",
    NotImplemented, b"", [things.Thing, ()], (things.Thing, ("made",), 7), type,
)  # fmt: skip
