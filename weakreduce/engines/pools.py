"""``multiprocessing.Pool``, multiprocess's (and so pathos's) and joblib's: pickled by a thread.

What we rely on, pinned by the tests: a single call enters through ``apply_async``, all others as
the tasks ``(job, number, function, arguments, keywords)`` that ``_guarded_task_generation``
yields, in the pool's own thread; ``_map_async``, ``imap`` and ``imap_unordered`` lead there.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, final

from weakreduce.engines.submit import Way, forking_way, pack_call
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.hosts.plain import all_plain
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block

if TYPE_CHECKING:
    from multiprocessing.pool import Pool

    from weakreduce.model.policies import Policy

#: A job, a number in it, a function, its arguments, its keywords.
Task = tuple[Any, ...]
#: No keywords, as stock's default has none.
_NONE: Mapping[str, object] = {}
#: Collections whose items exist.
COMPLETE = frozenset({list, tuple, set, frozenset, dict, collections.deque})


class _Call(threading.local):
    """Whether the items of the call that is being made exist already."""

    def __init__(self) -> None:
        self.complete = False


@final
class _Pools:
    """What stands in front of the pools of one module."""

    def __init__(self, module: ModuleType) -> None:
        self.thread_pool: type = module.ThreadPool
        #: The function of a task that only raises.
        self.raises: object = module._helper_reraises_exception
        self.way = forking_way(module.__name__.rpartition(".")[0])
        self.call = _Call()

    def packed(self, pool: Pool, function: object, args: object, keywords: object) -> Task:
        """A function with its arguments and keywords, or what is to be sent in their place."""
        sent = None
        # What is not to be called like that is for the engine to refuse.
        if (
            function is not self.raises
            and isinstance(args, (tuple, list))
            and isinstance(keywords, Mapping)
        ):
            dumps = getattr(pool, "_weakreduce_dumps", None)
            way = self.way if dumps is None else Way(dumps, self.way.opener, self.way.names)
            sent = pack_call(function, args, keywords, way)
        return (function, args, keywords) if sent is None else (sent, (), {})

    def packed_later(self, pool: Pool, tasks: Iterable[Task], policy: Policy) -> Iterator[Task]:
        """Tasks of which each is made when it is asked for, in a thread that others use, too."""
        for job, number, *task in tasks:
            try:
                with block(policy):
                    sent = self.packed(pool, *task)
            except Exception as error:  # noqa: BLE001 - to the result
                sent = (self.raises, (error,), {})
            yield (job, number, *sent)

    def apply_async(
        self, stock: Stock, pool: Pool, func: object, args: object = (), kwds: object = _NONE,
        *rest: object, **keywords: object,
    ) -> object:  # fmt: skip
        """In front of ``Pool.apply_async``."""
        if not isinstance(pool, self.thread_pool):
            func, args, kwds = self.packed(pool, func, args, kwds)
        return stock(pool, func, args, kwds, *rest, **keywords)

    def tasks(
        self, stock: Stock, pool: Pool, job: int, func: object, iterable: Iterable[object]
    ) -> Iterable[Task]:
        """In front of ``Pool._guarded_task_generation``."""
        tasks: Iterable[Task] = stock(pool, job, func, iterable)
        if isinstance(pool, self.thread_pool):
            return tasks
        if not self.call.complete:
            return self.packed_later(pool, tasks, get_policy())
        try:
            return [(*task[:2], *self.packed(pool, *task[2:])) for task in tasks]
        except BaseException:
            # The call is not made, so nobody may wait for its result: close() would.
            pool._cache.pop(job, None)  # type: ignore[attr-defined]
            raise

    def many(
        self, stock: Stock, /, pool: Pool, func: object, iterable: Iterable[object],
        *rest: object, **keywords: object,
    ) -> object:  # fmt: skip
        """In front of ``Pool._map_async``, ``imap`` and ``imap_unordered``."""
        if stock.__name__ == "_map_async" and not hasattr(iterable, "__len__"):
            iterable = list(iterable)  # as it would
        # Others that have a length may make their items when asked for them, or wait.
        complete = type(iterable) in COMPLETE and not all_plain(iterable, self.way.names)
        before, self.call.complete = self.call.complete, complete
        try:
            return stock(pool, func, iterable, *rest, **keywords)
        finally:
            self.call.complete = before


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of a module with a ``Pool``."""
    ours, pool = _Pools(module), module.Pool
    many = in_front(ours.many)
    return AttributePatch(
        (pool, "apply_async", in_front(ours.apply_async)),
        (pool, "_guarded_task_generation", in_front(ours.tasks)),
        (pool, "_map_async", many),
        (pool, "imap", many),
        (pool, "imap_unordered", many),
    )
