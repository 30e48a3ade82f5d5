"""`Bound`: an object that is pickled already. Who makes one, and when, is not decided here."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Final, final


@final
class Bound:
    """An object that is pickled already; every pickler writes it as those bytes.

    On the receiver it opens as the object itself. Here, calling it calls a copy of the object,
    so that engines which insist on a callable take it.

    Args:
        data: the payload.
        description: what it holds, for `repr`.
        opener: the function that opens it, importable wherever the payload is.
        share: kept for as long as this lives.
    """

    __slots__ = ("__weakref__", "data", "description", "opener", "share")

    def __init__(
        self,
        data: bytes,
        description: str,
        opener: Callable[[bytes], Any] = pickle.loads,
        share: object = None,
    ) -> None:
        self.data = data
        self.description = description
        self.opener = opener
        self.share = share

    def __call__(self, *args: object, **keywords: object) -> Any:
        """Call the object that was bound, a copy of it as the receiver would have."""
        return self.opener(self.data)(*args, **keywords)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.opener, (self.data,)

    def __repr__(self) -> str:
        return f"<weakreduce.bind of {self.description}, {len(self.data)} bytes>"


#: Types whose instances are written as the bytes that they have as `data`, a dump's of its own.
PACKED: Final[set[type[Any]]] = {Bound}
