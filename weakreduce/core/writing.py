"""The walks of one dump, and how they follow one another: a payload in its place.

See `session.py` for the theory. Nothing here knows what becomes of a payload or of an error.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from weakreduce.core import look_ahead, notes, short_cuts
from weakreduce.core.adapter import Adapter, Override
from weakreduce.core.dispatch import Plan, noting
from weakreduce.core.expressions import DOTTED_TYPES
from weakreduce.core.facts import Facts
from weakreduce.core.first_walk import FirstWalk, LookedAhead
from weakreduce.core.probing import Prober
from weakreduce.core.promises import is_broken
from weakreduce.core.reach import Reach
from weakreduce.core.second_walk import SecondWalk
from weakreduce.core.sink import Place, TooLarge
from weakreduce.core.survey import survey
from weakreduce.core.type_facts import ReducerFacts
from weakreduce.core.walk import Lost, Refused, Walk
from weakreduce.core.watches import Watch
from weakreduce.model.classes import HEAP_TYPE, flags_of
from weakreduce.model.in_force import get_policy
from weakreduce.model.kinds import Edge
from weakreduce.model.seen import seen
from weakreduce.model.shipping import is_shipped


class Writing:
    """What is written for one root, by one pickler.

    Until an instance is met that needs more than the pickler, there is no policy and no walk: just
    an override that notes what it sees, with the plan of each type.

    Args:
        adapter: the pickler.
        place: where it writes.
        root: the object.
        watch: who watches.
        facts: where they are known: those of another writing, which go on without this one.
    """

    #: The first walk, from the time when something needs one.
    first_walk: FirstWalk | None = None
    #: What holds for the whole dump, from that time on.
    facts: Facts
    _may_look_ahead = True

    def __init__(
        self,
        adapter: Adapter,
        place: Place,
        root: object,
        watch: Watch | None = None,
        facts: Facts | None = None,
    ) -> None:
        self.adapter = adapter
        self.place = place
        self.root = root
        self.watch = watch
        self.walks: list[Walk] = []
        self._met: dict[int, Any] = {}
        self._plans: dict[type, Plan] = {}
        self._borrowed = facts is not None
        if facts is not None:
            self.facts = facts

    # --- the three steps ----------------------------------------------------------------

    def write(self) -> list[Lost]:
        """Leave the payload of the root in its place.

        Returns:
            The edges that dangle although nobody asked for that.
        """
        buffers, adapter = self.place.buffers, self.adapter
        if self._borrowed:  # by a pickler that is in use
            override = self._anew()
        else:
            self._plans = adapter.plans()
            if self.watch is None and not adapter.asks_for_all:
                override = noting(self._met, self._plans, self._plan)
            else:
                override = self._override(self._begin())
        while True:
            with contextlib.suppress(LookedAhead):
                _run(self, override, self.root)
            first = self.first_walk
            lost: list[Lost] | None = []
            if first is not None:  # else the pickler alone could write it
                lost = self._write_exactly(first)
            if lost is None:
                self._may_look_ahead = False  # the next walk goes to its end
            elif buffers is None or buffers.settle():
                return lost
            override = self._anew()

    def _plan(self, obj_type: type) -> Plan:
        if self.first_walk is None:
            if is_ordinary(obj_type, self.adapter):
                self._plans[obj_type] = None
                return None
            self._begin()
        assert self.first_walk is not None
        return self.first_walk.plan(obj_type)

    def _begin(self) -> FirstWalk:
        """Something is met that the pickler alone cannot write."""
        met, before = self._met, self.adapter.memo_before()
        if before:  # what was met by earlier dumps comes first
            since = met.copy()
            met.clear()
            met.update(dict.fromkeys(before))
            met.update(since)
        for obj_type in DOTTED_TYPES:
            self._plans.pop(obj_type, None)  # which was for payloads without our words
        self.first_walk = self._new_first_walk(met, self._plans)
        return self.first_walk

    def _anew(self) -> Override:
        """Forget what was written, and let a new reach grow, knowing more."""
        self.start_over()
        met = dict.fromkeys(self.adapter.memo_before())
        self.first_walk = first = self._new_first_walk(met, None)
        return self._override(first)

    def _new_first_walk(self, met: dict[int, Any], plans: dict[type, Plan] | None) -> FirstWalk:
        if not hasattr(self, "facts"):  # this is the first that is made
            before, ships = self.adapter.memo_before(), is_shipped(type(self.adapter.pickler))
            self.facts = Facts(self.adapter, get_policy(), before, ships=ships)
            if self.watch is not None:
                self.facts.left_out = self.watch.left_out
        facts = self.facts
        looks = functools.partial(look_ahead.met_strongly, self.root, facts)
        may_look = (
            self._may_look_ahead
            and self.watch is None
            and not facts.written_before
            and facts.persistent_id is None
            and self.adapter.save_apart is None
            and not look_ahead.STOPS_OTHERS
        )
        walk = FirstWalk(
            facts,
            Reach(met, facts.written_before),
            plans=plans,
            short_cuts=short_cuts.of_first_walk(facts),
            look_ahead=looks if may_look else None,
            watch=self.watch,
        )
        self.walks.append(walk)
        return walk

    def _write_exactly(self, first: FirstWalk) -> list[Lost] | None:
        """Complete the reach, and write with it where that can tell more.

        Returns:
            The edges that dangle unasked; None: to be tried again, knowing more.
        """
        if not first.reach.complete:  # nobody has looked ahead
            if not first.pending and not first.again:
                return []
            if first.queue or first.waiting:
                if not self._write_rest(first):
                    return None
            else:
                first.learn_sets()
            first.reach.complete = True
            if not first.again and not any(map(first.may_be_here, first.pending)):
                return first.decided_outside()
        return self._write_final(first.reach)

    def _write_rest(self, first: FirstWalk) -> bool:
        """Walk what is strong only by way of weak things; False where that has to begin anew."""
        if first.go_on():
            self.start_over()  # what it has begun to write is not all walked
        mark = self.place.mark()
        try:
            _run(self, first.override_of_rest(), first.rest())
        except (Refused, TooLarge):
            raise
        except Exception as error:
            if not first.reach.in_order:  # a walk to the end tells better what is wrong
                return False
            for edge in first.pending:
                if edge.callback is not None and first.reach.holds(edge.referent):
                    self.facts.callbacks[id(edge.callback)] = edge.callback
            # What the failed walk has met may be inside by way of what fails alone.
            if not any(self._survey(error, known, [], []) for known in (Reach({}), first.reach)):
                raise
            return False
        self.place.cut(mark)
        return True

    def _write_final(self, reach: Reach) -> list[Lost] | None:
        while True:
            self.start_over()
            plugs = short_cuts.of_second_walk(self.facts)
            walk = SecondWalk(self.facts, reach, self.root, short_cuts=plugs, watch=self.watch)
            self.walks.append(walk)
            try:
                _run(self, self._override(walk), walk.envelope())
            except TooLarge:
                raise
            except Exception as error:
                if not walk.lacks_order and (
                    isinstance(error, Refused)
                    or not self._survey(error, reach, walk.snapshot_edges(), walk.entries)
                ):
                    raise
                return None
            if walk.lacks_order:
                return None
            if walk.is_to_be_run_again():
                continue
            if walk.circular:  # what their callbacks hold was taken to be inside
                self.facts.learn_circular(walk.circular)
                return None
            facts = self.facts
            if facts.unmeasured and facts.learn_unmeasured(walk.snapshot_edges()):
                return None
            # Nothing but code of the user's can take out what the first walk has met.
            asked = facts.reductions.found
            if asked and is_broken(self.root, walk.promised, reach, facts):
                return None
            return walk.lost

    def _survey(
        self, error: Exception, inside: Reach, snapshots: list[Edge], entries: list[Edge]
    ) -> bool:
        if self.watch is not None:
            self.watch.begin()
        prober = self.prober(inside)
        try:
            with notes.as_they_are(error):
                return survey(prober, inside, self.root, snapshots, entries, self.watch)
        finally:
            del error  # it may be raised again meanwhile, and its traceback lead to this frame
            prober.take_apart()

    # --- hooks --------------------------------------------------------------------------

    def _override(self, walk: Walk) -> Override:
        """A walk's override, with what the watch asks before it."""
        watch = self.watch
        if watch is None:
            return walk.override()
        watch.begin()
        reduced = self.facts.reductions.reduced if walk is self.first_walk else None
        return walk.override(watch.hooks(reduced))

    # --- what it knows ------------------------------------------------------------------

    def last_walk(self) -> Walk:
        """The walk that was run last, but for those that search for what failed."""
        return self.walks[-1] if self.walks else self._begin()

    def start_over(self) -> None:
        """Put the pickler and the file back to where they were."""
        self.place.clear()
        self.adapter.reset(self.adapter.memo_before())

    def prober(self, inside: Reach, *, goes_on: bool = False) -> Prober:
        """What looks for objects that fail; what was written is lost."""
        self.start_over()
        return Prober(self.facts, self.place, inside, goes_on=goes_on)

    def take_apart(self) -> None:
        """Forget all: the payload must die with its last user, and walks and hooks lead back."""
        if hasattr(self, "facts") and not self._borrowed:
            self.facts.take_apart()
        met_weak = False
        for walk in self.walks:
            met_weak = met_weak or walk.met_weak
            walk.take_apart()
        if met_weak and not self._borrowed:
            seen.dumps += 1
        vars(self).clear()


def is_ordinary(obj_type: type, adapter: Adapter) -> bool:
    """Short cut: whether instances are for the pickler alone to write, so that no walk is needed.

    Without it everything is right, and the bytes are the same.
    """
    found = ReducerFacts(obj_type, adapter).ordinary
    if found and not flags_of(obj_type) & HEAP_TYPE:  # which nobody can change
        adapter.ordinary[obj_type] = None
    return found


def _run(writing: Writing, override: Override, obj: object) -> None:
    """Let the pickler run with an override of the walk that is the last."""
    place = writing.place
    if place.limit is not None:
        place.may_end(lambda: writing.last_walk().end())
    writing.adapter.drive(override, obj)
    if place.passed:  # pragma: no cover - from Python 3.14 on the walk may come to its end
        raise TooLarge
