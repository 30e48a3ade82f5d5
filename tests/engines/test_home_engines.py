"""``Policy(identity="home")`` through engines: what comes back is what was sent.

Needs loky, Dask and Ray.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import weakref
from collections.abc import Iterator
from typing import Any

import homing
import loky
import pytest
from distributed import Client, LocalCluster
from engines import ray_cluster
from homing import HOME, nothing_is_left

import weakreduce
from weakreduce.model import homes

PATIENCE = 60


@pytest.fixture(autouse=True)
def _without_what_other_tests_keep() -> None:
    for table in (homes._places, homes.away, homes._sent):
        table.clear()


def check(submit: Any, *, tasks: Any = (homing.look, homing.by_another)) -> None:
    """Findings of a worker refer to the nodes of this process."""
    root, nodes = homing.tree()
    references = [weakref.ref(node) for node in nodes]
    parents = [node.parent() for node in nodes[1:]]
    for task in tasks:
        with weakreduce.policy(HOME):
            result = submit(task, references)
        findings = result()
        assert str(os.getpid()) not in {finding.text.split()[-1] for finding in findings}
        assert [finding.node() for finding in findings] == [*nodes, *parents]
        assert not any(weakreduce.is_pinned(finding.node) for finding in findings)
    # What nobody has here any more is the copy that came along.
    alone = homing.Node("alone")
    bound = weakreduce.bind([weakref.ref(alone)], HOME)
    del alone
    (finding,) = submit(homing.look, bound)()
    assert finding.node().name == "alone"
    assert root


def waiting(executor: Any) -> Any:
    def submit(task: Any, *arguments: Any) -> Any:
        future = executor.submit(task, *arguments)
        return lambda: future.result(PATIENCE)

    return submit


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process")
def test_process_pools(method: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
        # A forked one inherits what is alive here; the others have nothing.
        before = executor.submit(homing.forget).result(PATIENCE)
        assert before == 0 or method == "fork"
        check(waiting(executor))
        # What it keeps does not stand in the way of what is sent later.
        thing = homing.Node("first")
        for name in ("first", "second"):
            thing.name = name
            with weakreduce.policy(HOME):
                future = executor.submit(homing.look_and_keep, [weakref.ref(thing)])
            (finding,) = future.result(PATIENCE)
            assert finding.node() is thing
            assert finding.text.startswith(name)
        with weakreduce.policy(HOME):
            future = executor.submit(homing.send_and_get_back, [weakref.ref(thing)])
        same, (weak,) = future.result(PATIENCE)
        assert same == [True]
        assert weak() is thing
        del finding, future
        assert executor.submit(homing.forget).result(PATIENCE) == before
    del weak, thing
    assert nothing_is_left()


@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_worker_sends_what_it_inherited() -> None:
    homing.Tree.node = node = homing.Node("global")
    weakreduce.dumps(weakref.ref(node), policy=HOME)
    try:
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
            assert executor.submit(homing.inherited).result(PATIENCE)() is node
    finally:
        homing.Tree.node = None


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process")
def test_pools(method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:

        def submit(task: Any, *arguments: Any) -> Any:
            result = pool.apply_async(task, arguments)
            return lambda: result.get(PATIENCE)

        check(submit, tasks=[homing.look])


def test_loky() -> None:
    with loky.ProcessPoolExecutor(1) as executor:
        check(waiting(executor), tasks=[homing.look, homing.by_another_of_lokys])


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_dask(client: Client) -> None:
    def submit(task: Any, *arguments: Any) -> Any:
        future = client.submit(task, *arguments, pure=False)
        return lambda: future.result(timeout=PATIENCE)

    check(submit, tasks=[homing.look])  # its workers are daemons, which have no children


def test_dask_from_worker_to_worker(client: Client) -> None:
    node = homing.Node("node")
    one, other = client.scheduler_info()["workers"]
    with weakreduce.policy(HOME):
        first = client.submit(homing.back, [weakref.ref(node)], workers=[one], pure=False)
    second = client.submit(homing.look, first, workers=[other], pure=False)
    (finding,) = second.result(timeout=PATIENCE)
    assert finding.node() is node


@pytest.mark.needs("ray")
def test_ray() -> None:
    import ray

    with ray_cluster():

        def submit(task: Any, *arguments: Any) -> Any:
            result = ray.remote(task).remote(*arguments)
            return lambda: ray.get(result, timeout=PATIENCE)

        check(submit)
        node = homing.Node("node")
        with weakreduce.policy(HOME):
            first = ray.remote(homing.back).remote([weakref.ref(node)])
        second = ray.remote(homing.look).remote(first)
        (finding,) = ray.get(second, timeout=PATIENCE)
        assert finding.node() is node
