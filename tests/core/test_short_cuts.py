"""What is watched takes no short cut and writes the same; and what short cuts must not change.

That each fast way equals its general rule: `test_plugs.py`.
"""

from __future__ import annotations

import gc
import io
import pickle
import random
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
import graphs
import pytest
import run_random_graphs
from shapes import SHAPES, Leaf, Node, refs_in_place_of_names

import weakreduce
from weakreduce.core import short_cuts


def check_watched(root: Any, host: str, policy: str) -> None:
    """A dump that is recorded, and one that is explained, is the one that nobody watches."""
    payload = weakreduce.dumps(root, host=host, policy=policy)
    with weakreduce.record() as report:
        assert weakreduce.dumps(root, host=host, policy=policy) == payload
    assert report.total_bytes == len(payload)
    explained = weakreduce.explain(root, host=host, policy=policy)
    assert explained.total_bytes == len(payload)


@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_watched_shapes(shape: Callable[[], Any], host: str, policy: str) -> None:
    kept, root = shape()
    check_watched(root, host, policy)
    assert kept is not None


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_watched_random_graphs(host: str) -> None:
    for seed in range(graphs.EXAMPLES):
        choose = random.Random(seed)
        root, nodes = graphs.build(run_random_graphs.random_spec(choose))
        check_watched(root, host, choose.choice(["snapshot", "dangle"]))
        assert nodes


def test_a_long_chain_of_weak_references_does_not_recurse() -> None:
    """Referents are written whole at a weak edge, but not inside one another."""
    nodes = [Node(number) for number in range(20_000)]
    for one, two in zip(nodes, nodes[1:], strict=False):
        one.links.append(weakref.ref(two))
    copies = weakreduce.loads(weakreduce.dumps([weakref.ref(nodes[0]), nodes]))[1]
    assert all(one.links[0]() is two for one, two in zip(copies, copies[1:], strict=False))


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_a_long_chain_of_refs_in_place_of_names_does_not_recurse(host: str) -> None:
    kept, root = refs_in_place_of_names(400)
    copy = weakreduce.loads(weakreduce.dumps(root, host=host), host=host)()
    for leaf in kept[:-1]:
        assert copy.number == leaf.number
        (following,) = [key for key in vars(copy) if isinstance(key, weakref.ref)]
        copy = following()


def line(depth: int) -> tuple[Node, Node]:
    top = bottom = Node()
    for number in range(depth):
        bottom.links.append(Node(number))
        bottom = bottom.links[0]
    return top, bottom


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_whole_referents_that_stand_too_deep_are_written_as_shells(host: str) -> None:
    """Each half goes nearly as deep as can be; one hangs at the end of the other by a weak edge."""
    depth = 20
    while True:
        try:
            weakreduce.dumps(line(depth)[0], host=host)
        except (RecursionError, pickle.PicklingError):
            break
        depth += max(10, depth // 4)  # on the newest Pythons it is a hundred times as deep
    (one, bottom), (two, _) = line(depth * 3 // 4), line(depth * 3 // 4)
    bottom.links.append(weakref.ref(two))
    first, second = weakreduce.loads(weakreduce.dumps([one, two], host=host), host=host)
    while isinstance(first.links[0], Node):
        first = first.links[0]
    assert first.links[0]() is second


class Hashed(Node):
    def __hash__(self) -> int:
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and other.number == self.number


class Counted(Node):
    made = 0

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)
        self.seen = self.links and self.links[0].number


@pytest.mark.parametrize("cls", [Hashed, Counted])
def test_where_order_shows_it_is_stock_pickles(cls: Any) -> None:
    """A weak edge met first does not make its referent's state come earlier."""
    inner, outer = cls(7), cls(1)
    outer.links.append(inner)
    root = [weakref.ref(outer), {outer: inner} if cls is Hashed else outer]
    copied = weakreduce.loads(weakreduce.dumps(root))
    if cls is Hashed:
        assert copied[1][Hashed(1)] == inner
    else:
        assert copied[0]() is copied[1]
        assert copied[1].seen == 7


def test_a_pin_without_a_callback_is_the_referent_itself() -> None:
    leaf = Leaf()
    copy = weakreduce.loads(weakreduce.dumps(weakref.ref(leaf)))
    assert copy.__callback__ is copy()
    assert weakreduce.is_pinned(copy)
    again = weakreduce.loads(weakreduce.dumps(copy))
    assert weakreduce.is_pinned(again)
    free = weakreduce.unpin(again)
    del again
    gc.collect()
    assert free() is None
    first, second = weakreduce.loads(weakreduce.dumps([copy(), copy]))
    assert second() is first
    assert not weakreduce.is_pinned(second)


def without_plugs(root: Any, host: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(short_cuts, "of_first_walk", lambda _: {})
        patch.setattr(short_cuts, "of_second_walk", lambda _: {})
        return weakreduce.dumps(root, host=host)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_a_value_whose_copy_cannot_be_referred_to_needs_no_second_walk(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = pickle.PickleBuffer(b"it arrives as bytes")
    root = weakref.WeakValueDictionary({1: buffer})
    with pytest.warns(weakreduce.DanglingWarning):
        payload = weakreduce.dumps(root, host=host)
    with pytest.warns(weakreduce.DanglingWarning):
        assert without_plugs(root, host, monkeypatch) == payload


class Named(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
    """Writes one object as a name, which nobody but this pickler knows to be one."""

    def reducer_override(self, obj: Any) -> Any:
        return "SINGLE" if obj is SINGLE else super().reducer_override(obj)


class Single:
    """Its module is this one."""


SINGLE = Single()


def test_what_a_picklers_own_override_names_is_pinned_in_no_order() -> None:
    leaf = Leaf()
    for root in (
        [weakref.ref(SINGLE), weakref.ref(leaf)],
        [weakref.ref(leaf), weakref.ref(SINGLE)],
    ):
        file = io.BytesIO()
        Named(file).dump(root)
        found = pickle.loads(file.getvalue())
        (single,) = [each for each in found if each() is SINGLE]
        assert not weakreduce.is_pinned(single)


def waits() -> Any:
    """A container is filled at the end where something in it has waited for a class once."""

    class Waits:
        table: Any

        def __setstate__(self, state: Any) -> None:
            vars(self).update(state)

    key, value, other = Waits(), Waits(), Waits()
    Waits.table = weakref.WeakKeyDictionary({key: value})
    return key, value, other


@pytest.mark.parametrize(
    "container", [weakref.WeakSet, lambda of: weakref.WeakValueDictionary({1: of[0]})]
)
def test_what_has_waited_for_a_class_still_does(
    container: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, value, other = waits()
    value.held = container([value])
    root = [weakref.ref(other), value, other]
    weakreduce.dumps(root)  # which leaves a note of its own in the class
    assert weakreduce.dumps(root) == without_plugs(root, "cloudpickle", monkeypatch)
    assert key is not None
