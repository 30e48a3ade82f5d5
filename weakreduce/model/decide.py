"""Decide: the fate of one weak edge. Pure: no pickler, no encoding, no global state.

`outside_fate` is what the policy chooses for a referent that is not inside; `decide`
adds what does not depend on the policy.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, final

from weakreduce.model.classes import bases_of
from weakreduce.model.policies import Policy, shown


@final
class Fate(enum.Enum):
    """What becomes of one weak edge."""

    DEAD = "dead"
    TOKEN = "token"  # noqa: S105 - a fate, not a secret
    LINK = "link"
    SNAPSHOT = "snapshot"
    HOME = "home"
    DANGLE = "dangle"
    SEVER = "sever"
    REFUSE = "refuse"


class Decision(NamedTuple):
    """A fate and why."""

    fate: Fate
    #: The text of the reason, or what makes it when it is shown.
    why: str | Callable[[], str]
    #: False where the referent is lost although nobody asked for that: a warning is due.
    asked: bool = True

    @property
    def reason(self) -> str:
        """Why, in words."""
        return self.why if isinstance(self.why, str) else self.why()


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
UNREFERABLE = Decision(
    Fate.DANGLE, "its copy is of a type that cannot be weakly referenced", asked=False
)
#: Of a snapshot that resolves to the object that was sent, where that lives.
HOME = Decision(Fate.HOME, 'policy identity="home" takes it along, and home again')
CAME = Decision(Fate.HOME, "it is a copy that came from another process, and goes home")
FORBIDDEN = Decision(Fate.REFUSE, 'policy "forbid" refuses every live weak reference')


def matches(match: Any, weak: Any, referent: Any) -> bool:
    """Whether a rule's match covers this edge."""
    if issubclass(type(match), type):
        # A proxy answers isinstance() for its referent, a dead one raises: ask its type.
        return _is(issubclass, type(weak), match) or _is(isinstance, referent, match)
    return bool(match(weak, referent))


def _is(ask: Callable[[Any, Any], bool], asked: Any, match: type) -> bool:
    try:
        return ask(asked, match)
    except Exception:  # noqa: BLE001 - the code of a metaclass, or of a property __class__
        cls = asked if ask is issubclass else type(asked)
        return any(base is match for base in bases_of(cls))


def outside_choice(policy: Policy) -> Decision:
    """What the policy chooses where no rule matches."""
    return Decision(Fate(policy.outside), functools.partial(_choice, policy))


def _choice(policy: Policy) -> str:
    does = {"refuse": "refuses it", "dangle": "leaves it out", "snapshot": "takes it along"}
    return f'policy "{policy.name}" {does[policy.outside]}'


def outside_fate(policy: Policy, weak: Any, referent: Any) -> Decision:
    """What the policy chooses for a referent that is neither inside nor by name."""
    for number, (match, fate) in enumerate(policy.rules):
        if matches(match, weak, referent):
            return Decision(Fate(fate), functools.partial(_ruled, number, match, fate))
    return outside_choice(policy)


def _ruled(number: int, match: Any, fate: str) -> str:
    return f"rule {number} ({shown(match)}) says {fate!r}"


def severed(policy: Policy, weak: Any, referent: Any) -> Decision | None:
    """The decision of a ``"sever"`` rule, which counts inside too."""
    if any(fate == "sever" for _, fate in policy.rules):
        decision = outside_fate(policy, weak, referent)
        if decision.fate is Fate.SEVER:
            return decision
    return None
