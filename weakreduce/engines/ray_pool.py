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

from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from weakreduce.engines.pools import COMPLETE
from weakreduce.engines.submit import holds_weak
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.hosts.plain import plain
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.paths import search, tasks

if TYPE_CHECKING:
    from ray.util.multiprocessing.pool import IMapIterator, Pool


def _init(
    stock: Stock, iterator: IMapIterator, pool: Pool, func: object, iterable: Iterable[object],
    *args: object, **keywords: object,
) -> None:  # fmt: skip
    iterator._weakreduce_policy = get_policy()
    stock(iterator, pool, func, iterable, *args, **keywords)
    task = (func, iterable)
    if type(iterable) in COMPLETE and not plain(task) and holds_weak(task):
        while not iterator._finished_iterating:
            iterator._submit_next_chunk()


def _submit_next_chunk(stock: Stock, iterator: IMapIterator) -> None:
    # None where weakreduce was installed after the call.
    with block(getattr(iterator, "_weakreduce_policy", None)):
        stock(iterator)


def _run_batch(
    stock: Stock, pool: Pool, index: int, func: Callable[..., Any], batch: Sequence[tasks.Arguments]
) -> object:
    with search.naming(tasks.named([(func, *each) for each in batch])):
        return stock(pool, index, func, batch)


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of ``ray.util.multiprocessing.pool``."""
    return AttributePatch(
        (module.IMapIterator, "__init__", in_front(_init)),
        (module.IMapIterator, "_submit_next_chunk", in_front(_submit_next_chunk)),
        (module.Pool, "_run_batch", in_front(_run_batch)),
    )
