"""What a user's class may do: raise or lie where stock does not ask it, or arrive as another."""

from __future__ import annotations

import contextlib
import copyreg
import functools
import gc
import io
import pickle
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

import cloudpickle
import dill
import pytest
import things
from things import Thing

import weakreduce
from weakreduce.model import kinds, proxies
from weakreduce.model.proxies import proxy_referent

HOSTS = ["cloudpickle", "dill", "pickle"]
STOCK = {"cloudpickle": cloudpickle.dumps, "dill": dill.dumps, "pickle": pickle.dumps}


# --- classes that raise and lie ---------------------------------------------------------------


def no(*_: Any) -> Any:
    raise ValueError("code of a user's class ran")


METACLASSES: dict[str, dict[str, Any]] = {
    "eq raises": {"__eq__": no, "__hash__": type.__hash__},
    "eq raises, and all hashes are one": {"__eq__": no, "__hash__": lambda cls: 1},
    "eq lies": {"__eq__": lambda cls, other: True, "__hash__": lambda cls: hash(type(None))},
    "bool and len raise": {"__bool__": no, "__len__": no},
    "getattr raises": {"__getattr__": no},
    "getattr lies": {"__getattr__": lambda cls, name: print},
    "isinstance raises": {"__instancecheck__": no, "__subclasscheck__": no},
    "isinstance lies": {
        "__instancecheck__": lambda cls, obj: True,
        "__subclasscheck__": lambda cls, other: True,
    },
    "repr raises": {"__repr__": no, "__str__": no},
    "getattribute raises": {
        "__getattribute__": lambda cls, name: (
            no()
            if name in ("__mro__", "__reduce_ex__", "__hash__", "__new__", "__getstate__")
            else type.__getattribute__(cls, name)
        )
    },
}
class OfInstances:
    """A descriptor that raises where a class is asked for it."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __get__(self, obj: Any, cls: Any) -> Any:
        if obj is None:
            raise AttributeError("for instances only")
        return self.function.__get__(obj, cls)


METHODS = (
    "__bool__", "__len__", "__repr__", "__str__", "__getattr__", "__iter__", "__contains__",
    "__index__", "__format__", "__ne__", "__lt__", "__get__", "__set_name__", "__divmod__",
    "__matmul__", "__pow__", "__sizeof__", "__dir__", "__copy__", "__deepcopy__",
)  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    **{name: {name: no} for name in METHODS},
    "eq raises": {"__eq__": no, "__hash__": object.__hash__},
    "eq lies": {"__eq__": lambda obj, other: True, "__hash__": lambda obj: 1},
    "hash raises": {"__hash__": no},
    **{
        f"{name} is for instances": {name: OfInstances(getattr(object, name))}
        for name in ("__hash__", "__setattr__", "__reduce_ex__", "__reduce__", "__getstate__")
    },
    **{
        f"{name} is a partial method": {name: functools.partialmethod(getattr(object, name))}
        for name in ("__reduce_ex__", "__reduce__", "__getstate__")
    },
    "class raises": {"__class__": property(no)},
    "class lies": {"__class__": property(lambda obj: list)},
    "class is type": {"__class__": property(lambda obj: type)},
    "class is a ref's": {"__class__": property(lambda obj: weakref.ref)},
}


@pytest.fixture
def make() -> Iterator[Any]:
    """Makes importable classes."""
    module = types.ModuleType("classes_that_lie")
    sys.modules[module.__name__] = module

    def make_class(meta: dict[str, Any], body: dict[str, Any]) -> Any:
        metaclass = type("Meta", (type,), meta)
        number = len(vars(module))
        names = {"__module__": module.__name__, **body}
        cls = metaclass(f"K{number}", (object,), names)
        setattr(module, f"K{number}", cls)
        return cls

    yield make_class
    del sys.modules[module.__name__]


def shapes(obj: Any, cls: Any) -> Iterator[Any]:
    yield [obj]
    yield [obj, cls]
    yield [obj, weakref.ref(obj)]
    yield [weakref.ref(obj), obj]
    yield [weakref.ref(obj), weakref.proxy(obj)]
    yield [weakref.ref(cls), cls]
    yield [Thing(obj=obj), weakref.WeakValueDictionary({1: obj})]
    yield weakref.WeakValueDictionary({1: obj})
    for container in (weakref.WeakSet, lambda members: weakref.WeakKeyDictionary({members[0]: 1})):
        try:
            yield [obj, container([obj])]
            yield [container([obj, cls()])]
        except ValueError:  # it has no hash
            continue


CASES = [
    *(pytest.param(meta, {}, id=f"metaclass: {name}") for name, meta in METACLASSES.items()),
    *(pytest.param({}, body, id=f"class: {name}") for name, body in BODIES.items()),
]


@pytest.mark.parametrize(("meta", "body"), CASES)
@pytest.mark.parametrize("host", HOSTS)
def test_what_stock_does_not_ask(host: str, meta: Any, body: Any, make: Any) -> None:
    cls = make(meta, body)
    obj = cls()
    weakreduce.uninstall()
    try:
        STOCK[host]([obj, cls])
    except Exception:
        return  # stock asks it, too
    finally:
        weakreduce.install()
    policies: list[Any] = ["snapshot", "dangle", weakreduce.Policy(rules=((cls, "snapshot"),))]
    for root in shapes(obj, cls):
        for policy in policies:
            weakreduce.dumps(root, policy=policy, host=host)
            weakreduce.explain(root, policy, host=host)
        with pytest.raises(TypeError) as caught:
            weakreduce.dumps([root, things.Locked()], host=host)
        assert str(caught.value) == "cannot pickle a lock"
        assert "root[1]" in caught.value.__notes__[-1]


class AsList:
    """What its ``__reduce__`` is in a class is no function, but gives one."""

    @staticmethod
    def as_list(*_: Any) -> Any:
        return list, ([8],)


class ByPartialMethod(AsList):
    __reduce__ = functools.partialmethod(AsList.as_list)  # type: ignore[assignment]


class ByClassMethod(AsList):
    __reduce__ = classmethod(AsList.as_list)  # type: ignore[assignment]


class ByProperty(AsList):
    __reduce__ = property(lambda self: self.as_list)  # type: ignore[assignment]


@pytest.mark.parametrize("cls", [ByPartialMethod, ByClassMethod, ByProperty])
@pytest.mark.parametrize("host", HOSTS)
def test_a_reduction_by_a_descriptor_is_code_of_the_class(host: str, cls: Any) -> None:
    obj = cls()
    with pytest.warns(weakreduce.DanglingWarning, match="cannot be weakly referenced"):
        data = weakreduce.dumps([obj, weakref.ref(obj)], host=host)
    strong, weak = weakreduce.loads(data, host=host)
    assert (strong, weak()) == ([8], None)


class SetOfInstances(weakref.WeakSet):  # type: ignore[type-arg]
    __getstate__ = OfInstances(object.__getstate__)


def test_a_weak_types_descriptors_are_not_run_for_the_class() -> None:
    thing = Thing("thing")
    (copy,), _ = weakreduce.loads(weakreduce.dumps([SetOfInstances([thing]), thing]))
    assert copy.name == "thing"


class Unchecked(type):
    def __instancecheck__(cls, obj: Any) -> bool:
        raise TypeError("as a Protocol does")

    __subclasscheck__ = __instancecheck__


class Rare(metaclass=Unchecked):
    pass


def test_a_rule_for_a_type_that_cannot_be_asked() -> None:
    rare, thing = Rare(), Thing()
    policy = weakreduce.Policy(rules=((Rare, "dangle"),))
    first, second = weakreduce.loads(
        weakreduce.dumps([weakref.ref(rare), weakref.ref(thing)], policy=policy)
    )
    assert first() is None
    assert second().name == "thing"


# --- predicates -------------------------------------------------------------------------------


class Match:
    shown = 0

    def __init__(self, raises: bool) -> None:
        self.raises = raises

    def __call__(self, weak: Any, referent: Any) -> bool:
        return True

    def __repr__(self) -> str:
        Match.shown += 1
        if self.raises:
            raise ValueError("no repr")
        return "Match of " + "x" * 1000

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("fate", ["snapshot", "dangle", "sever"])
def test_a_reason_is_made_when_it_is_shown(host: str, raises: bool, fate: str) -> None:
    thing = Thing()
    root = [weakref.ref(thing), weakref.proxy(thing), weakref.WeakSet([thing])]
    policy = weakreduce.Policy(rules=((Match(raises), fate),))
    Match.shown = 0
    with weakreduce.policy(policy):
        weakreduce.dumps(root, host=host)
    assert Match.shown == 0
    report = weakreduce.explain(root, policy, host)
    assert {finding.reason for finding in report} == {f"rule 0 (a Match) says {fate!r}"}
    assert "a Match" in report.policy


def test_a_refusal_by_a_predicate_without_a_repr() -> None:
    thing = Thing()
    for live in ("allow", "forbid"):
        policy = weakreduce.Policy(rules=((Match(True), "refuse"),), live=live)
        with pytest.raises(weakreduce.WeakrefPicklingError):
            weakreduce.dumps(weakref.ref(thing), policy=policy)
    with pytest.raises(ValueError, match="fate"):
        weakreduce.Policy(rules=((Match(True), "no fate"),))
    with weakreduce.policy(rules=((Match(True), "dangle"),)):
        assert "a Match" in weakreduce.info()["policy"]["name"]


# --- registered types ---------------------------------------------------------------------------


def test_registered_types_are_let_go() -> None:
    before = len(kinds._registered)
    for kind in ("functions", "itself", "its methods", "an heir"):

        class Handle:
            def __init__(self, target: Any = None) -> None:
                self.target = target

            @classmethod
            def made(cls, target: Any) -> Any:
                return cls(target)

            @classmethod
            def opened(cls, handle: Any) -> Any:
                return handle.target

        opened: Any = lambda handle: handle.target
        rebuild: Any = Handle if kind == "itself" else things.Thing
        if kind == "its methods":
            opened, rebuild = Handle.opened, Handle.made
        weakreduce.register(Handle, referent=opened, rebuild=rebuild, pin=rebuild)
        used = type("Heir", (Handle,), {}) if kind == "an heir" else Handle
        thing = Thing()
        assert weakreduce.explain(used(thing), "dangle")[0].fate == "dangle"
        weakreduce.dumps([thing, used(thing)])
        type_of_it = weakref.ref(Handle)
        del Handle, used, opened, rebuild
        gc.collect()
        assert type_of_it() is None, kind
    assert len(kinds._registered) == before


# --- copies that cannot be weakly referenced -----------------------------------------------------


class Slotted:
    __slots__ = ()


class Listed(list):  # type: ignore[type-arg]
    pass


class Odd:
    def __new__(cls) -> Any:
        return Listed()


class Becoming:
    """Arrives as something else."""

    def __init__(self, *reduction: Any) -> None:
        self.reduction = reduction

    def __reduce__(self) -> Any:
        return self.reduction


UNREFERABLE: dict[str, Any] = {
    "list": Becoming(list, ([1],)),
    "list with items": Becoming(list, (), None, iter([1, 2])),
    "int": Becoming(int, (3,)),
    "str": Becoming(str, ("a",)),
    "bytes": Becoming(bytes, (b"a",)),
    "None": Becoming(type(None), ()),
    "object": Becoming(object, ()),
    "slots": Becoming(Slotted, ()),
    "new": Becoming(object.__new__, (Slotted,)),
    "reconstructor": Becoming(copyreg._reconstructor, (Slotted, object, None)),  # type: ignore[attr-defined]
}


def weakly(obj: Any) -> dict[str, Any]:
    """Every kind of weak edge to an object, outside and inside, before and after it."""
    found: dict[str, Any] = {}
    for place in ("outside", "before", "after"):
        for kind, weak in {
            "ref": weakref.ref(obj),
            "called": weakref.ref(obj, things.called),
            "proxy": weakref.proxy(obj),
            "set": weakref.WeakSet([obj]),
            "keys": weakref.WeakKeyDictionary({obj: 1}),
            "values": weakref.WeakValueDictionary({"a": obj}),
        }.items():
            parts = {"outside": [weak], "before": [weak, obj], "after": [obj, weak]}
            found[f"{kind} {place}"] = parts[place]
    return found


def is_empty(weak: Any) -> bool:
    """Whether a weak thing is dead, or without entries."""
    if type(weak) in (weakref.ProxyType, weakref.CallableProxyType):
        return proxy_referent(weak) is None
    return weak() is None if type(weak) is weakref.ref else len(weak) == 0


@pytest.mark.parametrize("name", list(UNREFERABLE))
@pytest.mark.parametrize("host", HOSTS)
def test_a_copy_that_takes_no_weak_reference(host: str, name: str) -> None:
    for root in weakly(UNREFERABLE[name]).values():
        with pytest.warns(weakreduce.DanglingWarning, match="cannot be weakly referenced"):
            payload = weakreduce.dumps(root, host=host)
        copy = weakreduce.loads(payload, host=host)
        assert is_empty(copy[0 if copy[1:] == [] or type(root[1]) is Becoming else 1])
        assert [finding.fate for finding in weakreduce.explain(root, host=host)] == ["dangle"]
        with pytest.raises(weakreduce.WeakrefPicklingError, match="cannot be weakly referenced"):
            weakreduce.dumps(root, policy=weakreduce.Policy(unpicklable="raise"), host=host)
        severed = weakreduce.Policy(rules=((Becoming, "sever"),))
        weakreduce.loads(weakreduce.dumps(root, policy=severed, host=host), host=host)


@pytest.mark.parametrize("host", HOSTS)
def test_a_copy_that_takes_no_weak_reference_beside_one_that_does(host: str) -> None:
    thing, odd = Thing(), next(iter(UNREFERABLE.values()))
    root = [weakref.ref(thing), thing, odd, weakref.ref(odd), weakref.ref(thing)]
    with pytest.warns(weakreduce.DanglingWarning, match="cannot be weakly referenced") as caught:
        payload = weakreduce.dumps(root, host=host)
    assert len(caught) == 1
    copies = weakreduce.loads(payload, host=host)
    assert copies[0]() is copies[4]() is copies[1]
    assert copies[3]() is None


def test_what_the_host_makes_bytes_of() -> None:
    view = memoryview(b"abc")
    for root in ([weakref.ref(view), view], [view, weakref.ref(view)], [weakref.ref(view)]):
        with pytest.warns(weakreduce.DanglingWarning, match="memoryview"):
            payload = weakreduce.dumps(root)
        weakreduce.loads(payload)


def test_a_buffer_arrives_as_bytes_which_nothing_refers_to() -> None:
    buffer = pickle.PickleBuffer(b"abc")
    for root in ([weakref.ref(buffer), buffer], [buffer, weakref.ref(buffer)]):
        with pytest.warns(weakreduce.DanglingWarning, match="cannot be weakly referenced"):
            payload = weakreduce.dumps(root, protocol=5, host="pickle")
        found = weakreduce.loads(payload)
        assert sorted(type(part).__name__ for part in found) == ["ReferenceType", "bytes"]


@pytest.mark.parametrize("host", HOSTS)
def test_other_copies_are_referred_to(host: str) -> None:
    """Of another class, or of one that says itself what it makes, or made by a function."""
    for obj in (Becoming(Thing, ("a",)), Becoming(Listed, ()), Becoming(Odd, ())):
        inside = weakreduce.loads(weakreduce.dumps([obj, weakref.ref(obj)], host=host), host=host)
        assert inside[1]() is inside[0]
        alone = weakreduce.loads(weakreduce.dumps(weakref.ref(obj), host=host), host=host)
        assert type(alone()) in (Thing, Listed)


# --- proxies --------------------------------------------------------------------------------------


class Liar(Thing):
    """Each operator answers with another object, or as a dead proxy would."""

    other = Thing("other")

    def __divmod__(self, other: Any) -> Any:
        raise ReferenceError("not this one")

    def __matmul__(self, other: Any) -> Any:
        return Liar.other

    def __pow__(self, other: Any) -> Any:
        raise SystemError

    def __getattribute__(self, name: str) -> Any:
        if name == "__reduce_ex__":
            raise KeyError(name)
        return super().__getattribute__(name)


def test_a_live_proxy_is_not_taken_for_a_dead_one() -> None:
    liar = Liar("liar")
    proxy = weakref.proxy(liar)
    assert proxy_referent(proxy) is liar
    for kept in (weakref.proxy(liar, things.called), proxy):
        assert proxy_referent(kept) is liar
    del liar, kept
    gc.collect()
    assert proxy_referent(proxy) is None


class Closed(things.Arithmetic):
    """Its instances are not handed over by any operator, nor by a method that is bound to them."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__reduce_ex__":
            raise AttributeError(name)
        return super().__getattribute__(name)

    def __divmod__(self, other: Any) -> Any:
        return None

    __lshift__ = __rshift__ = __xor__ = __floordiv__ = __divmod__


def test_a_proxy_that_does_not_hand_over_its_referent_is_refused() -> None:
    """Nothing else may be written in the referent's place."""
    closed = Closed()
    with pytest.raises(TypeError, match="cannot find the referent of a proxy"):
        weakreduce.dumps([closed, weakref.proxy(closed)])


def test_proxies_whose_text_tells_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a later Python may do: then all weak references to what was found are asked."""
    monkeypatch.setattr(proxies, "_TOLD", False)
    lies, other = things.Arithmetic("lies"), Thing()
    kept: list[Any] = [weakref.proxy(lies), weakref.proxy(lies, things.called)]
    kept.append(weakref.proxy(other))
    assert [proxy_referent(proxy) for proxy in kept] == [lies, lies, other]
    copies = weakreduce.loads(weakreduce.dumps([other, kept[2]]))
    assert proxy_referent(copies[1]) is copies[0]
    with pytest.raises(TypeError, match="cannot find"):
        proxy_referent(weakref.proxy(Closed.kept))
    del other
    gc.collect()
    assert proxy_referent(kept[2]) is None


Closed.kept = Closed()  # type: ignore[attr-defined]


def test_no_proxy_asks_for_all_the_others() -> None:
    """Each has a weak reference of its own where it has a callback."""
    thing = Thing()
    proxies = [weakref.proxy(thing, things.called) for _ in range(100)]
    asked: list[Any] = []

    def listen(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and argument is weakref.getweakrefs:
            asked.append(argument)

    before = sys.getprofile()
    sys.setprofile(listen)
    try:
        payload = weakreduce.dumps([thing, proxies])
    finally:
        sys.setprofile(before)
    assert asked == []
    copy, copies = weakreduce.loads(payload)
    assert all(proxy_referent(other) is copy for other in copies)


class HandsOn(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
    """An override as most are: what it does not know is cloudpickle's concern."""

    def reducer_override(self, obj: Any) -> Any:
        return (complex, (1,)) if type(obj) is things.Locked else super().reducer_override(obj)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
def test_an_override_that_hands_on_proxies(policy: str, inside: bool) -> None:
    """Of the dead, and of functions, which `isinstance` takes them for."""

    def function() -> int:
        return 1

    gone = things.Thing()
    proxies = [weakref.proxy(gone), weakref.proxy(function), weakref.proxy(things.called)]
    del gone
    root = [*proxies, [function] if inside else [], things.Locked()]
    file = io.BytesIO()
    with weakreduce.policy(policy):
        HandsOn(file).dump(root)
    dead, of_function, of_name, held, override = pickle.loads(file.getvalue())
    assert override == 1
    assert type(of_name) is type(of_function) is weakref.CallableProxyType
    assert of_name.__name__ == "called"
    assert isinstance(dead, weakref.ProxyType)
    if not inside and policy == "dangle":
        with pytest.raises(ReferenceError):
            of_function()
    else:
        assert of_function() == 1
    assert not held or of_function.__code__ is held[0].__code__


# --- WeakMethods ----------------------------------------------------------------------------------


class OwnMethod(weakref.WeakMethod):  # type: ignore[type-arg]
    """Constructed by code of its own, with the callback as it was given."""

    def __new__(cls, method: Any, callback: Any = None) -> Any:
        self = weakref.ref.__new__(cls, method.__self__, callback)
        self._func_ref = weakref.ref(method.__func__)
        self._meth_type = type(method)
        self._alive = True
        return self


def closing_over(something: Any) -> Any:
    return lambda dead: something


@pytest.mark.parametrize("callback", [None, things.called, closing_over("something")])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("host", HOSTS)
def test_a_weak_method_with_a_callback_that_is_not_pythons(
    host: str, inside: bool, callback: Any
) -> None:
    """What the callback has in its closure is not taken for the user's, nor for a pin."""
    thing = Thing("it")
    method = OwnMethod(thing.method, callback)
    assert not weakreduce.is_pinned(method)
    copies = weakreduce.loads(weakreduce.dumps([method, thing if inside else None], host=host))
    assert type(copies[0]) is OwnMethod
    assert copies[0]()() == "it"
    assert weakreduce.is_pinned(copies[0]) is not inside


# --- arguments ------------------------------------------------------------------------------------


class MadeOfItsClass(Thing):
    """Its class gives the arguments, and an object of the class cannot be among them."""

    def __new__(cls, *arguments: Any) -> Any:
        self = super().__new__(cls)
        self.arguments = arguments
        return self

    @classmethod
    def __getnewargs__(cls) -> Any:
        return (cls.__name__,)


@pytest.mark.parametrize("host", HOSTS)
def test_arguments_that_a_class_method_gives(host: str) -> None:
    thing = MadeOfItsClass()
    thing.weak = weakref.ref(thing)
    (copy,) = weakreduce.loads(weakreduce.dumps([thing], host=host))
    assert copy.weak() is copy
    stock = pickle.loads(STOCK["pickle"](MadeOfItsClass()))
    assert copy.arguments == stock.arguments == ()


# --- reducers of the user's -----------------------------------------------------------------------


def found_again(name: str) -> Any:
    return ["found again", name]


@pytest.mark.parametrize("host", ["cloudpickle", "pickle"])
def test_a_reducer_for_methods_of_builtin_types(host: str) -> None:
    """It reduces theirs, and those that we write are written by their names all the same."""
    thing = Thing()
    copyreg.pickle(types.MethodDescriptorType, lambda found: (found_again, (found.__name__,)))
    try:
        strong = weakreduce.dumps([thing, str.upper], host=host)
        payload = weakreduce.dumps(
            [thing, str.upper, weakref.WeakSet([thing]), str.lower], host=host
        )
    finally:
        del copyreg.dispatch_table[types.MethodDescriptorType]
    assert weakreduce.loads(strong)[1] == ["found again", "upper"]
    copy, upper, members, lower = weakreduce.loads(payload)
    assert (upper, lower) == (["found again", "upper"], ["found again", "lower"])
    assert list(members) == [copy]


@pytest.mark.parametrize("policy", ["dangle", "strict"])
def test_the_state_of_what_does_not_travel_is_not_asked_for(policy: Any) -> None:
    """Only a `__reduce__` may say that something is written as a name."""
    asked: list[object] = []

    class Session:
        def __getstate__(self) -> dict[str, Any]:
            asked.append(self)
            return {}

    session = Session()
    with weakreduce.policy(policy), contextlib.suppress(weakreduce.WeakrefPicklingError):
        cloudpickle.dumps(weakref.ref(session))
    assert not asked
