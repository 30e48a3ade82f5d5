"""The standard library's pickle: a Pickler of ours, and, where asked for, ``pickle.dumps``.

``pickle.Pickler`` itself is a C type that cannot be patched, and stays as it is.
"""

from __future__ import annotations

import io
import pickle
import types
from typing import Any

from weakreduce.hosts.patch import ARGUMENTS, AttributePatch, PicklerPatch
from weakreduce.hosts.picklers import PicklerEngine
from weakreduce.kinds import has_registered


def keep_protocol(
    pickler: Any, _file: Any, protocol: int | None = None, *_arguments: Any, **_keywords: Any
) -> None:
    """Note the protocol of a C pickler, which does not tell."""
    chosen = pickle.DEFAULT_PROTOCOL if protocol is None else protocol
    pickler.proto = pickle.HIGHEST_PROTOCOL if chosen < 0 else chosen


class Pickler(pickle.Pickler):
    """The C pickler, with weak references."""

    def __init__(
        self,
        file: Any,
        protocol: int | None = None,
        *,
        fix_imports: bool = True,
        buffer_callback: Any = None,
    ) -> None:
        super().__init__(file, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback)
        keep_protocol(self, file, protocol)

    def dump(self, obj: Any) -> None:
        """Write the payload of `obj`."""
        super().dump(obj)


class Engine(PicklerEngine):
    """Drives `Pickler`."""

    def __init__(self, pickler: Any, stock: Any, override: Any = None) -> None:
        super().__init__(pickler, stock, override, pickler.proto)

    @classmethod
    def plans(cls, pickler: Any, override: Any) -> dict[type, Any]:
        """Classes and functions are names, whatever the tables have; short for `is_ordinary`."""
        if has_registered() or cls.asks_for_all(override):
            return {}
        return {type: None, types.FunctionType: None}

    def by_name(self, obj: Any) -> bool:
        """Stock pickle writes classes, functions and builtins as names, but no modules."""
        return not isinstance(obj, types.ModuleType) and super().by_name(obj)


PicklerPatch(Pickler, Engine, ARGUMENTS).apply()


def dumps(
    obj: Any, protocol: int | None = None, *, fix_imports: bool = True, buffer_callback: Any = None
) -> bytes:
    """``pickle.dumps`` with weak references."""
    file = io.BytesIO()
    Pickler(file, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback).dump(obj)
    return file.getvalue()


def dump(
    obj: Any,
    file: Any,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: Any = None,
) -> None:
    """``pickle.dump`` with weak references."""
    Pickler(file, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback).dump(obj)


def make_patch(module: Any) -> AttributePatch:
    """The patch of ``pickle`` itself: its ``dumps`` and ``dump``."""
    return AttributePatch(
        (module, "dumps", lambda stock: dumps), (module, "dump", lambda stock: dump)
    )
