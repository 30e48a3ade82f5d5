"""Every short cut writes what the general way writes: the same bytes, so the same fates.

So does a dump that is watched, which takes no short cut.
"""

from __future__ import annotations

import gc
import json
import logging
import pickle
import random
import weakref
from collections.abc import Callable
from typing import Any

import graphs
import pytest
import run_random_graphs

import weakreduce
from weakreduce.core import known


class Node:
    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.links: list[Any] = []


class Leaf:
    def __init__(self, number: int = 0) -> None:
        self.number = number


def ways(
    monkeypatch: pytest.MonkeyPatch, root: Any, host: str = "cloudpickle", **options: Any
) -> tuple[bytes, bytes]:
    """The payload of `root`, with and without short cuts."""
    short = weakreduce.dumps(root, host=host, **options)
    with weakreduce.record() as report:
        assert weakreduce.dumps(root, host=host, **options) == short
    assert report.total_bytes == len(short)
    explained = weakreduce.explain(root, host=host, policy=options.get("policy"))
    assert "protocol" in options or explained.total_bytes == len(short)
    with monkeypatch.context() as patch:
        patch.setattr(known, "short_cuts_allowed", False)
        return short, weakreduce.dumps(root, host=host, **options)


def outside_refs() -> Any:
    kept = [Leaf(number) for number in range(20)]
    return kept, [[weakref.ref(leaf) for leaf in kept], weakref.ref(kept[3])]


def outside_values() -> Any:
    kept = [Leaf(number) for number in range(20)]
    return kept, weakref.WeakValueDictionary(enumerate(kept))


def outside_set() -> Any:
    kept = [Leaf(number) for number in range(20)]
    return kept, [weakref.WeakSet(kept), kept[5]]


def mixed_values() -> Any:
    kept = [Leaf(number) for number in range(20)]
    return kept, [kept[:5], weakref.WeakValueDictionary(enumerate(kept))]


def dead_and_alive() -> Any:
    kept = Leaf()
    return kept, [weakref.ref(Leaf()), weakref.ref(kept), kept, weakref.ref(kept)]


def weak_first() -> Any:
    nodes = [Node(number) for number in range(50)]
    for number, node in enumerate(nodes[1:], 1):
        nodes[(number - 1) // 2].links.append(node)
        node.links.append(weakref.ref(nodes[(number - 1) // 2]))
    return nodes, [[weakref.ref(node) for node in nodes], nodes[0]]


def chain() -> Any:
    nodes = [Node(number) for number in range(50)]
    for one, two in zip(nodes, nodes[1:], strict=False):
        one.links.append(weakref.ref(two))
        two.links.append(weakref.ref(one))
    return nodes, nodes


def of_one_leaf() -> Any:
    leaf = Leaf()
    return leaf, [weakref.ref(leaf), weakref.proxy(leaf), weakref.WeakSet([leaf]), Leaf()]


def of_importable_things() -> Any:
    things = [json.dumps, json.JSONEncoder, logging.getLogger("somewhere"), Leaf()]
    return things, [
        *map(weakref.ref, things),
        *map(weakref.ref, things),
        weakref.WeakSet(things[:2]),
        weakref.WeakValueDictionary(enumerate(things)),
    ]


def of_one_importable_thing() -> Any:
    return json, [weakref.ref(json.dumps)]


def container_beside_a_link() -> Any:
    inner, outside, outer = Node(), Leaf(), Node()
    inner.links = [weakref.WeakSet([outside]), weakref.ref(outer)]
    outer.links = [weakref.WeakValueDictionary({"inner": inner, 1: outside}), True]
    return outside, [inner, {outer: True}]


def refs_in_place_of_names() -> Any:
    kept = [Leaf(number) for number in range(400)]
    for one, two in zip(kept, kept[1:], strict=False):
        vars(one)[weakref.ref(two)] = 1
    return kept, weakref.ref(kept[0])


SHAPES: tuple[Callable[[], Any], ...] = (
    outside_refs, outside_values, outside_set, mixed_values, dead_and_alive, weak_first, chain,
    of_one_leaf, of_importable_things, of_one_importable_thing, container_beside_a_link,
    refs_in_place_of_names,
)  # fmt: skip


@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_shapes(
    monkeypatch: pytest.MonkeyPatch, shape: Callable[[], Any], host: str, policy: str
) -> None:
    kept, root = shape()
    for protocol in (2, 5):
        short, general = ways(monkeypatch, root, host, policy=policy, protocol=protocol)
        assert short == general
    assert kept is not None


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_random_graphs(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for seed in range(150):
        choose = random.Random(seed)
        root, nodes = graphs.build(run_random_graphs.random_spec(choose))
        policy = choose.choice(["snapshot", "dangle"])
        short, general = ways(monkeypatch, root, host, policy=policy)
        assert short == general, seed
        assert nodes


def test_a_long_chain_of_weak_references_does_not_recurse() -> None:
    """Referents are written whole at a weak edge, but not inside one another."""
    nodes = [Node(number) for number in range(20_000)]
    for one, two in zip(nodes, nodes[1:], strict=False):
        one.links.append(weakref.ref(two))
    copies = weakreduce.loads(weakreduce.dumps([weakref.ref(nodes[0]), nodes]))[1]
    assert all(one.links[0]() is two for one, two in zip(copies, copies[1:], strict=False))


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
        depth += 10
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
