"""Records of what engines were sent: paths begin with the same names for every task.

Whether a task is pickled in the submitting call, in a thread of the engine's, or in both.
"""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
import multiprocessing
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import things

import weakreduce

METHODS = ("fork", "spawn", "forkserver")
SIZE = 200_000
Submit = Callable[..., Any]


def sent(call: Callable[[], Any]) -> set[str]:
    with weakreduce.record() as report:
        call()
    assert report.heaviest
    return {weight.path for weight in report.heaviest} | {finding.path for finding in report}


def named(size: int) -> things.Thing:
    return things.Thing(data=bytes(size), weak=weakref.ref(things.called))


def check(submit: Submit) -> None:
    """Tasks of each sort: atoms, objects, with weak things, too large to be sent as bytes."""
    assert sent(lambda: submit(things.called, bytes(SIZE))) == {"args[0]"}
    assert sent(lambda: submit(things.called, [bytes(SIZE)])) == {"args[0]", "args[0][0]"}
    data = {"args[0]", "args[0].data"}
    assert sent(lambda: submit(things.called, things.Thing(data=bytes(SIZE)))) == data
    assert sent(lambda: submit(things.called, things.Thing(data=bytes(1 << 27)))) == data
    assert sent(lambda: submit(things.called, named(SIZE))) == data | {"args[0].weak"}
    assert sent(lambda: submit(dict, one=bytes(SIZE))) == {"kwargs['one']"}
    assert "kwargs['one'].data" in sent(lambda: submit(dict, one=things.Thing(data=bytes(SIZE))))
    partial = functools.partial(things.called, [bytes(SIZE)])
    assert {path.partition(".")[0] for path in sent(lambda: submit(partial))} == {"func"}


def check_many(map_all: Callable[..., Iterable[Any]]) -> None:
    for items in (
        [[bytes(SIZE)], [bytes(SIZE)]],
        [[things.Thing(data=bytes(SIZE))]],
        [[named(SIZE)], [bytes(SIZE)]],
    ):
        found = sent(lambda items=items: list(map_all(len, items)))  # type: ignore[misc]
        assert found >= {"args[0]", "args[0][0]"}
        assert all(path.startswith("args[0]") for path in found)


@pytest.mark.parametrize("method", METHODS)
def test_executors(method: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        check(lambda *args, **keywords: pool.submit(*args, **keywords).result())
        check_many(pool.map)
        check_many(functools.partial(pool.map, chunksize=2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "module",
    ["multiprocessing", pytest.param("multiprocess", marks=pytest.mark.needs("multiprocess"))],
)
def test_pools(module: str, method: str) -> None:
    with importlib.import_module(module).get_context(method).Pool(1) as pool:
        check(lambda function, *args, **keywords: pool.apply(function, args, keywords))
        for map_all in (pool.map, pool.imap, functools.partial(pool.imap, chunksize=2)):
            check_many(map_all)


@pytest.mark.needs("pebble")
def test_pebble() -> None:
    import pebble

    with pebble.ProcessPool(1) as pool:
        check(lambda function, *args, **keywords: pool.schedule(function, args, keywords).result())
        check_many(lambda function, items: pool.map(function, items).result())


@pytest.mark.needs("loky")
def test_loky() -> None:
    import loky

    pool = loky.get_reusable_executor(1)
    check(lambda *args, **keywords: pool.submit(*args, **keywords).result())
    check_many(pool.map)


@pytest.mark.needs("joblib")
def test_joblib() -> None:
    import joblib

    for backend in ("loky", "multiprocessing"):
        parallel = joblib.Parallel(2, backend=backend)
        check(
            lambda function, *args, parallel=parallel, **keywords: parallel(
                [joblib.delayed(function)(*args, **keywords)]
            )
        )
        check_many(
            lambda function, items, parallel=parallel: parallel(
                joblib.delayed(function)(item) for item in items
            )
        )


@pytest.fixture
def client() -> Iterator[Any]:
    import distributed

    with distributed.Client(n_workers=1, threads_per_worker=1, dashboard_address=None) as found:
        yield found


@pytest.mark.needs("distributed")
@pytest.mark.filterwarnings("ignore:Sending large graph")
def test_dask(client: Any) -> None:
    import dask

    check(lambda *args, **keywords: client.submit(*args, pure=False, **keywords).result())
    check_many(lambda function, items: client.gather(client.map(function, items)))
    lazy = dask.delayed(things.called)(things.Thing(data=bytes(SIZE)))
    assert sent(lazy.compute) == {"args[0]", "args[0].data"}


def test_what_is_no_task_keeps_its_root() -> None:
    """Also where it looks like one."""
    queue = multiprocessing.get_context("spawn").Queue()

    def put(message: Any) -> None:
        queue.put(message)
        queue.get()

    message = (0, 0, things.called, (things.Thing(data=bytes(SIZE)),), {})
    assert all(path.startswith("root") for path in sent(lambda: put(message)))
    queue.close()
