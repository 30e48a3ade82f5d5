"""Ray's ``multiprocessing.Pool``: the policy of the call counts for all items of ``imap``.

``imap`` submits a chunk for each worker at once, and one more whenever a result is taken, which
may be outside the block, or after a referent is gone. So the policy of the call is remembered;
and if the items exist already, and a weak thing is among them, all are submitted at once. What
``map``, ``starmap`` and ``apply`` submit, they submit in the call.

What we rely on, pinned by the tests: ``IMapIterator.__init__(pool, func, iterable, ...)`` submits
with ``_submit_next_chunk``, which does nothing once it has set ``_finished_iterating``; every
chunk leaves through ``Pool._run_batch(index, func, batch)``, a batch being a list of
``(arguments, keywords)``.
"""

from __future__ import annotations

import functools
from typing import Any

from weakreduce.engines.early import holds_weak
from weakreduce.engines.pools import COMPLETE
from weakreduce.hosts.patch import AttributePatch
from weakreduce.hosts.plain import plain
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.paths import search


def _make_init(stock: Any) -> Any:
    @functools.wraps(stock)
    def __init__(  # noqa: N807
        iterator: Any, pool: Any, func: Any, iterable: Any, *args: Any, **keywords: Any
    ) -> None:
        iterator._weakreduce_policy = get_policy()
        stock(iterator, pool, func, iterable, *args, **keywords)
        task = (func, iterable)
        if type(iterable) in COMPLETE and not plain(task) and holds_weak(task):
            while not iterator._finished_iterating:
                iterator._submit_next_chunk()

    return __init__


def _make_submit(stock: Any) -> Any:
    @functools.wraps(stock)
    def _submit_next_chunk(iterator: Any) -> None:
        # None where weakreduce was installed after the call.
        policy = getattr(iterator, "_weakreduce_policy", None)
        with block(policy):
            stock(iterator)

    return _submit_next_chunk


def _make_run_batch(stock: Any) -> Any:
    @functools.wraps(stock)
    def _run_batch(pool: Any, index: Any, func: Any, batch: Any) -> Any:
        named = [("func", func)]
        for args, keywords in batch:
            named += search.arguments(args, keywords)
        with search.naming(named):
            return stock(pool, index, func, batch)

    return _run_batch


def make_patch(module: Any) -> AttributePatch:
    """The patch of ``ray.util.multiprocessing.pool``."""
    return AttributePatch(
        (module.IMapIterator, "__init__", _make_init),
        (module.IMapIterator, "_submit_next_chunk", _make_submit),
        (module.Pool, "_run_batch", _make_run_batch),
    )
