"""cloudpickle, and the whole copies of it that other projects carry.

What we rely on, pinned by the tests: ``Pickler`` is a subclass of the C pickler with the class
attributes ``dispatch_table`` (a ChainMap of ``_dispatch_table`` and copyreg's) and
``reducer_override``, which cares for classes and functions only; ``_should_pickle_by_reference``.
"""

from __future__ import annotations

import copyreg
import sys
import types
from typing import Any

from weakreduce.hosts.patch import PicklerPatch
from weakreduce.hosts.picklers import PicklerEngine, importable


def make_patch(module: Any, cls: Any = None) -> PicklerPatch:
    """The patch of the Pickler of a copy of cloudpickle, given its innermost module."""
    stock_class = module.Pickler
    stock_table = stock_class.dispatch_table
    stock_override = stock_class.reducer_override
    namespace = vars(module)

    def _function_plan(override: Any) -> Any:
        """Short cut: cloudpickle would find out, slowly, that its own functions have names."""

        def reduce_function(function: Any) -> Any:
            if (
                function.__globals__ is namespace
                and namespace.get(function.__qualname__) is function
                and not namespace.get("_PICKLE_BY_VALUE_MODULES")
            ):
                return NotImplemented
            return override(function)

        return reduce_function

    class Engine(PicklerEngine):
        host_module = module.__name__

        def __init__(self, pickler: Any, stock: Any, override: Any = None) -> None:
            super().__init__(pickler, stock, override, pickler.proto)
            self._plain_override = (
                override is None and type(pickler).reducer_override is stock_override
            )

        @classmethod
        def plans(cls, pickler: Any) -> dict[type, Any]:
            """Classes and functions are cloudpickle's own concern, and nothing else is."""
            found = super().plans(pickler)
            found[type] = override = pickler.reducer_override
            found[types.FunctionType] = _function_plan(override)
            return found

        @classmethod
        def asks_for_all(cls, pickler: Any) -> bool:
            """Not where the override is cloudpickle's."""
            return type(
                pickler
            ).reducer_override is not stock_override or "reducer_override" in vars(pickler)

        def wants_override(self, obj_type: type) -> bool:
            """Cloudpickle's own hook cares for classes and functions alone."""
            return not self._plain_override or issubclass(obj_type, (type, types.FunctionType))

        def by_name(self, obj: Any) -> bool:
            """As cloudpickle decides."""
            if isinstance(obj, (types.ModuleType, types.FunctionType, type)):
                return bool(module._should_pickle_by_reference(obj)) or (
                    isinstance(obj, type) and importable(obj) and obj.__module__ == "builtins"
                )
            return importable(obj)

    def before_init(pickler: Any, *_arguments: Any, **_keywords: Any) -> None:
        # The C pickler looks its table up once, now, and finds an entry in a plain dict
        # several times faster than in a ChainMap. Subclasses with tables of their own keep them.
        if type(pickler).dispatch_table is stock_table and "dispatch_table" not in vars(pickler):
            pickler.dispatch_table = {**copyreg.dispatch_table, **stock_class._dispatch_table}

    return PicklerPatch(cls or stock_class, Engine, before_init)


def own_class() -> Any:
    """A Pickler class that is always ours, for `weakreduce.dumps`, installed or not."""
    import cloudpickle

    module = sys.modules[cloudpickle.Pickler.__module__]

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
        """cloudpickle's Pickler, with weak references."""

    make_patch(module, Pickler).apply()
    return Pickler
