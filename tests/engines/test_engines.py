"""Every engine, run for real: every weak kind, by every way, under every policy."""

from __future__ import annotations

import concurrent.futures
import weakref
from collections.abc import Iterator
from typing import Any

import cargo
import pytest
from engines import ENGINES, WAYS, Engine, Submit
from run_engine_table import PAGE, line, row, ticket

import weakreduce

#: Each engine says it in its own words.
UNPICKLABLE = "pickle|serialize|generator"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.needs(*engine.needs))
        for name, engine in ENGINES.items()
    ],
)
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, Submit]]:
    engine = ENGINES[request.param]
    with engine.open() as submit:
        yield engine, submit


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
def test_matrix(opened: tuple[Engine, Submit], way: str, policy: str) -> None:
    engine, submit = opened
    found = row(engine, submit, way, policy)
    arrives = way in ("closure", "argument") or engine.inherits
    sent = policy if arrives else "snapshot"  # the worker's own
    right = {
        (kind, place): cargo.expected(kind, place, sent)
        if engine.exceptions or way != "exception"
        else "text"
        for kind in cargo.KINDS
        for place in cargo.PLACES
    }
    assert found == right
    if policy == "snapshot":
        assert line(engine, way, found) in PAGE.read_text(encoding="utf-8").splitlines()


def test_arguments_of_one_call_stay_together(opened: tuple[Engine, Submit]) -> None:
    engine, submit = opened
    target = cargo.Target()
    assert submit(cargo.same, weakref.ref(target), target)() is engine.together


def test_blocks_count_in_every_thread(opened: tuple[Engine, Submit]) -> None:
    engine, submit = opened
    wrong: list[Any] = []

    def send(number: int) -> None:
        for turn in range(engine.submits // 8):
            policy = ("snapshot", "dangle", "strict")[(number + turn) % 3]
            load, target = cargo.load("ref", "outside")
            with weakreduce.policy(policy):
                try:
                    wait = submit(cargo.look, load)
                except weakreduce.WeakrefPicklingError:
                    found = "refused"
                else:
                    wait, found = wait, ""
            del load, target
            found = found or wait()
            right = {"snapshot": "pinned", "dangle": "dead", "strict": "refused"}[policy]
            if found != right:
                wrong.append((number, turn, policy, found))

    with concurrent.futures.ThreadPoolExecutor(8 if engine.threads else 1) as threads:
        list(threads.map(send, range(8)))
    assert wrong == []


def test_a_refused_task_raises_in_the_submitting_call(opened: tuple[Engine, Submit]) -> None:
    _, submit = opened
    load, _target = cargo.load("proxy", "outside")
    with (
        weakreduce.policy("strict"),
        pytest.raises(weakreduce.WeakrefPicklingError, match=r"Target \(outside"),
    ):
        submit(cargo.look, load)
    assert submit(cargo.add, 1, 2)() == 3


def test_a_task_that_cannot_be_pickled_raises(opened: tuple[Engine, Submit]) -> None:
    _, submit = opened
    with pytest.raises(Exception, match=UNPICKLABLE):
        submit(cargo.look, cargo.stuck())()
    assert submit(cargo.add, 1, 2)() == 3


@pytest.mark.parametrize("task", [cargo.give_stuck, cargo.fail_stuck])
def test_a_result_that_cannot_be_pickled_raises(opened: tuple[Engine, Submit], task: Any) -> None:
    engine, submit = opened
    if not engine.survives:
        return
    with pytest.raises(Exception, match=UNPICKLABLE):
        submit(task, ticket())()
    assert submit(cargo.add, 1, 2)() == 3
    load, _target = cargo.load("ref", "outside")
    assert submit(cargo.look, load)() == "pinned"
