"""cloudpickle, and the whole copies of it that other projects carry.

What we rely on, pinned by the tests: ``Pickler`` is a subclass of the C pickler with the class
attributes ``dispatch_table`` (a ChainMap of ``_dispatch_table`` and copyreg's) and
``reducer_override``, which cares for classes and functions only; ``_should_pickle_by_reference``,
``_BUILTIN_TYPE_NAMES``, ``_PICKLE_BY_VALUE_MODULES``, ``dynamic_subimport``; and, where they are
there, the methods ``_function_reduce`` and ``_dynamic_function_reduce``.
"""

from __future__ import annotations

import _pickle
import contextlib
import copyreg
import functools
import importlib.util
import io
import operator
import sys
import types
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, final

from weakreduce.core.expressions import Call, Reduction, Rest
from weakreduce.hosts.namespaces import Namespace, namespaces
from weakreduce.hosts.patch import PicklerPatch
from weakreduce.hosts.picklers import PicklerAdapter, TableEntry, importable
from weakreduce.model.kinds import KINDS, has_registered

if TYPE_CHECKING:
    from weakreduce.core.adapter import Override

#: What the C pickler reads, whatever attribute of that name a class of picklers has.
_get_table: Any = _pickle.Pickler.__dict__["dispatch_table"].__get__
_set_table: Any = _pickle.Pickler.__dict__["dispatch_table"].__set__
#: Short cut: by id, what the encoder writes by name. Cloudpickle would find that out slowly.
_WRITTEN: Final = {
    id(named): named
    for named in (
        *(kind.base for kind in KINDS),
        weakref.KeyedRef,
        contextlib.ContextDecorator,
        copyreg.__newobj__,  # type: ignore[attr-defined]
        importlib.import_module,
        importlib.util.find_spec,
    )
}


class Adapter(PicklerAdapter):
    """Drives the Pickler of one copy of cloudpickle."""

    #: How many objects are to be met before the memo is looked at again.
    _next_look = 0
    asks_for_functions = True

    def __init__(
        self, host: Host, pickler: Any, stock: Callable[[Any, Any], None], used: bool
    ) -> None:
        super().__init__(pickler, stock, used, pickler.proto)
        self.host = host
        self.host_module = host.name
        # What it was made with; an attribute that is set later is nothing to a C pickler. What is
        # registered later counts when the host dumps by itself.
        self._table = self._table_before = _get_table(pickler)
        self.reads_stock_table = self._table is host.stock_table
        self.asks_for_all = getattr(self.override, "__func__", None) is not host.stock_override
        #: By id, functions by value that know no module.
        self._nameless: dict[int, object] = {}
        #: By id, classes, each with whether it is written as a name: cloudpickle finds out slowly.
        self._classes: dict[int, tuple[object, bool]] = {}

    # --- one dump -----------------------------------------------------------------------

    def put_back(self, *, delivered: bool) -> None:
        """The table, too."""
        _set_table(self.pickler, self._table_before)
        super().put_back(delivered=delivered)

    def plans(self) -> dict[type, Override | None]:
        """Classes and functions are cloudpickle's own concern, and nothing else is."""
        found: dict[type, Override | None] = {}
        if self.reads_stock_table:
            now, general, own = self.host.merged, copyreg.dispatch_table, self.host.own_table
            if now.general != general or now.own != own:
                # Made first and put in place at once: other threads dump meanwhile.
                now = self.host.merged = _Merged(own)
            self._table = now.table
            _set_table(self.pickler, now.table)
            if not has_registered():
                self.ordinary = now.ordinary
                found.update(now.ordinary)
        found[type] = override = self.stock_override
        apart = not self.asks_for_all and not self.host.by_value
        found[types.FunctionType] = self._own_functions_apart if apart else override
        return found

    def _own_functions_apart(self, function: Any) -> Any:
        """Short cut: cloudpickle would find out, slowly, that its own functions have names."""
        namespace = self.host.namespace
        if function.__globals__ is namespace and namespace.get(function.__qualname__) is function:
            return NotImplemented
        return self.stock_override(function)

    def reset(self, memo: dict[int, Any]) -> None:
        """Nothing is open any more."""
        super().reset(memo)
        self.opened.clear()
        self._next_look = 0

    # --- what it makes of a type ----------------------------------------------------------

    def entry(self, obj_type: type) -> Any:
        """Cloudpickle's table and copyreg's may have changed since they were merged."""
        live, merged = self.host.own_table.get(obj_type), self._table
        if live is None:
            live = copyreg.dispatch_table.get(obj_type)
        if self.reads_stock_table and live is not merged.get(obj_type):
            if live is None:
                merged.pop(obj_type, None)  # or another thread has done it
            else:
                merged[obj_type] = live
        ours = isinstance(live, TableEntry) or not self.reads_stock_table
        return super().entry(obj_type) if ours else live

    def by_name(self, obj: object) -> bool:
        """As cloudpickle decides; of a class it is asked once."""
        if not issubclass(type(obj), type):
            return self._is_by_name(obj)
        known = self._classes.get(id(obj))
        if known is None:
            known = self._classes[id(obj)] = obj, self._is_by_name(obj)
        return known[1]

    def _is_by_name(self, obj: object) -> bool:
        if id(obj) in self._nameless:
            return False
        if isinstance(obj, (types.ModuleType, types.FunctionType, type)):
            return bool(self.host.namespace["_should_pickle_by_reference"](obj)) or (
                isinstance(obj, type)
                and obj.__module__ == "builtins"
                and (importable(obj) or obj in self.host.namespace["_BUILTIN_TYPE_NAMES"])
            )
        return importable(obj)

    # --- what is written by value, and whether it is complete --------------------------------

    def stock_override(self, obj: object) -> Any:
        """Cloudpickle's own; what is by value is noted, with a state that is not the original's."""
        if type(obj) in weakref.ProxyTypes and _seems_a_function(obj):
            return NotImplemented
        assert self.override is not None
        if id(obj) in _WRITTEN and not self.asks_for_all and not self.host.by_value:
            return NotImplemented
        if id(obj) in self._nameless:
            found = self.pickler._dynamic_function_reduce(obj)
        else:
            found = self.override(obj)
            if type(found) is tuple and _knows_no_module(obj) and self._reduces_functions():
                self._nameless[id(obj)] = obj
        if (
            type(found) is tuple
            and len(found) > 2
            and type(found[2]) is tuple
            and len(found[2]) == 2
            and issubclass(type(obj), (type, types.FunctionType))
        ):
            attributes, slots = found[2]
            # Up to cloudpickle 3.0 these are the function's own, in which nothing is to be put.
            state = (attributes.copy() if type(attributes) is dict else attributes, slots)
            found = (*found[:2], state, *found[3:])
            self.opened[id(obj)] = (obj, state)
        return found

    def _reduces_functions(self) -> bool:
        """Short cut: whether functions that know no module need not be looked for in all of them.

        That is slow, and the functions of a template that was compiled are such. Cloudpickle does
        it in a method that a subclass may replace; in a dump, and in those that measure it, once is
        enough.
        """
        stock = getattr(self.host.stock_class, "_function_reduce", None)
        return (
            not self.asks_for_all
            and stock is not None
            and getattr(type(self.pickler), "_function_reduce", None) is stock
            and hasattr(self.pickler, "_dynamic_function_reduce")
        )

    def is_open(self, obj: object, met: dict[int, Any]) -> bool:
        """A state is in the memo when all of it is written.

        That takes a copy of the memo, so the question is put again only when there is more to
        know; until then what was open is taken to be so. (Where `closing` tells, it is not.)
        """
        if id(obj) in self.opened and len(met) >= self._next_look:
            self._next_look = len(met) + len(met) // 8
            memo = _Memo(self.pickler)
            for identity, (_, state) in list(self.opened.items()):
                if memo.has(state):
                    del self.opened[identity]
        return id(obj) in self.opened

    def namespaces(self, obj: Any, found: Any) -> Iterable[Namespace]:
        """The attributes of a class; the globals of a function, and all else that it holds."""
        return namespaces(obj, *found[2])

    def in_steps(self, found: Any) -> Any:
        """A module by value is made empty, and then given what may lead back to it."""
        if type(found) is tuple and found[0] is self.host.namespace.get("dynamic_subimport"):
            function, (name, attributes) = found
            return function, (name, ()), attributes
        return found

    def closing(self, obj: Any, found: Any) -> Any:
        """The second half of a state is followed by what tells of its end."""
        self._next_look = sys.maxsize
        opened = self.opened  # not by the adapter: the memo of its pickler keeps this

        def close() -> Reduction:
            opened.pop(id(obj), None)
            return (list, ())

        first, second = found[2]
        state = (first, Call(operator.getitem, (second, Rest(close)), 0))
        self.opened[id(obj)] = (obj, state)
        return (*found[:2], state, *found[3:])


class _Unwritten(Exception):  # noqa: N818 - an answer, not an error
    """What is asked for is not in a memo."""


class _Memo(_pickle.Pickler):
    """Tells what the memo of a C pickler holds, without a copy of it in Python.

    A C pickler asks for the persistent id of an object first, then looks into its memo, and then
    writes what the object holds; there this one ends.
    """

    def __init__(self, pickler: Any) -> None:
        super().__init__(io.BytesIO())
        self.memo = pickler.memo
        self._asked: object = None

    def has(self, container: tuple[Any, Any]) -> bool:
        """Whether the memo holds a tuple, which is not empty."""
        self._asked = container
        try:
            self.dump(container)
        except _Unwritten:
            return False
        finally:
            self._asked = None
        return True

    def persistent_id(self, obj: object) -> None:
        """Claims nothing; but nothing is to be written either."""
        if obj is not self._asked:
            raise _Unwritten


def _knows_no_module(obj: object) -> bool:
    return type(obj) is types.FunctionType and obj.__module__ is None


def _seems_a_function(proxy: object) -> bool:
    """Whether `isinstance` takes a proxy for a function, or fails, as of a dead one.

    A user's override hands cloudpickle's whatever it does not know, which would do so.
    """
    try:
        return isinstance(proxy, types.FunctionType)
    except ReferenceError:
        return True


@final
class Host:
    """What the engines of one copy of cloudpickle share, given its innermost module."""

    def __init__(self, module: types.ModuleType) -> None:
        self.name = module.__name__
        self.namespace: dict[str, Any] = vars(module)
        self.stock_class: Any = self.namespace["Pickler"]
        self.stock_table: Any = self.stock_class.dispatch_table
        self.stock_override: Any = self.stock_class.reducer_override
        self.own_table: dict[type, Any] = self.stock_class._dispatch_table
        #: Its own table and copyreg's, merged, for as long as the two stay as they are.
        self.merged = _Merged(self.own_table)
        #: The modules that are to be written by value now, if this release knows of any.
        self.by_value: Any = self.namespace.get("_PICKLE_BY_VALUE_MODULES")


class _Merged:
    """Cloudpickle's table and copyreg's in one plain dict, and what they were when it was made.

    The C pickler finds an entry there several times faster than in a ChainMap. It is given the
    dict at each dump, so late entries count; subclasses with tables of their own keep them.
    """

    __slots__ = ("general", "ordinary", "own", "table")

    def __init__(self, own: dict[type, Any]) -> None:
        self.general = copyreg.dispatch_table.copy()
        self.own = own.copy()
        self.table = {**self.general, **self.own}
        #: Static types, which nobody can change, that are known to be ordinary.
        self.ordinary: dict[type, None] = {}


def make_patch(module: types.ModuleType, cls: object = None) -> PicklerPatch:
    """The patch of the Pickler of a copy of cloudpickle, given its innermost module."""
    host = Host(module)
    make_adapter = functools.partial(Adapter, host)
    return PicklerPatch(
        cls or host.stock_class, make_adapter, ("file", "protocol", "buffer_callback")
    )


def own_class() -> Any:
    """A Pickler class that is always ours, for `weakreduce.dumps`, installed or not."""
    import cloudpickle

    module = sys.modules[cloudpickle.Pickler.__module__]

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
        """cloudpickle's Pickler, with weak references."""

    make_patch(module, Pickler).apply()
    return Pickler
