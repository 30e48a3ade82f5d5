"""pebble's ``ProcessPool``: pickled by a thread that feeds the workers.

What we rely on, pinned by the tests: every task enters through ``ProcessPool.schedule``, ``submit``
and ``map`` too; a connection of multiprocessing's pickles it.
"""

from __future__ import annotations

import functools
from typing import Any

from weakreduce.engines.early import forking_dumps, pack
from weakreduce.hosts.patch import AttributePatch
from weakreduce.hosts.plain import plain


def _make_schedule(stock: Any) -> Any:
    from multiprocessing.reduction import ForkingPickler

    dumps = forking_dumps(ForkingPickler)

    @functools.wraps(stock)
    def schedule(
        pool: Any, function: Any, args: Any = (), kwargs: Any = None, *rest: Any, **keywords: Any
    ) -> Any:
        given = {} if kwargs is None else kwargs
        if (
            callable(function)
            and type(args) in (tuple, list)
            and type(given) is dict
            and not plain((function, args, given), names=True)
        ):
            task = functools.partial(function, *args, **given)
            packed = pack(task, dumps, "a task")
            if packed is not task:
                return stock(pool, packed, (), {}, *rest, **keywords)
        return stock(pool, function, args, given, *rest, **keywords)

    return schedule


def make_patch(module: Any) -> AttributePatch:
    """The patch of ``pebble.pool.process``."""
    return AttributePatch((module.ProcessPool, "schedule", _make_schedule))
