"""Where a pickler writes until its dump is known to be right: the bytes and the buffers.

A walk that has to be run again leaves nothing behind: not in the user's file, and no
out-of-band buffer has been handed to the user's callback.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


class TooLarge(Exception):  # noqa: N818 - an answer, not an error
    """A sink's limit is passed."""


class Sink(io.BytesIO):
    """The bytes of a dump under way; when none is, the pickler writes through to its file.

    It is written through when a pickler made while weakreduce was installed dumps after it
    was uninstalled, with the host's own ``dump``.
    """

    def __init__(self, file: Any, limit: float | None = None) -> None:
        super().__init__()
        self.file = file
        #: Bytes that it refuses to grow past, if any.
        self.limit = limit
        self.active = False

    def write(self, data: Any, /) -> int:
        """Keep `data`, unless that passes the limit."""
        if not self.active:
            return self.file.write(data)  # type: ignore[no-any-return]
        written = super().write(data)
        if self.limit is not None and self.tell() > self.limit:
            raise TooLarge
        return written

    def clear(self) -> None:
        """Forget what was written."""
        self.seek(0)
        self.truncate()


class Limit:
    """A file that takes up to `limit` bytes and throws them away."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def write(self, data: Any) -> int:
        """Take the data, which is within the limit: the sink before us has seen to that."""
        return len(data)


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
