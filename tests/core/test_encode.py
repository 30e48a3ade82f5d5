"""What is written for each kind and fate, evaluated by hand: no pickler, and no walk.

`Hand` stands where the walk does: it says the fate, and gives the copy. `made` does what an
unpickler does with a reduction. All that is written has to belong to the standard library.
"""

from __future__ import annotations

import collections
import collections.abc
import gc
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import weakreduce
from weakreduce.core.encode import _empty, container_of, encode
from weakreduce.core.expressions import Call
from weakreduce.model import kinds
from weakreduce.model.classes import ClassFacts
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


class _Types(dict[type, ClassFacts]):
    """What classes tell, without a pickler."""

    def __missing__(self, cls: type) -> ClassFacts:
        return ClassFacts(cls)


class Hand:
    """What the encoder asks: one fate for every edge, and copies that are there already."""

    again = False

    def __init__(
        self, fate: Fate, copies: dict[int, Any], *, complete: bool = True, home: bool = False
    ) -> None:
        self.fate = fate
        self.types = _Types()
        self.copies = copies
        self.complete = complete
        self.home = home
        self.fills: list[Call] = []
        self.firsts = 0
        #: By id of the referent, where they differ.
        self.fates: dict[int, Fate] = {}

    def decide(self, edge: Edge) -> Decision:
        return Decision(self.fates.get(id(edge.referent), self.fate), "as the test says")

    def target(self, edge: Edge) -> Any:
        assert self.fate in ARRIVES, "a referent that does not travel is not asked for"
        return self.copies[id(edge.referent)]

    def function(self, edge: Edge) -> Any:
        return edge.function

    def stored_in(self, edge: Edge) -> tuple[type, str] | None:
        return None

    def at_home(self, obj: Any, copy: Any) -> tuple[Any, Any]:
        """Found, or not: known when it is loaded, so an expression."""
        assert self.fate is Fate.HOME, "what does not go home is not asked for there"
        return (obj if self.home else copy), Call(bool, [] if self.home else [1])

    def holding(self, function: Any, callback: Any) -> Any:
        return kinds.Holding(function, callback)

    def callback(self, edge: Edge) -> Any:
        assert self.fate in ARRIVES, "what does not travel calls nobody"
        return edge.callback

    def readying(self, function: Any) -> Any:
        self.firsts += 1
        return function

    def later(self, fill: Call) -> None:
        self.fills.append(fill)

    def can_make(self, obj: Any) -> bool:
        return self.complete

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        return edges


def arrived_with(hand: Hand, weak: Any) -> Any:
    """What arrives of a weak thing with many referents, which `hand` knows."""
    kind = kinds.kind_of(type(weak))
    assert kind is not None
    return Loader(weak).load(encode(hand, kind, weak), hand.fills)  # type: ignore[arg-type]


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
    assert repr(list) not in repr(shape(sent.reduction))  # which sets alone need


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


@pytest.mark.parametrize("make", [weakref.WeakValueDictionary, OrderedValues])
def test_a_key_that_is_the_identity_of_its_value_becomes_that_of_the_copys(make: Any) -> None:
    sent = Sent(lambda thing: make({id(thing): thing}), Fate.LINK)
    assert list(sent.arrived) == [id(sent.copy)]


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.value)
def test_finalizers_are_armed_where_they_need_no_pin(fate: Fate) -> None:
    sent = Sent(armed, fate)
    assert type(sent.arrived) is weakref.finalize
    assert sent.arrived.alive is (fate in {Fate.LINK, Fate.TOKEN})
    if sent.arrived.alive:
        assert of_finalize(sent.arrived) is sent.copy
        assert sent.arrived.peek()[1:] == (called, (1,), {})
        assert sent.arrived.atexit is False
        assert not sent.keeps(of_finalize)


def test_finalizers_keep_their_keywords() -> None:
    sent = Sent(lambda thing: weakref.finalize(thing, called, 1, two=[2]), Fate.LINK)
    assert sent.arrived.peek() == (sent.copy, called, (1,), {"two": [2]})
    assert sent.arrived.atexit is True
    sent.arrived.detach()
    sent.weak.detach()


def test_finalizers_without_keywords_name_nothing_that_scanners_look_for() -> None:
    sent = Sent(armed, Fate.LINK)
    assert "partial" not in repr(shape(sent.reduction))
    assert sent.reduction[:2] == (weakref.finalize, (sent.copy, called, 1))


# --- no more is written than has to be -------------------------------------------------------


def test_references_are_written_in_the_fewest_words() -> None:
    link, pinned = Sent(weakref.ref, Fate.LINK), Sent(weakref.ref, Fate.SNAPSHOT)
    assert link.reduction == (weakref.ref, (link.copy,))
    assert pinned.reduction == (weakref.ref, (pinned.copy, pinned.copy))
    proxy = Sent(weakref.proxy, Fate.LINK)
    assert proxy.reduction[0] is weakref.proxy
    assert len(proxy.reduction[1]) == 1
    make, _ = KINDS["ref, called"]
    link, pinned = Sent(make, Fate.LINK), Sent(make, Fate.SNAPSHOT)
    assert link.reduction == (weakref.ref, (link.copy, called))
    assert pinned.reduction == (weakref.ref, (pinned.copy, (pinned.copy, called)))


def test_a_function_that_is_made_on_the_way_is_bound_as_a_function() -> None:
    class Making(Hand):
        def function(self, edge: Edge) -> Any:
            return Call(max, (edge.function,))

    thing = Thing()
    weak = weakref.WeakMethod(thing.method)
    hand = Making(Fate.LINK, {id(thing): thing})
    (_, (target,)) = encode(hand, kinds.kind_of(weakref.WeakMethod), weak)  # type: ignore[arg-type]
    assert target.reduction[0] == classmethod.__get__
    assert arrived_with(hand, weak)() == thing.method


class Slotted(dict[Any, Any]):
    """A collection without attributes."""

    __slots__ = ()


def test_collections_without_settings_are_made_and_no_more() -> None:
    def make(thing: Any) -> Any:
        made = weakref.WeakValueDictionary()
        made.data = Slotted()
        made["key"] = thing
        return made

    sent = Sent(make, Fate.LINK)
    assert type(sent.arrived.data) is Slotted
    assert sent.arrived["key"] is sent.copy
    for collection in (Slotted(), collections.OrderedDict()):
        assert _empty(collection).reduction == (type(collection), ())


@pytest.mark.parametrize("fate", [*FATES, Fate.HOME], ids=lambda fate: fate.value)
def test_registered_types(fate: Fate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_registered", {**kinds._registered})
    weakreduce.register(Alien, referent=Alien.get, rebuild=alien, pin=pinned_alien)
    sent = Sent(Alien, fate)
    assert type(sent.arrived) is Alien
    assert sent.arrived.get() is (sent.copy if fate in ARRIVES else None)
    assert (sent.arrived.pin is not None) is (fate in (Fate.SNAPSHOT, Fate.HOME))


# --- what a subclass keeps ------------------------------------------------------------------


class AllRef(weakref.ref):  # type: ignore[type-arg]
    """Has a slot, and attributes besides."""

    __slots__ = ("__dict__", "slot")


class OwnStateRef(weakref.ref):  # type: ignore[type-arg]
    def __getstate__(self) -> Any:
        return "its own"

    def __setstate__(self, state: Any) -> None:
        self.state = state


def all_ref(thing: Any) -> AllRef:
    made = AllRef(thing)
    made.slot = id(thing)
    made.number, made.near, made.note, made.other = id(thing), float(id(thing)), "note", 7
    return made


def test_slots_and_attributes_arrive_and_the_numbers_of_the_referent_alone_change() -> None:
    sent = Sent(all_ref, Fate.LINK)
    assert sent.arrived.slot == sent.arrived.number == id(sent.copy)
    assert type(sent.arrived.near) is float
    assert vars(sent.arrived) == {**vars(sent.weak), "number": id(sent.copy)}


def test_attributes_without_such_a_number_are_written_as_they_are() -> None:
    def make(thing: Any) -> Any:
        made = AllRef(thing)
        made.near = float(id(thing))
        return made

    sent = Sent(make, Fate.LINK)
    assert sent.reduction[2] == {"near": sent.weak.near}
    assert type(sent.reduction[2]["near"]) is float
    assert len(Sent(AllRef, Fate.LINK).reduction) == 2


def test_a_state_of_its_own_is_written_as_it_says() -> None:
    for fate in (Fate.LINK, Fate.DEAD):
        assert Sent(OwnStateRef, fate).arrived.state == "its own"


class SharedStateRef(weakref.ref):  # type: ignore[type-arg]
    shared: dict[str, Any] = {"of": "many", "number": 1}

    def __getstate__(self) -> Any:
        return self.shared


def test_a_state_that_many_share_stays_one_object() -> None:
    def make(thing: Any) -> Any:
        SharedStateRef.shared["near"] = float(id(thing))
        return SharedStateRef(thing)

    assert Sent(make, Fate.LINK).reduction[2] is SharedStateRef.shared


def test_slots_alone_are_a_state_without_attributes() -> None:
    attributes, slots = Sent(KINDS["subclass of ref"][0], Fate.LINK).reduction[2]
    assert attributes is None
    assert slots.keys() == {"note", "identity"}


@pytest.mark.parametrize("noted", [False, True])
def test_nothing_of_a_weak_methods_own_is_state(noted: bool) -> None:
    def make(thing: Any) -> Any:
        made = SubMethod(thing.method)
        if noted:
            made.note = "note"
        return made

    assert Sent(make, Fate.LINK).reduction[2:] == (({"note": "note"},) if noted else ())


class SubValues(weakref.WeakValueDictionary):  # type: ignore[type-arg]
    """A class of attributes alone."""


@pytest.mark.parametrize("noted", [False, True])
def test_nothing_of_the_base_class_is_state(noted: bool) -> None:
    def make(thing: Any) -> Any:
        made = SubValues(key=thing)
        if noted:
            made.note = "note"
        return made

    sent = Sent(make, Fate.DANGLE)
    assert len(sent.reduction[2]) == 1 + noted  # the base class's constructor, and the note
    assert (vars(sent.arrived).get("note") == "note") is noted


# --- methods --------------------------------------------------------------------------------


class Caller:
    """No function, but a callable that a method may be of."""

    def __call__(self, thing: Thing) -> str:
        return thing.name


CALLER = Caller()
METHODS: dict[str, Callable[[Any], Any]] = {
    "function": lambda thing: weakref.WeakMethod(thing.method),
    "other callable": lambda thing: weakref.WeakMethod(types.MethodType(CALLER, thing)),
}


@pytest.mark.parametrize("fate", [Fate.TOKEN, Fate.LINK, Fate.SNAPSHOT])
@pytest.mark.parametrize("kind", METHODS)
def test_methods_are_of_what_the_walk_gives_for_their_function(kind: str, fate: Fate) -> None:
    sent = Sent(METHODS[kind], fate)
    method = sent.arrived()
    assert type(method) is types.MethodType
    assert method.__func__ is sent.weak().__func__
    assert method() == "copy"
    del method
    assert sent.keeps(instance) is (fate is Fate.SNAPSHOT)


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize("kind", METHODS)
def test_methods_that_go_home_find_their_function_there(kind: str, found: bool) -> None:
    asked = []

    class Homing(Hand):
        def at_home(self, obj: Any, copy: Any) -> tuple[Any, Any]:
            asked.append(obj)
            return super().at_home(obj, copy)

    original, copy = Thing("original"), Thing("copy")
    weak = METHODS[kind](original)
    hand = Homing(Fate.HOME, {id(original): copy}, home=found)
    arrived = arrived_with(hand, weak)
    assert asked == [original, weak().__func__]
    assert arrived()() == ("original" if found else "copy")
    assert weakreduce.is_pinned(arrived) is not found


class PickyMethod(weakref.WeakMethod):  # type: ignore[type-arg]
    def __new__(cls, method: Any, note: str) -> PickyMethod:
        self = super().__new__(cls, method)
        self.note = note
        return self


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.value)
def test_a_subclass_of_weak_methods_is_not_constructed(fate: Fate) -> None:
    sent = Sent(lambda thing: PickyMethod(thing.method, "note"), fate)
    assert type(sent.arrived) is PickyMethod
    assert instance(sent.arrived) is (sent.copy if fate in ARRIVES else None)
    assert sent.arrived.note == "note"
    assert Sent(KINDS["WeakMethod"][0], Fate.LINK).reduction[0] is weakref.WeakMethod


def test_a_method_that_goes_home_holds_its_function() -> None:
    """Where a class travels by value, nothing else has it when the original's is replaced."""
    thing, caller = Thing("original"), Caller()
    weak = weakref.WeakMethod(types.MethodType(caller, thing))
    hand = Hand(Fate.HOME, {id(thing): Thing("copy")}, home=True)
    arrived = arrived_with(hand, weak)
    function = weakref.ref(caller)
    del caller, weak
    gc.collect()
    assert arrived()() == "original"
    del arrived
    gc.collect()
    assert function() is None


def shape(part: Any) -> Any:
    """What is written, without who is who."""
    if type(part) is Call:
        return [shape(part.reduction)]
    if type(part) in (tuple, list):
        return type(part)(map(shape, part))
    return part if callable(part) else type(part)


@pytest.mark.parametrize("fate", [Fate.DEAD, Fate.DANGLE])
def test_nothing_of_a_function_is_in_a_method_without_its_referent(fate: Fate) -> None:
    function, other = (Sent(make, fate) for make in METHODS.values())
    assert shape(function.reduction) == shape(other.reduction)
    assert function.arrived() is other.arrived() is None


# --- many entries ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WeakSet", "values", "keys"])
def test_each_entry_has_its_own_fate(kind: str) -> None:
    things = {name: (Thing(name), Thing(name)) for name in ("linked", "pinned", "left out")}
    linked, pinned, left_out = (original for original, _ in things.values())
    weak: Any
    if kind == "WeakSet":
        weak = weakref.WeakSet([linked, pinned, left_out])
    elif kind == "values":
        weak = weakref.WeakValueDictionary({thing.name: thing for thing in (linked, pinned)})
        weak["left out"] = left_out
    else:
        weak = weakref.WeakKeyDictionary({linked: 1, pinned: 2, left_out: 3})
    hand = Hand(Fate.LINK, {id(one): copy for one, copy in things.values()})
    hand.fates = {id(pinned): Fate.SNAPSHOT, id(left_out): Fate.DANGLE}
    arrived = arrived_with(hand, weak)
    found = arrived.values() if kind == "values" else arrived
    assert {id(thing) for thing in found} == {id(things[n][1]) for n in ("linked", "pinned")}
    del found
    if kind == "values":
        assert {key: value.name for key, value in arrived.items()} == {
            "linked": "linked", "pinned": "pinned"
        }  # fmt: skip
    elif kind == "keys":
        assert {key.name: value for key, value in arrived.items()} == {"linked": 1, "pinned": 2}
    things.clear()
    hand.copies.clear()
    gc.collect()
    assert len(arrived.data) == 1
    (kept,) = arrived.values() if kind == "values" else arrived
    assert kept.name == "pinned"


class OrderedSet(collections.abc.MutableSet[Any]):
    """A collection of a WeakSet's own."""

    def __init__(self) -> None:
        self.items: dict[Any, None] = {}

    def __contains__(self, item: object) -> bool:
        return item in self.items

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def add(self, value: Any) -> None:
        self.items[value] = None

    def discard(self, value: Any) -> None:
        self.items.pop(value, None)

    def copy(self) -> OrderedSet:
        # A WeakSet asks for one where it is iterated over, from Python 3.14 on.
        found = OrderedSet()
        found.items = self.items.copy()
        return found

    def __ior__(self, others: Any) -> Any:
        assert type(others) is list, "its own operator may look at it more than once"
        for other in others:
            self.add(other)
        return self


class Reversing(Hand):
    def ordered(self, edges: list[Edge]) -> list[Edge]:
        return edges[::-1]


@pytest.mark.parametrize("own", [False, True])
def test_entries_of_a_set_are_ordered_where_it_has_no_order_of_its_own(own: bool) -> None:
    weak: Any = weakref.WeakSet()
    if own:
        weak.data = OrderedSet()
    things = [Thing(str(number)) for number in range(5)]
    for thing in things:
        weak.add(thing)
    known = [edge.referent for edge in kinds.kind_of(weakref.WeakSet).edges(weak)]  # type: ignore[union-attr]
    hand = Reversing(Fate.LINK, {id(thing): thing for thing in things})
    assert arrived_with(hand, weak) == weak
    targets: list[Any] = []

    def look(part: Any) -> None:
        if type(part) is list and part and all(type(item) is Thing for item in part):
            targets[:] = part
        for inner in part.reduction if type(part) is Call else part:
            if type(inner) in (Call, tuple, list):
                look(inner)

    look(encode(hand, kinds.kind_of(weakref.WeakSet), weak))  # type: ignore[arg-type]
    assert targets == (known if own else known[::-1])


def test_entries_of_dicts_stay_in_their_order() -> None:
    things = [Thing(str(number)) for number in range(5)]
    hand = Reversing(Fate.LINK, {id(thing): thing for thing in things})
    values = weakref.WeakValueDictionary({thing.name: thing for thing in things})
    assert list(arrived_with(hand, values)) == ["0", "1", "2", "3", "4"]
    keys = weakref.WeakKeyDictionary({thing: thing.name for thing in things})
    assert list(arrived_with(hand, keys)) == things


# --- when entries can be put in -------------------------------------------------------------


class Plain:
    """Hashes by what it is."""


VALUED = Valued("key")


@pytest.mark.parametrize(
    ("key", "later"),
    [
        ("key", False),
        (("key", 1), False),
        (Plain(), False),
        ((Plain(), (1, Plain())), False),
        (VALUED, True),
        (("key", VALUED), True),
        (frozenset([VALUED]), True),
        ((1, (2, (VALUED, 3))), True),
    ],
)
def test_keys_whose_hash_needs_their_state_wait_for_it(key: Any, later: bool) -> None:
    sent = Sent(lambda thing: weakref.WeakValueDictionary({key: thing}), Fate.LINK)
    assert len(sent.hand.fills) == later
    assert sent.arrived[key] is sent.copy


def test_one_of_many_that_needs_its_state_makes_all_wait() -> None:
    plain, valued = Thing("plain"), Valued("valued")
    for weak in (
        weakref.WeakValueDictionary({"key": plain, VALUED: valued}),
        weakref.WeakKeyDictionary({plain: 1, valued: 2}),
        weakref.WeakSet([plain, valued]),
    ):
        hand = Hand(Fate.LINK, {id(thing): thing for thing in (plain, valued)})
        assert arrived_with(hand, weak) == weak
        assert len(hand.fills) == 1


class Choosy(Hand):
    """Some objects cannot be made yet."""

    lacks: Any = None

    def can_make(self, obj: Any) -> bool:
        return obj is not self.lacks


@pytest.mark.parametrize("lacks", ["referent", "key", "value", "nothing"])
def test_each_part_of_an_entry_may_have_to_wait(lacks: str) -> None:
    thing, value = Thing(), ["value"]
    for weak in (
        weakref.WeakKeyDictionary({thing: value}),
        weakref.WeakValueDictionary({"key": thing}),
    ):
        hand = Choosy(Fate.LINK, {id(thing): thing})
        hand.lacks = {"referent": thing, "key": "key", "value": value, "nothing": hand}[lacks]
        arrived_with(hand, weak)
        entry = ("referent", "value") if "Key" in type(weak).__name__ else ("referent", "key")
        assert len(hand.fills) == (lacks in entry)


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("cls", [Thing, Valued])
def test_values_are_written_in_their_place_where_keys_alone_wait(cls: Any, complete: bool) -> None:
    value = ["value"]
    sent = Sent(
        lambda thing: weakref.WeakKeyDictionary({thing: value}), Fate.LINK, cls, complete=complete
    )
    steps = sent.reduction[2] if len(sent.reduction) > 2 else []
    assert any(step == [value] for step in steps) is (cls is Valued and complete)
    assert sent.arrived[sent.copy] is not None


def test_other_containers_have_no_values_to_write() -> None:
    assert len(Sent(KINDS["WeakSet"][0], Fate.LINK, Valued).reduction) == 2
    sent = Sent(lambda thing: weakref.WeakValueDictionary({VALUED: thing}), Fate.LINK)
    assert len(sent.reduction) == 2


# --- collections of their own, and what is like them ------------------------------------------


class WithState(Limited):
    def __setstate__(self, state: Any) -> None:
        raise AssertionError("it may need more than settings")


def test_collections_that_take_a_state_of_their_own_are_made_without() -> None:
    def make(thing: Any) -> Any:
        cache = limited(thing)
        cache.data = WithState(7)
        cache[thing] = 1
        return cache

    sent = Sent(make, Fate.LINK)
    assert type(sent.arrived.data) is WithState
    assert sent.arrived.data.limit is None
    assert sent.arrived[sent.copy] == 1


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("base", [weakref.WeakSet, weakref.WeakValueDictionary])
def test_containers_whose_entries_share_a_fate(base: Any, pinned: bool) -> None:
    one, two = Thing("one"), Thing("two")
    weak = base()
    hand = Hand(Fate.LINK, {})
    keys = [] if base is weakref.WeakSet else ["key", "other"]
    reduction = container_of(hand, base, weak, [one, two], keys, pinned=pinned)  # type: ignore[arg-type]
    arrived = Loader(weak).load(reduction, [])
    assert type(arrived) is base
    assert hand.firsts == 1
    assert dict(arrived) == {"key": one, "other": two} if keys else set(arrived) == {one, two}
    del reduction, one, two
    gc.collect()
    assert len(arrived.data) == 2 * pinned


class Watching:
    """Looks at its own reference as soon as that is there."""

    def __init__(self, weak: Any) -> None:
        self.weak = weak

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)
        try:
            self.seen = bool(self.weak) if type(self.weak) in weakref.ProxyTypes else self.weak()
        except ReferenceError:
            self.seen = None


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_dead_reference_is_dead_while_the_payload_loads(host: Any, protocol: int) -> None:
    thing, function = Thing(), Caller()
    made: list[Any] = [
        weakref.ref(thing), weakref.KeyedRef(thing, None, "key"), weakref.proxy(thing),
        weakref.proxy(function), weakref.WeakMethod(thing.method),
    ]  # fmt: skip
    for weak in made:
        hashable = type(weak) not in weakref.ProxyTypes
        root = [Watching(weak), {weak: 1} if hashable else weak]
        data = weakreduce.dumps(root, host=host, policy="dangle", protocol=protocol)
        watching, holder = weakreduce.loads(data, host=host)
        assert watching.seen is None
        assert type(watching.weak) is type(weak)
        assert (list(holder)[0] if hashable else holder) is watching.weak
