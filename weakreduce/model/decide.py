"""Decide: the fate of one weak edge. Pure: no pickler, no encoding, no global state but the names.

`decide` is the one place that says what becomes of an edge. It is told what is known as data: the
`Facts` that a dump has gathered, which hold for all of it; its `Reach`, which may still grow; and
what is in the way where the payload stands (`Hinders`). Where that is not enough, the answer is
`OPEN`. A caller writes and remembers what it is told; it never makes an exception of its own.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, final

from weakreduce.model import sharing
from weakreduce.model.classes import bases_of
from weakreduce.model.kinds import Edge
from weakreduce.model.policies import Policy, shown
from weakreduce.model.scarce import says_nothing


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


#: Fates with which the copy of the referent, or its name, is there.
ARRIVES = frozenset({Fate.LINK, Fate.SNAPSHOT, Fate.TOKEN, Fate.HOME})
#: Fates with which the weak thing may have to keep its own copy alive.
PINS = frozenset({Fate.SNAPSHOT, Fate.HOME})


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
SHARED = Decision(Fate.TOKEN, "it is shared under a name")
BY_NAME = Decision(Fate.LINK, "its referent is importable on the receiver")
INSIDE = Decision(Fate.LINK, "its referent is in the payload")
DETACHED = Decision(Fate.DANGLE, "a finalizer arrives detached: a clean-up does not run twice")
#: Of an edge whose fate only the end of the strong walk can tell.
OPEN = Decision(Fate.DANGLE, "not known yet")
#: What a dump says of every snapshot when it is run to learn the size of all the rest.
LEFT_OUT = Decision(Fate.DANGLE, "left out")
#: Of an edge that leads back to what is constructed from what holds it.
CIRCULAR = Decision(
    Fate.DANGLE, "its referent is constructed from what holds the reference", asked=False
)
#: Of such an edge in a walk that is sure to be run again, which takes it into account.
WAITS = Decision(Fate.DANGLE, "what holds the reference has to wait for its referent")
UNREFERABLE = Decision(
    Fate.DANGLE, "its copy is of a type that cannot be weakly referenced", asked=False
)
UNPINNABLE = Decision(
    Fate.DANGLE, "a weak thing of this type cannot keep its referent alive", asked=False
)
#: Of a snapshot that resolves to the object that was sent, where that lives.
HOME = Decision(Fate.HOME, 'policy identity="home" takes it along, and home again')
CAME = Decision(Fate.HOME, "it is a copy that came from another process, and goes home")
FORBIDDEN = Decision(Fate.REFUSE, 'policy "forbid" refuses every live weak reference')


class Facts(Protocol):
    """What is known of a dump, whatever has been reached so far."""

    policy: Policy
    #: What the policy chooses where no rule matches: `outside_choice`.
    choice: Decision
    #: Ids of weak things that are known to be in a circle through a construction.
    circular: set[int]

    def ruled(self, edge: Edge) -> Decision | None:
        """What a rule of the policy says, or None: `rule_for`, asked once for each edge."""

    def is_named(self, referent: object) -> bool:
        """Whether a referent is written as a name, and so lives on the receiver anyway."""

    def stored_in(self, edge: Edge) -> tuple[type, str] | None:
        """The class, written as a name, that has a WeakMethod's function, and under which name."""

    def is_referable(self, referent: object) -> bool:
        """Whether the copy of a referent can be weakly referenced."""

    def obstacle(self, edge: Edge) -> Decision | None:
        """The decision that takes the place of a snapshot which cannot be."""

    def came(self, referent: object) -> bool:
        """Whether a referent is a copy from another process, and the receiver is to know that."""


class Reach(Protocol):
    """What is strongly reached in a dump, as far as it is known."""

    def holds(self, obj: object) -> bool | None:
        """Whether an object is inside; None where the reach may still grow to it."""


#: Gives the decision in the place of a link or a snapshot that cannot be made where the payload
#: stands; None where nothing is in the way.
Hinders = Callable[[Edge], Decision | None]


def decide(edge: Edge, facts: Facts, reach: Reach, hinders: Hinders) -> Decision:
    """The fate of an edge, from what is known; `OPEN` where that does not tell yet."""
    policy, referent = facts.policy, edge.referent
    if referent is None:
        return DEAD
    if policy.live == "forbid":
        return FORBIDDEN
    if policy.rules:
        rule = facts.ruled(edge)
        if rule is not None and rule.fate is Fate.SEVER:
            return rule
    if sharing.name_of(referent) is not None:
        return SHARED
    there = _is_there(referent, facts, reach)
    if there and edge.function is not None:  # a WeakMethod holds its function weakly, too
        there = _is_there(edge.function, facts, reach)
        if there is False:
            there = facts.stored_in(edge) is not None
    if there is None:
        return OPEN
    if not there:
        return outside(edge, facts, hinders)
    if not reach.holds(referent):
        return _here(BY_NAME, edge, facts, hinders)
    if not facts.is_referable(referent):
        return given_up(UNREFERABLE, policy)
    return _here(INSIDE, edge, facts, hinders)


def _is_there(obj: object, facts: Facts, reach: Reach) -> bool | None:
    """Whether the receiver has an object anyway: inside, or by name; None where that is open."""
    inside = reach.holds(obj)
    return True if inside or facts.is_named(obj) else inside


def outside(edge: Edge, facts: Facts, hinders: Hinders) -> Decision:
    """The fate of an edge whose referent is neither inside nor by name: the policy's part."""
    decision = (facts.ruled(edge) if facts.policy.rules else None) or facts.choice
    if decision.fate is not Fate.SNAPSHOT:
        return decision
    obstacle = facts.obstacle(edge)
    if obstacle is not None:
        return obstacle
    if not facts.is_referable(edge.referent):
        return given_up(UNREFERABLE, facts.policy)
    if facts.policy.identity == "home":
        decision = HOME
    elif facts.came(edge.referent):
        decision = CAME
    return _here(decision, edge, facts, hinders)


def _here(decision: Decision, edge: Edge, facts: Facts, hinders: Hinders) -> Decision:
    """A link or a snapshot, unless no receiver could make it at this place of the payload."""
    hindrance = CIRCULAR if id(edge.weak) in facts.circular else hinders(edge)
    return decision if hindrance is None else given_up(hindrance, facts.policy)


def given_up(decision: Decision, policy: Policy) -> Decision:
    """A referent is lost unasked, or refused for that, as the policy says of the unpicklable."""
    if policy.unpicklable == "raise" and not decision.asked:
        return decision._replace(fate=Fate.REFUSE)
    return decision


def leaves_finalizers(policy: Policy) -> bool:
    """Whether finalizers are the pickler's: stock writes dead ones, as "detach" wants."""
    return policy.finalizers == "detach" and policy.live == "allow"


# --- the policy's part ----------------------------------------------------------------------


def matches(match: Any, weak: Any, referent: Any) -> bool:
    """Whether a rule's match covers this edge."""
    if issubclass(type(match), type):
        # A proxy answers isinstance() for its referent, a dead one raises: ask its type.
        return _is(issubclass, type(weak), match) or _is(isinstance, referent, match)
    return bool(match(weak, referent))


def _is(ask: Callable[[Any, Any], bool], asked: Any, match: type) -> bool:
    try:
        return ask(asked, match)
    except Exception as error:  # by the code of a metaclass, or of a property __class__
        if says_nothing(error):
            raise
        cls = asked if ask is issubclass else type(asked)
        return any(base is match for base in bases_of(cls))


def outside_choice(policy: Policy) -> Decision:
    """What the policy chooses where no rule matches."""
    return Decision(Fate(policy.outside), functools.partial(_choice, policy))


def _choice(policy: Policy) -> str:
    does = {"refuse": "refuses it", "dangle": "leaves it out", "snapshot": "takes it along"}
    return f'policy "{policy.name}" {does[policy.outside]}'


def rule_for(policy: Policy, weak: object, referent: object) -> Decision | None:
    """What the first rule that matches says; None where none does."""
    for number, (match, fate) in enumerate(policy.rules):
        if matches(match, weak, referent):
            return Decision(Fate(fate), functools.partial(_ruled, number, match, fate))
    return None


def _ruled(number: int, match: object, fate: str) -> str:
    return f"rule {number} ({shown(match)}) says {fate!r}"
