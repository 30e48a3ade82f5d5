"""Where a pickler writes until its dump is known to be right: the bytes and the buffers.

A walk that has to be run again leaves nothing behind: not in the user's file, and no
out-of-band buffer has been handed to the user's callback. A `Place` is kept on each pickler
instance, as ``_weakreduce``, and stands between the pickler and its file for as long as it lives.
While no dump of ours is under way there (weakreduce was uninstalled, say), what comes goes straight
through.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable
from functools import partial
from operator import call
from typing import TYPE_CHECKING, Any, Final, final

from weakreduce.model.signals import Signal

if TYPE_CHECKING:
    from weakreduce.core.adapter import Adapter


class TooLarge(Signal, Exception):  # noqa: N818 - an answer, not an error
    """A place's limit is passed."""


@final
class UnderWay:
    """A dump that is under way.

    It is on the stack of the frame that runs the dump, and nowhere else: not in a variable, so
    that neither an exception nor its traceback can leave it behind. Whether it lives is all that
    is asked of it.
    """

    __slots__ = ("__weakref__",)


@final
class Claim(weakref.ref[UnderWay]):
    """Of a thread that begins a dump. It takes itself out of the set of claims when that ends.

    Told apart from others by identity, since that has no code of ours which could be interrupted.
    """

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__


_NONE: Final = weakref.ref(UnderWay())  # which is gone already


def left_a_dump(error: BaseException) -> bool:
    """Whether an error comes out of a dump inside this one: of a reducer that dumps something.

    To be asked where the error is caught: that frame is not looked at.
    """
    caught = error.__traceback__
    traceback = None if caught is None else caught.tb_next
    while traceback is not None:
        if traceback.tb_frame.f_code is Place.run.__code__:
            return True
        traceback = traceback.tb_next
    return False


#: What is kept while no dump is under way.
_EMPTY: Final = io.BytesIO()
#: A payload of more bytes than these is not copied where the file can take it over.
_LARGE: Final = 1 << 16


class Place:
    """The bytes of a dump under way, and what the dump began with.

    The user's file gets them in one piece, at the end: until then it is as it was, wherever it is
    positioned, and what a reducer writes to it meanwhile comes before the payload.
    """

    # (A place is made for each pickler, and many need little of it: the rest is the class's.)

    #: Bytes that it refuses to grow past, if any.
    limit: float | None = None
    #: Whether the limit was passed, and the walk under way was ended without an exception.
    passed = False
    _end_walk: Callable[[], bool] | None = None
    #: Whether a dump was made here before.
    used = False
    #: Gives the `UnderWay` of the dump of ours that runs, or None.
    under_way: Callable[[], UnderWay | None] = _NONE
    #: The thread of that dump, by its number.
    thread = 0
    #: What drives the pickler in the dump under way, and puts it back.
    adapter: Adapter | None = None
    kept: io.BytesIO = _EMPTY
    #: In a dump, what the file's ``write`` gave: something, once the payload is there.
    delivered: list[Any]

    def __init__(self, file: Any, buffers: Buffers | None) -> None:
        self.file = file
        self.buffers = buffers
        #: What writes to the file itself: its place in the dump, its size, and the function.
        self.deferred: list[tuple[int, int, Callable[[], Any]]] = []
        #: Of threads that are beginning a dump here; more than one is too many.
        self.claims: set[Claim] = set()

    def write(self, data: Any, /) -> int:
        """Keep `data`, unless that passes the limit."""
        if self.under_way() is None:
            return self.file.write(data)  # type: ignore[no-any-return]
        written = self.kept.write(data)
        if self.limit is not None:
            self._check_limit()
        return written

    def _check_limit(self) -> None:
        if self.passed:  # pragma: no cover - from Python 3.14 on
            self.kept = io.BytesIO()
        elif self.limit is not None and self.size() > self.limit:
            self.passed = self._end_walk is not None and self._end_walk()
            if not self.passed:  # pragma: no branch - from Python 3.14 on it may
                raise TooLarge

    def may_end(self, end_walk: Callable[[], bool]) -> None:
        """Let the walk that begins come to its own end where the limit is passed, if it can."""
        self._end_walk = end_walk

    def size(self) -> int:
        """Bytes of the dump under way."""
        size = self.kept.tell()
        return size + sum(more for _, more, _ in self.deferred) if self.deferred else size

    #: For dill's log, which shows how many each object took.
    tell = size

    def defer(self, size: int, write: Callable[[], Any]) -> None:
        """Let `write` write `size` bytes to the file itself, at this place of the dump."""
        self.deferred.append((self.kept.tell(), size, write))
        self._check_limit()

    def keep(self) -> tuple[bytes, list[Any]]:
        """The dump under way, which may go on."""
        return self.kept.getvalue(), self.deferred.copy()

    def restore(self, kept: tuple[bytes, list[Any]]) -> None:
        """Let the dump under way be what it was."""
        self.kept = io.BytesIO()
        self.kept.write(kept[0])
        self.deferred = kept[1].copy()

    def run(self, dump: Callable[[Adapter, Place, Any], None], adapter: Adapter, root: Any) -> None:
        """Run a dump here. Its frame tells that an error comes out of one: all dumps run in it."""
        if self.buffers is not None:
            self.buffers.under_way = self.under_way
        if type(self.file) is Limit:
            self.limit = self.file.limit
        self.delivered = []
        self.kept = io.BytesIO()
        self.used = True
        self.adapter = adapter
        dump(adapter, self, root)

    def mark(self) -> tuple[int, int, int]:
        """Where the dump has come to: its bytes, and how many writes were put off, and buffers."""
        met = 0 if self.buffers is None else len(self.buffers.met)
        return self.kept.tell(), len(self.deferred), met

    def cut(self, mark: tuple[int, int, int]) -> None:
        """Forget what was written, and what was put off, after `mark`."""
        size, deferred, met = mark
        if self.buffers is not None:
            del self.buffers.met[met:]
        self.kept.seek(size)
        self.kept.truncate()
        del self.deferred[deferred:]

    def clear(self) -> None:
        """Forget what was written."""
        self.kept = io.BytesIO()  # one that memory lacked for is closed
        self._end_walk, self.passed = None, False
        self.deferred = []
        if self.buffers is not None:
            self.buffers.met.clear()

    def deliver(self) -> None:
        """The dump is right: hand it to the file, in one piece where nothing was put off."""
        file, payload = self.file, self.kept.getvalue()
        # In one call, so that no exception comes between the writing and the note of it.
        if (
            len(payload) > _LARGE
            and type(file) is io.BytesIO
            and file.tell() == 0
            and not file.getvalue()
            and not self.deferred
        ):
            # An empty one takes bytes over, when it is made, without a copy.
            steps: list[Any] = [partial(file.__init__, payload), partial(file.seek, 0, 2)]  # type: ignore[misc]
            self.delivered.extend(map(call, steps))
        elif self.deferred:
            steps, start = [], 0
            for end, _, write in self.deferred:
                steps += [partial(file.write, payload[start:end]), write]
                start = end
            steps.append(partial(file.write, payload[start:]))
            self.delivered.extend(map(call, steps))
        else:
            self.delivered.extend(map(file.write, (payload,)))

    def end(self) -> None:
        """Leave the pickler as the dump found it, but for the memo of what is in the file.

        It may be interrupted, and is done again then; nothing where all is put back.
        """
        if self.adapter is None:
            return
        self.adapter.put_back(delivered=bool(self.delivered))
        self.kept = _EMPTY
        self._end_walk, self.passed = None, False
        if self.deferred:
            self.deferred = []
        if self.buffers is not None:
            self.buffers.forget()
        self.adapter = None


class Limit:
    """A file that takes up to `limit` bytes and throws them away."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def write(self, data: Any) -> int:
        """Take the data, which is within the limit: the place before us has seen to that."""
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
        #: Gives the `UnderWay` of the place's dump, or None.
        self.under_way: Callable[[], UnderWay | None] = _NONE
        self.met: list[Any] = []
        self.answers: list[bool] = []

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

    def __call__(self, buffer: Any) -> Any:
        """Whether a buffer goes in band."""
        if self.under_way() is None:
            return self.callback(buffer)
        position = len(self.met)
        self.met.append(buffer)
        return position < len(self.answers) and self.answers[position]
