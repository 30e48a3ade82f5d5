"""What an encoder may ask of the walk that it writes for."""

from __future__ import annotations

from typing import Any, Protocol

from weakreduce.core.expressions import Call
from weakreduce.core.type_facts import Types
from weakreduce.model.decide import Decision
from weakreduce.model.kinds import Edge


class Writer(Protocol):
    """A walk, as encoders know it."""

    #: Whether a second walk is certain, so that what this one writes means nothing.
    again: bool
    #: What is known of the types of objects.
    types: Types

    def decide(self, edge: Edge) -> Decision:
        """The fate of an edge."""

    def target(self, edge: Edge) -> Any:
        """What to write for the referent of an edge that travels."""

    def function(self, edge: Edge) -> Any:
        """What to write for the function of a WeakMethod."""

    def stored_in(self, edge: Edge) -> tuple[type, str] | None:
        """Where the receiver has the function of a WeakMethod from; None: it is written."""

    def at_home(self, obj: object, copy: object) -> tuple[Any, Any]:
        """Of what goes home, given the expression of its copy: what it is, and `_target`'s pin."""

    def holding(self, function: object, callback: object) -> Any:
        """What a WeakMethod calls, and holds its function by, where that is made on the way."""

    def callback(self, edge: Edge) -> Any:
        """What to write for the callback of an edge that travels, or None."""

    def readying(self, function: object) -> Any:
        """`function`; in the payload's first weak thing, one that readies the receiver too."""

    def later(self, fill: Call) -> None:
        """Write `fill` when every object of the payload is complete."""

    def can_make(self, obj: object) -> bool:
        """Whether the receiver can make an object, and hash it, when it comes to this place."""

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        """The entries of a WeakSet in an order that every process agrees on."""
