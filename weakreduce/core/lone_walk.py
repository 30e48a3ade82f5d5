"""One weak thing without context: its reduction where nothing is known of the payload around it.

A pickler that only reads a host's dispatch table hands over one object, and says nothing of what
else it writes, nor where. So every live referent counts as outside; what is shared, or written as a
name, is known all the same. The pickler's own memo makes one copy of what the payload holds twice.

Rule: decisions are `decide`'s, reductions `encode`'s. `hosts/tables.py` puts this into the tables.
"""

from __future__ import annotations

import operator
from typing import Any, final

from weakreduce.core import words
from weakreduce.core.adapter import Adapter
from weakreduce.core.expressions import Call, Reduction
from weakreduce.core.facts import Facts
from weakreduce.core.reach import Reach
from weakreduce.core.walk import Lost, Refused, Walk
from weakreduce.model import homes
from weakreduce.model.decide import Decision, Fate, leaves_finalizers
from weakreduce.model.in_force import get_policy
from weakreduce.model.kinds import Edge, Kind, kind_of


@final
class LoneWalk(Walk):
    """A `Writer` for one weak thing, with a reach that is empty, and complete."""

    def __init__(self, facts: Facts) -> None:
        reach = Reach({})
        reach.complete = True
        super().__init__(facts, reach, met={})
        self.fills: list[Call] = []
        #: Edges that dangle although nobody asked for that.
        self.lost: list[Lost] = []

    def hindrance(self, edge: Edge) -> Decision | None:
        return None  # nothing is known of what is around it

    def note(self, edge: Edge, decision: Decision) -> None:
        if not decision.asked and decision.fate is Fate.DANGLE:
            self.lost.append((edge, decision.reason))

    def strong(self, obj: object) -> Any:
        return obj

    def later(self, fill: Call) -> None:
        self.fills.append(fill)

    def reduction(self, kind: Kind, weak: Any) -> Reduction:
        """The whole reduction of a weak thing."""
        if kind.is_finalizer and leaves_finalizers(self.policy):
            return weak.__reduce_ex__(self.adapter.protocol)  # type: ignore[no-any-return]
        found = self.weak(kind, weak)
        if self.fills:
            # There is no end of the payload that we could wait for.
            steps = [*(found[2] if len(found) > 2 else ()), *self.fills]
            found = (*found[:2], steps, None, None, operator.is_)
        return found


def reduce_alone(adapter: Adapter, weak: Any) -> Reduction:
    """The reduction of a weak thing under the policy in force, to be written by any pickler.

    Args:
        adapter: tells what the host writes as a name, and measures referents where the policy
            limits them.
        weak: an instance of a weak type.

    Raises:
        WeakrefPicklingError: where the policy refuses.
    """
    kind = kind_of(type(weak))
    if kind is None:
        # A subclass that somebody gave its base's entry has a __reduce__ of its own.
        return weak.__reduce_ex__(adapter.protocol)  # type: ignore[no-any-return]
    policy = get_policy()
    facts = Facts(adapter, policy)
    walk = LoneWalk(facts)
    try:
        found = walk.reduction(kind, weak)
        if walk.lost:
            words.warn(None, walk.lost, [])
        homes.sent(walk.numbered)
    except Refused as refused:
        raise words.refusal(policy, None, refused.edge, refused.decision) from None
    finally:
        # The referents must die with their last user, though a walk and its hooks refer to
        # each other.
        walk.take_apart()
        facts.take_apart()
    return found
