"""``multiprocessing.Queue`` and ``JoinableQueue``, and multiprocess's: pickled by a feeder thread.

There an item that cannot be pickled is dropped, and ``get()`` waits for ever; so an item with a
weak thing that cannot be is refused by ``put()``. Pipes, SimpleQueues and Managers pickle in the
calling thread and need nothing but the pickler.
"""

from __future__ import annotations

import functools
import importlib
import pickle
from typing import Any

from weakreduce.engines.early import forking_dumps, pack
from weakreduce.hosts.patch import AttributePatch
from weakreduce.hosts.plain import plain


def make_patch(module: Any) -> AttributePatch:
    """The patch of a module with a ``Queue`` and a ``JoinableQueue``."""
    root = module.__name__.rpartition(".")[0]
    reduction = importlib.import_module(f"{root}.reduction")
    opener: Any = pickle.loads
    if root == "multiprocess":
        opener = importlib.import_module("dill").loads
    names = root == "multiprocessing"
    dumps = reduction.ForkingPickler.dumps
    if names:
        dumps = forking_dumps(reduction.ForkingPickler)
    on_error = module.Queue._on_queue_feeder_error

    def make_put(stock: Any) -> Any:
        @functools.wraps(stock)
        def put(queue: Any, obj: Any, block: bool = True, timeout: Any = None) -> None:
            # An executor's queue reports errors in its own way; its items come packed.
            own = type(queue)._on_queue_feeder_error is on_error
            if own and not queue._closed and not plain(obj, names):
                obj = pack(obj, dumps, "an item", opener, loses=True)
            stock(queue, obj, block, timeout)

        return put

    return AttributePatch(
        (module.Queue, "put", make_put),
        (module.JoinableQueue, "put", make_put),
    )
