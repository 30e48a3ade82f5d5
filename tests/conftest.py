"""What every test shares: a clean policy, and names that do not leak from test to test."""

from __future__ import annotations

import contextlib
import copyreg
import gc
import types
from collections.abc import Iterator

import pytest

import weakreduce
from weakreduce import names

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


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    before = weakreduce.get_policy()
    yield
    weakreduce.set_policy(before)
    for name in list(names._by_name):
        weakreduce.unshare(name)


def pytest_report_header() -> list[str]:
    import cloudpickle
    import dill

    return [f"cloudpickle {cloudpickle.__version__}, dill {dill.__version__}"]
