"""One dump, from object to bytes: as many walks as exactness needs, one write to the file.

The theory of operation. *Inside* is a least fixpoint over strong edges, so what becomes of a weak
edge depends on the graph and the policy alone, and never on what a pickler happens to meet first;
and a pickler writes while it walks. So a `Session` lets it write into a `Place` that can be taken
back, with a walk that answers for each object (`reducer_override`), in three steps:

1. write with a reach that grows (`FirstWalk`): what was met is inside, all else is open;
2. if anything stayed open and mattered, complete the reach;
3. write with the reach complete (`SecondWalk`): each decision is final.

A worked example, ``dumps([r, o])`` with ``r = weakref.ref(o)`` and ``o`` plain, by cloudpickle:

- The first walk is asked for ``r``. Its referent was not met: `decide` says `OPEN`, which is
  written as if it dangled, and a second walk is certain, since a snapshot is what the policy
  chooses else. It is asked for ``o``, and notes it. With the root the reach is complete.
- The second walk writes the `envelope` ``getitem([root, ...], 0)``. It is asked for ``r``, whose
  referent is inside: `INSIDE`, a link, which `encode` writes as a call of ``ref`` on the *shell* of
  ``o``, the construction without the state, since ``o`` itself is met later::

      operator getitem ( [ weakref ReferenceType ( copyreg __newobj__ Class () ) REDUCE,
                           max ( (memo of o,) ) REDUCE  state BUILD ] 0 ) REDUCE

- It is asked for ``o`` itself, which has a shell: ``max((shell,))`` *is* the copy that exists
  already, and the state is put there, where stock pickle puts it.

What can fail after that is a snapshot; then a `survey` finds which, and it starts over, wiser. When
a session ends, whichever way, it takes itself apart: nothing of the payload outlives the dump.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from weakreduce.core import blame, look_ahead, notes, observe, short_cuts, words
from weakreduce.core.engine import Engine, Override
from weakreduce.core.expressions import DOTTED_TYPES
from weakreduce.core.facts import Facts
from weakreduce.core.first_walk import FirstWalk, LookedAhead
from weakreduce.core.limits import is_too_large
from weakreduce.core.probing import Prober
from weakreduce.core.reach import Reach
from weakreduce.core.second_walk import OrderMatters, SecondWalk
from weakreduce.core.sink import Place, TooLarge
from weakreduce.core.survey import survey
from weakreduce.core.walk import Plan, Refused, Walk, noting, watched_run
from weakreduce.core.watches import Payload, Watch
from weakreduce.model import homes
from weakreduce.model.decide import Fate, outside
from weakreduce.model.in_force import get_policy
from weakreduce.model.kinds import Edge
from weakreduce.model.policies import Policy
from weakreduce.model.seen import seen

#: An edge that dangles unasked, and why.
Lost = tuple[Edge, str]


def run(engine: Engine, place: Place, root: Any, watch: Watch | None = None) -> None:
    """Dump `root` under the policy in force; its payload goes to the file, or nothing does.

    Who calls puts the pickler back.

    Raises:
        WeakrefPicklingError: where the policy refuses.
        Exception: whatever stock raises for what is not weak.
    """
    if watch is None:
        watch = observe.watch_for(place.file)
        if watch is not None:
            with observe.watching(watch):
                run(engine, place, root, watch)
            return
    engine.begin(place.used)
    place.begin(engine)
    session = Session(engine, place, root, watch)
    try:
        session.write()
        place.deliver()
    except BaseException as error:
        found = session.explained(error)
        if found is None:
            raise
        try:
            raise found from found.__cause__
        finally:
            del found  # or it would keep this frame, and so the payload
    finally:
        session.take_apart()


class Session:
    """One dump of one pickler.

    Until an instance is met that needs more than the pickler, there is no policy and no walk: just
    an override that notes what it sees, with the plan of each type.
    """

    def __init__(
        self,
        engine: Engine,
        place: Place,
        root: Any,
        watch: Watch | None = None,
        facts: Facts | None = None,
    ) -> None:
        self.engine = engine
        self.place = place
        self.root = root
        self.watch = watch
        self.first: FirstWalk | None = None
        self.walks: list[Walk] = []
        self._met: dict[int, Any] = {}
        self._plans = engine.plans()
        self._facts = facts
        self._may_look_ahead = True

    # --- the three steps ----------------------------------------------------------------

    def write(self) -> None:
        """Leave the payload of the root in its place."""
        self._write_growing()
        buffers = self.place.buffers
        if self.first is None:
            if buffers is None or buffers.settle():
                return
            self._write_anew()
        lost = self._write_exactly()
        while lost is None or not (buffers is None or buffers.settle()):
            self._write_anew()
            lost = self._write_exactly()
        self._conclude(lost)

    def _write_growing(self) -> None:
        if self.watch is None and not self.engine.asks_for_all:
            override = noting(self._met, self._plans, self._plan)
        else:
            override = self._override(self._begin())
        with contextlib.suppress(LookedAhead):
            watched_run(self.engine, override, self.root)

    def _plan(self, obj_type: type) -> Plan:
        if self.first is None:
            if self.engine.is_ordinary(obj_type):
                self._plans[obj_type] = None
                return None
            self._begin()
        assert self.first is not None
        return self.first.plan(obj_type)

    def _begin(self) -> FirstWalk:
        """Something is met that the pickler alone cannot write."""
        met, before = self._met, self.engine.memo_before()
        if before:  # what was met by earlier dumps comes first
            since = met.copy()
            met.clear()
            met.update(dict.fromkeys(before))
            met.update(since)
        for obj_type in DOTTED_TYPES:
            self._plans.pop(obj_type, None)  # which was for payloads without our words
        self.first = self._first_walk(met, self._plans)
        return self.first

    def _write_anew(self) -> None:
        """Forget what was written, and let a new reach grow, knowing more."""
        self.start_over()
        self.first = self._first_walk(dict.fromkeys(self.engine.memo_before()), None)
        with contextlib.suppress(LookedAhead):
            watched_run(self.engine, self._override(self.first), self.root)

    def _first_walk(self, met: dict[int, Any], plans: dict[type, Plan] | None) -> FirstWalk:
        facts = self.facts
        before = facts.written_before
        looks = (
            self._may_look_ahead
            and self.watch is None
            and not before
            and not self.engine.has_persistent_ids
        )
        walk = FirstWalk(
            facts,
            Reach(met, before),
            plans=plans,
            short_cut=short_cuts.of_first_walk,
            look_ahead=look_ahead.met_strongly if looks else None,
            root=self.root,
            watch=self.watch,
        )
        self.walks.append(walk)
        return walk

    def _write_exactly(self) -> list[Lost] | None:
        """Complete the reach, and write with it where that can tell more.

        Returns:
            The edges that dangle unasked; None: to be tried again, knowing more.
        """
        first = self.first
        assert first is not None
        if not first.reach.complete:  # nobody has looked ahead
            if not first.pending and not first.again:
                return []
            if not self._complete(first):
                return None
            if not first.again and not any(first.reach.holds(e.referent) for e in first.pending):
                return self._decided_outside(first)
        return self._write_final(first.reach)

    def _complete(self, first: FirstWalk) -> bool:
        """Walk what is strong only by way of weak things; False where a callback had to go."""
        first.reach.complete = True
        if not first.queue and not first.waiting:
            first.learn_sets()
            return True
        first.reach.complete = False
        place, buffers = self.place, self.place.buffers
        mark = place.mark()
        met_buffers = 0 if buffers is None else len(buffers.met)
        try:
            override = first.override_of_rest()
            watched_run(self.engine, override, first.rest())
        except (Refused, TooLarge):
            raise
        except Exception:
            for edge in first.pending:
                if edge.callback is not None and first.reach.holds(edge.referent):
                    self.facts.callbacks[id(edge.callback)] = edge.callback
            if not self._survey(Reach({}), [], []):
                raise
            return False
        place.cut(mark)
        if buffers is not None:
            del buffers.met[met_buffers:]
        first.reach.complete = True
        return True

    def _decided_outside(self, first: FirstWalk) -> list[Lost]:
        """All that stayed open is outside, and dangles, as it was written."""
        decided = [(edge, outside(edge, self.facts, first)) for edge in first.pending]
        for edge, decision in decided:
            if decision.fate is Fate.REFUSE:
                first.refuse(edge, decision)
        if self.watch is not None:
            for edge, decision in decided:
                self.watch.see(edge, decision)
        return [(edge, decision.reason) for edge, decision in decided if not decision.asked]

    def _write_final(self, reach: Reach) -> list[Lost] | None:
        while True:
            self.start_over()
            walk = SecondWalk(
                self.facts,
                reach,
                self.root,
                short_cut=short_cuts.of_second_walk,
                watch=self.watch,
            )
            self.walks.append(walk)
            try:
                watched_run(self.engine, self._override(walk), walk.envelope())
            except (Refused, TooLarge):
                raise
            except OrderMatters:
                self._may_look_ahead = False  # that was in vain: the next walk goes to its end
                return None
            except Exception:
                if not self._survey(reach, walk.snapshot_edges(), walk.entries):
                    raise
                return None
            if not walk.construction.postpones:
                return walk.lost

    # --- hooks --------------------------------------------------------------------------

    def _override(self, walk: Walk) -> Override:
        """A walk's override, with what the watch asks before it."""
        watch = self.watch
        if watch is None:
            return walk.override()
        watch.begin()
        reduced = self.facts.reductions.reduced if walk is self.first else None
        return walk.override(watch.hooks(reduced))

    # --- what it knows ------------------------------------------------------------------

    @property
    def facts(self) -> Facts:
        """What holds for the whole dump, from the time when something needs it."""
        if self._facts is None:
            engine, policy = self.engine, get_policy()
            too_large = functools.partial(is_too_large, engine, policy)
            self._facts = Facts(engine, policy, too_large, engine.memo_before())
            if self.watch is not None:
                self._facts.left_out = self.watch.left_out
        return self._facts

    @property
    def policy(self) -> Policy:
        """The policy that the dump is under."""
        return self.facts.policy

    def start_over(self) -> None:
        """Put the pickler and the file back to where they were."""
        self.place.clear()
        self.engine.reset(self.engine.memo_before())
        if self.place.buffers is not None:
            self.place.buffers.rewind()

    # --- the end ------------------------------------------------------------------------

    def _conclude(self, lost: list[Lost]) -> None:
        watch, ran = self.watch, self.walks[-1]
        dropped = list(self.facts.dropped.values())
        for_itself = observe.around.get() is False if watch is None else watch.quiet
        if ran.numbered and not for_itself:
            homes.sent(ran.numbered)
        if watch is not None:
            watch.finish(self, self.root, dropped)
        if (lost or dropped) and not for_itself:
            words.warn(self.root, lost, dropped)

    def _survey(self, inside: Reach, snapshots: list[Edge], entries: list[Edge]) -> bool:
        self._may_look_ahead = False
        self.start_over()
        if self.watch is not None:
            self.watch.begin()
        prober = Prober(self.facts, self.place)
        try:
            return survey(prober, inside, snapshots, entries, self.watch)
        finally:
            prober.take_apart()

    def explained(self, error: BaseException) -> Exception | None:
        """The error that the user is to see instead of ours; nothing was written."""
        found: Exception | None = None
        root, watch = self.root, self.watch
        if isinstance(error, Refused):
            if watch is not None:
                watch.see(error.edge, error.decision)
            found = words.refusal(self.facts.policy, root, error.edge, error.decision)
            found.__cause__ = error.__cause__
        seen_error = error if found is None else found
        if isinstance(seen_error, Exception) and self.place.limit is None:
            notes.clean(seen_error)
            ran = self.walks[-1] if self.walks else self._begin()
            self.start_over()
            prober = Prober(self.facts, self.place, goes_on=True)
            try:
                culprit = blame.note(prober, ran, root, seen_error)
                if watch is not None:
                    watch.fail(self, root, seen_error, culprit)
            finally:
                prober.take_apart()
        return found

    def take_apart(self) -> None:
        """The payload must die with its last user, though walks and hooks refer to each other."""
        # (A plug of a first walk does not count what a second walk would write.)
        if any(walk.weak_things or vars(walk).get("again") for walk in self.walks):
            seen.dumps += 1
        for walk in self.walks:
            walk.take_apart()
        if self._facts is not None:
            self._facts.take_apart()
        vars(self).clear()

    # --- what a watch may ask (`watches.Dump`) --------------------------------------------

    @property
    def host(self) -> str:
        """The name of the host."""
        return self.engine.host_module.rpartition(".")[0] or "pickle"

    def by_name(self, obj: Any) -> bool:
        """Whether the pickler writes a class, function or module as a name."""
        return self.engine.by_name(obj)

    def size(self) -> int:
        """Bytes that are written."""
        return self.place.size()

    def payload(self) -> Payload:
        """What is written, to be put back after `weigh`."""
        return Payload(*self.place.keep(), self.engine.memo(), len(self.engine.memo_before()))

    def put_back(self, payload: Payload) -> None:
        """Leave the dump as it was when it gave this payload."""
        self.place.put_back(payload[:2])
        self.engine.reset(payload.memo)

    def weigh(self, obj: Any, limit: float | None, *, with_snapshots: bool) -> int | None:
        """Bytes of the pickle of `obj` by this pickler; None where that is too large, or fails.

        The payload is lost, and `size` is what was written for `obj` alone.

        Args:
            obj: what is weighed.
            limit: bytes; None for no limit.
            with_snapshots: whether they travel; else they dangle.
        """
        place, buffers = self.place, self.place.buffers
        met_buffers = 0 if buffers is None else len(buffers.met)
        place.buffers, place.limit = None, limit
        inner = Session(
            self.engine, place, obj, facts=self.facts.again(with_snapshots=with_snapshots)
        )
        try:
            with observe.watching(False):
                inner._write_anew()
                while inner._write_exactly() is None:
                    inner._write_anew()
            return place.size()
        except Exception:  # noqa: BLE001 - it is in the payload all the same: no size, no harm
            return None
        finally:
            place.buffers, place.limit = buffers, None
            if buffers is not None:
                del buffers.met[met_buffers:]
            for walk in inner.walks:
                walk.take_apart()
            vars(inner).clear()
