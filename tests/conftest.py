"""What every test shares: a clean policy, and names that do not leak from test to test."""

from __future__ import annotations

import contextlib
import copyreg
import gc
import multiprocessing
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import gaps
import pytest

import weakreduce
from weakreduce.model import kinds, sharing

with contextlib.suppress(ImportError):  # there is no release of it for the newest Python at first
    # Before joblib: where its copy of loky is imported first, the files of joblib's arrays are left
    # behind in a process that imports both, without weakreduce too.
    import loky  # noqa: F401


@pytest.fixture(autouse=True, scope="module")
def _without_tracebacks() -> Iterator[None]:
    """Where Dask reports an error, tblib makes its class travel with tracebacks from then on.

    Those lead to the frames that were running when they arrived, so to the engine's own objects.
    """
    yield
    for cls in list(copyreg.dispatch_table):
        if issubclass(cls, (BaseException, types.TracebackType)):
            del copyreg.dispatch_table[cls]


@pytest.fixture(autouse=True, scope="module")
def _without_what_was_there_before() -> None:
    """Tests collect garbage, some many times: not among the modules of every engine."""
    gc.collect()
    gc.freeze()


#: What follows the run, as coverage does. The interpreter ends that where it raises, for instance
#: where a test comes to the end of the recursion.
_tracer = sys.gettrace()


@pytest.fixture(autouse=True)
def _followed() -> None:
    if sys.gettrace() is None:
        sys.settrace(_tracer)


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    before = weakreduce.get_policy()
    # Where a type was registered, every type is looked at, and the short cuts are not taken.
    registered, ever_registered = kinds._registered.copy(), len(kinds._have_registered)
    yield
    weakreduce.set_policy(before)
    kinds._registered = registered
    del kinds._have_registered[ever_registered:]
    for name in list(sharing._by_name):
        weakreduce.unshare(name)


#: What is lacking, and the files of tests or how many tests of others are left out for it.
_left_out: dict[str, list[str]] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*what): left out where a new Python does not have that yet (gaps.py)"
    )


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    lacked = gaps.lacked_by(collection_path)
    for what in lacked:
        found = _left_out.setdefault(what, [])
        if collection_path.name not in found:  # asked for each argument of pytest
            found.append(collection_path.name)
    return True if lacked else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, dropped = [], []
    for item in items:
        needed = [what for mark in item.iter_markers("needs") for what in mark.args]
        lacked = [what for what in needed if gaps.lacks(what)]
        (dropped if lacked else kept).append(item)
        for what in lacked:
            _left_out.setdefault(what, []).append(item.nodeid.rpartition("/")[2])
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_collection_finish() -> None:
    """Files of tests, and the libraries that they import, leave the process as it is."""
    found, usual = multiprocessing.get_start_method(), multiprocessing.get_all_start_methods()[0]
    if found != usual:
        raise pytest.UsageError(f"an import made {found!r} the start method, instead of {usual!r}")


def pytest_report_collectionfinish() -> list[str]:
    """Name what is left out: nothing, but on a Python that is new."""
    return [
        f"left out, as {gaps.reason(what)}: {', '.join(names[:5])}"
        + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        for what, names in sorted(_left_out.items())
    ]


def pytest_report_header() -> list[str]:
    import cloudpickle
    import dill

    return [f"cloudpickle {cloudpickle.__version__}, dill {dill.__version__}"]
