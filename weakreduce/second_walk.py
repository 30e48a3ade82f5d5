"""The second walk: exact. What is inside is known, so every fate is final.

Referents that are met weakly before they are met strongly are written as shells
(`encode.Standin`), snapshots are written after the root, and containers whose members hash by
value are filled last. So nothing depends on the order of edges, and nothing recurses along them.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from typing import Any

from weakreduce.decide import Decision, Fate
from weakreduce.encode import NOTHING, Call, Reduction, Standin, bound_method
from weakreduce.kinds import Edge
from weakreduce.known import Known
from weakreduce.walk import MISSING, NeedsItself, Walk


class SecondWalk(Walk):
    """Exact: what is inside is known, referents are written as shells where they are met weakly."""

    def __init__(self, known: Known, root: Any) -> None:
        super().__init__(known)
        self.root = root
        self.standins: dict[int, Standin] = {}
        self.unfinished: list[Any] = []
        self.fills: list[Call] = []
        #: Referents that a snapshot takes along, with an edge to each.
        self.snapshots: dict[int, Edge] = {}
        #: Entries of WeakKeyDictionaries that travel because their key is a snapshot.
        self.entries: list[Edge] = []
        #: Edges that dangle although nobody asked for that.
        self.lost: list[tuple[Edge, str]] = []

    def _make_plan(self, obj_type: type) -> Callable[[Any], Any] | None:
        return self._construct if obj_type is Standin else super()._make_plan(obj_type)

    def _construct(self, standin: Standin) -> Reduction:
        # The pickler asks once, unless the arguments lead back here before they are complete.
        if standin.started:
            raise NeedsItself(standin.obj)
        standin.started = True
        return standin.reduction

    def _make_override(self) -> Callable[[Any], Any]:
        ordinary = super()._make_override()
        met = self.met

        def reducer_override(obj: Any) -> Any:
            standin = self.standins.get(id(obj))
            if standin is not None:
                met[id(obj)] = len(met)
                return standin.finish()
            return ordinary(obj)

        return reducer_override

    def envelope(self) -> Call:
        """The root, followed in the payload by all that only weak things need."""
        return Call(operator.getitem, self.drained([self.root]), 0)

    def next_item(self) -> Any:
        while self.unfinished:
            referent = self.unfinished.pop()
            if id(referent) not in self.met:
                return referent
        return self.fills.pop() if self.fills else MISSING

    def holds(self, referent: Any) -> bool:
        return id(referent) in self.known.inside

    def settled(self) -> Any:
        return self.known.inside

    def not_inside(self, edge: Edge) -> Decision:
        decision = self.known.outside(edge.weak, edge.referent)
        if decision.fate is Fate.REFUSE:
            return self.refuse(edge, decision)
        if decision.fate is Fate.SNAPSHOT:
            if edge.value is not None:
                self.entries.append(edge)
            self.snapshots.setdefault(id(edge.referent), edge)
            if edge.function is not None and not self._holds(edge.function):
                self.snapshots.setdefault(id(edge.function), edge)
        elif not decision.asked:
            self.lost.append((edge, decision.reason))
        return decision

    def shell(self, referent: Any) -> Any:
        identity = id(referent)
        if identity in self.met:
            return referent
        standin = self.standins.get(identity)
        if standin is None:
            if self.known.named(referent):
                return referent
            reduction = self._parts_of(referent)
            if reduction is None:
                return referent
            standin = self.standins[identity] = Standin(referent, reduction)
            self.unfinished.append(referent)
        return standin

    def _parts_of(self, referent: Any) -> Reduction | None:
        if id(referent) in self.known.left_out:
            return NOTHING
        kind = self.kind(type(referent))
        if kind is not None:
            return None if kind.name == "finalize" else self.weak(kind, referent)
        plan = self.plan(type(referent))
        if plan == self._reduce_once:
            found = self.known.reduction(referent)
            return found if isinstance(found, tuple) else None
        return self.known.adapter.reduction(referent)

    def strong(self, obj: Any) -> Any:
        if isinstance(obj, types.MethodType):
            # Its instance may lead back to the weak thing: hand over the shell of that, too.
            return bound_method(obj.__func__, self.shell(obj.__func__), self.shell(obj.__self__))
        return self.shell(obj)

    def later(self, fill: Call) -> None:
        self.fills.append(fill)

    def position(self, referent: Any) -> float:
        return self.known.inside.get(id(referent), float("inf"))
