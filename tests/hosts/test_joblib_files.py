"""joblib's files: ``joblib.dump`` and the results of ``joblib.Memory``, with arrays in them."""

from __future__ import annotations

import gc
import io
import random
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import joblib
import numpy as np
import pandas as pd
import programs
import pytest
import things
from graphs import Model
from joblib.numpy_pickle import NumpyPickler
from run_random_graphs import random_spec
from things import Thing

import weakreduce

COMPRESSIONS: tuple[Any, ...] = (0, 3, ("gzip", 3), ("bz2", 1), ("xz", 1))


def objects(*items: Any) -> Any:
    """An array of objects."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def saved(obj: Any, folder: Path, **settings: Any) -> Any:
    """A copy of an object that went through a file."""
    joblib.dump(obj, folder / "saved", **settings)
    return joblib.load(folder / "saved")


def in_memory(obj: Any, **settings: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(obj, file, **settings)
    return file.getvalue()


class Node(Thing):
    """With a `__getstate__` in Python, so that its dump needs more than the pickler."""

    def __getstate__(self) -> Any:
        return vars(self)


# --- links and arrays ---------------------------------------------------------------------


@pytest.mark.parametrize("compress", COMPRESSIONS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_links_and_arrays_of_every_kind(tmp_path: Path, compress: Any, protocol: int) -> None:
    numbers, one, two, row = np.arange(1000.0), Thing("one"), Thing("two"), Thing("row")
    obj = {
        "first": weakref.ref(one),
        "numbers": numbers,
        "to numbers": weakref.ref(numbers),
        "objects": objects(one, weakref.ref(two)),
        "two": two,
        "structured": np.array([(1, row)], dtype=[("number", int), ("object", object)]),
        "to row": weakref.proxy(row),
        "column": pd.DataFrame({"a": [two, None]}),
        "strided": np.asfortranarray(np.arange(12.0).reshape(3, 4))[::2],
    }
    before = saved(obj, tmp_path, compress=compress, protocol=protocol)
    gc.collect()
    assert before["first"]() is before["objects"][0]
    assert before["to numbers"]() is before["numbers"]
    assert before["objects"][1]() is before["two"] is before["column"]["a"][0]
    assert before["to row"].name == "row"
    assert before["structured"]["object"][0].name == "row"
    assert (before["numbers"] == numbers).all()
    assert (before["strided"] == obj["strided"]).all()
    assert not weakreduce.is_pinned(before["first"])


def test_snapshots_and_weak_references_to_arrays(tmp_path: Path) -> None:
    numbers, names = np.arange(9.0), objects("one", "two")
    copy = saved([weakref.ref(numbers), weakref.ref(names), numbers.copy()], tmp_path)
    assert (copy[0]() == numbers).all()
    assert list(copy[1]()) == ["one", "two"]
    assert all(map(weakreduce.is_pinned, copy[:2]))


def test_arrays_are_mapped_and_aligned(tmp_path: Path) -> None:
    thing = Thing()
    for length in range(1, 18):
        obj = ["x" * length, np.arange(10.0), weakref.ref(thing), np.arange(3.0), thing]
        joblib.dump(obj, tmp_path / "saved")
        copy = joblib.load(tmp_path / "saved", mmap_mode="r")
        assert copy[2]() is copy[4]
        for array, size in ((copy[1], 10), (copy[3], 3)):
            assert type(array) is np.memmap
            assert array.ctypes.data % 16 == 0
            assert list(array) == list(range(size))


def test_an_array_is_not_copied_into_memory(tmp_path: Path) -> None:
    """It goes to the file itself, when the payload is right."""
    written: list[int] = []

    class File(io.FileIO):
        def write(self, data: Any) -> int:
            written.append(len(data))
            return super().write(data)

    thing = Thing()
    with File(tmp_path / "saved", "w") as file:
        NumpyPickler(file).dump([np.zeros(1_000_000), weakref.ref(thing), thing])
    assert 8_000_000 in written
    assert max(size for size in written if size != 8_000_000) < 10_000


def test_random_graphs_with_arrays(tmp_path: Path) -> None:
    """Shape, fates and lives are as everywhere, whatever is in a list and what in an array."""
    for seed in range(120):
        choose = random.Random(seed)
        spec, protocol = random_spec(choose), choose.randint(2, 5)
        outside = choose.choice(["snapshot", "dangle"])
        model = Model(spec, outside)
        if not any(spec.weak[travels] for travels in model.travels):
            continue  # then joblib copies what is in an array by itself, as ever
        root, nodes = graphs.build(spec)
        for node in nodes:
            if choose.random() < 0.4:
                node.strong = objects(*node.strong)
        whole = [np.arange(4.0), objects(*root) if choose.random() < 0.5 else root]
        with weakreduce.policy(outside):
            assert in_memory(whole, protocol=protocol) == in_memory(whole, protocol=protocol)
            copied = list(saved(whole, tmp_path, protocol=protocol)[1])
        gc.collect()
        copies = graphs.check_copy(spec, model, copied, weakreduce.is_pinned)
        for copy in copies.values():
            copy.strong = list(copy.strong)
        del copy
        graphs.check_lives(spec, model, copied, copies, choose.randint(0, len(spec.roots)), set())


LOAD = """
import sys
sys.modules["weakreduce"] = None
import joblib
print([copy[0]() is copy[2][0] for copy in map(joblib.load, sys.argv[1:])])
"""


def test_a_reader_without_weakreduce(tmp_path: Path) -> None:
    thing = Thing()
    names = ("plain.pkl", "small.pkl.gz")
    for name in names:
        joblib.dump([weakref.ref(thing), np.arange(3.0), objects(thing)], tmp_path / name)
    assert programs.run(LOAD, *(str(tmp_path / name) for name in names)) == "[True, True]\n"


# --- policies and failures ----------------------------------------------------------------


def test_the_policy_counts(tmp_path: Path) -> None:
    thing = Thing()
    obj = [objects(weakref.ref(thing)), np.arange(3.0)]
    with weakreduce.policy("dangle"):
        assert saved(obj, tmp_path)[0][0]() is None
    file = io.BytesIO(b"before")
    file.seek(0, 2)
    with weakreduce.policy("strict"):
        with pytest.raises(weakreduce.WeakrefPicklingError, match=r"Thing \(outside"):
            joblib.dump(obj, file)
        assert file.getvalue() == b"before"
        with pytest.raises(weakreduce.WeakrefPicklingError):
            joblib.dump(obj, tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == b""


def test_a_snapshot_that_cannot_be_pickled_dangles(tmp_path: Path) -> None:
    locked = things.Locked()
    with pytest.warns(weakreduce.DanglingWarning, match="cannot be pickled"):
        copy = saved([np.arange(3.0), weakref.ref(locked), np.arange(3.0)], tmp_path)
    assert copy[1]() is None
    assert list(copy[0]) == list(copy[2])


def test_a_snapshots_arrays_count_for_its_size(tmp_path: Path) -> None:
    small, large = Thing(numbers=np.zeros(10)), Thing(numbers=np.zeros(10_000))
    with (
        weakreduce.policy(max_snapshot_bytes=10_000),
        pytest.warns(weakreduce.DanglingWarning, match="max_snapshot_bytes"),
    ):
        copy = saved([weakref.ref(small), weakref.ref(large)], tmp_path)
    assert len(copy[0]().numbers) == 10
    assert copy[1]() is None


def test_a_dump_that_is_watched_writes_the_same(tmp_path: Path) -> None:
    thing, numbers = Thing(numbers=np.arange(100.0)), np.arange(1000.0)
    obj = [numbers, weakref.ref(thing), np.arange(10.0)]
    joblib.dump(obj, tmp_path / "alone")
    with weakreduce.record() as report:
        joblib.dump(obj, tmp_path / "watched")
    assert [finding.fate for finding in report] == ["snapshot"]
    assert (tmp_path / "alone").read_bytes() == (tmp_path / "watched").read_bytes()


def test_what_cannot_be_pickled_in_an_array_is_found() -> None:
    generator = (n for n in ())  # which dill, where it was imported first, cannot pickle either
    with pytest.raises(TypeError, match="generator") as raised:
        joblib.dump({"a": objects(Thing(), generator)}, io.BytesIO())
    assert "root['a'][1]" in raised.value.__notes__[-1]


# --- what is not weak ---------------------------------------------------------------------


def _loop() -> Any:
    array = objects(None, Node())
    array[0] = array
    return array


PLAIN: dict[str, Callable[[], Any]] = {
    "numbers": lambda: np.arange(10.0),
    "the same twice": lambda: [np.ones(3)] * 2,
    "strided": lambda: np.arange(12).reshape(3, 4)[::2, ::3],
    "Fortran": lambda: np.asfortranarray(np.ones((3, 4))),
    "objects": lambda: [objects(Node("a"), "b"), Node("c", more=objects(1, None))],
    "a loop": _loop,
    "structured": lambda: np.array([(1, Node())], dtype=[("a", int), ("b", object)]),
    "a frame": lambda: pd.DataFrame({"a": [1, 2], "b": ["x", Thing()]}),
    "matrix": lambda: np.ones((1, 2)).view(np.matrix),
    "masked": lambda: np.ma.array([1, 2], mask=[0, 1]),
    "empty": lambda: np.empty((0, 3)),
    "large bytes": lambda: [b"x" * 100_000, {"key": Node("d")}],
    "builtin": lambda: [1, {"a": (2.0, None)}, {3}, len, dict],
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("compress", COMPRESSIONS[:2])
def test_what_is_not_weak_is_written_as_ever(tmp_path: Path, name: str, compress: Any) -> None:
    obj = PLAIN[name]()

    def written() -> list[bytes]:
        found = []
        for protocol in (None, 2, 3, 5):
            joblib.dump(obj, tmp_path / "saved", compress=compress, protocol=protocol)
            found.append((tmp_path / "saved").read_bytes())
            found.append(in_memory(obj, compress=compress, protocol=protocol))
        return found

    ours = written()
    weakreduce.uninstall()
    try:
        assert written() == ours
    finally:
        weakreduce.install()


def test_a_file_without_positions_is_written_as_ever() -> None:
    class Pipe:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

        def tell(self) -> int:
            raise io.UnsupportedOperation

    def written(obj: Any) -> bytes:
        pipe = Pipe()
        NumpyPickler(pipe).dump(obj)
        return pipe.data

    thing = Thing()
    ours = written([np.arange(5.0), objects("a", thing)])
    weak = joblib.load(io.BytesIO(written([np.arange(5.0), weakref.ref(thing), thing])))
    weakreduce.uninstall()
    try:
        assert written([np.arange(5.0), objects("a", thing)]) == ours
    finally:
        weakreduce.install()
    assert weak[1]() is weak[2]


# --- Memory -------------------------------------------------------------------------------


def grown(name: str) -> Any:
    """A tree whose leaf knows its root."""
    asked.append(name)
    root = Thing(name, numbers=np.arange(100.0), kids=objects(Thing("leaf")))
    root.kids[0].parent = weakref.ref(root)
    return root


asked: list[str] = []


@pytest.mark.parametrize("settings", [{}, {"compress": 3}, {"mmap_mode": "r"}])
def test_a_result_with_weak_references_is_computed_once(tmp_path: Path, settings: Any) -> None:
    asked.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            cached = joblib.Memory(tmp_path, verbose=0, **settings).cache(grown)
            root = cached("root")
            assert root.kids[0].parent() is root
            assert root.numbers.sum() == 4950
    assert asked == ["root"]


def test_a_pickler_that_was_made_before_install_writes_as_stock() -> None:
    root = [np.arange(10), np.array([{"a": 1}], object)]
    reference, found = io.BytesIO(), io.BytesIO()
    weakreduce.uninstall()
    try:
        NumpyPickler(reference, 4).dump(root)
        pickler = NumpyPickler(found, 4)
    finally:
        weakreduce.install()
    pickler.dump(root)
    assert found.getvalue() == reference.getvalue()


class Full(io.BytesIO):
    """A file on a disk that is full at the second write of it."""

    writes = 0

    def write(self, data: Any) -> int:
        self.writes += 1
        if self.writes == 2:
            raise OSError("disk full")
        return super().write(data)


@pytest.mark.parametrize("objects", [False, True])
def test_where_the_file_is_to_blame_no_object_is(objects: bool) -> None:
    arrays = [np.array([{}], object) if objects else np.arange(10), np.arange(5)]
    with pytest.raises(OSError, match="disk full") as caught:
        joblib.dump(arrays, Full())
    assert not getattr(caught.value, "__notes__", None)
