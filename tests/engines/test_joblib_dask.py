"""joblib with the Dask backend, on real processes: its event loop submits, and drops errors."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import cargo
import joblib
import numpy as np
import pytest
import things
from distributed import Client, LocalCluster, get_client
from joblib import delayed
from joblib.parallel import BatchedCalls

import weakreduce


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        yield


def parallel(**settings: Any) -> Any:
    """Tasks dispatched one by one, most of them from callbacks in the event loop."""
    return joblib.Parallel(**({"batch_size": 1, "pre_dispatch": 2} | settings))


def mixed(load: Any, at: int) -> Iterator[Any]:
    """Sixteen tasks, one of them with `load`."""
    for number in range(16):
        yield delayed(cargo.add)(number, 1) if number != at else delayed(cargo.look)(load)


@pytest.mark.parametrize(("policy", "arrives"), [("snapshot", "pinned"), ("dangle", "dead")])
def test_the_block_counts_however_late(policy: str, arrives: str) -> None:
    loads = (delayed(cargo.look)(cargo.load("ref", "outside")[0]) for _ in range(8))
    load, _target = cargo.load("WeakSet", "outside")
    with weakreduce.policy(policy):
        assert parallel()(delayed(cargo.look)(load) for _ in range(8)) == [arrives] * 8
        assert parallel()(loads) == ["dead"] * 8  # nobody holds their referents


def test_a_task_that_nobody_is_called_back_for_raises() -> None:
    load, _target = cargo.load("ref", "outside")
    with joblib.Parallel() as jobs:
        batch = BatchedCalls([delayed(cargo.look)(load)], jobs._backend.get_nested_backend())
        with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
            jobs._backend.submit(batch)
        assert jobs([delayed(abs)(-1)] * 2) == [1, 1]


@pytest.mark.parametrize("at", [0, 15])
@pytest.mark.parametrize("return_as", ["list", "generator_unordered"])
def test_a_refused_task_raises_out_of_the_call(at: int, return_as: str) -> None:
    load, _target = cargo.load("ref", "outside")
    with (
        weakreduce.policy("strict"),
        pytest.raises(
            weakreduce.WeakrefPicklingError, match=r"root\.args\[0\]\.weak: Target \(out"
        ),
    ):
        list(parallel(return_as=return_as)(mixed(load, at)))
    assert parallel()([delayed(cargo.add)(1, 2)] * 3) == [3] * 3


@pytest.mark.parametrize("at", [0, 15])
def test_a_snapshot_that_cannot_be_pickled_raises(at: int) -> None:
    locked = things.Locked()
    load = cargo.Cargo("ref", weakref.ref(locked), None)
    with (
        weakreduce.policy(unpicklable="raise"),
        pytest.raises(weakreduce.WeakrefPicklingError, match="cannot be pickled"),
    ):
        parallel()(mixed(load, at))
    with pytest.raises(TypeError, match="generator"):
        parallel()(mixed(cargo.stuck(), at))
    assert parallel()([delayed(cargo.add)(1, 2)] * 3) == [3] * 3


def together(target: Any, array: Any, weak: Any, *, more: Any) -> Any:
    return weak() is target, float(array.sum()), float(more.sum())


@pytest.mark.parametrize("scatter", [False, True])
def test_arguments_stay_together_beside_large_arrays(scatter: bool) -> None:
    target, array = cargo.Target(), np.ones(100_000)
    settings = {"scatter": [array]} if scatter else {}
    with joblib.parallel_config(backend="dask", **settings):
        found = parallel()(
            delayed(together)(target, array, weakref.ref(target), more=array) for _ in range(4)
        )
    assert found == [(True, 100_000, 100_000)] * 4


def test_arrays_of_objects_travel_as_lists_do() -> None:
    target = cargo.Target()
    parts = np.array([target] + [None] * 1000, dtype=object)
    load = [parts, weakref.ref(target)]
    assert parallel()([delayed(is_first)(*load)] * 4) == [True] * 4


def is_first(parts: Any, weak: Any) -> bool:
    return parts[0] is weak()


class Closed:
    """Arrives nowhere."""

    def __init__(self, weak: Any) -> None:
        self.weak = weak

    def __setstate__(self, state: Any) -> None:
        raise LookupError("not here")


def test_a_task_that_cannot_be_opened_raises() -> None:
    closed = Closed(weakref.ref(cargo.Target))
    with pytest.raises(Exception, match=r"not here|deserializ"):
        parallel()([delayed(cargo.look)(closed)] * 2)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("large", [False, True])
def test_a_task_is_pickled_once(batch_size: int, large: bool) -> None:
    """Whether a weak thing is in it or not, and whatever is scattered beside it."""
    target, array = cargo.Target(), np.ones(100_000)
    beside = {"beside": array} if large else {}
    for weak in (None, weakref.ref(target)):
        counted = [cargo.Counted() for _ in range(6)]
        found = parallel(batch_size=batch_size)(
            delayed(cargo.number_of)(one, number, weak, **beside)
            for number, one in enumerate(counted)
        )
        assert found == list(range(6))
        assert [one.asked for one in counted] == [1] * 6


def test_a_task_with_buffers_that_go_out_of_band_is_left_to_dask() -> None:
    items = [np.ones(10), things.Thing("name" * 1000)]
    with weakreduce.record() as report:
        found = parallel()([delayed(cargo.number_of)(cargo.Counted(), items)])
    assert [type(item) for item in found[0]] == [np.ndarray, things.Thing]
    # Once by the client, and once by the scheduler, which is in this process, too.
    assert 8000 < (report.total_bytes or 0) < 12_000


def test_results_of_other_tasks_are_put_into_arguments() -> None:
    client = get_client()
    future = client.submit(cargo.add, 1, 1, pure=False)
    tasks = [delayed(cargo.number_of)(cargo.Counted(), [future]) for _ in range(2)]
    assert parallel()(tasks) == [[2]] * 2


@pytest.mark.parametrize("weak", [False, True])
def test_tasks_keep_the_names_of_their_functions(weak: bool) -> None:
    """Dask's dashboard shows them."""
    target = cargo.Target()
    given = weakref.ref(target) if weak else None
    tasks = [delayed(cargo.own_key)([cargo.Counted(), given]) for _ in range(8)]
    found = parallel(batch_size=2, pre_dispatch="all")(tasks)
    assert {key.partition("-")[0] for key in found} == {"batch_of_own_key_2_calls"}
