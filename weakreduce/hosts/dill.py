"""dill, and through it multiprocess and pathos.

What we rely on, pinned by the tests: ``dill.Pickler`` is a subclass of the pure-Python pickler,
which asks ``reducer_override`` before ``dispatch``; classes and functions are written by savers
in ``dispatch``, not by reductions; ``_locate_function`` decides what is written as a name.
"""

from __future__ import annotations

import pickle
import types
from typing import TYPE_CHECKING, Any

from weakreduce.hosts.patch import PicklerPatch
from weakreduce.hosts.picklers import PicklerEngine, importable

if TYPE_CHECKING:
    from weakreduce.encode import Reduction


def make_patch(module: Any, cls: Any = None) -> PicklerPatch:
    """The patch of dill's Pickler (`module` is ``dill._dill``)."""

    class Engine(PicklerEngine):
        host_module = module.__name__

        def __init__(self, pickler: Any, run: Any) -> None:
            super().__init__(pickler, run, pickler.proto)

            def save_apart(obj: Any) -> None:
                pickler.save(obj)
                pickler.write(pickle.POP)

            self.save_apart = save_apart

        def reset(self, memo: dict[int, Any]) -> None:
            """Put an earlier memo back, and drop what a failed dump was about to write."""
            self.pickler.memo.clear()
            self.pickler.memo.update(memo)
            self.pickler._postproc.clear()

        def claims(self, weak_type: type) -> bool:
            """Savers come before reducers here, and dill has its own for refs and proxies."""
            found = self.pickler.dispatch.get(weak_type)
            if found is None:
                return super().claims(weak_type)
            return bool(getattr(found, "__module__", "") != self.host_module)

        def has_reducer(self, obj_type: type) -> bool:
            """Savers come before reducers here."""
            return self.pickler.dispatch.get(obj_type) is not None or super().has_reducer(obj_type)

        def table_reducer(self, obj_type: type) -> Any:
            """Savers come before reducers here."""
            if self.pickler.dispatch.get(obj_type) is not None:
                return None
            return super().table_reducer(obj_type)

        def by_name(self, obj: Any) -> bool:
            """As dill decides."""
            if isinstance(obj, types.ModuleType):
                return importable(obj)
            if isinstance(obj, type):
                return (
                    obj in module._typemap
                    or obj.__module__ == "builtins"
                    or bool(module._locate_function(obj, self.pickler))
                )
            if isinstance(obj, types.FunctionType):
                return bool(module._locate_function(obj, self.pickler))
            return importable(obj)

        def reduction(self, obj: Any) -> Reduction | None:
            """None for all that dill has a saver for."""
            if self.pickler.dispatch.get(type(obj)) is not None:
                return None
            return super().reduction(obj)

        def sibling_dump(self, obj: Any, file: Any) -> None:
            """Dump with dill's Pickler and the same settings."""
            pickler = self.pickler
            module.Pickler(
                file,
                self.protocol,
                byref=pickler._byref,
                fmode=pickler._fmode,
                recurse=pickler._recurse,
            ).dump(obj)

    return PicklerPatch(cls or module.Pickler, Engine)


def own_class() -> Any:
    """A Pickler class that is always ours, for `weakreduce.dumps`, installed or not."""
    import dill

    # dill asks a pickler's class for its module and name, so a subclass of ours behaves as
    # one of dill's children; it takes them for its own where they say they are.
    cls: Any = type("Pickler", (dill.Pickler,), {"__module__": dill.Pickler.__module__})
    make_patch(dill._dill, cls).apply()
    return cls
