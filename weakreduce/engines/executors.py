"""``ProcessPoolExecutor``, the standard one and loky's: pickled by a thread that feeds a queue.

What we rely on, pinned by the tests: every task enters through ``ProcessPoolExecutor.submit``;
the standard executor pickles with ``ForkingPickler``, loky's with the name ``dumps`` of
``backend.queues`` and the reducers of the executor's call queue, which is gone, or flagged, when
it takes no more tasks.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import ModuleType
from typing import Any, final

from weakreduce.engines.submit import Payload, Way, forking_way, pack_call
from weakreduce.hosts.patch import AttributePatch, Stock, in_front


@final
class _LokyWay(Way):
    """The pickler of the thread that feeds an executor's queue, for one task."""

    def __init__(self, queues: ModuleType, executor: Any) -> None:
        #: joblib's: its reducers count who will open what they write.
        self.take_back = getattr(executor, "_weakreduce_take_back", None)
        self.answers: list[object] | None = None if self.take_back is None else []
        # No method of this object: an executor ends its workers as its last user lets it go, and a
        # circle would keep it until the collector comes.
        super().__init__(functools.partial(_dumps, queues, executor, self.answers))

    def unused(self) -> None:
        """The feeding thread will ask the reducers again."""
        if self.take_back is not None:
            self.take_back(self.answers)


def _dumps(queues: ModuleType, executor: Any, answers: list[object] | None, obj: object) -> Payload:
    # Another thread may shut it down, and take its queue away, at any time.
    call_queue, flags = executor._call_queue, executor._flags
    if call_queue is None or flags.shutdown or flags.broken is not None:
        raise Way.Left
    reducers = call_queue._reducers
    if answers is not None:
        reducers = {cls: _noted(found, answers) for cls, found in reducers.items()}
    data: memoryview = queues.dumps(obj, reducers=reducers)
    return data


def _noted(reducer: Callable[[Any], object], answers: list[object]) -> Callable[[Any], object]:
    def reduce(obj: object) -> object:
        answer = reducer(obj)
        answers.append(answer)
        return answer

    return reduce


def submitting(way_of: Callable[[Executor], Way]) -> Callable[[Stock], Stock]:
    """What makes ``submit``, given how an executor pickles."""

    def submit(
        stock: Stock, executor: Executor, fn: object, /, *args: object, **keywords: object
    ) -> Future[Any]:
        packed = pack_call(fn, args, keywords, way_of(executor))
        found: Future[Any]
        if packed is None:
            found = stock(executor, fn, *args, **keywords)
        else:
            found = stock(executor, packed)
        return found

    return in_front(submit)


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of a module with a ``ProcessPoolExecutor``."""
    root = module.__name__.rpartition(".")[0]
    if root == "concurrent.futures":
        way = forking_way("multiprocessing")
        return AttributePatch((module.ProcessPoolExecutor, "submit", submitting(lambda _: way)))
    queues = importlib.import_module(f"{root}.backend.queues")
    submit = submitting(lambda executor: _LokyWay(queues, executor))
    return AttributePatch((module.ProcessPoolExecutor, "submit", submit))
