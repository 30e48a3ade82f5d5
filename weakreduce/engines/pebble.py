"""pebble's ``ProcessPool``: pickled by a thread that feeds the workers.

What we rely on, pinned by the tests: every task enters through ``ProcessPool.schedule``, ``submit``
and ``map`` too; a connection of multiprocessing's pickles it.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from weakreduce.engines.submit import forking_way, pack_call
from weakreduce.hosts.patch import AttributePatch, Stock, in_front

if TYPE_CHECKING:
    from pebble import ProcessPool


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of ``pebble.pool.process``."""
    way = forking_way("multiprocessing")

    def schedule(
        stock: Stock, pool: ProcessPool, function: object, args: object = (),
        kwargs: object = None, *rest: object, **keywords: object,
    ) -> object:  # fmt: skip
        kwargs = {} if kwargs is None else kwargs
        if isinstance(args, (tuple, list)) and isinstance(kwargs, dict):
            packed = pack_call(function, args, kwargs, way)
            if packed is not None:
                function, args, kwargs = packed, (), {}
        return stock(pool, function, args, kwargs, *rest, **keywords)

    return AttributePatch((module.ProcessPool, "schedule", in_front(schedule)))
