"""An exception at any bytecode of ours, such as a Ctrl-C, leaves nothing as it should not be.

Run by `test_interrupts.py`, in processes of their own: an exception that a trace function raises
where an `except` block begins stays with the interpreter as the one that is being handled.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dill
import pytest
import things

import weakreduce
from weakreduce.core import watchers
from weakreduce.hosts import standard

PACKAGE = str(Path(weakreduce.__file__).parent)
PICKLERS = {"cloudpickle": cloudpickle.Pickler, "dill": dill.Pickler, "pickle": standard.Pickler}
#: Files whose code changes what outlives a dump. Every bytecode of them is tried; of the others,
#: which only compute, a few.
KEEPERS = ("blocks", "in_force", "watchers", "sink", "session", "patch", "picklers", "dill",
           "cloudpickle", "standard", "tables")  # fmt: skip
SOME = 25


class Interrupts:
    """Counts the bytecodes of ours that run in a block, and raises at one of them."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.count = 0
        #: The first count of each bytecode.
        self.first: dict[tuple[types.CodeType, int], int] = {}

    def __enter__(self) -> None:
        sys.settrace(self._call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if event == "exception" and argument[0] is GeneratorExit:
            # What is raised in a generator that is being closed is printed, not raised (as a
            # Ctrl-C there is); from Python 3.14 on its last bytecodes are traced.
            frame.f_trace_opcodes = False
            return None
        if event == "opcode":
            self.count += 1
            if not self.at:
                self.first.setdefault((frame.f_code, frame.f_lasti), self.count)
            elif self.count == self.at:
                sys.settrace(None)
                self.strike(frame)
        return self._step

    def strike(self, frame: types.FrameType) -> None:
        """The moment is there."""
        raise KeyboardInterrupt


def moments(work: Callable[..., Any], make: Callable[[], tuple[Any, ...]] = tuple) -> list[int]:
    """When to interrupt `work`, which is given what `make` makes."""
    work(*make())  # the first time fills caches
    interrupts, made = Interrupts(), make()
    with interrupts:
        work(*made)
    keepers, others = [], []
    for (code, _), count in interrupts.first.items():
        (keepers if Path(code.co_filename).stem in KEEPERS else others).append(count)
    return keepers + others[::SOME]


def interrupted(work: Callable[[], Any], at: int) -> bool:
    """Whether `work` was interrupted; what is checked then is checked as in an `except` block."""
    try:
        with Interrupts(at):
            work()
    except KeyboardInterrupt:
        return True
    return False


def every_kind() -> tuple[list[Any], Any]:
    """A root with each kind and fate, and what is to be kept alive for it."""
    first, second, third = (things.Thing(name) for name in ("first", "second", "third"))
    first.child, first.itself, third.parent = third, weakref.proxy(first), weakref.ref(first)
    valued, outside, gone = things.Valued("valued"), things.Thing("outside"), things.Thing("gone")
    root = [
        weakref.ref(second),
        weakref.WeakMethod(first.method),
        weakref.WeakSet([second, third, valued]),
        weakref.WeakValueDictionary({1: second, 2: outside}),
        weakref.WeakKeyDictionary({second: [1], valued: 2}),
        weakref.ref(gone),
        weakref.ref(outside, things.called),
        weakref.proxy(outside),
        weakref.finalize(second, things.function),
        first,
        second,
        valued,
    ]
    return root, outside


class File:
    """Of the user's own, which cannot be put back."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: Any) -> int:
        self.written.append(bytes(data))
        return len(data)

    def getvalue(self) -> bytes:
        return b"".join(self.written)


@pytest.mark.parametrize(
    ("host", "make_file"), [("cloudpickle", io.BytesIO), ("dill", File), ("pickle", File)]
)
def test_a_dump(host: str, make_file: Any) -> None:
    root, _outside = every_kind()
    early = [root[-1], things.Thing("early")]

    def begin() -> tuple[Any, Any]:
        file = make_file()
        pickler: Any = PICKLERS[host](file)
        pickler.dump(early)
        return file, pickler

    def work(_file: Any, pickler: Any) -> None:
        with weakreduce.policy(outside="snapshot"):
            pickler.dump(root)

    file, pickler = begin()
    parts, before = [], len(file.getvalue())
    for _ in range(2):
        work(file, pickler)
        parts.append(file.getvalue()[before:])
        before = len(file.getvalue())
    policy = weakreduce.get_policy()
    for at in moments(work, begin):
        file, pickler = begin()
        start, own = file.getvalue(), dict(vars(pickler))
        try:
            with Interrupts(at):
                work(file, pickler)
        except KeyboardInterrupt:
            # Here the traceback keeps every frame alive.
            assert weakreduce.get_policy() is policy
            assert vars(pickler) == own
            found = file.getvalue()
            assert found in (start, start + parts[0])
            work(file, pickler)
            assert file.getvalue() == found + parts[found != start]
        else:
            raise AssertionError("no interrupt")


@pytest.mark.parametrize("host", PICKLERS)
def test_our_own_dumps(host: str) -> None:
    """With a limit on snapshots, which runs dumps inside the dump."""
    root, _outside = every_kind()
    policy = weakreduce.get_policy()
    limited = weakreduce.Policy(max_snapshot_bytes=10_000)

    def work() -> bytes:
        return weakreduce.dumps(root, policy=limited, host=host)  # type: ignore[arg-type]

    expected = work()
    for at in moments(work)[::8]:
        try:
            with Interrupts(at):
                work()
        except KeyboardInterrupt:
            assert weakreduce.get_policy() is policy
            assert watchers.around.get() is None
            assert work() == expected
        else:
            raise AssertionError("no interrupt")


@pytest.mark.parametrize("way", ["with", "twice", "kept", "decorator", "inner"])
def test_a_block(way: str) -> None:
    outer = weakreduce.get_policy()
    kept = weakreduce.policy("dangle")

    @weakreduce.policy("dangle")
    def decorated() -> None:
        assert weakreduce.get_policy().outside == "dangle"

    def work() -> None:
        if way == "with":
            with weakreduce.policy("dangle"):
                pass
        elif way == "kept":
            with kept, weakreduce.policy("strict"):
                assert weakreduce.get_policy().outside == "refuse"
        elif way == "twice":
            with kept:
                with kept:
                    pass
                assert weakreduce.get_policy().outside == "dangle"
        elif way == "decorator":
            decorated()
        else:
            with weakreduce.policy("forbid"):
                try:
                    with weakreduce.policy("dangle"):
                        pass
                finally:
                    assert weakreduce.get_policy().live == "forbid"

    for at in moments(work):
        try:
            with Interrupts(at):
                work()
        except KeyboardInterrupt:
            assert weakreduce.get_policy() is outer
        else:
            raise AssertionError("no interrupt")


def test_blocks_through_an_exit_stack_and_by_hand() -> None:
    outer = weakreduce.get_policy()
    block = weakreduce.policy("dangle")
    with contextlib.ExitStack() as stack:
        stack.enter_context(block)
        assert weakreduce.get_policy().outside == "dangle"
        stack.enter_context(weakreduce.policy("strict"))
        assert weakreduce.get_policy().outside == "refuse"
    assert weakreduce.get_policy() is outer
    leave = block.__exit__
    block.__enter__()
    del leave  # of another time, as far as anybody knows
    block.__enter__()
    assert weakreduce.get_policy().outside == "dangle"
    block.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="not entered"):
        for _ in range(2):
            block.__exit__(None, None, None)
    assert weakreduce.get_policy() is outer


def test_a_task_outlives_the_block_that_it_was_made_in() -> None:
    async def late(go: asyncio.Event) -> str:
        await go.wait()
        return weakreduce.get_policy().outside

    async def main() -> list[str]:
        go = asyncio.Event()
        with weakreduce.policy("dangle"):
            task = asyncio.create_task(late(go))
        await asyncio.sleep(0)
        go.set()
        return [await task, weakreduce.get_policy().outside]

    assert asyncio.run(main()) == ["dangle", "snapshot"]


def test_installing() -> None:
    """An interrupted `install` is completed by the next, and taken back by `uninstall`."""
    own = {name: vars(cls) for name, cls in PICKLERS.items() if name != "pickle"}

    def functions() -> list[Any]:
        return [own[name][method] for name in own for method in ("__init__", "dump")]

    def tables() -> list[Any]:
        found = (cloudpickle.Pickler.__dict__["_dispatch_table"], dill.Pickler.dispatch)
        return [list(table.items()) for table in found]

    def work() -> None:
        weakreduce.install("cloudpickle", "dill")

    weakreduce.uninstall("cloudpickle", "dill")
    try:
        stock, stock_tables = functions(), tables()

        def both() -> None:
            work()
            weakreduce.uninstall("cloudpickle", "dill")

        for at in moments(both):
            interrupted(both, at)
            weakreduce.uninstall("cloudpickle", "dill")
            assert functions() == stock
            assert tables() == stock_tables
            interrupted(both, at)
            work()
            assert not any(ours is other for ours, other in zip(functions(), stock, strict=True))
            assert cloudpickle.loads(cloudpickle.dumps(weakref.ref(things.Thing)))() is things.Thing
            weakreduce.uninstall("cloudpickle", "dill")
            assert functions() == stock
            assert tables() == stock_tables
    finally:
        weakreduce.install()
