"""joblib.Parallel: the block around the call counts for every task, whichever thread sends it.

joblib dispatches the first tasks in the calling thread, and the rest from callbacks, as results
come in. Its loky backend pickles in `executors.py`, its multiprocessing backend in `pools.py`; what
is joblib's own is here: the policy of the call, a task that is refused, and its reducers, which
put large arrays into files.

What we rely on, pinned by the tests: a call that runs tasks in other threads or processes makes
``Parallel._get_outputs(...)`` once, in the calling thread; ``dispatch_one_batch`` takes tasks
from the iterable and submits them, in any thread; a backend's ``submit`` is given a
callback that takes a future, or for a pool a result or an exception;
``CustomizablePickler(file, reducers, protocol)`` is a subclass of the C pickler; the name
``dumps`` of ``externals.loky.backend.queues`` is what the feeding thread pickles with; the reducer
of arrays answers ``load_temporary_memmap(filename, mode, counted)``.
"""

from __future__ import annotations

import contextlib
import functools
import io
import operator
import pickle
import queue
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import IO, TYPE_CHECKING, Any, Final, final

from weakreduce.core import watchers
from weakreduce.engines.submit import Payload, looked_at
from weakreduce.hosts import standard
from weakreduce.hosts.distributed import missing
from weakreduce.hosts.patch import AttributePatch, PicklerPatch, Stock, in_front
from weakreduce.hosts.plain import plain
from weakreduce.model.bound import PACKED
from weakreduce.model.errors import WeakrefPicklingError
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.model.locks import new_lock
from weakreduce.model.seen import Since
from weakreduce.paths import search
from weakreduce.paths.tasks import named

if TYPE_CHECKING:
    from joblib import Parallel
    from joblib._dask import DaskDistributedBackend
    from joblib.parallel import BatchedCalls, ParallelBackendBase
    from joblib.pool import CustomizablePickler, PicklingPool

#: What joblib calls with a future, or with a result or an exception, when a task is done.
Callback = Callable[[Any], object]
Reducer = Callable[[Any], Any]
#: Bytes of an array, or another object, that joblib's Dask backend sends by itself.
_SCATTERED: Final = 1000

# --- Parallel: the policy of the call -----------------------------------------------------


def _get_outputs(stock: Stock, parallel: Parallel, *args: object, **keywords: object) -> object:
    parallel._weakreduce_policy = get_policy()
    return stock(parallel, *args, **keywords)


def _dispatch_one_batch(stock: Stock, parallel: Parallel, iterator: Iterable[object]) -> object:
    # None where weakreduce was installed after the call began.
    with block(getattr(parallel, "_weakreduce_policy", None)):
        return stock(parallel, iterator)


def _parts_in(name: str) -> Callable[[object], object]:
    """Where a wrapper of tasks keeps what the user gave; the rest is joblib's, and not weak."""
    return lambda _stock: operator.attrgetter(name)


# --- backends: a task that cannot be sent -------------------------------------------------


def _drop_tasks(parallel: Parallel) -> None:
    """Drop the tasks that were taken from the iterable along with the one that failed.

    joblib would run them in the next call of the same Parallel.
    """
    with contextlib.suppress(queue.Empty):
        while True:
            parallel._ready_batches.get(block=False)


def _submitting(takes_future: bool) -> Callable[[Stock], Stock]:
    """What makes a backend's ``submit``, given what its callbacks take."""

    def submit(
        stock: Stock, backend: ParallelBackendBase, func: BatchedCalls,
        callback: Callback | None = None,
    ) -> object:  # fmt: skip
        names = named(getattr(func, "items", ()))
        since = Since()
        try:
            with search.naming(names):
                return stock(backend, func, callback)
        except Exception as error:
            ours = isinstance(error, WeakrefPicklingError) or since.met_weak
            if callback is None or not ours:
                raise
            return _failed(backend, callback, error, takes_future)

    return in_front(submit)


def _failed(
    backend: ParallelBackendBase, callback: Callback, error: Exception, takes_future: bool
) -> Future[object]:
    """Let a task fail with an error: the way of one that the engine could not pickle.

    In a callback's thread an exception would be lost, and the call wait for ever.
    """
    _drop_tasks(backend.parallel)
    failed: Future[object] = Future()
    failed.set_exception(error)
    callback(failed if takes_future else error)
    return failed


def _dask_submit(
    stock: Stock, backend: DaskDistributedBackend, func: BatchedCalls,
    callback: Callback | None = None,
) -> object:  # fmt: skip
    try:
        tasks = [_packed_for_dask(backend, *task) for task in func.items]
    except Exception as error:
        if callback is None:
            raise
        return _failed(backend, callback, error, takes_future=False)
    if all(type(task[0]) is not _Packed for task in tasks):
        return stock(backend, func, callback)
    future = stock(backend, types.SimpleNamespace(items=tasks), callback)

    def report(done: Future[object]) -> None:
        # Of a task that cannot be opened, say, joblib tells nobody.
        error = done.exception()
        if error is not None and callback is not None:
            callback(error)

    if any(type(task[0]) is _Packed and task[0].weak for task in tasks):
        future.add_done_callback(report)
    return future


@final
class _Packed:
    """A function with the arguments that it is called with first, which are pickled already.

    joblib calls a batch of tasks by the name of the function that they share.

    Args:
        function: the function.
        data: the payload of all that.
        weak: whether there is a weak thing in it.
    """

    def __init__(self, function: object, data: bytes, weak: bool) -> None:
        from dask.utils import funcname

        self.function = function
        self.data = data
        self.weak = weak
        self.__name__ = funcname(function)

    def __call__(self, *args: object, **keywords: object) -> object:
        """Only what it arrives as is called."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is _Packed and self.function == other.function

    def __hash__(self) -> int:
        return hash(self.function)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.data,)


PACKED.add(_Packed)


def _packed_for_dask(
    backend: DaskDistributedBackend,
    function: Callable[..., object],
    args: Sequence[object],
    keywords: Mapping[str, object],
) -> tuple[Any, ...]:
    """A task, or one that holds its payload: Dask's event loop would pickle it, and drop the error.

    What joblib sends to the workers once for all tasks is left to it: large arrays of numbers, and
    what the user asked it to scatter. Without a weak thing the payload is sent if it is small, so
    that the task is not pickled twice, and if Dask has nothing to put into the task.
    """
    if plain((function, args, keywords)):
        return function, args, keywords
    from distributed.protocol.pickle import dumps

    left = [place for place, arg in enumerate(args) if _is_scattered(backend, arg)]
    left_keywords = {name: arg for name, arg in keywords.items() if _is_scattered(backend, arg)}
    kept_keywords = {name: arg for name, arg in keywords.items() if name not in left_keywords}
    if left:
        kept = [None if place in left else arg for place, arg in enumerate(args)]
        task = functools.partial(_filling(), function, kept, left, **kept_keywords)
    else:
        task = functools.partial(function, *args, **kept_keywords)
    data, weak = looked_at(task, dumps)
    if weak:
        data = dumps(task) if data is None else data
    elif data is None or len(data) > _SCATTERED or _waits_for_others(args, keywords):
        if data is not None:
            watchers.take_back(len(data))
        return function, args, keywords
    return _Packed(function, data, weak), [args[place] for place in left], left_keywords


def _waits_for_others(args: Sequence[object], keywords: Mapping[str, object]) -> bool:
    """Whether Dask would put results of other tasks into the arguments."""
    from dask._task_spec import GraphNode, parse_input

    return isinstance(parse_input([*args, dict(keywords)]), GraphNode)


def _filling() -> Callable[..., object]:
    """A function that travels by value: to where weakreduce need not be."""

    def fill(function, kept, left, *scattered, **keywords):  # type: ignore[no-untyped-def]
        for place, arg in zip(left, scattered):  # noqa: B905 - as many
            kept[place] = arg
        return function(*kept, **keywords)

    return fill


def _is_scattered(backend: DaskDistributedBackend, arg: object) -> bool:
    return id(arg) in backend.data_futures or (
        plain(arg) and getattr(arg, "nbytes", 0) > _SCATTERED
    )


# --- reducers: large arrays in files ------------------------------------------------------


#: joblib's reducers are made for one thread, the feeding one: who pickles takes a turn.
_turn: Final = new_lock()


def _with_items(cls: type, reducer: Reducer) -> Reducer:
    """A reducer of joblib's, but that an array of objects is part of the payload, as a list is.

    joblib's writes one as a pickle of its own, which knows no copy but its own of any object.
    """
    if (cls.__module__, cls.__name__) != ("numpy", "ndarray"):
        return reducer

    def reduce(array: Any) -> Any:
        if array.dtype.hasobject:
            return array.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return reducer(array)

    return reduce


def _register(
    stock: Stock,
    pickler: CustomizablePickler,
    type: type,  # noqa: A002
    reduce_func: Reducer,
) -> None:
    stock(pickler, type, _with_items(type, reduce_func))


def _dumps(
    stock: Stock,
    obj: object,
    reducers: Mapping[type, Reducer] | None = None,
    protocol: int | None = None,
) -> object:
    if not reducers:
        return stock(obj, reducers=reducers, protocol=protocol)
    reducers = {cls: _with_items(cls, reducer) for cls, reducer in reducers.items()}
    with _turn:
        return stock(obj, reducers=reducers, protocol=protocol)


def _take_back(_executor: object, answers: Iterable[object]) -> None:
    """Take back what was counted for readers that will not be.

    A file is deleted when as many have let go of it as were counted.
    """
    from joblib._memmapping_reducer import load_temporary_memmap
    from joblib.externals.loky.backend import resource_tracker

    for answer in answers:
        if isinstance(answer, tuple) and answer[0] is load_temporary_memmap:
            # (Executors count all of them; it is pools whose files nobody counts.)
            resource_tracker.maybe_unlink(answer[1][0], "file")


class _Adapter(standard.Adapter):
    """Drives ``CustomizablePickler``."""

    def sibling_dump(self, obj: object, file: Any) -> None:
        """Without the reducers: it is done to measure, and must leave no file behind."""
        standard.Pickler(file, self.protocol).dump(obj)


def _pool(module: types.ModuleType) -> AttributePatch:
    customizable = module.CustomizablePickler

    def after_init(
        pickler: CustomizablePickler,
        writer: IO[bytes],
        _reducers: object = None,
        protocol: int = pickle.HIGHEST_PROTOCOL,
    ) -> None:
        standard.keep_protocol(pickler, writer, protocol)

    def dumps(pool: PicklingPool, obj: object) -> Payload:
        if not pool._forward_reducers:
            from multiprocessing.reduction import ForkingPickler

            return ForkingPickler.dumps(obj)
        file = io.BytesIO()
        customizable(file, pool._forward_reducers).dump(obj)
        return file.getbuffer()

    patch = PicklerPatch(customizable, _Adapter, ("writer", "reducers", "protocol"), after_init)
    patch.makers = (
        *patch.makers,
        (customizable, "register", in_front(_register)),
        (module.PicklingPool, "_weakreduce_dumps", lambda _: dumps),
    )
    return patch


def make_patch(module: types.ModuleType) -> AttributePatch:
    """The patch of one of joblib's modules."""
    part = module.__name__.removeprefix("joblib.")
    if part == "parallel":
        return AttributePatch(
            (module.Parallel, "_get_outputs", in_front(_get_outputs)),
            (module.Parallel, "dispatch_one_batch", in_front(_dispatch_one_batch)),
            (module.BatchedCalls, "_weakreduce_parts", _parts_in("items")),
        )
    if part == "_parallel_backends":
        return AttributePatch(
            (module._TracebackCapturingWrapper, "_weakreduce_parts", _parts_in("func")),
            (module.LokyBackend, "submit", _submitting(takes_future=True)),
            (module.MultiprocessingBackend, "submit", _submitting(takes_future=False)),
        )
    if part == "_dask":
        if missing() is not None:
            return AttributePatch()  # that release of Dask is left alone, and so are tasks for it
        return AttributePatch((module.DaskDistributedBackend, "submit", in_front(_dask_submit)))
    if part == "executor":
        return AttributePatch(
            (module.MemmappingExecutor, "_weakreduce_take_back", lambda _: _take_back)
        )
    if part == "pool":
        return _pool(module)
    return AttributePatch((module, "dumps", in_front(_dumps)))
