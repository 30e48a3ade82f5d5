"""The submitting call: what an engine would pickle later is pickled there and then.

What holds a weak thing is replaced by its payload, made by the engine's own pickler under the
policy in force: so the block around the call counts, and a referent that dies right after it still
arrives. What holds none is left to the engine as it is, or, to save pickling it twice, sent as
the bytes that were needed to find out.

`pack` and `pack_call` do that; `bound_if_weak` leaves all else as it is. All of them are `written`,
which also says whose failure it is when an object cannot be pickled; `Refusal` takes a refusal out
of an engine's own error. Which engine it is, and where its tasks enter, is not known here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import opcode
import os
import pickle
import signal
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, final

from weakreduce.core import notes, watchers
from weakreduce.hosts.plain import plain
from weakreduce.model.bound import Bound
from weakreduce.model.errors import WeakrefPicklingError
from weakreduce.model.kinds import kind_of
from weakreduce.model.locks import new_lock
from weakreduce.model.seen import Since
from weakreduce.paths import parts, search, tasks

Payload = bytes | memoryview

# --- how an engine pickles ----------------------------------------------------------------


class Way:
    """How an engine pickles what it is given.

    Args:
        dumps: the engine's own way to bytes.
        opener: the function that the receiver opens the bytes with.
        names: whether every function and class is written as a name.
    """

    def __init__(
        self,
        dumps: Callable[[Any], Payload],
        opener: Callable[[bytes], Any] = pickle.loads,
        names: bool = False,
    ) -> None:
        self.dumps = dumps
        self.opener = opener
        self.names = names

    class Left(Exception):  # noqa: N818 - an answer, not an error
        """Raised by `dumps`: this is for the engine to report."""

    def unused(self) -> None:
        """The bytes are not sent: the engine pickles again."""


def forking_way(root: str) -> Way:
    """How ``multiprocessing`` pickles, or ``multiprocess``, by dill."""
    forking_pickler = importlib.import_module(f"{root}.reduction").ForkingPickler

    def dumps(obj: object) -> Payload:
        found: memoryview = forking_pickler.dumps(obj)  # ours, once that is in place
        return found

    if root == "multiprocessing":
        return Way(dumps, names=True)
    return Way(dumps, importlib.import_module("dill").loads)


# --- bytes now if a weak thing was met, else the thing itself -----------------------------


def pack(obj: object, way: Way, description: str) -> Bound | None:
    """What is to be sent in an object's place; None for the object itself.

    Args:
        obj: what the engine is to send.
        way: how the engine pickles it.
        description: what `obj` is, for `repr`.

    Raises:
        WeakrefPicklingError: where the policy refuses.
        Exception: whatever the pickler raises for an object that holds a weak thing. For others
            the engine pickles again, and reports the failure as it always does; and so it does
            for all objects where what is raised is no `Exception`, but a SystemExit, say.
    """
    data, weak = written(obj, way.dumps)
    if data is not None:
        share = None if weak else waiting.take(len(data))
        if weak or share is not None:
            return Bound(bytes(data), description, way.opener, share)
        watchers.take_back(len(data))
    way.unused()
    return None


def pack_call(function: object, args: Iterable[Any], keywords: Mapping[str, Any], way: Way) -> Any:
    """What is to be called, without arguments, in place of a function; None for the call itself.

    Raises:
        Exception: as `pack` does.
    """
    if not callable(function) or plain((function, args, keywords), way.names):
        return None
    task = functools.partial(function, *args, **keywords)
    with given(tasks.calls(function, args, keywords), notes.OF_PARTIAL):
        return pack(task, way, "a task")


def bound_if_weak(obj: object, dumps: Callable[..., bytes], description: str) -> Bound | None:
    """The payload of what holds a weak thing; None for all else, which the engine pickles later.

    Args:
        obj: what the engine is to send.
        dumps: the engine's own, which takes a ``buffer_callback``.
        description: as for `pack`.

    Raises:
        Exception: as `pack` does.
    """
    data, weak = looked_at(obj, dumps)
    if not weak:
        if data is not None:
            watchers.take_back(len(data))
        return None
    return Bound(dumps(obj) if data is None else data, description)


def looked_at(obj: object, dumps: Callable[..., bytes]) -> tuple[bytes | None, bool]:
    """The payload of an object, and whether a weak thing was met; arguments as for `bound_if_weak`.

    Returns:
        The payload, or None where there is none that could be sent: what is left to the engine,
        and what has buffers, which go out of band here, so that large arrays are not copied.

    Raises:
        Exception: as `pack` does.
    """
    buffers: list[object] = []
    data, weak = written(obj, functools.partial(dumps, buffer_callback=buffers.append))
    if buffers and data is not None:
        watchers.take_back(len(data))
    return None if buffers or data is None else bytes(data), weak


def written(obj: object, dumps: Callable[[Any], Payload]) -> tuple[Payload | None, bool]:
    """The payload, and whether a weak thing was met; None and False for what is left to the engine.

    Raises:
        Exception: as `pack` does.
    """
    since = Since()
    try:
        return dumps(obj), since.met_weak
    except Way.Left:
        return None, False
    except BaseException as error:
        # Whatever comes first in it: the weak thing, or what cannot be pickled.
        if is_left(error, since.met_weak or holds_weak(obj)):
            return None, False
        raise


#: Bytes without a weak thing in them that may wait in queues instead of the objects
#: themselves. A thousand tasks on one big object must not become a thousand copies of it.
WAITING_LIMIT: Final = 64 * 2**20


@final
class _Waiting:
    """How many such bytes there are."""

    def __init__(self) -> None:
        self.lock = new_lock()
        self.reset()

    def reset(self) -> None:
        """Begin anew, as in a forked child, which has none of the queues."""
        self.bytes = 0

    def take(self, size: int) -> _Share | None:
        """Count `size` bytes until the share that is returned is gone; None past the limit."""
        with self.lock:
            if self.bytes + size > WAITING_LIMIT:
                return None
            self.bytes += size
        return _Share(size)

    def give_back(self, size: int) -> None:
        """Their owner is gone."""
        with self.lock:
            self.bytes -= size


waiting: Final = _Waiting()
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=waiting.reset)


@final
class _Share:
    """A payload's share of the limit, for as long as this object lives."""

    __slots__ = ("process", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.process = os.getpid()

    def __del__(self) -> None:
        if self.process == os.getpid():
            waiting.give_back(self.size)


# --- what the user gave -------------------------------------------------------------------


@contextlib.contextmanager
def given(calls: Iterable[tasks.Call], wrapping: tuple[str, ...]) -> Iterator[None]:
    """In the block, functions and the arguments of their calls are pickled in a wrapping.

    What an error says of the way to its cause begins at a function, or at an argument.

    Args:
        calls: the user's.
        wrapping: what notes say of the wrapping, as for `notes.cut`.
    """
    with search.naming(tasks.named(calls)):
        try:
            yield
        except Exception as error:
            notes.cut(error, wrapping)
            raise


# --- whose failure it is ------------------------------------------------------------------

_LOOKED_AT: Final = 100_000
#: What no pickler writes, and what leads to whatever else lives in the process.
_RUNNING: Final = (
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.FrameType,
    types.TracebackType,
)


def holds_weak(obj: object) -> bool:
    """Whether there is a weak thing in an object that a pickler gave up on before it met one."""
    from weakreduce.hosts.picklers import importable  # on a failure only: it imports much
    from weakreduce.model.classes import NAMEABLE

    # An engine's wrapping of what it was given may hold weak things of the engine's own.
    to_visit = [held for _, held in search.given_for(obj)] or [obj]
    seen_ids = set(map(id, to_visit))
    while to_visit and len(seen_ids) < _LOOKED_AT:
        holder = to_visit.pop()
        if kind_of(type(holder)) is not None:
            return True
        if issubclass(type(holder), _RUNNING):
            continue
        if issubclass(type(holder), NAMEABLE) and importable(holder):
            continue  # written as a name
        for _, held in parts.parts(holder, ""):
            if id(held) not in seen_ids:
                seen_ids.add(id(held))
                to_visit.append(held)
    return False


#: What a ``raise`` statement is compiled to.
_RAISE: Final = opcode.opmap["RAISE_VARARGS"]


def interrupts(error: BaseException) -> bool:
    """Whether a signal's handler raised an error: then it is for whoever runs, and no reducer's."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = map(signal.getsignal, signal.valid_signals())
    codes = {getattr(getattr(found, "func", found), "__code__", None) for found in handlers}
    code, instruction = None, 0
    trace = error.__traceback__
    while trace is not None:
        code, instruction = trace.tb_frame.f_code, trace.tb_lasti
        if code in codes:
            return True
        trace = trace.tb_next
    # Python's own handler of Ctrl-C has no frame; a reducer says ``raise KeyboardInterrupt``.
    return (
        isinstance(error, KeyboardInterrupt)
        and code is not None
        and code.co_code[instruction] != _RAISE
    )


def is_left(error: BaseException, weak: bool) -> bool:
    """Whether the engine is to pickle again what raised `error`, and report that as it always does.

    Args:
        error: what was raised.
        weak: whether there is a weak thing in what was pickled. A SystemExit and the like are left
            to the engine all the same.
    """
    return not interrupts(error) and not (weak and isinstance(error, Exception))


@final
class Refusal:
    """A block in which an engine may wrap a refusal into an error of its own.

    If it did, the block ends without an error, and what comes after it is to raise `found`: there,
    and not in a handler, which would make the engine's error the context of its own cause.

    Args:
        wrapper: what the engine raises.
    """

    found: WeakrefPicklingError

    def __init__(self, wrapper: type[Exception] = TypeError) -> None:
        self.wrapper = wrapper

    def __enter__(self) -> Refusal:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, self.wrapper):
            return False
        behind: BaseException | None = error
        # An engine may fail again, while it logs its own error.
        while behind is not None and not isinstance(behind, WeakrefPicklingError):
            behind = behind.__cause__ or behind.__context__
        if behind is None or behind is error:
            return False
        self.found = behind
        return True
