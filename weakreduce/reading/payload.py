"""Read a payload without running it: what weak things it holds, and what a receiver needs.

What a file holds, as data and as text. A `machine` follows the pickles in it by their `opcodes`,
`meaning` and `vocabulary` know what they say. Payloads of stock cloudpickle, dill and pickle are
read as well.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, final

from weakreduce.model.errors import WeakreduceError
from weakreduce.model.texts import listed, printable, quoted
from weakreduce.reading import arrays, opcodes, packed, vocabulary
from weakreduce.reading.facts import Facts
from weakreduce.reading.machine import OBJECTS, CutShort, Damaged, Limits, Machine, Source, TooLarge
from weakreduce.reading.meaning import Meaning

_SHOWN: Final = 20  # pickles of one file that the text lists
_KEPT: Final = 1000  # pickles of one file that are kept one by one
_DEEPEST: Final = 20  # pickles inside pickles inside pickles
_STATES: Final = ("linked", "pinned", "home", "named", "dangling", "unknown", "empty")
#: Bytes of a file that are held in memory; a larger one is mapped, a longer stream refused.
_IN_MEMORY: Final = 1 << 26
#: The same, of what is unpacked: unpackers hold it twice.
_UNPACKED: Final = 1 << 25
_WITH_ARRAYS: Final = (
    "a file of joblib.dump with arrays in it is no pickle: their bytes stand between its parts. "
    "joblib.load reads it, and explain-load, which runs it"
)


class NotAPayload(WeakreduceError):  # noqa: N818 - as the messages say
    """A file is not a pickle, or not a whole one."""


@final
class Payload(Facts):
    """What one pickle holds, with those inside it: facts, and their text.

    Attributes:
        size: its bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def counts(self) -> dict[str, Counter[str]]:
        """Kind -> state -> number of weak edges. An empty container is a state of its own."""
        return dict(sorted(self.edges.items()))

    @property
    def needed(self) -> tuple[list[str], list[str]]:
        """Modules that a receiver needs: those to be installed, and the standard library's."""
        own: list[str] = []
        standard: list[str] = []
        for name in sorted(self.modules):
            top = name.partition(".")[0]
            (standard if top in sys.stdlib_module_names else own).append(name)
        return own, standard

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        own, standard = self.needed
        return {
            "bytes": self.size,
            "protocol": self.protocol,
            "weak": {kind: dict(states) for kind, states in self.counts().items()},
            "names": sorted(self.names),
            "modules": own,
            "standard_modules": standard,
            "buffers": self.buffers,
            "persistent": self.persistent,
            "extensions": sorted(self.extensions),
            "inside": self.inside,
            "partial": self.partial,
        }

    def __str__(self) -> str:
        return "\n".join([f"{self.size:,} bytes, protocol {self.protocol}", *self.lines()])

    def lines(self) -> list[str]:
        """What it holds and needs, as text."""
        counts = self.counts()
        lines = [] if counts else ["no weak things"]
        for kind, states in counts.items():
            found = ", ".join(f"{states[state]:,} {state}" for state in _STATES if states[state])
            lines.append(f"{kind}: {found}")
        if self.names:
            lines.append(f"shared names: {listed(map(quoted, sorted(self.names)))}")
        if self.inside:
            many = "1 pickle" if self.inside == 1 else f"{self.inside:,} pickles"
            lines.append(f"{many} inside, as bytes: included here")
        own, standard = self.needed
        lines.append(f"needs: {listed(own) or 'the standard library alone'}")
        if standard:
            lines.append(f"of the standard library: {listed(standard)}")
        if self.buffers:
            lines.append(f"needs {self.buffers:,} out-of-band buffers")
        if self.persistent:
            lines.append(f"needs persistent_load for {self.persistent:,} objects")
        if self.extensions:
            codes = listed(map(str, sorted(self.extensions)))
            lines.append(f"needs copyreg's extension codes {codes}")
        if self.partial:
            lines.append("read in part: it holds more than is kept (--objects N keeps more)")
        return [printable(line) for line in lines]


@final
class Contents:
    """What a file holds: one payload or several, one after the other.

    Attributes:
        path: the file.
        packed: who packed it, so that it was unpacked first; None where nobody did.
        payloads: its pickles, the first 1,000.
        more: how many pickles there are beyond those.
        rest: what those hold together.
        junk: where what follows the last good pickle begins, how many bytes it has, and why it is
            no pickle; None where nothing follows.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.packed: str | None = None
        self.payloads: list[Payload] = []
        self.more = 0
        self.rest = Payload()
        self.junk: tuple[int, int, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {
            "file": self.path,
            "pickles": [payload.to_dict() for payload in self.payloads],
        }
        if self.packed is not None:
            found["packed"] = self.packed
        if self.more:
            found["more"] = self.more
            found["rest"] = self.rest.to_dict()
        if self.junk is not None:
            found["junk"] = dict(zip(("at", "bytes", "reason"), self.junk, strict=True))
        return found

    def __str__(self) -> str:
        path = shown(self.path)
        if self.packed is not None:
            path += f" (unpacked by {self.packed})"
        if len(self.payloads) == 1 and not self.more:
            parts = [f"{path}: {self.payloads[0]}"]
        else:
            parts = [f"{path}: {len(self.payloads) + self.more:,} pickles"]
            parts += [
                f"pickle {number:,}: {payload}"
                for number, payload in enumerate(self.payloads[:_SHOWN], 1)
            ]
            parts += self._others()
        if self.junk is not None:
            at, size, reason = self.junk
            parts.append(
                f"{size:,} bytes from byte {at:,} on are no whole pickle: {printable(reason)}"
            )
        return ("\n" if len(parts) == 2 and len(self.payloads) == 1 else "\n\n").join(parts)

    def _others(self) -> list[str]:
        unlisted = self.payloads[_SHOWN:]
        if not unlisted:
            return []
        together = Payload()
        for payload in (*unlisted, self.rest):
            together.add(payload)
            together.size += payload.size
        head = f"{len(unlisted) + self.more:,} more pickles: {together.size:,} bytes together"
        return ["\n".join([head, *together.lines()])]


def shown(path: str) -> str:
    """A file's name in a text."""
    return "standard input" if path == "-" else printable(path)


def read(path: str, objects: int = OBJECTS) -> Contents:
    """What the pickles of a file hold; nothing of them is run.

    Args:
        path: the file; ``-`` for standard input.
        objects: how many objects of a pickle are kept in mind at most. Of those beyond, modules
            are still told, but not what they hold.

    Raises:
        NotAPayload: where it does not begin with a whole pickle.
        OSError: where it cannot be read.
    """
    with _opened(path) as data:
        if not len(data):
            raise NotAPayload("the file is empty")
        packer = packed.packer_of(data)
        if packer is None:
            return _read(path, data, objects)
        try:
            contents = _read(path, packed.unpacked(data, packer, _UNPACKED), objects)
        except packed.NotUnpacked as error:
            raise NotAPayload(str(error)) from error
        contents.packed = packer
        return contents


def count(data: bytes, start: int) -> int | None:
    """How many pickles there are from a position on; None where one cannot be read to its end."""
    reader = _Reader(data, len(data), Limits(OBJECTS))
    found = 0
    while start < len(data):
        try:
            start = reader.read(start, Payload())
        except NotAPayload:
            return None
        found += 1
    return found


def check(data: bytes) -> None:
    """See to it that bytes begin with a pickle, or with the beginning of one; nothing is run.

    Those that say that they are one, as all from protocol 2 on do, may be damaged, or have arrays
    in them, and a file may have lost all that it had: the load tells more.

    Raises:
        NotAPayload: where they are none.
    """
    is_told = data[:1] == b"\x80" and data[1:2] <= b"\x05"
    if data and not is_told:
        _Reader(data, len(data), Limits(OBJECTS)).read(0, Payload())


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Source]:
    file: Any
    if path == "-":
        # Not closed: it is not ours.
        file = contextlib.nullcontext(getattr(sys.stdin, "buffer", None) or io.BytesIO())
    else:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed below
    with file as stream:
        size = 0
        with contextlib.suppress(OSError, ValueError, AttributeError):
            state = os.fstat(stream.fileno())
            size = state.st_size if path != "-" and stat.S_ISREG(state.st_mode) else 0
        if size > _IN_MEMORY:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped
                return
        data = bytearray()
        while len(data) <= _IN_MEMORY:
            chunk = stream.read(_IN_MEMORY + 1 - len(data))
            if not chunk:
                break
            data += chunk
        if len(data) > _IN_MEMORY:
            raise NotAPayload(f"a stream of more than {_IN_MEMORY:,} bytes; write it to a file")
        yield bytes(data)


def _read(path: str, data: Source, objects: int) -> Contents:
    contents = Contents(path)
    reader = _Reader(data, len(data), Limits(objects))
    start, end = 0, len(data)
    while start < end:
        kept = len(contents.payloads) < _KEPT
        payload = Payload() if kept else contents.rest
        try:
            stop = reader.read(start, payload)
        except NotAPayload as error:
            if not contents.payloads:
                raise
            contents.junk = start, end - start, str(error)
            break
        payload.size += stop - start
        payload.protocol = max(payload.protocol, reader.facts.protocol)
        start = stop
        if kept:
            contents.payloads.append(payload)
        else:
            contents.more += 1
    return contents


@final
class _Reader:
    """Reads pickles of one source, one after the other."""

    def __init__(self, data: Source, end: int, limits: Limits, depth: int = 0) -> None:
        self.depth = depth
        self.limits = limits
        self.facts = Facts()
        self.meaning = Meaning(self.facts, limits, vocabulary.CALLS, vocabulary.FRESH)
        self.machine = Machine(data, end, self.meaning, limits, opcodes.STEPS)

    def read(self, start: int, payload: Payload) -> int:
        """Add what the pickle at a position holds, and those inside it; where it ends."""
        machine, meaning, facts = self.machine, self.meaning, self.facts
        # Files of many small pickles: what is as new stays as it is.
        limits = self.limits
        if self.depth == 0 and (limits.reached or limits.objects != limits.most):
            limits.renew()
        if facts.is_known:
            facts.clear()
        meaning.clear()
        try:
            try:
                stop = machine.run(start)
            except TooLarge:
                stop = machine.end
            meaning.finish()
            if arrays.WRAPPER in meaning.globals:
                raise NotAPayload(_WITH_ARRAYS)
        except Damaged as error:
            if arrays.WRAPPER in meaning.globals:
                raise NotAPayload(_WITH_ARRAYS) from error
            if isinstance(error, CutShort):
                raise NotAPayload(f"a pickle that is cut short ({error})") from error
            at = f" at byte {machine.position:,}" if machine.position else ""
            raise NotAPayload(f"not a pickle, or a damaged one{at} ({error})") from error
        if meaning.bytes:
            self._look_inside(payload)
        if facts.is_known:
            payload.add(facts)
        return stop

    def _look_inside(self, payload: Payload) -> None:
        for node in self.meaning.bytes.values():
            source, first, last = node.items
            if self.depth >= _DEEPEST:
                payload.partial = True
                return
            inner = Payload()
            # Bytes that are no pickle are data like any others.
            with contextlib.suppress(NotAPayload):
                reader = _Reader(source, last, self.limits, self.depth + 1)
                if reader.read(first, inner) == last:
                    payload.add(inner)
                    payload.inside += 1
