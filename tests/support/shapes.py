"""Small payloads in which the fast ways are taken, and some in which they hardly are not.

Each gives what has to be kept alive, and the root.
"""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Callable
from typing import Any


class Node:
    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.links: list[Any] = []


class Leaf:
    def __init__(self, number: int = 0) -> None:
        self.number = number


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


def refs_in_place_of_names(length: int = 40) -> Any:
    kept = [Leaf(number) for number in range(length)]
    for one, two in zip(kept, kept[1:], strict=False):
        vars(one)[weakref.ref(two)] = 1
    return kept, weakref.ref(kept[0])


def state_without_a_leaf() -> Any:
    return {"links": [], "number": 7}


def states_of_instances() -> Any:
    """What an instance itself has in place of a method of its class; pickle takes that."""
    leaf, one = Leaf(), Node()
    one.hidden = leaf  # type: ignore[attr-defined]
    one.__getstate__ = state_without_a_leaf  # type: ignore[method-assign]
    return leaf, [weakref.ref(leaf), one]


SHAPES: tuple[Callable[[], Any], ...] = (
    outside_refs, outside_values, outside_set, mixed_values, dead_and_alive, weak_first, chain,
    of_one_leaf, of_importable_things, of_one_importable_thing, container_beside_a_link,
    refs_in_place_of_names, states_of_instances,
)  # fmt: skip
