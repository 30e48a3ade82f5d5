"""A pickle's bytes and its stack, read in Python as the unpickler that is written in C reads them.

Where that one and `pickle._Unpickler` differ (short reads, frames, a mark in the way, numbers), C's
way is taken. Rule: nothing is called from here but what `pickle._Unpickler` calls; what a load
calls, and how an error of it is told, stands in `loader`.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
from collections.abc import Callable, Iterable
from sys import maxsize
from typing import Any, ClassVar, Final

_OCTAL: Final = re.compile(rb"[+-]?0[0-7]+")
_Base: Any = vars(pickle)["_Unpickler"]
_STOP: Final = 0x2E

#: What an opcode does.
Step = Callable[[Any], None]


def _minds_frames() -> bool:
    """Whether the unpickler in C looks at where a frame ends, as it does from Python 3.14 on."""
    outer, inner = (b"\x95" + struct.pack("<Q", size) for size in (10, 1))
    try:
        pickle.loads(outer + inner + b"N.")
    except pickle.UnpicklingError:  # pragma: no cover - from Python 3.14 on
        return True
    return False  # pragma: no cover - up to Python 3.13


_MINDS_FRAMES: Final = _minds_frames()


def underflow() -> pickle.UnpicklingError:
    """What is raised where the stack has less than an opcode takes."""
    return pickle.UnpicklingError("unpickling stack underflow")


def run_by(ours: dict[bytes, Step]) -> list[tuple[Step, bool] | None]:
    """Opcode -> what runs it, and whether that is a step of ours: all others are pickle's own."""
    found: list[tuple[Step, bool] | None] = [None] * 256
    for code, step in _Base.dispatch.items():
        found[code] = step, False
    for key, step in ours.items():
        found[key[0]] = step, True
    return found


class Unpickler(_Base):  # type: ignore[misc]
    """Loads one pickle, which executes it.

    Attributes:
        data: the pickle, and what is before and behind it.
        start: where it begins.
        at: where the opcode that is run stands.
        call: what is about to be called with what, in words; None where nothing is.
    """

    def __init__(
        self, data: bytes, buffers: Iterable[object] | None = None, start: int = 0
    ) -> None:
        self.data = data
        self.start = self.at = self.next = start
        #: Where the current frame ends, for an unpickler that minds; 0 where there is none.
        self.frame_end = 0
        self.call: str | None = None
        # As in C: the first three are the defaults of `pickle.loads`.
        self.fix_imports, self.encoding, self.errors = True, "ASCII", "strict"
        self._buffers = None if buffers is None else iter(buffers)
        self.memo: dict[int, Any] = {}
        self.metastack: list[list[Any]] = []
        self.stack: list[Any] = []
        self.append = self.stack.append
        self.proto = 0

    def load(self) -> Any:
        """The object.

        Raises:
            Exception: what `pickle.loads` raises.
        """
        data, run = self.data, self.run
        while True:
            self.at = self.next
            if self.at >= len(data):
                raise EOFError("Ran out of input")
            code = data[self.at]
            self.next += 1
            if code == _STOP:
                return self.pop()
            found = run[code]
            if found is None:
                key = chr(code) if 0x20 < code < 0x7F else f"\\x{code:02x}"
                raise pickle.UnpicklingError(f"invalid load key, '{key}'.")
            step, is_ours = found
            self.call = None
            try:
                step(self)
            except IndexError:
                if self.call is not None or is_ours:
                    raise
                raise underflow() from None

    # --- the bytes --------------------------------------------------------------------

    def read(self, size: int) -> bytes:
        """As many bytes of the pickle."""
        if size > len(self.data) - self.next:
            raise pickle.UnpicklingError("pickle data was truncated")
        if self.next < self.frame_end < self.next + size:  # pragma: no cover - from Python 3.14 on
            raise pickle.UnpicklingError("pickle exhausted before end of frame")
        start, self.next = self.next, self.next + size
        return self.data[start : self.next]

    def readinto(self, buffer: bytearray) -> int:
        """Fill a buffer."""
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def readline(self) -> bytes:
        """A line of the pickle, with its end."""
        stop = self.data.find(b"\n", self.next)
        if stop < 0 or (stop == self.next and self.data[self.at] != ord("V")):
            raise pickle.UnpicklingError("pickle data was truncated")
        return self.read(stop + 1 - self.next)

    # --- the stack --------------------------------------------------------------------

    def pop(self) -> Any:
        """The object on top."""
        if not self.stack:
            raise underflow()
        return self.stack.pop()

    def top(self) -> Any:
        """The object on top, which stays there."""
        if not self.stack:
            raise underflow()
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """What stands above the last mark."""
        if not self.metastack:
            raise pickle.UnpicklingError("could not find MARK")
        items: list[Any] = super().pop_mark()
        return items

    # --- frames and numbers -----------------------------------------------------------

    def frame(self) -> None:
        """A frame has to be there whole; what ends in it is looked at by some Pythons alone."""
        (size,) = struct.unpack("<Q", self.read(8))
        if size > maxsize:
            text = f"FRAME length exceeds system's maximum of {maxsize} bytes"
            raise OverflowError(text)
        if _MINDS_FRAMES and self.next < self.frame_end:  # pragma: no cover - from Python 3.14 on
            raise pickle.UnpicklingError("beginning of a new frame before end of current frame")
        if size > len(self.data) - self.next:
            raise pickle.UnpicklingError("pickle data was truncated")
        if _MINDS_FRAMES:  # pragma: no cover - from Python 3.14 on
            self.frame_end = self.next + size

    def integer(self) -> None:
        """Numbers with a leading zero are octal; what stands behind a zero byte is not read."""
        line = self.readline()[:-1]
        text, end, _ = line.partition(b"\0")
        if line in (b"00", b"01"):
            self.append(line == b"01")
        elif end and not text:
            self.append(0)
        else:
            self.append(int(text, 8) if _OCTAL.fullmatch(text) else int(text, 0))

    def real(self) -> None:
        """Digits without underscores or spaces between them."""
        line = self.readline()[:-1].partition(b"\0")[0]
        if b"_" in line or line.strip() != line:
            raise ValueError("could not convert string to float")
        found = float(line)
        if math.isinf(found) and b"i" not in line.lower():
            raise OverflowError(f"value too large to convert to float: {str(line, 'ascii')!r}")
        self.append(found)

    #: The steps of a class, for `run_by`.
    steps: ClassVar[dict[bytes, Step]] = {b"\x95": frame, b"I": integer, b"F": real}
    run: ClassVar[list[tuple[Step, bool] | None]] = run_by(steps)
