"""``InterpreterPoolExecutor``, run for real, on each Python that has it."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import cargo
import programs
import pytest

import weakreduce
from weakreduce import registry

PATIENCE = 60


def test_it_is_in_the_table_on_every_python() -> None:
    parts = [part.module for part in registry.HOSTS["concurrent.futures"].parts]
    found = importlib.util.find_spec("concurrent.futures.interpreter") is not None
    assert "concurrent.futures.interpreter" in parts
    assert found is (sys.version_info >= (3, 14))


if sys.version_info >= (3, 14):
    from concurrent.futures import InterpreterPoolExecutor

    @pytest.fixture(scope="module", params=[False, True], ids=["unready", "ready"])
    def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Any, bool]]:
        """An executor, and whether its workers import weakreduce when they start."""
        initializer = f"import sys; sys.path[:0] = {programs.FOLDERS!r}" + (
            "; import weakreduce" if request.param else ""
        )
        with InterpreterPoolExecutor(1, initializer=exec, initargs=(initializer,)) as executor:
            yield executor, request.param

    @pytest.fixture
    def executor(opened: tuple[Any, bool]) -> Any:
        return opened[0]

    @pytest.mark.parametrize("policy", ["snapshot", "dangle"])
    @pytest.mark.parametrize("place", cargo.PLACES)
    @pytest.mark.parametrize("kind", cargo.KINDS)
    def test_arguments(executor: Any, kind: str, place: str, policy: str) -> None:
        load, target = cargo.load(kind, place)
        with weakreduce.policy(policy):
            futures = [
                executor.submit(cargo.look, load),
                executor.submit(cargo.look, cargo=load),
                executor.submit(functools.partial(cargo.look, load)),
                executor.submit(load.look),
            ]
            mapped = executor.map(cargo.look, [load])
        del load, target
        right = cargo.expected(kind, place, policy)
        assert [future.result(PATIENCE) for future in futures] == [right] * 4
        assert list(mapped) == [right]

    @pytest.mark.parametrize("place", cargo.PLACES)
    @pytest.mark.parametrize("kind", cargo.KINDS)
    def test_the_way_back(opened: tuple[Any, bool], kind: str, place: str) -> None:
        executor, ready = opened
        _, target = cargo.load("ref", "outside")
        tickets = ((), (weakref.ref(target),)) if ready else ((weakref.ref(target),),)
        for ticket in tickets:
            load = executor.submit(cargo.give, kind, place, *ticket).result(PATIENCE)
            assert cargo.look(load) == cargo.expected(kind, place)
            error = executor.submit(cargo.fail, kind, place, *ticket).exception(PATIENCE)
            assert type(error) is cargo.CargoError
            assert cargo.look(error.cargo) == cargo.expected(kind, place)

    def test_a_reference_and_its_referent_stay_together(executor: Any) -> None:
        target = cargo.Target()
        assert executor.submit(cargo.same, weakref.ref(target), target).result(PATIENCE)
        assert executor.submit(cargo.same, weakref.ref(target), target=target).result(PATIENCE)

    def test_a_refusal_is_raised_by_submit(executor: Any) -> None:
        load, _target = cargo.load("proxy", "outside")
        with (
            weakreduce.policy("strict"),
            pytest.raises(weakreduce.WeakrefPicklingError, match=r"Target \(outside"),
        ):
            executor.submit(cargo.look, load)
        assert executor.submit(cargo.add, 1, 2).result(PATIENCE) == 3

    def test_what_cannot_be_pickled_is_raised(executor: Any) -> None:
        with pytest.raises(Exception, match="pickle"):
            executor.submit(cargo.look, cargo.stuck()).result(PATIENCE)
        target = cargo.Target()
        for task in (cargo.give_stuck, cargo.fail_stuck):
            with pytest.raises(Exception, match="pickle|shareable|CargoError"):
                executor.submit(task, weakref.ref(target)).result(PATIENCE)
        assert executor.submit(cargo.add, 1, 2).result(PATIENCE) == 3

    def test_a_function_without_a_name_travels_with_weak_arguments(executor: Any) -> None:
        target = cargo.Target()
        task = lambda weak, target: weak() is target
        assert executor.submit(task, weakref.ref(target), target).result(PATIENCE)

    def test_tasks_without_weak_things_are_the_executors_own_affair() -> None:
        with InterpreterPoolExecutor(1) as executor:
            assert executor.submit(eval, "'weakreduce' in __import__('sys').modules").result() is (
                False
            )
            view = memoryview(bytearray(b"data"))  # shared, and not pickled
            assert executor.submit(len, view).result(PATIENCE) == 4
            with pytest.raises(Exception, match="share|pickle|support"):
                executor.submit(len, [(item for item in ())]).result(PATIENCE)

    def test_uninstall_puts_everything_back() -> None:
        module = importlib.import_module("concurrent.futures.interpreter")
        ours = module.do_call
        weakreduce.uninstall("concurrent.futures")
        try:
            assert "submit" not in vars(InterpreterPoolExecutor)
            assert module.do_call is ours.__wrapped__
        finally:
            weakreduce.install("concurrent.futures")
        assert module.do_call is not ours.__wrapped__
