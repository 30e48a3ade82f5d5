"""The reductions of a dump's objects, each asked of an object's own code once only.

Such code may count, or hand out what it has only one of, and it may make other temporaries the next
time; and a dump may take more than one walk. Nothing here knows a weak thing.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from weakreduce.core.engine import Engine
from weakreduce.core.expressions import Reduction
from weakreduce.core.frames import left_a_dump
from weakreduce.model.classes import overrides_reduce


class Answers(dict[type, bool]):
    """What a function says of a type, asked once for each."""

    def __init__(self, ask: Callable[[type], bool]) -> None:
        self.ask = ask

    def __missing__(self, obj_type: type) -> bool:
        found = self[obj_type] = self.ask(obj_type)
        return found


class Reductions:
    """What the objects of one dump are reduced to, by whatever code."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: Whether code that is not the host's reduces the instances of a type.
        self.once = Answers(functools.partial(_by_own_code, engine))
        #: id -> reduction, of objects that such code reduces.
        self.found: dict[int, Reduction | str] = {}
        #: id -> (the object, the error and its traceback), where that code raised.
        self.raised: dict[int, tuple[Any, Exception, types.TracebackType | None]] = {}
        self._keep: list[Any] = []

    def by_override(self, obj: object) -> Any:
        """What the pickler's own override says of an object, where it cares for such."""
        if not self.engine.wants_override(type(obj)):
            return NotImplemented
        return self.engine.stock_override(obj)

    def reduced(self, obj: object) -> Any:
        """The reduction of an object, by whatever code; raises what that raises."""
        found = self.by_override(obj)
        if found is not NotImplemented:
            return found
        return self.of(obj) if self.once[type(obj)] else self.engine.reduction(obj)

    def reduced_or_none(self, obj: object) -> Any:
        """`reduced`, or None where that is no tuple, or raises."""
        try:
            found = self.reduced(obj)
        except MemoryError:
            raise  # it says nothing of the object
        except Exception:  # noqa: BLE001 - it surfaces, with its cause, when it is pickled
            return None
        return found if type(found) is tuple else None

    def of(self, obj: object) -> Reduction | str:
        """The reduction by the table or by ``__reduce_ex__``, asked for once in the whole dump."""
        found = self.found.get(id(obj))
        if found is None:
            if id(obj) in self.raised:
                _, error, traceback = self.raised[id(obj)]
                try:
                    raise error.with_traceback(traceback)
                finally:
                    del error, traceback  # which lead to this frame, and so back to themselves
            try:
                found = self.ask(obj)
            except Exception as error:
                # Of the same depth the next attempt may be another; of an inner dump it is not.
                if not is_too_deep(error) or left_a_dump(error):
                    self.raised[id(obj)] = (obj, error, error.__traceback__)
                raise
            if isinstance(found, tuple) and len(found) >= 4:
                # Iterators of items serve once; a second walk needs them again.
                items = [_Items(part) if _is_iterator(part) else part for part in found[3:5]]
                found = (*found[:3], *items, *found[5:])
            self.found[id(obj)] = found
            self._keep.append(obj)
        if isinstance(found, tuple) and len(found) >= 4:
            iterators = [iter(part) if type(part) is _Items else part for part in found[3:5]]
            return (*found[:3], *iterators, *found[5:])
        return found

    def ask(self, obj: object) -> Reduction | str:
        """The same, asked for once more."""
        reducer = self.engine.table_reducer(type(obj))
        found: Any = obj.__reduce_ex__(self.engine.protocol) if reducer is None else reducer(obj)
        self.engine.check_reduction(obj, reducer, found)
        return found  # type: ignore[no-any-return]


def _by_own_code(engine: Engine, obj_type: type) -> bool:
    if engine.has_reducer(obj_type):
        return engine.table_reducer(obj_type) is not None
    return overrides_reduce(obj_type)


def is_too_deep(error: BaseException) -> bool:
    """Whether the recursion went too deep; cloudpickle turns that into a PicklingError."""
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


class _Items(list[Any]):
    """What an iterator of a reduction gave."""


def _is_iterator(part: object) -> bool:
    # What is none is for the pickler to judge.
    return hasattr(type(part), "__next__")
