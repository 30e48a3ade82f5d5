"""Whether what arrives of a wide graph is what the model says: shape, fates, and what lives."""

from __future__ import annotations

import copyreg
import dataclasses
import gc
import random
import sys
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import wide
import wide_nodes
import wide_weak
from wide import Graph, Model
from wide_weak import CALLED, CONTAINERS, FINALIZERS, KEYS, SETS, SINGLE, VALUES

import weakreduce
from weakreduce.model.kinds import callback_of


@dataclasses.dataclass(frozen=True)
class Case:
    """How a graph travels; the seed chooses what is let go on the receiver."""

    host: str = "cloudpickle"
    outside: str = "snapshot"
    protocol: int = 5
    seed: int = 0


def forget_classes() -> None:
    """As in a fresh interpreter: cloudpickle knows none of the classes that it wrote by value."""
    module = sys.modules.get("cloudpickle.cloudpickle")
    if module is not None:
        module._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
        module._DYNAMIC_CLASS_TRACKER_BY_CLASS.clear()


def is_picklable(graph: Graph, case: Case) -> bool:
    """Whether the host itself can send the graph, without its weak things: with what they hold."""

    def held(things: tuple[int, ...]) -> tuple[int, ...]:
        weaks = [graph.weaks[w] for w in things]
        return tuple(n for weak in weaks for n in (*weak.others, weak.extra) if n is not None)

    nodes = tuple(
        dataclasses.replace(
            node, strong=node.strong + held(node.weak), weak=(),
            given=node.given + held(node.given_weak), given_weak=(),
        )
        for node in graph.nodes
    )  # fmt: skip
    referents = {n for weak in graph.weaks for n in weak.targets}
    roots = (*graph.roots, *held(graph.root_weaks), *sorted(referents))
    root, made, _ = wide.build(Graph(nodes, (), roots))
    # Where a circle is entered may tell whether it can be sent.
    entries = [made[n] for n, node in enumerate(nodes) if node.needs_what_it_holds]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for each in (*entries, root):
                data = weakreduce.dumps(each, host=case.host, protocol=case.protocol)
                forget_classes()
                weakreduce.loads(data, host=case.host)
    except Exception:
        return False
    finally:
        forget_copyreg()
    return True


def forget_copyreg() -> None:
    """Reducers that were made for classes by value."""
    for cls in [cls for cls in copyreg.dispatch_table if cls.__module__ == "__main__"]:
        del copyreg.dispatch_table[cls]


def check(graph: Graph, case: Case) -> bool:
    """Send a graph and compare; False where the host itself cannot send it.

    Raises:
        Exception: where what arrives is not what the model says.
    """
    return _lost(graph, case) is not None


def _lost(graph: Graph, case: Case) -> set[Any] | None:
    """As `check`; the edges that are lost, as `Model.edge` has them, or None."""
    if not is_picklable(graph, case):
        return None
    try:
        return _check(graph, case)
    except AssertionError:
        raise
    except Exception:
        if case.host == "pickle" or all(is_picklable(twin, case) for twin in _twins(graph, case)):
            raise
        return None


def _twins(graph: Graph, case: Case) -> Iterator[Graph]:
    """The graph with a strong edge in place of each weak one that has to be made where it is met.

    Weak containers can wait for classes and functions by value, but not always by dill, which
    writes those with all that they hold.
    """
    single = (*SINGLE, *CALLED, "refs")

    def waits(w: int) -> bool:
        return graph.weaks[w].kind not in single

    nodes = tuple(
        dataclasses.replace(node, weak=tuple(sorted(node.weak, key=waits))) for node in graph.nodes
    )
    for kinds in (single, (*single, *CONTAINERS)) if case.host == "dill" else (single,):
        weaks = tuple(
            dataclasses.replace(weak, others=(*weak.others, *weak.targets))
            if weak.kind in kinds
            else weak
            for weak in graph.weaks
        )
        yield dataclasses.replace(graph, nodes=nodes, weaks=weaks)


def check_orders(graph: Graph, case: Case, orders: int = 3) -> bool:
    """Whether a host sends a graph; if so, what is lost is the same whatever is met first.

    All that is inside is in the root, in some orders, chosen by the case's seed.

    Raises:
        AssertionError: where something is lost in one order alone, or is not as the model says.
    """
    choose = random.Random(case.seed)
    inside = sorted(Model(graph, case.outside).inside | {*graph.roots})
    found: list[Any] = []
    for _ in range(orders):
        graph = dataclasses.replace(
            graph,
            roots=tuple(choose.sample(inside, len(inside))),
            root_weaks=tuple(choose.sample(graph.root_weaks, len(graph.root_weaks))),
        )
        found.append(_lost(graph, case))
        if found[-1] is None:
            return False
    assert found == found[:1] * orders, found
    return True


def _check(graph: Graph, case: Case) -> set[Any]:
    """Check a graph that the host can send; the edges that are lost."""
    root, nodes, things = wide.build(graph)
    names = [f"wide {n}" for n in graph.shared]
    try:
        for name, n in zip(names, graph.shared, strict=True):
            weakreduce.share(name, nodes[n])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = weakreduce.dumps(
                root, policy=case.outside, host=case.host, protocol=case.protocol
            )
            forget_classes()
            copied = weakreduce.loads(data, host=case.host)
        if not graph.shared and is_written_alike(graph):
            _check_bytes(graph, case, data)
        gc.collect()
        arrived = Arrived(graph, case, nodes)
        arrived.compare(copied)
        for warning in caught:
            assert issubclass(warning.category, weakreduce.DanglingWarning), warning.message
        assert bool(caught) == bool(arrived.lost), ([*map(str, caught)], arrived.lost)
        arrived.check_lives(copied)
    finally:
        for name in names:
            weakreduce.unshare(name)
        forget_copyreg()
    assert [*things] == things
    return arrived.lost


def is_written_alike(graph: Graph) -> bool:
    """Whether the host writes a graph in one way: no class's random id, no set, no address."""
    return not (
        any(node.form in ("class", *wide_nodes.FUNCTIONS) for node in graph.nodes)
        or any(weak.kind in ("refs", "subref") for weak in graph.weaks)
    )


def _check_bytes(graph: Graph, case: Case, data: bytes) -> None:
    """The same graph at other addresses gives the same bytes."""
    filler = [object() for _ in range(50)]
    root, nodes, things = wide.build(graph)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = weakreduce.dumps(root, policy=case.outside, host=case.host, protocol=case.protocol)
    assert again == data
    assert filler
    assert nodes
    assert [*things] == things


class Arrived:
    """What arrived of a graph."""

    def __init__(self, graph: Graph, case: Case, originals: list[Any]) -> None:
        self.graph = graph
        self.case = case
        self.originals = originals
        self.model = Model(graph, case.outside)
        self.copies: dict[int, Any] = {}
        self.things: dict[int, Any] = {}
        self.lost: set[Any] = set()
        self._queue: list[tuple[int, Any]] = []
        self._weak_queue: list[tuple[int, Any]] = []

    def compare(self, root: list[Any]) -> None:
        """Isomorphism and fates."""
        graph, found = self.graph, -1
        while len(self.lost) > found:  # what is lost may have held what others refer to
            found = len(self.lost)
            self.model = Model(graph, self.case.outside, frozenset(self.lost))
            failure = self._compare(root)
        if failure is not None:
            raise failure
        assert set(self.copies) - self.model.one == self.model.travels
        assert len({id(copy) for copy in self.copies.values()}) == len(self.copies)

    def _compare(self, root: list[Any]) -> AssertionError | None:
        """What differs first from what the model says, in all that can be seen nevertheless."""
        self.copies.clear()
        self.things.clear()
        count, failure = len(self.graph.roots), None
        self._queue = [*zip(self.graph.roots, root[:count], strict=True)]
        self._weak_queue = [*zip(self.graph.root_weaks, root[count:], strict=True)]
        while self._queue or self._weak_queue:
            try:
                if self._queue:
                    self._node(*self._queue.pop())
                else:
                    self._thing(*self._weak_queue.pop())
            except AssertionError as error:
                failure = failure or error
        return failure

    def _node(self, n: int, copy: Any) -> None:
        if n in self.copies:
            assert self.copies[n] is copy, f"node {n} arrived twice"
            return
        self.copies[n] = copy
        node = self.graph.nodes[n]
        original = self.originals[n]
        if node.cls is not None:
            self._node(node.cls, type(copy))
            wide_nodes.check_itself(n, node, copy, type(copy))
        else:
            wide_nodes.check_itself(
                n, node, copy, type(original) if node.is_instance else original
            )
        strong, weak, given = wide_nodes.held(node, copy)
        self._queue += zip(node.strong, strong, strict=True)
        self._weak_queue += zip(node.weak, weak, strict=True)
        assert len(given) == len(node.given) + len(node.given_weak)
        self._queue += zip(node.given, given, strict=False)
        self._weak_queue += zip(node.given_weak, given[len(node.given) :], strict=True)

    def _thing(self, w: int, thing: Any) -> None:
        if w in self.things:
            assert self.things[w] is thing, f"weak thing {w} arrived twice"
            return
        self.things[w] = thing
        weak = self.graph.weaks[w]
        target = weak.targets[0] if weak.targets else 0
        wide_weak.check_itself(weak, thing, weak.dead or self.graph.nodes[target].is_called)
        if weak.extra is not None:
            self._queue.append((weak.extra, thing.extra))
        if weak.dead:
            return
        if weak.kind in FINALIZERS:
            assert not thing.alive
        elif weak.kind in (*SINGLE, *CALLED):
            self._single(w, thing)
        else:
            self._container(w, thing)

    def _single(self, w: int, thing: Any) -> None:
        weak = self.graph.weaks[w]
        ((target, other),) = self.graph.entries(w)
        fate = self.model.fate(w, target)
        referent = wide_weak.referent_of(weak.kind, thing)
        if referent is None and fate in ("link", "snapshot"):
            self._lose(w, target, fate)
            return
        if fate != "dangle" and other is not None:  # which may lead to an edge that is lost
            self._queue.append((other, wide_weak.held_by(weak, thing)))
        self._arrives(fate, target, referent)
        assert weakreduce.is_pinned(thing) == (fate == "snapshot"), (w, fate)
        if weak.kind in ("proxy", "called_proxy"):
            wide_weak.check_operators(thing, referent)

    def _lose(self, w: int, target: int, fate: str) -> None:
        told = f"node {target} is dead to weak thing {w}, not {fate}"
        assert self.model.may_be_lost(w, target, self.case.host), told
        self.lost.add(self.model.edge(w, target))

    def _arrives(self, fate: str, target: int, referent: Any) -> None:
        if fate == "dangle":
            assert referent is None
        elif fate == "token":
            assert referent is self.originals[target]
        else:
            assert referent is not None, f"the referent {target} is dead, not {fate}"
            self._queue.append((target, referent))

    def _container(self, w: int, thing: Any) -> None:
        weak = self.graph.weaks[w]
        entries = self.graph.entries(w)
        fates = [self.model.fate(w, target) for target, _ in entries]
        absent: list[Any] = []
        by_position = weak.kind in VALUES and weak.kind != "of_nodes"
        found = {
            other if by_position else self._label(other if weak.kind == "of_nodes" else referent):
                (referent, other)
            for referent, other in wide_weak.entries(weak, thing)
            if referent is not None
        }  # fmt: skip
        for position, ((target, other), fate) in enumerate(zip(entries, fates, strict=True)):
            if fate == "dangle":
                continue
            which = other if weak.kind == "of_nodes" else target
            assert which is not None
            label = position if by_position else self._label(self.originals[which])
            if label not in found and weak.kind == "refs":
                self._lose(w, target, fate)
                return
            if label not in found:
                # What is there is looked at nevertheless: it may tell of an edge that was lost.
                absent.append((which, fate))
                continue
            referent, beside = found[label]
            self._arrives(fate, target, referent)
            if other is not None:
                self._queue.append((other, beside))
        assert not absent, f"weak thing {w} has no entries for these: {absent}"
        kept = sum(fate != "dangle" for fate in fates)
        assert len(thing) == (len(entries) if weak.kind == "refs" else kept), (w, thing, fates)
        if weak.kind == "refs":
            pinned = sum(callback_of(reference) is not None for reference in thing)
            assert pinned == fates.count("snapshot")
        else:
            assert weakreduce.is_pinned(thing) == ("snapshot" in fates), (w, fates)

    def _label(self, obj: Any) -> Any:
        """The same for a node and its copy."""
        for position, one in enumerate((*wide_nodes.NAMED, *wide_nodes.MEMBERS)):
            if obj is one:
                return "one", position
        if isinstance(obj, type):
            return vars(obj)["label"]
        if hasattr(obj, "name"):
            return obj.name
        found = obj()
        return found[0] if type(found) is tuple else found

    # --- what lives -------------------------------------------------------------------------

    def check_lives(self, root: list[Any]) -> None:
        """Let go of some roots and strong edges, and compare what lives with the model.

        `root` is the caller's only reference to the copies, and is emptied.
        """
        choose, graph, model = random.Random(self.case.seed), self.graph, self.model
        edges = [(n, i) for n in sorted(self.copies) for i in range(len(graph.nodes[n].strong))]
        cut = frozenset(choose.sample(edges, choose.randint(0, len(edges))))
        keep = choose.randint(0, len(root))
        roots, root_weaks = graph.roots[:keep], graph.root_weaks[: max(0, keep - len(graph.roots))]
        least, most = (
            model.alive(set(roots), set(root_weaks), cut, released) for released in (True, False)
        )
        for n, copy in self.copies.items():
            positions = [i for m, i in cut if m == n]
            if n not in model.one:
                wide_nodes.cut(graph.nodes[n], copy, positions)
        watched = {
            n: weakref.ref(copy) for n, copy in self.copies.items() if n not in model.one
        }
        del root[keep:]
        self.copies.clear()
        self.things.clear()
        copy = None
        while gc.collect():  # an entry's value is let go only after its key has been collected
            pass
        alive = {n for n, reference in watched.items() if reference() is not None}
        assert least <= alive <= most, (least, alive, most)
        self._check_what_is_left(root, alive, watched)

    def _check_what_is_left(self, root: list[Any], alive: set[int], watched: Any) -> None:
        """Each weak thing that is left refers to what lives, and to nothing else."""
        for n in alive:
            node = self.graph.nodes[n]
            held = wide_nodes.held(node, watched[n]())
            things = [*held[1], *held[2][len(node.given) :]]
            for w, thing in zip(self.graph.things(n), things, strict=True):
                weak = self.graph.weaks[w]
                fates = [(t, self.model.fate(w, t)) for t, _ in self.graph.entries(w)]
                left = [t for t, fate in fates if fate == "token"
                        or (fate != "dangle" and (t in alive or t in self.model.one))]  # fmt: skip
                if weak.kind in (*SETS, *VALUES, *KEYS):
                    referents = [each for each, _ in wide_weak.entries(weak, thing)]
                    assert sum(each is not None for each in referents) == len(left), (w, left)
                    assert weak.kind == "refs" or len(thing) == len(left)
                elif weak.kind not in FINALIZERS:
                    referent = wide_weak.referent_of(weak.kind, thing)
                    assert (referent is not None) == bool(left), (w, left)
                    if weak.kind in ("proxy", "called_proxy"):
                        wide_weak.check_operators(thing, referent)
