"""``ProcessPoolExecutor``, the standard one and loky's: pickled by a thread that feeds a queue.

What we rely on, pinned by the tests: every task enters through ``ProcessPoolExecutor.submit``;
the standard executor pickles with ``ForkingPickler``, loky's with ``backend.reduction.dumps`` and
the reducers of the executor's call queue.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from weakreduce.engines.early import Dumps, pack, plain
from weakreduce.hosts.patch import AttributePatch


def _standard_dumps(executor: Any) -> Dumps:
    from multiprocessing.reduction import ForkingPickler

    return ForkingPickler.dumps


def _loky_dumps(reduction: Any) -> Any:
    def dumps_of(executor: Any) -> Dumps:
        return functools.partial(reduction.dumps, reducers=executor._call_queue._reducers)

    return dumps_of


def _make_submit(dumps_of: Any) -> Any:
    def make(stock: Any) -> Any:
        @functools.wraps(stock)
        def submit(executor: Any, fn: Any, /, *args: Any, **keywords: Any) -> Any:
            if plain((fn, args, keywords)):
                return stock(executor, fn, *args, **keywords)
            task = functools.partial(fn, *args, **keywords)
            packed = pack(task, dumps_of(executor), "a task")
            if packed is task:
                return stock(executor, fn, *args, **keywords)
            return stock(executor, packed)

        return submit

    return make


def make_patch(module: Any) -> AttributePatch:
    """The patch of a module with a ``ProcessPoolExecutor``."""
    root = module.__name__.rpartition(".")[0]
    if root == "concurrent.futures":
        dumps_of: Any = _standard_dumps
    else:
        dumps_of = _loky_dumps(importlib.import_module(f"{root}.backend.reduction"))
    return AttributePatch((module.ProcessPoolExecutor, "submit", _make_submit(dumps_of)))
