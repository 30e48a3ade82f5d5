"""Objects of every kind that hold another one, and the step of a path into each.

Nothing but the standard library: arrays, frames and the like are in `test_paths_of_libraries.py`.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import enum
import functools
import itertools
import operator
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from ways import path_to

import weakreduce


class Target:
    """What is looked for."""


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Slots:
    __slots__ = ("__private", "x")

    def __init__(self, held: Any, private: Any = None) -> None:
        self.x, self.__private = held, private


class SameSlot(Slots):
    __slots__ = ("x",)


class Hidden:
    """A property in front of the attribute of the same name."""

    @property
    def x(self) -> str:
        return "another"


class Asks:
    def __getattribute__(self, name: str) -> Any:
        raise AttributeError(name)


class Lies(dict):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        return "another"

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    values = lambda self: ()  # type: ignore[assignment]


class LyingList(list):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        return "another"


class LyingTuple(tuple):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        return "another"


class LyingSet(set):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Pair(NamedTuple):
    first: Any
    second: Any


class Text(str):
    """Equal texts do not find it."""

    def __hash__(self) -> int:
        return 1


class Name(enum.StrEnum):
    ONE = "one"


class Zone(datetime.tzinfo):
    def __init__(self, held: Any) -> None:
        self.x = held


class Error(Exception):
    pass


def closure(held: Any) -> Any:
    return lambda: held


def with_defaults(held: Any) -> Any:
    def function(a: Any = held, *, b: Any = None) -> None:
        pass

    return function


def annotated(held: Any) -> Any:
    def function() -> None:
        pass

    function.__annotations__["a"] = held
    return function


def described(held: Any) -> Any:
    class Described:
        x = functools.partialmethod(print, held)

    return Described


def class_with(name: str, held: Any) -> Any:
    return type("Made", (), {name: held})


def of_main(name: str, bases: tuple[type, ...], held: Any) -> Any:
    return type(name, bases, {"x": held, "__module__": "__main__"})


def raised(held: Any) -> Any:
    def raising(local: Any) -> None:
        raise Error

    with contextlib.suppress(Error):
        raising(held)
    try:
        raising(held)
    except Error as error:
        # A frame that runs leads everywhere.
        return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)


def caused(held: Any, name: str) -> Any:
    error = Error()
    setattr(error, name, Error(1, held))
    return error


def moved(held: Any) -> Any:
    ordered = collections.OrderedDict({Target(): 1, Target(): held, Target(): 2})
    ordered.move_to_end(next(iter(ordered)))
    return ordered


LONG = "long " * 100

#: What it is -> how it is made to hold something, and the step to that.
HOLDERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "attribute": (lambda held: Plain(x=held), "root.x"),
    "keyword": (lambda held: Plain(**{"class": held}), "vars(root)['class']"),
    "odd name": (lambda held: Plain(**{"a b": held}), "vars(root)['a b']"),
    "other letters": (lambda held: Plain(**dict([("ﬁ", held)])), "vars(root)['ﬁ']"),
    "hidden": (lambda held: with_attribute(Hidden(), held), "vars(root)['x']"),
    "asks": (
        lambda held: with_attribute(Asks(), held),
        "object.__getattribute__(root, '__dict__')['x']",
    ),
    "slot": (Slots, "root.x"),
    "private slot": (lambda held: Slots(1, held), "root._Slots__private"),
    "slot twice": (SameSlot, "root.x"),
    "dict": (lambda held: {"a": held}, "root['a']"),
    "dict, tuple": (lambda held: {(1, "a"): held}, "root[(1, 'a')]"),
    "dict, enum": (lambda held: {Name.ONE: held}, "root['one']"),
    "dict, own hash": (lambda held: {Text("a"): held}, "list(root.values())[0]"),
    "dict, long key": (lambda held: {LONG: held}, "list(root.values())[0]"),
    "dict, key": (lambda held: {held: 1}, "list(root)[0]"),
    "dict, lies": (lambda held: Lies(a=held), "dict.__getitem__(root, 'a')"),
    "dict, lies, values": (lambda held: Lies({Target(): held}), "list(dict.values(root))[0]"),
    "dict, lies, keys": (lambda held: Lies({held: 1}), "list(dict.keys(root))[0]"),
    "ordered dict": (lambda held: collections.OrderedDict(a=held), "root['a']"),
    "ordered dict, moved": (moved, "list(root.values())[0]"),
    "defaultdict": (lambda held: collections.defaultdict(closure(held)),
                    "root.default_factory.__closure__[0].cell_contents"),
    "chain map": (lambda held: collections.ChainMap({}, {"a": held}), "root.maps[1]['a']"),
    "mappingproxy": (lambda held: types.MappingProxyType({"a": held}), "root['a']"),
    "dict keys": (lambda held: {1: 1, held: 1}.keys(), "list(root)[1]"),
    "dict values": (lambda held: {1: 1, 2: held}.values(), "list(root)[1]"),
    "dict items": (lambda held: {1: 1, 2: held}.items(), "list(root)[1][1]"),
    "list": (lambda held: [0, held], "root[1]"),
    "list, lies": (lambda held: LyingList([held]), "list.__getitem__(root, 0)"),
    "tuple": (lambda held: (0, held), "root[1]"),
    "tuple, lies": (lambda held: LyingTuple([held]), "tuple.__getitem__(root, 0)"),
    "named tuple": (lambda held: Pair(1, held), "root[1]"),
    "set": (lambda held: {held}, "list(root)[0]"),
    "frozenset": (lambda held: frozenset({held}), "list(root)[0]"),
    "set, lies": (lambda held: LyingSet({held}), "list(set.__iter__(root))[0]"),
    "deque": (lambda held: collections.deque([0, held]), "list(root)[1]"),
    "namespace": (lambda held: types.SimpleNamespace(x=held), "root.x"),
    "closure": (closure, "root.__closure__[0].cell_contents"),
    "cell": (types.CellType, "root.cell_contents"),
    "default": (with_defaults, "root.__defaults__[0]"),
    "annotation": (annotated, "root.__annotations__['a']"),
    "method": (lambda held: types.MethodType(print, held), "root.__self__"),
    "builtin method": (lambda held: [held].append, "root.__self__[0]"),
    "partial": (lambda held: functools.partial(print, held), "root.args[0]"),
    "partial, keyword": (lambda held: functools.partial(print, end=held), "root.keywords['end']"),
    "property": (lambda held: property(closure(held)),
                 "root.fget.__closure__[0].cell_contents"),
    "staticmethod": (lambda held: staticmethod(closure(held)),
                     "root.__func__.__closure__[0].cell_contents"),
    "slice": (lambda held: slice(1, held), "root.stop"),
    "itemgetter": (lambda held: operator.itemgetter(held), "root.__reduce_ex__(4)[1][0]"),
    "itemgetter, several": (lambda held: operator.itemgetter(1, held),
                            "root.__reduce_ex__(4)[1][1]"),
    "list iterator": (lambda held: iter([0, held]), "root.__reduce_ex__(4)[1][0][1]"),
    "class": (lambda held: class_with("x", held), "root.x"),
    "class, odd name": (lambda held: class_with("a b", held), "vars(root)['a b']"),
    "class, property": (lambda held: class_with("x", property(closure(held))),
                        "root.x.fget.__closure__[0].cell_contents"),
    "class, static": (lambda held: class_with("x", staticmethod(closure(held))),
                      "root.x.__closure__[0].cell_contents"),
    "class, class method": (lambda held: class_with("x", classmethod(closure(held))),
                            "vars(root)['x'].__func__.__closure__[0].cell_contents"),
    "class, method": (lambda held: class_with("x", closure(held)),
                      "root.x.__closure__[0].cell_contents"),
    "class, descriptor": (described, "vars(root)['x'].args[0]"),
    "class, base": (lambda held: type("Made", (class_with("x", held),), {}),
                    "root.__bases__[0].x"),
    "class, metaclass": (lambda held: of_main("Meta", (type,), held)("Made", (), {}),
                         "type(root).x"),
    "type": (lambda held: of_main("Made", (), held)(), "type(root).x"),
    "exception": (lambda held: Error(1, held), "root.args[1]"),
    "exception, attribute": (lambda held: with_attribute(Error(), held), "root.x"),
    "exception, builtin": (lambda held: OSError(1, "text", held), "root.filename"),
    "exception, group": (lambda held: ExceptionGroup("", [Error(held)]),
                         "root.exceptions[0].args[0]"),
    "exception, cause": (lambda held: caused(held, "__cause__"), "root.__cause__.args[1]"),
    "exception, context": (lambda held: caused(held, "__context__"), "root.__context__.args[1]"),
    "exception, traceback": (raised, "root.__traceback__.tb_frame.f_locals['local']"),
    "stop iteration": (lambda held: StopIteration(held), "root.value"),
    "weak keys": (lambda held: weakref.WeakKeyDictionary({KEPT: held}),
                  "list(root.values())[0]"),
    "weak values": (lambda held: weakref.WeakValueDictionary({held: KEPT}), "list(root)[0]"),
    "callback": (lambda held: weakref.ref(KEPT, closure(held)),
                 "root.__callback__.__closure__[0].cell_contents"),
    "time": (lambda held: datetime.datetime(1, 1, 1, tzinfo=Zone(held)), "root.tzinfo.x"),
}  # fmt: skip
if "__reduce__" in vars(itertools.repeat):  # up to Python 3.13, itertools could be pickled
    HOLDERS["repeat"] = (itertools.repeat, "root.__reduce_ex__(4)[1][0]")
    HOLDERS["chain"] = (
        lambda held: itertools.chain([1], [held]),
        "root.__reduce_ex__(4)[2][0].__reduce_ex__(4)[1][0][1][0]",
    )
KEPT = Target()


def with_attribute(holder: Any, held: Any) -> Any:
    object.__getattribute__(holder, "__dict__")["x"] = held
    return holder


def check(root: Any, target: Any, expected: str = "") -> None:
    """A path leads from one to the other, and it is the expected one, if any is."""
    path = path_to(root, target)
    assert path is not None
    with warnings.catch_warnings():
        # Of itertools, from Python 3.12 on. Looking for the path has said nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        assert eval(path, {"root": root}) is target, path
    assert "gc." not in path
    if expected:
        assert path == expected


def reports_name(target: Plain, root: Any, path: str, host: Any) -> None:
    """Reports and errors name what is weak, or cannot be pickled, in a holder."""
    target.me = weakref.ref(target)  # type: ignore[attr-defined]
    (finding,) = weakreduce.explain(root, host=host)
    assert finding.path == f"{path}.me"
    assert eval(finding.path, {"root": root}) is target.me  # type: ignore[attr-defined]
    target.bad = sys._getframe()  # type: ignore[attr-defined]
    (failure,) = weakreduce.explain(root, host=host).failures
    assert failure.path == f"{path}.bad"
    with pytest.raises(TypeError) as caught:
        weakreduce.dumps(root, host=host)
    assert failure.path in caught.value.__notes__[-1]
    del target.bad  # type: ignore[attr-defined]
