"""Decide: the fate of one weak edge. Pure: no pickler, no encoding, no global state.

`outside_fate` is what the policy chooses for a referent that is not inside; `decide`
adds what does not depend on the policy.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple, final

from weakreduce.policies import Policy


@final
class Fate(enum.Enum):
    """What becomes of one weak edge."""

    DEAD = "dead"
    TOKEN = "token"  # noqa: S105 - a fate, not a secret
    LINK = "link"
    SNAPSHOT = "snapshot"
    DANGLE = "dangle"
    SEVER = "sever"
    REFUSE = "refuse"


class Decision(NamedTuple):
    """A fate and why."""

    fate: Fate
    reason: str
    #: False where the referent is lost although nobody asked for that: a warning is due.
    asked: bool = True


DEAD = Decision(Fate.DEAD, "its referent is dead")
BY_NAME = Decision(Fate.LINK, "its referent is importable on the receiver")
INSIDE = Decision(Fate.LINK, "its referent is in the payload")
DETACHED = Decision(Fate.DANGLE, "a finalizer arrives detached: a clean-up does not run twice")
#: What a first walk says of an edge whose fate only the end can tell.
NOT_YET = Decision(Fate.DANGLE, "not known yet")
#: What a dump says of every snapshot when it is run to learn the size of all the rest.
LEFT_OUT = Decision(Fate.DANGLE, "left out")
#: Of an edge that leads back to what is constructed from what holds it.
CIRCULAR = Decision(
    Fate.DANGLE, "its referent is constructed from what holds the reference", asked=False
)
FORBIDDEN = Decision(Fate.REFUSE, 'policy "forbid" refuses every live weak reference')


def matches(match: Any, weak: Any, referent: Any) -> bool:
    """Whether a rule's match covers this edge."""
    if isinstance(match, type):
        # A proxy answers isinstance() for its referent, a dead one raises: ask its type.
        if issubclass(type(weak), match):
            return True
        try:
            return isinstance(referent, match)
        except Exception:  # noqa: BLE001 - the referent's __class__ is a property that raises
            return match in type(referent).__mro__
    return bool(match(weak, referent))


def outside_choice(policy: Policy) -> Decision:
    """What the policy chooses where no rule matches."""
    does = {"refuse": "refuses it", "dangle": "leaves it out", "snapshot": "takes it along"}
    return Decision(Fate(policy.outside), f'policy "{policy.name}" {does[policy.outside]}')


def outside_fate(policy: Policy, weak: Any, referent: Any) -> Decision:
    """What the policy chooses for a referent that is neither inside nor by name."""
    for number, (match, fate) in enumerate(policy.rules):
        if matches(match, weak, referent):
            named = getattr(match, "__qualname__", repr(match))
            return Decision(Fate(fate), f"rule {number} ({named}) says {fate!r}")
    return outside_choice(policy)


def severed(policy: Policy, weak: Any, referent: Any) -> Decision | None:
    """The decision of a ``"sever"`` rule, which counts inside too."""
    if any(fate == "sever" for _, fate in policy.rules):
        decision = outside_fate(policy, weak, referent)
        if decision.fate is Fate.SEVER:
            return decision
    return None
