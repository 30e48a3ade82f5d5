"""Whether a payload is shipped to a worker, or may end up in a file.

What an engine ships readies the worker to send weak things back; a file changes nothing in the
process that loads it. Nothing here pickles.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

#: Modules that define the Pickler classes with which engines ship.
_PICKLERS: Final = frozenset(
    {
        "multiprocessing.reduction",
        "multiprocess.reduction",
        "loky.backend.reduction",
        "joblib.externals.loky.backend.reduction",
        "joblib.pool",
        "distributed.protocol.pickle",
        "ray.cloudpickle.cloudpickle",
        "pyspark.cloudpickle.cloudpickle",
    }
)
_on_its_way: ContextVar[bool] = ContextVar("weakreduce_shipping", default=False)


@contextmanager
def shipping() -> Iterator[None]:
    """Dumps inside the block are shipped, whatever pickler writes them."""
    token = _on_its_way.set(True)
    try:
        yield
    finally:
        _on_its_way.reset(token)


def is_shipped(pickler_class: type) -> bool:
    """Whether a dump that runs now, by a pickler of this class, is shipped by an engine."""
    modules = map(operator.attrgetter("__module__"), pickler_class.__mro__)
    return _on_its_way.get() or not _PICKLERS.isdisjoint(modules)
