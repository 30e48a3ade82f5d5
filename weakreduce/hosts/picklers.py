"""How a session drives a pickler: one `Engine` for C picklers, one for Python ones.

Rule: nothing here knows a weak thing. What a class of picklers needs besides is in its
host's own file.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
import types
from typing import Any

from weakreduce.dump import Buffers, Sink, TooLarge
from weakreduce.encode import Reduction

#: What picklers write by opcodes of their own, before any hook for reductions.
_BUILTIN = (set, frozenset, list, tuple, dict, str, bytes, bytearray, int, float, bool)


class CheckedSink(Sink):
    """A sink with a limit (an ordinary one keeps the C-level ``write``)."""

    def write(self, data: Any, /) -> int:
        """Write, unless that passes the limit."""
        written = super().write(data)
        if self.limit is not None and self.tell() > self.limit:
            raise TooLarge
        return written


class PicklerEngine:
    """A pickler that reads ``reducer_override`` and ``dispatch_table``."""

    def __init__(self, pickler: Any, run: Any, protocol: int) -> None:
        self.pickler = pickler
        self._dump = run
        self._protocol = protocol
        self._override: Any = getattr(pickler, "reducer_override", None)
        self._table = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
        self.save_apart: Any = None

    @property
    def protocol(self) -> int:
        """The pickle protocol."""
        return self._protocol

    def run(self, obj: Any) -> None:
        """The host's own ``dump``."""
        self._dump(self.pickler, obj)

    def memo(self) -> dict[int, Any]:
        """A copy of the memo."""
        memo: dict[int, Any] = self.pickler.memo.copy()
        return memo

    def reset(self, memo: dict[int, Any]) -> None:
        """Put an earlier memo back."""
        self.pickler.memo = memo

    def has_reducer(self, obj_type: type) -> bool:
        """Whether a dispatch table has an entry for the type."""
        return self._table.get(obj_type) is not None

    def stock_override(self, obj: Any) -> Any:
        """The pickler's own ``reducer_override``."""
        return self._override(obj)

    def wants_override(self, obj_type: type) -> bool:
        """A pickler that defines the hook is asked for everything."""
        return self._override is not None

    def by_name(self, obj: Any) -> bool:
        """Stock pickle writes classes, functions and builtins as names, or fails."""
        return importable(obj)

    def reduction(self, obj: Any) -> Reduction | None:
        """The reduction that the pickler would use."""
        if type(obj) in _BUILTIN:
            return None
        if self._override is not None:
            found = self._override(obj)
            if found is not NotImplemented:
                return found if isinstance(found, tuple) else None
        if isinstance(obj, (type, types.FunctionType)):
            return None
        reducer = self._table.get(type(obj))
        found = obj.__reduce_ex__(self._protocol) if reducer is None else reducer(obj)
        return found if isinstance(found, tuple) else None

    def sibling_dump(self, obj: Any, sink: Sink) -> None:
        """Dump with a pickler of the nearest host's own class."""
        cls = next(c for c in type(self.pickler).__mro__ if "dump" in vars(c))
        cls(checked_sink(sink), self._protocol).dump(obj)


def checked_sink(sink: Sink) -> CheckedSink:
    checked = CheckedSink()
    checked.limit = sink.limit
    return checked


def importable(obj: Any) -> bool:
    """Whether a module's attribute of that name is this very object."""
    if isinstance(obj, types.ModuleType):
        return sys.modules.get(obj.__name__) is obj
    if isinstance(obj, types.BuiltinFunctionType) and not isinstance(
        obj.__self__, (types.ModuleType, type(None))
    ):
        return False
    name: str = getattr(obj, "__qualname__", getattr(obj, "__name__", ""))
    if obj in (type(None), type(...), type(NotImplemented)):
        return True
    try:
        module = pickle.whichmodule(obj, name)  # type: ignore[attr-defined]
        __import__(module)
        found: Any = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, KeyError, AttributeError):
        return False
    return found is obj


def make_sink(file: Any) -> Sink:
    """The sink for a pickler: with a limit where the user's file is a limited sink."""
    limit = getattr(file, "limit", None)
    if isinstance(file, Sink) and limit is not None:
        return checked_sink(file)
    return Sink()


__all__ = ["Buffers", "CheckedSink", "PicklerEngine", "Sink", "importable", "make_sink"]
