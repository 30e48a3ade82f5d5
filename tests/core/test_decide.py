"""The fate of an edge, for every combination of what may be known of it: data, and no pickler.

`FATES` is the contract's table; what `decide` says is compared with its first row that holds.
"""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import weakreduce
from weakreduce.model import decide
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.kinds import Edge
from weakreduce.model.policies import Policy


class Thing:
    """A referent."""


class Other:
    """Another one, that no rule is about."""


@dataclasses.dataclass(frozen=True)
class Case:
    """All that may be known of an edge."""

    alive: bool = True
    live: str = "allow"
    outside: str = "snapshot"
    rule: str | None = None
    unpicklable: str = "dangle"
    identity: str = "copy"
    shared: bool = False
    #: Whether the referent is reached: False where it is known not to be, None where that is open.
    inside: bool | None = False
    #: Whether it is written as a name.
    named: bool = False
    #: The same of the function of a WeakMethod; or that there is none, or that a class has it.
    function: bool | None | str = "none"
    #: Whether its copy can be weakly referenced, as far as one sees.
    referable: bool = True
    #: Whether something is in the way of a snapshot: it is too large, or fails.
    obstacle: bool = False
    #: Whether the referent came from another process.
    came: bool = False
    #: What is in the way of anything that arrives: nothing, a circle, one that is known from
    #: before, or one that the next walk takes into account.
    hindrance: str = "none"

    @property
    def there(self) -> bool | None:
        """Whether the receiver has it anyway; None where that is open."""
        referent = True if self.named else self.inside
        if not referent or self.function == "none":
            return referent
        return True if self.function == "stored" else self.function  # type: ignore[return-value]

    @property
    def chosen(self) -> str:
        """What the policy chooses for what is outside."""
        return self.rule or self.outside

    @property
    def refuses(self) -> bool:
        """Whether what is lost unasked is an error."""
        return self.unpicklable == "raise"


LOST = (Fate.DANGLE, False)
CIRCLES = ("circle", "known circle")
#: When, in this order, and what becomes of the edge: its fate, and whether that was asked for.
FATES: list[tuple[str, Callable[[Case], bool], Any]] = [
    ("dead", lambda c: not c.alive, (Fate.DEAD, True)),
    ("no live one may travel", lambda c: c.live == "forbid", (Fate.REFUSE, True)),
    ("severed", lambda c: c.rule == "sever", (Fate.SEVER, True)),
    ("shared", lambda c: c.shared, (Fate.TOKEN, True)),
    ("open", lambda c: c.there is None, "open"),
    ("inside, and not referable",
     lambda c: bool(c.there) and bool(c.inside) and not c.referable, LOST),
    ("there, in a circle", lambda c: bool(c.there) and c.hindrance in CIRCLES, LOST),
    ("there, and waits", lambda c: bool(c.there) and c.hindrance == "waits", (Fate.DANGLE, True)),
    ("there", lambda c: bool(c.there), (Fate.LINK, True)),
    ("to dangle", lambda c: c.chosen == "dangle", (Fate.DANGLE, True)),
    ("to be refused", lambda c: c.chosen == "refuse", (Fate.REFUSE, True)),
    ("too large, or failed", lambda c: c.obstacle, "obstacle"),
    ("outside, and not referable", lambda c: not c.referable, LOST),
    ("outside, in a circle", lambda c: c.hindrance in CIRCLES, LOST),
    ("outside, and waits", lambda c: c.hindrance == "waits", (Fate.DANGLE, True)),
    ("to go home", lambda c: c.identity == "home" or c.came, (Fate.HOME, True)),
    ("to travel", lambda c: True, (Fate.SNAPSHOT, True)),
]  # fmt: skip
OBSTACLE = Decision(Fate.DANGLE, "it is too large", asked=False)
NAME = "test_decide"


class Facts:
    """What a dump knows, as one case says."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.policy = policy_of(case)
        self.choice = decide.outside_choice(self.policy)
        self.circular: set[int] = set()

    def ruled(self, edge: Edge) -> Decision | None:
        return decide.rule_for(self.policy, edge.weak, edge.referent)

    def is_named(self, referent: Any) -> bool:
        return self.case.named if type(referent) is Thing else self.case.function == "named"

    def stored_in(self, edge: Edge) -> tuple[type, str] | None:
        return (Thing, "method") if self.case.function == "stored" else None

    def is_referable(self, referent: Any) -> bool:
        return self.case.referable

    def obstacle(self, edge: Edge) -> Decision | None:
        return OBSTACLE if self.case.obstacle else None

    def came(self, referent: Any) -> bool:
        return self.case.came


class Reach:
    """What is reached, as one case says."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def holds(self, obj: Any) -> bool | None:
        found = self.case.inside if type(obj) is Thing else self.case.function
        assert found != "none"
        return False if found == "stored" else found  # type: ignore[return-value]


#: What a walk finds in the way. (What is known is the facts'.)
HINDRANCES = {
    "none": None, "circle": decide.CIRCULAR, "known circle": None, "waits": decide.WAITS,
}  # fmt: skip


_policies: dict[Any, Policy] = {}


def policy_of(case: Case) -> Policy:
    key = case.outside, case.rule, case.unpicklable, case.identity, case.live
    if key not in _policies:
        # A rule in front that is about others, and one behind that comes too late.
        rules: Any = ((Other, "refuse"), (Thing, case.rule), (Thing, "sever"))
        _policies[key] = Policy(
            outside=case.outside,  # type: ignore[arg-type]
            rules=rules if case.rule else (),
            unpicklable=case.unpicklable,  # type: ignore[arg-type]
            identity=case.identity,  # type: ignore[arg-type]
            live=case.live,  # type: ignore[arg-type]
        )
    return _policies[key]


def cases() -> Iterator[Case]:
    """Every combination that can be."""
    yield Case(alive=False)
    values: dict[str, tuple[Any, ...]] = {
        "live": ("allow", "forbid"),
        "outside": ("snapshot", "dangle", "refuse"),
        "rule": (None, "snapshot", "dangle", "refuse", "sever"),
        "unpicklable": ("dangle", "raise"),
        "identity": ("copy", "home"),
        "shared": (False, True),
        "inside": (False, True, None),
        "named": (False, True),
        "function": ("none", False, True, None, "stored"),
        "referable": (False, True),
        "obstacle": (False, True),
        "came": (False, True),
        "hindrance": ("none", *CIRCLES, "waits"),
    }
    for alive, shared in itertools.product((False, True), repeat=2):
        # What comes first in the table, with all else; the rest with these as usual.
        yield from some({**values, "shared": (shared,)}, alive=alive, every=7)
    yield from some({**values, "live": ("allow",), "shared": (False,)}, alive=True, every=1)


def some(values: dict[str, tuple[Any, ...]], alive: bool, every: int) -> Iterator[Case]:
    combinations = itertools.product(*values.values())
    for combination in itertools.islice(combinations, 0, None, every):
        case = Case(alive=alive, **dict(zip(values, combination, strict=True)))
        if not (case.named and not case.referable):  # names are those of classes and functions
            yield case


def decided(case: Case) -> Decision:
    """What `decide` says of a case."""
    referent = Thing()
    weak = weakref.ref(referent)
    function = None if case.function == "none" else decided
    edge = Edge(weak, referent if case.alive else None, function=function)
    facts = Facts(case)
    if case.hindrance == "known circle":
        facts.circular.add(id(weak))
    if case.shared:
        weakreduce.share(NAME, referent)
    try:
        return decide.decide(edge, facts, Reach(case), lambda _: HINDRANCES[case.hindrance])
    finally:
        if case.shared:
            weakreduce.unshare(NAME)


def test_every_combination() -> None:
    tried: dict[str, int] = {}
    wrong = []
    for case in cases():
        row, expected = next((row, says) for row, holds, says in FATES if holds(case))
        tried[row] = tried.get(row, 0) + 1
        found = decided(case)
        if expected == "open":
            right = found is decide.OPEN
        elif expected == "obstacle":
            right = found is OBSTACLE
        elif expected == LOST and case.refuses:
            right = (found.fate, found.asked) == (Fate.REFUSE, False)
        else:
            right = (found.fate, found.asked) == expected and found is not decide.OPEN
        if not right:
            wrong.append((row, found, case))
    assert wrong[:3] == []
    assert set(tried) == {row for row, _, _ in FATES}


def test_what_is_decided_early_stays_so() -> None:
    """A reach that grows never takes back an answer that was none of `OPEN`."""
    for case in cases():
        early = decided(case)
        if case.inside is not None or early is decide.OPEN:
            continue
        for inside in (False, True):
            late = decided(dataclasses.replace(case, inside=inside))
            assert (late.fate, late.asked) == (early.fate, early.asked), (case, inside)


def test_the_reason_names_the_rule_or_the_policy() -> None:
    assert decided(Case()).reason == 'policy "snapshot" takes it along'
    assert decided(Case(outside="dangle")).reason == 'policy "dangle" leaves it out'
    assert decided(Case(outside="refuse")).reason == 'policy "strict" refuses it'
    assert decided(Case(rule="dangle")).reason.startswith("rule 1 (")
    assert decided(Case(rule="dangle")).reason.endswith(" says 'dangle'")


# --- what a rule matches ------------------------------------------------------------------


class Raises(type):
    def __instancecheck__(cls, obj: Any) -> bool:
        raise ZeroDivisionError

    __subclasscheck__ = __instancecheck__


class Raising(metaclass=Raises):
    pass


class Equal(Raises):
    """Its classes say that they are every class."""

    def __eq__(cls, other: object) -> bool:
        return True

    __hash__ = type.__hash__


class EqualToAll(metaclass=Equal):
    pass


class Sub(Thing):
    pass


THING, SUB, RAISING = Thing(), Sub(), Raising()


@pytest.mark.parametrize(
    ("match", "make", "referent", "says"),
    [
        (Thing, lambda: weakref.ref(THING), THING, True),
        (Thing, lambda: weakref.ref(SUB), SUB, True),
        (Sub, lambda: weakref.ref(THING), THING, False),
        (weakref.ref, lambda: weakref.ref(THING), THING, True),
        (weakref.KeyedRef, lambda: weakref.ref(THING), THING, False),
        (weakref.WeakSet, lambda: weakref.WeakSet(), THING, True),
        (weakref.ProxyType, lambda: weakref.proxy(THING), THING, True),
        (Thing, lambda: weakref.proxy(THING), THING, True),
        (
            Thing,
            lambda: weakref.proxy(Thing()),
            None,
            False,
        ),  # a dead one, which says nothing of it
        (Raising, lambda: weakref.ref(RAISING), RAISING, True),
        (Raising, lambda: weakref.ref(THING), THING, False),
        (EqualToAll, lambda: weakref.ref(THING), THING, False),
        (lambda weak, referent: referent is THING, lambda: weakref.ref(THING), THING, True),
        (lambda weak, referent: weak is None, lambda: weakref.ref(THING), THING, False),
        (lambda weak, referent: "yes", lambda: weakref.ref(THING), THING, True),
    ],
)
def test_what_a_rule_matches(match: Any, make: Any, referent: Any, says: bool) -> None:
    weak = make()
    assert decide.matches(match, weak, referent) is says
    policy = Policy(rules=((match, "dangle"),))
    rule = decide.rule_for(policy, weak, referent)
    assert (rule is not None) is says
    assert rule is None or rule.fate is Fate.DANGLE


def test_errors_of_predicates_are_the_users() -> None:
    def raises(weak: Any, referent: Any) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        decide.matches(raises, weakref.ref(THING), THING)


def test_a_lack_of_memory_is_no_answer_of_a_rules_type() -> None:
    class Lacks(type):
        def __instancecheck__(cls, obj: Any) -> bool:
            raise MemoryError

        __subclasscheck__ = __instancecheck__

    with pytest.raises(MemoryError):
        decide.matches(Lacks("Lacking", (), {}), weakref.ref(THING), THING)
