"""References as keys: what hashes them, on referents that hash by value, and what is dead."""

from __future__ import annotations

import collections
import copyreg
import dataclasses
import functools
import itertools
import pickle
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
import gaps
import pytest
from things import Locked, Thing, called

import weakreduce
from weakreduce.core import hashing

HOSTS = ["cloudpickle", "dill", "pickle"]


class Items:
    """Hashes by a list, which it is given after it is made."""

    def __init__(self, items: Any = (1, 2)) -> None:
        self.items = list(items)

    def __hash__(self) -> int:
        return hash(tuple(self.items))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Items) and other.items == self.items


class Vector(list[int]):
    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))


class Table(collections.OrderedDict[str, int]):
    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


class Reduced(Items):
    def __reduce__(self) -> Any:
        return Reduced, ((),), {"items": self.items}


class ReducedWithItems(Vector):
    def __reduce__(self) -> Any:
        return ReducedWithItems, (), None, iter(self)


class Registered(Items):
    """Has a reducer in copyreg's table."""


def _reduce_registered(obj: Registered) -> Any:
    return copyreg.__newobj__, (Registered,), {"items": obj.items}  # type: ignore[attr-defined]


copyreg.pickle(Registered, _reduce_registered)


class Owner:
    """Hashes by a part of its part."""

    def __init__(self) -> None:
        self.part = Thing("part", number=1)

    def __hash__(self) -> int:
        return hash(self.part.number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Owner) and other.part.number == self.part.number


@dataclasses.dataclass(frozen=True)
class OfNames:
    cls: Any = Thing
    function: Any = called


@dataclasses.dataclass(frozen=True)
class Point:
    x: int = 0


@dataclasses.dataclass(frozen=True)
class Polygon:
    """Hashes by many parts of its own."""

    points: Any = dataclasses.field(default_factory=lambda: (*map(Point, range(2000)),))


MAKERS: list[Callable[[], Any]] = [
    Polygon,
    Items,
    functools.partial(Vector, [1, 2]),
    functools.partial(Table, one=1),
    Reduced,
    functools.partial(ReducedWithItems, [1, 2]),
    Registered,
    Owner,
    OfNames,
]
HOLDERS: dict[str, Callable[[Any], Any]] = {
    "dict": lambda reference: {reference: 1},
    "set": lambda reference: {reference},
    "frozenset": lambda reference: frozenset([reference]),
    "tuple": lambda reference: {(reference, 1): 1},
    "values": lambda reference: weakref.WeakValueDictionary({reference: reference()}),
}


def _keys(container: Any) -> list[Any]:
    return [key[0] if isinstance(key, tuple) else key for key in container]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: getattr(make, "func", make).__name__)
def test_a_reference_is_found_by_what_it_hashes_to(make: Any, holder: str, host: Any) -> None:
    """Whatever the payload meets first, and whether the referent is anywhere else in it."""
    obj = make()
    reference = weakref.ref(obj, called)  # one of its own
    container = HOLDERS[holder](reference)
    for root in ([container, obj], [obj, container], [container]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        found = next(copy for copy in copies if type(copy) is type(container))
        (key,) = _keys(found)
        assert key() == obj
        assert hash(key) == hash(key())
        another = weakref.ref(make_equal(key()))
        assert another in _keys(found)
        if holder in ("dict", "set", "frozenset"):
            assert another in found
        assert all(copy is key() or copy is found for copy in copies)


_kept: list[Any] = []


def make_equal(obj: Any) -> Any:
    """Another object with the same value."""
    _kept[:] = [pickle.loads(pickle.dumps(obj))]
    return _kept[0]


@pytest.mark.parametrize("host", HOSTS)
def test_what_has_many_parts_and_leads_back(host: Any) -> None:
    obj: Any = Polygon()
    object.__setattr__(obj, "table", {weakref.ref(obj): obj})
    (copy,) = weakreduce.loads(weakreduce.dumps([obj], host=host), host=host)
    assert copy.table[weakref.ref(copy)] is copy


class Shared(Items):
    config: Any
    parent: Any


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("parent", [True, False])
def test_what_many_share_is_not_looked_at_for_each(parent: bool, host: Any) -> None:
    config = [Thing(str(number)) for number in range(3000)]
    shared = [Shared([number]) for number in range(60)]
    for each in shared:
        each.config = config
        if parent:
            each.parent = weakref.ref(each)
    looked_at = _looked_at([{weakref.ref(each) for each in shared}, shared], host)
    assert len(config) <= looked_at <= 50 * len(config)


def _looked_at(root: Any, host: Any) -> int:
    """At how many objects a dump looks for what they lead to."""
    looked_at = 0

    def count(frame: Any, event: str, _argument: object) -> None:
        nonlocal looked_at
        looked_at += event == "call" and frame.f_code is hashing.strong_parts.__code__

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        weakreduce.dumps(root, host=host)
    finally:
        sys.setprofile(before)
    return looked_at


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("last_first", [False, True])
def test_what_leads_to_something_weak_is_followed_once(last_first: bool, host: Any) -> None:
    members = [_member(str(number)) for number in range(300)]
    for before, member in itertools.pairwise(members):
        member.key.owner = weakref.ref(member)
        member.key.before = before
    keys = [{weakref.ref(member): 1} for member in members]
    root = [*reversed(keys), *members] if last_first else [*keys, *members]
    assert len(members) <= _looked_at(root, host) <= 30 * len(members)


class Filled(Items):
    def __reduce__(self) -> Any:
        return Filled, ((),), vars(self)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("make", [Items, Filled])
def test_what_leads_back_has_what_can_be_there(make: Any, host: Any) -> None:
    """As far as atoms and what leads nowhere go, a hash is right in the object's own state, too."""
    obj = make("ab")
    obj.table = {weakref.ref(obj): obj}
    for root in ([obj], [obj.table]):
        (copy,) = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        table = copy.table if root[0] is obj else copy
        ((key, value),) = table.items()
        assert key() is value
        assert table[weakref.ref(value)] is value


# --- what comes first, since a hash needs more of it than can come early --------------------


class Group(Thing):
    """Holds something weak."""

    weak: Any


@dataclasses.dataclass(frozen=True)
class Task:
    """Hashes by an object of its own, and by a default until that is there."""

    name: str
    group: Any = None


@dataclasses.dataclass(frozen=True, slots=True, weakref_slot=True)
class TaskInSlots:
    name: str
    group: Any


class InItems(list[Any]):
    owner: Any

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))


class InEntries(dict[str, Any]):
    owner: Any

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


class HashedByName:
    name: str

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashedByName) and other.name == self.name


class AsTuple(HashedByName):
    """Its state has no names."""

    def __init__(self, name: str, peers: Any = ()) -> None:
        self.name, self.peers = name, [*peers]

    def __getstate__(self) -> Any:
        return (self.name, self.peers)

    def __setstate__(self, state: Any) -> None:
        self.name, self.peers = state


class WithNew(AsTuple):
    def __new__(cls, *given: Any) -> Any:
        return super().__new__(cls)


class ByPath:
    """Hashes by way of a weak reference, to the parent."""

    def __init__(self, name: str, parent: Any = None) -> None:
        self.name, self.parent, self.children = name, None, {}
        if parent is not None:
            self.parent = weakref.ref(parent)
            parent.children[name] = self

    def path(self) -> Any:
        return (*(() if self.parent is None else self.parent().path()), self.name)

    def __hash__(self) -> int:
        return hash(self.path())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByPath) and other.path() == self.path()


kept = Thing("kept")
WEAK: dict[str, Callable[[Any], Any]] = {
    "elsewhere": lambda obj: weakref.ref(kept),
    "back": weakref.ref,
    "back by another": lambda obj: weakref.ref(obj, called),
    "proxy": lambda obj: weakref.proxy(kept),
    "set": lambda obj: weakref.WeakSet([obj]),
    "values": lambda obj: weakref.WeakValueDictionary(obj=obj),
    "method": lambda obj: weakref.WeakMethod(kept.method),
}


def _task(weak: Any, cls: Any = Task) -> Any:
    task = cls("task", Group("group"))
    task.group.weak = weak(task)
    return task


def _owned(weak: Any, make: Any) -> Any:
    made = make()
    made.owner = weak(made)
    return made


def _with_peers(weak: Any, cls: Any = AsTuple) -> Any:
    made = cls("made")
    made.peers.append(weak(made))
    return made


LED: dict[str, Callable[[Any], Any]] = {
    "default": _task,
    "slots": functools.partial(_task, cls=TaskInSlots),
    "items": functools.partial(_owned, make=functools.partial(InItems, [1, 2])),
    "entries": functools.partial(_owned, make=functools.partial(InEntries, one=1)),
    "tuple": _with_peers,
    "new": functools.partial(_with_peers, cls=WithNew),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("weak", WEAK)
@pytest.mark.parametrize("make", LED)
def test_what_hashes_by_more_than_comes_early(make: str, weak: str, host: Any) -> None:
    obj = LED[make](WEAK[weak])
    key: Any = weakref.ref(obj)
    for container in ({key: 1}, {key}, {(key, 1)}):
        for policy in ("snapshot", "dangle"):
            for root in ([container, obj], [obj, container], [container]):
                with weakreduce.policy(policy):
                    payload = weakreduce.dumps([*root, kept], host=host)
                copies = weakreduce.loads(payload, host=host)
                found = copies[root.index(container)]
                (copy,) = _keys(found)
                if len(root) == 1 and policy == "dangle":
                    assert copy() is None
                    continue
                assert copy() in (copies if len(root) == 2 else [copy()])
                assert hash(copy) == hash(copy())
                another = weakref.ref(copy(), called)
                assert another in _keys(found)
                assert (another if key in container else (another, 1)) in found


@pytest.mark.parametrize("host", HOSTS)
def test_what_hashes_by_its_parent(host: Any) -> None:
    tree = ByPath("root")
    leaf = ByPath("leaf", ByPath("branch", tree))
    branch = tree.children["branch"]
    keys = {weakref.ref(leaf): 1, weakref.ref(tree): 2, weakref.ref(branch): 3}
    for root in ([keys, tree], [tree, keys]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        found, copy = copies if root[0] is keys else reversed(copies)
        branch = copy.children["branch"]
        parts = {1: branch.children["leaf"], 2: copy, 3: branch}
        assert {found[weakref.ref(part, called)]: part for part in parts.values()} == parts


class Member:
    """Hashes by what leads to something weak."""

    key: Any = None
    owner: Any

    def __init__(self, key: Any) -> None:
        self.key = key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Member) and other.key == self.key


class Key(Member):
    """Keeps in mind that it was hashed."""

    hashed = 0

    def __hash__(self) -> int:
        self.hashed += 1
        return hash(self.key)


def _member(name: str) -> Any:
    member = Member(Key(name))
    member.key.owner = weakref.ref(kept)
    return member


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("by_its_key", [True, False])
def test_what_is_no_key_stays_where_it_is(by_its_key: bool, host: Any) -> None:
    """What it leads to hashes it: a set, in a strong circle."""
    holder, member = Thing("holder"), _member("member")
    holder.first, holder.members, member.owner = weakref.ref(member), {member}, holder
    if by_its_key:
        member.key.owner = holder.first
    (copy,) = weakreduce.loads(weakreduce.dumps([holder], host=host), host=host)
    assert copy.first() in copy.members


class Members(set[Any]):
    pass


class Entries(dict[Any, Any]):
    pass


HELD: dict[str, Callable[[Any], Any]] = {
    "set": lambda key: {key},
    "frozenset": lambda key: frozenset([key]),
    "of a class": lambda key: Members([key]),
    "dict": lambda key: {key: 1},
    "ordered": lambda key: collections.OrderedDict({key: 1}),
    "default": lambda key: collections.defaultdict(int, {key: 1}),
    "counter": lambda key: collections.Counter([key]),
    "dict of a class": lambda key: Entries({key: 1}),
    "tuple": lambda key: {(key,)},
    "user": lambda key: collections.UserDict({key: 1}),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("strong", HELD)
@pytest.mark.parametrize("weak", HELD)
def test_what_is_a_key_itself(weak: str, strong: str, host: Any) -> None:
    """In whatever order: a strong key in the place of each reference would be found."""
    for order in itertools.permutations(range(3)):
        member = _member("member")
        parts = [HELD[weak](weakref.ref(member)), HELD[strong](member), member]
        payload = weakreduce.dumps([parts[place] for place in order], host=host)
        copies = weakreduce.loads(payload, host=host)
        references, members, copy = (copies[order.index(place)] for place in range(3))
        alike, another = Member(copy.key), weakref.ref(copy, called)
        assert ((alike,) if strong == "tuple" else alike) in members
        assert ((another,) if weak == "tuple" else another) in references


@pytest.mark.parametrize(
    ("by", "host"),
    [
        *itertools.product(["attribute", "value", "tuple"], HOSTS),
        *itertools.product(["function", "class"], ["cloudpickle"]),
        *(
            pytest.param(by, "dill", marks=pytest.mark.needs(gaps.DILL_BY_VALUE))
            for by in ["function", "class"]
        ),
    ],
)
def test_what_leads_back_to_where_it_is_a_key(by: str, host: Any) -> None:
    """It stays where it is met, as a strong key would."""
    member = _member("member")
    members: Any = {(member,)} if by == "tuple" else {member}
    member.owner = {
        "attribute": members,
        "function": lambda: members,
        "class": types.new_class("Open", exec_body=lambda body: body.update(members=members)),
        "value": {1: [members]},
        "tuple": members,
    }[by]
    root = [members, {weakref.ref(member): 1}]
    copied, references = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
    alike = Member(Key("member"))
    assert ((alike,) if by == "tuple" else alike) in copied
    ((reference, _),) = references.items()
    assert references[weakref.ref(reference(), called)] == 1
    # First met weakly: what is a strong key is found in any case.
    copied = weakreduce.loads(weakreduce.dumps([*reversed(root)], host=host), host=host)[1]
    assert ((alike,) if by == "tuple" else alike) in copied


class Named(Member):
    """Hashes by its name and, maybe by a reference, by another."""

    def __init__(self, key: Any, part: Any = None) -> None:
        self.key, self.part, self.table = key, part, {}

    def __hash__(self) -> int:
        return hash((self.key, self.part))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and (other.key, other.part) == (self.key, self.part)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
def test_what_one_of_them_needs_is_there_before_it(policy: Any, host: Any) -> None:
    """Whichever is met first."""
    zero = Named("zero")
    one = Named("one", weakref.ref(zero))
    two = Named("two", weakref.ref(one))
    two.table = {weakref.ref(one): 1}
    parts = [zero, one, two, {weakref.ref(one)}, {weakref.ref(two)}]
    for order in itertools.permutations(range(5)):
        root = [parts[place] for place in order]
        payload = weakreduce.dumps(root, host=host, policy=policy)
        copies = weakreduce.loads(payload, host=host)
        *_, copied, first, second = (copies[order.index(place)] for place in range(5))
        assert weakref.ref(copied, called) in second
        assert copied.part in first
        assert copied.table[weakref.ref(copied.part(), called)] == 1
    together = {weakref.ref(one): 1, weakref.ref(two): 2}
    for keys in (together, dict(reversed(together.items()))):
        found = weakreduce.loads(weakreduce.dumps([keys], host=host), host=host)[0]
        assert {key().key: found[weakref.ref(key(), called)] for key in found} == (
            {"one": 1, "two": 2}
        )


class Raised(Exception):
    def __hash__(self) -> int:
        return hash(self.args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raised) and other.args == self.args


INNER: dict[str, Callable[[], Any]] = {
    "items": functools.partial(Table, one=1),
    "list": functools.partial(Vector, [1]),
    "member": functools.partial(_member, "member"),
    "parts": lambda: Member((Member("member"), 1)),
}
OUTER: dict[str, Callable[[Any], Any]] = {
    "member": Member,
    "tuple": lambda part: Member((part, 1)),
    "list": lambda part: Vector([part]),
    "raised": Raised,
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_what_is_complete_hashes_by_what_is_not(inner: str, outer: str, host: Any) -> None:
    """It is met whole, before the key; what it refers to is not, where that comes later."""
    part = INNER[inner]()
    part.back = weakref.ref(kept)
    holder = OUTER[outer](weakref.ref(part))
    parts = [holder, {weakref.ref(holder)}, part]
    for order in itertools.chain(*(itertools.permutations(range(3), size) for size in (2, 3))):
        if 1 not in order:
            continue
        payload = weakreduce.dumps([kept, *(parts[place] for place in order)], host=host)
        copies = weakreduce.loads(payload, host=host)[1:]
        ((key,),) = (copy for copy in copies if type(copy) is set)
        reference = next(
            found for found in _hashed(key()) if type(found) is weakref.ref and found is not key
        )
        assert hash(reference) == hash(reference())
        assert weakref.ref(key(), called) in copies[order.index(1)]


def _hashed(obj: Any) -> list[Any]:
    found = [obj]
    for part in found:
        if type(part) in (tuple, Vector):
            found += part
        elif type(part) in (Member, Raised):
            found += part.args if type(part) is Raised else [part.key]
    return found


class Text(str):
    back: Any


class Frozen(frozenset[Any]):
    back: Any


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("made", [Text("text"), Frozen([1, 2])], ids=["text", "frozen"])
def test_what_hashes_by_what_it_is_constructed_from(made: Any, host: Any) -> None:
    made.back = weakref.ref(kept)
    for root in ([{weakref.ref(made): 1}, made, kept], [kept, made, {weakref.ref(made): 1}]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        (copy,) = (part for part in copies if type(part) is type(made))
        (keys,) = (part for part in copies if type(part) is dict)
        assert keys[weakref.ref(copy, called)] == 1


@pytest.mark.parametrize("host", HOSTS)
def test_strong_keys_that_lead_to_weak_things_of_every_sort(host: Any) -> None:
    """Dead, to a class, and to what is made from its members: none leads back."""
    frozen = frozenset([Thing("frozen")])
    members = [_member("one"), _member("two")]
    for member in members:
        member.owner = [weakref.ref(Thing("dead")), weakref.ref(Thing), weakref.ref(frozen)]
    keys = {weakref.ref(member): member.key.key for member in members}
    root = [keys, {*members}, *members, frozen]
    found, strong, *copies, _ = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
    for copy in copies:
        assert found[weakref.ref(copy, called)] == copy.key.key
        assert Member(copy.key) in strong
        assert [reference() is None for reference in copy.owner] == [True, False, False]


@pytest.mark.parametrize("host", gaps.BY_VALUE)
@pytest.mark.parametrize("by", ["cell", "default", "attribute", "class"])
def test_what_a_function_or_class_of_its_own_holds_as_a_key(by: str, host: Any) -> None:
    """It is written by value with its owner, and hashes that then."""
    member = Member("member")
    held = {weakref.ref(member)}

    def function(given: Any = held if by == "default" else None) -> Any:
        return given or function.__dict__.get("held") or (by == "cell" and held)

    if by == "attribute":
        function.__dict__["held"] = held
    of_class = types.new_class("Open", exec_body=lambda body: body.update(held=held))
    member.owner = of_class if by == "class" else function
    for root in ([{weakref.ref(member): 1}, member], [member, {weakref.ref(member): 1}]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        (copy,) = (part for part in copies if type(part) is not dict)
        (keys,) = (part for part in copies if type(part) is dict)
        assert weakref.ref(copy, called) in keys
        found = copy.owner.held if by == "class" else copy.owner()
        assert weakref.ref(copy, called) in found


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_no_key_is_not_hashed(host: Any) -> None:
    member = _member("member")
    weakreduce.dumps([weakref.ref(member), member], host=host)
    assert member.key.hashed == 0


@pytest.mark.parametrize("host", HOSTS)
def test_keys_of_a_long_strong_chain(host: Any) -> None:
    """Whichever of them is met first, none brings the others along."""
    members = [_member(str(number)) for number in range(700)]
    for before, member in itertools.pairwise(members):
        member.key.before = before
    keys = [{weakref.ref(member): 1} for member in members]
    in_turn = [part for pair in zip(keys, members, strict=True) for part in pair]
    for root in (in_turn, [*keys, *members], [*reversed(keys), *members]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        tables = [copy for copy in copies if type(copy) is dict]
        assert len(tables) == len(keys)
        for table in tables:
            ((key, value),) = table.items()
            assert table[weakref.ref(key(), called)] == value


class Listed(Member):
    """Its state has no names, so nothing of it comes early."""

    def __init__(self, key: Any) -> None:
        super().__init__(key)
        self.parts: list[Any] = []

    def __getstate__(self) -> Any:
        return [self.key, self.parts]

    def __setstate__(self, state: Any) -> None:
        self.key, self.parts = state


#: What a member leads to holds the member as a key.
OWN_KEYS: dict[str, Callable[[Any], Any]] = {
    "dict": lambda key: {key: 1},
    "set": lambda key: {key},
    "beside": lambda key: [key, frozenset([key])],
    "tuple": lambda key: [{(key,): 1}],
}


def _is_found(thing: Any) -> bool:
    """Whether the key that such a thing holds is found by another that is equal."""
    held = thing.held[-1] if type(thing.held) is list else thing.held
    (key,) = held
    (part,) = key if type(key) is tuple else (key,)
    alike: Any = Listed("member") if type(part) is Listed else weakref.ref(part(), called)
    return ((alike,) if type(key) is tuple else alike) in held


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("make", OWN_KEYS)
def test_what_leads_to_where_it_is_a_key_comes_where_a_strong_one_would(
    make: str, policy: Any, host: Any
) -> None:
    """Whole: the key is found in each order in which a strong key is."""
    found: list[list[bool]] = []
    for weakly in (False, True):
        member, thing = Listed("member"), Thing("thing")
        member.parts.append(thing)
        thing.held = OWN_KEYS[make](weakref.ref(member) if weakly else member)
        things = [thing, member, thing.held]
        orders = [*itertools.permutations(range(3))]
        payloads = [
            weakreduce.dumps([things[place] for place in order], host=host, policy=policy)
            for order in orders
        ]
        received = [weakreduce.loads(payload, host=host) for payload in payloads]
        found.append(
            [
                _is_found(copies[order.index(0)])
                for order, copies in zip(orders, received, strict=True)
            ]
        )
    strong, weak = found
    assert True in strong
    assert False in strong
    assert all(now >= before for now, before in zip(weak, strong, strict=True)), found


class Sequence(list[Any]):
    def __hash__(self) -> int:
        return hash(tuple(self))


class Mapping(dict[Any, Any]):
    def __hash__(self) -> int:
        return hash((*self.items(),))


class Deque(collections.deque[Any]):
    def __hash__(self) -> int:
        return hash((*self,))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("make", [Sequence, lambda items: Mapping({1: items[0]}), Deque])
def test_keys_that_hash_by_their_items_lead_to_one_another(make: Any, host: Any) -> None:
    """What holds them all as keys is an attribute of each: none is merged with another."""
    members = [make([number]) for number in range(3)]
    keys = {weakref.ref(member): place for place, member in enumerate(members)}
    for member in members:
        member.table = keys
    for root in ([keys, *members], [*members, keys], [members[1], keys, *members]):
        copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        found = copies[0].table if type(copies[0]) is not dict else copies[0]
        assert len(found) == 3
        for key, place in found.items():
            assert key() == members[place]
            assert found[weakref.ref(key(), called)] == place


class Failing(Member):
    """Its hash lacks memory, that many times from now."""

    after: Any = None

    def __hash__(self) -> int:
        if Failing.after is not None:
            Failing.after -= 1
            if Failing.after < 0:
                raise MemoryError
        return hash(self.key)


@pytest.mark.parametrize("after", [0, 1])
def test_a_lack_of_memory_says_nothing_of_a_hash(
    after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = Failing(Thing("key"))
    member.key.owner = weakref.ref(kept)
    root = [{weakref.ref(member): 1}, member]
    payload = weakreduce.dumps(root)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Failing, "after", after)
        weakreduce.dumps(root)
    assert weakreduce.dumps(root) == payload


@pytest.mark.parametrize("host", HOSTS)
def test_what_cannot_be_hashed_any_more(host: Any) -> None:
    """The reference keeps in mind that it could."""
    member = _member("member")
    reference = weakref.ref(member)
    root = [member, {reference: 1}]
    member.key.key = []
    table, copy = weakreduce.loads(weakreduce.dumps(root[::-1], host=host), host=host)
    assert [key() for key in table] == [copy]


def _by_default(table: Any) -> Any:
    return lambda found=table: found


def _by_keyword(table: Any) -> Any:
    def function(*, found: Any = table) -> Any:
        return found

    return function


def _by_closure(table: Any) -> Any:
    return lambda: (lambda: table)()


def _by_attribute(table: Any) -> Any:
    def function() -> Any:
        return function.found  # type: ignore[attr-defined]

    function.found = table  # type: ignore[attr-defined]
    return function


TABLE: Any = None


def _by_global(table: Any) -> Any:
    global TABLE
    TABLE = table
    return lambda: (lambda: TABLE)()


@pytest.mark.parametrize("make", [_by_default, _by_keyword, _by_closure, _by_attribute, _by_global])
def test_keys_in_what_a_function_holds(make: Any) -> None:
    member = _member("member")
    key = dataclasses.make_dataclass("Pair", ["of"], frozen=True)(weakref.ref(member))
    function = make([{key: 1}, (frozenset([(weakref.ref(member),)]),)])
    function.__module__ = "__main__"  # so by value
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        payload = weakreduce.dumps([function, member], host="cloudpickle")
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    called_for, copy = weakreduce.loads(payload)
    table, (found,) = called_for()
    (pair,) = table
    assert pair.of() is copy
    assert hash(pair.of) == hash(copy)
    assert (weakref.ref(copy, called),) in found


@pytest.mark.parametrize("host", HOSTS)
def test_what_comes_first_travels_as_it_would(host: Any) -> None:
    """A snapshot that cannot be pickled dangles; what dangles is not sent."""
    task = _task(weakref.ref)
    task.group.lock = Locked()
    keys = {weakref.ref(task): 1}
    with pytest.warns(weakreduce.DanglingWarning, match="it.group.lock"):
        payload = weakreduce.dumps([keys], host=host)
    ((key,),) = weakreduce.loads(payload, host=host)
    assert key() is None
    with weakreduce.policy(rules=((Task, "sever"),)):
        payload = weakreduce.dumps([keys], host=host)
    assert b"group" not in payload
    with weakreduce.policy(unpicklable="raise"), pytest.raises(weakreduce.WeakrefPicklingError):
        weakreduce.dumps([keys], host=host)


@pytest.mark.parametrize("host", HOSTS)
def test_what_comes_first_is_not_in_what_is_measured_or_told(host: Any) -> None:
    task = _task(weakref.ref)
    keys = {weakref.ref(task): 1}
    report = weakreduce.explain([keys, task], host=host)
    assert [finding.path for finding in report] == ["list(root[0])[0]"]
    assert report.total_bytes == len(weakreduce.dumps([keys, task], host=host))


# --- what a class says of its own state ------------------------------------------------------


class Tree(HashedByName):
    """Hashes by its name, and leads back to what refers to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.children: list[Any] = []
        self.parent: Any = None
        self.secret = "hunter" + str(2)

    def add(self, child: Any) -> Any:
        self.children.append(child)
        child.parent = weakref.ref(self)
        return child


class LeavesOut(Tree):
    """Its state has no secret, and not what it remembers of its hash."""

    remembered: Any = None

    def __hash__(self) -> int:
        if self.remembered is None:
            self.remembered = hash(self.name)
        return int(self.remembered)

    def __getstate__(self) -> Any:
        leaves_out = ("secret", "remembered")
        return {name: part for name, part in vars(self).items() if name not in leaves_out}


class BothWays(LeavesOut):
    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)


class Renames(Tree):
    def __getstate__(self) -> Any:
        return [self.name, self.children, self.parent]

    def __setstate__(self, state: Any) -> None:
        assert not vars(self)
        self.label, self.children, self.parent = state

    def __hash__(self) -> int:
        return hash(getattr(self, "label", None) or self.name)


class ReadOnly(Tree):
    """Its name cannot be set."""

    def __init__(self, name: str) -> None:
        vars(self).update(name=name, children=[], parent=None)

    @property
    def name(self) -> Any:
        return vars(self)["name"]

    def __getstate__(self) -> Any:
        return vars(self).copy()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("cls", [LeavesOut, BothWays, Renames, ReadOnly])
def test_what_comes_early_is_what_the_class_gives(cls: Any, host: Any) -> None:
    tree = cls("tree")
    tree.add(cls("leaf"))
    hash(tree)
    for root in ([tree], [weakref.ref(tree), tree], [tree.children, tree]):
        payload = weakreduce.dumps(root, host=host)
        copy = weakreduce.loads(payload, host=host)[-1]
        assert copy.children[0].parent() is copy
        assert b"hunter2" not in payload
        names = {"children", "parent", "label" if cls is Renames else "name"}
        assert vars(copy).keys() - {"remembered"} == names


class InSlots:
    __slots__ = ("__weakref__", "name", "secret", "table")

    def __init__(self, name: str) -> None:
        self.name, self.secret = name, "hunter" + str(2)

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InSlots) and other.name == self.name

    def __getstate__(self) -> Any:
        return [("name", self.name), ("table", self.table)]

    def __setstate__(self, state: Any) -> None:
        for name, value in state:
            setattr(self, name, value)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("cls", [LeavesOut, BothWays, ReadOnly, InSlots])
def test_what_a_getstate_gives_is_there_for_a_hash(cls: Any, host: Any) -> None:
    tree: Any = cls("tree")
    tree.table = {weakref.ref(tree): "own", "child": cls("leaf")}
    tree.table["child"].table = weakref.ref(tree)
    (copy,) = weakreduce.loads(weakreduce.dumps([tree], host=host), host=host)
    assert copy.table[weakref.ref(copy)] == "own"
    assert not hasattr(copy, "secret")


class WithValue:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(repr(self.value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WithValue) and repr(other.value) == repr(self.value)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "value",
    [
        slice(1, 2), range(3), bytearray(b"a"), NotImplemented, property(len), staticmethod(len),
        types.MappingProxyType({"a": [1]}), {"a": 1}.keys(), called.__code__,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_hash_by_what_picklers_write_in_their_own_ways(value: Any, host: Any) -> None:
    obj = WithValue(value)
    root = [{weakref.ref(obj): 1}, obj]
    try:
        weakreduce.loads(weakreduce.dumps([obj, {obj: 1}], host=host), host=host)
    except (TypeError, AttributeError) as error:  # the host takes no such thing
        with pytest.raises(type(error)):
            weakreduce.dumps(root, host=host)
        return
    copies = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
    assert copies[0][weakref.ref(copies[1])] == 1


# --- dead ones ------------------------------------------------------------------------------


class ById(weakref.ref[Any]):
    __slots__ = ("_id",)

    def __init__(self, obj: Any, callback: Any = None) -> None:
        super().__init__(obj, callback)
        self._id = id(obj)

    def __hash__(self) -> int:
        return self._id


class Unhashable(weakref.ref[Any]):
    def __eq__(self, other: object) -> bool:
        return self is other


class Raises(weakref.ref[Any]):
    def __hash__(self) -> int:
        raise TypeError("never")


class ByName(weakref.ref[Any]):
    def __hash__(self) -> int:
        return hash(self().name)  # type: ignore[union-attr]


class Keyed(weakref.KeyedRef[Any, Any]):
    def __hash__(self) -> int:
        return hash(self.key)


class Method(weakref.WeakMethod[Any]):
    note: Any

    def __hash__(self) -> int:
        return hash(self.note)


def _method(thing: Any) -> Any:
    made = Method(thing.method)
    made.note = "note"
    return made


DEAD: dict[str, Callable[[Any], Any]] = {
    "by id": ById,
    "unhashable": Unhashable,
    "raises": Raises,
    "by name": ByName,
    "keyed": lambda thing: Keyed(thing, None, "key"),
    "method": _method,
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", DEAD)
@pytest.mark.parametrize("dies", [True, False], ids=["dead", "dangles"])
def test_no_code_of_the_class_hashes_what_is_dead(kind: str, dies: bool, host: Any) -> None:
    thing: Any = Thing("thing")
    reference = DEAD[kind](thing)
    if dies:
        del thing
    with warnings.catch_warnings(action="error"):
        payload = weakreduce.dumps([reference], host=host, policy="dangle")
    (copy,) = weakreduce.loads(payload, host=host)
    assert type(copy) is type(reference)
    assert copy() is None
    assert weakref.ref.__hash__(copy) == weakref.ref.__hash__(copy)
    if kind == "keyed":
        assert copy in {copy}
        assert copy.key == "key"
