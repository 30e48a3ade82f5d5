"""A walk of a pickler over the graph: what all walks share.

A walk is the pickler's ``reducer_override``: it sees every object that the pickler writes out (not
builtin containers and atoms), once, where it is met strongly. Of a weak thing it asks `encode` for
the reduction; and that asks the walk, as its `Writer`, for the fate of each edge (`Walk.decide`)
and for what to write in the place of a referent.

Rule: a walk has fates from `decide`, and remembers what follows from each; it never writes bytes,
and knows picklers only as an `Adapter`.
"""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from weakreduce import wire
from weakreduce.core import encode
from weakreduce.core.alike import Alike
from weakreduce.core.dispatch import NO_SHORT_CUTS, Dispatch, Plan, ShortCut
from weakreduce.core.expressions import Call, Reduction, Rest, Stream, ready_receiver
from weakreduce.core.facts import Facts
from weakreduce.core.hashing import Attributes, early_attributes, with_attributes
from weakreduce.core.held import MISSING
from weakreduce.core.incomplete import can_construct, lacks_hash
from weakreduce.core.reach import Reach
from weakreduce.core.watches import Watch
from weakreduce.model import decide, homes, sharing
from weakreduce.model.classes import NAMEABLE
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.kinds import Edge, Kind
from weakreduce.model.signals import Signal

#: An edge that dangles although nobody asked for that, and why.
Lost = tuple[Edge, str]


class Refused(Signal, Exception):  # noqa: N818 - carries a decision to the place that knows the root
    """An edge was refused; turned into a `WeakrefPicklingError` with the path."""

    def __init__(self, edge: Edge, decision: Decision) -> None:
        super().__init__("an edge is refused")  # why is said where it is shown
        self.edge = edge
        self.decision = decision


class Walk(Dispatch):
    """Decisions, and the services that encoders ask for.

    Args:
        facts: what holds for the whole dump.
        reach: what is inside, as far as is known.
        met: id -> object, of what this walk meets, in that order.
        plans: what is known of types already.
        short_cuts: the plugs for this kind of walk, by weak type.
        watch: who sees each decision; then no short cut is taken.
    """

    #: Whether a second walk is certain, so that what this one writes means nothing.
    again = False

    def __init__(
        self,
        facts: Facts,
        reach: Reach,
        *,
        met: dict[int, Any],
        plans: dict[type, Plan] | None = None,
        short_cuts: Mapping[type, ShortCut] = NO_SHORT_CUTS,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(facts, met, plans, NO_SHORT_CUTS if watch is not None else short_cuts)
        self.reach = reach
        #: What payloads may name from now on, if this one is sent.
        self.numbered: list[Any] = []
        self.watch = watch
        #: Whether refused edges are walked past.
        self.goes_on = watch is not None and watch.goes_on
        #: id(referent) -> what weak things on it are made on, where a hash may need it early, and
        #: the attributes that are put in for that.
        self._early: dict[int, tuple[Any, Attributes]] = {}

    @property
    def met_weak(self) -> bool:
        """Whether a weak thing was met."""
        # (A plug does not count what a second walk would write.)
        return self.again or self.weak_things > 0

    def take_apart(self) -> None:
        """Forget all: what was walked must die with its last user, and plans lead back here."""
        vars(self).clear()

    def weak(self, kind: Kind, weak: object) -> Reduction:
        return encode.encode(self, kind, weak)

    def finalizer_plan(self, kind: Kind) -> Plan:
        return None if self.watch is None else functools.partial(self._tell_detached, kind)

    # --- decisions ------------------------------------------------------------------

    def hindrance(self, edge: Edge) -> Decision | None:
        """What is in the way where this walk's payload stands (`decide.Hinders`)."""
        raise NotImplementedError

    def decide(self, edge: Edge) -> Decision:
        """The fate of an edge, as far as this walk knows."""
        decision = decide.decide(edge, self.facts, self.reach, self.hindrance)
        if decision.fate is Fate.REFUSE:
            self.refuse(edge, decision)
        self.note(edge, decision)
        if self.watch is not None:
            self._tell(self.watch, edge, decision)
        return decision

    def note(self, edge: Edge, decision: Decision) -> None:
        """Remember what follows from a decision."""
        raise NotImplementedError

    def refuse(self, edge: Edge, decision: Decision) -> None:
        """Raise the refusal of an edge, unless the dump is run only to see them all.

        Raises:
            Refused: nearly always.
        """
        if not self.goes_on:
            raise Refused(edge, decision)
        if self.watch is not None:
            self.watch.refused(edge, decision)

    def _tell(self, watch: Watch, edge: Edge, decision: Decision) -> None:
        if decision is decide.OPEN:
            return
        if decision is decide.INSIDE and issubclass(type(edge.referent), NAMEABLE):
            # What a first walk wrote as a name was met by the second.
            decision = decide.BY_NAME if self.facts.is_named(edge.referent) else decision
        watch.see(edge, decision)

    def _tell_detached(self, kind: Kind, weak: object) -> Any:
        """Leave finalizers to the pickler, which writes dead ones, and tell of them."""
        for edge in kind.edges(weak):
            assert self.watch is not None
            self.watch.see(edge, decide.DEAD if edge.referent is None else decide.DETACHED)
        return NotImplemented

    # --- services for encoders ------------------------------------------------------

    def target(self, edge: Edge) -> Any:
        """What to write for a referent that travels."""
        referent = edge.referent
        name = sharing.name_of(referent)
        if name is not None:
            needs_callable = type(edge.weak) is not weakref.ProxyType
            return Call(wire.shared, name, needs_callable)
        shell = self.shell(referent)
        if not self.types[type(referent)].hashed_by_value:
            return shell
        found = self._early.get(id(referent))
        if found is None:
            early = early_attributes(self.facts, referent)
            found = with_attributes(shell, type(referent), early), early
            self._early[id(referent)] = found
        if shell is not referent:
            self.made_on_shell(edge, found[1])
        return found[0]

    def made_on_shell(self, edge: Edge, early: Attributes) -> None:
        """Note a weak thing on what hashes by value, and has these attributes alone so far."""

    def at_home(self, obj: object, copy: object) -> tuple[Any, Any]:
        """What a snapshot's object is on the receiver, and whether it has to be kept alive there.

        Both are expressions, given that of its copy.
        """
        if self.is_there(obj):  # of a WeakMethod's two
            return copy, False
        ours = self.policy.identity == "home"
        of = homes.homes_of(obj, ours=ours)
        if not of:
            return copy, True
        if ours:
            self.numbered.append(obj)
        found = Call(wire.at_home, copy, *of)
        return found, Call(wire.is_away, found, *of)

    def is_there(self, obj: object) -> bool:
        """Whether an object is known to be inside or written as a name."""
        return bool(self.reach.holds(obj)) or self.facts.is_named(obj)

    def holding(self, function: object, callback: object) -> Any:
        """What a WeakMethod calls, and holds its function by, where that is made on the way."""
        return Call(wire.holding, function, callback)

    def function(self, edge: Edge) -> Any:
        """What to write for the function of a WeakMethod."""
        return self.shell(edge.function)

    def stored_in(self, edge: Edge) -> tuple[type, str] | None:
        """Where the receiver has the function of a WeakMethod from; None: it is written."""
        return None if self.is_there(edge.function) else self.facts.stored_in(edge)

    def shell(self, referent: object) -> Any:
        """The referent, or its stand-in where it is too early to write it whole."""
        return referent

    def can_make(self, obj: object) -> bool:
        """Whether the receiver can make an object, and hash it, when it comes to this place."""
        return can_construct(self.facts, self.met, obj) and not lacks_hash(
            self.facts, self.met, obj
        )

    def kept_callback(self, edge: Edge) -> Any:
        """The callback of an edge, if it travels where the edge does; None otherwise."""
        callback = edge.callback
        facts = self.facts
        if self.policy.callbacks == "drop" or id(callback) in facts.dropped:
            return None
        if id(edge.weak) in facts.circular:
            return None
        return callback

    def callback(self, edge: Edge) -> Any:
        """What to write for the callback of an edge that travels."""
        callback = self.kept_callback(edge)
        if callback is None:
            return None
        self.facts.callbacks[id(callback)] = callback
        return self.strong(callback)

    def strong(self, obj: object) -> Any:
        """What to write for a strong edge of a weak thing; it is walked at the end."""
        raise NotImplementedError

    def readying(self, function: object) -> Any:
        """`function`; before the payload's first weak thing it may ready the receiver, too."""
        self.weak_things += 1
        if self.weak_things > 1 or not self.facts.readies:
            return function
        return Call(operator.getitem, (function, ready_receiver()), 0)

    def later(self, fill: Call) -> None:
        """Write `fill` when every object of the payload is complete."""
        raise NotImplementedError

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        """Entries of a WeakSet in the order in which the strong walk meets them."""
        if len(edges) < 2:
            return edges
        places: dict[float, list[Edge]] = {}
        for edge in edges:
            places.setdefault(self.reach.position(edge.referent), []).append(edge)
        alike = Alike()
        return [edge for place in sorted(places) for edge in alike.ordered(places[place])]

    # --- what is written after the root ---------------------------------------------

    def next_item(self) -> Any:
        """The next object to be written after the root, as far as is known now, or `MISSING`."""
        raise NotImplementedError


def drained(walk: Walk, head: list[Any]) -> Stream:
    """A list in the payload: `head`, and all that `next_item` gives, also while it is written.

    The pickler's memo keeps a `Rest`, and so the walk, which forgets all when it is taken apart.
    """
    if walk.adapter.save_apart is not None:
        return Stream(iter([*head, Rest(functools.partial(_save_rest, walk))]))
    return Stream(_slots(walk, head))


def _slots(walk: Walk, head: list[Any]) -> Iterator[Any]:
    # A C pickler asks for one item more than it has written, so what it is given is a
    # slot, to be filled when it is written.
    yield from head
    unwritten = 0
    #: What was taken from the walk, and is not written yet.
    taken: list[Any] = []

    def fill() -> Reduction:
        nonlocal unwritten
        unwritten -= 1
        found = taken.pop() if taken else walk.next_item()
        return (list, ()) if found is MISSING else (max, ((found,),))

    if head:
        unwritten += 1
        yield Rest(fill)
    while True:
        if unwritten == 0:
            item = walk.next_item()
            if item is MISSING:
                return
            taken.append(item)
        unwritten += 1
        yield Rest(fill)


def _save_rest(walk: Walk) -> Reduction:
    save = walk.adapter.save_apart
    assert save is not None
    while (item := walk.next_item()) is not MISSING:
        save(item)
    return (list, ())
