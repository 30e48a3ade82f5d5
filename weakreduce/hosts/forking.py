"""multiprocessing's ForkingPickler: pipes, queues, pools, Process arguments, Managers.

Most messages hold nothing weak. So a scout, a bare C pickler, writes each first; it stops at the
first weak thing, and the ForkingPickler takes over, with what code of the user's has answered.

What we rely on, pinned by the tests: it is a subclass of the C pickler with a dispatch table of its
own for each instance; ``dumps(obj, protocol)`` is a class method, and makes a pickler for each
message; everything that multiprocessing sends goes through it.
"""

from __future__ import annotations

import _pickle
import functools
import io
from types import ModuleType
from typing import Any, Final

from weakreduce.core import watchers
from weakreduce.hosts import scout
from weakreduce.hosts.patch import ARGUMENTS, PicklerPatch
from weakreduce.hosts.standard import Adapter, keep_protocol
from weakreduce.model.kinds import has_registered

#: What a class has in their place.
_NO_OVERRIDE: Final = getattr(_pickle.Pickler, "reducer_override", None)
_NO_IDS: Final = getattr(_pickle.Pickler, "persistent_id", None)


def _make_dumps(stock: Any) -> Any:
    """What makes a message, given the class method that did."""
    forking_pickler = stock.__self__

    def dumps(cls: Any, obj: object, protocol: int | None = None) -> Any:
        if (
            cls is not forking_pickler
            or has_registered()
            or watchers.watch_for(None) is not None
            or _has_hooks(cls)
        ):
            return stock.__func__(cls, obj, protocol)
        asked = scout.Asked()
        found = scout.message(obj, protocol, cls._extra_reducers, asked)
        if found is not None:
            return found
        file = io.BytesIO()
        pickler = cls(file, protocol)
        with asked:
            pickler.dump(obj)
        return file.getbuffer()

    return classmethod(functools.wraps(stock.__func__)(dumps))


def _has_hooks(cls: Any) -> bool:
    """Whether somebody has given the class hooks that a scout does not have."""
    return (
        getattr(cls, "reducer_override", None) is not _NO_OVERRIDE
        or getattr(cls, "persistent_id", None) is not _NO_IDS
    )


def make_patch(module: ModuleType) -> PicklerPatch:
    """The patch of ``multiprocessing.reduction``."""
    patch = PicklerPatch(module.ForkingPickler, Adapter, ARGUMENTS, keep_protocol)
    patch.makers = (*patch.makers, (module.ForkingPickler, "dumps", _make_dumps))
    return patch
