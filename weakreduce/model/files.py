"""What is asked of files, for type checkers."""

from __future__ import annotations

from collections.abc import Callable
from pickle import PickleBuffer
from typing import Protocol

#: What is given each out-of-band buffer; a true answer leaves the buffer in the payload.
BufferCallback = Callable[[PickleBuffer], object]


class Writable(Protocol):
    """A file, open for writing bytes."""

    def write(self, payload: bytes, /) -> object:
        """Append the bytes."""


class Readable(Protocol):
    """A file, open for reading bytes."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""

    def readline(self) -> bytes:
        """The bytes up to the next newline, with that."""
