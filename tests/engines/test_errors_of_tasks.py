"""What is raised for a task that cannot be pickled: the same, whatever comes first in it."""

from __future__ import annotations

import functools
import multiprocessing
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

import gaps
import pytest
from things import Thing

import weakreduce
from weakreduce.engines.submit import forking_way, pack_call

Submit = Callable[..., Any]


class Stuck:
    def __reduce__(self) -> Any:
        raise ZeroDivisionError("stuck")


class Held:
    """Holds what it is given, in that order."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


def task(*_args: Any, **_keywords: Any) -> None:
    """Never called."""


def packing(root: str) -> Iterator[Submit]:
    way = forking_way(root)
    yield lambda function, *args, **keywords: pack_call(function, args, keywords, way)


def submitting(executor: Executor) -> Iterator[Submit]:
    with executor:
        yield lambda function, *args, **keywords: executor.submit(
            function, *args, **keywords
        ).result(60)


def started(method: str) -> Iterator[Submit]:
    context = multiprocessing.get_context(method)
    yield from submitting(ProcessPoolExecutor(1, mp_context=context))


def loky() -> Iterator[Submit]:
    from loky.process_executor import ProcessPoolExecutor as Loky

    yield from submitting(Loky(1))


def interpreters() -> Iterator[Submit]:
    from concurrent.futures import InterpreterPoolExecutor  # type: ignore[attr-defined]

    yield from submitting(InterpreterPoolExecutor(1))


ENGINES: dict[str, Callable[[], Iterator[Submit]]] = {
    "multiprocessing": lambda: packing("multiprocessing"),
    "multiprocess": lambda: packing("multiprocess"),
    **{
        f"concurrent.futures, {method}": functools.partial(started, method)
        for method in ("fork", "spawn", "forkserver")
    },
    "loky": loky,
} | ({"interpreters": interpreters} if sys.version_info >= (3, 14) else {})


@pytest.fixture(scope="module", params=gaps.params(*ENGINES))
def submit(request: pytest.FixtureRequest) -> Iterator[Submit]:
    yield from ENGINES[request.param]()


def raised_by(submit: Submit, function: Any, *args: Any, **keywords: Any) -> tuple[str, list[str]]:
    """The path that the note of ours names, and all other notes."""
    with pytest.raises(ZeroDivisionError, match="^stuck") as caught:
        submit(function, *args, **keywords)
    *others, ours = caught.value.__notes__
    objects = [note for note in others if note.endswith(" object")]
    assert len(objects) == len(set(objects))  # one way, told once
    for note in others:
        assert note.startswith("when serializing ")
        assert "weakreduce" not in note
    path = ours.removeprefix("weakreduce: what cannot be pickled is ")
    return path.partition(" (")[0], others


@pytest.mark.parametrize("policy", ["snapshot", "dangle", "strict"])
def test_it_names_what_the_user_gave_whatever_comes_first(submit: Submit, policy: str) -> None:
    stuck, outside = Stuck(), Thing("outside")
    weak = weakref.ref(outside)
    with weakreduce.policy(policy):
        for given, path, note in (
            ((stuck, weak), "args[0]", "tuple item 0"),
            (([stuck], weak), "args[0][0]", "tuple item 0"),
            ((Held(stuck=stuck, weak=weak),), "args[0].stuck", "tuple item 0"),
            (({"stuck": stuck, "weak": weak},), "args[0]['stuck']", "tuple item 0"),
        ):
            found, notes = raised_by(submit, task, *given)
            assert found == path
            if notes:  # from Python 3.14 on
                assert notes[-1] == f"when serializing {note}"
                assert "partial" not in str(notes)
        found, notes = raised_by(submit, task, stuck=[stuck], weak=weak)
        assert found == "kwargs['stuck'][0]"
        assert not notes or notes[-1] == "when serializing dict item 'stuck'"
        found, _ = raised_by(submit, functools.partial(task, stuck), weak)
        assert found == "func.args[0]"


def test_it_is_the_same_where_the_weak_thing_comes_first(submit: Submit) -> None:
    stuck, outside = Stuck(), Thing("outside")
    weak = weakref.ref(outside)
    for given, path, note in (
        ((weak, stuck), "args[1]", "tuple item 1"),
        ((weak, outside, [stuck]), "args[2][0]", "tuple item 2"),
        ((Held(weak=weak, stuck=stuck),), "args[0].stuck", "tuple item 0"),
        (({"weak": weak, "stuck": stuck},), "args[0]['stuck']", "tuple item 0"),
    ):
        found, notes = raised_by(submit, task, *given)
        assert found == path
        if notes:
            assert notes[-1] == f"when serializing {note}"
            assert "partial" not in str(notes)
    found, notes = raised_by(submit, task, weak=weak, stuck=[stuck])
    assert found == "kwargs['stuck'][0]"
    assert not notes or notes[-1] == "when serializing dict item 'stuck'"
    found, _ = raised_by(submit, functools.partial(task, weak, stuck))
    assert found == "func.args[1]"


def test_the_cause_of_a_refusal_names_nothing_of_ours(submit: Submit) -> None:
    outside = Thing("outside", stuck={"stuck": Stuck()})
    with (
        weakreduce.policy(unpicklable="raise"),
        pytest.raises(weakreduce.WeakrefPicklingError, match=r"args\[1\]") as caught,
    ):
        submit(task, 1, weakref.ref(outside))
    assert "weakreduce" not in str(getattr(caught.value.__cause__, "__notes__", []))


def test_what_holds_nothing_weak_is_reported_by_the_engine(submit: Submit) -> None:
    """As ever, when it pickles the task."""
    try:
        assert submit(task, [Stuck()]) is None
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        assert len(notes) == len(set(notes))
        assert "weakreduce." not in str(notes)
