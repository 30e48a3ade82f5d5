"""An exception at the n-th bytecode of ours, for every n, and other faults everywhere: a script.

``python tests/run_faults.py [SCENE ...] [--hosts HOST ...] [--errors NAME ...] [--every 1]
[--distinct]``

Each scene of `faults.SCENES` is dumped while a trace function follows the package's bytecodes. At
each of them (or at every so many-th) the process is forked: in the child that bytecode raises.
Whatever comes of it, the file has the whole payload or nothing, the process and the pickler are as
they were, and the next dumps, by the same pickler and by a new one, write the reference. ``depth``
tries every recursion limit in that way, ``nomemory`` lets one allocation after the other fail,
which takes a debug module of CPython's tests. It prints a line for each scene, host and error, and
exits with 1 where anything was otherwise. `trouble/test_faults_everywhere.py` runs it, with a
stride.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import faulthandler
import itertools
import json
import linecache
import os
import re
import signal
import sys
import traceback
import types
import warnings
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

import faults
import interrupts

from weakreduce.model import scarce

TRACED: dict[str, type[BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "MemoryError": MemoryError,
}
#: What else there is, and what it raises.
OTHERS: dict[str, type[BaseException]] = {"depth": RecursionError, "nomemory": MemoryError}
#: Between the bytecodes of that itself the interpreter handles no signal, nor allocates: it is only
#: there that a trace function may do what nothing else does, and leave a lock taken.
_LOCKS = re.compile(r"\s*with \w*lock:")
#: After so many dumps that nothing disturbed there is memory enough, and depth.
ENOUGH = 20
#: Seconds after which a child that has not ended says where it is, and is ended.
PATIENCE = 100


def fork() -> int:
    """A copy of the process, of which nobody is told: to the package it is the same process."""
    sys.stdout.flush()
    return int(ctypes.PyDLL(None).fork())


class Tracing(interrupts.Interrupts):
    """At every so many-th bytecode of ours, raises in a child what it is told to."""

    def __init__(self, trial: Trial, every: int, first: int) -> None:
        super().__init__()
        self.trial, self.every, self.next = trial, every, first

    def _step(self, frame: types.FrameType, event: str, argument: object) -> object:
        found = super()._step(frame, event, argument)
        count = len(self.first) if self.trial.distinct else self.count
        if count == self.next and event == "opcode":
            self.next += self.every
            line = frame.f_lineno or 0  # some bytecodes are of no line
            if _LOCKS.match(linecache.getline(frame.f_code.co_filename, line)):
                return found
            file = Path(frame.f_code.co_filename)
            if self.trial.branch(f"{file.parent.name}/{file.name}:{frame.f_lineno}"):
                sys.settrace(None)
                raise self.trial.error
        return found


class NoMemory:
    """The `at`-th allocation fails, and that one alone."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __enter__(self) -> None:
        import _testcapi

        _testcapi.set_nomemory(self.at, self.at + 1)

    def __exit__(self, *_: object) -> None:
        import _testcapi

        _testcapi.remove_mem_hooks()


class Depth:
    """A recursion limit of so many frames more than there are."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def __enter__(self) -> None:
        self.before = sys.getrecursionlimit()
        frame, here = sys._getframe(), 0
        while frame is not None:
            frame, here = frame.f_back, here + 1  # type: ignore[assignment]
        sys.setrecursionlimit(here + self.depth)

    def __exit__(self, *_: object) -> None:
        sys.setrecursionlimit(self.before)


class Trial:
    """Disturbs the dump of a scene, in children, each of which says how its dump ended."""

    def __init__(self, scene: str, host: str, name: str, distinct: bool) -> None:
        self.name = name
        #: Whether a bytecode counts when it runs for the first time only.
        self.distinct = distinct
        self.error = TRACED.get(name) or OTHERS[name]
        self.play = play = faults.Play(scene, host)
        with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
            play.dump(play.bench().pickler)  # the first fills caches
        if name in TRACED:
            # Python 3.12 tells a trace function of bytecodes from the second time on.
            play.outcome(play.bench(), interrupts.Interrupts())
        self.expected = play.outcome(play.bench())
        self.reference = faults.reference(host, play.healthy, **play.options)
        self.said: list[str] = []
        self.where = ""
        self.answer = -1

    def branch(self, where: str) -> bool:
        """Whether this is the child, in which the fault is to happen; else that has ended."""
        reads, writes = os.pipe()
        child = fork()
        if child == 0:
            signal.alarm(PATIENCE)
            self.where, self.answer = where, writes
            return True
        os.close(writes)
        with open(reads, encoding="utf-8") as answers:
            self.said.append(answers.read())
        _, status = os.waitpid(child, 0)
        if status:
            self.said[-1] = f"{where}: the process ended with {status}"
        return False

    def run(self, every: int, first: int) -> list[str]:
        """Disturb it at every so many-th moment; what the children say."""
        play = self.play
        if self.name in TRACED:
            self._dump(Tracing(self, every, first + 1), play.bench())
            return self.said
        make = NoMemory if self.name == "nomemory" else Depth
        undisturbed = 0
        for at in itertools.count(first + 1, every):
            if self.branch(f"{at}"):
                self._dump(make(at), play.bench())
            # What is wrong, too: that may be so at every depth there is.
            undisturbed = 0 if self.said[-1] == "raised" else undisturbed + 1
            if undisturbed == ENOUGH:
                return self.said
        raise AssertionError

    def _dump(self, disturb: object, bench: faults.Bench) -> None:
        try:
            outcome = self.play.outcome(bench, disturb)
            if self.answer < 0:
                assert outcome.key == self.expected.key, f"undisturbed, {outcome.told}"
                return
            found = self._judged(outcome)
            bench.check(self.play.healthy, self.reference)
        except BaseException as error:
            if self.answer < 0:
                raise
            line = traceback.extract_tb(error.__traceback__)[-1].lineno
            found = f"{self.where}: {type(error).__name__}, line {line}: {str(error)[:200]}"
        with open(self.answer, "w", encoding="utf-8") as answer:
            answer.write(found)
        os._exit(0)

    def _judged(self, outcome: faults.Outcome) -> str:
        if outcome.key == self.expected.key:
            return "as ever"
        error = outcome.error
        if error is None and self.error is RecursionError:
            # A referent that is too deep to be looked at by itself dangles, and a warning says so.
            assert outcome.warnings > self.expected.warnings, f"{outcome.told}: nothing is said"
            return "as ever"
        assert error is not None, f"{outcome.told} in place of {self.expected.told}"
        # cloudpickle and C picklers turn some into errors of their own.
        told = (error, error.__cause__, error.__context__)
        # So does an interpreter that has no memory for the error itself, and says that one is lost.
        lost = isinstance(error, SystemError) and str(error).endswith(scarce.LOST)
        right = any(isinstance(found, self.error) for found in told)
        assert right or (lost and self.name == "nomemory"), f"{error!r}"
        assert outcome.written in (b"", self.expected.written), "half a payload"
        return "raised"


def begun(trial: tuple[str, str, str, bool], every: int, first: int) -> tuple[int, int]:
    """A process in which every so many-th moment is tried, and where it says what came of them.

    This process has one thread alone, so none is in the middle of anything when it is forked.
    """
    reads, writes = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process:
        os.close(writes)
        return process, reads
    status = 1
    try:
        said = Trial(*trial).run(every, first)
        with open(writes, "w", encoding="utf-8") as answer:
            json.dump(said, answer)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def ended(process: int, reads: int) -> list[str]:
    """What the children of that process said."""
    with open(reads, encoding="utf-8") as answer:
        told = answer.read()
    _, status = os.waitpid(process, 0)
    if status:
        return [f"the process of the trial ended with {status}"]
    return list(json.loads(told))


def lines(said: Iterable[str]) -> tuple[str, collections.Counter[str]]:
    """How many dumps ended as, and what was wrong."""
    counts = collections.Counter(said)
    right = [f"{counts.pop(word, 0)} {word}" for word in ("raised", "as ever")]
    return ", ".join(right), counts


def main() -> int:
    parser = argparse.ArgumentParser(description="Disturb every dump everywhere.")
    parser.add_argument("scenes", nargs="*", default=list(faults.SCENES))
    parser.add_argument("--hosts", nargs="*", default=list(faults.HOSTS))
    parser.add_argument("--errors", nargs="*", default=[*TRACED, *OTHERS])
    parser.add_argument("--every", type=int, default=1, help="of so many moments one is tried")
    parser.add_argument("--first", type=int, default=0, help="which of them")
    parser.add_argument("--distinct", action="store_true", help="each bytecode once")
    parser.add_argument("--jobs", type=int, default=1, help="processes at the same time")
    chosen = parser.parse_args()
    failed = 0
    faulthandler.register(signal.SIGALRM, chain=True)
    for scene, host, name in itertools.product(chosen.scenes, chosen.hosts, chosen.errors):
        jobs = chosen.jobs if name in TRACED else 1
        parts = [
            begun(
                (scene, host, name, chosen.distinct),
                chosen.every * jobs, chosen.first + chosen.every * job,
            )
            for job in range(jobs)
        ]  # fmt: skip
        text, wrong = lines(itertools.chain.from_iterable(ended(*part) for part in parts))
        failed += wrong.total()
        print(f"{scene}, {host}, {name}: {text}, {wrong.total()} wrong", flush=True)
        for text, count in wrong.most_common(25):
            print(f"    {count} x {text}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
