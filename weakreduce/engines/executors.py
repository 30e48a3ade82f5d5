"""``ProcessPoolExecutor``, the standard one and loky's: pickled by a thread that feeds a queue.

What we rely on, pinned by the tests: every task enters through ``ProcessPoolExecutor.submit``;
the standard executor pickles with ``ForkingPickler``, loky's with the name ``dumps`` of
``backend.queues`` and the reducers of the executor's call queue.
"""

from __future__ import annotations

import functools
import importlib
import operator
from typing import Any, final

from weakreduce.engines.early import Dumps, forking_dumps, pack
from weakreduce.hosts.patch import AttributePatch
from weakreduce.hosts.plain import plain


def _standard_dumps(_executor: Any) -> Dumps:
    from multiprocessing.reduction import ForkingPickler

    return forking_dumps(ForkingPickler)


def _loky_dumps(queues: Any, executor: Any) -> _LokyDumps | None:
    """None for an executor that takes no more tasks, and says so itself."""
    # Another thread may shut it down, and take its queue away, at any time.
    call_queue, flags = executor._call_queue, executor._flags
    if call_queue is None or flags.shutdown or flags.broken is not None:
        return None
    return _LokyDumps(queues, executor, call_queue)


@final
class _LokyDumps:
    """The pickler of the thread that feeds an executor's queue, for one task."""

    def __init__(self, queues: Any, executor: Any, call_queue: Any) -> None:
        self.queues = queues
        self.reducers = call_queue._reducers
        self.answers: list[Any] = []
        #: joblib's: its reducers count who will open what they write.
        self.take_back = getattr(executor, "_weakreduce_take_back", None)
        if self.take_back is not None:
            self.reducers = {cls: self._noted(found) for cls, found in self.reducers.items()}

    def _noted(self, reducer: Any) -> Any:
        def reduce(obj: Any) -> Any:
            answer = reducer(obj)
            self.answers.append(answer)
            return answer

        return reduce

    def __call__(self, obj: Any) -> memoryview:
        data: memoryview = self.queues.dumps(obj, reducers=self.reducers)
        return data

    def unused(self) -> None:
        """The bytes are not sent: the feeding thread will ask the reducers again."""
        if self.take_back is not None:
            self.take_back(self.answers)


def _parts_of_item(_stock: Any) -> Any:
    return operator.attrgetter("__dict__")


def _make_submit(dumps_of: Any, names: bool = False) -> Any:
    def make(stock: Any) -> Any:
        @functools.wraps(stock)
        def submit(executor: Any, fn: Any, /, *args: Any, **keywords: Any) -> Any:
            if not callable(fn) or plain((fn, args, keywords), names):
                return stock(executor, fn, *args, **keywords)
            task = functools.partial(fn, *args, **keywords)
            dumps = dumps_of(executor)
            if dumps is None:
                return stock(executor, fn, *args, **keywords)
            packed = pack(task, dumps, "a task")
            if packed is task:
                if type(dumps) is _LokyDumps:
                    dumps.unused()
                return stock(executor, fn, *args, **keywords)
            return stock(executor, packed)

        return submit

    return make


def make_patch(module: Any) -> AttributePatch:
    """The patch of a module with a ``ProcessPoolExecutor``."""
    root = module.__name__.rpartition(".")[0]
    if root == "concurrent.futures":
        return AttributePatch(
            (module.ProcessPoolExecutor, "submit", _make_submit(_standard_dumps, names=True)),
            # What the two are sent as, for the look at a message.
            (module._CallItem, "_weakreduce_parts", _parts_of_item),
            (module._ResultItem, "_weakreduce_parts", _parts_of_item),
        )
    queues = importlib.import_module(f"{root}.backend.queues")
    dumps_of = functools.partial(_loky_dumps, queues)
    return AttributePatch((module.ProcessPoolExecutor, "submit", _make_submit(dumps_of)))
