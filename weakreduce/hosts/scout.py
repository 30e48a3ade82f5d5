"""`WithoutWeakThings`: plain pickle that stops at the first weak thing, at no cost per object.

For engines that want to know whether there is one, or have a better pickler for it.
"""

from __future__ import annotations

import _pickle
import copyreg
import functools
import io
import operator
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from weakreduce.model import signals
from weakreduce.model.files import BufferCallback, Writable
from weakreduce.model.kinds import kind_of
from weakreduce.model.signals import Signal

Reducers = Mapping[type, Callable[[Any], Any]]
#: What multiprocessing and loky have reducers for that only read.
HARMLESS: Final[frozenset[type]] = frozenset(
    {functools.partial, types.MethodType, type(list.append), type(int.__add__)}
)


@final
class WeakThingMet(Signal, pickle.PicklingError):
    """What comes after is for another pickler to write.

    An engine's traceback may show it, and some engines send it: to them it is a PicklingError.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.PicklingError, self.args


WeakThingMet.__module__, WeakThingMet.__qualname__ = "pickle", "PicklingError"


def check_type(cls: type) -> None:
    """Stop at a weak thing.

    Raises:
        WeakThingMet: where instances of the type are weak things.
    """
    kind = kind_of(cls)
    if kind is not None:
        raise WeakThingMet(f"a weak thing ({kind.name}): left to another pickler")


class _Table(dict[type, Any]):
    """A dispatch table that refuses weak things, and is asked once for each type.

    As the pickler itself would, it reduces by copyreg, or by ``__reduce_ex__``.
    """

    def __init__(self, protocol: int, reducers: Reducers) -> None:
        super().__init__()
        self.default = operator.methodcaller("__reduce_ex__", protocol)
        self.reducers = reducers

    def __missing__(self, cls: type) -> Any:
        check_type(cls)
        reducer = self.reducers.get(cls)
        if reducer is not None and cls not in HARMLESS:
            raise WeakThingMet("a reducer that may have effects: left to another pickler")
        reducer = reducer or copyreg.dispatch_table.get(cls)
        if reducer is None:
            if issubclass(cls, type):
                raise KeyError(cls)  # classes are written as names
            reducer = self.default
        self[cls] = reducer
        return reducer


class WithoutWeakThings(_pickle.Pickler):
    """The C pickler, up to the first weak thing.

    Stock would stop at a ref, too, but copy a proxy's referent, and turn a WeakSet into a list.

    Args:
        file: as for `pickle.Pickler`.
        protocol: as for `pickle.Pickler`.
        buffer_callback: as for `pickle.Pickler`.
        reducers: an engine's own. It stops at those that may have effects, too: they are not to
            be called twice.
    """

    def __init__(
        self,
        file: Writable,
        protocol: int | None = None,
        *,
        buffer_callback: BufferCallback | None = None,
        reducers: Reducers | None = None,
    ) -> None:
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        chosen = pickle.DEFAULT_PROTOCOL if protocol is None else protocol
        self.dispatch_table = _Table(
            pickle.HIGHEST_PROTOCOL if chosen < 0 else chosen, reducers or {}
        )

    def dump(self, obj: object) -> None:
        """Write the payload of `obj`.

        Raises:
            WeakThingMet: at the first weak thing.
        """
        handled = sys.exception()
        try:
            super().dump(obj)
        except Exception as error:
            signals.reraise(error, WeakThingMet, handled=handled)
            raise
        finally:
            del handled  # its traceback may lead to this frame


def dumps(
    obj: object,
    protocol: int | None = None,
    *,
    buffer_callback: BufferCallback | None = None,
    reducers: Reducers | None = None,
) -> bytes:
    """``pickle.dumps`` up to the first weak thing; arguments as for `WithoutWeakThings`.

    Raises:
        WeakThingMet: at the first weak thing.
    """
    file = io.BytesIO()
    WithoutWeakThings(file, protocol, buffer_callback=buffer_callback, reducers=reducers).dump(obj)
    return file.getvalue()
