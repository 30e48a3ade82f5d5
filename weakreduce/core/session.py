"""One dump, from object to bytes: as many walks as exactness needs, one write to the file.

`obj -> FirstWalk -> (SecondWalk) -> bytes`. A `Session` belongs to one call of one
pickler's ``dump``, and drives the pickler through an `Engine`. When it ends, whichever way,
it takes itself apart: nothing of the payload outlives the dump in a reference cycle.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

from weakreduce.core import blame, known, notes, observe, words
from weakreduce.core.expressions import DOTTED_TYPES
from weakreduce.core.first_walk import FirstWalk, LookedAhead
from weakreduce.core.known import Adapter, Known
from weakreduce.core.second_walk import OrderMatters, SecondWalk
from weakreduce.core.sink import Limit, Place, TooLarge
from weakreduce.core.walk import Refused, Walk
from weakreduce.core.watches import Hook, Payload, Watch
from weakreduce.model import homes, signals
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.model.kinds import Edge
from weakreduce.model.policies import Policy
from weakreduce.model.seen import seen

#: What ends a walk from the inside.
_SIGNALS = (LookedAhead, OrderMatters, Refused, TooLarge)
#: For how many failing snapshots of a dump the warnings say which part of them is to blame.
_PLACED = 10


class Engine(Adapter, Protocol):
    """A pickler, as a session drives it."""

    pickler: Any

    #: The host's own ``dump``, given the pickler and an object; it writes to the place.
    stock: Any

    #: The module whose reducers in the tables are the host's own.
    host_module: str

    #: Whether parts are pickled by themselves until a dump fails: a walk does not meet them.
    hides_parts: bool

    def adopt(self, plans: dict[type, Any]) -> None:
        """Go on from the plans of a dump that had no engine so far."""

    def drive(self, pickler: Any, stock: Any, override: Any, obj: Any) -> None:
        """Run `stock` with an override that is asked of every instance."""

    def memo(self) -> dict[int, Any]:
        """A copy of the memo, which keeps all that it names alive."""

    def reset(self, memo: dict[int, Any]) -> None:
        """Put an earlier memo back."""

    def sibling_dump(self, obj: Any, file: Any) -> None:
        """Dump `obj` by itself, with a pickler of the same kind and settings."""


class Session:
    """One dump of one pickler that has met what the pickler alone cannot write.

    `plans` and `met` are what the dump's first walk has gathered so far.
    """

    def __init__(
        self,
        engine: Engine,
        place: Place,
        start: dict[int, Any],
        met: dict[int, Any] | None = None,
        plans: dict[type, Any] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.engine = engine
        self.place = place
        self.buffers = place.buffers
        self.policy = get_policy()
        self.start = start
        self.known = Known(engine, self.policy, self._too_large, start)
        self.walks: list[Walk] = []
        self.watch = watch
        self._unhooked: Hook | None = None
        if watch is not None:
            self.known.left_out = watch.left_out
        self.first = self.first_walk(met, plans)
        #: The walk that was run last, but for those that search for what failed.
        self.ran: Walk = self.first

    def conclude(self, obj: Any) -> None:
        """Leave the payload of `obj` in its place, given that the first walk has been run."""
        lost = self.complete(obj)
        dropped = list(self.known.dropped.values())
        for_itself = observe.around.get() is False if self.watch is None else self.watch.quiet
        if self.ran.numbered and not for_itself:
            homes.sent(self.ran.numbered)
        if self.watch is not None:
            self.watch.finish(self, obj, dropped)
        if (lost or dropped) and not for_itself:
            words.warn(obj, lost, dropped)

    def complete(self, obj: Any) -> list[tuple[Edge, str]]:
        """Do what is left after a first walk; gives the edges that dangle unasked."""
        lost = self._after(self.first, obj)
        while lost is None or not (self.buffers is None or self.buffers.settle()):
            self.walk_again(obj)
            lost = self._after(self.first, obj)
        return lost

    def walk_again(self, obj: Any) -> None:
        """Forget what was written, and run the first walk from anew."""
        self.start_over()
        self.first = self.first_walk()
        if self.watch is not None:
            self.watch.begin()
            self._listen(self.first)
        if self.known.ordered:
            self.first.root = obj
        self.known.ordered = True
        with contextlib.suppress(LookedAhead):
            self._run(self.first, obj)

    def explained(self, error: BaseException, obj: Any) -> Exception | None:
        """The error that the user is to see instead of ours; nothing was written."""
        found: Exception | None = None
        if isinstance(error, Refused):
            if self.watch is not None:
                self.watch.see(error.edge, error.decision)
            found = words.refusal(self.policy, obj, error.edge, error.decision)
            found.__cause__ = error.__cause__
        seen_error = error if found is None else found
        if isinstance(seen_error, Exception) and self.place.limit is None:
            notes.clean(seen_error)
            culprit = blame.note(self, obj, seen_error)
            if self.watch is not None:
                self.watch.fail(self, obj, seen_error, culprit)
        return found

    def take_apart(self) -> None:
        """The payload must die with its last user, though walks and hooks refer to each other."""
        # (A short cut of a first walk does not count what a second walk would write.)
        if any(walk.weak_things or vars(walk).get("left_open") for walk in self.walks):
            seen.dumps += 1
        for part in (*self.walks, self.known, self):
            vars(part).clear()

    # --- walks ------------------------------------------------------------------------

    def start_over(self) -> None:
        """Put the pickler and the file back to where they were."""
        self.place.clear()
        self.engine.reset(self.start)
        if self.place.buffers is not None:
            self.place.buffers.rewind()

    def first_walk(
        self, met: dict[int, Any] | None = None, plans: dict[type, Any] | None = None
    ) -> FirstWalk:
        """A new first walk."""
        walk = FirstWalk(self.known, self.engine.memo, met, plans)
        walk.reads_memo = met is self.engine.pickler.memo
        self.walks.append(walk)
        return walk

    def _run(self, walk: Walk, obj: Any) -> None:
        self.ran = walk
        self._drive(walk, obj)

    def _drive(self, walk: Walk, obj: Any) -> None:
        try:
            self.engine.drive(self.engine.pickler, self.engine.stock, walk.override, obj)
        except Exception as error:
            signals.reraise(error, *_SIGNALS)
            raise

    def _after(self, first: FirstWalk, obj: Any) -> list[tuple[Edge, str]] | None:
        """Complete a first walk; gives what dangles unasked, or None: to be tried again, wiser."""
        if not self.known.ordered:  # it was looked ahead
            self.known.orderless = True  # or it would not have been possible
            return self._decided_at_last(obj)
        if not first.pending and not first.again:
            return []
        first.take_over()
        if self._unhooked is not None:
            first.override = self._unhooked
        if not self._learn(first):
            return None
        outside = [edge for edge in first.pending if id(edge.referent) not in first.met]
        decided = [(edge, self.known.outside(edge.weak, edge.referent)) for edge in outside]
        for edge, decision in decided:
            if decision.fate is Fate.REFUSE:
                first.refuse(edge, decision)
        if not first.again and len(outside) == len(first.pending):
            if self.watch is not None:
                for edge, decision in decided:
                    self.watch.see(edge, decision)
            return [(edge, decision.reason) for edge, decision in decided if not decision.asked]
        self.known.inside = first.met
        self.known.learn_order()
        return self._decided_at_last(obj)

    def _decided_at_last(self, obj: Any) -> list[tuple[Edge, str]] | None:
        """Run a second walk, given what is inside; else as `_after`."""
        second = self._second_walk(obj)
        return None if second is None else second.lost

    def _second_walk(self, obj: Any) -> SecondWalk | None:
        """Write the payload, knowing what is inside; None where something in it failed."""
        while True:
            self.start_over()
            second = SecondWalk(self.known, obj)
            self.walks.append(second)
            if self.watch is not None:
                self.watch.begin()
                self._listen(second)
            try:
                self._run(second, second.envelope())
            except (Refused, TooLarge):
                raise
            except OrderMatters:
                return None  # looked ahead in vain: the next first walk is run to its end
            except Exception as error:
                if (
                    self.known.orderless
                    and known.is_too_deep(error)
                    and not known.left_a_dump(error)
                ):
                    # Whole referents stand deeper than their shells would: without those.
                    self.known.orderless = False
                    continue
                if not self._survey(second.snapshot_edges(), second.entries):
                    raise
                return None
            if not second.postpones:
                return second

    def _learn(self, first: FirstWalk) -> bool:
        """Walk what is strong only by way of weak things; False where a callback had to go."""
        if not first.queue and not first.waiting:
            first.learn_sets()
            return True
        mark = self.place.mark()
        met_buffers = 0 if self.buffers is None else len(self.buffers.met)
        try:
            self._run(first, first.rest())
        except (Refused, TooLarge):
            raise
        except Exception:
            for edge in first.pending:
                if edge.callback is not None and id(edge.referent) in first.met:
                    self.known.callbacks[id(edge.callback)] = edge.callback
            if not self._survey([], []):
                raise
            return False
        self.place.cut(mark)
        if self.buffers is not None:
            del self.buffers.met[met_buffers:]
        return True

    # --- for a watch (`watches.Dump`) ----------------------------------------------------

    def _listen(self, walk: Walk) -> None:
        assert self.watch is not None
        walk.watched_by(self.watch)
        self._unhooked = None
        hooks = self.watch.hooks(self.known.reduced if walk is self.first else None)
        if hooks:
            self._unhooked = walk.override
            walk.override = _after(hooks, walk.override)

    @property
    def host(self) -> str:
        """The package of the pickler."""
        return self.engine.host_module.rpartition(".")[0] or "pickle"

    def by_name(self, obj: Any) -> bool:
        """Whether the pickler writes a class, function or module as a name."""
        return self.engine.by_name(obj)

    def size(self) -> int:
        """Bytes that are written."""
        return self.place.size()

    def payload(self) -> Payload:
        """What is written, to be put back after `weigh`."""
        return Payload(*self.place.keep(), self.engine.memo(), len(self.start))

    def put_back(self, payload: Payload) -> None:
        """Leave the dump as it was when it gave this payload."""
        self.place.put_back(payload[:2])
        self.engine.reset(payload.memo)

    def weigh(self, obj: Any, limit: float | None, *, with_snapshots: bool) -> int | None:
        """Bytes of the pickle of `obj` by this pickler; None where that is too large, or fails."""
        met_buffers = 0 if self.buffers is None else len(self.buffers.met)
        self.place.clear()
        self.place.limit = limit
        self.engine.reset(self.start)
        inner = Session(self.engine, self.place, self.start)
        inner.buffers = None
        inner.policy = self.policy
        inner.known = self.known.again(with_snapshots=with_snapshots)
        try:
            with observe.watching(False):
                inner.walk_again(obj)
                inner.complete(obj)
            return self.place.size()
        except Exception:  # noqa: BLE001 - it is in the payload all the same: no size, no harm
            return None
        finally:
            self.place.limit = None
            inner.take_apart()
            if self.buffers is not None:
                del self.buffers.met[met_buffers:]

    # --- failures ---------------------------------------------------------------------

    def _survey(self, snapshots: list[Edge], entries: list[Edge]) -> bool:
        """Find every snapshot and callback that cannot be pickled; False if there is none.

        Each is walked by itself, weak edges left aside; what was walked well is not walked
        again, so this takes time in proportion to what there is, and to what fails.
        """
        self.start_over()
        if self.watch is not None:
            self.watch.begin()
        known, walk = self.known, self.first_walk()
        subjects: list[tuple[Edge | None, Any]] = [
            *((None, callback) for callback in known.callbacks.values()),
            *((entry, entry.value) for entry in entries),
            *((edge, edge.referent) for edge in snapshots),
        ]
        seen = {id(subject): subject for _, subject in subjects}
        failures, met = 0, blame.listen(walk)
        while subjects:
            edge, subject = subjects.pop()
            failure = self.probe(walk, subject)
            try:
                if failure is not None:
                    cause = words.cause(failure)
                    if failures < _PLACED:
                        cause += blame.place(self, walk, subject, met)
                    failures += self._fail(edge, subject, failure, cause)
            finally:
                del failure  # its traceback leads to this frame, and so back to itself
            met.clear()
            for pending in walk.pending:
                if known.outside(pending.weak, pending.referent).fate is not Fate.SNAPSHOT:
                    continue
                for found in (pending.referent, pending.value):
                    if (
                        found is not None
                        and id(found) not in seen
                        and id(found) not in known.inside
                    ):
                        seen[id(found)] = found
                        subjects.append((pending, found))
            subjects += ((None, held) for held in walk.queue if callable(held))
            walk.pending.clear()
            walk.queue.clear()
            walk.waiting.clear()
        return failures > 0

    def probe(self, walk: FirstWalk, subject: Any) -> Exception | None:
        """Why an object cannot be pickled, weak edges left aside; None if it can."""
        before = len(walk.met)
        try:
            self._drive(walk, subject)
        except Refused:
            return None
        except TooLarge:
            raise
        except BaseException as error:
            # What was met on the way to the failure is not known to be good.
            walk.constructed.clear()
            unsure = set(itertools.islice(walk.met, before, None))
            for identity in unsure:
                del walk.met[identity]
            memo = self.engine.memo()
            self.engine.reset({i: entry for i, entry in memo.items() if i in walk.met})
            walk.pending.clear()
            walk.queue.clear()
            if not isinstance(error, Exception):
                raise
            return error
        finally:
            self.place.clear()
        return None

    def _fail(self, edge: Edge | None, subject: Any, failure: Exception, cause: str) -> bool:
        """Note a failure; False where it was noted before."""
        known = self.known
        if edge is None:
            new = id(subject) not in known.dropped
            known.dropped[id(subject)] = (subject, cause)
            return new
        decision = Decision(Fate.DANGLE, f"it cannot be pickled ({cause})", asked=False)
        if self.policy.unpicklable == "raise":
            if self.watch is None or not self.watch.goes_on:
                raise Refused(edge, decision) from failure
            decision = decision._replace(fate=Fate.REFUSE)
            self.watch.refused(edge, decision)
        if subject is edge.referent:
            new = id(subject) not in known.failed
            known.failed[id(subject)] = decision
            known.keep(subject)
            return new
        key = (id(edge.weak), id(edge.referent))
        known.keep(edge)
        new = key not in known.failed_entries
        reason = f"its value cannot be pickled ({cause})"
        known.failed_entries[key] = Decision(Fate.DANGLE, reason, asked=False)
        return new

    def _too_large(self, referent: Any) -> bool:
        return is_too_large(self.engine, self.policy, referent)


def _after(hooks: Sequence[Hook], ordinary: Hook) -> Hook:
    """`ordinary`, asked where none of the hooks has an answer."""

    def reducer_override(obj: Any) -> Any:
        for hook in hooks:
            found = hook(obj)
            if found is not NotImplemented:
                return found
        return ordinary(obj)

    return reducer_override


def is_too_large(engine: Engine, policy: Policy, referent: Any) -> bool:
    """Whether a referent's own pickle is larger than a policy's `max_snapshot_bytes`."""
    limit = policy.max_snapshot_bytes
    assert limit is not None
    try:
        with block(policy, max_snapshot_bytes=None), observe.watching(False):
            engine.sibling_dump(referent, Limit(limit))
    except TooLarge:
        return True
    except Exception:  # noqa: BLE001 - if it travels, the walk itself fails, and says why
        return False
    return False


def run(
    make_engine: Any,
    pickler: Any,
    stock: Any,
    place: Place,
    obj: Any,
    watch: Watch | None = None,
) -> None:
    """Dump `obj` under the policy in force; its payload goes to the file, or nothing does.

    Until an instance is met that needs more than the pickler, this is all there is: no session
    and no policy, just an override that notes what it sees. Who calls puts the pickler back.

    Raises:
        WeakrefPicklingError: where the policy refuses.
        Exception: whatever stock raises for what is not weak.
    """
    if watch is None:
        watch = observe.watch_for(place.file)
        if watch is not None:
            with observe.watching(watch):
                run(make_engine, pickler, stock, place, obj, watch)
            return
    start = make_engine.remember(pickler, place.used)
    place.begin(make_engine.hooks(pickler), start)
    met = make_engine.met(pickler, start)
    override = getattr(pickler, "reducer_override", None)
    plans = make_engine.plans(pickler, override)
    session: Session | None = None

    def begin() -> Session:
        nonlocal start
        if type(start) is not dict:
            # Late, as most dumps never need it; what was met by earlier dumps comes first.
            start, since = start.memo.copy(), met.copy()
            met.clear()
            met.update(dict.fromkeys(start))
            met.update(since)
        engine = make_engine(pickler, stock, override)
        engine.adopt(plans)
        for obj_type in DOTTED_TYPES:
            plans.pop(obj_type, None)  # which was for payloads without our words
        session = Session(engine, place, start, met, plans, watch)
        session.first.root = obj
        return session

    def make_plan(obj_type: type) -> Any:
        nonlocal session
        if session is None:
            if make_engine.is_ordinary(pickler, obj_type):
                plans[obj_type] = None
                return None
            session = begin()
        return session.first.plan(obj_type)

    try:
        if watch is not None and watch.goes_on:
            session = begin()
            session.walk_again(obj)
        else:
            if watch is not None:
                # By the way of a dump that nobody watches, so that its bytes are the same.
                session = begin()
                watch.begin()
                session.first.watched_by(watch)
            elif make_engine.asks_for_all(override) or not known.short_cuts_allowed:
                session = begin()
            try:
                make_engine.watch(pickler, stock, met, plans, make_plan, obj)
            except LookedAhead:
                pass
            except Exception as error:
                if not isinstance(signals.behind(error, *_SIGNALS), LookedAhead):
                    signals.reraise(error, *_SIGNALS)
                    raise
        if session is None and place.buffers is not None and not place.buffers.settle():
            session = begin()
            session.walk_again(obj)
        if session is not None:
            session.conclude(obj)
        place.deliver()
    except BaseException as error:
        if session is None:
            if not isinstance(error, Exception):
                raise
            session = begin()
        found = session.explained(error, obj)
        if found is None:
            raise
        try:
            raise found from found.__cause__
        finally:
            del found  # or it would keep this frame, and so the payload
    finally:
        if session is not None:
            session.take_apart()
