"""dill, and through it multiprocess and pathos.

What we rely on, pinned by the tests: ``dill.Pickler`` is a subclass of the pure-Python pickler,
which asks ``reducer_override`` before ``dispatch``; classes and functions are written by savers
in ``dispatch``, not by reductions; ``_locate_function`` decides what is written as a name.
"""

from __future__ import annotations

import copyreg
import types
from typing import Any, Final

from weakreduce.core import known
from weakreduce.core.expressions import DOTTED, DOTTED_TYPES
from weakreduce.hosts.entries import WEAK_TYPES, entry_of
from weakreduce.hosts.patch import PicklerPatch
from weakreduce.hosts.picklers import ABSENT, PicklerEngine, PythonEngine, importable, set_own
from weakreduce.model.kinds import has_registered, kind_of

_HOOKS: Final = ("reducer_override", "dispatch", "dispatch_table")


def make_patch(module: Any, cls: Any = None) -> PicklerPatch:
    """The patch of dill's Pickler (`module` is ``dill._dill``)."""

    class Engine(PythonEngine):
        host_module = module.__name__

        def __init__(self, pickler: Any, stock: Any, override: Any = None) -> None:
            super().__init__(pickler, stock, override, pickler.proto)
            if isinstance(self._savers, _Savers):
                self._table, self._savers = self._savers.stock_table, self._savers.stock

        @classmethod
        def hooks(cls, pickler: Any) -> Any:
            """The tables, too."""
            return [pickler.__dict__.get(name, ABSENT) for name in _HOOKS]

        @classmethod
        def put_back(cls, pickler: Any, hooks: Any) -> None:
            """The tables, too."""
            for name, found in zip(_HOOKS, hooks, strict=True):
                set_own(pickler, name, found)

        @classmethod
        def met(cls, pickler: Any, start: Any) -> dict[int, Any]:
            """The memo, which tells what was met as well, and costs nothing more to keep."""
            if _reads_tables(pickler):
                return pickler.memo  # type: ignore[no-any-return]
            return super().met(pickler, start)

        @classmethod
        def watch(
            cls, pickler: Any, stock: Any, met: Any, plans: Any, make_plan: Any, obj: Any
        ) -> None:
            """Short cut: by tables, which a Python pickler reads anyway.

            It would ask an override of every int and str. What the tables give is what the
            override would, for each type (`Walk.plan`).
            """
            if not _reads_tables(pickler):
                super().watch(pickler, stock, met, plans, make_plan, obj)
                return
            hooks = cls.hooks(pickler)
            table = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
            pickler.dispatch = savers = _Savers(pickler.dispatch, table, make_plan)
            pickler.dispatch_table = savers.reducers
            try:
                _with_room(stock, pickler, obj)
            finally:
                cls.put_back(pickler, hooks)

        @staticmethod
        def drive(pickler: Any, stock: Any, override: Any, obj: Any) -> None:
            """As ever, with room for a deep stack."""
            _with_room(PicklerEngine.drive, pickler, stock, override, obj)

        @classmethod
        def recall(cls, pickler: Any, memo: dict[int, Any]) -> None:
            """Put an earlier memo back, and drop what a failed dump was about to write."""
            super().recall(pickler, memo)
            pickler._postproc.clear()

        def by_name(self, obj: Any) -> bool:
            """As dill decides."""
            return written_as_name(module, self.pickler, obj)

        def sibling_dump(self, obj: Any, file: Any) -> None:
            """Dump with dill's Pickler and the same settings."""
            pickler = self.pickler
            cls = next(c for c in type(pickler).__mro__ if "dump" in vars(c))
            cls(
                file,
                self.protocol,
                byref=pickler._byref,
                fmode=pickler._fmode,
                recurse=pickler._recurse,
            ).dump(obj)

    return PicklerPatch(cls or module.Pickler, Engine, ("file", "protocol"))


def written_as_name(module: Any, pickler: Any, obj: Any) -> bool:
    """Whether dill's savers (`module` is ``dill._dill``) write an object as a name."""
    if isinstance(obj, type):
        return (
            obj in module._typemap
            or obj.__module__ == "builtins"
            or bool(module._locate_function(obj, pickler))
        )
    if isinstance(obj, types.FunctionType):
        return bool(module._locate_function(obj, pickler))
    return importable(obj)


def _with_room(function: Any, *arguments: Any) -> None:
    """Call a function that recurses in Python, from a frame with room for what it calls."""
    function(*arguments)


# CPython keeps Python frames in chunks of 16 KiB. A recursion that goes to and fro over the end of
# one maps and unmaps memory at each call there, which makes a dump up to ten times slower (stock's,
# too), as the depth of the caller's stack happens to be. This frame is so large that it begins a
# chunk of its own, and twice as large as it needs: 120 KiB are left for the pickler's frames.
_with_room.__code__ = _with_room.__code__.replace(co_stacksize=16_500)


def _reads_tables(pickler: Any) -> bool:
    """Whether the savers in ``dispatch``, and not an override or a fast mode, decide."""
    return (
        known.short_cuts_allowed
        and getattr(pickler, "reducer_override", None) is None
        and not pickler.fast
        and isinstance(pickler.dispatch, dict)
    )


class _Savers(dict[type, Any]):
    """A pickler's ``dispatch`` for one dump: its own, but for types that have a plan."""

    def __init__(self, stock: Any, stock_table: Any, make_plan: Any) -> None:
        super().__init__({} if has_registered() else stock)
        for own_plan in (*WEAK_TYPES, *DOTTED_TYPES):
            self.pop(own_plan, None)
        self.stock = stock
        self.stock_table = stock_table
        #: The pickler's ``dispatch_table`` for one dump: where it finds the plans.
        self.reducers = dict(stock_table)
        self.make_plan = make_plan
        #: Types of weak things that were met.
        self.weak_types: set[type] = set()

    def __missing__(self, obj_type: type) -> Any:
        # dill registers types while it pickles, so its own table is asked now.
        saver = entry_of(self.stock, obj_type)
        plan = None
        if saver is None or kind_of(obj_type) is not None:
            plan = self.make_plan(obj_type)
        if plan is not None:
            self.reducers[obj_type] = plan
            saver = None
            if kind_of(obj_type) is not None:
                self.weak_types.add(obj_type)
        elif saver is not None and obj_type in DOTTED_TYPES:
            saver = _by_dotted_name(saver, self.weak_types)
        self[obj_type] = saver
        return saver

    def get(self, obj_type: Any, default: Any = None) -> Any:
        """The saver of a type."""
        found = self[obj_type]
        return default if found is None else found


def _by_dotted_name(stock: Any, weak_types: set[type]) -> Any:
    """A saver that writes the encoder's words as names, once a weak thing was met."""

    def save(pickler: Any, obj: Any) -> None:
        found = DOTTED.get(id(obj)) if weak_types and pickler.proto >= 4 else None
        if found is None:
            stock(pickler, obj)
        else:
            pickler.save_global(obj, found[1])

    return save


def own_class() -> Any:
    """A Pickler class that is always ours, for `weakreduce.dumps`, installed or not."""
    import dill

    # dill asks a pickler's class for its module and name, so a subclass of ours behaves as
    # one of dill's children; it takes them for its own where they say they are.
    cls: Any = type("Pickler", (dill.Pickler,), {"__module__": dill.Pickler.__module__})
    make_patch(dill._dill, cls).apply()
    return cls
