"""cloudpickle, and the whole copies of it that other projects carry.

What we rely on, pinned by the tests: ``Pickler`` is a subclass of the C pickler with the class
attributes ``dispatch_table`` (a ChainMap of ``_dispatch_table`` and copyreg's) and
``reducer_override``, which cares for classes and functions only; ``_should_pickle_by_reference``.
"""

from __future__ import annotations

import _pickle
import copyreg
import functools
import operator
import sys
import types
from collections.abc import Iterable
from typing import Any

from weakreduce.core.expressions import Call, Reduction, Rest
from weakreduce.hosts.patch import PicklerPatch
from weakreduce.hosts.picklers import ABSENT, PicklerEngine, importable, set_own
from weakreduce.model.classes import HEAP_TYPE, may_pretend
from weakreduce.model.kinds import has_registered

#: What the C pickler reads, whatever attribute of that name a class of picklers has.
_get_table: Any = _pickle.Pickler.__dict__["dispatch_table"].__get__
_set_table: Any = _pickle.Pickler.__dict__["dispatch_table"].__set__


def make_patch(module: Any, cls: Any = None) -> PicklerPatch:
    """The patch of the Pickler of a copy of cloudpickle, given its innermost module."""
    stock_class = module.Pickler
    stock_table = stock_class.dispatch_table
    stock_override = stock_class.reducer_override
    namespace = vars(module)
    tables = _Tables(stock_class._dispatch_table)

    def _reads_stock_table(pickler: Any) -> bool:
        own = "dispatch_table" in vars(pickler)
        return not own and type(pickler).dispatch_table is stock_table

    def _function_plan(override: Any) -> Any:
        """Short cut: cloudpickle would find out, slowly, that its own functions have names."""

        def reduce_function(function: Any) -> Any:
            if (
                function.__globals__ is namespace
                and namespace.get(function.__qualname__) is function
            ):
                return NotImplemented
            return override(function)

        return reduce_function

    class Engine(PicklerEngine):
        host_module = module.__name__

        def __init__(self, pickler: Any, stock: Any, override: Any = None) -> None:
            super().__init__(pickler, stock, override, pickler.proto)
            self._next_look = 0
            if _reads_stock_table(pickler):
                self._table = tables.now.merged  # by `plans`, when this dump began
            self._plain_override = getattr(override, "__func__", None) is stock_override

        @classmethod
        def plans(cls, pickler: Any, override: Any) -> dict[type, Any]:
            """Classes and functions are cloudpickle's own concern, and nothing else is."""
            found: dict[type, Any] = {}
            if _reads_stock_table(pickler):
                now = tables.now
                if now.general != copyreg.dispatch_table or now.own != tables.own:
                    now = tables.renew()
                _set_table(pickler, now.merged)
                if not has_registered():
                    found = now.ordinary.copy()
            found[type] = override = _Opened(override)
            by_value = namespace.get("_PICKLE_BY_VALUE_MODULES")
            found[types.FunctionType] = override if by_value else _function_plan(override)
            return found

        @classmethod
        def hooks(cls, pickler: Any) -> Any:
            """The table, too."""
            return pickler.__dict__.get("reducer_override", ABSENT), _get_table(pickler)

        @classmethod
        def put_back(cls, pickler: Any, hooks: Any) -> None:
            """The table, too: what is registered later counts when the host dumps by itself."""
            override, table = hooks
            set_own(pickler, "reducer_override", override)
            _set_table(pickler, table)

        @classmethod
        def is_ordinary(cls, pickler: Any, obj_type: type) -> bool:
            """What is said of a static type holds while the tables stay as they are."""
            if issubclass(obj_type, (type, types.FunctionType)) or may_pretend(obj_type):
                # Its instances are classes (of a metaclass), or what `isinstance` may take for
                # functions: cloudpickle's concern.
                return False
            if not _reads_stock_table(pickler):
                return super().is_ordinary(pickler, obj_type)
            now = tables.now
            tables.meet(obj_type)
            found = super().is_ordinary(pickler, obj_type)
            if found and not obj_type.__flags__ & HEAP_TYPE:
                now.ordinary[obj_type] = None
            return found

        def adopt(self, plans: dict[type, Any]) -> None:
            """What was written by value before."""
            noted = plans.get(type)
            if type(noted) is _Opened:
                self.opened = noted.opened

        def stock_override(self, obj: Any) -> Any:
            """Cloudpickle's own, noted if it is by value."""
            return _note(self.opened, obj, super().stock_override(obj))

        def is_open(self, obj: Any, met: dict[int, Any]) -> bool:
            """A state is in the memo when all of it is written.

            That takes a copy of the memo, so the question is put again only when there is more to
            know; until then what was open is taken to be so. (Where `closing` tells, it is not.)
            """
            if id(obj) in self.opened and len(met) >= self._next_look:
                memo = self.memo()
                self._next_look = len(met) + len(memo) // 8
                for identity, (_, state) in list(self.opened.items()):
                    if id(state) in memo:
                        del self.opened[identity]
            return id(obj) in self.opened

        def namespaces(self, obj: Any, found: Any) -> Iterable[tuple[dict[str, Any], Any]]:
            """The attributes of a class; the globals of a function."""
            if id(obj) not in self.opened:
                return ()
            if isinstance(obj, type):
                return ((found[2][0], functools.partial(Call, setattr, obj)),)

            def put_in(name: str, value: Any) -> Call:
                return Call(dict.update, Call(getattr, obj, "__globals__"), {name: value})

            return ((found[2][1].get("__globals__", {}), put_in),)

        def closing(self, obj: Any, found: Any) -> Any:
            """The second half of a state is followed by what tells of its end."""
            if id(obj) not in self.opened:
                return found
            self._next_look = sys.maxsize

            def close() -> Reduction:
                self.opened.pop(id(obj), None)
                return (list, ())

            first, second = found[2]
            state = (first, Call(operator.getitem, (second, Rest(close)), 0))
            self.opened[id(obj)] = (obj, state)
            return (*found[:2], state, *found[3:])

        def reset(self, memo: dict[int, Any]) -> None:
            """Nothing is open any more."""
            super().reset(memo)
            self.opened.clear()
            self._next_look = 0

        def claims(self, weak_type: type) -> bool:
            """Asked of each type, when it is first met."""
            tables.meet(weak_type)
            return super().claims(weak_type)

        @classmethod
        def asks_for_all(cls, override: Any) -> bool:
            """Not where the override is cloudpickle's."""
            return getattr(override, "__func__", None) is not stock_override

        def wants_override(self, obj_type: type) -> bool:
            """Cloudpickle asks each class, and each object that `isinstance` finds a function."""
            return (
                not self._plain_override
                or issubclass(obj_type, (type, types.FunctionType))
                or may_pretend(obj_type)
            )

        def by_name(self, obj: Any) -> bool:
            """As cloudpickle decides."""
            if isinstance(obj, (types.ModuleType, types.FunctionType, type)):
                return bool(module._should_pickle_by_reference(obj)) or (
                    isinstance(obj, type) and importable(obj) and obj.__module__ == "builtins"
                )
            return importable(obj)

    return PicklerPatch(cls or stock_class, Engine, ("file", "protocol", "buffer_callback"))


class _Opened:
    """The override for classes and functions in a dump, which notes what is written by value."""

    def __init__(self, override: Any) -> None:
        self.override = override
        self.opened: dict[int, Any] = {}

    def __call__(self, obj: Any) -> Any:
        return _note(self.opened, obj, self.override(obj))


def _note(opened: dict[int, Any], obj: Any, found: Any) -> Any:
    if type(found) is tuple and len(found) > 2 and type(found[2]) is tuple and len(found[2]) == 2:
        opened[id(obj)] = (obj, found[2])
    return found


class _Merged:
    """Cloudpickle's table and copyreg's in one plain dict, and what they were when it was made."""

    __slots__ = ("general", "merged", "ordinary", "own")

    def __init__(self, own: dict[type, Any]) -> None:
        self.general = copyreg.dispatch_table.copy()
        self.own = own.copy()
        self.merged = {**self.general, **self.own}
        #: Static types, which nobody can change, that are known to be ordinary.
        self.ordinary: dict[type, None] = {}


class _Tables:
    """The merged table, for as long as the two stay as they are.

    The C pickler finds an entry there several times faster than in a ChainMap. It is given the
    dict at each dump, so late entries count; subclasses with tables of their own keep them.
    """

    def __init__(self, own: dict[type, Any]) -> None:
        self.own = own
        self.now = _Merged(own)

    def renew(self) -> _Merged:
        """Merge anew: one of the tables has changed."""
        # Made first and put in place at once: other threads dump meanwhile.
        found = self.now = _Merged(self.own)
        return found

    def meet(self, obj_type: type) -> None:
        """A type is met for the first time in a walk: count what was registered meanwhile."""
        merged = self.now.merged
        live = self.own.get(obj_type)
        if live is None:
            live = copyreg.dispatch_table.get(obj_type)
        if live is not merged.get(obj_type):
            if live is None:
                del merged[obj_type]
            else:
                merged[obj_type] = live


def own_class() -> Any:
    """A Pickler class that is always ours, for `weakreduce.dumps`, installed or not."""
    import cloudpickle

    module = sys.modules[cloudpickle.Pickler.__module__]

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
        """cloudpickle's Pickler, with weak references."""

    make_patch(module, Pickler).apply()
    return Pickler
