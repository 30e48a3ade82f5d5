"""`explain-load` and `inspect` of files that are no single pickle: packed, of joblib, several."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import things

import weakreduce
from weakreduce.__main__ import main
from weakreduce.reading import packed, payload
from weakreduce.reading.loading import LoadReport

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
}
COMPRESSIONS: list[Any] = [0, 3, ("zlib", 1), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)]


class Failing(things.Thing):
    """Loads as long as it may."""

    may = True

    def __setstate__(self, state: Any) -> None:
        if not self.may:
            raise ValueError("not here")
        vars(self).update(state)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(Failing, "may", False)


def of_joblib(obj: Any, **settings: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(obj, file, **settings)
    return file.getvalue()


def objects(*items: Any) -> Any:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(list(arguments))
    printed = capsys.readouterr()
    return status, (printed.out or printed.err).rstrip("\n")


# --- packed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("packer", PACKERS)
def test_what_is_packed_is_unpacked(
    packer: str, refusing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = pickle.dumps({"a": [1, Failing()]})
    data = PACKERS[packer](whole)
    path = tmp_path / "saved"
    path.write_bytes(data)
    report = weakreduce.explain_load(data)
    assert report == LoadReport()
    assert report.packed == packer
    assert str(report) == f"it loads, unpacked by {packer}"
    assert asked(capsys, "explain-load", str(path)) == (0, str(report))
    status, text = asked(capsys, "inspect", str(path))
    assert status == 0
    start = f"{path} (unpacked by {packer}): {len(whole)} bytes, protocol {pickle.DEFAULT_PROTOCOL}"
    assert text.startswith(f"{start}\n")
    status, text = asked(capsys, "inspect", "--json", str(path))
    assert json.loads(text)["packed"] == packer
    refusing()
    report = weakreduce.explain_load(data)
    assert (report.error, report.path) == ("ValueError: not here", "root['a'][1]")
    assert report.packed == packer
    status, text = asked(capsys, "explain-load", str(path))
    assert status == 1
    assert text.splitlines()[0] == "ValueError: not here"
    assert text.splitlines()[-1] == f"  unpacked by {packer}"


@pytest.mark.parametrize("packer", PACKERS)
def test_what_is_packed_and_damaged(packer: str, tmp_path: Path) -> None:
    """Each is told, and none is taken for a pickle."""
    whole = PACKERS[packer](pickle.dumps(list(range(1000))))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for data in (whole[:-9], whole[: len(whole) // 2], bytes(flipped)):
        report = weakreduce.explain_load(data)
        assert report.error is not None
        if packer == "lzma" and report.packed:
            continue  # it has no check, so what comes of it is no pickle
        assert report.error.startswith(f"UnpicklingError: packed by {packer}, and damaged: ")
        (tmp_path / "saved").write_bytes(data)
        with pytest.raises(payload.NotAPayload, match=f"packed by {packer}, and damaged"):
            payload.read(str(tmp_path / "saved"))


def test_what_packs_and_is_not_known() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(1))
    for data, packer in (
        (file.getvalue(), "zip"),
        (b"\x04\x22\x4d\x18rest", "lz4"),
    ):
        assert weakreduce.explain_load(data).error == (
            f"UnpicklingError: not a pickle, but packed by {packer}; unpack it first"
        )


def test_zstandard_where_python_has_it() -> None:
    data = bytes.fromhex("28b52ffd2003190000") + b"N."
    report = weakreduce.explain_load(data)
    if importlib.util.find_spec("compression") is None:
        assert report.error == (
            "UnpicklingError: packed by zstandard, which this Python cannot read; unpack it first"
        )
    else:
        assert report.error is not None
        assert "packed by zstandard, and damaged" in report.error
        zstd: Any = importlib.import_module("compression.zstd")
        assert weakreduce.explain_load(zstd.compress(pickle.dumps([1]))) == LoadReport()


@pytest.mark.parametrize("packer", PACKERS)
def test_inspect_unpacks_no_more_than_it_holds(
    packer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes may be gigabytes, unpacked."""
    monkeypatch.setattr(payload, "_UNPACKED", 100_000)
    (tmp_path / "saved").write_bytes(PACKERS[packer](pickle.dumps(bytes(200_000))))
    with pytest.raises(payload.NotAPayload, match="more than 100,000 bytes"):
        payload.read(str(tmp_path / "saved"))
    (tmp_path / "saved").write_bytes(PACKERS[packer](pickle.dumps(bytes(90_000))))
    assert payload.read(str(tmp_path / "saved")).payloads[0].size > 90_000


def test_no_pickle_begins_like_what_is_packed() -> None:
    for protocol in range(6):
        for obj in ([], [0], {}, "x", b"x", b"Zh9" * 9, bytearray(b"h91AY&SY"), 0x5D, None, ((),)):
            assert packed.packer_of(pickle.dumps(obj, protocol)) is None


# --- of joblib ------------------------------------------------------------------------------

ARRAYS: list[Any] = [
    np.arange(5), np.zeros(0), np.array(3.0), np.arange(6.0).reshape(2, 3).T, np.array(["ab", "c"]),
    np.array([b"x"]), np.zeros(3, dtype=">i4"), np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
    np.array(["2020-01-01"], dtype="M8[D]"), objects("x", [1], None), objects(np.arange(3), {}),
    np.array([], dtype=object), np.arange(100_000), np.ones(3, dtype="c16"), np.array([True]),
]  # fmt: skip


@pytest.mark.parametrize("compress", COMPRESSIONS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_files_of_joblib(compress: Any, protocol: int, refusing: Any) -> None:
    """Arrays before, inside and behind what fails, which is found by its path."""
    root = {"arrays": ARRAYS, "bad": [1, Failing(data=np.arange(3))], "last": np.arange(9)}
    data = of_joblib(root, compress=compress, protocol=protocol)
    assert weakreduce.explain_load(data) == LoadReport()
    refusing()
    with pytest.raises(ValueError, match="not here"):
        joblib.load(io.BytesIO(data))
    report = weakreduce.explain_load(data)
    assert (report.error, report.path) == ("ValueError: not here", "root['bad'][1]")
    assert report.call is not None
    assert "Failing.__setstate__({'name': 'thing', 'data'" in report.call


def test_what_fails_in_an_array_of_objects(refusing: Any) -> None:
    data = of_joblib({"first": np.arange(3), "it": [objects(1, {"deep": Failing()}), np.arange(4)]})
    assert weakreduce.explain_load(data) == LoadReport()
    refusing()
    report = weakreduce.explain_load(data)
    assert report.error == "ValueError: not here"
    assert report.path is not None and report.path.startswith("root['it'][0]")
    assert report.call is not None and "Failing.__setstate__" in report.call


def test_what_is_cut_short_in_an_array() -> None:
    root = {"first": np.arange(3), "second": [np.arange(1000.0)]}
    data = of_joblib(root)
    for size in (500, 3000, len(data) - 5):
        with pytest.raises(Exception):  # noqa: B017, PT011
            joblib.load(io.BytesIO(data[:size]))
        assert weakreduce.explain_load(data[:size]).error is not None
    report = weakreduce.explain_load(data[:3000])
    assert report.path == "root['second'][0]"
    assert report.call == "joblib reads an array of shape (1000,)"
    assert report.error is not None and report.error.startswith("ValueError")


def test_the_arrays_are_those_that_joblib_loads() -> None:
    from weakreduce.reading.loader import Loader

    for array, found in zip(ARRAYS, Loader(of_joblib(ARRAYS)).load(), strict=True):
        expected = joblib.load(io.BytesIO(of_joblib(array)))
        assert (type(found), found.dtype, found.shape) == (type(array), expected.dtype, array.shape)
        assert found.tobytes() == expected.tobytes() or found.dtype.hasobject


def test_inspect_says_what_a_file_of_joblib_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "saved"
    for obj in (np.arange(3), [objects(1, 2)], {"a": [1, np.zeros(1000)]}):
        for compress in (0, 3):
            path.write_bytes(of_joblib(obj, compress=compress))
            status, text = asked(capsys, "inspect", str(path))
            assert status == 2
            assert "a file of joblib.dump with arrays in it is no pickle" in text
            assert "explain-load" in text
            assert asked(capsys, "explain-load", str(path))[0] == 0
    # Without arrays it is a pickle like any other, also of joblib's own functions.
    path.write_bytes(of_joblib([1, joblib.load], compress=3))
    status, text = asked(capsys, "inspect", str(path))
    assert status == 0
    assert "needs: joblib.numpy_pickle" in text


# --- several in a row -----------------------------------------------------------------------


def test_all_pickles_of_a_file_are_loaded(
    refusing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pickles = [pickle.dumps([1, 2]), pickle.dumps({"a": Failing()}), pickle.dumps("last", 0)]
    path = tmp_path / "saved"
    for pack in (bytes, gzip.compress):
        path.write_bytes(pack(b"".join(pickles)))
        packer = "" if pack is bytes else ", unpacked by gzip"
        assert asked(capsys, "explain-load", str(path)) == (0, f"3 pickles: it loads{packer}")
    path.write_bytes(b"".join(pickles))
    refusing()
    status, text = asked(capsys, "explain-load", str(path))
    at = len(pickles[0])
    assert status == 1
    assert text.splitlines()[:2] == [
        f"pickle 2 of 3, at byte {at}: ValueError: not here", "  at root['a']",
    ]  # fmt: skip
    status, text = asked(capsys, "explain-load", "--json", str(path))
    found = json.loads(text)
    assert found["path"] == "root['a']"
    assert (found["pickle"], found["pickles"], found["at"]) == (2, 3, at)
    # As for `loads`, it is the first that counts.
    assert weakreduce.explain_load(path.read_bytes()) == LoadReport()


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        (b"no pickle", "UnpicklingError: invalid load key"),
        (pickle.dumps([1, 2])[:-1], "UnpicklingError: pickle data was truncated"),
        (bytes(10), r"UnpicklingError: invalid load key, '\x00'."),
    ],
)
def test_what_follows_and_is_no_pickle(
    rest: bytes, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pickle.dumps({"a": 1})
    (tmp_path / "saved").write_bytes(first + rest)
    status, text = asked(capsys, "explain-load", str(tmp_path / "saved"))
    assert status == 1
    assert text.startswith(f"pickle 2, at byte {len(first)}: {error}")


def test_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "saved").write_bytes(b"")
    status, text = asked(capsys, "explain-load", str(tmp_path / "saved"))
    assert (status, text.splitlines()[0]) == (1, "EOFError: Ran out of input")


def test_files_of_joblib_in_a_row(
    tmp_path: Path, refusing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "saved"
    with open(path, "wb") as file:
        joblib.dump([np.arange(3)], file)
        joblib.dump({"a": [np.arange(3), Failing()]}, file)
    assert asked(capsys, "explain-load", str(path)) == (0, "2 pickles: it loads")
    refusing()
    status, text = asked(capsys, "explain-load", str(path))
    assert status == 1
    assert text.startswith("pickle 2, at byte ")
    assert "  at root['a'][1]" in text


def test_many_pickles_are_not_copied_again_and_again(tmp_path: Path) -> None:
    from weakreduce.reading.loading import of_file

    data = pickle.dumps(bytes(100)) * 20_000
    found = of_file(data, "pickle")
    assert (found.number, found.report.error) == (20_000, None)


NO_PICKLES = {
    "script.py": b"import weakref\nprint(weakref)\n",
    "classes.py": b"class Book:\n  pass\n",
    "text.txt": b"(I am not a pickle)\n",
    "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "page.html": b"<!doctype html>\n",
    "newer": b"\x80\x77rest",
    "packed.gz": gzip.compress(b"import weakref\n"),
}


def test_what_is_no_pickle_is_not_run(tmp_path: Any, capsys: Any) -> None:
    """Exit status 2, as `inspect` has it; a text may begin as an import does."""
    for name, data in NO_PICKLES.items():
        path = tmp_path / name
        path.write_bytes(data)
        for command in ("explain-load", "inspect"):
            assert main([command, str(path)]) == 2, name
            done = capsys.readouterr()
            assert done.out == ""
            assert name in done.err
    # These are some, which do not load, or an old one that does.
    whole = pickle.dumps([1, 2, {3: "text" * 9}])
    for data in (whole[:-1], whole.replace(b"K\x02", b"\xffx")):
        (tmp_path / "damaged").write_bytes(data)
        assert main(["explain-load", str(tmp_path / "damaged")]) == 1
    for protocol in range(6):
        (tmp_path / "good").write_bytes(pickle.dumps([1, "two"], protocol))
        assert main(["explain-load", str(tmp_path / "good")]) == 0


def test_several_files_are_loaded(tmp_path: Any, capsys: Any) -> None:
    paths = [str(tmp_path / name) for name in ("good", "other", "script.py", "bad")]
    for path, data in zip(
        paths,
        (pickle.dumps(1), pickle.dumps([2]), NO_PICKLES["script.py"], pickle.dumps([1])[:-1]),
        strict=True,
    ):
        with open(path, "wb") as file:
            file.write(data)
    good, other, script, bad = paths
    assert asked(capsys, "explain-load", good, other) == (
        0, f"{good}: it loads\n{other}: it loads",
    )  # fmt: skip
    status, text = asked(capsys, "explain-load", bad, good)
    assert (status, text.count("it loads")) == (1, 1)
    assert text.startswith(f"{bad}: UnpicklingError")
    status, text = asked(capsys, "explain-load", good, script, bad, str(tmp_path / "nowhere"))
    assert status == 2
    assert (text.count("it loads"), text.count("UnpicklingError")) == (1, 1)
    status, text = asked(capsys, "explain-load", "--json", good, bad)
    assert [found["error"] is None for found in json.loads(text)] == [True, False]
    assert status == 1
    status, text = asked(capsys, "explain-load", "--json", good)
    assert json.loads(text)["error"] is None


def test_a_file_is_not_its_bytes(tmp_path: Any) -> None:
    path = tmp_path / "payload.pkl"
    path.write_bytes(pickle.dumps(1))
    with open(path, "rb") as file:
        for given in (str(path), path, file, io.BytesIO(pickle.dumps(1))):
            with pytest.raises(TypeError, match=r"takes the bytes .* explain-load FILE"):
                weakreduce.explain_load(given)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        weakreduce.explain_load(None)  # type: ignore[arg-type]
    for data in (bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        assert weakreduce.explain_load(data).error is None
