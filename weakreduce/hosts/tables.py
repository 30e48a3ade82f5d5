"""The hosts' dispatch tables: an entry of ours for each weak kind.

The dumps of a host's own Pickler go before them (`patch.py`). They are for picklers that read a
host's table, and whose dump is not ours: a class of the user's or of a framework's. What they write
is in `weakreduce.core.lone_walk`. `copyreg`'s table stays as it is, since `copy` reads it, too.

What we rely on, pinned by the tests: a copy of cloudpickle has ``Pickler._dispatch_table``, whose
entries are given an object and return its reduction; ``dill.Pickler.dispatch`` has savers, which
are given the pickler and an object. Tables are asked by the exact type, so a user's subclass of a
weak type is none of their concern.
"""

from __future__ import annotations

import copyreg
import importlib
import inspect
import io
import operator
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from weakreduce.hosts import cloudpickle, dill
from weakreduce.hosts.patch import as_stock
from weakreduce.hosts.picklers import TableEntry
from weakreduce.model.kinds import KINDS, is_interpreters

#: The weak types that a table can have an entry for: it is asked by the very type.
WEAK_TYPES: Final[tuple[type, ...]] = (weakref.KeyedRef, *(kind.base for kind in KINDS))
#: What gives the reduction of an object.
Reducing = Callable[[Any], Any]
#: A reduction by stock is the same from protocol 2 on.
_by_stock = operator.methodcaller("__reduce_ex__", pickle.HIGHEST_PROTOCOL)

_PythonPickler: Any = pickle._Pickler


class Table:
    """A host's table, given the module of the host that has it."""

    def __init__(self, module: types.ModuleType) -> None:
        self.pickler_class = module.Pickler
        self.is_dill = not hasattr(module.Pickler, "_dispatch_table")
        self.entries: dict[type, Any] = (
            module.Pickler.dispatch if self.is_dill else module.Pickler._dispatch_table
        )
        recipe = dill if self.is_dill else cloudpickle
        #: Makes what tells what the host writes as a name.
        self.make_adapter = recipe.make_patch(sys.modules[module.Pickler.__module__]).make_adapter
        self.stock_dump: types.CodeType = inspect.unwrap(module.Pickler.dump).__code__
        #: Where not, entries that somebody has copied do as stock does.
        self.applied = False

    def reduce(self, weak: object) -> Any:
        """The reduction of a weak thing, under the policy in force."""
        # Imported by the first use, which most processes never make.
        lone_walk = importlib.import_module("weakreduce.core.lone_walk")
        pickler = self.pickler_class(io.BytesIO())
        adapter = self.make_adapter(pickler, self.pickler_class.dump, False)
        adapter.plans()  # counts what was registered meanwhile
        return lone_walk.reduce_alone(adapter, weak)


class Reducer(TableEntry):
    """An entry of cloudpickle's table."""

    def __init__(self, table: Table, weak_type: type) -> None:
        super().__init__(table.entries.get(weak_type))
        self.table = table
        self.__module__ = table.pickler_class.__module__

    def __call__(self, weak: object) -> Any:
        """The reduction of a weak thing."""
        if sys._getframe(1).f_code is self.table.stock_dump:
            # A dump of the host's own: it began before ours was there, or ours has left this to it.
            theirs = copyreg.dispatch_table.get(type(weak))
            return (self.replaced or theirs or _by_stock)(weak)
        return self.reduction(weak, copyreg.dispatch_table, applied=self.is_applied())

    def reduction(self, weak: object, others: Mapping[type, Reducing], *, applied: bool) -> Any:
        """The reduction of a weak thing.

        Args:
            weak: the weak thing.
            others: may have a user's own reducer for it.
            applied: whether reducing is for us to do; other threads may change that meanwhile.
        """
        theirs = others.get(type(weak)) if self.replaced is None else None
        if theirs is not None and not (applied and is_interpreters(theirs)):
            return theirs(weak)
        if applied:
            return self.table.reduce(weak)
        return (self.replaced or _by_stock)(weak)

    def is_applied(self) -> bool:
        """Whether reducing is for us to do."""
        return self.table.applied and not as_stock.get()

    def __copy__(self) -> Any:
        """As functions are copied."""
        return self

    def __deepcopy__(self, memo: object) -> Any:
        """As functions are copied."""
        return self

    def __reduce__(self) -> Any:
        """What stock has: a class with this table in it may travel by value."""
        return max, ((self.replaced or self._without_ours(),),)

    def _without_ours(self) -> Any:
        return _by_stock


class Saver(Reducer):
    """An entry of dill's table."""

    def __call__(self, pickler: Any, weak: object) -> None:  # type: ignore[override]
        """Write a weak thing."""
        applied = self.is_applied() and not self._began_before(pickler)
        if self.replaced is not None and not applied:
            self.replaced(pickler, weak)
        else:
            _save(pickler, weak, self.reduction(weak, _reducers_of(pickler), applied=applied))

    def _began_before(self, pickler: object) -> bool:
        """Whether this is met by a dump of the host's own that began before ours was there.

        All of it is as without us: what it has met is not known.
        """
        if not isinstance(pickler, self.table.pickler_class) or "_weakreduce" in vars(pickler):
            return False
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code is self.table.stock_dump and frame.f_locals.get("self") is pickler:
                return True
            frame = frame.f_back
        return False

    def _without_ours(self) -> Any:
        return save_by_stock


def _reducers_of(pickler: object) -> Mapping[type, Reducing]:
    return getattr(pickler, "dispatch_table", copyreg.dispatch_table)


def _save(pickler: Any, obj: object, reduction: str | tuple[Any, ...]) -> None:
    if isinstance(reduction, str):
        pickler.save_global(obj, reduction)
    else:
        pickler.save_reduce(*reduction, obj=obj)


def save_by_stock(pickler: Any, obj: object) -> None:
    """What a Python pickler does where its ``dispatch`` has no saver for a type."""
    _save(pickler, obj, (_reducers_of(pickler).get(type(obj)) or _by_stock)(obj))


class TablePatch:
    """Entries of ours in a table, put in and taken out exactly."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.ours: dict[type, Reducer] = {}

    @property
    def applied(self) -> bool:
        """Whether ours are in place."""
        return self.table.applied

    def apply(self) -> None:
        """Put ours in place; nothing where they are there already."""
        if self.applied:
            return
        self.remove()  # an exception may have come in between
        table = self.table
        entry = Saver if table.is_dill else Reducer
        self.ours = {weak_type: entry(table, weak_type) for weak_type in WEAK_TYPES}
        table.entries.update(self.ours)
        table.applied = True

    def remove(self) -> None:
        """Put back what was there, unless somebody has put in an entry of their own since."""
        self.table.applied = False
        _take_out(self.ours, self.table.entries)
        if self.table.is_dill:
            _take_out(self.ours, _PythonPickler.dispatch)  # where `dill.extend()` has copied them
        self.ours.clear()


def _take_out(ours: dict[type, Reducer], entries: dict[type, Any]) -> None:
    for weak_type, entry in ours.items():
        if entries.get(weak_type) is entry:
            if entry.replaced is None:
                del entries[weak_type]
            else:
                entries[weak_type] = entry.replaced


def make_patch(module: types.ModuleType) -> TablePatch:
    """The patch of the table of a copy of cloudpickle, or of dill."""
    return TablePatch(Table(module))
