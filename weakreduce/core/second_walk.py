"""The second walk: exact. What is inside is known, so every fate is final.

Referents that are met weakly before they are met strongly are written as shells
(`expressions.Standin`), snapshots are written after the root, and containers whose members hash by
value are filled last. So nothing depends on the order of edges, and nothing recurses along them.
"""

from __future__ import annotations

import functools
import itertools
import operator
import types
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from weakreduce.core import foremost
from weakreduce.core.adapter import Override
from weakreduce.core.construction import Construction
from weakreduce.core.dispatch import NO_SHORT_CUTS, Plan, ShortCut
from weakreduce.core.encode import container_shell
from weakreduce.core.expressions import (
    NOTHING,
    Call,
    Guarded,
    Reduction,
    Rest,
    Standin,
    bound_method,
)
from weakreduce.core.facts import Facts
from weakreduce.core.hashing import Attributes, is_apart
from weakreduce.core.held import MISSING
from weakreduce.core.incomplete import has_open_class
from weakreduce.core.reach import Reach
from weakreduce.core.walk import Lost, Walk, drained
from weakreduce.core.watches import Watch
from weakreduce.model.classes import (
    bases_of,
    is_leaf,
    leads_nowhere,
)
from weakreduce.model.decide import CIRCULAR, PINS, Decision, Fate
from weakreduce.model.kinds import Edge


class SecondWalk(Walk):
    """Exact: the reach is complete, referents are written as shells where they are met weakly."""

    def __init__(
        self,
        facts: Facts,
        reach: Reach,
        root: object,
        *,
        short_cuts: Mapping[type, ShortCut] = NO_SHORT_CUTS,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(
            facts,
            reach,
            met=dict.fromkeys(facts.written_before),
            short_cuts=short_cuts,
            watch=watch,
        )
        self.root = root
        self.construction = Construction(self)
        self.standins = self.construction.standins
        self.by_override = self.construction.put_names_off
        self.plans[Standin] = self.construction.of_standin
        self.plans[Guarded] = self.construction.of_guarded
        #: References on what hashes by value, and has a shell with some attributes alone so far.
        self._on_shells: foremost.OnShells = {}
        self._unfinished: list[Any] = []
        self._fills: list[Call] = []
        #: Referents that a snapshot takes along, with an edge to each.
        self.snapshots: dict[int, Edge] = {}
        #: What takes snapshots along, as plugs note it: refs, and containers with what they hold.
        self.taken_refs: list[Any] = []
        self.taken: list[tuple[Any, Sequence[Any], Sequence[Any]]] = []
        #: Whether the order in which what is inside is met was needed, and is not known.
        self.lacks_order = False
        #: Entries of WeakKeyDictionaries that travel because their key is a snapshot.
        self.entries: list[Edge] = []
        #: Referents that were met weakly first.
        self.promised: list[Any] = []
        #: Edges that dangle although nobody asked for that.
        self.lost: list[Lost] = []
        #: Weak things whose callback counted, though they turned out to dangle.
        self.circular: list[Any] = []

    def take_apart(self) -> None:
        vars(self.construction).clear()
        super().take_apart()

    def ordinary_plan(self, obj_type: type) -> Plan:
        if all(map(self.adapter.by_name, bases_of(obj_type))):
            return None
        return self.construction.of_own_class

    def plan_of_own_code(self, obj_type: type) -> Plan:
        of = self.facts.reductions.of_type(obj_type)
        return functools.partial(self.construction.shelled, reduction=of)

    def reduce_with_arguments(self, obj: object) -> Any:
        return self.construction.shelled(obj, self._in_steps)

    def _in_steps(self, obj: object) -> Any:
        return self.adapter.in_steps(self.adapter.reduction(obj))

    # --- the payload --------------------------------------------------------------------

    def _ordinary_override(self) -> Override:
        # As `dispatch.noting`, and with an eye on what has a stand-in already; in one function,
        # since it runs for every instance in the payload.
        met, plans, standins, make_plan = self.met, self.plans, self.standins, self.plan
        ref, rest, postponing = weakref.ref, Rest, self.facts.postponing
        finished, postpone = self.construction.finished, self.construction.postpone

        def reducer_override(obj: Any) -> Any:
            obj_type = type(obj)
            if obj_type is rest:
                return obj.fill()
            if obj_type is not ref:
                identity = id(obj)
                met[identity] = obj
                if obj_type in postponing:
                    return postpone(obj)
                if identity in standins:
                    return finished(standins.pop(identity))
            try:
                plan = plans[obj_type]
            except KeyError:
                plan = make_plan(obj_type)
            if plan is None:
                return NotImplemented
            return plan(obj)

        return reducer_override

    def envelope(self) -> Call:
        """The root, followed in the payload by all that only weak things need."""
        first: list[Any] = []
        if self.facts.foremost:
            first = foremost.items(
                self.facts, lambda obj: id(obj) in self.met or id(obj) in self.standins
            )
        return Call(operator.getitem, drained(self, [*first, self.root]), len(first))

    def made_on_shell(self, edge: Edge, early: Attributes) -> None:
        if issubclass(type(edge.weak), weakref.ref):
            self._on_shells.setdefault(id(edge.referent), (edge, early))

    def is_to_be_run_again(self) -> bool:
        """Whether it has found out what it should have known when it began."""
        if self.construction.postpones:
            return True
        if not self._on_shells:
            return False
        met = itertools.chain([self.root], self.met.values())
        return foremost.remember(self.facts, self._on_shells, met)

    def next_item(self) -> Any:
        while self._unfinished:
            referent = self._unfinished.pop()
            if id(referent) not in self.met:
                return referent
        return self._fills.pop() if self._fills else MISSING

    def later(self, fill: Call) -> None:
        self._fills.append(fill)

    # --- decisions ----------------------------------------------------------------------

    def hindrance(self, edge: Edge) -> Decision | None:
        return self.construction.hindrance(edge)

    def can_make(self, obj: object) -> bool:
        return self.construction.can_make(obj)

    def note(self, edge: Edge, decision: Decision) -> None:
        if edge.value is not None or edge.key is not None:
            self.construction.look_behind(edge)
        if decision.fate in PINS:
            if edge.value is not None:
                self.entries.append(edge)
            self.snapshots.setdefault(id(edge.referent), edge)
            if edge.function is not None and not (
                self.is_there(edge.function) or self.facts.stored_in(edge)
            ):
                self.snapshots.setdefault(id(edge.function), edge)
        elif not decision.asked and decision.fate is Fate.DANGLE:
            self.lost.append((edge, decision.reason))
            if decision is CIRCULAR and self.kept_callback(edge) is not None:
                self.circular.append(edge.weak)

    def snapshot_edges(self) -> list[Edge]:
        """An edge to each referent that a snapshot takes along."""
        for reference in self.taken_refs:
            referent = reference()  # which is None where others let it die: that can be pickled
            self.snapshots.setdefault(id(referent), Edge(reference, referent))
        for weak, referents, keys in self.taken:
            for referent, key in zip(referents, keys, strict=True):
                self.snapshots.setdefault(id(referent), Edge(weak, referent, key=key))
        return list(self.snapshots.values())

    # --- services for encoders ----------------------------------------------------------

    def shell(self, referent: object) -> Any:
        identity = id(referent)
        under_way = self.construction.under_way.get(identity)
        if under_way is not None:
            return referent if identity in self.construction.entered else under_way
        if identity in self.met:
            return referent
        standin = self.standins.get(identity)
        if standin is None:
            if self.facts.is_named(referent):
                return referent
            self.promised.append(referent)
            parts = self._parts_of_shell(referent)
            if parts is None:
                self._early[identity] = (referent, ({}, {}))  # which has all that it needs
                return referent
            standin = self.standins[identity] = Standin(referent, parts)
            self._unfinished.append(referent)
        if standin.is_made or self.plans.get(type(referent), MISSING) is None:
            return standin  # its class is importable, and nothing else is among its arguments
        closed = self.construction.is_closed_construction(standin.reduction)
        return standin if closed else Guarded(standin)

    def _parts_of_shell(self, referent: object) -> Reduction | None:
        """What a referent is made of, in steps; None where it is to be written whole.

        So it is where its state holds atoms alone, where a hash may need all of it, and where
        it is no tuple.
        """
        if id(referent) in self.facts.left_out:
            return NOTHING
        cls, known = type(referent), self.types[type(referent)]
        if id(referent) in self.facts.whole or (
            known.hashed_by_value and _comes_whole_for_its_hash(self, referent)
        ):
            return None
        if known.plain:
            if is_leaf(referent):
                return None
            if not known.overridden:
                found: Any = referent.__reduce_ex__(self.adapter.protocol)
                return found  # type: ignore[no-any-return]
        kind = known.kind
        if kind is not None:
            if kind.is_container:  # which may lead to itself: its entries come when it is met
                return container_shell(self, kind, cls)
            return None if kind.is_finalizer else self.weak(kind, referent)
        if issubclass(cls, type):
            return self.adapter.reduction(referent)
        found = self.adapter.in_steps(self.facts.reductions.reduced(referent))
        if type(found) is not tuple:
            return None
        whole = known.may_come_whole and is_leaf_reduction(found)
        return None if whole and self.construction.is_closed_construction(found) else found

    def strong(self, obj: object) -> Any:
        if type(obj) is types.MethodType:
            # Its instance may lead back to the weak thing: hand over the shell of that, too.
            return bound_method(obj.__func__, self.shell(obj.__func__), self.shell(obj.__self__))
        return self.shell(obj)

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        reach = self.reach
        if not reach.in_order and sum(bool(reach.holds(edge.referent)) for edge in edges) > 1:
            # No signal: what ends a pickler's dump may run code of the user's (`signals.py`).
            self.lacks_order = True
        return super().ordered(edges)


def _comes_whole_for_its_hash(walk: SecondWalk, referent: object) -> bool:
    """Whether a referent is to be written whole, since a hash may need all of it.

    A weak thing on it may be a key. Not where it may lead back: there a part has to do
    (`hashing.early_attributes`), as it does where strong references lead back.
    """
    return not has_open_class(walk.facts, walk.met, referent) and is_apart(walk.facts, referent)


def is_leaf_reduction(reduction: Reduction) -> bool:
    """`is_leaf`, of an object that code of its own reduces, given what that code gave."""
    if len(reduction) > 3 and any(part is not None for part in reduction[3:]):
        return False
    return len(reduction) < 3 or leads_nowhere(reduction[2])
