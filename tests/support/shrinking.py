"""Makes a wide graph that fails smaller, and writes what is left as a program.

Greedy: of all graphs that are one step smaller the first that fails as well is taken, until none
does. What fails, and how, the caller's function says.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import wide_nodes
from wide import Graph
from wide_checks import Case, check
from wide_nodes import Node
from wide_weak import CONTAINERS, KEYS, Weak


def shrunk(graph: Graph, fails: Callable[[Graph], bool]) -> Graph:
    """The smallest graph of which `fails` is true that greedy steps from `graph` lead to."""
    while True:
        found = next(filter(fails, smaller(graph)), None)
        if found is None:
            return graph
        graph = found


def failure(graph: Graph, case: Case) -> tuple[Any, ...] | None:
    """How a graph fails: the type of the error, where it is raised, and what it says."""
    try:
        check(graph, case)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return type(error).__name__, place.name, place.lineno, str(error)
    return None


def shrunk_like(graph: Graph, case: Case, found: tuple[Any, ...]) -> Graph:
    """A smaller graph that fails at the same place."""

    def fails(other: Graph) -> bool:
        return is_sound(other) and (failure(other, case) or ())[:3] == found[:3]

    return shrunk(graph, fails)


def smaller(graph: Graph) -> Iterator[Graph]:
    """Graphs that have less in them: large steps first."""
    for n in reversed(range(len(graph.nodes))):
        if all(node.cls != n for node in graph.nodes):
            yield _without_node(graph, n)
    for w in reversed(range(len(graph.weaks))):
        yield _without_weak(graph, w)
    for field in ("roots", "root_weaks", "shared"):
        for less in _less(getattr(graph, field)):
            yield dataclasses.replace(graph, **{field: less})
    for n, node in enumerate(graph.nodes):
        for simpler in _simpler_nodes(graph, n, node):
            nodes = (*graph.nodes[:n], simpler, *graph.nodes[n + 1 :])
            yield dataclasses.replace(graph, nodes=nodes)
    for w, weak in enumerate(graph.weaks):
        for simpler_weak in _simpler_weaks(weak):
            weaks = (*graph.weaks[:w], simpler_weak, *graph.weaks[w + 1 :])
            yield dataclasses.replace(graph, weaks=weaks)


def _less(numbers: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for position in range(len(numbers)):
        yield numbers[:position] + numbers[position + 1 :]


def _without(numbers: tuple[int, ...], gone: int) -> tuple[int, ...]:
    """What is left when something is gone, and all after it have a smaller number."""
    return tuple(number - (number > gone) for number in numbers if number != gone)


def _without_node(graph: Graph, n: int) -> Graph:
    def moved(number: int | None) -> int | None:
        return None if number is None or number == n else number - (number > n)

    nodes = tuple(
        dataclasses.replace(
            node, strong=_without(node.strong, n), given=_without(node.given, n),
            cls=moved(node.cls),
        )
        for m, node in enumerate(graph.nodes) if m != n
    )  # fmt: skip
    changed = Graph(nodes, (), _without(graph.roots, n), graph.root_weaks,
                    _without(graph.shared, n))  # fmt: skip
    weaks: list[Weak] = []
    for weak in graph.weaks:
        kept = [
            (t, weak.others[i] if weak.others else 0)
            for i, t in enumerate(weak.targets)
            if t != n and (not weak.others or weak.others[i] != n)
        ]
        targets = _without(tuple(t for t, _ in kept), n)
        others = _without(tuple(o for _, o in kept), n) if weak.others else ()
        weaks.append(dataclasses.replace(weak, targets=targets, others=others,
                                         extra=moved(weak.extra)))  # fmt: skip
    changed = dataclasses.replace(changed, weaks=tuple(weaks))
    for w in reversed(range(len(weaks))):
        if not weaks[w].targets and weaks[w].kind not in CONTAINERS:
            changed = _without_weak(changed, w)
    return changed


def _without_weak(graph: Graph, w: int) -> Graph:
    nodes = tuple(
        dataclasses.replace(
            node, weak=_without(node.weak, w), given_weak=_without(node.given_weak, w)
        )
        for node in graph.nodes
    )
    weaks = graph.weaks[:w] + graph.weaks[w + 1 :]
    root_weaks = _without(graph.root_weaks, w)
    return dataclasses.replace(graph, nodes=nodes, weaks=weaks, root_weaks=root_weaks)


def _simpler_nodes(graph: Graph, n: int, node: Node) -> Iterator[Node]:
    for field in ("strong", "weak", "given", "given_weak"):
        for less in _less(getattr(node, field)):
            yield dataclasses.replace(node, **{field: less})
    if node.loose:
        yield dataclasses.replace(node, loose=False)
    has_instances = any(other.cls == n for other in graph.nodes)
    plain = {"given": (), "given_weak": ()}
    if node.form == "class":
        if not has_instances:
            yield Node(strong=node.strong, weak=node.weak)
        return
    if node.cls is not None:
        yield dataclasses.replace(node, cls=None)
    elif node.form != "default":
        key = None if node.form in ("named", "member") else node.key
        yield dataclasses.replace(node, form="default", key=key, **plain)
    if node.cls is None and node.key is not None and node.form not in ("named", "member"):
        yield dataclasses.replace(node, key=None)


def _simpler_weaks(weak: Weak) -> Iterator[Weak]:
    if weak.extra is not None:
        yield dataclasses.replace(weak, extra=None)
    if weak.kind in CONTAINERS:
        for position in range(len(weak.targets)):
            targets, others = (
                part[:position] + part[position + 1 :] for part in (weak.targets, weak.others)
            )
            yield dataclasses.replace(weak, targets=targets, others=others)
        if weak.kind not in ("set", "values", "keys"):
            base = "keys" if weak.kind in KEYS else "set"
            yield Weak(base, weak.targets, weak.others if base == "keys" else ())
    elif weak.kind != "ref":
        yield Weak("ref", weak.targets, dead=weak.dead)


def program(graph: Graph, case: Case) -> str:
    """A program that fails in the same way, to be run in the folder above `tests`."""
    lines = [
        "import sys",
        'sys.path.insert(0, "tests/support")',
        "from wide import Graph, Node, Weak",
        "from wide_checks import Case, check",
        "",
        "check(",
        "    Graph(",
        "        nodes=(",
        *(f"            {_short(node)},  # {n}" for n, node in enumerate(graph.nodes)),
        "        ),",
        "        weaks=(",
        *(f"            {_short(weak)},  # {w}" for w, weak in enumerate(graph.weaks)),
        "        ),",
        *(
            f"        {field}={getattr(graph, field)},"
            for field in ("roots", "root_weaks", "shared")
            if getattr(graph, field)
        ),
        "    ),",
        f"    {_short(case)},",
        ")",
    ]
    return "\n".join(lines)


def _short(part: Any) -> str:
    """As its `repr`, without what is as its default."""
    shown = [
        f"{field.name}={getattr(part, field.name)!r}"
        for field in dataclasses.fields(part)
        if getattr(part, field.name) != field.default
    ]
    return f"{type(part).__name__}({', '.join(shown)})"


def is_sound(graph: Graph) -> bool:
    """Whether a graph can be built at all: not every smaller one can."""
    for n, node in enumerate(graph.nodes):
        if node.cls is None:
            continue
        cls = graph.nodes[node.cls]
        if node.cls >= n or cls.of != node.form or (cls.key is None) != (node.key is None):
            return False
    for weak in graph.weaks:
        if "method" in weak.kind and not all(graph.nodes[t].is_instance for t in weak.targets):
            return False
    ways = (wide_nodes.GIVEN_AS.get(node.form) for node in graph.nodes)
    return all(
        way is not None or not node.given + node.given_weak
        for way, node in zip(ways, graph.nodes, strict=True)
    )
