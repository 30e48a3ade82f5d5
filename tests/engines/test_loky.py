"""loky on real processes: exceptions that cannot be pickled, and its reducers."""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import weakref
from collections.abc import Iterator
from typing import Any

import cargo
import gaps
import loky
import pytest

import weakreduce


class Mute(Exception):
    """An exception without a text."""

    def __init__(self) -> None:
        self.held = cargo.stuck()

    def __str__(self) -> str:
        raise ValueError("no text")


def fail_mute(_ticket: Any) -> None:
    raise Mute


def fail_stuck_first(_ticket: Any) -> None:
    raise cargo.CargoError(cargo.stuck()[::-1])


def fail_without_weak_things(_ticket: Any) -> None:
    raise LookupError(item for item in ())


def fail_plainly(_ticket: Any) -> None:
    raise LookupError("as always")


def fail_late(load: Any) -> None:
    weakreduce.set_policy("strict")
    raise cargo.CargoError(load.weak)


def ticket() -> Any:
    return weakref.ref(cargo.Target)


@pytest.fixture(scope="module")
def executor() -> Iterator[Any]:
    with loky.ProcessPoolExecutor(1) as executor:
        yield executor


def test_an_exception_that_cannot_be_pickled_says_what_it_was(executor: Any) -> None:
    before = executor.submit(os.getpid).result(60)
    with pytest.raises(pickle.PicklingError) as raised:
        executor.submit(cargo.fail_stuck, ticket()).result(60)
    text = str(raised.value)
    assert "cargo.CargoError: [<cargo.Cargo object" in text
    assert "TypeError: cannot pickle 'generator' object" in text
    assert "in fail_stuck" in str(raised.value.__cause__)
    assert executor.submit(os.getpid).result(60) == before  # the same worker


def test_an_exception_that_has_no_text_is_reported(executor: Any) -> None:
    with pytest.raises(pickle.PicklingError, match=r"Mute: <exception str\(\) failed>"):
        executor.submit(fail_mute, ticket()).result(60)


def test_an_exception_that_is_refused_says_so() -> None:
    load, _target = cargo.load("ref", "outside")
    with loky.ProcessPoolExecutor(1) as executor:
        with pytest.raises(weakreduce.WeakrefPicklingError, match=r"CargoError.*\n.*Target \(outs"):
            executor.submit(fail_late, load).result(60)
        assert executor.submit(cargo.add, 1, 2).result(60) == 3


def test_an_exception_that_holds_a_weak_thing_further_back_is_reported(executor: Any) -> None:
    """The pickler gives up before it meets that."""
    with pytest.raises(pickle.PicklingError, match="generator"):
        executor.submit(fail_stuck_first, ticket()).result(60)


def test_a_failure_that_no_weak_thing_has_a_part_in_is_the_engines(any_loky: Any) -> None:
    with any_loky.ProcessPoolExecutor(1) as executor:
        future = executor.submit(fail_without_weak_things, ticket())
        assert type(future.exception(60)) is any_loky.process_executor.TerminatedWorkerError


def test_a_picklable_exception_goes_as_always(executor: Any) -> None:
    with pytest.raises(LookupError) as raised:
        executor.submit(fail_plainly, ticket()).result(60)
    assert raised.value.args == ("as always",)
    assert "in fail_plainly" in str(raised.value.__cause__)


class Counted:
    """An object with a reducer of the engine's."""


reduced: list[Any] = []


def reduce_counted(obj: Counted) -> Any:
    reduced.append(obj)
    return Counted, (), None, None, iter([])


def kind_of_both(one: Any, weak: Any) -> tuple[str, str]:
    return type(one).__name__, type(weak()).__name__


def test_a_reducer_is_asked_once_for_each_object() -> None:
    reduced.clear()
    target = cargo.Target()
    with loky.ProcessPoolExecutor(1, job_reducers={Counted: reduce_counted}) as executor:
        future = executor.submit(kind_of_both, Counted(), weakref.ref(target))
        assert future.result(60) == ("Counted", "Target")
    assert len(reduced) == 1


def test_uninstall_leaves_nothing() -> None:
    from loky import process_executor

    owners = {
        process_executor.SimpleQueue: "put",
        process_executor.ProcessPoolExecutor: "submit",
    }
    ours = [vars(owner)[name] for owner, name in owners.items()]
    weakreduce.uninstall()
    try:
        stock = [vars(owner)[name] for owner, name in owners.items()]
        assert stock == [method.__wrapped__ for method in ours]
    finally:
        weakreduce.install()


# --- what a reducer raises, and executors that take no more -------------------------------


class Quits:
    """An object whose pickling raises something."""

    def __init__(self, error: type[BaseException], weak: Any = None) -> None:
        self.error = error
        self.weak = weak

    def __reduce__(self) -> Any:
        raise self.error("on purpose")


class Odd(BaseException):
    """An exception that is no Exception."""


RAISED = (SystemExit, KeyboardInterrupt, GeneratorExit, Odd)


@pytest.fixture(params=gaps.params("loky", "joblib.externals.loky"))
def any_loky(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.mark.parametrize("error", RAISED)
@pytest.mark.parametrize("weak", [False, True])
def test_what_a_reducer_raises_is_in_the_future(any_loky: Any, error: Any, weak: bool) -> None:
    quits = [weakref.ref(cargo.Target), Quits(error)] if weak else Quits(error)
    with any_loky.ProcessPoolExecutor(1) as executor:
        future = executor.submit(cargo.add, quits, 1)
        assert isinstance(future.exception(60), pickle.PicklingError)
        assert error.__name__ in str(future.exception().__cause__)
        assert executor.submit(cargo.add, 1, 2).result(60) == 3


def test_what_a_reducer_raises_inside_a_callback_stops_nothing(any_loky: Any) -> None:
    with any_loky.ProcessPoolExecutor(1) as executor:
        submitted: queue.Queue[Any] = queue.Queue()

        def submit(_done: Any) -> None:
            submitted.put(executor.submit(cargo.add, Quits(SystemExit), 1))

        executor.submit(cargo.add, 1, 2).add_done_callback(submit)
        assert isinstance(submitted.get(timeout=60).exception(60), pickle.PicklingError)
        assert executor.submit(cargo.add, 1, 2).result(60) == 3


@pytest.mark.parametrize("wait", [False, True])
def test_an_executor_that_was_shut_down_says_so(any_loky: Any, wait: bool) -> None:
    executor = any_loky.ProcessPoolExecutor(1)
    executor.submit(os.getpid).result(60)
    executor.shutdown(wait=wait)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(cargo.look, cargo.load("ref", "inside")[0])
    with weakreduce.policy("strict"), pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(cargo.look, cargo.load("ref", "outside")[0])


def test_an_executor_that_is_broken_says_so(any_loky: Any) -> None:
    executor = any_loky.ProcessPoolExecutor(1)
    with pytest.raises(any_loky.process_executor.TerminatedWorkerError):
        executor.submit(os._exit, 1).result(60)
    with (
        weakreduce.policy("strict"),
        pytest.raises(any_loky.process_executor.TerminatedWorkerError),
    ):
        executor.submit(cargo.look, cargo.load("ref", "outside")[0])
    executor.shutdown()
