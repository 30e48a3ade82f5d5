"""The standard multiprocessing and concurrent.futures, and multiprocess: every way into them."""

from __future__ import annotations

import concurrent.futures
import copyreg
import functools
import gc
import importlib
import inspect
import multiprocessing
import multiprocessing.pool
import multiprocessing.queues
import operator
import pickle
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cargo
import gaps
import programs
import pytest
import things

import weakreduce
from weakreduce.engines import executors, submit
from weakreduce.model.bound import Bound

PATIENCE = 60
METHODS = ("fork", "spawn", "forkserver")
MODULES = ("multiprocessing", "multiprocess")


def modules_and_methods() -> list[Any]:
    return [
        pytest.param((module, method), id=f"{module}, {method}", marks=pytest.mark.needs(module))
        for module in MODULES
        for method in METHODS
    ]


def managing() -> list[Any]:
    """The same for managers: multiprocess's send a method by value, but under fork."""
    found = modules_and_methods()
    by_value = pytest.mark.needs(gaps.DILL_BY_VALUE)
    return [
        param._replace(marks=[*param.marks, by_value])
        if param.values[0][0] == "multiprocess" and param.values[0][1] != "fork"
        else param
        for param in found
    ]


@pytest.fixture(params=modules_and_methods(), scope="module")
def context(request: pytest.FixtureRequest) -> Any:
    module, method = request.param
    return importlib.import_module(module).get_context(method)


@pytest.fixture(params=METHODS)
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    context = multiprocessing.get_context(request.param)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as workers:
        yield workers


@pytest.fixture(scope="module")
def pool(context: Any) -> Iterator[Any]:
    with context.Pool(2) as workers:
        yield workers
        workers.close()
        workers.join()


def outside() -> cargo.Cargo:
    """Cargo whose referent has no other holder than this call: it dies when we return."""
    load, target = cargo.load("ref", "outside")
    gone.append(weakref.ref(target))
    return load


gone: list[Any] = []


def look_star(*loads: cargo.Cargo) -> list[str]:
    return [cargo.look(load) for load in loads]


CALLS: dict[str, Callable[[Any, list[Any]], Callable[[], list[Any]]]] = {
    "apply": lambda pool, loads: [pool.apply(cargo.look, (load,)) for load in loads].copy,
    "apply_async": lambda pool, loads: _gathered(
        [pool.apply_async(cargo.look, args=(load,)) for load in loads]
    ),
    "apply_async, keyword": lambda pool, loads: _gathered(
        [pool.apply_async(cargo.look, kwds={"cargo": load}) for load in loads]
    ),
    "map": lambda pool, loads: pool.map(cargo.look, loads).copy,
    "map_async": lambda pool, loads: functools.partial(
        pool.map_async(cargo.look, loads, chunksize=2).get, PATIENCE
    ),
    "starmap": lambda pool, loads: pool.starmap(cargo.look, [(load,) for load in loads]).copy,
    "starmap_async": lambda pool, loads: functools.partial(
        pool.starmap_async(cargo.look, [(load,) for load in loads]).get, PATIENCE
    ),
    "imap": lambda pool, loads: functools.partial(list, pool.imap(cargo.look, loads)),
    "imap, chunks": lambda pool, loads: functools.partial(list, pool.imap(cargo.look, loads, 2)),
    "imap, lazy": lambda pool, loads: functools.partial(
        list, pool.imap(cargo.look, (load for load in loads))
    ),
    "imap_unordered": lambda pool, loads: functools.partial(
        list, pool.imap_unordered(cargo.look, loads)
    ),
    "imap_unordered, lazy": lambda pool, loads: functools.partial(
        list, pool.imap_unordered(cargo.look, iter(loads), 2)
    ),
}


def _gathered(results: list[Any]) -> Callable[[], list[Any]]:
    return lambda: [result.get(PATIENCE) for result in results]


@pytest.mark.parametrize("call", CALLS)
def test_every_method_of_a_pool(pool: Any, call: str) -> None:
    loads, targets = zip(*(cargo.load("ref", "outside") for _ in range(5)), strict=True)
    waits = []
    for policy in ("snapshot", "dangle"):
        with weakreduce.policy(policy):
            waits.append(CALLS[call](pool, list(loads)))
    assert [set(wait()) for wait in waits] == [{"pinned"}, {"dead"}]
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        CALLS[call](pool, list(loads))()
    del targets


def test_a_map_over_what_has_no_length(pool: Any) -> None:
    """It is taken whole by the call, as the pool takes it."""
    loads, targets = zip(*(cargo.load("ref", "outside") for _ in range(5)), strict=True)
    with weakreduce.policy("dangle"):
        waits = [pool.map_async(cargo.look, iter(loads)), pool.map_async(cargo.look, iter(()))]
    result = pool.map_async(cargo.look, iter(loads))
    del loads, targets
    gc.collect()
    assert [wait.get(PATIENCE) for wait in waits] == [["dead"] * 5, []]
    assert result.get(PATIENCE) == ["pinned"] * 5


@pytest.mark.parametrize("call", [name for name in CALLS if "lazy" not in name])
def test_what_dies_right_after_the_call_still_arrives(pool: Any, call: str) -> None:
    loads, targets = zip(*(cargo.load("ref", "outside") for _ in range(50)), strict=True)
    wait = CALLS[call](pool, list(loads))
    del targets
    gc.collect()
    assert set(wait()) == {"pinned"}


def test_lazy_items_are_not_asked_for_early(pool: Any) -> None:
    """An endless iterable has to stay one."""
    asked: list[int] = []
    stop = threading.Event()

    def endless() -> Iterator[Any]:
        while not stop.is_set():
            asked.append(1)
            yield cargo.load("ref", "inside")[0]
            time.sleep(0.01)

    results = pool.imap(cargo.look, endless())
    assert next(results) == "link"
    stop.set()
    assert set(results) <= {"link"}
    assert asked


class Throttled:
    """It has a length, but makes its items as they are asked for, and no more than four ahead."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.room = threading.Semaphore(4)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            assert self.room.acquire(timeout=PATIENCE)
            yield item


@pytest.mark.parametrize("items", [list(range(20)), [things.Thing() for _ in range(20)]])
def test_what_has_a_length_may_still_be_lazy(pool: Any, items: list[Any]) -> None:
    throttled, found = Throttled(items), []
    for arrived in pool.imap(type, throttled):
        found.append(arrived)
        throttled.room.release()
    assert found == [type(item) for item in items]


def test_what_the_engine_refuses_it_refuses_as_ever(pool: Any) -> None:
    thing = things.Thing()
    with pytest.raises(TypeError, match="not callable"):
        pool.apply_async("nothing to call", (thing,)).get(PATIENCE)
    with pytest.raises(TypeError, match="must be a mapping"):
        pool.apply_async(print, (thing,), None).get(PATIENCE)


def test_what_an_executor_refuses_it_refuses_as_ever(executor: Any) -> None:
    future = executor.submit("nothing to call", things.Thing())
    with pytest.raises(TypeError, match="not callable"):
        future.result(PATIENCE)


def test_a_warning_names_the_users_line(pool: Any) -> None:
    load = [weakref.ref(stuck := Stuck())]
    for call in (
        lambda: pool.apply(len, (load,)),
        lambda: pool.map(len, [load]),
        lambda: multiprocessing.Queue().put(load),
    ):
        with pytest.warns(weakreduce.DanglingWarning) as caught:
            call()
        assert {Path(warning.filename).name for warning in caught} == {Path(__file__).name}
    del stuck


class Stuck:
    """A referent that cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("stuck")


def test_an_iterable_that_raises(pool: Any) -> None:
    def raises() -> Iterator[Any]:
        yield cargo.load("ref", "inside")[0]
        raise RuntimeError("from the iterable")

    results = pool.imap(cargo.look, raises())
    assert next(results) == "link"
    with pytest.raises(RuntimeError, match="from the iterable"):
        next(results)


def test_a_pool_closes_after_a_refusal(context: Any) -> None:
    load, _target = cargo.load("ref", "outside")
    with context.Pool(1) as pool:
        for call in ("map", "map_async", "imap", "apply_async"):
            with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
                CALLS[call](pool, [load])
        assert pool._cache == {}
        pool.close()
        pool.join()


def test_a_thread_pool_pickles_nothing() -> None:
    load, target = cargo.load("ref", "outside")
    with multiprocessing.pool.ThreadPool(1) as pool, weakreduce.policy("strict"):
        assert pool.map(id, [load]) == [id(load)]
        assert pool.apply(id, (load,)) == id(load)
        assert list(pool.imap(id, [load])) == [id(load)]
    del target


# --- queues, pipes, processes, managers ---------------------------------------------------


@pytest.mark.parametrize("make", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_queues(context: Any, make: str) -> None:
    channel = getattr(context, make)()
    load, target = cargo.load("ref", "outside")
    with weakreduce.policy("dangle"):
        channel.put(load)
    channel.put(load)
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        channel.put(load)
    channel.put(outside())
    del load, target
    assert [cargo.look(channel.get()) for _ in range(3)] == ["dead", "pinned", "dead"]
    if make != "SimpleQueue":
        channel.close()
        channel.join_thread()


@pytest.mark.parametrize("make", ["Queue", "JoinableQueue"])
def test_put_raises_what_would_be_lost(context: Any, make: str) -> None:
    """Whichever is met first."""
    channel = getattr(context, make)()
    for item in (cargo.stuck(), cargo.stuck()[::-1], {"stuck": [[cargo.stuck()[::-1]]]}):
        with pytest.raises(Exception, match="pickle"):
            channel.put(item)
    channel.put(cargo.load("ref", "inside")[0])
    assert cargo.look(channel.get(timeout=PATIENCE)) == "link"
    channel.close()
    channel.join_thread()


def test_put_keeps_its_signature() -> None:
    channel = multiprocessing.Queue(1)
    channel.put(cargo.load("ref", "inside")[0], True, 1)
    with pytest.raises(queue.Full):
        channel.put(obj=cargo.load("ref", "inside")[0], block=False)
    with pytest.raises(queue.Full):
        channel.put_nowait(1)
    assert cargo.look(channel.get()) == "link"
    channel.close()
    channel.join_thread()
    with pytest.raises(ValueError, match="is closed"):
        channel.put(cargo.load("ref", "inside")[0])


def _answer(connection: Any, *loads: Any) -> None:
    connection.send([cargo.look(load) for load in loads])
    connection.send(cargo.look(connection.recv()))
    connection.send(cargo.load("WeakSet", "inside")[0])


def test_processes_and_pipes(context: Any) -> None:
    """Arguments of a Process, and both ways through a Pipe."""
    here, there = context.Pipe()
    load, target = cargo.load("ref", "outside")
    inside, _held = cargo.load("WeakKeyDictionary", "inside")
    process = context.Process(target=_answer, args=(there, load, inside))
    with weakreduce.policy("dangle"):
        process.start()
    # Nothing is pickled under fork: the child has everything that we have.
    forked = context.get_start_method() == "fork"
    expected = ["alive, though nothing holds it", "kept alive"] if forked else ["dead", "link"]
    del load, target
    assert here.recv() == expected
    here.send(cargo.load("proxy", "inside")[0])
    assert here.recv() == "link"
    assert cargo.look(here.recv()) == "link"
    process.join(PATIENCE)
    assert process.exitcode == 0


@pytest.mark.parametrize("context", managing(), indirect=True)
def test_managers(context: Any) -> None:
    with context.Manager() as manager:
        kept = manager.dict()
        with weakreduce.policy("dangle"):
            kept["dead"] = cargo.load("ref", "outside")[0]
        load, target = cargo.load("ref", "outside")
        kept["pinned"] = load
        kept["link"] = cargo.load("WeakValueDictionary", "inside")[0]
        del load, target
        found = {name: cargo.look(load) for name, load in kept.items()}
    assert found == {"dead": "dead", "pinned": "pinned", "link": "link"}


# --- executors ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_executors(method: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        loads, targets = zip(*(cargo.load("ref", "outside") for _ in range(5)), strict=True)
        with weakreduce.policy("dangle"):
            dead = executor.map(cargo.look, loads, chunksize=2)
            also_dead = executor.submit(cargo.look, cargo=loads[0])
        pinned = executor.map(cargo.look, loads)
        with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
            executor.map(cargo.look, loads)
        del targets
        gc.collect()
        assert set(dead) == {"dead"}
        assert also_dead.result() == "dead"
        assert set(pinned) == {"pinned"}
        with pytest.raises(Exception, match="pickle"):
            executor.submit(threading.Lock().acquire, 1).result(PATIENCE)
        assert executor.submit(operator.add, 1, 2).result(PATIENCE) == 3


@pytest.mark.parametrize("place", cargo.PLACES)
@pytest.mark.parametrize("kind", [kind for kind in cargo.KINDS if kind != "finalize"])
def test_a_task_with_a_weak_thing_that_cannot_be_pickled_raises_in_submit(
    executor: Any, kind: str, place: str
) -> None:
    """Also where the weak thing was met by a short cut, and not written yet."""
    load, _target = cargo.load(kind, place)
    for task in ([load, threading.Lock()], {"load": load, "stuck": [threading.Lock()]}):
        with pytest.raises(TypeError, match="pickle"):
            executor.submit(id, task)


def test_remote_tracebacks_are_as_always(executor: Any) -> None:
    """What we send in a task's place shows in no traceback."""
    load, _target = cargo.load("ref", "inside")
    error = executor.submit(cargo.fail, "ref", "inside", load).exception(PATIENCE)
    lines = [line for line in str(error.__cause__).splitlines() if "File" in line]
    assert [line.rpartition(" in ")[2] for line in lines] == ["_process_worker", "fail"]


# --- no harm ------------------------------------------------------------------------------


class Plain:
    """An instance without weak things."""

    def __init__(self, size: int) -> None:
        self.data = bytes(size)


def sent_by(call: Callable[[Any], Any]) -> list[Any]:
    """What reaches the engine's own submit, by `call` with an executor."""
    found: list[Any] = []

    class Executor(concurrent.futures.ProcessPoolExecutor):
        pass

    def stock(executor: Any, fn: Any, /, *args: Any, **keywords: Any) -> None:
        found.append((fn, args, keywords))

    module = sys.modules["concurrent.futures.process"]
    way = submit.forking_way("multiprocessing")
    Executor.submit = executors.submitting(lambda _: way)(stock)
    assert module.ProcessPoolExecutor.submit is not Executor.submit
    call(Executor(1))
    return found


def test_a_task_without_weak_things_waits_as_it_is_or_as_few_bytes() -> None:
    """Bytes in the objects' place are bounded: a thousand tasks on one object stay small."""
    before = submit.waiting.bytes
    atoms = sent_by(lambda executor: executor.submit(operator.add, 1, [2, {"three": 3}]))
    assert atoms == [(operator.add, (1, [2, {"three": 3}]), {})]
    big = Plain(submit.WAITING_LIMIT // 4)
    found = sent_by(lambda executor: [executor.submit(id, big) for _ in range(10)])
    bound = [task for task in found if type(task[0]) is Bound]
    assert 0 < len(bound) <= 4
    assert (id, (big,), {}) in found
    assert submit.waiting.bytes > before
    found.clear()
    bound.clear()
    gc.collect()
    assert submit.waiting.bytes == before


@pytest.mark.parametrize("method", METHODS)
def test_an_error_without_weak_things_is_the_engines(method: str) -> None:
    """The queue prints it, as it always did, and goes on."""
    code = """
import multiprocessing, sys
if sys.argv[1] == "ours":
    import weakreduce
class Stuck:
    def __reduce__(self):
        raise ZeroDivisionError("stuck")
queue = multiprocessing.get_context(sys.argv[2]).Queue()
queue.put(Stuck())
queue.put(1)
print(queue.get(timeout=60))
"""
    said = []
    for whose in ("stock", "ours"):
        run = subprocess.run(
            [sys.executable, "-c", code, whose, method], capture_output=True, text=True, timeout=120
        )
        assert (run.returncode, run.stdout) == (0, "1\n"), run.stderr
        lines = run.stderr.splitlines()
        said.append(lines[lines.index("ZeroDivisionError: stuck") :])
    note = "weakreduce: what cannot be pickled is root (a Stuck)"
    assert said == [["ZeroDivisionError: stuck"], ["ZeroDivisionError: stuck", note]]


def _with_tblib() -> None:
    """As tblib has it, which Dask asks for."""
    from tblib.pickling_support import pickle_exception

    for error in (TypeError, cargo.CargoError, pickle.PicklingError):
        copyreg.pickle(error, pickle_exception)


@pytest.mark.needs("tblib")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", [cargo.give_stuck, cargo.fail_stuck])
def test_a_worker_outlives_errors_that_are_pickled_with_what_they_came_from(
    task: Any, method: str
) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=context, initializer=_with_tblib
    ) as workers:
        with pytest.raises((TypeError, pickle.PicklingError), match="generator"):
            workers.submit(task).result(60)
        assert workers.submit(abs, -1).result(60) == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_outlives_results_whose_error_cannot_be_pickled_either(method: str) -> None:
    """Where there is a weak thing in it; else it dies, as it does without weakreduce."""
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as workers:
        with pytest.raises(pickle.PicklingError, match="task's result cannot be pickled: TypeErr"):
            workers.submit(cargo.give_sulking).result(60)
        assert workers.submit(abs, -1).result(60) == 1
        with pytest.raises(concurrent.futures.process.BrokenProcessPool):
            workers.submit(cargo.give_sulking_without).result(60)


@pytest.mark.parametrize("module", gaps.params(*MODULES))
def test_uninstall_puts_everything_back(module: str) -> None:
    code = f"""
import {module}.pool, {module}.queues, {module}.reduction, concurrent.futures.process
import weakreduce
owners = [{module}.pool.Pool, {module}.queues.Queue, {module}.queues.JoinableQueue,
          {module}.reduction.ForkingPickler, concurrent.futures.process.ProcessPoolExecutor,
          concurrent.futures.process]
ours = [dict(vars(owner)) for owner in owners]
weakreduce.uninstall()
stock = [dict(vars(owner)) for owner in owners]
weakreduce.install()
weakreduce.uninstall()
assert [dict(vars(owner)) for owner in owners] == stock
print([sorted(n for n in a if a[n] is not b.get(n)) for a, b in zip(ours, stock)])
"""
    found = programs.run(code)
    pool = ["_guarded_task_generation", "_map_async", "apply_async", "imap", "imap_unordered"]
    pickler = ["__init__", "dump", "dumps"] if module == "multiprocessing" else []
    assert found.strip() == str([pool, ["put"], ["put"], pickler, ["submit"], ["_sendback_result"]])


class TestWhatWeRelyOn:
    """If one of these fails, an engine has changed and `weakreduce.engines` has to follow."""

    @pytest.mark.parametrize("module", gaps.params(*MODULES))
    def test_pools(self, module: str) -> None:
        pool = importlib.import_module(f"{module}.pool")
        generate = pool.Pool._guarded_task_generation
        names = (generate, pool.Pool._map_async, pool.Pool.imap, pool.Pool.imap_unordered)
        assert all(callable(name) for name in names)
        with pool.Pool(1) as workers:
            stock = getattr(generate, "__wrapped__", generate)
            assert list(stock(workers, 7, abs, [1])) == [(7, 0, abs, (1,), {})]

    def test_executor(self) -> None:
        from concurrent.futures import process

        assert issubclass(process._SafeQueue, multiprocessing.queues.Queue)
        assert (
            process._SafeQueue._on_queue_feeder_error
            is not multiprocessing.queues.Queue._on_queue_feeder_error
        )

        assert "_sendback_result(" in inspect.getsource(process._process_worker)
        send = getattr(process._sendback_result, "__wrapped__", process._sendback_result)
        assert list(inspect.signature(send).parameters)[:4] == [
            "result_queue", "work_id", "result", "exception"]  # fmt: skip
        try:
            raise ValueError("text")
        except ValueError as error:
            wrapped = process._ExceptionWithTraceback(error, error.__traceback__)
        assert wrapped.exc.args == ("text",)
        assert "ValueError: text" in wrapped.tb

    def test_forking_pickler(self) -> None:
        from multiprocessing.reduction import ForkingPickler

        assert issubclass(ForkingPickler, pickle.Pickler)
        assert ForkingPickler.loads is pickle.loads
