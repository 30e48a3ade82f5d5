"""Wide graphs at random: the same seed and host give the same graph, in every process."""

from __future__ import annotations

import dataclasses
import random

import wide_nodes
import wide_weak
from wide import Graph
from wide_checks import Case
from wide_nodes import BY_VALUE, FUNCTIONS, Node
from wide_weak import CALLED, CONTAINERS, KEYS, SINGLE, WITH_EXTRA, Weak

#: Hosts that write classes and functions by value.
TAKE_CLASSES = ("cloudpickle", "dill")


def random_case(choose: random.Random, host: str) -> Case:
    outside, protocol = choose.choice(["snapshot", "dangle"]), choose.randint(2, 5)
    return Case(host, outside, protocol, choose.randrange(1000))


def random_graph(choose: random.Random, host: str) -> Graph:
    size = choose.randint(1, 8)
    kinds = _kinds_of_nodes(choose, size, host)
    weaks = tuple(_weak(choose, kinds) for _ in range(choose.randint(1, 6)))
    nodes = tuple(_filled(choose, n, kinds, len(weaks)) for n in range(size))
    roots = tuple(choose.randrange(size) for _ in range(choose.randint(1, 2)))
    root_weaks = tuple(choose.randrange(len(weaks)) for _ in range(choose.choice([0, 0, 1, 2])))
    sharable = [n for n in range(size) if kinds[n].form not in ("named", "member")]
    shared = choose.sample(sharable, min(len(sharable), choose.choice([0, 0, 0, 0, 1, 2])))
    return _without_crashes(Graph(nodes, weaks, roots, root_weaks, tuple(sorted(shared))))


def _without_crashes(graph: Graph) -> Graph:
    """No ref has an attribute that may be the last to hold its own referent.

    CPython before 3.13 crashes where such a ref goes, and there is another on the referent, with no
    pickling at all: its `PyObject_ClearWeakRefs` takes a missing callback for one.
    """
    weaks = tuple(
        dataclasses.replace(weak, extra=None)
        if weak.extra is not None
        and weak.kind in ("subref", "submethod")
        and not _led_to(graph, weak.extra).isdisjoint(weak.targets)
        else weak
        for weak in graph.weaks
    )
    return dataclasses.replace(graph, weaks=weaks)


def _led_to(graph: Graph, start: int) -> set[int]:
    found: set[int] = set()
    waiting = [start]
    while waiting:
        n = waiting.pop()
        if n not in found:
            found.add(n)
            waiting += graph.strong(n)
            for w in graph.things(n):
                weak = graph.weaks[w]
                extra = () if weak.extra is None else (weak.extra,)
                waiting += (*weak.targets, *weak.others, *extra)
    return found


def _kinds_of_nodes(choose: random.Random, size: int, host: str) -> list[Node]:
    nodes: list[Node] = []
    names = [("named", which) for which in range(len(wide_nodes.NAMED))]
    names += [("member", which) for which in range(len(wide_nodes.MEMBERS))]
    plain = choose.random() < 0.3  # many nodes of few forms meet in other ways
    for _ in range(size):
        classes = [n for n, node in enumerate(nodes) if node.form == "class"]
        key = choose.choice([None, None, 0, 1])
        dice = choose.random()
        loose = choose.random() < 0.5
        if dice < 0.1 and names:
            form, which = names.pop(choose.randrange(len(names)))
            nodes.append(Node(form, key=which))
        elif dice < 0.25 and host in TAKE_CLASSES:
            of = "default" if plain else choose.choice(BY_VALUE)
            nodes.append(Node("class", of=of, key=key, loose=loose))
        elif dice < 0.33 and host in TAKE_CLASSES:
            nodes.append(Node(choose.choice(FUNCTIONS)))
        elif dice < 0.8 and classes:
            cls = choose.choice(classes)
            key = key if nodes[cls].key is None else choose.choice([0, 1])
            key = None if nodes[cls].key is None else key
            nodes.append(Node(nodes[cls].of, key=key, cls=cls, loose=loose))
        else:
            form = "default" if plain else choose.choice([*wide_nodes.FORMS])
            nodes.append(Node(form, key=key, loose=loose))
    return nodes


def _weak(choose: random.Random, nodes: list[Node]) -> Weak:
    size = len(nodes)
    with_methods = [n for n, node in enumerate(nodes) if node.is_instance]
    kinds = [*SINGLE, *CALLED, *CONTAINERS]
    kind = choose.choice(kinds)
    if "method" in kind and not with_methods:
        kind = "ref"
    extra = choose.randrange(size) if kind in WITH_EXTRA and choose.random() < 0.3 else None
    if kind in CONTAINERS:
        targets = tuple(choose.sample(range(size), choose.randint(0, min(4, size))))
        if kind == "refs":  # the pickler fills a set of its own accord
            targets = tuple(t for t in targets if nodes[t].hashes_early)
        paired = kind in (*KEYS, "of_nodes")
        others = tuple(choose.randrange(size) for _ in targets) if paired else ()
        return Weak(kind, targets, others, extra)
    target = choose.choice(with_methods) if "method" in kind else choose.randrange(size)
    paired = kind in (*CALLED, *wide_weak.FINALIZERS)
    others = (choose.randrange(size),) if paired else ()
    return Weak(kind, (target,), others, extra, not others and choose.random() < 0.15)


def _filled(choose: random.Random, n: int, kinds: list[Node], weaks: int) -> Node:
    node, size = kinds[n], len(kinds)
    if node.form in ("named", "member"):
        return node

    def numbers(below: int, most: int) -> tuple[int, ...]:
        count = choose.randint(0, most if below else 0)
        return tuple(choose.randrange(below) for _ in range(count))

    way = wide_nodes.GIVEN_AS.get(node.form)
    # What is constructed from arguments made anew cannot be among them, not strongly.
    given = numbers(size if way == "list" else n, 2) if way else ()
    strong = numbers(n if way == "state" else size, 2)
    return Node(
        node.form, strong, numbers(weaks, 2), given, numbers(weaks, 2) if way else (),
        node.key, node.cls, node.of, node.loose,
    )  # fmt: skip
