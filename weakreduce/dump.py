"""One dump, from object to bytes: as many walks as exactness needs, one write to the file.

`obj -> FirstWalk -> (SecondWalk) -> bytes`. A `Session` belongs to one call of one
pickler's ``dump``, and drives the pickler through an `Engine`. When it ends, whichever way,
it takes itself apart: nothing of the payload outlives the dump in a reference cycle.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any, Protocol

from weakreduce import words
from weakreduce.decide import Decision, Fate
from weakreduce.errors import DanglingWarning
from weakreduce.first_walk import FirstWalk
from weakreduce.kinds import Edge
from weakreduce.known import Adapter, Known
from weakreduce.policy import Policy, get_policy
from weakreduce.policy import policy as block
from weakreduce.second_walk import SecondWalk
from weakreduce.seen import seen
from weakreduce.sink import Buffers, Limit, Sink, TooLarge
from weakreduce.walk import NeedsItself, Refused, Walk


class Engine(Adapter, Protocol):
    """A pickler, as a session drives it."""

    pickler: Any

    def run(self, obj: Any) -> None:
        """The host's own ``dump``, which writes to the sink."""

    def memo(self) -> dict[int, Any]:
        """A copy of the memo, which keeps all that it names alive."""

    def reset(self, memo: dict[int, Any]) -> None:
        """Put an earlier memo back."""

    def sibling_dump(self, obj: Any, file: Any) -> None:
        """Dump `obj` by itself, with a pickler of the same kind and settings."""


class Session:
    """One dump of one pickler."""

    def __init__(self, engine: Engine, sink: Sink, buffers: Buffers | None, policy: Policy) -> None:
        self.engine = engine
        self.sink = sink
        self.buffers = buffers
        self.policy = policy
        self.start = engine.memo()
        self.known = Known(engine, policy, self._too_large, self.start)
        self.walks: list[Walk] = []

    def dump(self, obj: Any) -> None:
        """Leave the payload of `obj` in the sink.

        Raises:
            WeakrefPicklingError: where the policy refuses.
            Exception: whatever stock raises for what is not weak.
        """
        try:
            lost = self._attempt(obj)
            while lost is None or not (self.buffers is None or self.buffers.settle()):
                self._start_over()
                lost = self._attempt(obj)
            dropped = list(self.known.dropped.values())
            if lost or dropped:
                words.warn(obj, lost, dropped)
        except Refused as refused:
            error = words.refusal(self.policy, obj, refused.edge, refused.decision)
            self._start_over()
            raise error from refused.__cause__
        except NeedsItself as needed:
            self._start_over()
            raise words.construction(obj, needed.obj) from None
        except BaseException:
            # Nothing reaches the file, so the memo must not say that anything did.
            self._start_over()
            raise
        finally:
            if any(walk.weak_things for walk in self.walks):
                seen.dumps += 1
            self._take_apart()

    def _take_apart(self) -> None:
        # Walks and hooks refer to each other; the payload must die with its last user all the same.
        if self.buffers is not None:
            self.buffers.forget()
        for part in (*self.walks, self.known, self):
            vars(part).clear()

    # --- walks ------------------------------------------------------------------------

    def _start_over(self) -> None:
        self.sink.clear()
        self.engine.reset(self.start)
        if self.buffers is not None:
            self.buffers.rewind()

    def _first_walk(self) -> FirstWalk:
        walk = FirstWalk(self.known, self.engine.memo)
        self.walks.append(walk)
        return walk

    def _run(self, walk: Walk, obj: Any) -> None:
        pickler = self.engine.pickler
        pickler.reducer_override = walk.override
        try:
            self.engine.run(obj)
        finally:
            del pickler.reducer_override

    def _attempt(self, obj: Any) -> list[tuple[Edge, str]] | None:
        """Write the payload; gives what dangles unasked, or None: to be tried again, wiser."""
        first = self._first_walk()
        self._run(first, obj)
        if not first.pending and not first.again:
            return []
        if not self._learn(first):
            return None
        outside = [edge for edge in first.pending if id(edge.referent) not in first.met]
        decided = [(edge, self.known.outside(edge.weak, edge.referent)) for edge in outside]
        for edge, decision in decided:
            if decision.fate is Fate.REFUSE:
                raise Refused(edge, decision)
        if not first.again and len(outside) == len(first.pending):
            return [(edge, decision.reason) for edge, decision in decided if not decision.asked]
        self.known.inside = dict(first.met)
        alive = self.engine.memo()  # what the ids in `inside` name
        self._start_over()
        second = SecondWalk(self.known, obj)
        self.walks.append(second)
        try:
            self._run(second, second.envelope())
        except (Refused, TooLarge):
            raise
        except Exception:
            if not self._survey(list(second.snapshots.values()), second.entries):
                raise
            return None
        del alive
        return second.lost

    def _learn(self, first: FirstWalk) -> bool:
        """Walk what is strong only by way of weak things; False where a callback had to go."""
        if not first.queue and not first.waiting:
            first.learn_sets()
            return True
        marker = self.sink.tell()
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
        self.sink.seek(marker)
        self.sink.truncate()
        if self.buffers is not None:
            del self.buffers.met[met_buffers:]
        return True

    # --- failures ---------------------------------------------------------------------

    def _survey(self, snapshots: list[Edge], entries: list[Edge]) -> bool:
        """Find every snapshot and callback that cannot be pickled; False if there is none.

        Each is walked by itself, weak edges left aside; what was walked well is not walked
        again, so this takes time in proportion to what there is, and to what fails.
        """
        self._start_over()
        known, walk = self.known, self._first_walk()
        subjects: list[tuple[Edge | None, Any]] = [
            *((None, callback) for callback in known.callbacks.values()),
            *((entry, entry.value) for entry in entries),
            *((edge, edge.referent) for edge in snapshots),
        ]
        seen = {id(subject) for _, subject in subjects}
        failures = 0
        while subjects:
            edge, subject = subjects.pop()
            failure = self._probe(walk, subject)
            if failure is not None:
                failures += self._fail(edge, subject, failure)
            for pending in walk.pending:
                if known.outside(pending.weak, pending.referent).fate is not Fate.SNAPSHOT:
                    continue
                for found in (pending.referent, pending.value):
                    if (
                        found is not None
                        and id(found) not in seen
                        and id(found) not in known.inside
                    ):
                        seen.add(id(found))
                        subjects.append((pending, found))
            subjects += ((None, held) for held in walk.queue if callable(held))
            walk.pending.clear()
            walk.queue.clear()
            walk.waiting.clear()
        return failures > 0

    def _probe(self, walk: FirstWalk, subject: Any) -> Exception | None:
        """Why an object cannot be pickled, weak edges left aside; None if it can."""
        before = len(walk.met)
        try:
            self._run(walk, subject)
        except Refused:
            return None
        except TooLarge:
            raise
        except Exception as error:  # noqa: BLE001 - it is the answer
            # What was met on the way to the failure is not known to be good.
            walk.constructed.clear()
            unsure = set(itertools.islice(walk.met, before, None))
            for identity in unsure:
                del walk.met[identity]
            memo = self.engine.memo()
            self.engine.reset({i: entry for i, entry in memo.items() if i in walk.met})
            walk.pending.clear()
            walk.queue.clear()
            return error
        finally:
            self.sink.clear()
        return None

    def _fail(self, edge: Edge | None, subject: Any, failure: Exception) -> bool:
        """Note a failure; False where it was noted before."""
        known, cause = self.known, words.cause(failure)
        if edge is None:
            new = id(subject) not in known.dropped
            known.dropped[id(subject)] = (subject, cause)
            return new
        decision = Decision(Fate.DANGLE, f"it cannot be pickled ({cause})", asked=False)
        if self.policy.unpicklable == "raise":
            raise Refused(edge, decision) from failure
        if subject is edge.referent:
            new = id(subject) not in known.failed
            known.failed[id(subject)] = decision
            return new
        key = (id(edge.weak), id(edge.referent))
        new = key not in known.failed_entries
        reason = f"its value cannot be pickled ({cause})"
        known.failed_entries[key] = Decision(Fate.DANGLE, reason, asked=False)
        return new

    def _too_large(self, referent: Any) -> bool:
        limit = self.policy.max_snapshot_bytes
        assert limit is not None
        try:
            with block(self.policy, max_snapshot_bytes=None), warnings.catch_warnings():
                warnings.simplefilter("ignore", DanglingWarning)
                self.engine.sibling_dump(referent, Limit(limit))
        except TooLarge:
            return True
        except Exception:  # noqa: BLE001 - if it travels, the walk itself fails, and says why
            return False
        return False


def run(engine: Engine, sink: Sink, buffers: Buffers | None, obj: Any) -> None:
    """Dump `obj` under the policy in force."""
    Session(engine, sink, buffers, get_policy()).dump(obj)
