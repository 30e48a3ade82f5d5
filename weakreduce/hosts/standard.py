"""The standard library's pickle: a Pickler of ours, and, where asked for, ``pickle.dumps``.

``pickle.Pickler`` itself is a C type that cannot be patched, and stays as it is.
"""

from __future__ import annotations

import io
import pickle
import types
from typing import Any

from weakreduce.hosts.patch import PicklerPatch
from weakreduce.hosts.picklers import PicklerEngine


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
        chosen = pickle.DEFAULT_PROTOCOL if protocol is None else protocol
        self.proto = pickle.HIGHEST_PROTOCOL if chosen < 0 else chosen

    def dump(self, obj: Any) -> None:
        """Write the payload of `obj`."""
        super().dump(obj)


class Engine(PicklerEngine):
    """Drives `Pickler`."""

    def __init__(self, pickler: Any, run: Any) -> None:
        super().__init__(pickler, run, pickler.proto)

    def by_name(self, obj: Any) -> bool:
        """Stock pickle writes classes, functions and builtins as names, but no modules."""
        return not isinstance(obj, types.ModuleType) and super().by_name(obj)


PicklerPatch(Pickler, Engine).apply()


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


class FunctionPatch:
    """``pickle.dumps`` and ``pickle.dump``, replaced and put back."""

    def __init__(self) -> None:
        self.replaced: dict[str, Any] = {}

    def apply(self) -> None:
        """Put ours in place."""
        if not self.replaced:
            self.replaced = {"dumps": pickle.dumps, "dump": pickle.dump}
            pickle.dumps = dumps
            pickle.dump = dump

    def remove(self) -> None:
        """Put back what was there, unless somebody has replaced it since."""
        for name, ours in (("dumps", dumps), ("dump", dump)):
            if name in self.replaced and getattr(pickle, name) is ours:
                setattr(pickle, name, self.replaced[name])
        self.replaced.clear()

    @property
    def applied(self) -> bool:
        """Whether ours is in place."""
        return bool(self.replaced)
