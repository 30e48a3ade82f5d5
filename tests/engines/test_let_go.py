"""Executors and roots die with their last user, without the collector, as they do without us.

An executor ends its workers as it dies: where a task of ours kept it, they would stay. That is
also so for a task that cannot be pickled.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from things import Thing

import weakreduce

#: In seconds: threads of executors hold them for a moment.
PATIENCE = 10.0


class Unpicklable:
    def __reduce__(self) -> Any:
        raise LookupError("this one never")


def task(_thing: object) -> int:
    return 1


def plain() -> Thing:
    return Thing("plain")


def weak() -> Thing:
    thing = Thing("weak")
    thing.itself = weakref.ref(thing)
    return thing


def fails() -> Thing:
    thing = weak()
    thing.other = Unpicklable()
    return thing


def refused() -> Thing:
    thing = Thing("refused")
    thing.other = weakref.ref(OUTSIDE)
    return thing


OUTSIDE = Thing("outside")
#: What a task ends with.
ENDS: dict[Callable[[], Thing], type[Exception] | None] = {
    plain: None, weak: None, fails: LookupError, refused: weakreduce.WeakrefPicklingError,
}  # fmt: skip


def end_of(
    run: Callable[[Any, Thing], object], engine: object, root: Thing
) -> type[Exception] | None:
    """What a call raises, which is let go: `pytest.raises` keeps its traceback in a circle."""
    try:
        assert run(engine, root) in (1, [1])
    except (LookupError, weakreduce.WeakrefPicklingError) as error:
        return type(error)
    return None


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def dies(reference: weakref.ref[Any]) -> bool:
    end = time.monotonic() + PATIENCE
    while reference() is not None and time.monotonic() < end:
        time.sleep(0.001)
    return reference() is None


def submitted(executor: Any, root: Thing) -> object:
    return executor.submit(task, root).result()


@pytest.mark.parametrize("make", ENDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("module", ["concurrent.futures", "loky", "joblib.externals.loky"])
def test_of_an_executor(module: str, make: Callable[[], Thing]) -> None:
    executors = importlib.import_module(module)
    with without_collector():
        executor, root = executors.ProcessPoolExecutor(1), make()
        alive = weakref.ref(executor), weakref.ref(root)
        # The first starts the workers: what is refused is asked of an executor that runs.
        assert executor.submit(task, None).result() == 1
        with weakreduce.policy("strict"):
            assert end_of(submitted, executor, root) is ENDS[make]
        del executor, root
        assert all(map(dies, alive))


CALLS: list[Callable[[Any, Thing], Any]] = [
    lambda pool, root: pool.apply(task, (root,)),
    lambda pool, root: pool.apply_async(task, (root,)).get(),
    lambda pool, root: pool.map(task, [root]),
]


@pytest.mark.parametrize("make", ENDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("run", CALLS, ids=["apply", "apply_async", "map"])
@pytest.mark.parametrize("module", ["multiprocessing", "multiprocess"])
def test_of_a_pool(
    module: str, run: Callable[[Any, Thing], Any], make: Callable[[], Thing]
) -> None:
    context = importlib.import_module(module).get_context("spawn")
    with without_collector():
        pool, root = context.Pool(1), make()
        alive = weakref.ref(pool), weakref.ref(root)
        with weakreduce.policy("strict"):
            assert end_of(run, pool, root) is ENDS[make]
        pool.terminate()
        pool.join()
        del pool, root
        assert all(map(dies, alive))
