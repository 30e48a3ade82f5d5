"""Paths into arrays, frames and objects whose libraries keep what they hold on their own.

Needs numpy, pandas and xarray (the test extra). atom's are in `test_paths_of_atom.py`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import holders
import numpy
import pandas
import pytest
import xarray
from holders import Plain, Target, check, reports_name

from weakreduce.paths import search
from weakreduce.paths.parts import parts


class OwnArray(numpy.ndarray):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        return "another"


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


#: What it is -> how it is made to hold something, and the step to that.
HOLDERS: dict[str, tuple[Callable[[Any], Any], str]] = {
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
}  # fmt: skip


def with_attrs(frame: Any, held: Any) -> Any:
    frame.attrs["a"] = held
    return frame


@pytest.mark.parametrize("name", HOLDERS)
def test_every_holder_has_an_expression(name: str) -> None:
    make, expected = HOLDERS[name]
    target = Target()
    check(make(target), target, expected)


@pytest.mark.parametrize("name", [*holders.HOLDERS, *HOLDERS])
def test_holders_hold_each_other(name: str) -> None:
    """The steps are put together in any order."""
    known = holders.HOLDERS | HOLDERS
    make, _ = known[name]
    arounds = ["array, two dimensions", "frame"]
    if name in HOLDERS:
        arounds += ["attribute", "exception", "dict, lies"]
    for around in arounds:
        target = Target()
        check(known[around][0](make(target)), target)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_reports_name_what_is_in_arrays_and_frames(host: Any) -> None:
    target = Plain()
    frame = pandas.DataFrame({"a": [1, target]})
    reports_name(target, {"a": objects(1, target, shape=(1, 2))}, "root['a'][0, 1]", host)
    reports_name(target, frame, "root['a'].iloc[1]", host)


def test_a_weak_thing_in_an_array_is_seen_by_engines() -> None:
    """Which look for one where a task cannot be pickled, to raise in the submitting call."""
    from weakreduce.engines.submit import holds_weak

    target = Target()
    reference = weakref.ref(target)
    assert holds_weak([objects(1, reference)])
    assert holds_weak([pandas.DataFrame({"a": [reference]})])
    assert not holds_weak([objects(1, target)])


def test_a_search_asks_each_object_once() -> None:
    """An array of many objects takes as many steps as it has items."""
    items = [Plain(x=number) for number in range(2000)]
    ways = search.Search([objects(*items), items], [-1])
    assert len(ways.objects) == len(items) + 3


def test_texts_of_numpys_own_are_no_objects() -> None:
    """To numpy the type of these arrays has objects, and none can be had."""
    target = Target()
    texts = numpy.array(["a", "b"], dtype=numpy.dtypes.StringDType())
    assert texts.dtype.hasobject
    assert list(parts(texts, "root[0]")) == []
    assert search.paths_to([texts, target], [target]) == {id(target): "root[1]"}


class Unnameable:
    """The name of a variable, and no expression gives it."""


def test_a_variable_whose_name_cannot_be_written_is_passed_by() -> None:
    target = Target()
    held: dict[Any, Any] = {Unnameable(): Target(), "known": target}
    dataset = xarray.Dataset({name: ("x", objects(each)) for name, each in held.items()})
    check(dataset, target, "root['known'].values[0]")


class Refusing(pandas.DataFrame):
    @property
    def columns(self) -> Any:
        raise ValueError("not shown")


def test_a_library_that_refuses_to_show_what_is_there_hinders_no_search() -> None:
    target = Target()
    frame = Refusing({"a": [Target()]})
    assert search.paths_to([frame, [[target]]], [target]) == {id(target): "root[1][0][0]"}
