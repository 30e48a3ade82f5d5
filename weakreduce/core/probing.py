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
from weakreduce.model.kinds import Kind


class Enough(BaseException):
    """The search has done as much work as it may: a signal, which all code lets pass."""


@final
class Met(list[Any]):
    """Objects that were asked for, in order, kept alive; up to a limit."""

    limit = float("inf")


class _Probing(FirstWalk):
    """Notes each weak edge that it comes to, however certain a second walk may be."""

    def weak(self, kind: Kind, weak: object) -> Reduction:
        """The reduction of a weak thing."""
        return encode.encode(self, kind, weak)


class Prober:
    """Probes objects with a dump's own pickler, whose payload is lost.

    Args:
        facts: of the dump.
        place: where the pickler writes.
        goes_on: whether refused edges are walked past.
    """

    def __init__(self, facts: Facts, place: Place, *, goes_on: bool = False) -> None:
        self.facts = facts
        self.adapter: Adapter = facts.adapter
        self.place = place
        self.met = Met()
        # Nothing is inside because it was probed before, whatever that was probed for.
        met = dict.fromkeys(facts.written_before)
        self.walk = _Probing(facts, Reach({}), met=met)
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
            memo = self.adapter.memo()
            self.adapter.reset({i: entry for i, entry in memo.items() if i in walk.met})
            walk.pending.clear()
            walk.queue.clear()
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
