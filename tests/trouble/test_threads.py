"""Threads: dumps under different policies while others write to what is dumped, and collect.

Runs on every Python, and says most on a free-threaded build. What is promised: each payload is
one that some moment of its dump explains. Links stay links, pins pins; what a thread adds or
takes away meanwhile is there or not; an error is stock's own, of an object that changed under it.
"""

from __future__ import annotations

import gc
import linecache
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import things

import weakreduce

HOSTS = ("cloudpickle", "dill", "pickle")
POLICIES = ("snapshot", "dangle", "strict")
THREADS = 8
TURNS = 25
#: Seconds for which a thread that writes lets others run, or they would hardly get to.
PAUSE = 0.0002


def together(*tasks: Callable[[], None]) -> None:
    """Run tasks in threads of their own, all at the same time.

    Raises:
        BaseException: the first error of any of them.
    """
    errors: list[BaseException] = []
    gate = threading.Barrier(len(tasks))

    def run(task: Callable[[], None]) -> None:
        try:
            gate.wait(60)
            task()
        except BaseException as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(240)
        assert not any(thread.is_alive() for thread in threads)
    finally:
        sys.setswitchinterval(before)
    if errors:
        raise errors[0]


class LastOfAll:
    """Around the work of each of `THREADS` threads; where the last of them ends, `done` is set."""

    def __init__(self, done: threading.Event) -> None:
        self.done, self._left, self._lock = done, THREADS, threading.Lock()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self.done.set()


class Shared:
    """What all threads dump, and one writes to."""

    def __init__(self) -> None:
        self.inside = things.Thing("inside")
        self.outside = things.Thing("outside")
        self.members = weakref.WeakSet([self.inside, self.outside])
        self.values = weakref.WeakValueDictionary(inside=self.inside, outside=self.outside)
        self.keys = weakref.WeakKeyDictionary({self.inside: 1, self.outside: 2})
        self.root = [
            weakref.ref(self.inside), weakref.ref(self.outside), self.members, self.values,
            self.keys, weakref.proxy(self.inside), weakref.WeakMethod(self.outside.method),
            self.inside,
        ]  # fmt: skip
        self.done = threading.Event()

    def write(self) -> None:
        """Add and take away entries, and let others die, until all dumps are done."""
        kept: list[Any] = []
        turn = 0
        while not self.done.wait(PAUSE):
            turn += 1
            thing = things.Thing(f"other {turn}")
            self.members.add(thing)
            self.values[f"other {turn}"] = thing
            self.keys[thing] = turn
            kept.append(thing)
            if len(kept) > 20:
                self.values.pop(f"other {turn - 5}", None)
                self.members.discard(kept[-5])
                self.keys.pop(kept[-6], None)
                kept.clear()

    def collect(self) -> None:
        """Let the collector run in the midst of all."""
        pause = 10 * PAUSE
        while not self.done.wait(pause):
            cycle = things.Thing("cycle")
            cycle.itself = cycle
            self.members.add(cycle)
            del cycle
            begun = time.monotonic()
            gc.collect()
            # On a free-threaded build all others wait meanwhile, and for each other to wait: where
            # processors are few and busy, they would hardly get to anything else.
            pause = max(10 * PAUSE, 4 * (time.monotonic() - begun))

    def check(self, copy: list[Any], policy: str) -> None:
        """What was there all the time arrived as its fate says."""
        link, outside, members, values, keys, proxy, method, inside = copy
        assert link() is inside
        assert proxy.method.__self__ is inside
        assert inside in members
        assert values["inside"] is inside
        assert keys[inside] == 1
        for found in (*members, *values.values(), *keys):
            assert type(found) is things.Thing
        if policy == "dangle":
            assert outside() is None
            assert method() is None
            assert "outside" not in values
        else:
            assert outside().name == "outside"
            assert method().__self__ is outside() is values["outside"]
            assert outside() in members
            assert keys[outside()] == 2


def dump(root: Any, policy: str, host: str) -> bytes | None:
    """A payload; None where the policy refuses."""
    try:
        return weakreduce.dumps(root, policy=policy, host=host)
    except weakreduce.WeakrefPicklingError:
        assert policy == "strict"
        return None


@pytest.mark.parametrize("host", HOSTS)
def test_containers_that_others_write_to(host: str) -> None:
    shared = Shared()
    last = LastOfAll(shared.done)

    def send(number: int) -> Callable[[], None]:
        def task() -> None:
            with last:
                for turn in range(TURNS):
                    policy = POLICIES[(number + turn) % 3]
                    payload = dump(shared.root, policy, host)
                    if payload is not None:
                        shared.check(weakreduce.loads(payload, host=host), policy)

        return task

    together(*map(send, range(THREADS)), shared.write, shared.collect)


def test_a_thousand_dumps_of_each_thread_under_its_own_policy() -> None:
    """By blocks, of small payloads, while another thread writes and collects."""
    shared = Shared()
    roots = {
        "links": [weakref.ref(shared.inside), shared.inside],
        "pins": [weakref.ref(shared.outside)],
        "keys": [shared.inside, shared.keys],
    }
    last = LastOfAll(shared.done)

    def send(number: int) -> Callable[[], None]:
        def task() -> None:
            with last:
                for turn in range(1000):
                    name, root = list(roots.items())[turn % (3 if turn % 50 == 0 else 2)]
                    policy = POLICIES[(number + turn // 100) % 3]
                    with weakreduce.policy(policy):
                        try:
                            copy = weakreduce.loads(weakreduce.dumps(root))
                        except weakreduce.WeakrefPicklingError:
                            assert policy == "strict" and name != "links"
                            continue
                    if name == "links":
                        assert copy[0]() is copy[1]
                    elif name == "pins":
                        assert policy != "strict"
                        assert (copy[0]() is None) is (policy == "dangle")
                    else:
                        assert copy[1][copy[0]] == 1
                        assert policy == "snapshot" or len(copy[1]) == 1

        return task

    together(*map(send, range(THREADS)), shared.write, shared.collect)


@pytest.mark.parametrize("host", HOSTS)
def test_attributes_that_others_write_to(host: str) -> None:
    """Stock's own copy of them is what is written: a dict that changes is stock's to report."""
    holder, outside = things.Thing("holder"), things.Thing("outside")
    holder.link, holder.pinned = weakref.ref(holder), weakref.ref(outside)
    done = threading.Event()
    last = LastOfAll(done)

    def write() -> None:
        turn = 0
        while not done.wait(PAUSE):
            turn += 1
            setattr(holder, f"attribute {turn % 7}", weakref.ref(outside))
            vars(holder).pop(f"attribute {(turn + 3) % 7}", None)

    def task() -> None:
        with last:
            for _ in range(TURNS):
                try:
                    payload = weakreduce.dumps([holder, holder.link], host=host)
                except RuntimeError as error:
                    assert "changed size" in str(error)
                    assert not is_ours(error)
                    continue
                copy, link = weakreduce.loads(payload, host=host)
                assert copy.link is link
                assert link() is copy
                assert copy.pinned().name == "outside"

    together(*[task] * THREADS, write)


def is_ours(error: BaseException) -> bool:
    """Whether code of ours raised an error, and not the pickler that it called."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    file = frame.f_code.co_filename
    package = Path(weakreduce.__file__).parent
    calls = ("stock(", "super().dump(")
    text = linecache.getline(file, line)
    return package in Path(file).parents and not any(call in text for call in calls)


class Written(things.Thing):
    """What others write attributes to, while its instances are dumped."""


@pytest.mark.parametrize("host", HOSTS)
def test_classes_that_others_write_to(host: str) -> None:
    """As pickle does, when it meets the first instance: it notes the names of slots there."""
    done = threading.Event()
    last = LastOfAll(done)

    def write() -> None:
        turn = 0
        while not done.wait(PAUSE / 10):
            for turn in range(turn + 1, turn + 50):
                setattr(Written, f"attribute{turn % 40}", turn)
                if turn > 40 and hasattr(Written, f"attribute{(turn + 20) % 40}"):
                    delattr(Written, f"attribute{(turn + 20) % 40}")

    def task() -> None:
        with last:
            for _ in range(2 * TURNS):
                inside, outside = Written("inside"), things.Thing("outside")
                root = [weakref.ref(inside), weakref.ref(outside), inside]
                copy = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
                assert copy[0]() is copy[2]
                assert copy[1]().name == "outside"

    together(*[task] * THREADS, write)


def test_policies_registrations_and_names_change_meanwhile() -> None:
    """What a process has one of is written by some, while others dump."""
    shared, done = things.Thing("shared"), threading.Event()
    left = threading.Semaphore(0)

    def names() -> None:
        while not done.wait(PAUSE):
            weakreduce.share("a name", shared)
            weakreduce.unshare("a name")

    def installs() -> None:
        try:
            for _ in range(30):
                weakreduce.uninstall("cloudpickle")
                weakreduce.install("cloudpickle")
        finally:
            left.release()

    def imports() -> None:
        turn = 0
        while not done.wait(PAUSE):
            turn += 1
            sys.modules[f"made up {turn % 50}"] = type(sys)(f"made up {turn % 50}")
            sys.modules.pop(f"made up {(turn + 25) % 50}", None)

    def types() -> None:
        try:
            for turn in range(300):
                cls = type(f"Made{turn}", (things.Thing,), {"__module__": "made up"})
                weakref.ref(cls("instance"))
        finally:
            left.release()

    def task() -> None:
        try:
            for turn in range(TURNS):
                policy = POLICIES[turn % 2]
                with weakreduce.policy(policy):
                    copy = weakreduce.loads(
                        weakreduce.dumps([things.function, weakref.ref(things.Thing("other"))])
                    )
                assert copy[0] is things.function
                outside = things.Thing("outside")
                copy = weakreduce.loads(weakreduce.dumps([weakref.ref(outside)], policy=policy))
                assert (copy[0]() is None) is (policy == "dangle")
        finally:
            left.release()

    def ends() -> None:
        for _ in range(6):
            left.acquire(timeout=240)
        done.set()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            together(names, installs, imports, types, *[task] * 4, ends)
        finally:
            for name in [name for name in sys.modules if name.startswith("made up")]:
                del sys.modules[name]
            weakreduce.install("cloudpickle")


def test_first_dumps_of_many_threads() -> None:
    """What the first dump makes is made once, whoever is first."""
    import subprocess

    code = """
import sys, threading, weakref
sys.path.insert(0, sys.argv[1])
import weakreduce, things
gate = threading.Barrier(8)
wrong = []
def task(host):
    try:
        gate.wait(60)
        inside = things.Thing("inside")
        found, copy = weakreduce.loads(weakreduce.dumps([weakref.ref(inside), inside], host=host))
        assert found() is copy
    except BaseException as error:
        wrong.append(error)
threads = [threading.Thread(target=task, args=(h,)) for h in ("cloudpickle", "dill", "pickle") * 3]
threads = threads[:8]
[t.start() for t in threads]
[t.join(60) for t in threads]
assert not wrong, wrong
"""
    from pathlib import Path

    here = str(Path(__file__).parent.parent / "support")
    for _ in range(3):
        run = subprocess.run([sys.executable, "-c", code, here], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
