"""What other plugins of pickle, and libraries, make; with a weak thing in it, and without.

``python foreign.py HOST WHOSE FOLDER`` (or `main`, imported: then classes are by name) writes what
the host gives for each case of `PLAIN`, and, unless WHOSE is "stock", for each of `WEAK`, beside
the expression that has to be true of what is loaded. WHOSE says whether weakreduce is imported
before all that ("first"), or after ("last"). Nothing here is a test: `test_other_plugins.py` runs
it, and a bare interpreter over what it wrote.
"""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__" and sys.argv[2] == "first":
    import weakreduce  # noqa: F401
import abc
import base64
import copyreg
import dataclasses
import enum
import functools
import json
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import wrapt

T = TypeVar("T")
PLAIN: dict[str, Callable[[], Any]] = {}
#: What makes a payload's root, and what has to be true of it on the receiver.
WEAK: dict[str, tuple[Callable[[], Any], str]] = {}


def plain(make: Callable[[], Any]) -> Callable[[], Any]:
    PLAIN[make.__name__] = make
    return make


def weak(test: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def note(make: Callable[[], Any]) -> Callable[[], Any]:
        WEAK[make.__name__] = make, test
        return make

    return note


class Thing:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


THING = Thing(name="outside")


def about(thing: Any) -> list[Any]:
    """A weak thing of each kind: to what is inside, and to what is not."""
    return [
        weakref.ref(thing), weakref.proxy(thing), weakref.WeakSet([thing]),
        weakref.WeakValueDictionary(key=thing), weakref.WeakKeyDictionary({thing: 1}),
        weakref.ref(THING),
    ]  # fmt: skip


#: Whether `x` is what `w`, made by `about`, is about.
IS_ABOUT = (
    "(w[0]() is x and w[1].__repr__.__self__ is x and list(w[2]) == [x] and w[3]['key'] is x"
    " and w[4][x] == 1 and w[5]().name == 'outside')"
)


# --- tblib --------------------------------------------------------------------------------------


class OddError(Exception):
    pass


def raised(**attributes: Any) -> BaseException:
    try:
        raise OddError("odd") from ValueError("cause")
    except OddError as error:
        vars(error).update(attributes)
        return error


plain(raised)


@weak(
    "load[0].__traceback__.tb_frame.f_code.co_name == 'raised' and load[0].__cause__.args == "
    f"('cause',) and [{IS_ABOUT} for x in [load[1]] for w in [load[0].about]] == [True]"
)
def an_error_with_a_traceback() -> Any:
    thing = Thing()
    return [raised(about=about(thing)), thing]


@weak("load[0]() is load[1] and load[1].__traceback__ is not None")
def of_an_error() -> Any:
    error = raised()
    return [weakref.ref(error), error]


# --- wrapt --------------------------------------------------------------------------------------


class Proxy(wrapt.ObjectProxy):  # type: ignore[misc]
    def __reduce_ex__(self, protocol: Any) -> Any:
        return Proxy, (self.__wrapped__,)


@wrapt.decorator
def passing(wrapped: Any, instance: Any, given: Any, keywords: Any) -> Any:
    return wrapped(*given, **keywords)


def wrapped_function(*held: Any) -> Any:
    @passing
    def function() -> Any:
        return held

    return function


@plain
def a_wrapt_proxy() -> Any:
    return [Proxy([1, 2]), Proxy(Thing(a=1))]


@plain
def a_wrapt_proxy_that_cannot_be_pickled() -> Any:
    return [wrapt.ObjectProxy([1])]


@plain
def a_wrapt_function() -> Any:
    return wrapped_function(1)


@plain
def a_weak_function_proxy_of_wrapt() -> Any:
    return wrapt.WeakFunctionProxy(json.dumps)


@weak(f"[{IS_ABOUT} for p, w in [load] for x in [p.__wrapped__]] == [True]")
def of_what_a_wrapt_proxy_wraps() -> Any:
    thing = Thing()
    return [Proxy(thing), about(thing)]


@weak("load[0]() is load[1] and load[1].__wrapped__ == [1] and load[2]().__wrapped__ == [2]")
def of_a_wrapt_proxy() -> Any:
    proxy, outside = Proxy([1]), Proxy([2])
    KEPT.append(outside)
    return [weakref.ref(proxy), proxy, weakref.ref(outside)]


@weak("load.__wrapped__[0]() is load.__wrapped__[1]")
def in_a_wrapt_proxy() -> Any:
    thing = Thing()
    return Proxy([weakref.ref(thing), thing])


# --- copyreg ------------------------------------------------------------------------------------


class Before(Thing):
    pass


class After(Before):
    pass


def by_copyreg(self: Any) -> Any:
    return made, (type(self), self.given), {"state": self.state}


def made(cls: Any, given: Any) -> Any:
    return cls(given=given)


copyreg.pickle(Before, by_copyreg)


@plain
def what_copyreg_knows() -> Any:
    return [Before(given=1, state=2), After(given=[3], state=4)]


@weak(f"[{IS_ABOUT} for x, one, other in load for w in [one.given, one.state, other.given,"
      " other.state]] == [True] * 4")  # fmt: skip
def in_what_copyreg_knows() -> Any:
    thing = Thing()
    w = about(thing)
    return [[thing, Before(given=w, state=w), After(given=about(thing), state=w)]]


# --- classes of every sort -----------------------------------------------------------------------


class Meta(type):
    made: Any = weakref.WeakSet()

    def __init__(cls, *given: Any) -> None:
        super().__init__(*given)
        Meta.made.add(cls)


class Enumerated(enum.Enum):
    ONE, TWO = "one", [2]


class Noted(enum.Enum):
    ONE = 1

    @property
    def notes(self) -> Any:
        return NOTES[self]


class Flags(enum.IntFlag):
    A, B = 1, 2


NOTES: Any = weakref.WeakKeyDictionary()


class Abstract(abc.ABC):
    @abc.abstractmethod
    def method(self) -> Any: ...


class Concrete(Abstract):
    def method(self) -> Any:
        return 1


class Kept(Concrete):
    instances: Any = weakref.WeakSet()


@dataclasses.dataclass(slots=True, weakref_slot=True)
class Slots:
    about: Any
    more: Any = None


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)
class Frozen:
    key: int
    about: Any = dataclasses.field(default=None, compare=False)


class Box(Generic[T]):
    def __init__(self, about: T) -> None:
        self.about = about


class KeptBox(Box[T]):
    instances: Any = weakref.WeakValueDictionary()


class Keywords:
    def __new__(cls, *, given: Any) -> Keywords:
        new = super().__new__(cls)
        new.given = given  # type: ignore[attr-defined]
        return new

    def __getnewargs_ex__(self) -> Any:
        return (), {"given": self.given}  # type: ignore[attr-defined]


if __name__ != "__main__" or sys.version_info >= (3, 12):  # before, its lock does not travel

    class Cached(Thing):
        @functools.cached_property
        def thing(self) -> Any:
            return Thing()

        @functools.cached_property
        def about(self) -> Any:
            return about(self.thing)

    @plain
    def cached_properties() -> Any:
        cached = Cached()
        assert cached.thing
        return cached

    @weak(f"[{IS_ABOUT} for x in [load.thing] for w in [vars(load)['about']]] == [True]")
    def in_cached_properties() -> Any:
        cached = Cached()
        assert cached.about
        return cached


if sys.version_info >= (3, 12):
    exec(
        "class Parameters[T]:\n    def __init__(self, about: T): self.about = about\n"
        "class KeptParameters[T](Parameters[T]):\n    instances = weakref.WeakSet()\n"
    )

    @plain
    def a_class_with_type_parameters() -> Any:
        return Parameters(1)  # type: ignore[name-defined] # noqa: F821

    @weak(f"[{IS_ABOUT} and list(p.instances) in ([p], []) for x, p in [load] for w in [p.about]]"
          " == [True]")  # fmt: skip
    def in_a_class_with_type_parameters() -> Any:
        thing = Thing()
        found = KeptParameters(about(thing))  # type: ignore[name-defined] # noqa: F821
        KeptParameters.instances.add(found)  # type: ignore[name-defined] # noqa: F821
        return [thing, found]


@plain
def classes_of_every_sort() -> Any:
    return [
        Enumerated.ONE, Flags.A | Flags.B, Concrete(), Slots(1), Frozen(2), Box(3), Box[int],
        Keywords(given=4), list[int],
    ]  # fmt: skip


@weak(f"[{IS_ABOUT} for x, *held in [load] for h in held for w in [getattr(h, 'about', None) or"
      " h.given]] == [True] * 4")  # fmt: skip
def in_classes_of_every_sort() -> Any:
    thing = Thing()
    return [thing, Slots(about(thing)), Frozen(1, about(thing)), Box(about(thing)),
            Keywords(given=about(thing))]  # fmt: skip


@weak("[list(type(c).instances) == [c] and c.method() == 1 for c in load] == [True]")
def instances_of_what_is_abstract() -> Any:
    kept = Kept()
    Kept.instances.add(kept)
    return [kept]


@weak("[list(type(b).instances.values()) == [b] for b in load] == [True]")
def instances_of_what_is_generic() -> Any:
    box = KeptBox(1)
    KeptBox.instances["box"] = box
    return [box]


@weak("load[0][load[1]] == 'note' and load[2]() is load[1] and len(load[0]) == 1")
def of_members_of_enums() -> Any:
    table = weakref.WeakKeyDictionary({Enumerated.TWO: "note"})
    return [table, Enumerated.TWO, weakref.ref(Enumerated.TWO)]


@weak("load[0].notes == 'note'")
def what_an_enum_looks_up() -> Any:
    NOTES[Noted.ONE] = "note"
    return [Noted.ONE]


@weak("load[1] in load[0].made and load[1].__name__ == 'Made'")
def classes_that_a_metaclass_keeps() -> Any:
    return [Meta, globals().setdefault("Made", Meta("Made", (), {"__module__": __name__}))]


@weak("[r() for r in load[0]] == load[1] and load[2]().about == 5")
def of_slots() -> Any:
    slots = [Slots(1), Frozen(2)]
    KEPT.append(Slots(5))
    return [[*map(weakref.ref, slots)], slots, weakref.ref(KEPT[-1])]


@weak("load[0]().__origin__ is load[1] and load[1] is type(load[2])")
def of_an_alias() -> Any:
    alias = Box[int]
    KEPT.append(alias)
    return [weakref.ref(alias), Box, Box(1)]


KEPT: list[Any] = []


# --- a run --------------------------------------------------------------------------------------


def answer(host: Any, make: Callable[[], Any]) -> str:
    """The bytes, without cloudpickle's random ids and the addresses of an error's text."""
    try:
        data = host.dumps(make(), 4)
    except Exception as error:
        return re.sub("0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")
    return base64.b64encode(re.sub(rb"[0-9a-f]{32}", b"", data)).decode()


def main(name: str, whose: str, folder: str) -> None:
    if whose == "first":
        import weakreduce  # noqa: F401
    from tblib import pickling_support

    pickling_support.install(*(OddError, ValueError))
    copyreg.pickle(After, by_copyreg)
    if whose == "last":
        import weakreduce  # noqa: F401
    host = importlib.import_module(name)
    expected: dict[str, Any] = {"": {case: answer(host, make) for case, make in PLAIN.items()}}
    if whose != "stock":
        dumps = sys.modules["weakreduce"].dumps
        for number, (case, (make, test)) in enumerate(WEAK.items()):
            if name == "dill" and case == "in_a_class_with_type_parameters":
                continue  # dill writes no type parameters of a class by value, weak things or not
            data = dumps(make(), host=name)
            (Path(folder) / f"{number}.pickle").write_bytes(data)
            expected[case] = [number, f"[{test}]"]
    (Path(folder) / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(*sys.argv[1:])
