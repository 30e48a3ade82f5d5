"""The hosts' dispatch tables: what picklers write that read them, and whose dump is not ours."""

from __future__ import annotations

import collections
import copy
import copyreg
import functools
import gc
import io
import pickle
import sys
import weakref
from typing import Any

import cloudpickle
import dill
import gaps
import programs
import pytest
from things import Thing

import weakreduce
from weakreduce.hosts.tables import WEAK_TYPES


class WithTable(pickle.Pickler):
    dispatch_table = cloudpickle.Pickler.dispatch_table


class WithTableInPython(pickle._Pickler):  # type: ignore[name-defined]
    # Without what dill, when it is imported, puts there of its own.
    dispatch = {
        cls: saver
        for cls, saver in pickle._Pickler.dispatch.items()  # type: ignore[attr-defined]
        if cls not in WEAK_TYPES
    }
    dispatch_table = cloudpickle.Pickler.dispatch_table


class WithSavers(pickle._Pickler):  # type: ignore[name-defined]
    dispatch = dill.Pickler.dispatch


PICKLERS = (WithTable, WithTableInPython, WithSavers)


def write(cls: Any, obj: Any, protocol: int = 4) -> bytes:
    file = io.BytesIO()
    cls(file, protocol).dump(obj)
    return file.getvalue()


def through(cls: Any, obj: Any, protocol: int = 4) -> Any:
    return pickle.loads(write(cls, obj, protocol))


class Named:
    """Hashed by what it holds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.friends: weakref.WeakSet[Named] = weakref.WeakSet()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def called(weak: Any) -> None:
    """A callback that is importable."""


@pytest.fixture(params=PICKLERS, ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_each_kind_outside(cls: Any, protocol: int) -> None:
    """Pinned, of the same type, and let go with its weak thing."""
    thing = Thing()
    send = functools.partial(through, cls, protocol=protocol)
    for weak in (weakref.ref(thing), weakref.KeyedRef(thing, None, "key")):
        found = send(weak)
        assert type(found) is type(weak)
        assert found().name == "thing"
        assert weakreduce.is_pinned(found)
        referent = weakref.ref(found())
        del found
        gc.collect()
        assert referent() is None
    assert send(weakref.KeyedRef(thing, None, "key")).key == "key"
    method = send(weakref.WeakMethod(thing.method))
    assert type(method) is weakref.WeakMethod
    assert method()() == thing.method()
    proxy = send(weakref.proxy(thing))
    assert type(proxy) is weakref.ProxyType
    assert proxy.name == "thing"
    assert {member.name for member in send(weakref.WeakSet([thing]))} == {"thing"}
    assert send(weakref.WeakValueDictionary(a=thing))["a"].name == "thing"
    ((key, value),) = send(weakref.WeakKeyDictionary({thing: "value"})).items()
    assert (key.name, value) == ("thing", "value")
    finalizer = weakref.finalize(thing, print)
    assert not send(finalizer).alive
    finalizer.detach()


def test_the_copy_in_the_payload_is_shared(cls: Any) -> None:
    """Whichever comes first."""
    thing = Thing()
    for order in (1, -1):
        parts = [
            thing,
            weakref.ref(thing),
            weakref.WeakSet([thing]),
            weakref.WeakValueDictionary(a=thing),
            weakref.WeakKeyDictionary({thing: thing}),
            weakref.WeakMethod(thing.method),
        ][::order]
        found = through(cls, parts)[::order]
        assert found[1]() is found[0]
        assert list(found[2]) == [found[0]]
        assert found[3]["a"] is found[0]
        assert found[4][found[0]] is found[0]
        assert found[5]().__self__ is found[0]


def test_what_leads_back(cls: Any) -> None:
    thing = Thing()
    thing.mine = weakref.ref(thing)
    found = through(cls, thing)
    assert found.mine() is found
    reference = through(cls, thing.mine)
    assert reference().mine() is reference()
    named = Named("named")
    named.friends.add(named)
    found = through(cls, named)
    assert list(found.friends) == [found]
    (found,) = through(cls, named.friends)
    assert list(found.friends) == [found]


def test_dead_ones(cls: Any) -> None:
    thing = Thing()
    weak = [weakref.ref(thing), weakref.proxy(thing), weakref.WeakMethod(thing.method)]
    hash(weak[0])
    del thing
    gc.collect()
    for obj in weak:
        assert type(through(cls, obj)) is type(obj)
    assert through(cls, weak[0])() is None
    assert through(cls, {weak[0]: 1})


def test_policies(cls: Any) -> None:
    thing = Thing()
    reference = weakref.ref(thing)
    with weakreduce.policy("dangle"):
        data = write(cls, reference)
        assert b"thing" not in data
        assert pickle.loads(data)() is None
        assert len(through(cls, weakref.WeakSet([thing]))) == 0
        assert through(cls, weakref.ref(Thing))() is Thing  # by name
    for name in ("strict", "forbid"):
        for weak in (reference, weakref.proxy(thing), weakref.WeakSet([thing]),
                     weakref.WeakMethod(thing.method),
                     weakref.WeakValueDictionary(a=thing)):  # fmt: skip
            with (
                weakreduce.policy(name),
                pytest.raises(weakreduce.WeakrefPicklingError, match=f'Thing .*policy "{name}"'),
            ):
                write(cls, weak)
    with weakreduce.policy("strict"):
        finalizer = weakref.finalize(thing, print)
        assert not through(cls, finalizer).alive
        assert through(cls, weakref.ref(Thing))() is Thing
    with weakreduce.policy("forbid"), pytest.raises(weakreduce.WeakrefPicklingError):
        write(cls, finalizer)
    finalizer.detach()
    with weakreduce.policy(rules=((Thing, "dangle"),)):
        assert through(cls, reference)() is None
    with weakreduce.policy(rules=((lambda weak, referent: referent is thing, "sever"),)):
        assert through(cls, [thing, reference])[1]() is None


def test_callbacks(cls: Any) -> None:
    thing = Thing()
    reference = weakref.ref(thing, called)
    found = through(cls, reference)
    assert found().name == "thing"
    assert weakreduce.is_pinned(found)
    assert weakreduce.unpin(found).__callback__ is called
    with weakreduce.policy(callbacks="drop"):
        assert called.__name__.encode() not in write(cls, reference)


def test_large_referents_dangle_with_a_warning(cls: Any) -> None:
    thing = Thing()
    thing.bulk = bytes(10_000)
    with weakreduce.policy(max_snapshot_bytes=5_000):
        with pytest.warns(weakreduce.DanglingWarning, match="max_snapshot_bytes=5000"):
            assert through(cls, weakref.ref(thing))() is None
        assert through(cls, weakref.ref(KEEP))().name == "keep"


KEEP = Thing("keep")


def test_shared_names(cls: Any) -> None:
    thing = weakreduce.share("a thing", Thing())
    data = write(cls, [weakref.ref(thing), weakref.proxy(thing)])
    reference, proxy = pickle.loads(data)
    assert reference() is thing
    assert proxy.name == "thing"


class Link(weakref.ref):  # type: ignore[type-arg]
    """With attributes of the user's."""


class OwnReduce(weakref.ref):  # type: ignore[type-arg]
    def __reduce__(self) -> Any:
        return str, ("its own",)


def test_a_subclass_may_be_given_its_bases_entry() -> None:
    table = cloudpickle.Pickler.dispatch_table
    own = {cls: table[weakref.ref] for cls in (Link, OwnReduce)}
    chosen = type("Chosen", (pickle.Pickler,), {"dispatch_table": table.new_child(own)})
    thing = Thing()
    link = Link(thing)
    link.note = "noted"
    found = through(chosen, link)
    assert (type(found), found.note, found().name) == (Link, "noted", "thing")
    assert through(chosen, OwnReduce(thing)) == "its own"
    assert copy.copy(own[Link]) is own[Link]


def test_nothing_of_ours_is_in_the_bytes_or_left_behind(cls: Any) -> None:
    thing = Thing()
    weak = [weakref.ref(thing), weakref.WeakSet([thing]), weakref.WeakMethod(thing.method)]
    assert b"weakreduce" not in write(cls, weak)
    gone = weakref.ref(thing)
    gc.disable()
    try:
        del thing
        assert gone() is None
    finally:
        gc.enable()


def test_other_tables_and_copies_stay_as_they_are() -> None:
    assert not set(WEAK_TYPES) & set(copyreg.dispatch_table)
    assert set(WEAK_TYPES) <= set(cloudpickle.Pickler.dispatch_table)
    assert set(WEAK_TYPES) <= set(dill.Pickler.dispatch)
    thing = Thing()
    reference = weakref.ref(thing)
    assert copy.copy(reference) is reference
    assert copy.deepcopy(reference) is reference
    assert list(copy.copy(weakref.WeakSet([thing]))) == [thing]
    table = copy.deepcopy(cloudpickle.Pickler._dispatch_table)
    assert table == cloudpickle.Pickler._dispatch_table
    assert not set(WEAK_TYPES) & set(dill._dill._reverse_typemap.values())


def test_a_reducer_of_the_users_own_wins(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In copyreg, where stock's table has none; in the table, always; for us and for others."""
    own = weakref.WeakMethod(KEEP.method)
    assert cloudpickle.loads(cloudpickle.dumps(own))()
    monkeypatch.setitem(copyreg.dispatch_table, weakref.WeakMethod, lambda weak: (str, ("own",)))
    assert through(cls, own) == "own"
    assert cloudpickle.loads(cloudpickle.dumps([own])) == ["own"]
    assert dill.loads(dill.dumps([own])) == ["own"]
    members = weakref.WeakSet([KEEP])
    monkeypatch.setitem(cloudpickle.Pickler._dispatch_table, weakref.WeakSet,
                        lambda weak: (str, ("table",)))  # fmt: skip
    assert cloudpickle.loads(cloudpickle.dumps([members])) == ["table"]
    assert through(WithTable, members) == "table"


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_our_own_dumps_do_not_see_the_entries(protocol: int) -> None:
    """The bytes are those of a pickler with tables in which nothing is ours."""
    thing = Thing()
    finalizer = weakref.finalize(thing, print)
    payloads = [
        [weakref.ref(thing), thing],
        [weakref.WeakSet([thing]), weakref.ref(thing)],
        [weakref.WeakMethod(thing.method), weakref.KeyedRef(thing, None, 1), finalizer],
        weakref.ref(weakref.WeakSet([thing])),
        {"table": weakref.WeakValueDictionary(a=thing), "by": weakref.WeakKeyDictionary()},
        Thing(weakref.proxy(thing)),  # type: ignore[arg-type]
    ]
    hosts = ("cloudpickle", "dill")
    with_entries = [
        weakreduce.dumps(payload, host=host, protocol=protocol)
        for payload in payloads
        for host in hosts
    ]
    weakreduce.uninstall()
    try:
        without = [
            weakreduce.dumps(payload, host=host, protocol=protocol)
            for payload in payloads
            for host in hosts
        ]
    finally:
        weakreduce.install()
    assert with_entries == without
    finalizer.detach()


UNINSTALL = """
import importlib, sys
host = importlib.import_module(sys.argv[1])

table = host.Pickler.dispatch if sys.argv[1] == "dill" else host.Pickler._dispatch_table
before = list(table.items())
import weakreduce, weakref
assert list(table.items()) != before
copied = dict(table)
weakreduce.install()
weakreduce.uninstall()
assert [key for key, _ in table.items()] == [key for key, _ in before]
assert all(a is b for (_, a), (_, b) in zip(table.items(), before, strict=True))
weakreduce.install()
assert weakref.ref in table and weakref.finalize in table
own = table[weakref.ref] = lambda *given: given
weakreduce.uninstall()
assert table.pop(weakref.ref) is own
# What somebody copied does as stock does.
import io, pickle
class T: pass
t = T()
base = pickle._Pickler if sys.argv[1] == "dill" else pickle.Pickler
name = "dispatch" if base is pickle._Pickler else "dispatch_table"
said = []
for chosen in (dict(before), copied):
    P = type("P", (base,), {name: chosen})
    for obj in (weakref.ref(t), weakref.WeakSet([t]),
                weakref.WeakValueDictionary(), weakref.KeyedRef(t, None, 1)):
        file = io.BytesIO()
        try:
            P(file, 4).dump(obj)
            said.append(file.getvalue())
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
half = len(said) // 2
assert said[:half] == said[half:], said
print("as before")
"""


@pytest.mark.parametrize(
    "module",
    gaps.params(
        "cloudpickle.cloudpickle", "ray.cloudpickle.cloudpickle",
        "pyspark.cloudpickle.cloudpickle", "dill",
    ),
)  # fmt: skip
def test_uninstall_puts_the_tables_back(module: str) -> None:
    assert programs.run(UNINSTALL, module).split() == ["as", "before"]


EXTENDED = """
import pickle, sys
if sys.argv[1] == "ours":
    import weakreduce
import dill
def said(): return [(t.__name__, f.__module__, f.__qualname__) for t, f in table.items()]
table = pickle._Pickler.dispatch
print(said())
dill.extend()
if sys.argv[1] == "ours":
    weakreduce.uninstall()
print(said())
"""


def test_pickles_own_table_stays_as_dill_makes_it() -> None:
    said = [programs.run(EXTENDED, whose) for whose in ("stock", "ours")]
    assert said[0] == said[1]
    assert "save_weakref" in said[0]


@pytest.mark.parametrize("host", [cloudpickle, dill, pickle])
def test_an_entry_that_travels_is_stock_on_the_receiver(host: Any) -> None:
    """As a part of a class that travels by value, say; the receiver needs no weakreduce."""
    entries = [cloudpickle.Pickler._dispatch_table[cls] for cls in WEAK_TYPES]
    data = host.dumps(entries)
    assert b"weakreduce" not in data
    found = dict(zip(WEAK_TYPES, pickle.loads(data), strict=True))
    assert found[weakref.WeakSet] is sys.modules[cloudpickle.Pickler.__module__]._weakset_reduce
    with pytest.raises(TypeError, match=r"cannot pickle 'weakref.ReferenceType' object"):
        found[weakref.ref](weakref.ref(KEEP))
    savers = [dill.Pickler.dispatch[cls] for cls in (weakref.ref, weakref.ProxyType)]
    assert pickle.loads(host.dumps(savers)) == [dill._dill.save_weakref, dill._dill.save_weakproxy]


def test_a_saver_that_travels_and_that_stock_lacks_does_as_stock_without_it() -> None:
    saver = pickle.loads(pickle.dumps(dill.Pickler.dispatch[weakref.WeakSet]))
    savers = WithTableInPython.dispatch

    class WithIt(pickle._Pickler):  # type: ignore[name-defined, misc]
        dispatch = savers | {weakref.WeakSet: saver}

    class Without(pickle._Pickler):  # type: ignore[name-defined, misc]
        dispatch = savers

    class WithTheirs(WithIt):
        dispatch = savers | {OwnSet: saver}
        dispatch_table = {OwnSet: lambda weak: "A_SET"}

    for pickler in (WithIt, Without):
        with pytest.raises(TypeError, match=r"cannot pickle 'weakref.ReferenceType' object"):
            write(pickler, weakref.WeakSet([KEEP]))
    assert through(WithTheirs, A_SET) is A_SET


class OwnSet(weakref.WeakSet[Any]):
    pass


A_SET: Any = OwnSet()


def test_a_reducer_that_gives_a_name() -> None:
    """A user's own, which wins, and says by which name the weak thing itself is found."""

    class Naming(WithSavers):
        dispatch = WithSavers.dispatch | {OwnSet: dill.Pickler.dispatch[weakref.WeakSet]}
        dispatch_table = {OwnSet: lambda weak: "A_SET"}

    assert through(Naming, [A_SET])[0] is A_SET


def test_what_we_rely_on() -> None:
    assert isinstance(cloudpickle.Pickler._dispatch_table, dict)
    assert isinstance(dill.Pickler.dispatch, dict)
    assert not hasattr(dill.Pickler, "_dispatch_table")


class Acts:
    """Does something in the midst of a dump."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def __reduce__(self) -> Any:
        self.act()
        return int, ()


@pytest.mark.parametrize("policy", ["snapshot", "dangle", "strict"])
@pytest.mark.parametrize("first", ["thing", "reference"])
def test_a_dump_of_dills_own_goes_on_as_it_began(policy: Any, first: str) -> None:
    """One that began before ours was there has met things that we do not know of."""
    thing = Thing()
    parts = [thing, weakref.ref(thing)]
    root = parts if first == "thing" else parts[::-1]
    try:
        weakreduce.uninstall()
        stock = dill.dumps([0, *root])
        with weakreduce.policy(policy):
            found = dill.loads(dill.dumps([Acts(weakreduce.install), *root]))
        assert weakreduce.info()["hosts"]["dill"]["state"] == "installed"
    finally:
        weakreduce.install()
    expected = dill.loads(stock)
    for copies in (found, expected):
        copies.sort(key=lambda copy: isinstance(copy, weakref.ref))
        _, copy, reference = copies
        assert reference() is copy
        assert not weakreduce.is_pinned(reference)


def test_an_entry_that_is_taken_out_meanwhile() -> None:
    """What a saver was asked it answers as it was there, and does not fail."""
    thing = Thing()
    root = [Acts(weakreduce.uninstall), thing, weakref.ref(thing)]
    try:
        _, copy, reference = through(WithSavers, root)
        assert reference() is copy
    finally:
        weakreduce.install()


class WithoutDillsBeginning(dill.Pickler):
    """Neither made nor run as dill's are; so its dumps are not ours, and its table is."""

    def __init__(self, file: Any, protocol: int) -> None:
        pickle._Pickler.__init__(self, file, protocol)  # type: ignore[attr-defined]
        self._recurse, self._byref, self._postproc = False, False, collections.OrderedDict()

    def dump(self, obj: Any) -> None:
        pickle._Pickler.dump(self, obj)  # type: ignore[attr-defined]


def test_a_pickler_of_dills_class_that_is_not_run_as_such() -> None:
    thing = Thing()
    reference, copy = through(WithoutDillsBeginning, [weakref.ref(thing), thing])
    assert reference() is copy
    assert through(WithoutDillsBeginning, [weakref.ref(thing)])[0]() is not None
