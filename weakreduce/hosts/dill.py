"""dill, and through it multiprocess and pathos.

What we rely on, pinned by the tests: ``dill.Pickler`` is a subclass of the pure-Python pickler,
which asks ``reducer_override`` before ``dispatch``; classes and functions are written by savers
in ``dispatch``, not by reductions; ``_locate_function`` decides what is written as a name.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from weakreduce.hosts.patch import PicklerPatch
from weakreduce.hosts.picklers import PythonAdapter, importable


class Adapter(PythonAdapter):
    """Drives dill's Pickler (`module` is ``dill._dill``)."""

    def __init__(
        self, module: types.ModuleType, pickler: Any, stock: Callable[[Any, Any], None], used: bool
    ) -> None:
        super().__init__(pickler, stock, used)
        self.module = module
        self.host_module = module.__name__

    def reset(self, memo: dict[int, Any]) -> None:
        """Put an earlier memo back, and drop what a failed dump was about to write."""
        super().reset(memo)
        self.pickler._postproc.clear()

    def by_name(self, obj: Any) -> bool:
        """As dill decides."""
        return written_as_name(self.module, self.pickler, obj)

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


def make_patch(module: types.ModuleType, cls: Any = None) -> PicklerPatch:
    """The patch of dill's Pickler (`module` is ``dill._dill``)."""
    make_adapter = functools.partial(Adapter, module)
    return PicklerPatch(cls or vars(module)["Pickler"], make_adapter, ("file", "protocol"))


def own_class() -> Any:
    """A Pickler class that is always ours, for `weakreduce.dumps`, installed or not."""
    import dill

    # dill asks a pickler's class for its module and name, so a subclass of ours behaves as
    # one of dill's children; it takes them for its own where they say they are.
    cls: Any = type("Pickler", (dill.Pickler,), {"__module__": dill.Pickler.__module__})
    make_patch(dill._dill, cls).apply()
    return cls
