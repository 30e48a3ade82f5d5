"""``multiprocessing.Queue`` and ``JoinableQueue``, and multiprocess's: pickled by a feeder thread.

There an item that cannot be pickled is dropped, and ``get()`` waits for ever; so an item with a
weak thing that cannot be is refused by ``put()``. Pipes, SimpleQueues and Managers pickle in the
calling thread and need nothing but the pickler.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from weakreduce.engines.submit import forking_way, pack
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.hosts.plain import plain


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of a module with a ``Queue`` and a ``JoinableQueue``."""
    way = forking_way(module.__name__.rpartition(".")[0])
    on_error = module.Queue._on_queue_feeder_error

    def put(
        stock: Stock, queue: Any, obj: object, block: bool = True,
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        # An executor's queue reports errors in its own way; its items come packed.
        own = type(queue)._on_queue_feeder_error is on_error
        if own and not queue._closed and not plain(obj, way.names):
            obj = pack(obj, way, "an item") or obj
        stock(queue, obj, block, timeout)

    return AttributePatch(
        (module.Queue, "put", in_front(put)), (module.JoinableQueue, "put", in_front(put))
    )
