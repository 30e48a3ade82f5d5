"""What is known of the types of a dump's objects: a row, `TypeFacts`, for each.

The answers depend on the pickler, too: on its tables, and on its override. They hold for one dump,
as classes and tables may change between two. Nothing here looks at an instance.
"""

from __future__ import annotations

import pickle
import types

from weakreduce.core.adapter import Adapter
from weakreduce.model.bound import Bound
from weakreduce.model.classes import HEAP_TYPE, NAMEABLE, ClassFacts, flags_of
from weakreduce.model.kinds import kind_of


class ReducerFacts(ClassFacts):
    """What reduces the instances of one type in one dump.

    Args:
        cls: the type.
        adapter: the pickler.
    """

    def __init__(self, cls: type, adapter: Adapter) -> None:
        super().__init__(cls)
        entry = adapter.entry(cls)
        #: What weak things the instances are, whatever reduces them.
        self.own_kind = own = kind_of(cls)
        claimed = own is not None and entry is not None and adapter.claims(entry)
        #: None, too, where a reducer of the user's comes first.
        self.kind = None if claimed else own
        #: Whether a dispatch table has an entry.
        self.has_reducer = entry is not None
        #: That entry, unless it is the host's own.
        self.reducer = None if entry is None or adapter.is_own(cls, entry) else entry
        #: Whether the pickler's own override cares for instances.
        self.overridden = adapter.asks_for_all or (
            adapter.asks_for_functions
            and (self.may_pretend or issubclass(cls, (type, types.FunctionType)))
        )
        #: Whether code that is not the host's reduces the instances.
        self.by_own_code = self.reducer is not None if self.has_reducer else self.overrides_reduce
        #: Whether the pickler alone writes them, and no code of the user's is asked. (What engines
        #: send in place of a task may be asked twice.)
        self.ordinary = cls is Bound or not (
            own is not None
            or self.overridden
            or self.by_own_code
            or self.own_arguments
            or (adapter.has_skeletons and issubclass(cls, types.ModuleType))
        )


class TypeFacts(ReducerFacts):
    """Besides, what becomes of the instances.

    Args:
        cls: the type.
        adapter: the pickler.
    """

    def __init__(self, cls: type, adapter: Adapter) -> None:
        super().__init__(cls, adapter)
        is_weak, is_nameable = self.own_kind is not None, issubclass(cls, NAMEABLE)

        #: Whether code that is not the host's reduces them to whatever it likes, a name, too: more
        #: than a `__getstate__`.
        self.reduced_freely = self.by_own_code and (
            self.has_reducer or not self.constructs_by_default
        )
        #: Whether they are made bare, hold attributes alone, and no code sees that, nor a table.
        self.plain = (
            self.holds_attributes_alone
            and not self.hashed_by_value
            and not is_weak
            and not self.may_pretend
            and not self.has_reducer
        )
        #: Whether code in C may tell their names, where no table has a reducer.
        self.gives_names = self.may_give_names and not self.has_reducer
        #: Whether instances may be written as names.
        self.nameable = is_nameable or self.overridden or self.reduced_freely or self.gives_names
        #: Whether copies of all instances can be weakly referenced as the originals are. (What is
        #: written in C gives its own type, and may be costly to ask.)
        self.referable = (
            is_nameable
            or is_weak
            or (
                not (cls is pickle.PickleBuffer or self.has_reducer or self.overridden)
                and (self.constructs_by_default or not self.overrides_reduce)
            )
        )
        #: Whether they may be written with their state before all else of the payload is there:
        #: where code of their own reduces instances, or sees their state come. Not where a hash
        #: may need the state: what is written of them depends on that.
        self.may_come_whole = (
            (self.by_own_code or (self.constructs_by_default and not self.own_arguments))
            and bool(flags_of(cls) & HEAP_TYPE)
            and not self.hashed_by_value
            and not is_weak
            and not self.may_pretend
        )


class Types(dict[type, TypeFacts]):
    """The facts of each type of a dump."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def __missing__(self, cls: type) -> TypeFacts:
        found = self[cls] = TypeFacts(cls, self._adapter)
        return found
