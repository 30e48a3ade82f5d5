"""Payloads that are changed at random: seeds, mutations, what reads and what loads them.

Each mutation is found again by its seed and number. As a program, ``fuzzing.py HOST SEED FIRST
END`` loads mutations, in a safe child: names lead to nothing but what the payloads name, memory
and time have limits, and what stands on standard output tells how far it came.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
import json
import os
import pickle
import pickletools
import random
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import dill
import odd_pickles
from everything import everything

import weakreduce
from weakreduce.reading import machine, payload, whereabouts

HOSTS: Final = ("cloudpickle", "dill", "pickle")
#: Of a child: seconds of processor time for one payload, and bytes of memory.
SECONDS: Final = 30
MEMORY: Final = 1 << 31
#: How a child ends that takes longer.
ENDLESS: Final = -signal.SIGPROF


@functools.cache
def root() -> list[Any]:
    """Every weak kind, beside what is inside."""
    return everything()


@functools.cache
def seeds(host: Any) -> list[bytes]:
    """Payloads of every kind: fates, protocols, names, homes, readied receivers and `bind`."""
    weak = root()
    weakreduce.share("shared", weak[4]())
    policies = [
        weakreduce.Policy(),
        weakreduce.Policy(outside="dangle"),
        weakreduce.Policy(identity="home"),
        weakreduce.Policy(ready_receiver="always"),
        weakreduce.Policy(finalizers="rearm"),
    ]
    made = [
        weakreduce.dumps(weakreduce.bind(weak[:4]), host=host),
        weakreduce.dumps([1.5, "é", {2: b"x"}, {3}], host=host),
    ]
    for policy in policies:
        for protocol in (2, 3, 4, 5):
            some = [[weak[0], each] for each in weak[1:]] if protocol in (2, 4) else []
            for obj in (weak, *some):
                made.append(weakreduce.dumps(obj, policy=policy, host=host, protocol=protocol))
    return made


#: Opcodes without an argument.
_BARE: Final = b"()]}02NRabedlostu\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94\x97\x98"


# --- mutations ------------------------------------------------------------------------


def opcodes(data: bytes) -> list[bytes]:
    """A pickle cut into its opcodes; what cannot be read is the last piece."""
    starts = []
    with contextlib.suppress(Exception):
        starts += [position for _, _, position in pickletools.genops(data) if position is not None]
    starts = starts or [0]
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def _by_opcodes(choose: random.Random, whole: bytes, other: bytes) -> bytes:
    # A frame that is too short stops an unpickler that reads a file, and hides all else.
    parts = [part for part in opcodes(whole) if part[0] != 0x95]
    theirs = opcodes(other)
    for _ in range(choose.choice([1, 1, 2, 4])):
        at = choose.randrange(len(parts) + 1)
        end = min(at + choose.choice([1, 1, 2, 8]), len(parts))
        how = choose.randrange(7)
        if how == 0:
            del parts[at:end]
        elif how == 1:
            parts[at:at] = parts[at:end] * choose.choice([1, 3, 30])
        elif how == 2:
            parts[at:end] = choose.sample(parts[at:end], end - at)
        elif how == 3:
            first = choose.randrange(len(theirs))
            parts[at:end] = theirs[first : first + choose.choice([1, 2, 9])]
        elif how == 4:
            # References to the memo are where objects meet that never should.
            parts[at:at] = [b"h" + bytes([choose.randrange(256)])]
        elif how == 5:
            parts[at:at] = [bytes([choose.choice(_BARE)])]
        else:
            parts[at:at] = [odd_pickles.generated(choose, choose.choice([2, 6]))[2:-2]]
    return b"".join(parts)


def mutated(choose: random.Random, whole: bytes, other: bytes) -> bytes:
    """A payload with bytes or opcodes of its own, of another's, or of no one's."""
    how = choose.random()
    if how < 0.2:
        data = bytearray(whole)
        for _ in range(choose.choice([1, 1, 2, 8])):
            data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        return bytes(data)
    if how < 0.35:
        return odd_pickles.damaged(choose, whole)
    if how < 0.45:
        at, end = choose.randrange(len(whole)), choose.randrange(len(other))
        return whole[:at] + other[end:]
    return _by_opcodes(choose, whole, other)


def mutation(host: str, seed: int, number: int) -> bytes:
    """The mutation of a number."""
    choose = random.Random(f"{seed} {number}")
    known = seeds(host)
    return mutated(choose, choose.choice(known), choose.choice(known))


# --- what reads them ------------------------------------------------------------------


def read(data: bytes, choose: random.Random) -> bool:
    """Read a file as `inspect` does, and follow it as `explain_load` does; whether it is a pickle.

    Raises:
        Exception: what never should be raised.
    """
    found = whereabouts.path_at(data, choose.randrange(len(data) + 1))
    assert found is None or type(found) is str
    try:
        # What is read of a path, without the path.
        contents = payload._read("-", data, choose.choice([machine.OBJECTS, 20, 0]))
    except payload.NotAPayload as error:
        assert str(error).isprintable()
        assert len(str(error)) < 300
        return False
    assert json.dumps(contents.to_dict())
    assert str(contents).replace("\n", "").isprintable()
    return True


# --- what loads them ------------------------------------------------------------------


def named(payloads: list[bytes]) -> set[tuple[str, str]]:
    """The names in payloads, as an unpickler is asked for them."""
    found: set[tuple[str, str]] = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found.add((module, name))
            return super().find_class(module, name)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in payloads:
            with contextlib.suppress(Exception):
                Unpickler(io.BytesIO(data)).load()
    return found


def unpickler(host: str, reached: Callable[[], object]) -> Any:
    """An unpickler of a host's which knows the names of the seeds, and no others."""
    base: Any = dill.Unpickler if host == "dill" else pickle.Unpickler
    known = named(seeds(host))

    class Safe(base):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in known:
                raise pickle.UnpicklingError(f"{module}.{name} is in no payload")
            if module.partition(".")[0] == "weakreduce":
                reached()
            # What would lead to other names: the two that take any.
            if name == "loads":
                return lambda data: Safe(io.BytesIO(data)).load()
            if name == "import_module":
                return {"weakreduce": weakreduce}.__getitem__
            return super().find_class(module, name)

    return Safe


def load_all(host: str, seed: int, first: int, end: int) -> None:
    """Load mutations, and tell which is next, and which reaches a name of ours."""
    import resource

    # What happens in C is ended, too: by the signal's own doing, which tells where that is.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    faulthandler.register(signal.SIGPROF, chain=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tell = functools.partial(os.write, 1)
    safe = unpickler(host, lambda: tell(b"ours\n"))
    outcomes = Counter[str]()
    for number in range(first, end):
        data = mutation(host, seed, number)
        tell(b"%d\n" % number)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            safe(io.BytesIO(data)).load()
        except Exception as error:
            outcomes[type(error).__name__] += 1
        else:
            outcomes["loads"] += 1
        signal.setitimer(signal.ITIMER_PROF, 0)
    tell(f"{dict(outcomes)}\n".encode())


def loaded(host: str, seed: int, first: int, end: int) -> Iterator[tuple[int, str, bool]]:
    """Load mutations in children: those that end one, how, and whether that may be our doing.

    It may where a name of ours was reached; of what has no end, where code of ours runs. (An
    iterator that never ends is any pickle's to make.) The last one is ``(end, outcomes, False)``.
    """
    while first < end:
        script = str(Path(__file__).resolve())
        done = subprocess.run(
            [sys.executable, "-W", "ignore", script, host, *map(str, (seed, first, end))],
            capture_output=True, text=True,
        )  # fmt: skip
        lines = done.stdout.split("\n")
        if done.returncode == 0:
            yield end, lines[-2], False
            return
        numbers = [position for position, line in enumerate(lines) if line.isdecimal()]
        if not numbers:
            raise RuntimeError(done.stderr)
        last = int(lines[numbers[-1]])
        is_ours = "ours" in lines[numbers[-1] :]
        if done.returncode == ENDLESS:
            is_ours = is_ours and str(Path(weakreduce.__file__).parent) in done.stderr
        yield last, f"{done.returncode}: {done.stderr[-2000:]}", is_ours
        first = last + 1


if __name__ == "__main__":
    load_all(sys.argv[1], *map(int, sys.argv[2:]))
