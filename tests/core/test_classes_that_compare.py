"""Classes whose metaclass has an ``__eq__`` of its own: it is not asked, whatever it would say.

A class that is looked for in a tuple of classes is compared with each, by that ``__eq__``.
"""

from __future__ import annotations

import abc
import contextlib
import pickle
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import cloudpickle
import dill
import pytest
from things import Thing

import weakreduce


class Compares(abc.ABCMeta):
    """Of weak sets and dictionaries, too, which are abstract classes."""

    says: ClassVar[Callable[[], bool] | None] = None

    def __eq__(cls, other: object) -> bool:
        return cls is other if Compares.says is None else Compares.says()

    __hash__ = type.__hash__


def raises() -> bool:
    raise LookupError("classes are not compared")


def always() -> bool:
    return True


@contextlib.contextmanager
def saying(says: Callable[[], bool]) -> Iterator[None]:
    Compares.says = says
    try:
        yield
    finally:
        Compares.says = None


class Plain(metaclass=Compares):
    pass


class Slotted(metaclass=Compares):
    __slots__ = ("__weakref__", "other")


class ByValue(metaclass=Compares):
    def __init__(self) -> None:
        self.key = 1

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return self is other


class Reduced(metaclass=Compares):
    def __reduce__(self) -> Any:
        return Reduced, (), {"arrived": 1}


class List(list[Any], metaclass=Compares):
    pass


class Dict(dict[Any, Any], metaclass=Compares):
    pass


class Set(set[Any], metaclass=Compares):
    pass


class FrozenSet(frozenset[Any], metaclass=Compares):
    pass


class Tuple(tuple[Any, ...], metaclass=Compares):
    pass


class Ref(weakref.ref, metaclass=Compares):  # type: ignore[type-arg]
    pass


class Method(weakref.WeakMethod, metaclass=Compares):  # type: ignore[type-arg]
    pass


class Members(weakref.WeakSet, metaclass=Compares):  # type: ignore[type-arg]
    pass


class Values(weakref.WeakValueDictionary, metaclass=Compares):  # type: ignore[type-arg]
    pass


class Keys(weakref.WeakKeyDictionary, metaclass=Compares):  # type: ignore[type-arg]
    pass


class Finalizer(weakref.finalize, metaclass=Compares):  # type: ignore[type-arg]
    pass


HASHED = (Plain, Slotted, ByValue, Reduced, FrozenSet)
REFERENTS = (*HASHED, List, Set)
WEAK: dict[str, Callable[[Any], Any]] = {
    "ref": Ref, "WeakMethod": lambda thing: Method(thing.method),
    "WeakSet": lambda thing: Members([thing]), "finalize": lambda thing: Finalizer(thing, list),
    "WeakValueDictionary": lambda thing: Values(one=thing),
    "WeakKeyDictionary": lambda thing: Keys({thing: 1}),
}  # fmt: skip
ROUND: dict[str, Callable[[Any], Any]] = {
    "ref": lambda obj: [weakref.ref(obj), obj],
    "ref first": lambda obj: [obj, weakref.ref(obj)],
    "outside": lambda obj: [weakref.ref(obj)],
    "proxy": lambda obj: [weakref.proxy(obj), obj],
    "WeakValueDictionary": lambda obj: [weakref.WeakValueDictionary(one=obj), obj],
    "beside": lambda obj: [{"key": obj}, weakref.ref(THING), THING],
}
ROUND_HASHED: dict[str, Callable[[Any], Any]] = {
    "WeakKeyDictionary": lambda obj: [weakref.WeakKeyDictionary({obj: 1}), obj],
    "WeakSet": lambda obj: [weakref.WeakSet([obj]), obj],
    "key": lambda obj: [{weakref.ref(obj): 1}, obj],
    "strong key": lambda obj: [{obj: weakref.ref(THING)}, THING],
}


class Methodical(Thing):
    def method(self) -> None:
        """Somebody holds it weakly."""


THING = Methodical("thing")
HOSTS: dict[str, Any] = {"cloudpickle": cloudpickle, "dill": dill, "pickle": weakreduce}


def types_of(parts: list[Any]) -> list[Any]:
    return [type(part) for part in parts]


def arrived(host: str, policy: str, says: Callable[[], bool], root: list[Any]) -> list[Any]:
    with weakreduce.policy(policy, unpicklable="raise", finalizers="rearm"), saying(says):
        report = weakreduce.explain(root)
        data = HOSTS[host].dumps(root)
    assert "root" in str(report)
    copies: list[Any] = pickle.loads(data)
    return copies


@pytest.mark.parametrize("says", [raises, always])
@pytest.mark.parametrize("kind", WEAK)
@pytest.mark.parametrize("host", HOSTS)
def test_of_weak_things(host: str, kind: str, says: Callable[[], bool]) -> None:
    root = [WEAK[kind](THING), THING]
    copies = arrived(host, "snapshot", says, root)
    assert all(map(is_type, copies, types_of(root)))
    weak, thing = copies
    assert {
        "ref": lambda: weak() is thing,
        "WeakMethod": lambda: weak().__self__ is thing,
        "WeakSet": lambda: [*weak] == [thing],
        "finalize": lambda: weak.peek()[0] is thing,
        "WeakValueDictionary": lambda: weak["one"] is thing,
        "WeakKeyDictionary": lambda: weak[thing] == 1,
    }[kind]()


@pytest.mark.parametrize("says", [raises, always])
@pytest.mark.parametrize("cls", REFERENTS)
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("host", HOSTS)
def test_of_referents(host: str, policy: str, cls: type, says: Callable[[], bool]) -> None:
    forms = {**ROUND, **ROUND_HASHED} if cls in HASHED else ROUND
    for form, make in forms.items():
        obj = cls()
        root = make(obj)
        copies = arrived(host, policy, says, root)
        assert all(map(is_type, copies, types_of(root))), form


def is_type(obj: object, cls: type) -> bool:
    return type(obj) is cls


@pytest.mark.parametrize("says", [raises, always])
@pytest.mark.parametrize("cls", [Dict, Tuple])
@pytest.mark.parametrize("host", HOSTS)
def test_of_what_cannot_be_referred_to(host: str, cls: type, says: Callable[[], bool]) -> None:
    root = [cls(), {"key": cls()}, weakref.ref(THING), THING]
    copies = arrived(host, "snapshot", says, root)
    assert all(map(is_type, [copies[0], copies[1]["key"]], [cls, cls]))
    assert copies[2]() is copies[3]
