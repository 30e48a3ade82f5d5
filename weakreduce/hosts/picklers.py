"""How a session drives a pickler: one `Adapter` for C picklers, one for Python ones.

Rule: what weak things become is not known here. What a class of picklers needs besides is in its
host's own file.
"""

from __future__ import annotations

import _pickle
import copyreg
import io
import pickle
import sys
import types
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from weakreduce.hosts.scout import HARMLESS, handed_over
from weakreduce.model import signals
from weakreduce.model.kinds import is_interpreters

if TYPE_CHECKING:
    from weakreduce.core.adapter import Override
    from weakreduce.core.expressions import Reduction


_PythonPickler: Any = pickle._Pickler
#: Stands for an attribute that a pickler itself does not have.
_ABSENT: Final = object()
#: What picklers write by opcodes of their own, before any hook for reductions.
_BUILTIN = frozenset({set, frozenset, list, tuple, dict, str, bytes, bytearray, int, float, bool})
_SAVED: Final = dict.fromkeys((*_BUILTIN, type(None), type, types.FunctionType))
#: By id, types that picklers write by a construction. (All classes here are compared by identity: a
#: metaclass may say what it likes, or raise.)
_NAMELESS = frozenset(map(id, (type(None), type(...), type(NotImplemented))))


class TableEntry:
    """An entry of ours in a host's table for a weak type (`tables.py`).

    Our own dumps go before the tables, and to them it is not there.

    Args:
        replaced: the entry that was there before, or None.
    """

    def __init__(self, replaced: Any) -> None:
        self.replaced = replaced


def entry_of(table: Mapping[type, Any], obj_type: type) -> Any:
    """A table's entry for a type, as if ours were not there."""
    found = table.get(obj_type)
    return found.replaced if isinstance(found, TableEntry) else found


class PicklerAdapter:
    """A pickler that reads ``reducer_override`` and ``dispatch_table``.

    Args:
        pickler: the pickler.
        stock: the host's own ``dump``.
        used: whether the pickler has made a dump before.
        protocol: the pickle protocol.
    """

    #: The module whose reducers in the tables are the host's own.
    host_module = ""
    has_skeletons = True
    #: Whether parts are pickled by themselves until a dump fails: a walk does not meet them.
    hides_parts = False
    asks_for_functions = False
    #: A C pickler has no way to.
    save_apart: Callable[[Any], None] | None = None
    #: Nobody has asked before (`scout.Asked`).
    answers: Iterable[tuple[Any, Any]] = ()
    errors: Iterable[tuple[Any, Exception, list[Any]]] = ()

    def __init__(
        self, pickler: Any, stock: Callable[[Any, Any], None], used: bool, protocol: int
    ) -> None:
        self.pickler = pickler
        self.stock = stock
        self.protocol = protocol
        #: The pickler's own override, or None.
        self.override: Override | None = getattr(pickler, "reducer_override", None)
        #: Whether that may care for any type.
        self.asks_for_all = self.override is not None
        self.opened: dict[int, Any] = {}
        self.ordinary: dict[type, None] = {}  # which is not remembered
        asked = handed_over.get()
        if asked is not None:
            handed_over.set(None)  # it is not for dumps inside this one
            self.answers, self.errors = asked.answers, asked.errors
        self._table: MutableMapping[type, Any] = getattr(
            pickler, "dispatch_table", copyreg.dispatch_table
        )
        self._own_override = pickler.__dict__.get("reducer_override", _ABSENT)
        #: The memo: a dict, or a pickler that holds it. A C pickler copies its memo some thirty
        #: times faster to another one than to a dict, which counts where one makes many dumps.
        self._before: Any
        if not used or not isinstance(pickler, _pickle.Pickler):
            self._before = pickler.memo.copy()
        else:
            self._before = _pickle.Pickler(io.BytesIO())
            self._before.memo = pickler.memo

    # --- one dump -----------------------------------------------------------------------

    def plans(self) -> dict[type, Override | None]:
        """What an override is to do with types that are known before anything is met."""
        return {}

    def drive(self, override: Override, obj: Any) -> None:
        """Run the host's dump with an override that is asked of every instance."""
        handled = sys.exception()
        self.pickler.__dict__["reducer_override"] = override
        try:
            self.stock(self.pickler, obj)
        except Exception as error:
            signals.reraise(error, signals.Signal, handled)
            raise
        finally:
            del handled  # its traceback may lead to this frame

    def memo_before(self) -> dict[int, Any]:
        """The memo as it was when the dump began."""
        if type(self._before) is not dict:
            self._before = self._before.memo.copy()
        return self._before

    def put_back(self, *, delivered: bool) -> None:
        """Leave the pickler as the dump found it, but for the memo of what is in the file.

        It may be interrupted, and is done again then.
        """
        if self._own_override is _ABSENT:
            self.pickler.__dict__.pop("reducer_override", None)
        else:
            self.pickler.__dict__["reducer_override"] = self._own_override
        if not delivered:
            # Nothing reached the file, so the memo must not say that anything did.
            self.reset(self.memo_before())

    def memo(self) -> dict[int, Any]:
        """A copy of the memo."""
        memo: dict[int, Any] = self.pickler.memo.copy()
        return memo

    def reset(self, memo: dict[int, Any]) -> None:
        """Put an earlier memo back."""
        self.pickler.memo = memo

    # --- what it makes of a type ----------------------------------------------------------

    def entry(self, obj_type: type) -> Any:
        """The table's entry. One of ours hides what a user may have registered in copyreg."""
        table, found = self._table, None
        # A ChainMap takes a microsecond to say no, and this is asked in every dump.
        for part in table.maps if type(table) is ChainMap else (table,):
            found = part.get(obj_type)
            if found is not None:
                break
        if not isinstance(found, TableEntry):
            return found
        replaced = found.replaced
        return copyreg.dispatch_table.get(obj_type) if replaced is None else replaced

    def is_own(self, obj_type: type, entry: Any) -> bool:
        """Known by its module."""
        return obj_type in HARMLESS or getattr(entry, "__module__", None) == self.host_module

    def claims(self, entry: Any) -> bool:
        """Not the host's, nor the interpreter's, should it have any."""
        return getattr(entry, "__module__", "") != self.host_module and not is_interpreters(entry)

    def is_open(self, obj: Any, met: dict[int, Any]) -> bool:
        """What is written by name is complete."""
        return False

    def closing(self, obj: Any, found: Any) -> Any:
        """Asked of what is in `opened`."""
        raise NotImplementedError

    def in_steps(self, found: Any) -> Any:
        """As it is: that is said of modules by value."""
        return found

    def namespaces(self, obj: Any, found: Any) -> Iterable[tuple[dict[Any, Any], Any]]:
        """Asked of what is in `opened`."""
        raise NotImplementedError

    def stock_override(self, obj: Any) -> Any:
        """The pickler's own ``reducer_override``."""
        assert self.override is not None
        return self.override(obj)

    def persistent_id(self) -> Override | None:
        """The pickler's ``persistent_id``, which may claim any object, if it has one."""
        return own_persistent_id(self.pickler)

    def by_name(self, obj: Any) -> bool:
        """Stock pickle writes classes, functions and builtins as names, or fails."""
        return importable(obj)

    def finds(self, obj: Any, name: str) -> bool:
        """As every pickler looks for it before it writes a name."""
        return _is_global(obj, name)

    def reduction(self, obj: Any) -> Reduction | None:
        """The reduction that the pickler would use."""
        if type(obj) in _BUILTIN:
            return None
        if self.override is not None:
            found = self.override(obj)
            if found is not NotImplemented:
                return found if isinstance(found, tuple) else None
        if issubclass(type(obj), (type, types.FunctionType)):
            return None
        reducer = self.entry(type(obj))
        found = obj.__reduce_ex__(self.protocol) if reducer is None else reducer(obj)
        return found if isinstance(found, tuple) else None

    def check_reduction(self, obj: Any, reducer: Any, found: Any) -> None:
        """A C pickler finds out by itself, and names nobody."""

    def sibling_dump(self, obj: Any, file: Any) -> None:
        """Dump with a pickler of the nearest host's own class."""
        cls = next(c for c in type(self.pickler).__mro__ if "dump" in vars(c))
        cls(file, self.protocol).dump(obj)


def own_persistent_id(pickler: Any) -> Override | None:
    """The ``persistent_id`` that a pickler's class defines or that was set on it, or None."""
    found: Override | None = getattr(pickler, "persistent_id", None)
    if isinstance(found, types.BuiltinMethodType) and found.__self__ is pickler:
        # The C pickler's, which claims nothing.
        return None  # pragma: no cover - from Python 3.13 on it has one
    return None if getattr(found, "__func__", None) is _PythonPickler.persistent_id else found


class PythonAdapter(PicklerAdapter):
    """A pure-Python pickler: the savers in its ``dispatch`` come before all reducers."""

    has_skeletons = False

    def __init__(self, pickler: Any, stock: Callable[[Any, Any], None], used: bool) -> None:
        super().__init__(pickler, stock, used, pickler.proto)
        self.opened = {0: None}  # anything may be
        self._savers = pickler.dispatch

    def plans(self) -> dict[type, Override | None]:
        """What has a saver in every Python pickler: the pickler asks about all the same."""
        return {} if self.asks_for_all else _SAVED.copy()

    def save_apart(self, obj: Any) -> None:
        """Save, and let the unpickler lay the copy aside."""
        self.pickler.save(obj)
        self.pickler.write(pickle.POP)

    def reset(self, memo: dict[int, Any]) -> None:
        """Put an earlier memo back, in the pickler's own dict, and drop a frame left half-way."""
        self.pickler.memo.clear()
        self.pickler.memo.update(memo)
        # Or the first bytes of the next dump, which name the protocol, would go there.
        self.pickler.framer.current_frame = None

    def entry(self, obj_type: type) -> Any:
        """Savers come before reducers here, and dill has its own for refs and proxies."""
        found = entry_of(self._savers, obj_type)
        return super().entry(obj_type) if found is None else found

    def is_own(self, obj_type: type, entry: Any) -> bool:
        """All that there is a saver for."""
        return entry_of(self._savers, obj_type) is not None or super().is_own(obj_type, entry)

    def is_open(self, obj: Any, met: dict[int, Any]) -> bool:
        """The attributes are written before the memo has the class."""
        return id(obj) in met and id(obj) not in self.pickler.memo

    def reduction(self, obj: Any) -> Reduction | None:
        """None for all that there is a saver for."""
        if entry_of(self._savers, type(obj)) is not None:
            return None
        return super().reduction(obj)

    def check_reduction(self, obj: Any, reducer: Any, found: Any) -> None:
        """A Python pickler would name our override or table, where it names the giver at all."""
        good = isinstance(found, str) or (isinstance(found, tuple) and 2 <= len(found) <= 6)
        if good or not _names_givers():
            return
        giver = obj.__reduce_ex__ if reducer is None else reducer
        if not isinstance(found, tuple):
            raise pickle.PicklingError(f"{giver} must return string or tuple")
        raise pickle.PicklingError(f"Tuple returned by {giver} must have two to six elements")


def _names_givers() -> bool:
    """Whether a Python pickler's error names what gave a reduction that is none."""

    class Unreduced:
        def __reduce_ex__(self, protocol: object) -> Any:
            return None

    try:
        _PythonPickler(io.BytesIO()).dump(Unreduced())
    except pickle.PicklingError as error:
        text = str(error)
    return Unreduced.__name__ in text


def importable(obj: Any) -> bool:
    """Whether a module's attribute of that name is this very object."""
    if isinstance(obj, types.ModuleType):
        return sys.modules.get(obj.__name__) is obj
    if isinstance(obj, types.BuiltinFunctionType) and not isinstance(
        obj.__self__, (types.ModuleType, type(None))
    ):
        return False
    name: str = getattr(obj, "__qualname__", getattr(obj, "__name__", ""))
    if id(obj) in _NAMELESS:
        return True
    return _is_global(obj, name)


def _is_global(obj: Any, name: str) -> bool:
    try:
        module = pickle.whichmodule(obj, name)  # type: ignore[attr-defined]
        __import__(module)
        found: Any = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, KeyError, AttributeError, pickle.PicklingError):
        return False  # from 3.14 on `whichmodule` tells by a PicklingError that there is none
    return found is obj
