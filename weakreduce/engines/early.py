"""Pickle at the submitting call what an engine would pickle later.

`pack` is all of it. What holds a weak thing is replaced by its payload, made by the engine's own
pickler under the policy in force: so the block around the call counts, and a referent that
dies right after it still arrives. What holds none is left as it is, or, to save pickling
it twice, sent as the bytes that were needed to find out.
"""

from __future__ import annotations

import functools
import opcode
import os
import pickle
import signal
import threading
import types
from collections.abc import Callable
from typing import Any, Final, final

from weakreduce.core import observe
from weakreduce.hosts import scout
from weakreduce.model.bound import Bound
from weakreduce.model.errors import WeakrefPicklingError
from weakreduce.model.kinds import kind_of
from weakreduce.model.locks import new_lock
from weakreduce.model.seen import seen
from weakreduce.paths import parts, search

Dumps = Callable[[Any], "bytes | memoryview"]

#: Bytes without a weak thing in them that may wait in queues instead of the objects
#: themselves. A thousand tasks on one big object must not become a thousand copies of it.
WAITING_LIMIT: Final = 64 * 2**20
_LOOKED_AT: Final = 100_000
_ENGINES: Final = ("concurrent", "loky", "joblib", "pebble", "multiprocessing", "multiprocess")


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
if hasattr(os, "register_at_fork"):
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


def holds_weak(obj: Any) -> bool:
    """Whether there is a weak thing in an object that a pickler gave up on before it met one."""
    from weakreduce.hosts.picklers import importable  # on a failure only: it imports much
    from weakreduce.model.classes import NAMEABLE

    seen_ids, waiting_objects = {id(obj)}, [obj]
    while waiting_objects and len(seen_ids) < _LOOKED_AT:
        holder = waiting_objects.pop()
        if kind_of(type(holder)) is not None:
            return True
        if issubclass(type(holder), NAMEABLE) and importable(holder):
            continue  # written as a name
        for _, held in parts.parts(holder, ""):
            if id(held) not in seen_ids:
                seen_ids.add(id(held))
                waiting_objects.append(held)
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


def forking_dumps(forking_pickler: Any) -> Dumps:
    """Multiprocessing's way to bytes: at stock's speed up to the first weak thing."""

    def dumps(obj: Any) -> bytes | memoryview:
        if observe.watch_for(None) is None:
            try:
                return scout.dumps(obj, reducers=forking_pickler._extra_reducers)
            except scout.WeakThingMet:
                pass  # it is not the cause of what may be raised below
        found: memoryview = forking_pickler.dumps(obj)
        return found

    return dumps


def bytes_if_weak(obj: Any, dumps: Callable[..., bytes]) -> bytes | None:
    """The payload of what holds a weak thing; None for all else, which is pickled later.

    Args:
        obj: what the engine is to send.
        dumps: the engine's own ``dumps``, with the parameters of ``pickle.dumps``.

    Raises:
        WeakrefPicklingError: where the policy refuses.
        BaseException: whatever the pickler raises for an object that holds a weak thing. The
            failures of others are met again by the engine, and end as they always do.
    """
    before = seen.dumps
    try:
        # Buffers go out of band here, so that large arrays are not copied to find out.
        dumps(obj, pickle.HIGHEST_PROTOCOL, buffer_callback=[].append)
        return None if seen.dumps == before else dumps(obj, pickle.HIGHEST_PROTOCOL)
    except (WeakrefPicklingError, KeyboardInterrupt):
        raise
    except BaseException:
        if seen.dumps != before:
            raise
        return None


def _root(function: types.FunctionType) -> str:
    return str(function.__module__).partition(".")[0]


def _names_in(obj: Any) -> list[search.Named]:
    """What the user gave, where the object is a call that an engine's file has put together."""
    if type(obj) is not functools.partial:
        return []
    function, calls = obj.func, [(obj.args, obj.keywords)]
    if type(function) is types.FunctionType and _root(function) in _ENGINES:
        # One call for many items of a `map`.
        name = function.__name__
        if name in ("_process_chunk", "process_chunk"):
            function, chunk = obj.args
            calls = [(args, {}) for args in chunk]
        elif name == "mapstar":
            ((function, items),) = obj.args
            calls = [((item,), {}) for item in items]
        elif name == "starmapstar":
            ((function, items),) = obj.args
            calls = [(tuple(args), {}) for args in items if isinstance(args, (tuple, list))]
    names = [("func", function)]
    for args, keywords in calls:
        names += search.arguments(args, keywords)
    return names


def pack(
    obj: Any,
    dumps: Dumps,
    description: str,
    opener: Callable[[bytes], Any] = pickle.loads,
    loses: bool = False,
) -> Any:
    """`obj`, or what is to be sent in its place.

    Args:
        obj: what the engine is to send.
        dumps: the engine's own way to bytes.
        description: what `obj` is, for `repr`.
        opener: the function that the receiver opens the bytes with.
        loses: whether the engine loses what it cannot pickle, instead of reporting it.

    Raises:
        WeakrefPicklingError: where the policy refuses.
        Exception: whatever the pickler raises for an object that holds a weak thing. For others
            the engine pickles again, and reports the failure as it always does; and so it does
            for all objects where what is raised is no `Exception`, but a SystemExit, say.
    """
    before = seen.dumps
    names = _names_in(obj)
    try:
        with search.naming(names):
            data = dumps(obj)
    except BaseException as error:
        if is_left(error, seen.dumps != before or (loses and holds_weak(obj))):
            return obj
        raise
    if type(data) is not bytes:
        data = bytes(data)
    if seen.dumps == before:
        share = waiting.take(len(data))
        return obj if share is None else Bound(data, description, opener, share)
    return Bound(data, description, opener)
