"""Dask: schedulers and workers of other processes, with weakreduce and without; every way in."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import pickle
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cargo
import cloudpickle
import dask
import errands
import numpy as np
import programs
import pytest
from distributed import Client, LocalCluster
from distributed.protocol import deserialize, serialize
from distributed.protocol.pickle import _DaskPickler, dumps, loads
from distributed.protocol.serialize import to_serialize

import weakreduce

PATIENCE = 60

#: Makes weakreduce look as where it is not installed.
HIDDEN = 'import sys; sys.modules["weakreduce"] = None\n'


@contextlib.contextmanager
def commands(folder: Path, *worker_options: str, hidden: bool = False) -> Iterator[Client]:
    """A client of a scheduler and a worker that were started as separate commands."""
    if hidden:
        (folder / "sitecustomize.py").write_text(HIDDEN)
    environment = programs.environment(*[str(folder)] * hidden)
    address = folder / "scheduler.json"
    options = ("--scheduler-file", str(address), "--dashboard-address", ":0")
    with contextlib.ExitStack() as stack:
        for command in (
            ("scheduler", *options, "--port", "0"),
            ("worker", *options, "--nthreads", "1", "--no-nanny", *worker_options),
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                env=environment,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.terminate)
        deadline = time.monotonic() + PATIENCE
        while not address.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with Client(scheduler_file=str(address), timeout=PATIENCE) as client:
            client.wait_for_workers(1, timeout=PATIENCE)
            yield client


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with commands(tmp_path_factory.mktemp("bare"), hidden=True) as client:
        yield client


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with commands(tmp_path_factory.mktemp("remote")) as client:
        yield client


@pytest.fixture(scope="module")
def local() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


# --- without weakreduce over there --------------------------------------------------------


@pytest.mark.parametrize("make", [weakref.ref, weakref.proxy])
def test_a_bare_scheduler_and_a_bare_worker(bare: Client, make: Any) -> None:
    """Neither hangs: the task goes through as bytes, and arrives."""
    assert bare.run_on_scheduler(errands.imported) is False
    assert list(bare.run(errands.imported).values()) == [False]
    target = errands.Target("far")
    submitted = [
        bare.submit(errands.named, make(target), pure=False),
        *bare.map(errands.named, [make(target)] * 3, pure=False),
        bare.compute(dask.delayed(errands.named)(make(target))),
    ]
    del target
    gc.collect()
    assert bare.gather(submitted) == [("far",)] * 5
    assert bare.submit(errands.add, 1, 2).result(PATIENCE) == 3


def test_a_result_from_a_bare_worker_is_an_error(bare: Client) -> None:
    """A weak thing cannot leave a worker without weakreduce; the cluster works on."""
    future = bare.submit(errands.weak_result, pure=False)
    with pytest.raises(Exception, match=r"serialize|pickle"):
        future.result(PATIENCE)
    assert bare.submit(errands.add, 1, 2, pure=False).result(PATIENCE) == 3


def test_dependencies_of_a_bare_cluster(bare: Client) -> None:
    target = errands.Target("far")
    first = bare.submit(errands.add, 1, 2, pure=False)
    second = bare.submit(errands.named, weakref.ref(target), first, [first, 7], pure=False)
    third = bare.submit(errands.named, weakref.ref(target), second, pure=False)
    assert third.result(PATIENCE) == ("far", ("far", 3, [3, 7]))


# --- with weakreduce over there -----------------------------------------------------------


def test_the_way_back_from_a_cluster_that_nobody_prepared(remote: Client) -> None:
    """The task's weak thing imports weakreduce over there; results come back from then on."""
    assert list(remote.run(errands.imported).values()) == [False]
    ticket = weakref.ref(errands.Target)
    named = remote.submit(errands.weak_result, pure=False)
    with pytest.raises(Exception, match=r"serialize|pickle"):
        named.result(PATIENCE)
    found = remote.submit(cargo.give, "proxy", "outside", ticket, pure=False).result(PATIENCE)
    assert cargo.look(found) == "pinned"
    assert list(remote.run(errands.imported).values()) == [True]
    assert remote.submit(errands.weak_result, pure=False).result(PATIENCE)() is errands.Target
    assert remote.run_on_scheduler(errands.imported) is False


def test_a_preload_readies_a_worker(tmp_path: Path) -> None:
    with commands(tmp_path, "--preload", "weakreduce") as client:
        found = client.submit(errands.weak_result).result(PATIENCE)
    assert found() is errands.Target


# --- every way in -------------------------------------------------------------------------


async def coroutine(weak: Any) -> Any:
    await asyncio.sleep(0)
    return weak().name


def pair(weak: Any, target: Any) -> list[Any]:
    return [target, weakref.ref(target), {"proxy": weakref.proxy(target)}]


def one(item: Any) -> Any:
    return item


class Keeper:
    """An actor."""

    def __init__(self, load: cargo.Cargo) -> None:
        self.load = load

    @property
    def held(self) -> cargo.Cargo:
        return self.load

    def kept(self) -> str:
        return cargo.look(self.load)

    def look(self, load: Any, *, also: Any = None) -> Any:
        return [cargo.look(load), None if also is None else cargo.look(also)]

    def total(self, array: Any) -> Any:
        return array.sum()

    def number(self, items: Any) -> int:
        return len(items)


def test_policies_of_every_way_in(local: Client) -> None:
    load, target = cargo.load("ref", "outside")
    holder = [load]

    def delayed() -> Any:
        # A new one each time: to Dask, a Delayed that is computed twice is one task.
        return dask.delayed(cargo.look)(holder[0])

    ways = {
        "submit": lambda: local.submit(cargo.look, holder[0], pure=False),
        "keyword": lambda: local.submit(cargo.look, cargo=holder[0], pure=False),
        "map": lambda: local.map(cargo.look, [holder[0]], pure=False)[0],
        "map, keyword": lambda: local.map(weak_keyword, [1], load=holder[0], pure=False)[0],
        "map, batches": lambda: local.map(cargo.look, [holder[0]] * 3, pure=False, batch_size=2)[0],
        "compute": lambda: local.compute(delayed()),
        "persist": lambda: local.compute(local.persist(delayed())),
        "closure": lambda: local.submit(cargo.closure(holder[0], True), pure=False),
    }
    found = {}
    for name, way in ways.items():
        for policy in ("snapshot", "dangle"):
            with weakreduce.policy(policy):
                found[name, policy] = way()
        with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
            way()
    del load, target
    holder.clear()
    gc.collect()
    right = {"snapshot": "pinned", "dangle": "dead"}
    assert local.gather(found) == {key: right[key[1]] for key in found}


def weak_keyword(_item: Any, load: cargo.Cargo) -> str:
    return cargo.look(load)


def test_tasks_that_are_coroutines_or_annotated(local: Client) -> None:
    target = cargo.Target()
    assert local.submit(coroutine, weakref.ref(target), pure=False).result(PATIENCE) == "target"
    worker = next(iter(local.scheduler_info()["workers"]))
    with dask.annotate(workers=[worker], priority=3, retries=2):
        annotated = dask.delayed(errands.named)(weakref.ref(target))
    total = dask.delayed(errands.named)(weakref.ref(target), annotated, target)
    name, inner, copy = local.compute(total, optimize_graph=False).result(PATIENCE)
    assert (name, inner, copy.name) == ("target", ("target",), "target")
    future = local.persist(annotated, optimize_graph=False)
    local.gather(local.compute(future))
    assert set(local.who_has(local.futures_of(future)).values()) == {(worker,)}


def test_lists_and_dicts_stay_together(local: Client) -> None:
    target = cargo.Target()
    for container in (local.submit(pair, weakref.ref(target), target, pure=False),):
        copy, reference, inner = container.result(PATIENCE)
        assert reference() is copy
        assert inner["proxy"].method.__self__ is copy
    for data in ([[target, weakref.ref(target)]], {"a": [target, weakref.ref(target)]}):
        scattered = local.scatter(data)
        future = scattered["a"] if isinstance(data, dict) else scattered[0]
        copy, reference = local.submit(one, future, pure=False).result(PATIENCE)
        assert reference() is copy


def test_scatter(local: Client) -> None:
    load, target = cargo.load("ref", "outside")
    for policy, right in (("dangle", "dead"), ("snapshot", "pinned")):
        for broadcast in (True, False):
            with weakreduce.policy(policy):
                future = local.scatter(load, broadcast=broadcast, hash=False)
            assert local.submit(cargo.look, future, pure=False).result(PATIENCE) == right
    del target


def test_actors(local: Client) -> None:
    load, target = cargo.load("ref", "outside")
    keeper = local.submit(Keeper, load, actor=True).result(PATIENCE)
    with weakreduce.policy("dangle"):
        dead = keeper.look(load, also=load)
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        keeper.look(load)
    pinned = keeper.look(load, also=load)
    del load, target
    gc.collect()
    assert dead.result(PATIENCE) == ["dead", "dead"]
    assert pinned.result(PATIENCE) == ["pinned", "pinned"]
    assert keeper.kept().result(PATIENCE) == "pinned"
    assert keeper.total(np.ones(10)).result(PATIENCE) == 10
    assert cargo.look(keeper.held) == "pinned"  # no method: it is sent back, and nothing goes there


def test_an_actors_arguments_without_weak_things_are_left_to_dask(local: Client) -> None:
    """Whether they have buffers that go out of band or not; a record counts them once."""
    keeper = local.submit(Keeper, None, actor=True).result(PATIENCE)
    for items in ([np.ones(10)], []):
        counted, items = cargo.Counted(), [*items, errands.Target("name" * 1000)]
        with weakreduce.record() as report:
            assert keeper.number([counted, *items]).result(PATIENCE) == 1 + len(items)
        assert counted.asked == 2  # by the look for weak things, and by Dask
        assert 4000 < (report.total_bytes or 0) < 5000


def test_what_dask_pickles_twice_counts_once() -> None:
    """It pickles by cloudpickle what plain pickle has named a module of, that is by value."""
    target = errands.Target("name" * 100)
    cloudpickle.register_pickle_by_value(errands)
    try:
        for obj in (target, [target, np.ones(10)]):
            with weakreduce.record() as report:
                sent = dumps(obj)
            assert report.total_bytes == len(sent)
    finally:
        cloudpickle.unregister_pickle_by_value(errands)
    with weakreduce.record() as report:
        sent = dumps(target)
    assert report.total_bytes == len(sent)


def test_an_actor_call_that_cannot_be_sent(local: Client) -> None:
    """It raises, whichever argument stands first; the event loop would lose it."""
    load, _target = cargo.load("ref", "outside")
    keeper = local.submit(Keeper, load, actor=True).result(PATIENCE)
    for arguments in ([cargo.stuck()], [cargo.stuck()[::-1]], [cargo.stuck()[1], load]):
        with pytest.raises(Exception, match=r"pickle|serialize"):
            keeper.look(*arguments)
    assert keeper.kept().result(PATIENCE) == "pinned"


def test_what_only_another_task_holds_is_outside(local: Client) -> None:
    """Each task is opened by itself, wherever it runs, however they are sent."""
    target = errands.Target("far")
    tasks = [dask.delayed(one)(target), dask.delayed(errands.named)(weakref.ref(target))]
    with (
        weakreduce.policy("strict"),
        pytest.raises(weakreduce.WeakrefPicklingError, match="outside"),
    ):
        local.compute(tasks)
    assert local.compute(tasks)[1].result(PATIENCE) == ("far",)


def test_dasks_own_pickler_stops_at_a_weak_thing() -> None:
    """It is the one that cloudpickle follows; what it raises looks like an error of pickle's."""
    target = errands.Target("far")
    with pytest.raises(pickle.PicklingError, match="a weak thing"):
        _DaskPickler(io.BytesIO()).dump([1, weakref.ref(target)])
    file = io.BytesIO()
    _DaskPickler(file).dump([1, "two"])
    assert pickle.loads(file.getvalue()) == [1, "two"]


def test_scatter_is_refused_in_our_words(local: Client) -> None:
    load, _target = cargo.load("ref", "outside")
    with weakreduce.policy("strict"):
        with pytest.raises(weakreduce.WeakrefPicklingError, match="To send it"):
            local.scatter(load)
        with pytest.raises(weakreduce.WeakrefPicklingError, match="To send it"):
            local.publish_dataset(load, name="load")


def test_the_processes_scheduler() -> None:
    load, target = cargo.load("ref", "outside")
    delayed = dask.delayed(cargo.look)(load)
    with weakreduce.policy("dangle"):
        assert delayed.compute(scheduler="processes") == "dead"
    assert delayed.compute(scheduler="processes") == "pinned"
    back = dask.delayed(cargo.give)("WeakSet", "inside", weakref.ref(cargo.Target))
    assert cargo.look(back.compute(scheduler="processes")) == "link"
    del target


# --- tokens, bytes ------------------------------------------------------------------------

TOKENS = """
import sys, weakref, dask, cargo
import weakreduce
def objects():
    for kind in cargo.KINDS:
        for place in cargo.PLACES:
            load, target = cargo.load(kind, place)
            yield load
            target.name = "other"
            yield load
    members = [cargo.Target(str(number)) for number in range(5)]
    yield [weakref.WeakSet(members), members]
print([dask.base.tokenize(obj) for obj in objects()])
"""


def test_tokens_are_deterministic() -> None:
    found = [eval(programs.run(TOKENS, PYTHONHASHSEED=seed)) for seed in ("0", "1")]
    assert found[0] == found[1]
    assert len(set(found[0])) >= 2 * (len(cargo.KINDS) - 1) * len(cargo.PLACES)


def test_tokens_know_the_policy_but_are_never_refused() -> None:
    """The key of a task that dangles is another one; and `strict` has to get as far as sending."""
    load, _target = cargo.load("ref", "outside")
    found = {}
    for policy in ("snapshot", "dangle", "strict", "forbid"):
        with weakreduce.policy(policy):
            found[policy] = dask.base.tokenize(load, ensure_deterministic=True)
    assert found["strict"] == found["forbid"] == found["snapshot"] != found["dangle"]


def test_proxies_do_not_become_copies() -> None:
    """Of importable classes, too, for which Dask would be content with plain pickle."""
    load, _target = cargo.load("proxy", "inside")
    assert cargo.look(loads(dumps(load))) == "link"
    assert cargo.look(deserialize(*serialize(load))) == "link"


def test_the_same_bytes_without_weak_things() -> None:
    """Of every family of payloads, also those that only Dask's own pickler takes."""
    code = """
import sys
if sys.argv[1] == "ours":
    import weakreduce
import numpy, operator
def plain(header_and_frames):
    header, frames = header_and_frames
    return header, [bytes(frame) for frame in frames]
from distributed.protocol import serialize
from distributed.protocol.pickle import dumps
from distributed.protocol.serialize import to_serialize
class Local: pass
for obj in (1, [1, {"a": Local()}], numpy.arange(5), [numpy.arange(5), {"a": 1}], operator.add,
            lambda x: x + 1, {"a": [1, 2]}, ValueError("text"), {1, 2}, Local()):
    if not isinstance(obj, Local) and "Local" not in repr(obj):
        print(dumps(obj))
        buffers = []
        print(dumps(obj, buffer_callback=buffers.append), [bytes(b) for b in buffers])
        print(plain(serialize(obj)), plain(serialize(to_serialize(obj))))
try:
    dumps((item for item in ()))
except Exception as error:
    print(type(error), error)
"""
    said = [programs.run(code, whose, PYTHONHASHSEED="0") for whose in ("stock", "ours")]
    assert said[0] == said[1]
    assert said[0].count("\n") > 20


def test_uninstall_puts_everything_back() -> None:
    code = """
import distributed, dask.tokenize, sys
pickle = sys.modules["distributed.protocol.pickle"]
serialize = sys.modules["distributed.protocol.serialize"]
import weakreduce
owners = [distributed.Client, distributed.Actor, pickle, serialize, pickle._DaskPickler,
          dask.tokenize]
ours = [dict(vars(owner)) for owner in owners]
weakreduce.uninstall()
print([sorted(n for n in a if a[n] is not vars(b).get(n)) for a, b in zip(ours, owners)])
"""
    assert programs.run(code).strip() == str(
        [["_graph_to_futures", "_publish_dataset", "_scatter"], ["__getattr__"],
         ["cloudpickle", "pickle"], ["serialize"], ["reducer_override"],
         ["_normalize_pickle", "pickle"]]
    )  # fmt: skip


class TestWhatWeRelyOn:
    """If one of these fails, Dask has changed and our files have to follow."""

    def test_serialized_graphs_are_passed_on(self) -> None:
        from distributed.protocol.serialize import Serialized

        done = Serialized(*serialize(to_serialize({"a": 1})))
        assert serialize(to_serialize(done)) == (done.header, done.frames)

    def test_tasks_nest_and_run_with_their_dependencies(self) -> None:
        from dask._task_spec import Alias, Task, Tuple

        inner = Task("a", cargo.add, Alias("b"), 2)
        assert inner({"b": 1}) == 3
        values = Task(None, dict, Task(None, zip, ["b"], Tuple(Alias("b"))))
        outer = Task("a", call, inner_of(inner), values)
        assert outer.dependencies == {"b"}
        assert outer({"b": 5}) == 7


def call(function: Any, *args: Any) -> Any:
    return function(*args)


def inner_of(task: Any) -> Any:
    from dask._task_spec import Task

    return Task(None, loads, dumps(task))
