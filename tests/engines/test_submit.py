"""Packing at the submitting call: what is raised there, and who is to have it."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cloudpickle
import gaps
import pytest
from things import Thing

from weakreduce.engines import distributed
from weakreduce.engines.submit import Way, bound_if_weak, forking_way, pack, waiting


class Odd(BaseException):
    """An exception that is no Exception."""


class Raises:
    """An object whose pickling calls something first."""

    def __init__(self, call: Any, weak: Any = None) -> None:
        self.weak = weak
        self.call = call

    def __reduce__(self) -> Any:
        self.call()
        return Raises, (None, self.weak)


def raiser(error: type[BaseException]) -> Any:
    def call() -> None:
        raise error

    return call


def packed_by_dask(obj: Any) -> Any:
    from distributed.protocol.pickle import dumps

    return pack(obj, Way(dumps), "it")


def bound_by_dask(obj: Any) -> Any:
    bound = distributed.bound(obj, "it")
    return None if bound is obj else bound


#: Where no package is named, none is needed.
WAYS: dict[str, Any] = {
    "multiprocessing": lambda obj: pack(obj, forking_way("multiprocessing"), "it"),
    "a queue": lambda obj: pack(obj, forking_way("multiprocessing"), "it"),
    "multiprocess": lambda obj: pack(obj, forking_way("multiprocess"), "it"),
    "distributed": packed_by_dask,
    "distributed, actors": bound_by_dask,
    "functions of Ray Data and Spark": lambda obj: bound_if_weak(obj, cloudpickle.dumps, "it"),
}
ERRORS: dict[str, Any] = {
    "SystemExit": raiser(SystemExit),
    "sys.exit": sys.exit,
    "KeyboardInterrupt": raiser(KeyboardInterrupt),
    "GeneratorExit": raiser(GeneratorExit),
    "Odd": raiser(Odd),
}


@pytest.fixture(params=gaps.params(*WAYS))
def way(request: pytest.FixtureRequest) -> Any:
    return WAYS[request.param]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("weak", [False, True])
def test_what_a_reducer_raises_is_left_to_the_engine(way: Any, error: str, weak: bool) -> None:
    thing = Thing()
    task = [weakref.ref(thing), thing, Raises(ERRORS[error])] if weak else Raises(ERRORS[error])
    assert way(task) is None


@pytest.mark.parametrize("weak", [False, True])
def test_an_exception_is_raised_where_a_weak_thing_is(way: Any, weak: bool) -> None:
    thing, raises = Thing(), Raises(raiser(LookupError))
    if weak:
        with pytest.raises(LookupError):
            way([thing, weakref.ref(thing), raises])
    else:
        assert way(raises) is None


def failing(weak: Any) -> None:
    raise LookupError(item for item in ())


def test_what_runs_leads_to_no_weak_thing_that_would_be_sent(way: Any) -> None:
    """An error's traceback leads to frames, and those to all that is in use; none is written."""
    with pytest.raises(LookupError) as raised:
        failing(weakref.ref(Thing))
    assert raised.value.__traceback__ is not None
    assert way([raised.value]) is None


class Stop(Exception):
    """What a handler raises, as one that guards a time limit does."""


def stop(_number: int, _frame: Any) -> None:
    raise Stop


def leave(*_arguments: Any) -> None:
    sys.exit("asked to")


@pytest.fixture
def signals() -> Iterator[Any]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield signal.signal
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "handler", "error"),
    [
        (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt),
        (signal.SIGTERM, leave, SystemExit),
        (signal.SIGTERM, functools.partial(leave, 1), SystemExit),
        (signal.SIGALRM, stop, Stop),
    ],
)
@pytest.mark.parametrize("weak", [False, True])
def test_what_a_signal_raises_is_raised(
    way: Any, signals: Any, number: Any, handler: Any, error: Any, weak: bool
) -> None:
    """Ctrl-C, or a termination, during the call is for who runs it, as it is in stock."""
    signals(number, handler)
    raises: Any = Raises(functools.partial(signal.raise_signal, number))
    thing = Thing()
    with pytest.raises(error):
        way([weakref.ref(thing), thing, raises] if weak else raises)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_queue_and_an_executor_leave_it_to_their_threads(method: str) -> None:
    """Their threads end by a SystemExit, as in stock; the caller does not."""
    context = multiprocessing.get_context(method)
    quits = [weakref.ref(Thing), Raises(sys.exit)]
    items: Any = context.Queue()
    items.put(quits)
    items._thread.join(60)
    items.close()
    items.cancel_join_thread()

    executor = ProcessPoolExecutor(1, mp_context=context)
    future = executor.submit(print, quits)
    assert not future.cancelled()
    for process in list(executor._processes.values()):
        process.kill()  # Ray, if it was there, has a handler of its own for SIGTERM
    with pytest.raises(Exception, match="terminated abruptly"):
        future.result(60)
    executor.shutdown()


def test_a_forked_child_gives_nothing_back() -> None:
    """It has none of the queues, and begins to count anew."""
    share = waiting.take(1000)
    assert share is not None
    before = waiting.bytes
    child = os.fork()
    if child == 0:
        del share
        os._exit(0 if waiting.bytes == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert waiting.bytes == before
    del share
    assert waiting.bytes == before - 1000
