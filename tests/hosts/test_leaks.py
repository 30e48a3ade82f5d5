"""A dump leaves nothing behind, and no reference cycle, however it ends."""

from __future__ import annotations

import functools
import gc
import io
import weakref
from collections.abc import Callable
from typing import Any

import gaps
import pytest
from harm import (
    Explosive,
    Target,
    importable,
    run,
)


def _weak_kinds(target: Any, strongly: bool) -> list[Any]:
    made: list[Any] = [
        weakref.ref(target),
        weakref.proxy(target),
        weakref.WeakMethod(target.method),
        weakref.WeakSet([target]),
        weakref.WeakValueDictionary(key=target),
        weakref.WeakKeyDictionary({target: "value"}),
    ]
    return [target, *made] if strongly else made


def _leak_cases() -> dict[str, Callable[[Any], Any]]:
    return {
        "instance": lambda target: target,
        "in a list": lambda target: [target, {"again": target}],
        "function": lambda target: lambda: target,
        "inside": lambda target: _weak_kinds(target, strongly=True),
        "outside": lambda target: _weak_kinds(target, strongly=False),
        "called": lambda target: [target, weakref.ref(target, importable)],
        "fails": lambda target: [target, Explosive()],
        "fails with weak": lambda target: [*_weak_kinds(target, strongly=True), Explosive()],
        "snapshot fails": lambda target: weakref.ref(target.held),
    }


def child_leaks(host: str, through: str) -> None:
    """The target is gone by its reference count alone once the caller has let it go."""
    import warnings

    import weakreduce

    warnings.simplefilter("ignore", weakreduce.DanglingWarning)
    module: Any = __import__(host)
    gc.collect()
    gc.disable()
    for case, make in _leak_cases().items():
        if host == "dill" and case == "function":
            continue  # dill's own savers hold the globals of a function in a cycle
        for number in range(3):
            target = Target()
            if case == "snapshot fails":
                target.held = Target(Explosive())
            watched = weakref.ref(target)
            root = make(target)
            try:
                if through == "dumps":
                    module.dumps(root)
                elif through == "weakreduce.dumps":
                    weakreduce.dumps(root, host=host)
                else:
                    pickler = module.Pickler(io.BytesIO())
                    pickler.dump(root)
            except ZeroDivisionError:
                assert "fails" in case
            del root, target
            if through == "Pickler":
                del pickler
            holders = [type(holder) for holder in gc.get_referrers(watched())]
            assert watched() is None, (case, number, holders)


@pytest.mark.parametrize("through", ["dumps", "Pickler", "weakreduce.dumps"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_objects_die_by_reference_count(host: str, through: str) -> None:
    run(child_leaks, host, through)


def child_cycles(host: str) -> None:
    """A dump leaves no reference cycle to the collector, however it ends."""
    import warnings

    import weakreduce

    warnings.simplefilter("ignore", weakreduce.DanglingWarning)

    def stuck() -> Any:
        return (item for item in ())

    def called(default: Any) -> Any:
        return functools.partial(len, default)

    def cases() -> Any:
        held, failing, large = Target(), Target(stuck()), Target("x" * 1000)
        yield [weakref.ref(failing)], failing, "snapshot"
        yield [weakref.ref(failing)], failing, weakreduce.Policy(unpicklable="raise")
        yield [weakref.ref(held, called(stuck()))], held, "snapshot"
        yield [weakref.ref(held)], held, "strict"
        yield [weakref.ref(held), held, stuck()], None, "snapshot"
        yield [stuck()], None, "snapshot"
        yield [weakref.ref(large)], large, weakreduce.Policy(max_snapshot_bytes=10)
        raises = Explosive()  # asked once, and raised again by each walk
        yield [weakref.ref(raises)], raises, "snapshot"
        yield [weakref.ref(raises)], raises, weakreduce.Policy(unpicklable="raise")
        yield [weakref.ref(held), raises], held, "snapshot"

    for turn in range(2):  # the first fills caches
        for number, (root, kept, policy) in enumerate(cases()):
            gc.collect()
            gc.disable()
            try:
                weakreduce.dumps(root, policy=policy, host=host)
            except Exception as error:
                assert number not in (0, 2, 6, 7), error
            else:
                assert number in (0, 2, 6, 7)
            del root, kept
            unreachable = gc.collect()
            assert turn == 0 or unreachable == 0, (number, unreachable)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_a_dump_leaves_no_cycle_however_it_ends(host: str) -> None:
    run(child_cycles, host)


def child_leak_count(host: str) -> None:
    """200 dumps leave nothing behind, whether or not the collector runs."""
    import warnings

    import weakreduce

    warnings.simplefilter("ignore", weakreduce.DanglingWarning)
    left_out = ("snapshot fails", *["function"] * (not gaps.writes_code(host)))
    cases = [make for name, make in _leak_cases().items() if name not in left_out]

    def once() -> None:
        for make in cases:
            target = Target()
            try:
                weakreduce.loads(weakreduce.dumps(make(target), host=host), host=host)
            except ZeroDivisionError:
                pass

    counts = []
    for _ in range(3):  # the first fills caches
        for _ in range(200):
            once()
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert not gc.garbage
    assert counts[2] - counts[1] < 50, counts


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_dumping_and_loading_leaves_nothing_behind(host: str) -> None:
    if host == "pickle":
        run(child_leak_count_of_pickle)
    else:
        run(child_leak_count, host)


def child_leak_count_of_pickle() -> None:
    saved = _leak_cases
    cases = {name: make for name, make in saved().items() if name != "function"}
    globals()["_leak_cases"] = lambda: cases
    child_leak_count("pickle")
