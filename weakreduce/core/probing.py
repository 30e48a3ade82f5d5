"""Single objects, walked by themselves: which of them cannot be pickled.

A `Prober` is used when a dump has failed. It skips what it has walked well already, and leaves weak
edges aside: those that it comes upon are there to be looked at.
"""

from __future__ import annotations

import itertools
from typing import Any, final

from weakreduce.core import encode
from weakreduce.core.adapter import Adapter
from weakreduce.core.expressions import Reduction
from weakreduce.core.facts import Facts
from weakreduce.core.first_walk import FirstWalk
from weakreduce.core.reach import Reach
from weakreduce.core.sink import Place, TooLarge
from weakreduce.core.walk import Refused
from weakreduce.model.decide import ARRIVES, OPEN, PINS, Decision, outside
from weakreduce.model.kinds import Edge, Kind


class Enough(BaseException):
    """The search has done as much work as it may: a signal, which all code lets pass."""


@final
class Met(list[Any]):
    """Objects that were asked for, in order, kept alive; up to a limit."""

    limit = float("inf")


class _Probing(FirstWalk):
    """Leaves all weak edges aside, and notes what else of those that travel does.

    In `pending` are the snapshots, each to be probed by itself; in the `queue` is what is strong
    by way of the edges, and so belongs to what is probed.

    Args:
        facts: of the dump.
        inside: what is inside, as far as the dump knew. (Nothing is because it was probed.)
    """

    def __init__(self, facts: Facts, inside: Reach) -> None:
        super().__init__(facts, inside, met=dict.fromkeys(facts.written_before))
        #: Callbacks of edges that travel, which may be dropped alone.
        self.callbacks: list[Any] = []

    def weak(self, kind: Kind, weak: object) -> Reduction:
        """The reduction of a weak thing."""
        return encode.encode(self, kind, weak)

    def hindrance(self, edge: Edge) -> Decision | None:
        """Nothing is made of what is written here."""
        return None

    def decide(self, edge: Edge) -> Decision:
        """`OPEN`, when what the fate is was noted."""
        super().decide(edge)
        return OPEN

    def note(self, edge: Edge, decision: Decision) -> None:
        """Remember what else of an edge travels."""
        if decision is OPEN:
            decision = outside(edge, self.facts, self.hindrance)
        if decision.fate not in ARRIVES:
            return
        if decision.fate in PINS:
            self.pending.append(edge)
        else:
            self.queue.append(edge.value)
        self.queue.append(edge.key)
        kind, callback = self.types[type(edge.weak)].kind, self.kept_callback(edge)
        if kind is not None and kind.is_finalizer:
            self.queue.append(edge.callback)
        elif callback is not None:
            self.facts.callbacks[id(callback)] = callback
            self.callbacks.append(callback)

    def forget(self) -> None:
        """Forget what was left aside."""
        self.pending.clear()
        self.callbacks.clear()
        self.queue.clear()


class Prober:
    """Probes objects with a dump's own pickler, whose payload is lost.

    Args:
        facts: of the dump.
        place: where the pickler writes.
        inside: what is inside, as far as the dump knew. (Nothing is because it was probed.)
        goes_on: whether refused edges are walked past.
    """

    def __init__(self, facts: Facts, place: Place, inside: Reach, *, goes_on: bool = False) -> None:
        self.facts = facts
        self.adapter: Adapter = facts.adapter
        self.place = place
        self.met = Met()
        self.walk = _Probing(facts, inside)
        self.walk.goes_on = goes_on
        self._override = self.walk.override([self._listen])

    def _listen(self, obj: object) -> Any:
        if len(self.met) >= self.met.limit:
            raise Enough
        self.met.append(obj)
        return NotImplemented

    def probe(self, subject: object) -> Exception | None:
        """Why an object cannot be pickled, weak edges left aside; None if it can.

        Raises:
            MemoryError: the process lacks memory, whatever the object is.
        """
        walk = self.walk
        before = len(walk.met)
        try:
            self.adapter.drive(self._override, subject)
            driven: dict[int, Any] = {}
            while walk.queue:
                part = walk.queue.pop()
                if part is not None and id(part) not in driven:
                    driven[id(part)] = part
                    self.adapter.drive(self._override, part)
        except Refused:
            walk.queue.clear()
            return None
        except TooLarge:
            raise
        except BaseException as error:
            # What was met on the way to the failure is not known to be good.
            walk.constructed.clear()
            unsure = set(itertools.islice(walk.met, before, None))
            for identity in unsure:
                del walk.met[identity]
            memo = self.adapter.memo()
            self.adapter.reset({i: entry for i, entry in memo.items() if i in walk.met})
            walk.forget()
            if not isinstance(error, Exception) or isinstance(error, MemoryError):
                raise  # that says nothing of the object
            return error
        finally:
            self.place.clear()
        return None

    def take_apart(self) -> None:
        """Forget all: what was probed must die with its last user."""
        self.walk.take_apart()
        vars(self).clear()
