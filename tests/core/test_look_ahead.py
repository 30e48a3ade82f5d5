"""Looking ahead tells what a first walk would have met, or nothing; and what it relies on."""

from __future__ import annotations

import datetime
import functools
import gc
import io
import pickle
import random
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest

import weakreduce
from weakreduce.core import look_ahead
from weakreduce.core.reach import Reach
from weakreduce.core.writing import Writing

HOSTS = ("cloudpickle", "pickle")


class Node:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class Slots:
    __slots__ = ("__weakref__", "_Slots__private", "one", "two")

    def __init__(self, one: Any, two: Any) -> None:
        self.one = one
        self.two = two
        self._Slots__private = [one]


class Mixed(Slots):
    """Slots and a dict."""


class Restored(Node):
    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)


class Again(Slots):
    """A slot of its own, behind that of its base."""

    __slots__ = ("one",)


class Hidden(Slots):
    __slots__ = ()
    two = property(lambda self: None, lambda self, _: None)  # type: ignore[assignment]


class Gone:
    __slots__ = ("__weakref__", "one")


class Computed(Node):
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class OwnDict(Node):
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return {}


def called(_: Any) -> None:
    """A callback."""


class Ahead:
    """What `met_strongly` said in a test."""

    def __init__(self) -> None:
        self.answers: list[Any] = []


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    found = Ahead()
    stock = look_ahead.met_strongly

    def met_strongly(root: Any, known: Any) -> Any:
        answer = stock(root, known)
        found.answers.append(None if answer is None else dict(answer[0]))
        return answer

    monkeypatch.setattr(look_ahead, "met_strongly", met_strongly)
    monkeypatch.setattr(look_ahead, "STOPS_OTHERS", False)
    return found


def met_by_the_pickler(root: Any, host: str, *, ahead: bool = False) -> dict[int, Any]:
    """What a first walk to the end meets, or one that looks ahead."""
    met: dict[int, Any] = {}
    stock = Writing._write_final

    def write_final(writing: Writing, reach: Reach) -> Any:
        met.update(reach.met)
        return stock(writing, reach)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writing, "_write_final", write_final)
        if not ahead:
            patch.setattr(look_ahead, "met_strongly", lambda *_: None)
        weakreduce.dumps(root, host=host)
    return met


def a_list() -> Any:
    first, second = Node(1), Node("two", None, 2.5)
    return [weakref.ref(first), [first, (second, [first])], weakref.ref(second)]


def a_cycle() -> Any:
    first, second = Node(), Node()
    first.parts, second.parts = (second,), (first, [first])
    loop: list[Any] = [first]
    loop.append(loop)
    return [weakref.ref(second), loop, {"key": first, first: loop}]


def of_slots() -> Any:
    node = Node()
    things = [Slots(1, [node]), Mixed({2: node}, Slots((), None))]
    things[1].extra = {"more": Node(node)}
    return [weakref.ref(things[1]), weakref.ref(node), things]


def names() -> Any:
    node = Node(called, Node, len, datetime.datetime)
    return [weakref.ref(node), weakref.ref(called), {"name": node, called: Node}]


def sets() -> Any:
    node = Node()
    return [weakref.ref(node), {node, 1, "text"}, frozenset([(node, 2)]), weakref.ref({1})]


def outside() -> Any:
    kept.append([Node(kept), Node(Node(), 2)])
    return [weakref.ref(node) for node in kept[-1]], Node(weakref.ref(kept[-1][1]))


def nothing_but_refs() -> Any:
    kept.append(Node())
    return weakref.ref(kept[-1])


kept: list[Any] = []
TOLD: tuple[Callable[[], Any], ...] = (
    a_list, a_cycle, of_slots, names, sets, outside, nothing_but_refs)  # fmt: skip


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    kept.clear()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("shape", TOLD, ids=lambda shape: shape.__name__)
def test_it_tells_what_a_pickler_would_have_met(
    shape: Callable[[], Any], host: str, ahead: Ahead
) -> None:
    root = shape()
    payload = weakreduce.dumps(root, host=host)
    (told,) = ahead.answers
    met = met_by_the_pickler(root, host)

    def instances(found: dict[int, Any]) -> set[int]:
        # The names in the encoder's own expressions are met by a pickler only.
        return {i for i, obj in found.items() if isinstance(obj, (Node, Slots))}

    assert instances(told) == instances(met)
    assert instances(told) or shape in (outside, nothing_but_refs)
    assert weakreduce.explain(root, host=host).total_bytes == len(payload)


def with_a_callback() -> Any:
    node = Node()
    return [weakref.ref(node), weakref.ref(node, called), node]


def with_a_date() -> Any:
    node = Node(datetime.datetime(2020, 1, 2))
    return [weakref.ref(node), node]


def with_a_setstate() -> Any:
    node = Restored(1)
    return [weakref.ref(node), node]


def with_another_weak_thing() -> Any:
    node = Node()
    return [weakref.ref(node), weakref.WeakSet([node]), node]


def with_a_partial() -> Any:
    node = Node(functools.partial(called, 1), dict.fromkeys)
    return [weakref.ref(node), node]


def with_a_dict_of_its_own() -> Any:
    class Own(dict[str, Any]):
        pass

    node = Node(Own(a=1))
    return [weakref.ref(node), node]


def with_a_slot_twice() -> Any:
    node = Again(1, 2)
    Slots.one.__set__(node, Node())  # type: ignore[attr-defined]
    return [weakref.ref(node), Slots.one.__get__(node), node]  # type: ignore[attr-defined]


def with_a_hidden_slot() -> Any:
    node = Hidden.__new__(Hidden)
    Slots.two.__set__(node, Node())  # type: ignore[attr-defined]
    return [weakref.ref(node), node]


def with_attributes_that_are_computed() -> Any:
    node = Computed(1)
    return [weakref.ref(node), node]


def with_a_dict_that_is_computed() -> Any:
    node = OwnDict(1)
    return [weakref.ref(node), node]


NOT_TOLD: tuple[Callable[[], Any], ...] = (
    with_a_callback, with_a_date, with_a_setstate, with_another_weak_thing, with_a_partial,
    with_a_dict_of_its_own, with_a_slot_twice, with_a_hidden_slot,
    with_attributes_that_are_computed, with_a_dict_that_is_computed)  # fmt: skip


@pytest.mark.parametrize("shape", NOT_TOLD, ids=lambda shape: shape.__name__)
def test_of_what_it_cannot_know_it_says_nothing_and_is_asked_once(
    shape: Callable[[], Any], ahead: Ahead
) -> None:
    root = shape()
    copied = weakreduce.loads(weakreduce.dumps(root))
    assert ahead.answers == [None]
    assert copied[0]() is copied[-1]


def by_value() -> Any:
    class Local(Node):
        pass

    node = Local()
    return node, [weakref.ref(node), node]


def by_value_and_more() -> Any:
    """What the class and its functions hold is inside, and what that holds in turn."""
    captured, default, attribute = Node(Node()), Node(), Node([Node()])

    class Local(Node):
        held = attribute

        def method(self, other: Any = default) -> Any:
            return captured, other

    node = Local()
    return captured, [*map(weakref.ref, [node, captured, default, attribute]), [node]]


def by_value_with_a_registry() -> Any:
    class Local(Node):
        members: Any = weakref.WeakSet()
        by_name: Any = weakref.WeakValueDictionary()

    node, other = Local(), Local()
    Local.members.update([node, other])
    Local.by_name["other"] = other
    return other, [weakref.ref(node), node]


def a_function_by_value() -> Any:
    captured = Node(Node())
    kept.append(Node())
    elsewhere = weakref.ref(kept[-1])

    def function() -> Any:
        return captured, elsewhere

    return captured, [weakref.ref(captured.parts[0]), weakref.ref(function), Node(function)]


BY_VALUE = (by_value, by_value_and_more, by_value_with_a_registry, a_function_by_value)


@pytest.mark.parametrize("shape", BY_VALUE, ids=lambda shape: shape.__name__)
def test_what_is_by_value_is_left_to_the_pickler(
    shape: Callable[[], Any], ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_ahead, "_WORTH_IT", 0)
    _, root = shape()
    payload = weakreduce.dumps(root)
    assert None not in ahead.answers
    assert len(ahead.answers) == 1

    def instances(found: dict[int, Any]) -> set[int]:
        # The names in the encoder's own expressions are met by a pickler only.
        own = (type, types.FunctionType)
        return {
            i for i, obj in found.items()
            if isinstance(obj, Node) or (isinstance(obj, own) and "<locals>" in obj.__qualname__)
        }  # fmt: skip

    met = met_by_the_pickler(root, "cloudpickle")
    assert instances(met) == instances(met_by_the_pickler(root, "cloudpickle", ahead=True))
    ahead.answers.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look_ahead, "met_strongly", lambda *_: None)
        assert weakreduce.dumps(root) == payload
    assert weakreduce.loads(payload) is not None


def test_slots_that_were_taken_away() -> None:
    """Pickle does not write what they hold, so a ref to that keeps its own copy alive."""
    hidden = Node()
    holder = Gone()
    holder.one = hidden
    member = vars(Gone)["one"]
    try:
        del Gone.one
        copied = weakreduce.loads(weakreduce.dumps([weakref.ref(hidden), holder]))
        assert weakreduce.is_pinned(copied[0])
    finally:
        Gone.one = member
    copied = weakreduce.loads(weakreduce.dumps([weakref.ref(hidden), holder]))
    assert copied[0]() is copied[1].one


@pytest.mark.parametrize("host", HOSTS)
def test_members_of_a_set_outside_come_in_the_order_of_the_strong_walk(host: str) -> None:
    first, second, holder = Node(), Node(), Node()
    for members in ([first, second], [second, first]):
        holder.parts = (weakref.WeakSet(members),)
        root = [weakref.ref(holder), [first], second]
        found = weakreduce.dumps(root, host=host)
        with weakreduce.record():
            assert weakreduce.dumps(root, host=host) == found


def test_it_is_asked_only_where_a_second_walk_is_certain(ahead: Ahead) -> None:
    node = Node()
    weakreduce.dumps([node, weakref.ref(node)])
    weakreduce.dumps([weakref.ref(node), node], policy="dangle")
    weakreduce.dumps([weakref.ref(node), node], host="dill")
    weakreduce.explain([weakref.ref(node), node])
    with pytest.raises(weakreduce.WeakrefPicklingError):
        weakreduce.dumps(weakref.ref(node), policy="strict")
    assert ahead.answers == []


def test_a_pickler_with_a_memo_or_a_hook_is_not_looked_past(ahead: Ahead) -> None:
    node = Node()
    file = io.BytesIO()
    pickler = cloudpickle.Pickler(file)
    pickler.dump(node)
    pickler.dump([weakref.ref(node), Node(weakref.ref(node))])
    file.seek(0)
    unpickler = pickle.Unpickler(file)
    first, (second, third) = unpickler.load(), unpickler.load()
    assert second() is first
    assert third.parts[0]() is first

    class Hooked(cloudpickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return "node" if obj is node else None

    Hooked(io.BytesIO()).dump([weakref.ref(Node(1)), weakref.ref(node), node])
    assert ahead.answers == []


def test_dumps_after_one_that_was_looked_ahead(ahead: Ahead) -> None:
    """The pickler goes on as if nothing had been."""
    node, file = Node(), io.BytesIO()
    pickler = cloudpickle.Pickler(file)
    pickler.dump([weakref.ref(node), node])
    assert ahead.answers != [None]
    pickler.dump([weakref.ref(node), node, Node(node)])
    file.seek(0)
    unpickler = pickle.Unpickler(file)
    first, second = unpickler.load(), unpickler.load()
    assert first[0]() is first[1] is second[0]() is second[1] is second[2].parts[0]


def test_what_cannot_be_pickled_after_all(ahead: Ahead) -> None:
    """A snapshot that fails dangles, and the rest is written as ever."""
    inside = Node()
    kept.append(Node(item for item in ()))
    root = [weakref.ref(inside), weakref.ref(kept[0]), inside]
    with pytest.warns(weakreduce.DanglingWarning, match="generator"):
        copied = weakreduce.loads(weakreduce.dumps(root))
    assert len(ahead.answers) == 1
    assert ahead.answers != [None]
    assert copied[0]() is copied[2]
    assert copied[1]() is None


@pytest.mark.parametrize("host", HOSTS)
def test_random_graphs(host: str, ahead: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it and without, the bytes are the same."""

    for seed in range(200):
        choose = random.Random(seed)
        nodes = [Node() for _ in range(choose.randrange(2, 12))]
        for node in nodes:
            parts = [choose.choice(nodes) for _ in range(choose.randrange(3))]
            weak = [weakref.ref(choose.choice(nodes)) for _ in range(choose.randrange(3))]
            node.parts = tuple(choose.sample([*parts, *weak, "text", 1], len(parts + weak) + 2))
        root = [weakref.ref(choose.choice(nodes)), *choose.sample(nodes, 2)]
        found = weakreduce.dumps(root, host=host)
        with monkeypatch.context() as patch:
            patch.setattr(look_ahead, "met_strongly", lambda *_: None)
            assert weakreduce.dumps(root, host=host) == found, seed
    assert sum(answer is not None for answer in ahead.answers) == len(ahead.answers) == 200


def test_where_the_collector_stops_other_threads_it_is_not_asked(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a free-threaded build; the payload is the same."""
    found = weakreduce.dumps(a_list())
    assert len(ahead.answers) == 1
    monkeypatch.setattr(look_ahead, "STOPS_OTHERS", True)
    assert weakreduce.dumps(a_list()) == found
    assert len(ahead.answers) == 1


class TestWhatWeRelyOn:
    """If one of these fails, CPython has changed and `weakreduce.core.look_ahead` has to follow."""

    def test_it_is_used(self) -> None:
        assert look_ahead._RELIABLE

    def test_the_collector_sees_what_pickle_writes(self) -> None:
        node = Node([1])
        for _ in range(2):  # before and after the dict was asked for
            found = gc.get_referents(*gc.get_referents(node), node)
            assert any(part is node.parts for part in found)
            assert Node in found
            vars(node)
        slots = Mixed(kept, [2])
        slots.extra = extra = [3]
        found = gc.get_referents(slots, *gc.get_referents(slots))
        for part in (slots.one, slots.two, slots._Slots__private, extra):
            assert any(part is other for other in found)

    def test_refs(self) -> None:
        node = Node()
        assert gc.get_referents(weakref.ref(node)) == []
        assert gc.get_referents(weakref.ref(node, called)) == [called]


def test_where_the_collector_tells_otherwise_it_is_not_asked(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a later Python may; the payload is the same."""
    found = weakreduce.dumps(a_list())
    monkeypatch.setattr(look_ahead, "_RELIABLE", False)
    assert weakreduce.dumps(a_list()) == found
    assert ahead.answers[1:] in ([], [None])
