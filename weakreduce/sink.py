"""Where a pickler writes until its dump is known to be right: the bytes and the buffers.

A walk that has to be run again leaves nothing behind: not in the user's file, and no
out-of-band buffer has been handed to the user's callback. An `InPlace` or a `Sink` is kept on each
pickler instance, as ``_weakreduce``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


class TooLarge(Exception):  # noqa: N818 - an answer, not an error
    """A sink's limit is passed."""


class InPlace:
    """An `io.BytesIO` of the user's, to which the pickler writes at once.

    It can be put back to what it was, so nothing needs to be kept apart and copied.
    """

    __slots__ = ("buffers", "busy", "file", "limit", "rest", "start", "target", "used")

    def __init__(self, file: io.BytesIO, buffers: Buffers | None) -> None:
        self.file = file
        #: What the pickler writes to.
        self.target = file
        self.buffers = buffers
        self.busy = False
        #: Whether a dump was made here before.
        self.used = False
        #: There is none here.
        self.limit: float | None = None

    def size(self) -> int:
        """Bytes of the dump under way."""
        return self.file.tell() - self.start

    def keep(self) -> bytes:
        """The dump under way."""
        return self.file.getvalue()[self.start : self.file.tell()]

    def put_back(self, kept: bytes) -> None:
        """Let the dump under way be what it was."""
        self.clear()
        self.file.write(kept)

    def begin(self) -> None:
        """A dump begins here."""
        file = self.file
        self.start = start = file.tell()
        self.rest = b""
        if file.seek(0, 2) != start:
            self.rest = file.getvalue()[start:]
            file.seek(start)

    def mark(self) -> int:
        """Where the next byte goes."""
        return self.file.tell()

    def cut(self, mark: int) -> None:
        """Forget what was written after `mark`."""
        self.file.seek(mark)
        self.file.truncate()

    def clear(self) -> None:
        """Put the file back to what it was."""
        if not self.file.closed:
            self.cut(self.start)
            self.file.write(self.rest)
            self.file.seek(self.start)

    def deliver(self) -> None:
        """The dump is right: what was written stays."""

    def end(self) -> None:
        """The dump has ended."""
        self.rest = b""


class Sink(io.BytesIO):
    """The bytes of a dump under way; when none is, the pickler writes through to its file.

    It is written through when a pickler made while weakreduce was installed dumps after it
    was uninstalled, with the host's own ``dump``.
    """

    def __init__(self, file: Any, buffers: Buffers | None, limit: float | None = None) -> None:
        super().__init__()
        self.file = file
        self.buffers = buffers
        #: What writes to the file itself: its place in the dump, its size, and the function.
        self.later: list[tuple[int, int, Callable[[], Any]]] = []
        #: Bytes that it refuses to grow past, if any.
        self.limit = limit
        self.busy = False
        #: Whether a dump was made here before.
        self.used = False

    @property
    def target(self) -> Any:
        """What the pickler writes to."""
        return self

    def write(self, data: Any, /) -> int:
        """Keep `data`, unless that passes the limit."""
        if not self.busy:
            return self.file.write(data)  # type: ignore[no-any-return]
        written = super().write(data)
        self._check_limit()
        return written

    def _check_limit(self) -> None:
        if self.limit is not None and self.size() > self.limit:
            raise TooLarge

    def size(self) -> int:
        """Bytes of the dump under way."""
        return self.tell() + sum(size for _, size, _ in self.later)

    def put_off(self, size: int, write: Callable[[], Any]) -> None:
        """Let `write` write `size` bytes to the file itself, at this place of the dump."""
        self.later.append((self.tell(), size, write))
        self._check_limit()

    def keep(self) -> tuple[bytes, list[Any]]:
        """The dump under way."""
        return self.getvalue(), self.later

    def put_back(self, kept: tuple[bytes, list[Any]]) -> None:
        """Let the dump under way be what it was."""
        self.clear()
        super().write(kept[0])
        self.later = kept[1]

    def begin(self) -> None:
        """A dump begins here."""

    def mark(self) -> int:
        """Where the next byte goes."""
        return self.tell()

    def cut(self, mark: int) -> None:
        """Forget what was written after `mark`."""
        self.seek(mark)
        self.truncate()
        if self.later:
            self.later = [entry for entry in self.later if entry[0] <= mark]

    def clear(self) -> None:
        """Forget what was written."""
        self.cut(0)

    def deliver(self) -> None:
        """The dump is right: hand it to the file, in one piece where nothing was put off."""
        data, start = self.getvalue(), 0
        for end, _, write in self.later:
            self.file.write(data[start:end])
            write()
            start = end
        self.file.write(data[start:])

    def end(self) -> None:
        """The dump has ended."""
        self.clear()


def place_for(file: Any, buffers: Buffers | None) -> InPlace | Sink:
    """Where the pickler is to write what is meant for `file`."""
    if type(file) is io.BytesIO:
        return InPlace(file, buffers)
    return Sink(file, buffers, file.limit if isinstance(file, Limit) else None)


class Limit:
    """A file that takes up to `limit` bytes and throws them away."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def write(self, data: Any) -> int:
        """Take the data, which is within the limit: the sink before us has seen to that."""
        return len(data)

    def tell(self) -> int:
        """Asked for by picklers that align what they write."""
        return 0


class Buffers:
    """Stands between the pickler and the user's ``buffer_callback``.

    The callback is called once for each buffer, in the order of the payload, after the walk
    that wrote the payload. Until then every buffer is taken to go out of band, as nearly
    every callback (``list.append``) wants; where one wants a buffer in band, the walk is run
    again with its answers.
    """

    def __init__(self, callback: Callable[[Any], Any]) -> None:
        self.callback = callback
        self.met: list[Any] = []
        self.answers: list[bool] = []

    def rewind(self) -> None:
        """A walk starts anew."""
        self.met.clear()

    def forget(self) -> None:
        """A dump has ended."""
        self.met.clear()
        self.answers.clear()

    def settle(self) -> bool:
        """Hand the buffers over; False where the walk has to be run again with the answers."""
        if self.answers:
            return True
        answers = [bool(self.callback(buffer)) for buffer in self.met]
        if any(answers):
            self.answers = answers
            return False
        return True

    def __call__(self, buffer: Any) -> bool:
        """Whether a buffer goes in band."""
        position = len(self.met)
        self.met.append(buffer)
        return position < len(self.answers) and self.answers[position]
