"""What is known of the types of a dump's objects: `TypeFacts`, each question asked once for a type.

The answers depend on the pickler, too: on its tables, and on its override. They hold for one dump,
as classes and tables may change between two. Nothing here looks at an instance.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TypeVar

from weakreduce.core.adapter import Adapter
from weakreduce.model.bound import Bound
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
from weakreduce.model.kinds import can_pin, kind_of

_T = TypeVar("_T")


class Answers(dict[type, _T]):
    """What a function says of a type, asked once for each."""

    def __init__(self, ask: Callable[[type], _T]) -> None:
        self.ask = ask

    def __missing__(self, obj_type: type) -> _T:
        found = self[obj_type] = self.ask(obj_type)
        return found


class TypeFacts:
    """What is known of types in one dump.

    Args:
        adapter: the pickler.
    """

    def __init__(self, adapter: Adapter) -> None:
        #: Whether code that is not the host's reduces the instances of a type.
        self.by_own_code = by_own_code = Answers(lambda cls: _reduced_by_own_code(adapter, cls))
        #: Whether the pickler's own override cares for instances of a type.
        self.overridden = overridden = Answers(adapter.wants_override)
        #: Whether the default reduction of a type's instances has arguments of its own.
        self.own_arguments = own_arguments = Answers(
            lambda cls: bool(flags_of(cls) & HEAP_TYPE) and has_own_arguments(cls)
        )
        #: Whether code of their own reduces instances to whatever it likes, a name, too: more than
        #: a `__getstate__`.
        self.reduced_freely = reduced_freely = Answers(
            lambda cls: (
                by_own_code[cls] and (adapter.has_reducer(cls) or not constructs_by_default(cls))
            )
        )
        #: What weak things the instances of a type are, if any: not where somebody else's reducer
        #: comes first.
        self.kinds = Answers(lambda cls: None if adapter.claims(cls) else kind_of(cls))
        #: `is_plain`, where no table has a reducer for the type either.
        self.plain = Answers(lambda cls: is_plain(cls) and not adapter.has_reducer(cls))
        #: `may_give_names`, where no table has a reducer for the type.
        self.gives_names = gives_names = Answers(
            lambda cls: may_give_names(cls) and not adapter.has_reducer(cls)
        )
        #: Whether instances may be written as names.
        self.nameable = Answers(
            lambda cls: (
                issubclass(cls, NAMEABLE)
                or overridden[cls]
                or reduced_freely[cls]
                or gives_names[cls]
            )
        )
        #: Whether the copy of every instance can be weakly referenced as the original is.
        self.referable = Answers(lambda cls: _keeps_its_type(adapter, cls, overridden[cls]))
        #: `may_come_whole`, where code of their own reduces instances, or sees their state come.
        self.may_come_whole = Answers(
            lambda cls: (
                (by_own_code[cls] or (constructs_by_default(cls) and not own_arguments[cls]))
                and may_come_whole(cls)
            )
        )
        #: Whether instances hash by their identity.
        self.hashed_by_identity = Answers(
            lambda cls: class_attribute(cls, "__hash__") is object.__hash__
        )
        #: `can_pin`.
        self.pinnable = Answers(can_pin)


def _reduced_by_own_code(adapter: Adapter, obj_type: type) -> bool:
    if adapter.has_reducer(obj_type):
        return adapter.table_reducer(obj_type) is not None
    return overrides_reduce(obj_type)


def _keeps_its_type(adapter: Adapter, obj_type: type, overridden: bool) -> bool:
    if issubclass(obj_type, NAMEABLE) or kind_of(obj_type) is not None:
        return True
    if obj_type is pickle.PickleBuffer or adapter.has_reducer(obj_type) or overridden:
        return False
    # What is written in C gives its own type, and may be costly to ask.
    return constructs_by_default(obj_type) or not overrides_reduce(obj_type)


def is_plain(obj_type: type) -> bool:
    """Whether instances are made bare, hold attributes alone, and none of their code sees that."""
    return (
        class_attribute(obj_type, "__new__") is object.__new__
        and class_attribute(obj_type, "__setattr__") is object.__setattr__
        and not defines(obj_type, "__getnewargs__")
        and not defines(obj_type, "__getnewargs_ex__")
        and reduces_by_default(obj_type)
        and not hashed_by_value(obj_type)
        and kind_of(obj_type) is None
        and not may_pretend(obj_type)
    )


def may_come_whole(obj_type: type) -> bool:
    """Whether instances may be written with their state before all else of the payload is there.

    Not where a hash may need the state: what is written of them depends on that.
    """
    return (
        bool(flags_of(obj_type) & HEAP_TYPE)
        and not hashed_by_value(obj_type)
        and kind_of(obj_type) is None
        and not may_pretend(obj_type)
    )


def is_ordinary(obj_type: type) -> bool:
    """Whether instances are no weak things, and have no code of their own that reduces them."""
    # What engines send in place of a task may be asked twice.
    return obj_type is Bound or (
        kind_of(obj_type) is None
        and not overrides_reduce(obj_type)
        and (not flags_of(obj_type) & HEAP_TYPE or not has_own_arguments(obj_type))
    )
