"""Tasks, forks, and what two threads share: a pickler, the hosts' patches.

What threads that write do to a dump is in `test_threads.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dill
import pytest
import things
from test_threads import together

import weakreduce
from weakreduce.hosts.standard import Pickler

POLICIES = ("snapshot", "dangle", "strict")
PICKLERS: dict[str, Any] = {
    "cloudpickle": cloudpickle.Pickler, "dill": dill.Pickler, "pickle": Pickler,
}  # fmt: skip


def fate(reference: Any) -> str:
    """What becomes of a reference to an object outside, under the policy in force."""
    try:
        data = cloudpickle.dumps([reference])
    except weakreduce.WeakrefPicklingError:
        return "strict"
    return "dangle" if cloudpickle.loads(data)[0]() is None else "snapshot"


# --- tasks ----------------------------------------------------------------------------


def test_each_task_has_a_policy_of_its_own() -> None:
    outside = things.Thing("outside")
    reference = weakref.ref(outside)

    async def task(number: int) -> None:
        mine, inner = POLICIES[number % 3], POLICIES[(number + 1) % 3]
        for _ in range(5):
            with weakreduce.policy(mine):
                await asyncio.sleep(0)
                assert fate(reference) == mine
                with weakreduce.policy(inner):
                    await asyncio.sleep(0)
                    assert fate(reference) == inner
                    assert await asyncio.to_thread(fate, reference) == inner
                await asyncio.sleep(0)
                assert fate(reference) == mine
            await asyncio.sleep(0)
            assert fate(reference) == "snapshot"

    async def all_of_them() -> None:
        await asyncio.gather(*map(task, range(30)))

    asyncio.run(all_of_them())


def test_a_task_keeps_the_policy_that_it_was_made_under() -> None:
    """Also where the block ends before the task begins, and where the task is cancelled."""
    outside = things.Thing("outside")
    reference = weakref.ref(outside)

    async def late(begin: asyncio.Event) -> str:
        await begin.wait()
        return fate(reference)

    async def cancelled() -> None:
        with weakreduce.policy("strict"):
            await asyncio.sleep(60)

    async def main() -> None:
        begin = asyncio.Event()
        with weakreduce.policy("dangle"):
            task = asyncio.create_task(late(begin))
            other = asyncio.create_task(cancelled())
            await asyncio.sleep(0)
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
            assert fate(reference) == "dangle"
        assert fate(reference) == "snapshot"
        begin.set()
        assert await task == "dangle"

    asyncio.run(main())


def test_threads_and_their_context() -> None:
    """A thread has what the interpreter gives it: the block's context, or one without a block."""
    inherits = bool(getattr(sys.flags, "thread_inherit_context", False))
    found: dict[str, str] = {}

    def note(name: str) -> None:
        found[name] = weakreduce.get_policy().name or ""

    with weakreduce.policy("dangle"):
        handed = contextvars.copy_context()
        within = threading.Thread(target=note, args=("within",))
        within.start()
        within.join()
        after = threading.Thread(target=note, args=("after",))
    with weakreduce.policy("strict"):
        copied = threading.Thread(target=handed.run, args=(note, "handed"))
        copied.start()
        copied.join()
    after.start()
    after.join()
    assert found == {
        "within": "dangle" if inherits else "snapshot",
        "after": "snapshot",
        "handed": "dangle",
    }


# --- one pickler ----------------------------------------------------------------------


class Waiting(things.Thing):
    """Its dump waits in the midst, for others to do what they do."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        super().__init__(name)
        self.act = act

    def __reduce__(self) -> Any:
        self.act()
        return things.Thing, (self.name,)


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("host", PICKLERS)
def test_a_pickler_that_dumps_in_another_thread_refuses(host: str, weak: bool) -> None:
    file = io.BytesIO()
    pickler = PICKLERS[host](file, 4)
    begun, done = threading.Event(), threading.Event()
    kept = things.Thing("kept")

    def wait() -> None:
        begun.set()
        assert done.wait(120)

    def first() -> None:
        pickler.dump([Waiting("first", wait), *[weakref.ref(kept), kept][: 2 * weak]])

    def second() -> None:
        assert begun.wait(120)
        try:
            for obj in ([1, 2], [weakref.ref(kept)]):
                with pytest.raises(RuntimeError, match="is dumping in another thread"):
                    pickler.dump(obj)
        finally:
            done.set()

    together(first, second)
    pickler.clear_memo()
    pickler.dump("afterwards")
    file.seek(0)
    copy, *links = pickle.load(file)
    assert copy.name == "first"
    assert not weak or links[0]() is links[1]
    assert pickle.load(file) == "afterwards"
    assert not file.read()


@pytest.mark.parametrize("host", PICKLERS)
def test_whichever_thread_has_a_pickler_first(host: str) -> None:
    """What is not refused is whole, and nothing else is in the file."""
    file = io.BytesIO()
    pickler = PICKLERS[host](file, 4)
    kept = things.Thing("kept")
    dumped: list[tuple[int, int]] = []

    def task(number: int) -> Callable[[], None]:
        def dump() -> None:
            for turn in range(200):
                try:
                    pickler.dump([number, turn, weakref.ref(kept), kept, [number] * 20])
                except RuntimeError as error:
                    assert "is dumping in another thread" in str(error)
                else:
                    dumped.append((number, turn))

        return dump

    together(*map(task, range(4)))
    file.seek(0)
    unpickler = pickle.Unpickler(file)
    loaded = [unpickler.load() for _ in dumped]
    assert not file.read()
    assert sorted(dumped) == sorted((number, turn) for number, turn, *_ in loaded)
    for number, _, link, copy, numbers in loaded:
        assert link() is copy
        assert numbers == [number] * 20


@pytest.mark.parametrize("host", PICKLERS)
def test_a_dump_that_another_thread_takes_to_be_under_way(host: str) -> None:
    """Whoever asks whether one is holds it alive while it asks: that is refused, or right."""
    file = io.BytesIO()
    pickler, kept = PICKLERS[host](file, 4), things.Thing("kept")
    held: list[object] = []

    class Holding:
        def __reduce__(self) -> Any:
            held.append(pickler._weakreduce.under_way())
            return int, ()

    pickler.dump([Holding(), weakref.ref(kept), kept])
    size = file.tell()
    with pytest.raises(RuntimeError, match="is dumping in another thread"):
        pickler.dump([weakref.ref(kept), kept])
    assert file.tell() == size
    held.clear()
    pickler.dump([weakref.ref(kept), kept])
    assert file.tell() > size


# --- hosts ----------------------------------------------------------------------------


def test_hosts_are_installed_and_uninstalled_while_dumps_run() -> None:
    """A dump is ours, or stock's, which refuses; no link is lost, and none is made up."""
    inside = things.Thing("inside")
    root = [weakref.ref(inside), inside]
    left, outcomes = threading.Semaphore(0), set[str]()

    def toggle() -> None:
        try:
            for _ in range(60):
                weakreduce.uninstall()
                weakreduce.install()
        finally:
            weakreduce.install()
            left.release()

    def task(dumps: Any, loads: Any) -> Callable[[], None]:
        def dump() -> None:
            for turn in range(2000):
                if turn > 50 and left._value:
                    break
                try:
                    data = dumps(root)
                except (TypeError, pickle.PicklingError) as error:
                    assert "weakref" in str(error)
                    outcomes.add("refused")
                    continue
                link, copy = loads(data)
                assert copy.name == "inside"
                assert link() is copy
                outcomes.add("linked")

        return dump

    together(
        toggle,
        *[task(cloudpickle.dumps, cloudpickle.loads)] * 3,
        task(lambda obj: weakreduce.dumps(obj), pickle.loads),
    )
    assert "linked" in outcomes


# --- forks ----------------------------------------------------------------------------

FORKS = """
    import os, sys, threading, warnings, weakref
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.path[:0] = [sys.argv[1]]
    import cloudpickle, dill, pickle, things, weakreduce

    kept = things.Thing("kept")
    weakreduce.share("kept", kept)
    outside = things.Thing("outside")

    def check():
        for host in ("cloudpickle", "dill", "pickle"):
            for policy in ("snapshot", "dangle", weakreduce.Policy(identity="home")):
                inside = things.Thing("inside")
                root = [inside, *map(weakref.ref, (inside, kept, outside)),
                        weakref.WeakSet([inside])]
                data = weakreduce.dumps(root, policy=policy, host=host)
                copy, link, shared, pinned, members = weakreduce.loads(data, host=host)
                assert link() is copy and list(members) == [copy]
                assert shared() is kept
                assert (pinned() is None) is (policy == "dangle")
                if type(policy) is weakreduce.Policy:
                    assert pinned() is outside
        thing = things.Thing("another")
        weakreduce.share("another", thing)
        weakreduce.unshare("another")
        weakreduce.uninstall("dill")
        weakreduce.install("dill")

    def forked(act=check):
        child = os.fork()
        if child:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status == 42, status
        else:
            status = 1
            try:
                act()
                status = 42
            finally:
                sys.stderr.flush()
                os._exit(status)
"""


def run(code: str) -> None:
    """In a process of its own, which forks."""
    support = str(Path(things.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKS) + textwrap.dedent(code),
         support],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fork_in_the_midst_of_a_dump() -> None:
    """By a reducer: child and parent both go on with the dump, and both are right."""
    run("""
        class Forks(things.Thing):
            def __reduce__(self):
                forked()
                return things.Thing, (self.name,)

        class Divides(things.Thing):
            def __reduce__(self):
                global child
                child = os.fork()
                return things.Thing, (self.name,)

        for host in ("cloudpickle", "dill", "pickle"):
            inside = things.Thing("inside")
            root = [weakref.ref(inside), Forks("forks"), inside]
            link, forks, copy = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
            assert link() is copy and forks.name == "forks"
            root[1] = Divides("divides")
            data = weakreduce.dumps(root, host=host)
            link, divides, copy = weakreduce.loads(data, host=host)
            assert link() is copy and divides.name == "divides"
            check()
            if not child:
                os._exit(42)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    """)


def test_forks_while_other_threads_dump() -> None:
    """A lock that a thread holds, a name that it is about to share: all is free in the child.

    On a free-threaded CPython 3.13 a child that is forked while another thread collects garbage
    waits for ever when it does so itself, without weakreduce too: there threads dump by turns.
    """
    run("""
        import contextlib
        done = threading.Event()
        has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        turns = contextlib.nullcontext() if has_gil else threading.Lock()

        def busy(host):
            while not done.is_set():
                with turns:
                    thing = things.Thing("busy")
                    weakreduce.share(f"busy {host}", thing)
                    policy = weakreduce.Policy(identity="home")
                    data = weakreduce.dumps([weakref.ref(thing), weakref.ref(outside)],
                                            policy=policy, host=host)
                    weakreduce.loads(data, host=host)
                    weakreduce.unshare(f"busy {host}")

        check()
        hosts = ("cloudpickle", "dill", "pickle")
        threads = [threading.Thread(target=busy, args=(host,)) for host in hosts]
        for thread in threads:
            thread.start()
        sys.setswitchinterval(1e-5)
        try:
            for _ in range(25):
                with turns:
                    forked()
        finally:
            done.set()
        for thread in threads:
            thread.join()
        check()
    """)


def test_a_pickler_whose_thread_is_left_behind_refuses_in_the_child() -> None:
    """Its dump never ends there; another pickler is as good as new."""
    run("""
        import io
        begun, go_on = threading.Event(), threading.Event()

        class Waits(things.Thing):
            def __reduce__(self):
                begun.set()
                go_on.wait()
                return things.Thing, (self.name,)

        file = io.BytesIO()
        pickler = cloudpickle.Pickler(file)
        thread = threading.Thread(target=pickler.dump, args=([Waits("waits")],))
        thread.start()
        begun.wait()

        def in_the_child():
            try:
                pickler.dump([1])
            except RuntimeError as error:
                assert "is dumping in another thread" in str(error)
            else:
                raise AssertionError
            assert file.getvalue() == b""
            check()

        forked(in_the_child)
        go_on.set()
        thread.join()
        assert pickle.loads(file.getvalue())[0].name == "waits"
    """)
