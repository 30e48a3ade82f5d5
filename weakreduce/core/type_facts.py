"""What is known of the types of a dump's objects: a row, `TypeFacts`, for each.

Each question is asked once for a type.

The answers depend on the pickler, too: on its tables, and on its override. They hold for one dump,
as classes and tables may change between two. Nothing here looks at an instance.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Generic, TypeVar, final

from weakreduce.core.adapter import Adapter
from weakreduce.model.classes import (
    HEAP_TYPE,
    NAMEABLE,
    class_attribute,
    constructs_by_default,
    defines,
    flags_of,
    has_own_arguments,
    hashed_by_value,
    may_give_names,
    may_pretend,
    overrides_reduce,
    reduces_by_default,
)
from weakreduce.model.kinds import Kind, kind_of

_T = TypeVar("_T")


@final
class _Once(Generic[_T]):
    """A fact that is found out when it is first asked for.

    `functools.cached_property` has a lock for all objects up to Python 3.11: a forked child would
    wait for ever for a thread of its parent's.
    """

    def __init__(self, ask: Callable[[Any], _T]) -> None:
        self._ask = ask
        self.__doc__ = ask.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, row: object, owner: type) -> _T:
        found = row.__dict__[self._name] = self._ask(row)
        return found


class TypeFacts:
    """What is known of one type in one dump.

    Args:
        cls: the type.
        adapter: the pickler.
    """

    def __init__(self, cls: type, adapter: Adapter) -> None:
        self._cls = cls
        self._adapter = adapter

    @_Once
    def kind(self) -> Kind | None:
        """What weak things the instances are, if any.

        None where somebody else's reducer comes first.
        """
        self._adapter.meet(self._cls)  # a walk asks this first of all
        kind = kind_of(self._cls)
        return None if kind is None or self._adapter.claims(self._cls) else kind

    @_Once
    def pinnable(self) -> bool:
        """Whether a weak thing can be made to keep its own referent alive."""
        kind = self.kind
        return (
            kind is not None
            and not kind.is_finalizer
            and (kind.rebuild is None or kind.pin is not None)
        )

    # --- what reduces the instances -------------------------------------------------------

    @_Once
    def overridden(self) -> bool:
        """Whether the pickler's own override cares for instances."""
        return self._adapter.wants_override(self._cls)

    @_Once
    def has_reducer(self) -> bool:
        """Whether a dispatch table has an entry."""
        return self._adapter.has_reducer(self._cls)

    @_Once
    def by_own_code(self) -> bool:
        """Whether code that is not the host's reduces the instances."""
        if self.has_reducer:
            return self._adapter.table_reducer(self._cls) is not None
        return overrides_reduce(self._cls)

    @_Once
    def reduced_freely(self) -> bool:
        """Whether code of their own reduces instances to whatever it likes, a name, too.

        That is more than a `__getstate__`.
        """
        return self.by_own_code and (self.has_reducer or not constructs_by_default(self._cls))

    @_Once
    def own_arguments(self) -> bool:
        """Whether the default reduction of instances has arguments of its own."""
        return has_own_arguments(self._cls)

    # --- what becomes of the instances ----------------------------------------------------

    @_Once
    def plain(self) -> bool:
        """Whether they are made bare, hold attributes alone, and no code sees that, nor a table."""
        cls = self._cls
        return (
            class_attribute(cls, "__new__") is object.__new__
            and class_attribute(cls, "__setattr__") is object.__setattr__
            and not defines(cls, "__getnewargs__")
            and not defines(cls, "__getnewargs_ex__")
            and reduces_by_default(cls)
            and not hashed_by_value(cls)
            and kind_of(cls) is None
            and not may_pretend(cls)
            and not self.has_reducer
        )

    @_Once
    def gives_names(self) -> bool:
        """`may_give_names`, where no table has a reducer."""
        return may_give_names(self._cls) and not self.has_reducer

    @_Once
    def nameable(self) -> bool:
        """Whether instances may be written as names."""
        return (
            issubclass(self._cls, NAMEABLE)
            or self.overridden
            or self.reduced_freely
            or self.gives_names
        )

    @_Once
    def referable(self) -> bool:
        """Whether the copy of every instance can be weakly referenced as the original is."""
        cls = self._cls
        if issubclass(cls, NAMEABLE) or kind_of(cls) is not None:
            return True
        if cls is pickle.PickleBuffer or self.has_reducer or self.overridden:
            return False
        # What is written in C gives its own type, and may be costly to ask.
        return constructs_by_default(cls) or not overrides_reduce(cls)

    @_Once
    def may_come_whole(self) -> bool:
        """Whether they may be written with their state before all else of the payload is there.

        Where code of their own reduces instances, or sees their state come. Not where a hash may
        need the state: what is written of them depends on that.
        """
        cls = self._cls
        return (
            (self.by_own_code or (constructs_by_default(cls) and not self.own_arguments))
            and bool(flags_of(cls) & HEAP_TYPE)
            and not hashed_by_value(cls)
            and kind_of(cls) is None
            and not may_pretend(cls)
        )

    @_Once
    def hashed_by_identity(self) -> bool:
        """Whether instances hash by their identity."""
        return class_attribute(self._cls, "__hash__") is object.__hash__


class Types(dict[type, TypeFacts]):
    """The facts of each type of a dump."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def __missing__(self, cls: type) -> TypeFacts:
        found = self[cls] = TypeFacts(cls, self._adapter)
        return found
