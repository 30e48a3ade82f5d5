"""Wide graphs, and the model of what the contract promises of them.

A graph (`Graph`) is plain data: nodes (`wide_nodes.py`), weak things (`wide_weak.py`), roots. The
model knows nothing of pickling: it is the definitions of `docs/explanation/semantics.md` over these
lists. `wide_checks.py` compares it with what arrives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import wide_nodes
import wide_weak
from wide_nodes import Node
from wide_weak import CALLED, FINALIZERS, KEYS, SETS, Weak


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes and weak things, by their numbers: what the payload's root holds, what is shared."""

    nodes: tuple[Node, ...]
    weaks: tuple[Weak, ...] = ()
    roots: tuple[int, ...] = ()
    root_weaks: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()

    def things(self, n: int) -> tuple[int, ...]:
        """The weak things that a node holds."""
        return self.nodes[n].weak + self.nodes[n].given_weak

    def strong(self, n: int, cut: frozenset[tuple[int, int]] = frozenset()) -> list[int]:
        """The nodes that a node holds, but for the positions that are cut."""
        node = self.nodes[n]
        kept = [held for i, held in enumerate(node.strong) if (n, i) not in cut]
        return [*kept, *node.given, *(() if node.cls is None else (node.cls,))]

    def identity(self, n: int) -> Any:
        """Equal for nodes that are equal."""
        node = self.nodes[n]
        return ("key", node.key) if node.is_instance and node.key is not None else n

    def entries(self, w: int) -> list[tuple[int, int | None]]:
        """The edges of a weak thing: (referent, what belongs to it); equal keys meet."""
        weak = self.weaks[w]
        others = weak.others or (None,) * len(weak.targets)
        pairs = [*zip(weak.targets, others, strict=True)]
        if weak.dead:
            return []
        if weak.kind in SETS:
            return [*{self.identity(t): (t, None) for t, _ in reversed(pairs)}.values()]
        met: dict[Any, tuple[int, Any]] = {}
        if weak.kind in KEYS:
            for t, o in pairs:
                met[self.identity(t)] = (met.get(self.identity(t), (t, None))[0], o)
        elif weak.kind == "of_nodes":
            for t, o in pairs:
                assert o is not None
                met[self.identity(o)] = (t, met.get(self.identity(o), (0, o))[1])
        else:
            return pairs
        return [*met.values()]


def build(graph: Graph) -> tuple[list[Any], list[Any], list[Any]]:
    """The root, and all nodes and weak things, which the caller keeps alive."""
    made: list[Any] = []
    for number, node in enumerate(graph.nodes):
        made.append(wide_nodes.make(number, node, made))
    things = [wide_weak.make(weak, made) for weak in graph.weaks]
    for number, node in enumerate(graph.nodes):
        wide_nodes.fill(
            node,
            made[number],
            [made[n] for n in node.strong],
            [things[w] for w in node.weak],
            [*(made[n] for n in node.given), *(things[w] for w in node.given_weak)],
        )
    root = [*(made[n] for n in graph.roots), *(things[w] for w in graph.root_weaks)]
    return root, made, things


class Model:
    """What the contract says of a graph under a policy (``"snapshot"`` or ``"dangle"``).

    Args:
        graph: the graph.
        outside: the policy.
        lost: edges that no receiver could make (see `Model.may_be_lost`), as `Model.edge` has them.
    """

    def __init__(self, graph: Graph, outside: str, lost: frozenset[Any] = frozenset()) -> None:
        self.graph = graph
        self.outside = outside
        self.lost = lost
        self.named = {n for n, node in enumerate(graph.nodes) if node.form == "named"}
        #: Nodes of which there is one in each process, whatever a payload holds.
        self.one = {n for n, node in enumerate(graph.nodes) if node.form in ("named", "member")}
        self.inside: set[int] = set()
        self.inside = self._closure(self._strong_parts) - self.named
        self.travels = self._closure(self._all_parts) - self.one

    def _closure(self, parts: Any) -> set[int]:
        """All nodes that the root leads to; `parts` gives those that a weak thing leads to."""
        found, things = set(self.graph.roots), set(self.graph.root_weaks)
        while True:
            before = len(found), len(things)
            for n in [*found]:
                things.update(self.graph.things(n))
                found.update(self.graph.strong(n))
            for w in things:
                found.update(parts(w, found))
            if (len(found), len(things)) == before:
                return found

    def _strong_parts(self, w: int, inside: set[int]) -> Iterator[int]:
        """What a weak thing holds strongly as far as is known, given what is inside so far."""
        weak = self.graph.weaks[w]
        if weak.extra is not None:
            yield weak.extra
        if weak.kind in FINALIZERS:
            return
        for target, other in self.graph.entries(w):
            if self.edge(w, target) in self.lost:
                continue
            there = target in inside or target in self.named or target in self.graph.shared
            takes = self.outside == "snapshot" and weak.kind not in KEYS
            if other is not None and (there or takes):
                yield other

    def _all_parts(self, w: int, found: set[int]) -> Iterator[int]:
        weak = self.graph.weaks[w]
        if weak.extra is not None:
            yield weak.extra
        for target, other in self.graph.entries(w):
            fate = self.fate(w, target)
            if fate in ("link", "snapshot"):
                yield target
            if fate != "dangle" and other is not None:
                yield other

    def fate(self, w: int, target: int) -> str:
        """What becomes of an edge of a weak thing."""
        if self.graph.weaks[w].kind in FINALIZERS or self.edge(w, target) in self.lost:
            return "dangle"
        if target in self.graph.shared:
            return "token"
        return "link" if target in self.inside or target in self.named else self.outside

    # --- what cannot be made ----------------------------------------------------------------

    def edge(self, w: int, target: int) -> Any:
        """An edge of a weak thing; Python has one ref without a callback, and one proxy."""
        kind = self.graph.weaks[w].kind
        return ("ref" if kind in ("ref", "refs") else "proxy" if kind == "proxy" else w), target

    def may_be_lost(self, w: int, target: int, host: str) -> bool:
        """Whether the referent of a weak thing may need what the weak thing is an argument of.

        A builtin list among the arguments has no state that could wait, nor has a function. dill
        constructs classes from all that they hold.
        """
        if not self._is_made_at_once(w):
            return False
        edge = self.edge(w, target)
        return any(
            edge == self.edge(v, other)
            for n in self._needed_by(target, host)
            for v in self._arguments(n, host)[1]
            for other in self.graph.weaks[v].targets
        )

    def _arguments(self, n: int, host: str) -> tuple[list[int], list[int]]:
        """The nodes and weak things that are written before a node is constructed."""
        node, graph = self.graph.nodes[n], self.graph
        by_dill = host == "dill" and node.form == "class"
        if node.form in ("given_state", "given_all", *wide_nodes.FUNCTIONS) or by_dill:
            return graph.strong(n), [*graph.things(n)]
        strong = [] if node.cls is None else [node.cls]
        return [*strong, *node.given], [*node.given_weak]

    def _needed_by(self, n: int, host: str) -> set[int]:
        """All that is written, as far as strong edges tell, before a node is constructed."""
        found, waiting = {n}, [*self._written_before(n, host)]
        shells: set[int] = set()
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += [*self._written_before(each, host), *self.graph.strong(each)]
                for w in self.graph.things(each):
                    waiting += self._held_by(w)
                    if self._is_made_at_once(w):  # on what is constructed before it
                        shells.update(self.graph.weaks[w].targets)
            if not waiting:
                waiting = [
                    part
                    for shell in shells - found
                    for part in self._written_before(shell, host)
                    if part not in found
                ]
        return found | shells

    def _written_before(self, n: int, host: str) -> Iterator[int]:
        strong, things = self._arguments(n, host)
        node = self.graph.nodes[n]
        # An instance's class is there, empty, unless its own code needs that with all it holds.
        needs_class = host == "dill" or node.form in wide_nodes.NEED_CLASS
        yield from (s for s in strong if s != node.cls or needs_class)
        if node.form == "class" or node.form in wide_nodes.FUNCTIONS:
            things = [*self.graph.things(n)]
        for w in things:
            if self._is_made_at_once(w):
                yield from self.graph.weaks[w].targets
            yield from self._held_by(w)

    def _is_made_at_once(self, w: int) -> bool:
        """Whether a weak thing cannot wait for its referents, as containers that are weak can."""
        kind = self.graph.weaks[w].kind
        return kind == "refs" or kind not in wide_weak.CONTAINERS

    def _held_by(self, w: int) -> list[int]:
        weak = self.graph.weaks[w]
        return [*weak.others, *(() if weak.extra is None else (weak.extra,))]

    # --- liveness ---------------------------------------------------------------------------

    def alive(
        self, roots: set[int], root_weaks: set[int], cut: frozenset[tuple[int, int]], released: bool
    ) -> set[int]:
        """Which copies live once the strong edges `cut` (node, position) are gone.

        When its referent dies by reference count, CPython lets a ref's callback go; when the
        collector finds the referent, the dead ref keeps it. `released` chooses between the two, so
        that what really lives is between them.
        """
        gone: set[tuple[int, int, Any]] = set()
        while True:
            found, things = self._kept(roots, root_weaks, cut, gone)
            more = {
                (w, target, other)
                for w in things
                for target, other in self.graph.entries(w)
                if self.fate(w, target) == "link"
                and target not in found and target not in self.one
                and (released or self.graph.weaks[w].kind not in CALLED)
            }  # fmt: skip
            if more <= gone:
                return found - self.one
            gone |= more

    def _kept(self, roots: Any, root_weaks: Any, cut: Any, gone: Any) -> tuple[set[int], set[int]]:
        found, things = set(roots), set(root_weaks)
        while True:
            before = len(found), len(things)
            for n in [*found]:
                things.update(self.graph.things(n))
                found.update(self.graph.strong(n, cut))
            for w in things:
                weak = self.graph.weaks[w]
                if weak.extra is not None:
                    found.add(weak.extra)
                for target, other in self.graph.entries(w):
                    fate = self.fate(w, target)
                    if fate == "snapshot":
                        found.add(target)
                    if fate != "dangle" and other is not None and (w, target, other) not in gone:
                        found.add(other)
            if (len(found), len(things)) == before:
                return found, things
