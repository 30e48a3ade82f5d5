"""Engines that weakreduce does not know, run for real: what `bind` carries, and what needs none.

Each pickles in its own way: submitit and executorlib with cloudpickle, parsl with dill,
ipyparallel with plain pickle, which takes no weak thing at all.
"""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cargo
import gaps
import pytest
from engines import PATIENCE, TESTS

import weakreduce


@pytest.fixture(scope="module", autouse=True)
def _workers_can_import_the_tests() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        before = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(TESTS), before))))
        # Some start their commands by name.
        scripts = str(Path(sys.executable).parent)
        patch.setenv("PATH", os.pathsep.join((scripts, os.environ["PATH"])))
        yield


Call = Callable[..., Any]


@pytest.fixture(scope="module")
def submitit_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    import submitit

    executor = submitit.LocalExecutor(folder=tmp_path_factory.mktemp("submitit"))
    executor.update_parameters(timeout_min=1)
    yield lambda function, *arguments: executor.submit(function, *arguments).result()


@pytest.fixture(scope="module")
def executorlib_call() -> Iterator[Call]:
    import cloudpickle
    from executorlib import SingleNodeExecutor

    before = cloudpickle.list_registry_pickle_by_value()
    with SingleNodeExecutor(max_workers=1, block_allocation=True) as executor:
        yield lambda function, *arguments: executor.submit(function, *arguments).result(PATIENCE)
    # It tells cloudpickle, for the whole process, to pickle modules of its own by value.
    for name in cloudpickle.list_registry_pickle_by_value() - before:
        cloudpickle.unregister_pickle_by_value(sys.modules[name])


@pytest.fixture(scope="module")
def ipyparallel_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    import ipyparallel

    folder = str(tmp_path_factory.mktemp("ipyparallel"))
    with ipyparallel.Cluster(n=1, log_level=40, profile_dir=folder) as client:
        view = client[0]
        yield view.apply_sync


@pytest.fixture(scope="module")
def parsl_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    import parsl
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    workers = HighThroughputExecutor(
        label="workers",
        max_workers_per_node=1,
        address="127.0.0.1",
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    folder = str(tmp_path_factory.mktemp("parsl"))
    # Its log would stay open.
    config = parsl.Config(executors=[workers], run_dir=folder, initialize_logging=False)
    with parsl.load(config):
        yield lambda function, *arguments: parsl.python_app(function)(*arguments).result(PATIENCE)


@pytest.fixture(params=gaps.params("submitit", "executorlib", "ipyparallel"))
def call(request: pytest.FixtureRequest) -> Call:
    found: Call = request.getfixturevalue(f"{request.param}_call")
    return found


@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
def test_a_bound_task(call: Call, policy: str) -> None:
    loads, targets = zip(
        *(cargo.load(kind, place) for kind in cargo.KINDS for place in cargo.PLACES), strict=True
    )
    right = [cargo.expected(kind, place, policy) for kind in cargo.KINDS for place in cargo.PLACES]

    def task() -> list[str]:
        return [cargo.look(load) for load in loads]

    bound = weakreduce.bind(task, policy)
    watched = [weakref.ref(target) for target in targets]
    loads, targets = (), ()  # what was bound is what existed then
    gc.collect()
    assert not any(weak() for weak in watched)
    assert call(bound) == right


def test_bound_arguments(call: Call) -> None:
    loads = [weakreduce.bind(cargo.load(kind, "outside")[0], "dangle") for kind in cargo.KINDS]
    pinned = []
    for kind in cargo.KINDS:
        load, _target = cargo.load(kind, "outside")
        pinned.append(weakreduce.bind(load))
    right = [cargo.expected(kind, "outside", "dangle") for kind in cargo.KINDS]
    assert call(cargo.look_at_all, *loads) == right
    right = [cargo.expected(kind, "outside") for kind in cargo.KINDS]
    assert call(cargo.look_at_all, *pinned) == right


def test_a_bound_result(call: Call) -> None:
    def task() -> Any:
        import weakreduce

        load = cargo.give("WeakSet", "outside")
        return weakreduce.bind(load)

    assert cargo.look(call(weakreduce.bind(task))) == "pinned"


def test_a_refusal_is_raised_by_bind(call: Call) -> None:
    load, _target = cargo.load("ref", "outside")
    with pytest.raises(weakreduce.WeakrefPicklingError, match=r"Target \(outside"):
        call(cargo.look, weakreduce.bind(load, "strict"))
    assert call(cargo.add, 1, 2) == 3


@pytest.mark.needs("submitit")
def test_submitit_needs_no_bind(submitit_call: Call) -> None:
    target = cargo.Target()
    weak = weakref.ref(target)
    with weakreduce.policy("dangle"):
        assert submitit_call(lambda: weak() is None)
    found = submitit_call(cargo.give, "proxy", "outside", weak)
    assert cargo.look(found) == "pinned"


@pytest.mark.needs("executorlib")
def test_executorlib_takes_weak_things_but_not_the_block(executorlib_call: Call) -> None:
    # It pickles in a thread of its own, under the process's default.
    target = cargo.Target()
    weak = weakref.ref(target)
    with weakreduce.policy("dangle"):
        assert not executorlib_call(lambda: weak() is None)
        assert executorlib_call(weakreduce.bind(lambda: weak() is None))
    found = executorlib_call(cargo.give, "proxy", "outside", weak)
    assert cargo.look(found) == "pinned"


@pytest.mark.needs("parsl", gaps.DILL_BY_VALUE)
def test_parsl_takes_weak_things_but_not_the_block(parsl_call: Call) -> None:
    # It pickles in a thread of its own, the function and each argument by themselves.
    target = cargo.Target()
    weak = weakref.ref(target)
    with weakreduce.policy("dangle"):
        assert parsl_call(cargo.dead, weak) is False
        assert parsl_call(cargo.dead, weakreduce.bind(weak)) is True
    found = parsl_call(cargo.give, "proxy", "outside", weak)
    assert cargo.look(found) == "pinned"


@pytest.mark.needs("ipyparallel")
def test_ipyparallel_takes_no_weak_thing_as_it_is(ipyparallel_call: Call) -> None:
    target = cargo.Target()
    with pytest.raises(TypeError, match="cannot pickle 'weakref"):
        ipyparallel_call(cargo.look, weakref.ref(target))


@pytest.mark.needs("ipyparallel")
def test_ipyparallel_with_its_cloudpickle_needs_no_bind(ipyparallel_call: Call) -> None:
    import ipyparallel.serialize

    target = cargo.Target()
    weak = weakref.ref(target)
    ipyparallel.serialize.use_cloudpickle()
    ipyparallel_call(ipyparallel.serialize.use_cloudpickle)
    try:
        with weakreduce.policy("dangle"):
            assert ipyparallel_call(lambda: weak() is None)
        found = ipyparallel_call(cargo.give, "proxy", "outside", weak)
        assert cargo.look(found) == "pinned"
    finally:
        ipyparallel_call(ipyparallel.serialize.use_pickle)
        ipyparallel.serialize.use_pickle()
