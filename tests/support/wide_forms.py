"""Classes of nodes for wide graphs, one for each way in which an object may be reduced.

A form is a function that makes a class from a base, which says how it compares. Each instance has a
number (`name`), a key that some hash by, and three lists: `strong`, `weak`, and `given`, which
stays empty here (`wide_forms_given.py` has the forms whose construction needs what they hold).
"""

from __future__ import annotations

import abc
import copyreg
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Identity:
    """Compares by identity. Its operators are for proxies; as a truth value it lies."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def method(self) -> Any:
        return self.name

    @classmethod
    def itself(cls) -> Any:
        return cls

    def __bool__(self) -> bool:
        return False

    def __add__(self, other: Any) -> Any:
        return ("add", self.name, other)

    def __rsub__(self, other: Any) -> Any:
        return ("rsub", self.name, other)

    def __divmod__(self, other: Any) -> Any:
        return ("divmod", self.name, other)

    def __matmul__(self, other: Any) -> Any:
        return ("matmul", self.name, other)

    def __pow__(self, other: Any) -> Any:
        return ("pow", self.name, other)

    def __neg__(self) -> Any:
        return ("neg", self.name)

    def __int__(self) -> int:
        return int(self.name)


class ByKey(Identity):
    """Compares by its key, with all classes of its kind."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(("key", self.key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByKey) and other.key == self.key


def start(self: Any, name: int, key: Any, given: Any = None) -> None:
    given = [] if given is None else given
    for attribute, value in (
        ("name", name), ("key", key), ("strong", []), ("weak", []), ("given", given)
    ):  # fmt: skip
        object.__setattr__(self, attribute, value)


def set_state(made: Any, state: Any) -> None:
    vars(made).update(state)


# --- forms ----------------------------------------------------------------------------------


def default(base: Any) -> Any:
    class C(base):
        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

    return C


def callable_(base: Any) -> Any:
    class C(default(base)):
        def __call__(self) -> Any:
            return self.name

    return C


def slots(base: Any) -> Any:
    class C(base):
        __slots__ = ("__weakref__", "given", "key", "name", "strong", "weak")

        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

    return C


def slots_and_dict(base: Any) -> Any:
    class C(base):
        __slots__ = ("__dict__", "__weakref__", "key", "weak")

        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

    return C


def _dataclass(base: Any, **options: Any) -> Any:
    @dataclasses.dataclass(eq=False, repr=False, **options)
    class C(base):
        name: int
        key: Any
        strong: list[Any] = dataclasses.field(default_factory=list)
        weak: list[Any] = dataclasses.field(default_factory=list)
        given: list[Any] = dataclasses.field(default_factory=list)

    return C


def dataclass_slots(base: Any) -> Any:
    return _dataclass(base, slots=True, weakref_slot=True)


def frozen(base: Any) -> Any:
    return _dataclass(base, frozen=True)


def frozen_slots(base: Any) -> Any:
    return _dataclass(base, frozen=True, slots=True, weakref_slot=True)


def own_state(base: Any) -> Any:
    class C(default(base)):
        def __getstate__(self) -> Any:
            return dict(self.__dict__)

    return C


def both_ways(base: Any) -> Any:
    class C(default(base)):
        def __getstate__(self) -> Any:
            return [*self.__dict__.items()]

        def __setstate__(self, state: Any) -> None:
            self.__dict__.update(state)

    return C


def with_setter(base: Any) -> Any:
    class C(default(base)):
        def __reduce__(self) -> Any:
            return C.make, (), vars(self), None, None, set_state

        @staticmethod
        def make() -> Any:
            return C(-1, None)

    return C


def with_all_six(base: Any) -> Any:
    class C(base, dict):  # type: ignore[type-arg]
        def __init__(self, name: int = -1, key: Any = None) -> None:
            start(self, name, key)
            self.more: list[Any] = []

        def __reduce__(self) -> Any:
            items = iter([self.strong, self.weak])
            return C, (), (self.name, self.key), items, iter({"six": 6}.items()), C.put

        def append(self, item: Any) -> None:
            self.more.append(item)
            if len(self.more) == 2:
                self.strong, self.weak = self.more

        def put(self, state: Any) -> None:
            self.name, self.key = state

    return C


def by_copyreg(base: Any) -> Any:
    class C(default(base)):
        pass

    copyreg.pickle(C, _by_copyreg)
    return C


def _by_copyreg(self: Any) -> Any:
    return type(self), (self.name, self.key), vars(self)


def new_arguments(base: Any) -> Any:
    class C(base):
        def __new__(cls, name: int, key: Any) -> Any:
            made = super().__new__(cls)
            start(made, name, key)
            return made

        def __getnewargs__(self) -> Any:
            return self.name, self.key

    return C


def new_arguments_by_name(base: Any) -> Any:
    class C(base):
        def __new__(cls, name: int, key: Any = None) -> Any:
            made = super().__new__(cls)
            start(made, name, key)
            return made

        def __init__(self, name: int, key: Any) -> None:
            self.key = key

        def __getnewargs_ex__(self) -> Any:
            return (self.name,), {"key": self.key}

    return C


def own_reduce_ex(base: Any) -> Any:
    class C(default(base)):
        def __reduce_ex__(self, protocol: Any) -> Any:
            return type(self), (-1, None), vars(self)

    return C


def cached(base: Any) -> Any:
    class C(default(base)):
        @functools.cached_property
        def half(self) -> Any:
            return [self.name / 2]

    return C


def metaclass(base: Any) -> Any:
    class Meta(type):
        def __call__(cls, *args: Any) -> Any:
            return super().__call__(*args)

    class C(default(base), metaclass=Meta):
        pass

    return C


def abstract(base: Any) -> Any:
    class A(base, abc.ABC):
        @abc.abstractmethod
        def must(self) -> Any: ...

    class C(A):
        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

        def must(self) -> Any:
            return 1

    return C


def generic(base: Any) -> Any:
    class C(base, Generic[T]):
        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

    return C


def exception(base: Any) -> Any:
    class C(base, Exception):
        def __init__(self, name: int, key: Any) -> None:
            Exception.__init__(self, name, key)
            start(self, name, key)

    return C


def text(base: Any) -> Any:
    class C(base, str):
        def __new__(cls, name: int, key: Any) -> Any:
            made = str.__new__(cls, name)
            start(made, name, key)
            return made

        def __getnewargs__(self) -> Any:
            return self.name, self.key

    return C


PLAIN: tuple[Callable[[Any], Any], ...] = (
    default, callable_, slots, slots_and_dict, dataclass_slots, frozen_slots, frozen, own_state,
    both_ways, with_setter, with_all_six, by_copyreg, new_arguments, new_arguments_by_name,
    own_reduce_ex, cached, metaclass, abstract, generic, exception, text,
)  # fmt: skip
