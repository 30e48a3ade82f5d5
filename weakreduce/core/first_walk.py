"""The first walk: optimistic, and right at once wherever only the end could have told more.

A weak edge whose referent was met before is a link; any other is written as if it dangled, and
remembered. If at the end none of those is inside, and the policy lets all of them dangle,
the bytes are right as they are. Otherwise what is inside is now known, and the
second walk writes them from anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from weakreduce.core import look_ahead, short_cuts
from weakreduce.core.expressions import Call, Reduction, Stream
from weakreduce.core.known import Known
from weakreduce.core.walk import MISSING, Positions, Walk
from weakreduce.model.decide import INSIDE, NOT_YET, Decision, Fate
from weakreduce.model.kinds import Edge, Kind
from weakreduce.model.signals import Signal

#: What a C pickler asks no override about.
_SETS: Final = frozenset({set, frozenset})
#: Written for what a second walk will write.
_EMPTY: Final[Reduction] = (list, ())


class LookedAhead(Signal):
    """Ends a first walk: what is inside is known. A signal, which all code on the way lets pass."""


class FirstWalk(Walk):
    """Optimistic: right at once where no weak edge needed what only the end can tell."""

    def __init__(
        self,
        known: Known,
        memoized: Callable[[], dict[int, Any]],
        met: dict[int, Any] | None = None,
        plans: dict[type, Any] | None = None,
    ) -> None:
        super().__init__(known, met, plans)
        self.memoized = memoized
        #: Edges whose referent was not known to be inside when they were met.
        self.pending: list[Edge] = []
        #: Weak things with such edges that a short cut left open.
        self.left_open: list[Any] = []
        #: Strong edges of weak things, to be walked before all that is inside is known.
        self.queue: list[Any] = []
        #: id(referent) -> strong edges that count once the referent is inside (ephemerons).
        self.waiting: dict[int, list[Any]] = {}
        self.again = False
        #: By id, objects whose reduction by their own code was asked for.
        self.constructed: dict[int, Any] = {}
        #: Whether `met` is the pickler's own memo, which tells as much (a Python pickler's).
        self.reads_memo = False
        #: What is dumped, until it was looked at ahead; missing where that would not do.
        self.root: Any = MISSING

    def holds(self, referent: Any) -> bool:
        return id(referent) in self.met

    def short_cut(self, kind: Kind, obj_type: type) -> Callable[[Any], Any] | None:
        return short_cuts.of_first_walk(self, kind, obj_type)

    def not_inside(self, edge: Edge) -> Decision:
        self.pending.append(edge)
        decision = self.known.outside(edge.weak, edge.referent)
        unconditional: list[Any] = []
        conditional: list[Any] = []
        callback = edge.callback
        if (
            callback is not None
            and self.policy.callbacks == "keep"
            and id(callback) not in self.known.dropped
        ):
            if decision.fate is Fate.SNAPSHOT:
                self.known.callbacks[id(callback)] = callback
                unconditional.append(callback)
            else:
                conditional.append(callback)
        if edge.key is not None:
            (unconditional if decision.fate is Fate.SNAPSHOT else conditional).append(edge.key)
        if edge.value is not None:
            conditional.append(edge.value)
        self.queue += unconditional
        if conditional:
            self.waiting.setdefault(id(edge.referent), []).extend(conditional)
        if unconditional or decision.fate is Fate.SNAPSHOT:
            self.again = True
        return NOT_YET

    def decide(self, edge: Edge) -> Decision:
        decision = super().decide(edge)
        if decision is INSIDE and not self.can_make(edge.referent):
            self.again = True  # the second walk knows what to do
        return decision

    def reduce_once(self, obj: Any) -> Any:
        return _EMPTY if self._leads_back(obj) else self.known.reduction(obj)

    def reduce_with_arguments(self, obj: Any) -> Any:
        return _EMPTY if self._leads_back(obj) else self.known.adapter.reduction(obj)

    def _leads_back(self, obj: Any) -> bool:
        """Whether an object is met in the arguments of its own construction.

        Where nothing weak was met stock asks it again, and so do we: what is alike but not the
        same is written in full. Else the second walk writes it, and this one goes no deeper.
        """
        if id(obj) in self.constructed:
            if self.weak_things:
                self.again = True
                return True
            self.known.reductions.pop(id(obj), None)
        self.constructed[id(obj)] = obj
        return False

    def unreferable(self, edge: Edge) -> Decision:
        self.again = True
        return NOT_YET

    def strong(self, obj: Any) -> Any:
        # A callback may lead back to its own weak thing, which is not there yet.
        self.again = True
        self.queue.append(obj)

    def later(self, fill: Call) -> None:
        self.again = True

    def look_ahead(self) -> None:
        """Given that a second walk is certain, find out what is inside in a faster way, once.

        Raises:
            LookedAhead: where that could be done, and this walk is of no more use.
        """
        root, self.root = self.root, MISSING
        known = self.known
        if root is MISSING or known.written_before or known.adapter.save_apart:
            return
        found = look_ahead.met_strongly(root, known)
        if found is not None:
            known.inside = found
            known.ordered = False
            raise LookedAhead

    def take_over(self) -> None:
        """The root is written: from now on, note what is met in a dict of our own."""
        self.root = MISSING
        if self.reads_memo:
            self.reads_memo = False
            entries: Any = self.met.items()
            self.met = {identity: entry[1] for identity, entry in entries}
            self.position = Positions(self.met, self.known.written_before)
            self.plans.clear()
            self.override = self._make_override()

    def rest(self) -> Stream:
        """What is strong beyond the root's own graph, until nothing more is inside."""
        ordinary, waiting = self.override, self.waiting

        def watching(obj: Any) -> Any:
            # From now on an ephemeron's other half counts as soon as its referent is met.
            found = waiting.pop(id(obj), None)
            if found is not None:
                self.queue += found
            return ordinary(obj)

        self.override = watching
        self._scan()
        return self.drained([])

    def learn_sets(self) -> None:
        """Builtin sets pass the override by; the pickler's memo knows them."""
        if any(type(edge.referent) in _SETS for edge in self.pending):
            for identity, (_, obj) in self.memoized().items():
                self.met.setdefault(identity, obj)

    def next_item(self) -> Any:
        if not self.queue and self.waiting:
            self.learn_sets()
            self._scan()
        return self.queue.pop() if self.queue else MISSING

    def _scan(self) -> None:
        for identity in [identity for identity in self.waiting if identity in self.met]:
            self.queue += self.waiting.pop(identity)
