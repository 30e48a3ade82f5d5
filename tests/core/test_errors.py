"""Errors teach: paths that are Python expressions, the type, the policy, what to do."""

from __future__ import annotations

import collections
import pickle
import textwrap
import threading
import weakref
from typing import Any

import cloudpickle
import programs
import pytest
import things
from things import Restless, Thing, restless
from ways import path_to

import weakreduce
from weakreduce.core import expressions, notes


class Slots:
    __slots__ = ("held",)


def closure(held: Any) -> Any:
    def inner() -> Any:
        return held

    return inner


def default(held: Any = None) -> Any:
    return held


def deep(weak: Any) -> dict[str, Any]:
    slots = Slots()
    slots.held = weak
    child = Thing(cache={"x": weak})
    return {
        "root": weak,
        "root[1]": [0, weak],
        "root['a'][0]": {"a": (weak,)},
        "root.children[3].cache['x']": Thing(children=[0, 1, 2, child]),
        "root.held": slots,
        "root.__closure__[0].cell_contents": closure(weak),
        "list(root.values())[0].held": {Slots: Thing(held=weak)},
        "root[(1, 'a')]": {(1, "a"): weak},
        "root[0].__closure__[0].cell_contents.held": [closure(Thing(held=weak))],
        "root.method.__self__.held": Thing(method=Thing(held=weak).method),
        "root.other().held": Thing(other=weakref.ref(deep_keep(weak))),
    }


KEPT: list[Any] = []


def deep_keep(weak: Any) -> Any:
    KEPT.append(Thing(held=weak))
    return KEPT[-1]


PATHS = list(deep(None))


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_expressions(path: str) -> None:
    referent = Thing("server")
    weak = weakref.ref(referent)
    root = deep(weak)[path]
    assert path_to(root, weak) == path
    assert eval(path) is weak  # noqa: S307 - the path is an expression, that is the point
    if "other()" in path:
        return
    with pytest.raises(weakreduce.WeakrefPicklingError) as caught:
        weakreduce.dumps(root, policy="strict")
    text = str(caught.value)
    assert text.startswith(f'{path}: Thing (outside; policy "strict" refuses it). ')
    for advice in ('policy("snapshot")', 'policy("dangle")', "rules=((Thing, 'dangle'),)"):
        assert advice in text


def test_entries_of_containers_are_named() -> None:
    thing = Thing()
    for root, path in (
        (Thing(cache=weakref.WeakValueDictionary(x=thing)), "root.cache['x']: "),
        (Thing(cache=weakref.WeakSet([thing])), "root.cache[<Thing>]: "),
        (Thing(cache=weakref.WeakKeyDictionary({thing: 1})), "root.cache[<Thing>]: "),
        ({"p": weakref.proxy(thing)}, "root['p']: "),
        ([weakref.WeakMethod(thing.method)], "root[0]: "),
    ):
        with pytest.raises(weakreduce.WeakrefPicklingError) as caught:
            weakreduce.dumps(root, policy="strict")
        assert str(caught.value).startswith(path)


def test_classes_of_the_errors() -> None:
    assert issubclass(weakreduce.WeakrefPicklingError, pickle.PicklingError)
    assert issubclass(weakreduce.WeakrefPicklingError, TypeError)
    assert issubclass(weakreduce.WeakrefPicklingError, weakreduce.WeakreduceError)
    assert weakreduce.DanglingWarning.__module__ == "weakreduce"


def test_forbid_advises_otherwise() -> None:
    thing = Thing()
    with pytest.raises(weakreduce.WeakrefPicklingError, match="drop the reference") as caught:
        weakreduce.dumps([thing, weakref.ref(thing)], policy="forbid")
    assert "outside" not in str(caught.value)


def test_errors_that_are_not_ours_stay_as_they_are() -> None:
    import threading

    outside = Thing()
    for host in ("cloudpickle", "pickle"):
        with pytest.raises(TypeError) as caught:
            weakreduce.dumps([weakref.ref(outside), threading.Lock()], host=host)
        assert type(caught.value) is TypeError
        assert str(caught.value) == "cannot pickle '_thread.lock' object"


def test_a_refusal_below_a_snapshot() -> None:
    big, small = things.Big(), Thing("small")
    small.big = weakref.ref(big)
    policy = weakreduce.Policy(rules=((things.Big, "refuse"),))
    with pytest.raises(weakreduce.WeakrefPicklingError, match=r"^root\(\)\.big: Big"):
        weakreduce.dumps(weakref.ref(small), policy=policy)


class Constructed:
    """Its construction takes children that refer back to it."""

    def __init__(self, children: Any) -> None:
        self.children = children

    def __reduce__(self) -> Any:
        return Constructed, (self.children,)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_a_construction_that_needs_itself(host: str) -> None:
    child = Thing("child")
    parent = Constructed([child])
    weakreduce.dumps({"x": parent}, host=host)
    child.parent = weakref.ref(parent)
    for root, copy_of in (
        ({"x": parent}, lambda found: found["x"]),
        ([weakref.ref(parent), parent], lambda found: found[1]),
        ([parent, weakref.ref(parent)], lambda found: found[0]),
        ([weakref.ref(parent)], lambda found: found[0]()),
        (weakref.WeakSet([parent]), lambda found: next(iter(found))),
    ):
        for protocol in (2, 5):
            data = weakreduce.dumps(root, host=host, protocol=protocol)
            found = weakreduce.loads(data, host=host)
            copy = copy_of(found)
            assert type(copy) is Constructed
            (child_copy,) = copy.children
            assert child_copy.name == "child"
            assert type(child_copy.parent) is weakref.ref
            assert child_copy.parent() is copy


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_an_entry_whose_value_cannot_be_pickled(host: str) -> None:
    key, good = Thing("key"), Thing("good")
    table = weakref.WeakKeyDictionary({key: things.Locked(), good: 1})
    with pytest.warns(weakreduce.DanglingWarning, match="its value cannot be pickled") as caught:
        copy = weakreduce.loads(weakreduce.dumps([table, weakref.ref(key)], host=host), host=host)
    assert len(caught) == 1
    assert [k.name for k in copy[0]] == ["good"]
    assert copy[1]().name == "key"


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_what_holds_such_an_entry_arrives_in_every_order(host: str) -> None:
    """What was looked at before for something else is no more inside for that."""
    key, holder = Thing("key"), Thing("holder")
    holder.table = weakref.WeakKeyDictionary({key: things.Locked()})
    of_key, of_holder = weakref.ref(key), weakref.ref(holder)
    for root in ([of_holder], [of_holder, of_key], [of_key, of_holder],
                 [weakref.proxy(holder), of_key, of_holder]):  # fmt: skip
        with pytest.warns(weakreduce.DanglingWarning, match="its value cannot be pickled") as found:
            copy = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        assert len(found) == 1
        (arrived,) = [each() for each in copy[::-1] if type(each) is weakref.ref
                      and each().name == "holder"]  # fmt: skip
        assert len(arrived.table) == 0


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_what_is_strong_by_way_of_an_edge_belongs_to_what_holds_that(host: str) -> None:
    """A value whose key is inside, the key of a value that travels, what a finalizer calls."""
    inside, outside = Thing("inside"), Thing("outside")
    holders = [Thing("holder") for _ in range(4)]
    holders[0].table = weakref.WeakKeyDictionary({inside: things.Locked()})
    holders[1].cache = weakref.WeakValueDictionary({things.Locked(): inside})
    holders[2].cache = weakref.WeakValueDictionary({things.Locked(): outside})
    holders[3].last = weakref.finalize(inside, print, things.Locked())
    for holder in holders:
        for root in ([weakref.ref(holder), inside], [inside, weakref.ref(holder)]):
            with (
                weakreduce.policy(finalizers="rearm"),
                pytest.warns(weakreduce.DanglingWarning, match="cannot be pickled") as found,
            ):
                data = weakreduce.dumps(root, host=host)
            copy = weakreduce.loads(data, host=host)
            assert len(found) == 1
            assert [each() for each in copy if type(each) is weakref.ref] == [None]
            with (
                weakreduce.policy(finalizers="rearm", unpicklable="raise"),
                pytest.raises(weakreduce.WeakrefPicklingError, match="cannot pickle a lock"),
            ):
                weakreduce.dumps(root, host=host)
    holders[3].last.detach()


class Manager(Thing):
    def gone(self, _: Any) -> None:
        """A callback."""


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_a_callback_is_dropped_for_what_is_strong_by_way_of_itself(host: str) -> None:
    manager, thing = Manager("manager"), Thing("thing")
    manager.notes = weakref.WeakKeyDictionary({manager: things.Locked()})
    for root in ([weakref.ref(thing, manager.gone)], [thing, weakref.ref(thing, manager.gone)]):
        with pytest.warns(weakreduce.DanglingWarning, match="callback method was dropped"):
            data = weakreduce.dumps(root, host=host)
        copy = weakreduce.loads(data, host=host)
        assert copy[-1]().name == "thing"


@pytest.mark.parametrize("first", ["table", "ballast"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_what_cannot_be_pickled_by_itself_is_over_any_limit(host: str, first: str) -> None:
    """As a root its key would be inside, and the value would have to travel."""
    thing = Thing("thing")
    table = weakref.WeakKeyDictionary({thing: things.Locked()})
    for name in sorted(("table", "ballast"), key=first.__ne__):
        setattr(thing, name, {"table": table, "ballast": "x" * 100_000}[name])
    with pytest.warns(weakreduce.DanglingWarning, match="max_snapshot_bytes=1000"):
        data = weakreduce.dumps(
            [weakref.ref(thing)], host=host, policy=weakreduce.Policy(max_snapshot_bytes=1000)
        )
    assert weakreduce.loads(data, host=host)[0]() is None


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_an_entry_whose_value_cannot_be_pickled_is_refused(host: Any) -> None:
    """The report tells what the policy makes of it, as of a referent; and both say which it is."""
    key = Thing("key")
    table = weakref.WeakKeyDictionary({key: things.Locked()})
    with weakreduce.policy(unpicklable="raise"):
        report = weakreduce.explain([table], host=host)
        with pytest.raises(weakreduce.WeakrefPicklingError, match="its value cannot be pickled"):
            weakreduce.dumps([table], host=host)
    (finding,) = report
    assert (finding.fate, finding.path) == ("refuse", "root[0][<Thing>]")


class Nameless:
    """Its reduction is a name that nothing has."""

    def __reduce__(self) -> str:
        return "no_such_global"


class NoClass:
    """Its class cannot be asked for, so it cannot be pickled."""

    @property
    def __class__(self) -> Any:
        raise ValueError("no class")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ValueError("no pickle")


class Reducible(NoClass):
    """Its class cannot be asked for, but it can be pickled."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (Reducible, ())


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("cls", [Nameless, NoClass])
def test_an_outside_referent_of_any_kind_that_cannot_be_pickled_dangles(
    cls: Any, host: str
) -> None:
    kept = cls()
    root = [weakref.ref(kept), weakref.WeakSet([kept])]
    with pytest.warns(weakreduce.DanglingWarning, match="cannot be pickled"):
        payload = weakreduce.dumps(root, host=host)
    copy = weakreduce.loads(payload, host=host)
    assert copy[0]() is None
    assert len(copy[1]) == 0
    report = weakreduce.explain(root, host=host)
    assert report.counts == {"dangle": 2}
    assert not report.errors
    with weakreduce.policy(unpicklable="raise"), pytest.raises(weakreduce.WeakrefPicklingError):
        weakreduce.dumps(root, host=host)


def test_a_class_that_cannot_be_asked_for_where_the_host_asks_for_it() -> None:
    kept = Reducible()
    for install in (weakreduce.uninstall, weakreduce.install):
        install()
        with pytest.raises(ValueError, match="no class"):
            cloudpickle.dumps([kept])
    with pytest.warns(weakreduce.DanglingWarning, match="no class"):
        payload = cloudpickle.dumps([weakref.ref(kept)])
    assert weakreduce.loads(payload)[0]() is None


@pytest.mark.parametrize("host", ["dill", "pickle"])
def test_a_class_that_cannot_be_asked_for_is_no_matter(host: str) -> None:
    kept = Reducible()
    for root in ([weakref.ref(kept)], [kept, weakref.ref(kept)], [weakref.ref(kept), kept]):
        copy = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)
        reference = next(item for item in copy if type(item) is weakref.ref)
        assert type(reference()) is Reducible
    with weakreduce.policy(rules=((Reducible, "dangle"),)):
        payload = weakreduce.dumps([weakref.ref(kept)], host=host)
    assert weakreduce.loads(payload, host=host)[0]() is None


@pytest.mark.parametrize(
    "key",
    [10**5000, (10**5000, 1), float("nan"), -float("inf"), complex("nanj")],
    ids=["int", "tuple", "nan", "inf", "complex"],
)
def test_a_key_without_an_expression_gets_a_place(key: Any) -> None:
    """Of an int too long for Python to write, of a nan; and no message makes a dump fail."""
    kept = [threading.Lock(), Thing(), Thing(number=key), Thing(number=key)]
    root: Any = {0: 1, key: weakref.ref(kept[1])}
    assert eval(path_to(root, root[key]) or "") is root[key]
    assert weakreduce.explain(root)[0].path == "list(root.values())[1]"
    with pytest.raises(weakreduce.WeakrefPicklingError, match=r"list\(root.values\(\)\)\[1\]"):
        weakreduce.dumps(root, policy="strict")
    holder = Thing(lock=kept[0])
    with pytest.warns(weakreduce.DanglingWarning, match=r"list\(root.values\(\)\)\[0\]"):
        weakreduce.dumps({key: weakref.ref(holder)})
    # (From 3.14 on the pickler itself asks for the key's repr, and stock's is what that raises.)
    with pytest.raises((TypeError, ValueError)) as caught:
        weakreduce.dumps({key: holder})
    assert "list(root.values())[0].lock" in caught.value.__notes__[-1]
    weakreduce.dumps(weakref.WeakSet(kept[2:]))
    weakreduce.explain(weakref.WeakValueDictionary({key: kept[1]}))


# --- notes of picklers, which are there from Python 3.14 on ------------------------------------

OURS = f"when serializing {expressions.__name__}.Call"


def noted(error: BaseException, *texts: str) -> list[str]:
    for text in texts:
        error.add_note(text)
    notes.clean(error)
    return error.__notes__


def test_what_picklers_say_of_our_own_objects_is_taken_away() -> None:
    assert noted(
        TypeError("cannot"),
        "when serializing list item 0",
        "when serializing tuple item 1",
        "when serializing tuple item 0",
        f"{OURS} reconstructor arguments",
        f"{OURS} object",
        "when serializing dict item 'key'",
    ) == ["when serializing dict item 'key'"]


def test_what_is_no_argument_of_ours_stays() -> None:
    texts = "when serializing user.Thing state", "when serializing tuple item 1"
    assert noted(TypeError("cannot"), *texts, f"{OURS} reconstructor arguments") == [texts[0]]
    assert noted(TypeError("cannot"), *texts, f"{OURS} state") == list(texts)
    assert noted(TypeError("cannot"), f"{OURS} reconstructor arguments") == []


def test_of_an_error_of_ours_all_that_picklers_say_is_taken_away() -> None:
    error = weakreduce.WeakreduceError("ours")
    assert noted(error, "when serializing dict item 'key'", "of the user's") == ["of the user's"]


def test_an_error_whose_notes_are_no_list_is_left_alone() -> None:
    error = TypeError("cannot")
    error.__notes__ = "nonsense"  # type: ignore[assignment]
    notes.clean(error)
    assert error.__notes__ == "nonsense"


def test_a_refusal_is_one_whatever_hinders_the_search_for_its_path() -> None:
    outside = Thing()
    root = restless(Thing(), [[[weakref.ref(outside)]]])
    found = []
    for Restless.left in (2, 100):
        with pytest.raises(weakreduce.WeakrefPicklingError) as caught:
            weakreduce.dumps(root, policy="strict")
        found.append(str(caught.value).partition(":")[0])
    assert found == ["a ReferenceType below root", "root[2][0][0][0]"]


class Slotted:
    """Of this module."""


def pasted(text: str) -> Any:
    """The policy that a message says to write here."""
    start = text.index("rules=(")
    line = text[start : text.index(" for this type alone")]
    return eval(f"weakreduce.policy('strict', {line})", globals())


def test_what_a_message_says_to_write_can_be_pasted() -> None:
    class Local:
        pass

    class Outer:
        class Inner:
            pass

    odd = type("odd name", (), {})
    for make in (Local, Outer.Inner, odd, things.Thing, Slotted, collections.UserDict):
        referent = make()
        with (
            weakreduce.policy("strict"),
            pytest.raises(weakreduce.WeakrefPicklingError) as raised,
        ):
            weakreduce.dumps([weakref.ref(referent)])
        with pasted(str(raised.value)):
            assert weakreduce.loads(weakreduce.dumps([weakref.ref(referent)]))[0]() is None


def test_so_can_what_a_worker_is_told() -> None:
    """There a class by value has another home than where it is written."""
    program = """
    import weakref, cloudpickle, weakreduce

    class Mine:
        class Inner:
            pass

    def told(make):
        kept = make()
        try:
            with weakreduce.policy("strict"):
                weakreduce.dumps(weakref.ref(kept))
        except weakreduce.WeakrefPicklingError as error:
            return str(error)

    print(cloudpickle.dumps([told, Mine, Mine.Inner]).hex())
    """
    told, *classes = cloudpickle.loads(bytes.fromhex(programs.run(textwrap.dedent(program))))
    for cls in classes:
        referent = cls()
        with pasted(told(cls)):
            assert weakreduce.loads(weakreduce.dumps([weakref.ref(referent)]))[0]() is None
