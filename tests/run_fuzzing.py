"""Payloads that are changed at random, at length: a script.

``python tests/run_fuzzing.py [--count 100000] [--seconds 600] [--seed 0] [WHAT ...]``

WHAT is one or several of these, all by default:

- ``files``: each hostile file, of a megabyte: one second of processor time, and 100 MB, for what
  `inspect` does, and the same for the search for a path that `explain_load` makes;
- ``read``: `inspect` and that search, on mutations of payloads and on pickles made by a grammar of
  opcodes;
- ``cover``: the same, guided: what reaches a line or a jump of the reader that nothing reached
  before is mutated further;
- ``load``: payloads are loaded, in children with limits and without names that could do harm. One
  that ends its child, without a name of weakreduce, is tried again without weakreduce.

It prints what fails, with its number or its bytes, and exits with 1 if anything does. The reports
of a sample are in `tests/report/test_hostile_payloads.py`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

import fuzzing
import hostile_pickles
import odd_pickles

from weakreduce.reading import payload, whereabouts

SIZE = 1_000_000
SECONDS = 1.0
KILOBYTES = 100_000
#: What opens a payload without weakreduce; whatever happens to the process is stock's doing.
STOCK = """
import io, json, pickle, sys
sys.path.insert(0, sys.argv[1])
known = set(map(tuple, json.loads(sys.argv[2])))
class Stock(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in known:
            raise pickle.UnpicklingError(name)
        if name == "loads":
            return lambda data: Stock(io.BytesIO(data)).load()
        return super().find_class(module, name)
Stock(io.BytesIO(sys.stdin.buffer.read())).load()
"""


def clock(end: float, count: int) -> Iterator[int]:
    """Numbers, until there are enough of them or the time is up."""
    for number in range(count):
        if time.monotonic() > end:
            return
        yield number


# --- files ----------------------------------------------------------------------------


def _measured(act: Callable[[], object], connection: Any) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
    begun = time.process_time()
    act()
    taken = time.process_time() - begun
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    connection.send((taken, int(status)))


def measured(act: Callable[[], object]) -> tuple[float, int] | None:
    """Seconds and kilobytes that something takes in a child; None where it does not end well."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_measured, args=(act, theirs))
    child.start()
    theirs.close()
    try:
        return ours.recv()  # type: ignore[no-any-return]
    except EOFError:
        return None
    finally:
        child.join()


def inspect(data: bytes) -> None:
    """What the command does, but for the file."""
    try:
        str(payload._read("-", data, 300_000))
    except payload.NotAPayload as error:
        str(error)


def files(seed: int, count: int, end: float) -> list[str]:
    """Hostile files: how long they take."""
    failed = []
    choose = random.Random(seed)
    for name, data in hostile_pickles.hostile(SIZE):
        data = data[:SIZE]
        position = choose.randrange(len(data))
        for what, act in (
            ("inspect", lambda data=data: inspect(data)),
            ("path", lambda data=data, at=position: whereabouts.path_at(data, at)),
        ):
            found = measured(act)
            if found is None or found[0] > SECONDS or found[1] > KILOBYTES:
                failed.append(f"{what} of {name!r}: {found}")
    return failed


# --- read -----------------------------------------------------------------------------


def made(seed: int, number: int) -> bytes:
    """A mutation or a pickle of the grammar."""
    choose = random.Random(f"{seed} {number}")
    if choose.random() < 0.3:
        return odd_pickles.generated(choose, choose.choice([5, 20, 80, 300]))
    return fuzzing.mutation(choose.choice(fuzzing.HOSTS), seed, number)


def read(seed: int, count: int, end: float) -> list[str]:
    """Mutations: whether they are answered for."""
    failed = []
    for number in clock(end, count):
        data = made(seed, number)
        try:
            fuzzing.read(data, random.Random(number))
        except BaseException as error:
            failed.append(f"{number}: {error!r}: {data!r}")
    return failed


# --- cover ----------------------------------------------------------------------------


class Covered:
    """Which steps from line to line of the reader were taken, ever."""

    def __init__(self) -> None:
        self.ever: set[tuple[str, int, int]] = set()
        self.now: set[tuple[str, int, int]] = set()
        self.folder = str(Path(payload.__file__).parent)

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        """A trace function."""
        code = frame.f_code
        if not code.co_filename.startswith(self.folder):
            return None
        name, before = f"{code.co_filename}:{code.co_firstlineno}", frame.f_lineno

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal before
            self.now.add((name, before, frame.f_lineno))
            before = frame.f_lineno
            return line

        return line

    def is_new(self, act: Callable[[], object]) -> bool:
        """Whether something takes a step that nothing took before."""
        self.now.clear()
        sys.settrace(self)
        try:
            act()
        finally:
            sys.settrace(None)
        new = not self.now <= self.ever
        self.ever |= self.now
        return new


def cover(seed: int, count: int, end: float) -> list[str]:
    """Mutations of what is new."""
    covered, failed = Covered(), []
    known = [data for host in fuzzing.HOSTS for data in fuzzing.seeds(host)[::7]]
    known += [data for _, data in hostile_pickles.hostile(300)]
    corpus = [data for data in known if covered.is_new(lambda data=data: inspect(data))]
    for number in clock(end, count):
        choose = random.Random(f"{seed} {number}")
        data = fuzzing.mutated(choose, choose.choice(corpus) or b".", choose.choice(corpus) or b".")
        data = data[:20_000]
        try:
            if covered.is_new(lambda data=data, choose=choose: fuzzing.read(data, choose)):
                corpus.append(data)
        except BaseException as error:
            failed.append(f"{number}: {error!r}: {data!r}")
    print(f"cover: {len(covered.ever):,} steps, {len(corpus):,} payloads")
    return failed


# --- load -----------------------------------------------------------------------------


def is_stocks(host: str, data: bytes) -> bool:
    """Whether stock pickle, in a process without weakreduce, does not end well either."""
    names = [
        name
        for name in sorted(fuzzing.named(fuzzing.seeds(host)))
        if name[0].partition(".")[0] not in ("weakreduce", "importlib")
    ]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        resource.setrlimit(resource.RLIMIT_AS, (fuzzing.MEMORY, fuzzing.MEMORY))

    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(Path(fuzzing.__file__).parent), json.dumps(names)],
        input=data, capture_output=True, preexec_fn=limit,
    )  # fmt: skip
    return done.returncode < 0


def load(seed: int, count: int, end: float) -> list[str]:
    """Mutations: whether those that end a child are stock's."""
    failed = []
    for host in fuzzing.HOSTS:
        first, last = 0, count // len(fuzzing.HOSTS)
        while first < last and time.monotonic() < end:
            until = min(first + 500, last)
            for number, how, is_ours in fuzzing.loaded(host, seed, first, until):
                if number == until:
                    continue
                data = fuzzing.mutation(host, seed, number)
                endless = how.startswith(f"{fuzzing.ENDLESS}:")
                if is_ours or not (endless or is_stocks(host, data)):
                    failed.append(f"{host} {number}, {how}: {data!r}")
                elif endless:
                    print(f"load: {host} {number} has no end, in code that is not weakreduce's")
                else:
                    print(f"load: {host} {number} ends a process without weakreduce, too: {how}")
            first = until
    return failed


WAYS: dict[str, Callable[[int, int, float], list[str]]] = {
    "files": files, "read": read, "cover": cover, "load": load,
}  # fmt: skip


def main() -> int:
    """Run what is asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--count", type=int, default=100_000, help="mutations, for each WHAT")
    parser.add_argument("--seconds", type=float, default=600, help="at most, for each WHAT")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    status = 0
    for what in chosen.what or WAYS:
        if what not in WAYS:
            parser.error(f"{what} is none of {', '.join(WAYS)}")
        begun = time.monotonic()
        failed = WAYS[what](chosen.seed, chosen.count, begun + chosen.seconds)
        taken = time.monotonic() - begun
        print(f"{what}: {len(failed)} failed, in {taken:.0f} s", *failed[:20], sep="\n", flush=True)
        status = status or bool(failed)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
