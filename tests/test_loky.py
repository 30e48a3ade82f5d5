"""loky on real processes: exceptions that cannot be pickled, and its reducers."""

from __future__ import annotations

import os
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import cargo
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
