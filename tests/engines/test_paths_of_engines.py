"""What an engine's user reads: paths that begin at the arguments, and no names of ours."""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
import multiprocessing
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cargo
import pytest

import weakreduce
from weakreduce.hosts import scout

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(scope="module", params=METHODS)
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    context = multiprocessing.get_context(request.param)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as workers:
        yield workers


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((module, method), id=f"{module}, {method}", marks=pytest.mark.needs(module))
        for module in ("multiprocessing", "multiprocess")
        for method in METHODS
    ],
)
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    module, method = request.param
    with importlib.import_module(module).get_context(method).Pool(1) as workers:
        yield workers


@pytest.fixture(scope="module", params=METHODS)
def pebbles(request: pytest.FixtureRequest) -> Iterator[Any]:
    import pebble

    context = multiprocessing.get_context(request.param)
    with pebble.ProcessPool(1, context=context) as workers:
        yield workers


def load() -> Any:
    return cargo.load("ref", "outside")


def refused(call: Callable[[], Any], path: str) -> None:
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError) as raised:
        call()
    assert str(raised.value).startswith(f"{path}: Target (outside")


def test_executors(executor: Any) -> None:
    held, _target = load()
    refused(lambda: executor.submit(cargo.look, held), "args[0].weak")
    refused(lambda: executor.submit(cargo.look, [1, held]), "args[0][1].weak")
    refused(lambda: executor.submit(cargo.look, cargo=held), "kwargs['cargo'].weak")
    refused(lambda: executor.map(cargo.add, [1], [held]), "args[1].weak")
    refused(lambda: executor.map(cargo.look, [1, held], chunksize=2), "args[0].weak")


@pytest.mark.needs("loky")
def test_loky() -> None:
    import loky

    test_executors(loky.get_reusable_executor(1))


def test_pools(pool: Any) -> None:
    held, _target = load()
    refused(lambda: pool.apply(cargo.look, (held,)), "args[0].weak")
    refused(lambda: pool.apply_async(cargo.look, (1,), {"more": held}), "kwargs['more'].weak")
    refused(lambda: pool.map(cargo.look, [held]), "args[0].weak")
    refused(lambda: pool.starmap(cargo.look, [(1, 2), (1, held)]), "args[1].weak")
    refused(lambda: pool.imap(cargo.look, [held]), "args[0].weak")


@pytest.mark.needs("pebble")
def test_what_pebble_takes_in_other_shapes_is_its_own_affair(pebbles: Any) -> None:
    assert pebbles.schedule(cargo.add, range(1, 3)).result(60) == 3


@pytest.mark.needs("pebble")
def test_pebble(pebbles: Any) -> None:
    held, _target = load()
    refused(lambda: pebbles.schedule(cargo.look, [held]), "args[0].weak")
    refused(lambda: pebbles.schedule(cargo.look, kwargs={"cargo": held}), "kwargs['cargo'].weak")
    refused(lambda: pebbles.submit(cargo.look, None, 1, held), "args[1].weak")
    refused(lambda: pebbles.map(cargo.add, [1], [held]), "args[1].weak")


@pytest.mark.needs("joblib")
@pytest.mark.parametrize("style", ["list", "generator", "generator_unordered"])
def test_joblib(style: str) -> None:
    import joblib

    held, _target = load()
    parallel = joblib.Parallel(2, return_as=style)
    look = joblib.delayed(cargo.look)
    refused(lambda: list(parallel([look(held)])), "args[0].weak")
    refused(lambda: list(parallel([look(1, [held])])), "args[1][0].weak")
    refused(lambda: list(parallel([look(cargo=held)])), "kwargs['cargo'].weak")

    def function() -> Any:
        return held

    path = "func.__closure__[0].cell_contents.weak"
    refused(lambda: list(parallel([joblib.delayed(function)()])), path)


@pytest.mark.parametrize("method", METHODS)
def test_a_user_s_own_partial_is_no_call(method: str) -> None:
    held, _target = load()
    queue = multiprocessing.get_context(method).Queue()
    refused(lambda: queue.put([held]), "root[0].weak")
    refused(lambda: queue.put(functools.partial(cargo.look, held)), "root.args[0].weak")
    queue.close()


def test_warnings_and_records_begin_there_too(executor: Any) -> None:
    held, _target = load()
    held.weak().stuck = (item for item in ())
    with weakreduce.record() as report, pytest.warns(weakreduce.DanglingWarning) as warned:
        executor.submit(cargo.look, held).result()
    assert str(warned[0].message).startswith("args[0].weak: Target")
    assert [finding.path for finding in report] == ["args[0].weak"]


def test_exceptions() -> None:
    held, _target = load()

    class Plain(Exception):
        pass

    for error, path in (
        (cargo.CargoError(held), "root.cargo.weak"),
        (Plain("text", held), "root.args[1].weak"),
        (Plain([held]), "root.args[0][0].weak"),
        ({"error": Plain(held)}, "root['error'].args[0].weak"),
    ):
        refused(lambda error=error: weakreduce.dumps(error), path)


OURS = ("WeakThingMet", "NeedsItself", "Standin", "_Waiting", "Refused", "LookedAhead")


def whole_text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class Stuck:
    """Fails, however it is pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("stuck")


class Registered:
    """The arguments of its construction hold it weakly."""

    def __init__(self, weak: Any = None) -> None:
        self.weak = weakref.ref(self)

    def __reduce__(self) -> Any:
        return Registered, (self.weak,)


@pytest.mark.needs("pebble")
def test_no_names_of_ours_in_tracebacks(executor: Any, pebbles: Any) -> None:
    held, _target = load()
    stuck = [held, Stuck()]
    for call in (
        lambda: executor.submit(cargo.look, stuck).result(),
        lambda: pebbles.schedule(cargo.look, [stuck]).result(),
        lambda: multiprocessing.Queue().put(stuck),
    ):
        with pytest.raises(TypeError, match="stuck") as raised:
            call()
        text = whole_text(raised.value)
        assert "left to another pickler" not in text
        assert not [name for name in OURS if f"{name}:" in text]


def test_no_names_of_ours_in_warnings() -> None:
    with pytest.warns(weakreduce.DanglingWarning) as warned:
        kept = Registered()
        weakreduce.dumps([weakref.ref(kept)])
    assert not [name for name in OURS for warning in warned if name in str(warning.message)]


def test_what_a_scout_raises_is_a_pickling_error_to_all_others() -> None:
    with pytest.raises(scout.WeakThingMet) as raised:
        scout.dumps(weakref.ref(cargo.Target))
    assert whole_text(raised.value).rstrip().splitlines()[-1].startswith("pickle.PicklingError: ")
    import pickle

    assert type(pickle.loads(pickle.dumps(raised.value))) is pickle.PicklingError
