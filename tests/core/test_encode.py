"""What is written for each kind and fate, evaluated by hand: no pickler, and no walk.

`Hand` stands where the walk does: it says the fate, and gives the copy. `made` does what an
unpickler does with a reduction. All that is written has to belong to the standard library.
"""

from __future__ import annotations

import collections
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import weakreduce
from weakreduce.core.encode import encode
from weakreduce.core.expressions import Call
from weakreduce.model import kinds
from weakreduce.model.decide import ARRIVES, Decision, Fate
from weakreduce.model.kinds import Edge


class Thing:
    def __init__(self, name: str = "thing") -> None:
        self.name = name

    def method(self) -> str:
        return self.name

    def __call__(self) -> str:
        return self.name


class Valued(Thing):
    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Valued) and other.name == self.name


class SubRef(weakref.ref):  # type: ignore[type-arg]
    __slots__ = ("identity", "note")

    def __new__(cls, referent: Any, note: str) -> SubRef:
        self = super().__new__(cls, referent)
        self.note, self.identity = note, id(referent)
        return self

    def __init__(self, referent: Any, note: str) -> None:
        super().__init__(referent)


class SubMethod(weakref.WeakMethod):  # type: ignore[type-arg]
    pass


class SubSet(weakref.WeakSet):  # type: ignore[type-arg]
    def __init__(self) -> None:
        raise AssertionError("its constructor may ask for anything")


class OrderedValues(weakref.WeakValueDictionary):  # type: ignore[type-arg]
    """Keeps its entries in a collection of its own."""

    def __init__(self, *items: Any) -> None:
        super().__init__(*items)
        self.data = collections.OrderedDict(self.data)


class Alien:
    """A weak thing of somebody else's, as `weakreduce.register` knows it."""

    def __init__(self, referent: Any) -> None:
        self.reference = None if referent is None else weakref.ref(referent)
        self.pin: Any = None

    def get(self) -> Any:
        return self.reference and self.reference()


def alien(referent: Any) -> Alien:
    return Alien(referent)


def pinned_alien(referent: Any) -> Alien:
    made = Alien(referent)
    made.pin = referent
    return made


def called(_: Any) -> None:
    """A callback."""


class Hand:
    """What the encoder asks: one fate for every edge, and copies that are there already."""

    def __init__(
        self, fate: Fate, copies: dict[int, Any], *, complete: bool = True, home: bool = False
    ) -> None:
        self.fate = fate
        self.copies = copies
        self.complete = complete
        self.home = home
        self.fills: list[Call] = []
        self.firsts = 0

    def decide(self, edge: Edge) -> Decision:
        return Decision(self.fate, "as the test says")

    def target(self, edge: Edge) -> Any:
        assert self.fate in ARRIVES, "a referent that does not travel is not asked for"
        return self.copies[id(edge.referent)]

    def function(self, edge: Edge) -> Any:
        return edge.function

    def at_home(self, obj: Any, copy: Any) -> tuple[Any, Any]:
        """Found, or not: known when it is loaded, so an expression."""
        return (obj if self.home else copy), Call(bool, [] if self.home else [1])

    def holding(self, function: Any, callback: Any) -> Any:
        return kinds.Holding(function, callback)

    def callback(self, edge: Edge) -> Any:
        return edge.callback

    def first(self, function: Any) -> Any:
        self.firsts += 1
        return function

    def later(self, fill: Call) -> None:
        self.fills.append(fill)

    def can_make(self, obj: Any) -> bool:
        return self.complete

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        return edges


class Loader:
    """Evaluates what the encoder writes, each expression once, as an unpickler does."""

    def __init__(self, weak: Any) -> None:
        self.weak = weak
        self.made: dict[int, Any] = {}
        self.functions: list[Any] = []

    def load(self, reduction: Any, fills: list[Call]) -> Any:
        copy = self.reduce(reduction, self.weak)
        for fill in fills:
            self.value(fill)
        self.made.clear()
        return copy

    def reduce(self, reduction: Any, of: Any) -> Any:
        function, arguments, state, items, pairs, setter = (*reduction, *[None] * 4)[:6]
        assert items is None
        assert pairs is None
        function = self.value(function)
        self.functions.append(function)
        copy = function(*self.value(arguments))
        self.made[id(of)] = copy
        if state is not None:
            state = self.value(state)
            if setter is not None:
                self.functions.append(setter)
                setter(copy, state)
            elif hasattr(copy, "__setstate__"):
                copy.__setstate__(state)
            else:
                attributes, slots = state if isinstance(state, tuple) else (state, None)
                vars(copy).update(attributes or {}) if attributes else None
                for name, value in (slots or {}).items():
                    setattr(copy, name, value)
        return copy

    def value(self, part: Any) -> Any:
        if type(part) is Call or part is self.weak:
            if id(part) not in self.made:
                assert part is not self.weak, "used before it is made"
                self.reduce(part.reduction, part)
            return self.made[id(part)]
        if type(part) in (tuple, list, set):
            return type(part)(map(self.value, part))
        if type(part) is dict:
            return {self.value(key): self.value(value) for key, value in part.items()}
        return part


class Sent:
    """One weak thing, what it referred to, and what arrives of it."""

    def __init__(self, make: Callable[[Any], Any], fate: Fate, cls: Any = Thing, **known: Any):
        self.original, self.copy = cls("original"), cls("copy")
        self.weak = make(self.original)
        self.hand = Hand(fate, {id(self.original): self.copy}, **known)
        kind = kinds.kind_of(type(self.weak))
        assert kind is not None
        loader = Loader(self.weak)
        self.reduction = encode(self.hand, kind, self.weak)
        self.arrived = loader.load(self.reduction, self.hand.fills)
        assert self.hand.firsts == 1
        for function in loader.functions:
            home = getattr(function, "__module__", None) or "builtins"
            assert not home.startswith("weakreduce"), function

    def keeps(self, read: Callable[[Any], Any]) -> bool:
        """Whether the weak thing that arrived keeps its own referent alive."""
        self.hand.copies.clear()
        del self.copy, self.reduction
        self.hand.fills.clear()
        gc.collect()
        return read(self.arrived) is not None


def behind(proxy: Any) -> Any:
    try:
        return proxy.method.__self__
    except ReferenceError:
        return None


def of_finalize(weak: Any) -> Any:
    found = weak.peek()
    return None if found is None else found[0]


def armed(thing: Any) -> Any:
    made = weakref.finalize(thing, called, 1)
    made.atexit = False
    return made


def instance(method: Any) -> Any:
    bound = method()
    return None if bound is None else bound.__self__


def only(collection: Any) -> Any:
    return next(iter(collection), None)


#: Each kind: how it is made for a referent, and how that is read again.
KINDS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "ref": (weakref.ref, lambda weak: weak()),
    "ref, called": (lambda thing: weakref.ref(thing, called), lambda weak: weak()),
    "subclass of ref": (lambda thing: SubRef(thing, "note"), lambda weak: weak()),
    "WeakMethod": (lambda thing: weakref.WeakMethod(thing.method), instance),
    "WeakMethod, called": (lambda thing: weakref.WeakMethod(thing.method, called), instance),
    "subclass of WeakMethod": (lambda thing: SubMethod(thing.method), instance),
    "proxy": (weakref.proxy, behind),
    "proxy, called": (lambda thing: weakref.proxy(thing, called), behind),
    "WeakSet": (lambda thing: weakref.WeakSet([thing]), only),
    "values": (lambda thing: weakref.WeakValueDictionary(key=thing), lambda weak: weak.get("key")),
    "own values": (lambda thing: OrderedValues({"key": thing}), lambda weak: weak.get("key")),
    "keys": (lambda thing: weakref.WeakKeyDictionary({thing: "value"}), only),
}
FATES = [Fate.DEAD, Fate.TOKEN, Fate.LINK, Fate.SNAPSHOT, Fate.DANGLE, Fate.SEVER]


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.value)
@pytest.mark.parametrize("cls", [Thing, Valued])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_and_fate(kind: str, cls: Any, fate: Fate) -> None:
    make, read = KINDS[kind]
    sent = Sent(make, fate, cls)
    assert type(sent.arrived) is type(sent.weak)
    if fate not in ARRIVES:
        assert read(sent.arrived) is None
        return
    assert read(sent.arrived) is sent.copy
    assert weakreduce.is_pinned(sent.arrived) is (fate is Fate.SNAPSHOT)
    assert sent.keeps(read) is (fate is Fate.SNAPSHOT)


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_home_is_the_original_or_pinned(kind: str, found: bool) -> None:
    make, read = KINDS[kind]
    sent = Sent(make, Fate.HOME, home=found)
    assert read(sent.arrived) is (sent.original if found else sent.copy)
    if "Method" not in kind or not found:  # whose function has a home of its own, and is held
        assert weakreduce.is_pinned(sent.arrived) is not found
    if not found:
        assert sent.keeps(read)


@pytest.mark.parametrize("fate", [Fate.LINK, Fate.SNAPSHOT])
@pytest.mark.parametrize("kind", ["ref, called", "WeakMethod, called", "proxy, called"])
def test_callbacks_arrive(kind: str, fate: Fate) -> None:
    sent = Sent(KINDS[kind][0], fate)
    weak = kinds.kind_of(type(sent.arrived)).edges(sent.arrived)[0]  # type: ignore[union-attr]
    assert weak.callback is called
    assert weak.pinned is (fate is Fate.SNAPSHOT)


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.value)
def test_a_subclass_keeps_its_slots_and_learns_the_copys_identity(fate: Fate) -> None:
    sent = Sent(KINDS["subclass of ref"][0], fate)
    assert sent.arrived.note == "note"
    expected = sent.copy if fate in ARRIVES else sent.original
    assert sent.arrived.identity == id(expected)


def test_dead_refs_can_be_keys_and_differ() -> None:
    one, two = (Sent(weakref.ref, Fate.DEAD).arrived for _ in range(2))
    assert one() is two() is None
    assert len({one: 1, two: 2}) == 2


@pytest.mark.parametrize("callable_", [False, True])
def test_a_dead_proxy_is_of_the_same_type(callable_: bool) -> None:
    cls = Thing if callable_ else type("Plain", (), {"__init__": lambda self, _: None})
    sent = Sent(weakref.proxy, Fate.DEAD, cls)
    assert type(sent.arrived) is (weakref.CallableProxyType if callable_ else weakref.ProxyType)
    with pytest.raises(ReferenceError):
        str(sent.arrived)


@pytest.mark.parametrize("fate", [Fate.LINK, Fate.SNAPSHOT, Fate.DANGLE])
@pytest.mark.parametrize("kind", ["WeakSet", "values", "own values", "keys"])
def test_containers_evict_what_dies(kind: str, fate: Fate) -> None:
    make, read = KINDS[kind]
    sent = Sent(make, fate)
    assert len(sent.arrived) == (fate is not Fate.DANGLE)
    kept = sent.keeps(read)
    assert len(sent.arrived) == len(sent.arrived.data) == kept
    thing = Thing()
    sent.arrived.update({"new": thing} if "values" in kind else
                        [thing] if kind == "WeakSet" else {thing: 1})  # fmt: skip
    assert len(sent.arrived) == kept + 1
    del thing
    gc.collect()
    assert len(sent.arrived.data) == kept


@pytest.mark.parametrize("kind", ["WeakSet", "values", "keys"])
def test_what_is_not_complete_is_put_in_later(kind: str) -> None:
    make, _ = KINDS[kind]
    assert not Sent(make, Fate.LINK).hand.fills
    assert len(Sent(make, Fate.LINK, complete=False).hand.fills) == 1
    # What hashes by value needs its state for that.
    assert len(Sent(make, Fate.LINK, Valued).hand.fills) == (kind != "values")


def test_a_containers_subclass_keeps_its_attributes_and_is_not_constructed() -> None:
    def make(thing: Any) -> Any:
        made = SubSet.__new__(SubSet)
        weakref.WeakSet.__init__(made, [thing])
        made.note = ["note"]  # type: ignore[attr-defined]
        return made

    sent = Sent(make, Fate.LINK)
    assert list(sent.arrived) == [sent.copy]
    assert sent.arrived.note == ["note"]
    assert vars(sent.arrived).keys() == vars(sent.weak).keys()


def test_own_collections_stay_their_own() -> None:
    sent = Sent(KINDS["own values"][0], Fate.LINK)
    assert type(sent.arrived.data) is collections.OrderedDict


class Limited(collections.OrderedDict[Any, Any]):
    """A collection with a setting, as of a cache that is bounded."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.latest: list[Any] = []


def limited(thing: Any) -> Any:
    cache: Any = weakref.WeakKeyDictionary()
    cache.data = Limited(7)
    cache[thing] = 1
    cache.data.latest.append(cache)
    return cache


def test_settings_of_their_own_collections_arrive() -> None:
    sent = Sent(limited, Fate.LINK)
    data = sent.arrived.data
    assert type(data) is Limited
    assert data.limit == 7
    assert data.latest == []
    assert sent.arrived[sent.copy] == 1


def test_values_of_keys_and_keys_of_values_arrive() -> None:
    assert list(Sent(KINDS["keys"][0], Fate.LINK).arrived.values()) == ["value"]
    assert list(Sent(KINDS["values"][0], Fate.LINK).arrived) == ["key"]


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.value)
def test_finalizers_are_armed_where_they_link(fate: Fate) -> None:
    sent = Sent(armed, fate)
    assert type(sent.arrived) is weakref.finalize
    assert sent.arrived.alive is (fate is Fate.LINK)
    if fate is Fate.LINK:
        assert of_finalize(sent.arrived) is sent.copy
        assert sent.arrived.peek()[1:] == (called, (1,), {})
        assert sent.arrived.atexit is False
        assert not sent.keeps(of_finalize)


def test_finalizers_keep_their_keywords() -> None:
    sent = Sent(lambda thing: weakref.finalize(thing, called, 1, two=[2]), Fate.LINK)
    assert sent.arrived.peek() == (sent.copy, called, (1,), {"two": [2]})
    sent.arrived.detach()
    sent.weak.detach()


@pytest.mark.parametrize("fate", [*FATES, Fate.HOME], ids=lambda fate: fate.value)
def test_registered_types(fate: Fate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_registered", {**kinds._registered})
    weakreduce.register(Alien, referent=Alien.get, rebuild=alien, pin=pinned_alien)
    sent = Sent(Alien, fate)
    assert type(sent.arrived) is Alien
    assert sent.arrived.get() is (sent.copy if fate in ARRIVES else None)
    assert (sent.arrived.pin is not None) is (fate in (Fate.SNAPSHOT, Fate.HOME))
