"""What `test_same_bytes.py` and its kin pickle, and how: in processes of their own.

A test ``x`` calls its ``child_x``, here as anywhere a plain function, there in an interpreter of
its own where warnings are errors, stock or with weakreduce.
"""

from __future__ import annotations

import base64
import collections
import copyreg
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).parent
PROTOCOLS = (2, 3, 4, 5)


def run(
    function: Callable[..., None], *arguments: Any, ours: bool = True, **environment: str
) -> str:
    """Call a test file's function in a fresh interpreter; its output.

    With `ours`, weakreduce is imported first, unless the function is about importing it.
    """
    first = "import weakreduce" if ours and "import" not in function.__name__ else "pass"
    file = Path(inspect.getfile(function))
    code = (
        f"import sys, json; sys.path[:0] = {[str(file.parent), str(SUPPORT)]!r}; "
        f"{first}; import {file.stem} as m; "
        f"m.{function.__name__}(*json.loads({json.dumps(arguments)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ
        | {"PYTHONHASHSEED": "0", "WEAKREDUCE_INSTALL": "1" if ours else "0"}
        # Code compiled just now and code read from a cache pickle differently by value.
        | {"PYTHONDONTWRITEBYTECODE": "1"}
        | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- what is pickled ----------------------------------------------------------------------


class Plain:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    def method(self) -> Any:
        return self.parts


class Link:
    def __init__(self, following: Any = None) -> None:
        self.following = following


@dataclasses.dataclass
class Data:
    number: int
    items: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)
class Slots:
    number: int
    text: str = "text"


class MixedSlots(Plain):
    __slots__ = ("extra",)


class Color(enum.Enum):
    RED = 1
    GREEN = [2]


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Reduced(Plain):
    def __reduce__(self) -> Any:
        return (Reduced, self.parts, {"parts": self.parts})


class ReducedToItems(list):  # type: ignore[type-arg]
    def __reduce__(self) -> Any:
        return (ReducedToItems, (), {"x": 1}, iter(list(self)), None)


class ReducedToName:
    def __reduce__(self) -> str:
        return "SINGLETON"


SINGLETON = ReducedToName()


class WithSetter(Plain):
    def __reduce__(self) -> Any:
        return (WithSetter, (), {"parts": self.parts}, None, None, set_state)


def set_state(obj: Any, state: dict[str, Any]) -> None:
    vars(obj).update(state)


class WithState(Plain):
    def __getstate__(self) -> Any:
        return [self.parts]

    def __setstate__(self, state: Any) -> None:
        (self.parts,) = state


class NewArguments(tuple):  # type: ignore[type-arg]
    def __new__(cls, *items: Any, shout: bool = False) -> NewArguments:
        return super().__new__(cls, items)

    def __getnewargs_ex__(self) -> Any:
        return tuple(self), {"shout": True}


class SubList(list):  # type: ignore[type-arg]
    pass


class SubDict(dict):  # type: ignore[type-arg]
    pass


class SubStr(str):
    __slots__ = ("note",)


class Counted(collections.Counter):  # type: ignore[type-arg]
    pass


class Trouble(ValueError):
    def __init__(self, text: str, code: int) -> None:
        super().__init__(text, code)
        self.code = code


class Registered(Plain):
    pass


copyreg.pickle(Registered, lambda obj: (Plain, obj.parts))  # type: ignore[arg-type]


class Saved(Plain):
    """Has arguments of its own, and a saver of dill's, as subclasses of numpy's arrays get."""

    def __getnewargs__(self) -> Any:
        return (self.parts,)

    def __new__(cls, *parts: Any) -> Any:
        return super().__new__(cls)


class Called(Saved):
    """Has arguments of its own; its entry of copyreg's table gives a name."""


CALLED = Called("called")
copyreg.pickle(Called, lambda obj: "CALLED")  # type: ignore[arg-type,return-value]


def saved() -> Saved:
    """Where dill is in use, it has a saver for it."""
    dill = sys.modules.get("dill")
    if dill is not None and Saved not in dill.Pickler.dispatch:
        dill.register(Saved)(lambda pickler, obj: pickler.save_reduce(Saved, obj.parts, obj=obj))
    return Saved(1, [2])


class Raw:
    """Hands out its memory out of band where the protocol can."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raw) and other.data == self.data

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: int) -> Any:  # type: ignore[override]
        if protocol >= 5:
            return (Raw, (pickle.PickleBuffer(self.data),))
        return (Raw, (bytes(self.data),))


GLOBAL = {"global": [1, 2]}


class Target:
    def __init__(self, held: Any = None) -> None:
        self.held = held

    def method(self) -> None:
        pass


def importable(argument: int = 1) -> int:
    return argument


def closure_over_globals(*names: Any) -> Callable[[Any], Any]:
    captured = list(names)

    def inner(x: Any, y: int = 3, *, z: str = "z") -> Any:
        return captured, GLOBAL, importable(x), decimal.Decimal(y), z

    return inner


def recursive_closure() -> Callable[[int], int]:
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * factorial(n - 1)

    return factorial


def cyclic() -> Any:
    one: list[Any] = [{}]
    one.append(one)
    one[0]["self"] = one
    link = Link()
    link.following = Link(link)
    one.append(link)
    return one


def shared_parts() -> Any:
    part = Plain("part")
    return [part, {"again": part}, (part, [part] * 3), Data(1, [part])]


class LeadsBack:
    """Its construction arguments, made anew each time, lead back to it."""

    def __init__(self, holder: list[Any]) -> None:
        self.holder = holder

    def __reduce__(self) -> Any:
        return LeadsBack, (self.holder,)


def leads_back() -> Any:
    found = LeadsBack([])
    found.holder.append(found)
    return [found]


def by_value_class() -> Any:
    """A class that cloudpickle writes by value; the id that it gives the class made constant."""

    class Local(Plain):
        attribute = [1]

        def method(self) -> Any:
            return super().method(), GLOBAL

        @property
        def prop(self) -> int:
            return 1

    for module in ("cloudpickle.cloudpickle", "joblib.externals.cloudpickle.cloudpickle"):
        if module in sys.modules:
            tracker: Any = sys.modules[module]
            tracker._DYNAMIC_CLASS_TRACKER_BY_CLASS[Local] = "0" * 32
    return [Local, Local(1), Local(2)]


def deep(depth: int) -> Any:
    found = Link()
    for _ in range(depth):
        found = Link(found)
    return found


PAYLOADS: dict[str, Callable[[], Any]] = {
    "atoms": lambda: [
        None,
        True,
        1,
        -1,
        2**70,
        1.5,
        1j,
        "s",
        b"b",
        bytearray(b"a"),
        ...,
        "é\ud800",
    ],
    "containers": lambda: [
        [],
        (),
        {},
        set(),
        frozenset(),
        [1, [2]],
        (1, (2,)),
        {1: {2: 3}},
        {4, 5},
    ],
    "cyclic": cyclic,
    "leads back": leads_back,
    "shared": shared_parts,
    "many": lambda: [Plain(n, [n]) for n in range(3000)],
    "dict of many": lambda: {f"key {n}": Plain(n) for n in range(2500)},
    "big bytes": lambda: [b"x" * 70_000, bytearray(b"y" * 200_000), "z" * 100_000, Plain(1)],
    "slots": lambda: [Slots(1), Slots(2, "two")],
    "mixed slots": lambda: _mixed_slots(),
    "dataclass": lambda: Data(1, [Data(2)]),
    "enum": lambda: [Color.RED, Color.GREEN, Flags.A | Flags.B, Color],
    "collections": lambda: [
        collections.OrderedDict(a=1, b=[2]),
        collections.deque([1, [2]], 5),
        collections.defaultdict(list, a=[1]),
        Counted("abc"),
        collections.ChainMap({1: 2}, {3: 4}),
    ],
    "stdlib": lambda: [
        datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
        decimal.Decimal("1.5"),
        fractions.Fraction(1, 3),
        range(3),
        slice(1, 2),
        Path("a/b").parts,
        types.SimpleNamespace(a=1),
        functools.partial(importable, 2),
        re.compile("a+"),
        base64.b64encode,
    ],
    "reduce": lambda: [Reduced(1, [2]), ReducedToItems([1, 2]), SINGLETON, WithSetter(1, 2)],
    "state": lambda: [WithState(1), NewArguments(1, 2), Registered(3)],
    "saved": lambda: [saved(), CALLED],
    "subclasses": lambda: [SubList([1]), SubDict(a=1), SubStr("s"), _with_attribute()],
    "exceptions": lambda: [Trouble("text", 3), ValueError(1, 2), KeyError("k")],
    "names": lambda: [Plain, importable, len, [].append, dict.fromkeys, str.upper, int, type(None)],
    "bound": lambda: [Plain(1).method, Plain(2).method],
    "singletons": lambda: [type(None), type(...), NotImplemented, ...],
    "deep": lambda: deep(60),
    "raw": lambda: [Raw(b"raw" * 10), Raw(b"z" * 70_000), Raw(b"raw" * 10)],
}
BY_VALUE: dict[str, Callable[[], Any]] = {
    "lambda": lambda: lambda x: (x, GLOBAL),
    "closure": lambda: closure_over_globals(Plain(1), "name"),
    "recursive": recursive_closure,
    "class": by_value_class,
    "many functions": lambda: [closure_over_globals(n) for n in range(20)],
    "module": lambda: [json, types],
    "property": lambda: [property(importable), classmethod(importable), staticmethod(importable)],
    "views": lambda: [{1: 2}.keys(), {1: 2}.values(), {1: 2}.items()],
    "mapping proxy": lambda: types.MappingProxyType({1: 2}),
}


def _mixed_slots() -> Any:
    made = MixedSlots(1)
    made.extra = [2]
    return made


def _with_attribute() -> Any:
    made = SubList([made_part := Plain(1)])
    made.part = made_part  # type: ignore[attr-defined]
    return made


class Explosive:
    def __reduce__(self) -> Any:
        raise ZeroDivisionError("from __reduce__")


def generator() -> Any:
    yield 1


ERRORS: dict[str, Callable[[], Any]] = {
    "lock": lambda: [1, {"lock": threading.Lock()}],
    "generator": lambda: Plain(generator()),
    "socket": lambda: Plain(socket.socketpair()[0]),
    "explosive": lambda: [Plain(1), Explosive()],
    "deep list": lambda: functools.reduce(lambda found, _: [found], range(100_000), []),
    "deep instances": lambda: deep(100_000),
    "lambda": lambda: UNNAMED,
    "frame": lambda: [sys._getframe()],
    "code": lambda: Plain(importable.__code__),
}
UNNAMED = lambda: None  # noqa: E731


def answer(dump: Callable[[], Any]) -> str:
    """The bytes of a dump, or its error, as text that another process can compare."""
    try:
        found = dump()
    except RecursionError as error:
        # From 3.14 on the end of the C stack decides. How much of it was used, and in what function
        # it came to its end, is nothing that two processes share.
        text = re.sub(r"Stack overflow .*", "Stack overflow", str(error))
        return f"RecursionError: {text[:32]}"
    except Exception as error:
        text = re.sub(r"0x[0-9a-f]+", "0x", str(error))
        return f"{type(error).__module__}.{type(error).__qualname__}: {text}"
    return base64.b64encode(found).decode()
