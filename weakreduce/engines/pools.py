"""``multiprocessing.Pool``, multiprocess's (and so pathos's) and joblib's: pickled by a thread.

What we rely on, pinned by the tests: a single call enters through ``apply_async``, all others as
the tasks ``(job, number, function, arguments, keywords)`` that ``_guarded_task_generation``
yields, in the pool's own thread; ``_map_async``, ``imap`` and ``imap_unordered`` lead there.
"""

from __future__ import annotations

import collections
import functools
import importlib
import pickle
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from weakreduce.engines.early import forking_dumps, pack
from weakreduce.hosts.patch import AttributePatch
from weakreduce.hosts.plain import all_plain, plain
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.model.policies import Policy

_NONE_GIVEN: Any = object()
#: Collections whose items exist.
COMPLETE = frozenset({list, tuple, set, frozenset, dict, collections.deque})


class _Call(threading.local):
    """Whether the items of the call that is being made exist already."""

    def __init__(self) -> None:
        self.complete = False


def make_patch(module: Any) -> AttributePatch:
    """The patch of a module with a ``Pool``."""
    root = module.__name__.rpartition(".")[0]
    reduction = importlib.import_module(f"{root}.reduction")
    opener: Any = pickle.loads
    if root == "multiprocess":
        opener = importlib.import_module("dill").loads
    raises = module._helper_reraises_exception
    call = _Call()

    def pickles(pool: Any) -> bool:
        return not isinstance(pool, module.ThreadPool)

    names = root == "multiprocessing"
    dumps_of_all = reduction.ForkingPickler.dumps
    if names:
        dumps_of_all = forking_dumps(reduction.ForkingPickler)

    def is_left(function: Any, arguments: Any, keywords: Any) -> bool:
        """Whether a task is for the engine alone: nothing weak, or not to be called at all."""
        return (
            function is raises
            or not callable(function)
            or not isinstance(keywords, Mapping)
            or plain((function, arguments, keywords), names)
        )

    def packed(pool: Any, function: Any, arguments: Any, keywords: Any) -> Any:
        if is_left(function, arguments, keywords):
            return function, arguments, keywords
        dumps = getattr(pool, "_weakreduce_dumps", dumps_of_all)
        task = functools.partial(function, *arguments, **keywords)
        sent = pack(task, dumps, "a task", opener)
        return (function, arguments, keywords) if sent is task else (sent, (), {})

    def packed_later(pool: Any, tasks: Iterator[Any], policy: Policy) -> Iterator[Any]:
        for job, number, *task in tasks:
            sent = task
            if not is_left(*task):
                try:
                    with block(policy):
                        sent = packed(pool, *task)
                except Exception as error:  # noqa: BLE001 - to the result: others use this thread
                    sent = (raises, (error,), {})
            yield (job, number, *sent)

    def make_apply(stock: Any) -> Any:
        @functools.wraps(stock)
        def apply_async(
            pool: Any, func: Any, args: Any = (), kwds: Any = _NONE_GIVEN, *rest: Any,
            **keywords: Any,
        ) -> Any:  # fmt: skip
            given = {} if kwds is _NONE_GIVEN else kwds
            if pickles(pool) and isinstance(args, (tuple, list)):
                sent, *_ = packed(pool, func, args, given)
                if sent is not func:
                    return stock(pool, sent, (), {}, *rest, **keywords)
            return stock(pool, func, args, given, *rest, **keywords)

        return apply_async

    def make_tasks(stock: Any) -> Any:
        @functools.wraps(stock)
        def _guarded_task_generation(pool: Any, result_job: Any, func: Any, iterable: Any) -> Any:
            tasks = stock(pool, result_job, func, iterable)
            if not pickles(pool):
                return tasks
            if not call.complete:
                return packed_later(pool, tasks, get_policy())
            try:
                return [(job, number, *packed(pool, *task)) for job, number, *task in tasks]
            except BaseException:
                # The call is not made, so nobody may wait for its result: close() would.
                pool._cache.pop(result_job, None)
                raise

        return _guarded_task_generation

    def make_many(stock: Any) -> Any:
        @functools.wraps(stock)
        def many(pool: Any, func: Any, iterable: Any, *rest: Any, **keywords: Any) -> Any:
            if stock.__name__ == "_map_async" and not hasattr(iterable, "__len__"):
                iterable = list(iterable)  # as it would
            # Others that have a length may make their items when asked for them, or wait.
            complete = type(iterable) in COMPLETE and not all_plain(iterable, names)
            before, call.complete = call.complete, complete
            try:
                return stock(pool, func, iterable, *rest, **keywords)
            finally:
                call.complete = before

        return many

    return AttributePatch(
        (module.Pool, "apply_async", make_apply),
        (module.Pool, "_guarded_task_generation", make_tasks),
        (module.Pool, "_map_async", make_many),
        (module.Pool, "imap", make_many),
        (module.Pool, "imap_unordered", make_many),
    )
