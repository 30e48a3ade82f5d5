"""What is found in a pickle, counted: its weak edges, and what a receiver needs.

Rule: what anything means is not known here (`meaning` finds the facts), nor how they are shown
(`payload`).
"""

from __future__ import annotations

from collections import Counter
from typing import Final, TypeVar

#: How many different names, modules and codes are remembered, and pickles inside a pickle.
MOST: Final = 1000
_T = TypeVar("_T")


class Facts:
    """What is found in a pickle, and in those inside it.

    Attributes:
        protocol: the protocol that it says it is of; 0 for 0 and 1.
        edges: kind -> state -> number of weak edges. An empty container is a state of its own.
        modules: full names of the modules that a receiver imports.
        names: the names under which a receiver has to share objects.
        buffers: how many out-of-band buffers a receiver has to be given.
        persistent: how many objects a receiver's ``persistent_load`` is asked for.
        extensions: codes of `copyreg`'s extension registry.
        inside: how many pickles are in it, as bytes.
        partial: whether it has more than the reader keeps.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Nothing is found yet."""
        self.protocol = 0
        self.edges: dict[str, Counter[str]] = {}
        self.modules: set[str] = set()
        self.names: set[str] = set()
        self.buffers = 0
        self.persistent = 0
        self.extensions: set[int] = set()
        self.inside = 0
        self.partial = False

    @property
    def is_known(self) -> bool:
        """Whether anything is found, beside the protocol."""
        return bool(self.modules or self.edges or self.partial or self.persistent
                    or self.buffers or self.extensions)  # fmt: skip

    def count(self, kind: str, state: str, number: int = 1) -> None:
        """Count weak edges."""
        counts = self.edges.get(kind)
        if counts is None:
            counts = self.edges[kind] = Counter()
        counts[state] += number

    def remember(self, known: set[_T], item: _T) -> None:
        """Put an item into one of the sets, while there is room."""
        if len(known) < MOST:
            known.add(item)
        elif item not in known:
            self.partial = True

    def add(self, other: Facts) -> None:
        """Add those of another pickle."""
        for kind, counts in other.edges.items():
            for state, number in counts.items():
                self.count(kind, state, number)
        for name in ("modules", "names", "extensions"):
            for item in getattr(other, name):
                self.remember(getattr(self, name), item)
        for name in ("buffers", "persistent", "inside"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.partial = self.partial or other.partial
