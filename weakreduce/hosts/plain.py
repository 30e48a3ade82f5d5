"""A short look at an object that may tell that there is no weak thing in it.

Where it does, engines are left alone, and their messages to their own pickler. Nothing here
pickles, and a False says nothing.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from typing import Any, Final

from weakreduce.model.classes import LEAF_ATOMS

_ATOMS: Final = LEAF_ATOMS | {bytearray, type(...), range}
_NAMED: Final = frozenset({types.FunctionType, types.BuiltinFunctionType, type})
_ITEMS: Final = 64


def plain(obj: Any, names: bool = False, depth: int = 5) -> bool:
    """Whether an object certainly holds no weak thing, from a short look at it.

    Atoms, functions and classes that are written as names, arrays of numbers, and small
    containers of those. A False says nothing.

    Args:
        obj: the object.
        names: whether the engine's pickler writes every function and class as a name.
        depth: how deep to look.
    """
    cls = type(obj)
    if cls in _ATOMS:
        return True
    if cls is tuple or cls is list:
        return depth > 0 and len(obj) <= _ITEMS and all_plain(obj, names, depth - 1)
    if cls is dict:
        return (
            depth > 0
            and len(obj) <= _ITEMS
            and all_plain(list(obj), names, 0)  # keys
            and all_plain(list(obj.values()), names, depth - 1)
        )
    if cls in _NAMED:
        return (names and cls is not types.BuiltinFunctionType) or _written_as_a_name(obj)
    parts = getattr(cls, "_weakreduce_parts", None)
    if parts is not None:
        # An engine's own wrapper of tasks.
        return plain(parts(obj), names)
    # Asked for by name: numpy is not imported for this.
    return cls.__module__ == "numpy" and cls.__name__ == "ndarray" and not obj.dtype.hasobject


def all_plain(items: Iterable[object], names: bool, depth: int = 5) -> bool:
    """`plain` of each item."""
    for item in items:  # noqa: SIM110 - a generator would take twice the time
        if type(item) not in _ATOMS and not plain(item, names, depth):
            return False
    return True


def _written_as_a_name(obj: Any) -> bool:
    name = obj.__module__
    if name == "__main__" or getattr(sys.modules.get(name), obj.__name__, None) is not obj:
        return False
    # Functions of these modules travel by value.
    cloudpickle: Any = sys.modules.get("cloudpickle.cloudpickle")
    return cloudpickle is None or not cloudpickle._PICKLE_BY_VALUE_MODULES
