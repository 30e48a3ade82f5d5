"""`WithoutWeakThings`: plain pickle that stops at the first weak thing, at no cost per object.

For engines that want to know whether there is one, or have a better pickler for it. That one is
told what code of the user's has answered already (`Asked`).
"""

from __future__ import annotations

import _pickle
import abc
import copyreg
import functools
import io
import itertools
import operator
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, final

from weakreduce.core import notes
from weakreduce.core.expressions import write_nothing
from weakreduce.model import signals
from weakreduce.model.classes import overrides_reduce
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

    def __init__(self, text: str, asked: Asked | None = None) -> None:
        super().__init__(text)
        #: What the scout was answered until then, where that is kept.
        self.asked = asked

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.PicklingError, self.args


_LEFT: Final = "left to another pickler"
WeakThingMet.__module__, WeakThingMet.__qualname__ = "pickle", "PicklingError"


def check_type(cls: type) -> None:
    """Stop at a weak thing.

    Raises:
        WeakThingMet: where instances of the type are weak things.
    """
    kind = kind_of(cls)
    if kind is not None:
        raise WeakThingMet(f"a weak thing ({kind.name}): {_LEFT}")


@final
class Asked:
    """What the code that reduces some objects has answered to a scout, or raised.

    Another pickler that takes over is not to ask it again: it may count, or have effects. The dump
    that begins next in a block of this learns of it, and at its end all is forgotten.
    """

    __slots__ = ("answers", "errors")

    def __init__(self) -> None:
        self.answers: list[tuple[Any, Any]] = []
        #: With the notes that the error had then, before a pickler added its own.
        self.errors: list[tuple[Any, Exception, list[Any]]] = []

    def asking(self, reducer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A reducer whose answers are kept."""

        def ask(obj: object) -> Any:
            try:
                found = kept = reducer(obj)
            except Exception as error:
                self.errors.append((obj, error, notes.of(error).copy()))
                raise
            if (
                isinstance(found, tuple)
                and len(found) > 3
                and (found[3] is not None or (len(found) > 4 and found[4] is not None))
            ):
                found, kept = _twice(found)
            self.answers.append((obj, kept))
            return found

        return ask

    def __enter__(self) -> None:
        handed_over.set(self)

    def __exit__(self, *exception: object) -> None:
        handed_over.set(None)
        # An error's traceback leads back here.
        self.answers.clear()
        self.errors.clear()


#: What the dump that begins next is to know, which takes it from here.
handed_over: Final[ContextVar[Asked | None]] = ContextVar("weakreduce_asked", default=None)


def _twice(reduction: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """A reduction for two picklers: an iterator of items serves one alone."""
    parts = [
        itertools.tee(part) if hasattr(type(part), "__next__") else (part, part)
        for part in reduction[3:5]
    ]
    return [(*reduction[:3], *each, *reduction[5:]) for each in zip(*parts, strict=True)]


class Table(dict[type, Any]):
    """A dispatch table that refuses weak things, and is asked once for each type.

    As the pickler itself would, it reduces by copyreg, or by ``__reduce_ex__``.

    Args:
        protocol: the pickler's.
        reducers: an engine's own. It stops at those that may have effects, too: they are not to
            be called twice.
        asked: keeps what code that is not the interpreter's answers.
    """

    def __init__(self, protocol: int, reducers: Reducers, asked: Asked | None = None) -> None:
        self.default = _BY_PROTOCOL[protocol]
        self.reducers = reducers
        self.asked = asked
        #: Why nothing more is written, and the dump, once it has come to its end, is of no use.
        self.ended: str | None = None
        self._metaclasses: set[type] = set()
        if abc.ABCMeta not in copyreg.dispatch_table and abc.ABCMeta not in reducers:
            # Abstract classes are written as names, too; so the pickler need not ask.
            self[abc.ABCMeta] = _qualified_name

    def _stop(self, text: str) -> Callable[[Any], Any]:
        """End the dump: by a signal, unless that would run code of the user's.

        Raises:
            WeakThingMet: the signal.
        """
        text = f"{text}: {_LEFT}"
        if signals.would_run_code((*self, *self._metaclasses)):  # pragma: no cover - from 3.14 on
            self.clear()
            self.ended = text
            return write_nothing
        raise WeakThingMet(text, self.asked)

    def __missing__(self, cls: type) -> Any:
        if self.ended is not None:  # pragma: no cover - from Python 3.14 on
            return write_nothing
        kind = kind_of(cls)
        if kind is not None:
            return self._stop(f"a weak thing ({kind.name})")
        own = cls not in HARMLESS
        reducer = self.reducers.get(cls)
        if reducer is not None and own:
            return self._stop("a reducer that may have effects")
        reducer = reducer or copyreg.dispatch_table.get(cls)
        if reducer is None:
            if issubclass(cls, type):
                self._metaclasses.add(cls)
                raise KeyError(cls)  # classes are written as names
            reducer, own = self.default, overrides_reduce(cls)
        if own and self.asked is not None:
            reducer = self.asked.asking(reducer)
        self[cls] = reducer
        return reducer


_qualified_name: Final = operator.attrgetter("__qualname__")
#: For each protocol, what reduces instances without a reducer.
_BY_PROTOCOL: Final = [
    operator.methodcaller("__reduce_ex__", protocol)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
]


def protocol_of(protocol: int | None) -> int:
    """The protocol that a pickler uses, given what it was given."""
    if protocol is None:
        return pickle.DEFAULT_PROTOCOL
    return pickle.HIGHEST_PROTOCOL if protocol < 0 else protocol


class WithoutWeakThings(_pickle.Pickler):
    """The C pickler, up to the first weak thing.

    Stock would stop at a ref, too, but copy a proxy's referent, and turn a WeakSet into a list.

    Args:
        file: as for `pickle.Pickler`.
        protocol: as for `pickle.Pickler`.
        buffer_callback: as for `pickle.Pickler`.
        asked: as for `Table`.
    """

    def __init__(
        self,
        file: Writable,
        protocol: int | None = None,
        *,
        buffer_callback: BufferCallback | None = None,
        asked: Asked | None = None,
    ) -> None:
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        self.dispatch_table = self._table = Table(protocol_of(protocol), {}, asked)

    def dump(self, obj: object) -> None:
        """Write the payload of `obj`.

        Raises:
            WeakThingMet: at the first weak thing.
        """
        handled = sys.exception()
        try:
            super().dump(obj)
        except Exception as error:
            signals.reraise(error, WeakThingMet, handled)
            raise
        finally:
            del handled  # its traceback may lead to this frame
        if self._table.ended is not None:  # pragma: no cover - from Python 3.14 on
            raise WeakThingMet(self._table.ended, self._table.asked)


def dumps(
    obj: object,
    protocol: int | None = None,
    *,
    buffer_callback: BufferCallback | None = None,
    asked: Asked | None = None,
) -> bytes:
    """``pickle.dumps`` up to the first weak thing; arguments as for `WithoutWeakThings`.

    Raises:
        WeakThingMet: at the first weak thing.
    """
    file = io.BytesIO()
    WithoutWeakThings(file, protocol, buffer_callback=buffer_callback, asked=asked).dump(obj)
    return file.getvalue()


def message(
    obj: object, protocol: int | None, reducers: Reducers, asked: Asked
) -> memoryview | None:
    """The payload of what holds nothing weak, as multiprocessing has it; None for all else.

    Short cut: what would write it, sooner or later, is asked where this says None.

    Args:
        obj: the message.
        protocol: as for `pickle.Pickler`.
        reducers: as for `Table`.
        asked: is told what code of the user's answers.
    """
    file = io.BytesIO()
    pickler = _pickle.Pickler(file, protocol)
    pickler.dispatch_table = table = Table(protocol_of(protocol), reducers, asked)
    try:
        pickler.dump(obj)
    except Exception:  # noqa: BLE001 - the other pickler comes across it, too, and tells more
        return None
    return file.getbuffer() if table.ended is None else None
