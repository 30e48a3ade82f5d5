"""Classes of a script that keep their own instances weakly, of every shape; run as ``__main__``.

``python circles.py HOST FOLDER`` writes payloads and, beside each, the expression that has to be
true of what is loaded. Nothing here is a test: `test_circles.py` runs it, and a bare interpreter
over what it wrote.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import weakreduce

CASES: dict[str, tuple[Any, str]] = {}


class WithSet:
    kept: Any = weakref.WeakSet()
    test = "list(C.kept) == [x]"

    def keep(self) -> None:
        self.kept.add(self)


class WithValues:
    kept: Any = weakref.WeakValueDictionary()
    test = "C.kept['key'] is x"

    def keep(self) -> None:
        self.kept["key"] = self


class WithKeys:
    kept: Any = weakref.WeakKeyDictionary()
    test = "C.kept[x] == 'value'"

    def keep(self) -> None:
        self.kept[self] = "value"


class WithItself:
    """The value of its entry is the key."""

    kept: Any = weakref.WeakKeyDictionary()
    test = "C.kept[x] == [x]"

    def keep(self) -> None:
        self.kept[self] = [self]


class WithRef:
    kept: Any = None
    test = "C.kept() is x"

    def keep(self) -> None:
        type(self).kept = weakref.ref(self)


class WithListOfRefs:
    kept: Any = ()
    test = "[r() for r in C.kept] == [x]"

    def keep(self) -> None:
        type(self).kept = [weakref.ref(self)]


class WithDictOfRefs:
    kept: Any = ()
    test = "C.kept['key']() is x"

    def keep(self) -> None:
        type(self).kept = {"key": weakref.ref(self)}


class WithProxy:
    kept: Any = None
    test = "C.kept.tag == x.tag == 'tag'"

    def keep(self) -> None:
        self.tag = "tag"
        type(self).kept = weakref.proxy(self)


class WithMethod:
    kept: Any = None
    test = "C.kept().__self__ is x"

    def keep(self) -> None:
        type(self).kept = weakref.WeakMethod(self.hello)

    def hello(self) -> str:
        return "hello"


WEAK_CONTAINERS = (weakref.WeakSet, weakref.WeakValueDictionary, weakref.WeakKeyDictionary)
TABLE: Any = weakref.WeakSet()
TABLE_OF_REFS: list[Any] = []


class InTable:
    """A table of the module."""

    test = "list(x.table()) == [x]"

    def keep(self) -> None:
        TABLE.add(self)

    def table(self) -> Any:
        return TABLE


class InTableOfRefs:
    test = "[r() for r in x.table()] == [x]"

    def keep(self) -> None:
        TABLE_OF_REFS[:] = [weakref.ref(self)]

    def table(self) -> Any:
        return TABLE_OF_REFS


REGISTRIES = (
    WithSet, WithValues, WithKeys, WithItself, WithRef, WithListOfRefs, WithDictOfRefs, WithProxy,
    WithMethod, InTable, InTableOfRefs,
)  # fmt: skip
T = TypeVar("T")


def default() -> Any:
    class C:
        def __init__(self, n: int) -> None:
            self.n = n

    return C


def own_state() -> Any:
    class C:
        def __init__(self, n: int) -> None:
            self.n = n

        def __getstate__(self) -> Any:
            return dict(self.__dict__)

    return C


def own_state_both_ways() -> Any:
    class C:
        def __init__(self, n: int) -> None:
            self.n = n

        def __getstate__(self) -> Any:
            return [*self.__dict__.items()]

        def __setstate__(self, state: Any) -> None:
            self.__dict__.update(state)

    return C


def new_arguments() -> Any:
    class C:
        def __new__(cls, n: int) -> Any:
            made = super().__new__(cls)
            made.n = n
            return made

        def __getnewargs__(self) -> Any:
            return (self.n,)

    return C


def new_arguments_by_name() -> Any:
    class C:
        def __new__(cls, n: int) -> Any:
            made = super().__new__(cls)
            made.n = n
            return made

        def __getnewargs_ex__(self) -> Any:
            return (), {"n": self.n}

    return C


def own_reduce() -> Any:
    class C:
        def __init__(self, n: int) -> None:
            self.n = n

        def __reduce__(self) -> Any:
            return type(self), (self.n,)

    return C


def own_reduce_with_state() -> Any:
    class C:
        def __init__(self, n: int) -> None:
            self.n = n

        def __reduce_ex__(self, protocol: Any) -> Any:
            return type(self), (0,), vars(self)

    return C


def by_class_method() -> Any:
    class C:
        def __init__(self, n: int) -> None:
            self.n = n

        @classmethod
        def make(cls, n: int) -> Any:
            return cls(n)

        def __reduce__(self) -> Any:
            return self.make, (self.n,)

    return C


def slots() -> Any:
    class C:
        __slots__ = ("__weakref__", "n", "tag")

        def __init__(self, n: int) -> None:
            self.n = n

    return C


def metaclass() -> Any:
    class Meta(type):
        def __call__(cls, *args: Any) -> Any:
            return super().__call__(*args)

    class C(metaclass=Meta):
        def __init__(self, n: int) -> None:
            self.n = n

    return C


def subclass_of_list() -> Any:
    class C(list[int]):
        __hash__ = object.__hash__

        def __init__(self, n: int = 0) -> None:
            super().__init__([n, n])
            self.n = n

        def __eq__(self, other: Any) -> bool:
            return self is other

    return C


def subclass_of_str() -> Any:
    class C(str):
        def __new__(cls, n: int) -> Any:
            return super().__new__(cls, str(n))

        @property
        def n(self) -> int:
            return int(self)

        def __getnewargs__(self) -> Any:
            return (int(self),)

    return C


def plain_subclass_of_str() -> Any:
    class C(str):
        n = property(int)

    return C


def subclass_of_exception() -> Any:
    class C(Exception):
        def __init__(self, n: int) -> None:
            super().__init__(n)
            self.n = n

    return C


def frozen_slots() -> Any:
    @dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
    class C:
        n: int
        tag: Any = None

    return C


def by_value_hash() -> Any:
    @dataclasses.dataclass(frozen=True)
    class C:
        n: int

    return C


def generic() -> Any:
    class C(Generic[T]):
        def __init__(self, n: int) -> None:
            self.n = n

    return C


def derived() -> Any:
    class B:
        def __init_subclass__(cls) -> None:
            cls.derived = True  # type: ignore[attr-defined]

        def __init__(self, n: int) -> None:
            self.n = n

    class C(B):
        pass

    return C


SHAPES = (
    default, own_state, own_state_both_ways, new_arguments, new_arguments_by_name, own_reduce,
    own_reduce_with_state, by_class_method, slots, metaclass, subclass_of_list, subclass_of_str,
    plain_subclass_of_str, subclass_of_exception, frozen_slots, by_value_hash,
    generic, derived,
)  # fmt: skip
WITH_ATTRIBUTES = (default, own_state, own_reduce_with_state, metaclass, generic, derived)
#: Where the root is, and how x is found in it.
ROOTS = {
    "x": (lambda x: x, "load"),
    "[x, C]": (lambda x: [x, type(x)], "load[0]"),
    "[C, x]": (lambda x: [type(x), x], "load[1]"),
    "[ref, x]": (lambda x: [weakref.ref(x), x], "load[1]"),
    "[x, ref]": (lambda x: [x, weakref.ref(x)], "load[0]"),
    "ref": (lambda x: weakref.ref(x), "load()"),
}


def make(shape: Any, registry: Any) -> Any:
    """A class of that shape with that registry."""
    made = shape()
    body = {name: vars(registry).get(name) for name in ("kept", "keep", "hello", "table")}
    body = {name: value for name, value in body.items() if value is not None}
    body["__module__"] = "__main__"
    if "__slots__" in vars(made):
        body["__slots__"] = ()
    if isinstance(registry.__dict__.get("kept"), WEAK_CONTAINERS):
        body["kept"] = type(body["kept"])()
    elif "kept" in vars(registry):
        body["kept"] = vars(registry)["kept"]
    return type(made)("C", (made,), body)


def instances() -> Iterator[tuple[Any, Any, str, Any]]:
    """Each shape with each registry and root, and an instance that keeps itself there."""
    for shape, registry, name in itertools.product(SHAPES, REGISTRIES, ROOTS):
        if registry is WithProxy and shape not in WITH_ATTRIBUTES:
            continue  # the proxy is told by an attribute
        TABLE.clear()
        TABLE_OF_REFS.clear()
        x = make(shape, registry)(7)
        x.keep()
        yield shape, registry, name, x


def main(host: Any, folder: str) -> None:
    expected: dict[str, Any] = {}
    for shape, registry, name, x in instances():
        root_of, way = ROOTS[name]
        label = f"{shape.__name__} {registry.__name__} {name}"
        try:
            data = weakreduce.dumps(root_of(x), host=host)
        except Exception as error:  # told by the test
            expected[label] = [None, f"{type(error).__name__}: {error}"]
            continue
        number = len(expected)
        (Path(folder) / f"{number}.pickle").write_bytes(data)
        test = registry.test
        if name == "[ref, x]":
            test = f"({test}) and load[0]() is x"
        elif name == "[x, ref]":
            test = f"({test}) and load[1]() is x"
        expected[label] = [number, f"[x.n == 7 and ({test}) for x in [{way}] for C in [type(x)]]"]
    (Path(folder) / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(*sys.argv[1:])
