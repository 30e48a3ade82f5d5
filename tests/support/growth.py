"""What grows in a process while dumps and loads are made: objects by type, references, memory."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import gc
import operator
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cargo
import things

import weakreduce

#: What payloads name, and what dumps hold: their counts of references.
COUNTED: tuple[Any, ...] = (
    cargo.Target, cargo.Cargo, cargo.called, things.Locked, weakref.ref, weakref.WeakSet,
    operator.getitem, max, list, copyreg.__newobj__, weakreduce.Policy,  # type: ignore[attr-defined]
    weakreduce.get_policy(), Ellipsis, NotImplemented,
)  # fmt: skip


class Size(NamedTuple):
    """Of a process."""

    objects: collections.Counter[str]
    references: tuple[int, ...]
    #: Bytes that are resident; 0 where the system does not tell.
    resident: int


def size() -> Size:
    """As it is now, when garbage is collected."""
    gc.collect()
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Size(_objects(), _references(), pages * 4096)
    return Size(_objects(), _references(), 0)


def _objects() -> collections.Counter[str]:
    return collections.Counter(
        f"{type(obj).__module__}.{type(obj).__qualname__}" for obj in gc.get_objects()
    )


def _references() -> tuple[int, ...]:
    # (Immortal ones have a number that does not change.)
    return tuple(map(sys.getrefcount, COUNTED))


def _travels(host: Any, sent: cargo.Cargo) -> None:
    weakreduce.loads(weakreduce.dumps(sent, host=host), host=host)


def _fails(host: Any, sent: cargo.Cargo) -> None:
    with contextlib.suppress(TypeError):
        weakreduce.dumps([sent, things.Locked()], host=host)


def _refused(host: Any, sent: cargo.Cargo) -> None:
    with contextlib.suppress(weakreduce.WeakrefPicklingError):
        weakreduce.dumps(sent, host=host, policy="forbid")


def _dangles(host: Any, sent: cargo.Cargo) -> None:
    failing = things.Locked()
    weakreduce.dumps([sent, weakref.ref(failing)], host=host)


def _explained(host: Any, sent: cargo.Cargo) -> None:
    weakreduce.explain(sent, host=host)


def _recorded(host: Any, sent: cargo.Cargo) -> None:
    with weakreduce.record():
        weakreduce.dumps(sent, host=host)


def _goes_home(host: Any, sent: cargo.Cargo) -> None:
    weakreduce.loads(weakreduce.dumps(sent, host=host, policy=_HOME), host=host)


_HOME = weakreduce.Policy(identity="home")
#: What is done with what a weak thing is in.
WAYS: dict[str, Callable[[Any, cargo.Cargo], None]] = {
    "travels": _travels, "fails": _fails, "refused": _refused, "dangles": _dangles,
    "explained": _explained, "recorded": _recorded, "goes home": _goes_home,
}  # fmt: skip


def many(host: str, way: str, kind: str, count: int) -> None:
    """So many times, with the referent inside and outside in turn."""
    act = WAYS[way]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", weakreduce.DanglingWarning)
        for number in range(count):
            sent, kept = cargo.load(kind, cargo.PLACES[number % 2])
            act(host, sent)
            if kind == "finalize":
                sent.weak.detach()
            del sent, kept


class Growth(NamedTuple):
    """From one size to another."""

    objects: dict[str, int]
    references: int
    resident: int


def growth(before: Size, after: Size) -> Growth:
    """What there is more of, or less."""
    types = before.objects.keys() | after.objects.keys()
    more = {name: after.objects[name] - before.objects[name] for name in sorted(types)}
    references = [new - old for old, new in zip(before.references, after.references, strict=True)]
    return Growth(
        {name: number for name, number in more.items() if number},
        max(references, key=abs),
        after.resident - before.resident,
    )
