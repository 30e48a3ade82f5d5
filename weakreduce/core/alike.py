"""An order for members of a WeakSet that no strong walk has met, the same in every process.

By what the members hold: no address, no order of hashing, and no code of a user's class. A deeper
look is taken only at members that a shallower one does not tell apart, and what several members
share is looked at once. So this takes time in proportion to what is there, and hardly any memory.
Nothing here decides or encodes.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable
from typing import Any, Final

from weakreduce.model.classes import NAMEABLE, stock_getstate
from weakreduce.model.kinds import Edge, kind_of
from weakreduce.model.scarce import says_nothing

#: How many steps from a member are looked at.
_DEPTH: Final = 4
#: How many items of one container are looked at.
_WIDTH: Final = 100
#: A description that is longer is replaced by its digest.
_SHORT: Final = 64
#: Characters of a text that are encoded at a time.
_PIECE: Final = 1 << 16
#: Atoms by the builtin type behind them, whose own methods describe them.
_DESCRIBED_AS: Final = (bool, int, float, complex, type(None), type(...))
#: Builtin containers, and what their subclasses hold besides attributes.
_CONTAINERS: Final = dict.fromkeys((list, tuple, dict, set, frozenset))


class Alike:
    """Tells members apart; made for one look at one WeakSet."""

    def __init__(self) -> None:
        #: (id, depth) -> the description, and what it is of, which so keeps its id.
        self._found: dict[tuple[int, int], tuple[bytes, Any]] = {}

    def ordered(self, edges: list[Edge], depth: int = 0) -> list[Edge]:
        """Edges, sorted by what their referents hold up to `_DEPTH` steps away."""
        if len(edges) < 2 or depth > _DEPTH:
            return edges
        groups: dict[bytes, list[Edge]] = {}
        for edge in edges:
            groups.setdefault(self._described(edge.referent, depth), []).append(edge)
        return [edge for text in sorted(groups) for edge in self.ordered(groups[text], depth + 1)]

    def _described(self, obj: object, depth: int) -> bytes:
        key = (id(obj), depth)
        found = self._found.get(key)
        if found is None:
            try:
                text = b"\0".join(self._parts(obj, depth))
            except Exception as error:
                if says_nothing(error):
                    raise
                text = b""  # of a metaclass, or of a property __dict__
            found = self._found[key] = (text if len(text) <= _SHORT else _digest([text]), obj)
        return found[0]

    def _parts(self, obj: Any, depth: int) -> list[bytes]:
        # By the type: isinstance() asks a proxy's referent, which may be dead.
        cls = type(obj)
        module: Any = cls.__module__  # a property, where the class defines one
        name = f"{module if type(module) is str else ''}.{cls.__qualname__}"
        parts = [name.encode(errors="replace")]
        if issubclass(cls, NAMEABLE):
            own = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
            return [*parts, str(own).encode(errors="replace")]
        for base in _DESCRIBED_AS:
            if issubclass(cls, base):
                return [*parts, _number(obj, base)]
        if issubclass(cls, str):
            starts = range(0, str.__len__(obj), _PIECE)
            pieces = (str.__getitem__(obj, slice(i, i + _PIECE)) for i in starts)
            return [*parts, _digest(piece.encode(errors="surrogatepass") for piece in pieces)]
        if issubclass(cls, bytes):
            return [*parts, _digest([obj])]
        if depth == 0 or kind_of(cls) is not None:
            return parts
        for container in _CONTAINERS:
            if issubclass(cls, container):
                parts += self._items(obj, container, depth)
        state = stock_getstate(obj) if cls not in _CONTAINERS else None
        for part in state if type(state) is tuple else (state,):
            if part is not None:
                parts += self._items(part, dict, depth)
        return parts

    def _items(self, obj: Any, base: Any, depth: int) -> list[bytes]:
        length = base.__len__(obj)
        found = [str(length).encode()]
        if base in (set, frozenset):
            # Which come first depends on their hashes.
            items = list(base.__iter__(obj)) if length <= _WIDTH else []
            return found + sorted(self._described(item, depth - 1) for item in items)
        entries = dict.items(obj) if base is dict else base.__iter__(obj)
        for item in list(itertools.islice(entries, _WIDTH)):
            for part in item if base is dict else (item,):
                found.append(self._described(part, depth - 1))
        return found


def _number(obj: Any, base: Any) -> bytes:
    if base is int:
        size = (int.bit_length(obj) + 8) // 8
        return _digest([int.to_bytes(obj, size, "big", signed=True)])
    text: str = base.__repr__(obj)
    return text.encode()


def _digest(pieces: Iterable[bytes]) -> bytes:
    """What stands for a text."""
    # Imported by the first dump of members that nothing else puts in order.
    digest = importlib.import_module("hashlib").blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    found: bytes = digest.digest()
    return found
