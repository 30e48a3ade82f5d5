"""Plug: small roots of numbers and text, for which a dump needs no session.

A pickler writes them by opcodes alone: it asks no override, no table, and no code of anybody's.
Called by `session.run` alone; without it, all is right, and the bytes are the same
(`tests/core/test_plugs.py`). A small list takes half of the time so.
"""

from __future__ import annotations

from typing import Any, Final

#: By id: a metaclass may have a hash of its own.
_BY_OPCODE: Final = frozenset(map(id, (int, float, str, bytes, bool, type(None))))
#: Items that are looked at in one container.
_ITEMS: Final = 64


def is_of_opcodes(obj: Any, depth: int = 5) -> bool:
    """Whether a pickler writes an object by opcodes alone: of a small thing, and whole.

    Numbers, text, and small lists, tuples and dicts of those. A False says nothing.
    """
    cls = type(obj)
    if id(cls) in _BY_OPCODE:
        return True
    if depth == 0 or (cls is not list and cls is not tuple and cls is not dict):
        return False
    if len(obj) > _ITEMS:
        return False
    if cls is dict:
        entries = obj.copy()  # in one step: other threads may write to it
        obj = (*entries, *entries.values())
    for item in obj:
        if id(type(item)) not in _BY_OPCODE and not is_of_opcodes(item, depth - 1):
            return False
    return True
