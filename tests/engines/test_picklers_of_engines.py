"""The picklers that engines bring along do what cloudpickle's and multiprocessing's own do.

Needs multiprocess, Ray and PySpark.
"""

from __future__ import annotations

import importlib

import gaps
import pytest
from other_picklers import check_buffers, check_nothing_changes


@pytest.mark.parametrize("uninstalled", [False, True])
@pytest.mark.parametrize("module", gaps.params("multiprocess"))
def test_every_buffer_goes_out_once(module: str, uninstalled: bool) -> None:
    pickler = importlib.import_module(f"{module}.reduction").ForkingPickler
    check_buffers(lambda file, callback: pickler(file, 5, buffer_callback=callback), uninstalled)


@pytest.mark.parametrize("host", gaps.params("ray.cloudpickle", "pyspark.cloudpickle"))
def test_nothing_changes_where_nothing_is_weak(host: str) -> None:
    check_nothing_changes(host)
