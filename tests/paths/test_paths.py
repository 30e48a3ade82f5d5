"""Paths: each is an expression that gives the object, with nothing but `root` to start from."""

from __future__ import annotations

import collections
import contextlib
import datetime
import enum
import functools
import itertools
import operator
import subprocess
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import atom.api
import numpy
import pandas
import pytest
import xarray
from ways import path_to

import weakreduce
from weakreduce.paths import search


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


class Members(atom.api.Atom):
    x = atom.api.Value()
    items = atom.api.List()


class MoreMembers(Members):
    y = atom.api.Value()


class LateMembers(atom.api.Atom):
    x = atom.api.Value(factory=lambda: pytest.fail("made for a path"))


class OwnArray(numpy.ndarray):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        return "another"


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


def objects(*items: Any, shape: Any = None) -> Any:
    array = numpy.empty(len(items), dtype=object)
    for number, item in enumerate(items):
        array[number] = item
    return array if shape is None else array.reshape(shape)


def fields(held: Any) -> Any:
    inner = numpy.dtype([("b c", object, (2,)), ("n", int)])
    array = numpy.zeros((1, 2), dtype=[("n", float), ("a", inner)])
    array["a"]["b c"][0, 1, 1] = held
    return array


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
    "repeat": (lambda held: itertools.repeat(held), "root.__reduce_ex__(4)[1][0]"),
    "chain": (lambda held: itertools.chain([1], [held]),
              "root.__reduce_ex__(4)[2][0].__reduce_ex__(4)[1][0][1][0]"),
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
    "array": (lambda held: objects(1, held), "root[1]"),
    "array, two dimensions": (lambda held: objects(1, 2, 3, held, shape=(2, 2)), "root[1, 1]"),
    "array, no dimension": (lambda held: objects(held, shape=()), "root[()]"),
    "array, Fortran": (lambda held: objects(1, 2, held, 4, shape=(2, 2)).T, "root[0, 1]"),
    "array, view": (lambda held: objects(1, 2, held, 4)[::2], "root[1]"),
    "array, fields": (fields, "root['a']['b c'][0, 1, 1]"),
    "array, record": (lambda held: fields(held)[0, 1], "root['a']['b c'][1]"),
    "array, record of one": (
        lambda held: numpy.array([(held, 1)], dtype=[("a", object), ("b", int)])[0], "root['a']"),
    "array, matrix": (lambda held: objects(held, 1, shape=(1, 2)).view(numpy.matrix),
                      "root.__array__()[0, 0]"),
    "array, masked": (lambda held: numpy.ma.array(objects(1, held), mask=[False, True]),
                      "root.__array__()[1]"),
    "array, subclass": (lambda held: objects(1, held).view(OwnArray), "root.__array__()[1]"),
    "frame": (lambda held: pandas.DataFrame({"n": [1, 2], "a": [1, held]}), "root['a'].iloc[1]"),
    "frame, number": (lambda held: pandas.DataFrame({0: [held]}), "root[0].iloc[0]"),
    "frame, same names": (lambda held: pandas.DataFrame([[1, held]], columns=["a", "a"]),
                          "root.iloc[:, 1].iloc[0]"),
    "frame, odd name": (lambda held: pandas.DataFrame({(1, "a"): [held]}),
                        "root.iloc[:, 0].iloc[0]"),
    "frame, several": (lambda held: pandas.DataFrame({"a": [1, 2], "b": [3, held], "c": [5, 6]},
                                                    dtype=object), "root['b'].iloc[1]"),
    "frame, index": (lambda held: pandas.DataFrame({"a": [1, 2]}, index=[3, held]),
                     "root.index[1]"),
    "frame, column name": (lambda held: pandas.DataFrame([[1, 2]], columns=[3, held]),
                           "root.columns[1]"),
    "frame, attrs": (lambda held: with_attrs(pandas.DataFrame(), held), "root._attrs['a']"),
    "frame, category": (lambda held: pandas.DataFrame({"a": pandas.Categorical([held])}), ""),
    "series": (lambda held: pandas.Series([1, held], index=["a", "b"]), "root.iloc[1]"),
    "series, index": (lambda held: pandas.Series([1, 2], index=[3, held]), "root.index[1]"),
    "series, category": (lambda held: pandas.Series(pandas.Categorical([held])), ""),
    "index": (lambda held: pandas.Index([1, held]), "root[1]"),
    "index, levels": (lambda held: pandas.MultiIndex.from_arrays([[1, 2], [held, held]]), ""),
    "index, category": (lambda held: pandas.CategoricalIndex([held]), ""),
    "data array": (lambda held: xarray.DataArray(objects(1, held), dims="x"), "root.values[1]"),
    "data array, attrs": (lambda held: xarray.DataArray([1], attrs={"a": held}), ""),
    "data array, coordinate": (
        lambda held: xarray.DataArray([1], dims="x", coords={"x": objects(held)}), ""),
    "variable": (lambda held: xarray.Variable("x", objects(1, held)), "root.values[1]"),
    "dataset": (lambda held: xarray.Dataset({"a": ("x", objects(1, held))}),
                "root['a'].values[1]"),
    "time": (lambda held: datetime.datetime(1, 1, 1, tzinfo=Zone(held)), "root.tzinfo.x"),
    "atom": (lambda held: Members(x=held), "root.x"),
    "atom, list": (lambda held: Members(items=[1, held]), "root.items[1]"),
    "atom, subclass": (lambda held: MoreMembers(y=held), "root.y"),
}  # fmt: skip
KEPT = Target()


def with_attribute(holder: Any, held: Any) -> Any:
    object.__getattribute__(holder, "__dict__")["x"] = held
    return holder


def with_attrs(frame: Any, held: Any) -> Any:
    frame.attrs["a"] = held
    return frame


@pytest.mark.parametrize("name", HOLDERS)
def test_every_holder_has_an_expression(name: str) -> None:
    make, expected = HOLDERS[name]
    target = Target()
    root = make(target)
    path = path_to(root, target)
    assert path is not None
    assert eval(path, {"root": root}) is target, path
    assert "gc." not in path
    if expected:
        assert path == expected


@pytest.mark.parametrize("name", HOLDERS)
def test_holders_hold_each_other(name: str) -> None:
    """The steps are put together in any order."""
    make, _ = HOLDERS[name]
    for around in ("attribute", "array, two dimensions", "frame", "exception", "dict, lies"):
        target = Target()
        inner = make(target)
        root = HOLDERS[around][0](inner)
        path = path_to(root, target)
        assert path is not None
        assert eval(path, {"root": root}) is target, path


def test_nothing_is_made_for_a_path() -> None:
    """A member that is not set stays so: looking does not change what is looked at."""
    target = Target()
    assert path_to([LateMembers(), target], target) == "root[1]"


def test_no_code_of_the_users_runs() -> None:
    asked: list[str] = []

    class Counts:
        def __reduce__(self) -> Any:
            asked.append("reduce")
            return (Counts, ())

        @property
        def x(self) -> Any:
            asked.append("x")

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise AttributeError(name)

    class CountsPartial(functools.partial):  # type: ignore[type-arg]
        def __reduce__(self) -> Any:
            asked.append("reduce")
            return super().__reduce__()

    target = Target()
    root = [with_attribute(Counts(), 1), CountsPartial(print, 1), target]
    assert search.Search(root, [-1]).path(target) is None
    assert asked == []


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_reports_name_what_is_in_arrays_and_frames(host: Any) -> None:
    target = Plain()
    target.me = weakref.ref(target)  # type: ignore[attr-defined]
    frame = pandas.DataFrame({"a": [1, target]})
    for root, expected in (
        ({"a": objects(1, target, shape=(1, 2))}, "root['a'][0, 1].me"),
        (frame, "root['a'].iloc[1].me"),
        (Members(x=target), "root.x.me"),
    ):
        (finding,) = weakreduce.explain(root, host=host)
        assert finding.path == expected
        assert eval(finding.path, {"root": root}) is target.me  # type: ignore[attr-defined]
        target.bad = sys._getframe()  # type: ignore[attr-defined]
        (failure,) = weakreduce.explain(root, host=host).failures
        assert failure.path == expected.removesuffix("me") + "bad"
        with pytest.raises(TypeError) as caught:
            weakreduce.dumps(root, host=host)
        assert failure.path in caught.value.__notes__[-1]
        del target.bad  # type: ignore[attr-defined]


def test_a_weak_thing_in_an_array_is_seen_by_engines() -> None:
    """Which look for one where a task cannot be pickled, to raise in the submitting call."""
    from weakreduce.engines.early import holds_weak

    target = Target()
    for holder in (objects(1, weakref.ref(target)), pandas.DataFrame({"a": [weakref.ref(target)]}),
                   Members(x=weakref.ref(target))):  # fmt: skip
        assert holds_weak([holder])
    assert not holds_weak([objects(1, target), Members(x=1)])


def test_types_that_are_not_ready_are_passed_by() -> None:
    """In a process of its own: the interpreter made this type ready for nobody yet."""
    code = (
        "from weakreduce.paths import search\n"
        "lines, last = (lambda: 0).__code__.co_lines(), []\n"
        "print(search.paths_to([lines, last], [last])[id(last)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "root[1]\n"), done.stderr


def test_a_search_asks_each_object_once() -> None:
    """An array of many objects takes as many steps as it has items."""
    items = [Plain(x=number) for number in range(2000)]
    ways = search.Search([objects(*items), items], [-1])
    assert len(ways.objects) == len(items) + 3


def test_a_function_leads_to_the_globals_that_it_names_alone() -> None:
    def function() -> Any:
        return Target

    missing = object()
    ways = search.Search([function], [id(missing)], lambda obj: obj is Target)
    assert not ways.places
    assert any(obj is Target for obj in ways.objects)
    assert not any(obj is Plain for obj in ways.objects)
