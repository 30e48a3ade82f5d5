"""The first walk: optimistic, and right at once wherever only the end could have told more.

A weak edge whose referent was met before is a link; any other is written as if it dangled, and
remembered. If at the end none of those is inside, and the policy lets all of them dangle, the bytes
are right as they are. Otherwise the reach is complete by then, and the second walk writes them from
anew. As soon as that is certain, this walk only explores: it notes what is held strongly, and what
it writes means nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from weakreduce.core.adapter import Override
from weakreduce.core.dispatch import NO_SHORT_CUTS, Plan, ShortCut
from weakreduce.core.expressions import PLACEHOLDER, Call, Reduction, Stream
from weakreduce.core.facts import Facts
from weakreduce.core.held import MISSING, listed
from weakreduce.core.incomplete import (
    can_construct,
    cannot_be_called_yet,
    has_open_class,
    lacks_hash,
)
from weakreduce.core.reach import Reach
from weakreduce.core.walk import Lost, Walk, drained
from weakreduce.core.watches import Watch
from weakreduce.model.decide import OPEN, PINS, WAITS, Decision, Fate, outside
from weakreduce.model.kinds import Edge, Kind, callback_of, copied
from weakreduce.model.signals import Signal

#: What a C pickler asks no override about.
SETS: Final = frozenset({set, frozenset})

#: Finds what is inside in a faster way; None where it cannot.
LookAhead = Callable[[], "tuple[dict[int, Any], list[Any]] | None"]


class LookedAhead(Signal):
    """Ends a first walk: what is inside is known. A signal, which all code on the way lets pass."""


class FirstWalk(Walk):
    """Lets the reach grow; right at once where no weak edge needed what only the end can tell."""

    def __init__(
        self,
        facts: Facts,
        reach: Reach,
        *,
        plans: dict[type, Plan] | None = None,
        short_cuts: Mapping[type, ShortCut] = NO_SHORT_CUTS,
        look_ahead: LookAhead | None = None,
        watch: Watch | None = None,
        met: dict[int, Any] | None = None,
    ) -> None:
        super().__init__(
            facts,
            reach,
            met=reach.met if met is None else met,
            plans=plans,
            short_cuts=short_cuts,
            watch=watch,
        )
        #: Edges whose referent was not known to be inside when they were met.
        self.pending: list[Edge] = []
        #: Strong edges of weak things, to be walked before all that is inside is known.
        self.queue: list[Any] = []
        #: id(referent) -> strong edges that count once the referent is inside (ephemerons).
        self.waiting: dict[int, list[Any]] = {}
        #: By id, objects whose reduction by their own code was asked for.
        self.constructed: dict[int, Any] = {}
        self._look_ahead = look_ahead
        #: Whether something was met in the arguments of its own construction.
        self.recurs = False

    # --- decisions ------------------------------------------------------------------

    def hindrance(self, edge: Edge) -> Decision | None:
        referent = edge.referent
        if self.reach.holds(referent) and not (
            self.can_make(referent)
            and not cannot_be_called_yet(self.facts, self.met, edge.weak, referent)
        ):
            return WAITS
        return None

    def can_make(self, obj: object) -> bool:
        # Where its class has a method that puts the state in, that has to be there.
        facts, met = self.facts, self.met
        return can_construct(facts, met, obj) and not (
            has_open_class(facts, met, obj)
            and (self.types[type(obj)].has_setstate or lacks_hash(facts, met, obj))
        )

    def note(self, edge: Edge, decision: Decision) -> None:
        if decision is OPEN:
            self._leave_open(edge)
        elif decision is WAITS or not decision.asked:
            self.again = True  # the second walk knows what to do
            if decision is WAITS:  # its referent is inside, so all that hangs on that counts
                self.queue += [part for part in (edge.key, edge.value) if part is not None]
                self.callback(edge)

    def _leave_open(self, edge: Edge) -> None:
        """Remember an edge, and what of it counts if its referent turns out to be inside."""
        self.pending.append(edge)
        pins = outside(edge, self.facts, self.hindrance).fate in PINS
        unconditional: list[Any] = []
        conditional: list[Any] = []
        callback = self.kept_callback(edge)
        if callback is not None:
            if pins:
                self.facts.callbacks[id(callback)] = callback
            (unconditional if pins else conditional).append(callback)
        if edge.key is not None:
            (unconditional if pins else conditional).append(edge.key)
        if edge.value is not None:
            conditional.append(edge.value)
        self.queue += unconditional
        if conditional:
            self.waiting.setdefault(id(edge.referent), []).extend(conditional)
        if unconditional or pins:
            self.again = True

    def may_be_here(self, edge: Edge) -> bool:
        """Whether an edge that stayed open may be a link, now that the reach is complete."""
        # Of a WeakMethod it may be the function that was not met yet.
        named = edge.function is not None and self.facts.is_named(edge.referent)
        return named or bool(self.reach.holds(edge.referent))

    def decided_outside(self) -> list[Lost]:
        """All that stayed open is outside, and dangles, as it was written; what is lost of it."""
        decided = [(edge, outside(edge, self.facts, self.hindrance)) for edge in self.pending]
        for edge, decision in decided:
            if decision.fate is Fate.REFUSE:
                self.refuse(edge, decision)
        if self.watch is not None:
            for edge, decision in decided:
                self.watch.see(edge, decision)
        return [(edge, decision.reason) for edge, decision in decided if not decision.asked]

    # --- reductions -----------------------------------------------------------------

    def weak(self, kind: Kind, weak: object) -> Reduction:
        self.again |= self.recurs
        if self.again and _holds_nothing(kind, weak):
            return PLACEHOLDER
        found = super().weak(kind, weak)
        if self.again:
            self.explore()
        return PLACEHOLDER if self.ended else found

    def explore(self) -> None:
        """Given that a second walk is certain, find out what is inside in a faster way, once.

        Raises:
            LookedAhead: where that could be done, and this walk is of no more use, unless it
                has ended without that.
        """
        look_ahead, self._look_ahead = self._look_ahead, None
        found = None if look_ahead is None else look_ahead()
        if found is not None:
            met, by_value = found
            self.reach.extend(met, complete=not by_value)
            self.queue += by_value
            if not self.end():  # pragma: no branch - from Python 3.14 on it may end quietly
                raise LookedAhead

    def plan_of_own_code(self, obj_type: type) -> Plan:
        constructed, of = self.constructed, self.facts.reductions.of_type(obj_type)

        def reduce_once(obj: object) -> Any:
            if id(obj) not in constructed:
                constructed[id(obj)] = obj
                return of(obj)
            leads_back = self._leads_back(obj)
            found = of(obj)
            return self._without_state(found) if leads_back else found

        return reduce_once

    def reduce_with_arguments(self, obj: object) -> Any:
        leads_back = self._leads_back(obj)
        found = self.adapter.reduction(obj)
        if leads_back:
            return self._without_state(found)
        # None where the pickler has a way of its own: one of dill's savers, say.
        return NotImplemented if found is None else found

    def _without_state(self, found: Any) -> Reduction:
        """What leads back is written elsewhere. A C pickler then has it, and writes no state."""
        if type(found) is tuple:
            self.queue += [part for part in listed(found[2:]) if part is not None]
        return PLACEHOLDER

    def _leads_back(self, obj: object) -> bool:
        """Whether an object is met in the arguments of its own construction.

        Where nothing weak was met stock asks it again, and so do we: what is alike but not the
        same is written in full. Else the second walk writes it, and this one goes no deeper.
        """
        if id(obj) in self.constructed:
            if self.met_weak:
                self.again = True
                return True
            self.facts.reductions.found.pop(id(obj), None)
            # A weak thing among its arguments can wait no less than if it were met before that.
            self.recurs, self.short_cuts = True, NO_SHORT_CUTS
        self.constructed[id(obj)] = obj
        return False

    def strong(self, obj: object) -> Any:
        # A callback may lead back to its own weak thing, which is not there yet.
        self.again = True
        self.queue.append(obj)

    def later(self, fill: Call) -> None:
        self.again = True
        self.queue.append(fill)  # for what it holds

    # --- what is strong by way of weak things -----------------------------------------

    def override_of_rest(self) -> Override:
        """As `override`; an ephemeron's other half counts as soon as its referent is met."""
        ordinary, waiting, queue = self.override(), self.waiting, self.queue

        def reducer_override(obj: object) -> Any:
            found = waiting.pop(id(obj), None)
            if found is not None:
                queue.extend(found)
            return ordinary(obj)

        return reducer_override

    def rest(self) -> Stream:
        """What is strong beyond the root's own graph, until nothing more is inside."""
        self._look_ahead = None  # the root is written
        self._scan()
        return drained(self, [])

    def learn_sets(self) -> None:
        """Builtin sets pass the override by; the pickler's memo knows them."""
        if any(type(edge.referent) in SETS for edge in self.pending):
            for identity, (_, obj) in self.adapter.memo().items():
                self.met.setdefault(identity, obj)

    def next_item(self) -> Any:
        if not self.queue and self.waiting:
            self.learn_sets()
            self._scan()
        return self.queue.pop() if self.queue else MISSING

    def _scan(self) -> None:
        for identity in [identity for identity in self.waiting if identity in self.met]:
            self.queue += self.waiting.pop(identity)


def _holds_nothing(kind: Kind, weak: object) -> bool:
    """Whether a weak thing holds nothing strongly, and none of its referents is a builtin set."""
    if type(weak) is weakref.ref:
        return callback_of(weak) is None and type(weak()) not in SETS
    if type(weak) is weakref.WeakSet and set(vars(weak)) == kind.internals:
        data = vars(weak)["data"]
        return type(data) is set and SETS.isdisjoint(
            type(reference()) for reference in copied(lambda: data)
        )
    return False
