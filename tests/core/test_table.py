"""The table: every weak kind, by fate, host and protocol; and weak containers entry by entry."""

from __future__ import annotations

import functools
import gc
import itertools
import operator
import pickle
import types
import weakref
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import gaps
import pytest
import things
from things import Thing

import weakreduce
from weakreduce.model.proxies import proxy_referent

HOSTS = ("cloudpickle", "dill", "pickle")
_open = weakref.ref.__call__
#: What a method may be of, besides functions.
CALLER = things.CallableThing("caller")


def copied(obj: Any, host: str, protocol: int | None = None, policy: Any = None) -> Any:
    data = weakreduce.dumps(obj, host=host, protocol=protocol, policy=policy)
    assert data == weakreduce.dumps(obj, host=host, protocol=protocol, policy=policy)
    copy = weakreduce.loads(data, host=host)
    gc.collect()
    return copy


#: name -> (referent, weak thing on it, referent of a copy or None)
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "ref": (Thing, weakref.ref, _open),
    "ref with callback": (Thing, lambda t: weakref.ref(t, things.called), _open),
    "subclass of ref": (Thing, lambda t: things.SubRef(t, 7), _open),
    "KeyedRef": (Thing, lambda t: weakref.KeyedRef(t, things.called, "key"), _open),
    "WeakMethod": (
        Thing,
        lambda t: weakref.WeakMethod(t.method),
        lambda w: None if w() is None else w().__self__,
    ),
    "WeakMethod subclass": (
        Thing,
        lambda t: things.SubMethod(t.method),
        lambda w: None if w() is None else w().__self__,
    ),
    "proxy": (Thing, weakref.proxy, proxy_referent),
    "proxy with callback": (Thing, lambda t: weakref.proxy(t, things.called), proxy_referent),
    "callable proxy": (things.CallableThing, weakref.proxy, proxy_referent),
    "proxy of a class with operators": (things.Arithmetic, weakref.proxy, proxy_referent),
    "WeakSet": (Thing, lambda t: weakref.WeakSet([t]), lambda w: next(iter(w), None)),
    "WeakValueDictionary": (
        Thing,
        lambda t: weakref.WeakValueDictionary(k=t),
        lambda w: w.get("k"),
    ),
    "WeakKeyDictionary": (
        Thing,
        lambda t: weakref.WeakKeyDictionary({t: 1}),
        lambda w: next(iter(w), None),
    ),
    "ref to a set": (lambda: frozenset([1, 2]), weakref.ref, _open),
    "ref to a value-hashed": (lambda: things.Frozen(3), weakref.ref, _open),
    "ref to slots": (lambda: things.FrozenSlots(3), weakref.ref, _open),
}

CONTEXTS = list(itertools.product(KINDS, HOSTS, (2, 3, 4, 5)))


@pytest.mark.parametrize(("kind", "host", "protocol"), CONTEXTS)
def test_inside_links(kind: str, host: str, protocol: int) -> None:
    """A weak thing met before or after its referent is an ordinary one on the copy."""
    make, weaken, follow = KINDS[kind]
    referent = make()
    weak = weaken(referent)
    for order in (0, 1):
        pair = copied([[weak, referent], [referent, weak]][order], host, protocol, "strict")
        twin, copy = (pair[0], pair[1]) if order == 0 else (pair[1], pair[0])
        assert type(twin) is type(weak)
        assert follow(twin) is copy
        assert not weakreduce.is_pinned(twin)
        del copy
        pair.clear()
        gc.collect()
        assert follow(twin) is None


@pytest.mark.parametrize(("kind", "host", "protocol"), CONTEXTS)
def test_outside_snapshots_are_pinned(kind: str, host: str, protocol: int) -> None:
    """A snapshot keeps its own copy alive, survives another trip, and can be unpinned."""
    make, weaken, follow = KINDS[kind]
    referent = make()
    twin = weaken(referent)
    for _ in range(3):
        twin = copied(twin, host, protocol)
        assert type(twin) is type(weaken(referent))
        assert type(follow(twin)) is type(referent)
        assert follow(twin) is not referent
        assert weakreduce.is_pinned(twin)
    alive = follow(twin)
    free = weakreduce.unpin(twin)
    assert type(free) is type(twin)
    del twin
    assert follow(free) is alive
    assert not weakreduce.is_pinned(free)
    del alive
    gc.collect()
    assert follow(free) is None


@pytest.mark.parametrize(("kind", "host", "protocol"), CONTEXTS)
def test_outside_dangles_on_demand(kind: str, host: str, protocol: int) -> None:
    """Nothing of the referent is in the bytes, and the type is kept."""
    make, weaken, follow = KINDS[kind]
    referent = make()
    if isinstance(referent, Thing):
        referent.name = "sentinel" * 4
    weak = weaken(referent)
    data = weakreduce.dumps(weak, host=host, protocol=protocol, policy="dangle")
    assert b"sentinel" not in data
    assert type(referent).__qualname__.encode() not in data.replace(b"frozenset", b"")
    twin = copied(weak, host, protocol, "dangle")
    assert type(twin) is type(weak)
    assert follow(twin) is None
    if issubclass(
        type(weak), (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
    ):
        assert len(twin) == 0


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("host", HOSTS)
def test_methods_of_callables_that_are_no_functions(host: str, protocol: int) -> None:
    """A cache around a function binds itself, an instance does not; methods of both travel."""
    thing = things.CachedThing()
    methods = [types.MethodType(CALLER, thing)]
    if host == "pickle" or gaps.writes_code(host):  # dill writes caches by value
        methods.append(thing.cached)
    for method in methods:
        weak = weakref.WeakMethod(method)
        for root in ([thing, weak], [weak, thing], [weak]):
            found = copied(root, host, protocol)
            bound = found[root.index(weak)]()
            assert type(bound) is types.MethodType
            assert type(bound.__func__) is type(method.__func__)
            assert type(bound.__self__) is things.CachedThing
            assert len(root) == 1 or bound.__self__ is found[root.index(thing)]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("host", ["cloudpickle", "pickle"])  # dill writes caches by value
def test_a_function_in_a_cache_is_by_name(host: str, protocol: int) -> None:
    thing = things.CachedThing()
    for policy in ("strict", "dangle", "snapshot"):
        reference, members = copied(
            [weakref.ref(things.cached_function), weakref.WeakSet([things.cached_function])],
            host, protocol, policy,
        )  # fmt: skip
        assert reference() is things.cached_function is next(iter(members))
        assert not weakreduce.is_pinned(reference) and not weakreduce.is_pinned(members)
        copy, weak = copied([thing, weakref.WeakMethod(thing.cached)], host, protocol, policy)
        assert weak() == copy.cached
        assert not weakreduce.is_pinned(weak)


@pytest.mark.parametrize("host", ["dill", "pickle"])  # cloudpickle has a reducer of its own
def test_a_type_variable_is_by_name(host: str) -> None:
    assert copied(weakref.ref(things.Variable), host, policy="strict")() is things.Variable


def test_what_has_a_name_and_is_found_elsewhere_is_not_by_name() -> None:
    """A cache's name may lead to the function in it, or nowhere."""
    for cached in (functools.lru_cache(things.function), functools.lru_cache(lambda: 1)):
        with pytest.raises(weakreduce.WeakrefPicklingError, match="outside"):
            weakreduce.dumps(weakref.ref(cached), policy="strict", host="pickle")


@pytest.mark.parametrize(("kind", "host", "protocol"), CONTEXTS)
def test_dead_stays_dead(kind: str, host: str, protocol: int) -> None:
    """Dead on arrival as the same type; refs stay distinct and hashable."""
    make, weaken, follow = KINDS[kind]
    weak, other = weaken(make()), weaken(make())
    gc.collect()
    twin, second = copied([weak, other], host, protocol, "strict")
    assert type(twin) is type(weak)
    assert follow(twin) is None
    if issubclass(type(weak), weakref.ref):
        assert twin is not second
        assert twin != second
        assert len({twin: 1, second: 2}) == 2


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", KINDS)
def test_strict_and_forbid_refuse(kind: str, host: str) -> None:
    """Outside refuses under "strict"; under "forbid" inside does, too; dead never."""
    make, weaken, _ = KINDS[kind]
    referent = make()
    weak = weaken(referent)
    with pytest.raises(weakreduce.WeakrefPicklingError, match="strict"):
        weakreduce.dumps(weak, host=host, policy="strict")
    with pytest.raises(weakreduce.WeakrefPicklingError, match="forbid"):
        weakreduce.dumps([referent, weak], host=host, policy="forbid")
    del referent
    gc.collect()
    weakreduce.dumps(weak, host=host, policy="forbid")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", KINDS)
def test_shared_names(kind: str, host: str) -> None:
    """A shared referent travels as its name, and resolves to what is shared on arrival."""
    make, weaken, follow = KINDS[kind]
    referent = make()
    weak = weaken(referent)
    weakreduce.share("the thing", referent)
    data = weakreduce.dumps(weak, host=host, policy="strict")
    assert follow(weakreduce.loads(data, host=host)) is referent
    weakreduce.unshare("the thing")
    with pytest.warns(weakreduce.DanglingWarning, match="the thing"):
        lost = weakreduce.loads(data, host=host)
    gc.collect()
    assert type(lost) is type(weak)
    assert follow(lost) is None


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("referent", [things.function, Thing, len], ids=lambda r: type(r).__name__)
def test_by_name_lives_under_every_policy(host: str, referent: Any) -> None:
    """Importable classes, functions and modules are on the receiver anyway."""
    for policy in ("snapshot", "dangle", "strict"):
        twin = copied(weakref.ref(referent), host, policy=policy)
        assert twin() is referent
        assert not weakreduce.is_pinned(twin)


@pytest.mark.parametrize("host", gaps.BY_VALUE)
def test_by_value(host: str) -> None:
    """Functions and classes that travel by value are referents like any other."""

    def local() -> int:
        return 42

    Local = type("Local", (), {"__module__": "__main__", "answer": 42})
    for referent in (local, Local):
        twin, copy = copied([weakref.ref(referent), referent], host, policy="strict")
        assert twin() is copy
        pinned = copied(weakref.ref(referent), host)
        assert weakreduce.is_pinned(pinned)
        assert copied(weakref.ref(referent), host, policy="dangle")() is None
    assert copied(weakref.ref(local), host)()() == 42
    assert copied(weakref.ref(Local), host)().answer == 42


class ValuedList(list):  # type: ignore[type-arg]
    def __hash__(self) -> int:  # type: ignore[override]
        return 1


class Broken(things.Valued):
    def __reduce__(self) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize("host", HOSTS)
class TestMembersThatHashByValue:
    """A member whose hash needs state that is not there yet still loads."""

    def test_in_their_own_weak_set(self, host: str) -> None:
        thing = things.Valued("v")
        thing.group = weakref.WeakSet([thing])
        copy = copied(thing, host)
        assert copy in copy.group

    def test_as_key_of_their_own_weak_key_dictionary(self, host: str) -> None:
        thing = things.Valued("v")
        thing.notes = weakref.WeakKeyDictionary({thing: "note"})
        copy = copied(thing, host)
        assert copy.notes[copy] == "note"

    @pytest.mark.parametrize("first", ["member", "dict"])
    def test_as_key_of_a_dict_of_refs(self, host: str, first: str) -> None:
        thing = things.Valued("v")
        thing.table = {weakref.ref(thing): 1}
        thing.group = {weakref.ref(thing)}
        root = thing if first == "member" else [thing.table, thing]
        copy = copied(root, host)
        copy = copy if first == "member" else copy[1]
        assert copy.table[weakref.ref(copy)] == 1
        assert weakref.ref(copy) in copy.group

    def test_frozen_dataclasses(self, host: str) -> None:
        for cls in (things.Frozen, things.FrozenSlots):
            holder: dict[Any, Any] = {}
            thing = cls(5, holder)
            holder[weakref.ref(thing)] = 1
            holder["set"] = weakref.WeakSet([thing])
            copy = copied(thing, host)
            assert copy.extra[weakref.ref(copy)] == 1
            assert copy in copy.extra["set"]

    @pytest.mark.parametrize("first", ["ref", "member"])
    @pytest.mark.parametrize(
        "through", ["itself", "a peer", "a tuple", "a long tuple", "a weak one", "items"]
    )
    def test_as_key_beside_an_attribute_that_leads_back(
        self, host: str, first: str, through: str
    ) -> None:
        """The attributes that come with its shell must not bring the rest of its state along."""
        thing, peer = things.Valued("v"), things.Valued("peer")
        thing.back = {
            "itself": thing, "a peer": peer, "a tuple": (1, (thing,)),
            "a long tuple": ((thing,), *((number,) for number in range(300))),
            "a weak one": (weakref.ref(peer),), "items": ValuedList([thing]),
        }[through]  # fmt: skip
        peer.back = thing
        thing.table = {weakref.ref(thing): 1}
        root = [weakref.ref(thing), thing] if first == "ref" else [thing, weakref.ref(thing)]
        copy = copied(root, host)[1 if first == "ref" else 0]
        assert copy.table[weakref.ref(copy)] == 1

    @pytest.mark.parametrize(
        "key", [(1, ("a",)), things.Frozen(1, ["x"]), Fraction(1, 3), things.NAMED]
    )
    def test_that_hash_by_values_of_other_classes(self, host: str, key: Any) -> None:
        thing = things.Valued(key)
        thing.table = {weakref.ref(thing): 1}
        copy = copied([weakref.ref(thing), thing], host)[1]
        assert copy.table[weakref.ref(copy)] == 1

    def test_beside_what_cannot_be_pickled(self, host: str) -> None:
        """What is wrong with an attribute is told when that is written, as ever."""
        thing = things.Valued("v")
        thing.broken, thing.table = Broken("b"), {weakref.ref(thing): 1}
        with pytest.warns(weakreduce.DanglingWarning, match="ZeroDivisionError"):
            assert copied([weakref.ref(thing)], host)[0]() is None
        with pytest.raises(ZeroDivisionError):
            copied([weakref.ref(thing), thing], host)

    def test_a_hashed_neighbour_keeps_its_place(self, host: str) -> None:
        """Shells must not change which state is there when a strong set hashes its members."""
        u, t, v = things.Valued("u"), Thing("t"), Thing("v")
        t.peer, v.members = weakref.ref(u), {u}
        copy = copied([t, v, u], host)
        assert copy[0].peer() is copy[2]
        assert copy[2] in copy[1].members


@pytest.mark.parametrize("host", HOSTS)
def test_subclasses(host: str) -> None:
    """Slots, dicts, required arguments; a ``__reduce__`` of their own wins."""
    thing = Thing()
    reference, listeners = things.SubRef(thing, 9), things.Listeners("L", [thing])
    index, notes = things.Index("I"), things.Notes("N")
    index["k"], notes[thing] = thing, "note"
    method = things.SubMethod(thing.method)
    method.more = 1
    copy, reference, listeners, index, notes, method = copied(
        [thing, reference, listeners, index, notes, method], host
    )
    assert (reference.identity, reference.note, reference()) == (9, "note", ("overridden", copy))
    assert type(listeners) is things.Listeners
    assert (listeners.name, list(listeners)) == ("L", [copy])
    assert (index.name, index["k"]) == ("I", copy)
    assert (notes.name, notes[copy]) == ("N", "note")
    assert (type(method), method.more, method()()) == (things.SubMethod, 1, "thing")
    assert copied([thing, things.OwnReduce(thing)], host)[1] == "its own way"
    del copy
    gc.collect()
    assert (len(listeners), len(index), len(notes)) == (0, 0, 0)


@pytest.mark.parametrize("host", HOSTS)
def test_mixed_containers(host: str) -> None:
    """Each entry by its own fate, in order; removing an entry lets its pin go."""
    kept, out = Thing("in"), Thing("out")
    values = weakref.WeakValueDictionary(a=kept, b=out, c=kept)
    copy, table = copied([kept, values], host)
    assert list(table) == ["a", "b", "c"]
    assert table["a"] is copy
    watched = weakref.ref(table["b"])
    table["b"] = copy
    gc.collect()
    assert watched() is None
    group = copied(weakref.WeakSet([out]), host)
    watched = weakref.ref(next(iter(group)))
    group.discard(watched())
    gc.collect()
    assert watched() is None
    pair = copied([kept, values], host, policy="dangle")
    assert list(pair[1]) == ["a", "c"]


@pytest.mark.parametrize("host", HOSTS)
def test_ephemerons(host: str) -> None:
    """A value counts once its key is inside by another way, and chains of that resolve."""
    things_ = [Thing(str(i)) for i in range(2000)]
    table: Any = weakref.WeakKeyDictionary()
    for here, there in itertools.pairwise(reversed(things_)):
        table[there] = here
    copy, first = copied([table, things_[0]], host, policy="dangle")
    assert len(copy) == 1999
    assert copy[first].name == "1"
    assert len(copied(table, host, policy="dangle")) == 0
    selfish = Thing("selfish")
    lonely = weakref.WeakKeyDictionary({selfish: selfish})
    assert len(copied(lonely, host, policy="dangle")) == 0


@pytest.mark.parametrize("host", HOSTS)
def test_chains_never_recurse(host: str) -> None:
    """A flat list with weak links both ways, and a chain held by weak edges alone."""
    items = [Thing(str(i)) for i in range(5000)]
    for number, item in enumerate(items):
        item.next = weakref.ref(items[(number + 1) % 5000])
        item.previous = weakref.proxy(items[number - 1])
    copy = copied(items, host, policy="strict")
    assert copy[4999].next() is copy[0]
    assert copy[0].previous.name == "4999"
    item = root = copied(items[0], host)
    for _ in range(5000):
        item = item.next()
    assert item is root


@pytest.mark.parametrize("host", HOSTS)
def test_pins_are_collectable(host: str) -> None:
    """A cycle through pins is garbage once nothing outside it leads in."""
    a, b = Thing("a"), Thing("b")
    a.other, b.other = weakref.ref(b), weakref.ref(a)
    copy = copied(a.other, host)
    watched = weakref.ref(copy())
    del copy
    gc.collect()
    assert watched() is None


def test_a_pin_is_of_the_standard_library() -> None:
    thing = Thing()
    assert weakreduce.is_pinned(weakref.ref(thing, operator.itemgetter(thing)))
    assert not weakreduce.is_pinned(weakref.ref(thing, operator.itemgetter("other")))


@pytest.mark.parametrize("host", HOSTS)
def test_callbacks(host: str) -> None:
    """Kept by default and fired; dropped where the policy says so; a pin does not lose them."""
    thing, recorder = Thing(), things.Recorder()
    for weaken in (weakref.ref, weakref.proxy):
        root = {"weak": weaken(thing, recorder), "thing": thing, "recorder": recorder}
        copy = copied(root, host)
        del copy["thing"]
        gc.collect()
        assert copy["recorder"].calls == 1
        with weakreduce.policy(callbacks="drop"):
            copy = copied(root, host)
        del copy["thing"]
        gc.collect()
        assert copy["recorder"].calls == 0
    pinned = copied(weakref.ref(thing, recorder), host)
    free = weakreduce.unpin(pinned)
    recorder = free.__callback__
    del pinned
    gc.collect()
    assert free() is None
    assert recorder.calls == 1


@pytest.mark.parametrize("host", HOSTS)
def test_a_callback_that_leads_back_to_its_ref(host: str) -> None:
    thing, recorder = Thing(), things.Recorder()
    reference = weakref.ref(thing, recorder)
    recorder.reference = reference
    recorder.thing = thing
    copy = copied(reference, host)
    assert copy.__callback__.reference is copy
    assert copy.__callback__.thing is copy()
    owner = Thing("owner")
    owner.reference = weakref.ref(thing, owner.method)
    owner.thing = thing
    copy = copied(owner.reference, host)
    assert copy.__callback__.__self__.reference is copy


@pytest.mark.parametrize("host", HOSTS)
def test_a_callback_that_cannot_be_pickled_is_dropped_with_a_warning(host: str) -> None:
    thing, recorder = Thing(), things.Recorder()
    recorder.lock = things.Locked()
    with pytest.warns(weakreduce.DanglingWarning, match=r"callback.*Recorder.*lock"):
        copy = weakreduce.loads(
            weakreduce.dumps([weakref.ref(thing, recorder), thing], host=host), host=host
        )
    assert copy[0]() is copy[1]
    assert copy[0].__callback__ is None


@pytest.mark.parametrize("host", HOSTS)
def test_finalizers(host: str) -> None:
    """Detached by default; re-armed on the copy where the policy says so."""
    thing = Thing()
    thing.finalizer = weakref.finalize(thing, things.log, 1, two=2)
    thing.finalizer.atexit = False
    copy = copied(thing, host)
    assert not copy.finalizer.alive
    things.LOG.clear()
    with weakreduce.policy(finalizers="rearm"):
        copy = copied(thing, host)
        assert copy.finalizer.alive
        assert not copy.finalizer.atexit
        outside = Thing("outside")
        finalizer = weakref.finalize(outside, things.called, None)
        with pytest.warns(weakreduce.DanglingWarning, match="cannot keep its referent alive"):
            data = weakreduce.dumps(finalizer, host=host)
        assert weakreduce.loads(data, host=host).alive is False
        assert copied(finalizer, host, policy=weakreduce.Policy(outside="dangle")).alive is False
        finalizer.detach()
        dead = weakref.finalize(Thing(), int)
        assert copied(dead, host).alive is False
    del copy
    gc.collect()
    assert things.LOG == [((1,), {"two": 2})]
    thing.finalizer.detach()


@pytest.mark.parametrize("host", HOSTS)
def test_finalizers_of_what_the_receiver_has(host: str) -> None:
    """Armed on the receiver's own object of that name, as any weak thing would point at it."""
    shared = Thing("shared")
    weakreduce.share("a finalizer's", shared)
    for referent in (shared, Thing):
        finalizer = weakref.finalize(referent, things.called, None)
        finalizer.atexit = False
        with weakreduce.policy(finalizers="rearm"):
            copy = copied([finalizer], host)[0]
        assert copy.peek()[0] is referent
        assert copy.detach() is not None
        finalizer.detach()
    weakreduce.unshare("a finalizer's")


@pytest.mark.parametrize("host", HOSTS)
def test_reductions_run_once(host: str) -> None:
    """A second walk calls no ``__reduce__`` again, and temporaries keep their identity."""
    outside = Thing("outside")
    copy = weakreduce.loads(
        weakreduce.dumps([things.Once(), weakref.ref(outside)], host=host), host=host
    )
    assert copy[0].name == "once"
    copy = copied([weakref.ref(outside), things.Fresh()], host)[1]
    assert copy.to_it() is copy.temporary
    assert copy.to_part() is copy.part


def test_buffers_are_handed_over_once() -> None:
    """Although the walk that needed them runs twice."""
    out = Thing("outside")
    data = bytearray(b"x" * 1000)
    for host in ("cloudpickle", "pickle"):
        buffers: list[Any] = []
        payload = weakreduce.dumps(
            [pickle.PickleBuffer(data), weakref.ref(out), pickle.PickleBuffer(data)],
            protocol=5, buffer_callback=buffers.append, host=host,
        )  # fmt: skip
        assert len(buffers) == 2
        copy = weakreduce.loads(payload, buffers=buffers)
        assert copy[1]().name == "outside"


def test_a_third_party_kind() -> None:
    weakreduce.register(
        ThirdParty, referent=lambda w: w.target(), rebuild=ThirdParty, pin=ThirdParty.pinned
    )
    thing = Thing()
    twin, copy = copied([ThirdParty(thing), thing], "cloudpickle", policy="strict")
    assert twin.target() is copy
    assert copied(ThirdParty(thing), "cloudpickle").target().name == "thing"
    assert copied(ThirdParty(thing), "cloudpickle", policy="dangle").target() is None
    weakreduce.register(ThirdParty, referent=lambda w: w.target(), rebuild=ThirdParty)
    with pytest.warns(weakreduce.DanglingWarning, match="cannot keep its referent alive"):
        data = weakreduce.dumps(ThirdParty(thing))
    assert weakreduce.loads(data).target() is None
    with pytest.raises(TypeError, match="takes a type"):
        weakreduce.register("no", referent=len, rebuild=len)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="rebuild"):
        weakreduce.register(ThirdParty, referent=len, rebuild=3)  # type: ignore[arg-type]


class ThirdParty:
    def __init__(self, target: Any) -> None:
        self._target = (lambda: None) if target is None else weakref.ref(target)
        self._keep: Any = None

    def target(self) -> Any:
        return self._target()

    @staticmethod
    def pinned(target: Any) -> ThirdParty:
        made = ThirdParty(target)
        made._keep = target
        return made


def test_buffers_come_in_the_order_of_the_payload() -> None:
    """Also where shells and snapshots bring theirs in between; an answer of the callback counts."""
    inside, outside = Buffered(b"inside"), Buffered(b"outside")
    root = [weakref.ref(inside), weakref.ref(outside), Buffered(b"first"), inside]
    for host in ("cloudpickle", "pickle"):
        for answer in (lambda buffer: None, lambda buffer: bytes(buffer) == b"outside"):
            buffers: list[Any] = []
            asked: list[bytes] = []

            def callback(
                buffer: Any, answer: Any = answer, asked: Any = asked, buffers: Any = buffers
            ) -> Any:
                asked.append(bytes(buffer))
                in_band = answer(buffer)
                if not in_band:
                    buffers.append(buffer)
                return in_band

            data = weakreduce.dumps(root, protocol=5, buffer_callback=callback, host=host)
            assert sorted(asked) == [b"first", b"inside", b"outside"]
            copy = weakreduce.loads(data, buffers=buffers)
            assert bytes(copy[0]().data) == b"inside"
            assert copy[0]() is copy[3]
            assert bytes(copy[1]().data) == b"outside"
            assert bytes(copy[2].data) == b"first"


def test_buffers_of_what_does_not_travel_are_not_handed_over() -> None:
    lost = Thing(buffer=pickle.PickleBuffer(b"lost"), lock=things.Locked())
    buffers: list[Any] = []
    with pytest.warns(weakreduce.DanglingWarning):
        data = weakreduce.dumps(
            [weakref.ref(lost), Buffered(b"kept")], protocol=5, buffer_callback=buffers.append
        )
    assert [bytes(buffer) for buffer in buffers] == [b"kept"]
    assert bytes(weakreduce.loads(data, buffers=buffers)[1].data) == b"kept"


class Buffered:
    """Reduces as an array does: the buffer is an argument of its construction."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Buffered, (pickle.PickleBuffer(self.data),)


class Counting(Thing):
    count = 0

    def __getstate__(self) -> Any:
        Counting.count += 1
        return self.__dict__


def test_many_failures_take_linear_time() -> None:
    """Counted in walked objects, not in seconds."""

    def walked(size: int) -> int:
        Counting.count = 0
        locks = [things.Locked() for _ in range(size)]
        holders = [Thing(part=Counting(), lock=weakref.ref(lock)) for lock in locks]
        with pytest.warns(weakreduce.DanglingWarning):
            weakreduce.dumps([weakref.ref(holder) for holder in holders])
        return Counting.count

    assert walked(80) <= 8 * walked(10)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("weak", [False, True])
def test_nothing_outlives_a_dump(host: str, weak: bool) -> None:
    """By reference counts alone: no cycle of ours holds the payload."""
    gc.collect()
    gc.disable()
    try:
        thing = Thing(part=Thing("part"))
        outside = Thing("outside")
        if weak:
            thing.weak = [weakref.ref(outside), weakref.WeakSet([outside, thing.part])]
            thing.called = weakref.ref(outside, things.Recorder())
        watched = [weakref.ref(thing), weakref.ref(outside), weakref.ref(thing.part)]
        weakreduce.dumps(thing, host=host)
        with pytest.raises(TypeError):
            weakreduce.dumps([thing, things.Locked()], host=host)
        del thing, outside
        assert [reference() for reference in watched] == [None, None, None]
    finally:
        gc.enable()


def test_unpin_keeps_what_subclasses_add() -> None:
    thing = Thing()
    method = things.SubMethod(thing.method)
    method.more = 1
    assert weakreduce.unpin(copied(method, "cloudpickle")).more == 1
    reference = weakreduce.unpin(copied(things.SubRef(thing, 3), "cloudpickle"))
    assert (reference.identity, reference.note) == (3, "note")


class Meddling(Thing):
    """Its hash is a moment in which a container is written to, as a thread may do at any."""

    meddle: Any = None

    def __hash__(self) -> int:
        act, Meddling.meddle = Meddling.meddle, None
        if act is not None:
            act()
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meddling) and self.name == other.name


def test_unpin_brings_nothing_back_that_is_gone_by_then() -> None:
    thing, other = Meddling("a"), Meddling("b")
    makes: list[tuple[Any, Any]] = [
        (weakref.WeakSet([thing, other]), lambda weak: weak.data.clear()),
        (weakref.WeakKeyDictionary({thing: 1, other: 2}), lambda weak: weak.data.clear()),
        (weakref.WeakValueDictionary({thing: other}), lambda weak: weak.data.clear()),
    ]
    for weak, act in makes:
        pinned = copied(weak, "cloudpickle")
        assert weakreduce.is_pinned(pinned)
        Meddling.meddle = lambda pinned=pinned, act=act: act(pinned)
        assert weakreduce.unpin(pinned) is pinned
        assert Meddling.meddle is None
        assert len(pinned) == 0


def test_unpin_leaves_what_took_an_entrys_place() -> None:
    key, thing = Meddling("key"), Thing("first")
    pinned = copied(weakref.WeakValueDictionary({key: thing}), "cloudpickle")
    newer = [Thing("newer")]
    (kept,) = pinned.keys()
    Meddling.meddle = lambda: pinned.__setitem__(kept, newer[0])
    weakreduce.unpin(pinned)
    assert list(pinned.values()) == newer
    newer.clear()
    gc.collect()
    assert list(pinned.values()) == []


def test_what_is_not_pinned_is_given_back_as_it_is() -> None:
    thing = Thing()
    for weak in (weakref.ref(thing), weakref.proxy(thing), weakref.WeakSet([thing])):
        assert weakreduce.unpin(weak) is weak


@pytest.mark.parametrize("host", HOSTS)
def test_weak_sets_have_one_order_of_bytes(host: str) -> None:
    def payload() -> bytes:
        members = [Thing(str(n), deep=[n, {"n": Thing(more=(n,))}]) for n in range(20)]
        return weakreduce.dumps(weakref.WeakSet(members), host=host)

    first = payload()
    filler = [Thing() for _ in range(37)]
    assert payload() == first
    assert filler
