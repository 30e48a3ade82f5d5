"""The reductions of a dump's objects, each asked of an object's own code once only.

Such code may count, or hand out what it has only one of, and it may make other temporaries the next
time; and a dump may take more than one walk. Nothing here knows a weak thing.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from weakreduce.core import notes
from weakreduce.core.adapter import Adapter
from weakreduce.core.expressions import Reduction
from weakreduce.core.sink import left_a_dump
from weakreduce.core.type_facts import Types
from weakreduce.model.scarce import is_too_deep, says_nothing

#: Gives the reduction of an object of one type.
Of = Callable[[Any], "Reduction | str"]
Raised = tuple[Any, Exception, types.TracebackType | None, list[Any]]


class Reductions:
    """What the objects of one dump are reduced to, by whatever code."""

    def __init__(self, adapter: Adapter, types: Types) -> None:
        self.adapter = adapter
        self.types = types
        #: id -> reduction, of objects that code of their own reduces.
        self.found: dict[int, Reduction | str] = {}
        #: Ids of those in `found` that may have items.
        self._unusual: set[int] = set()
        #: id -> (the object, the error, its traceback and its notes), where that code raised.
        self.raised: dict[int, Raised] = {}
        self._keep: list[Any] = []
        #: `of`, for each type.
        self.of_type: Callable[[type], Of] = functools.cache(self._of_type)
        for obj, found in adapter.answers:
            self.found[id(obj)] = self._checked(obj, None, found)
            self._keep.append(obj)
        for obj, error, said in adapter.errors:
            self.raised[id(obj)] = (obj, error, error.__traceback__, said)

    def take_apart(self) -> None:
        """Forget all: a traceback that is kept leads back to what keeps it."""
        self.raised.clear()
        vars(self).clear()

    def by_override(self, obj: object) -> Any:
        """What the pickler's own override says of an object, where it cares for such."""
        if not self.types[type(obj)].overridden:
            return NotImplemented
        return self.adapter.stock_override(obj)

    def reduced(self, obj: object) -> Any:
        """The reduction of an object, by whatever code; raises what that raises."""
        found = self.by_override(obj)
        if found is not NotImplemented:
            return found
        return self.of(obj) if self.types[type(obj)].by_own_code else self.adapter.reduction(obj)

    def reduced_or_none(self, obj: object) -> Any:
        """`reduced`, or None where that is no tuple, or raises."""
        try:
            found = self.reduced(obj)
        except Exception as error:
            if says_nothing(error):
                raise
            return None  # it surfaces, with its cause, when it is pickled
        return found if type(found) is tuple else None

    def of(self, obj: object) -> Reduction | str:
        """The reduction by the table or by ``__reduce_ex__``, asked for once in the whole dump."""
        return self.of_type(type(obj))(obj)

    def _of_type(self, obj_type: type) -> Of:
        """`of` for the instances of one type, which may be many."""
        found, unusual, raised, keep = self.found, self._unusual, self.raised, self._keep.append
        reducer, protocol = self.types[obj_type].reducer, self.adapter.protocol

        def of(obj: Any) -> Any:
            identity = id(obj)
            if identity in found:
                answer = found[identity]
                return _with_iterators(answer) if identity in unusual else answer
            if identity in raised:
                _, error, traceback, said = raised[identity]
                notes.put_back(error, said)
                try:
                    raise error.with_traceback(traceback)
                finally:
                    del error, traceback  # which lead to this frame, and so back to themselves
            try:
                answer = obj.__reduce_ex__(protocol) if reducer is None else reducer(obj)
                size = len(answer) if type(answer) is tuple else 0
                # The default reduction gives five parts, of which the items are None nearly always.
                if not (2 <= size <= 3 or (size == 5 and answer[3] is None and answer[4] is None)):
                    answer = self._checked(obj, reducer, answer)
            except Exception as error:
                # Of the same depth the next attempt may be another; of an inner dump it is not.
                if not is_too_deep(error) or left_a_dump(error):
                    said = notes.of(error).copy()
                    raised[identity] = (obj, error, error.__traceback__, said)
                raise
            keep(obj)
            found[identity] = answer
            return _with_iterators(answer) if identity in unusual else answer

        return of

    def _checked(self, obj: object, reducer: object, found: Any) -> Reduction | str:
        """An unusual answer, as it can be remembered."""
        self.adapter.check_reduction(obj, reducer, found)
        self._unusual.add(id(obj))
        if isinstance(found, tuple) and len(found) >= 4:
            # Iterators of items serve once; a second walk needs them again.
            items = [_Items(part) if _is_iterator(part) else part for part in found[3:5]]
            return (*found[:3], *items, *found[5:])
        return found  # type: ignore[no-any-return]

    def ask(self, obj: object) -> Reduction | str:
        """The reduction that `of` gives, asked for anew: not remembered, nor taken from memory."""
        reducer = self.types[type(obj)].reducer
        found: Any = obj.__reduce_ex__(self.adapter.protocol) if reducer is None else reducer(obj)
        self.adapter.check_reduction(obj, reducer, found)
        return found  # type: ignore[no-any-return]


def _with_iterators(found: Any) -> Any:
    """What is remembered, as a pickler takes it."""
    if not isinstance(found, tuple) or len(found) < 4:
        return found
    items = [iter(part) if type(part) is _Items else part for part in found[3:5]]
    return (*found[:3], *items, *found[5:])


class _Items(list[Any]):
    """What an iterator of a reduction gave."""


def _is_iterator(part: object) -> bool:
    # What is none is for the pickler to judge.
    return hasattr(type(part), "__next__")
