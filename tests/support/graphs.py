"""Random graphs with every weak kind, and the reference model of what the contract promises.

The model knows nothing of pickling: it is the definitions of `docs/explanation/semantics.md`
over an adjacency list. `Spec` is plain data (hypothesis shrinks it), `build` makes the objects.

``WEAKREDUCE_EXAMPLES=2000 pytest tests/core`` tries so many graphs in each test.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import weakref
from collections import Counter
from typing import Any

#: How many graphs a test tries.
EXAMPLES = int(os.environ.get("WEAKREDUCE_EXAMPLES", "50"))
SINGLE = ("ref", "called", "proxy", "method", "subref")
CONTAINERS = ("set", "values", "keys")


class Node:
    def __init__(self, name: int) -> None:
        self.strong: list[Any] = []
        self.weak: list[Any] = []
        self.name = name

    def method(self) -> int:
        return self.name


class Valued(Node):
    """Hashes and compares by its state, as a dataclass does."""

    def __hash__(self) -> int:
        return hash(("valued", self.name))

    def __eq__(self, other: object) -> bool:
        return type(other) is Valued and other.name == self.name


class Callable_(Node):  # noqa: N801
    def __call__(self) -> int:
        return self.name


class Slotted:
    __slots__ = ("__weakref__", "name", "strong", "weak")

    def __init__(self, name: int) -> None:
        self.strong: list[Any] = []
        self.weak: list[Any] = []
        self.name = name

    def method(self) -> int:
        return self.name


CLASSES: tuple[type, ...] = (Node, Valued, Callable_, Slotted)


class SubRef(weakref.ref):  # type: ignore[type-arg]
    __slots__ = ("__dict__", "note")

    def __new__(cls, obj: Any, note: str) -> SubRef:
        return super().__new__(cls, obj)

    def __init__(self, obj: Any, note: str) -> None:
        super().__init__(obj)
        self.note = note
        self.more = [note]


class Callback:
    """A callback that holds another node strongly."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, reference: Any) -> None:
        pass


class SubSet(weakref.WeakSet):  # type: ignore[type-arg]
    def __init__(self, required: str, items: Any = ()) -> None:
        super().__init__(items)
        self.required = required


@dataclasses.dataclass(frozen=True)
class Weak:
    """A weak thing of a node: its kind, its targets, and the other halves (values, callbacks)."""

    kind: str
    targets: tuple[int, ...]
    others: tuple[int, ...] = ()
    dead: bool = False


@dataclasses.dataclass(frozen=True)
class Spec:
    classes: tuple[int, ...]
    strong: tuple[tuple[int, ...], ...]
    weak: tuple[tuple[Weak, ...], ...]
    weak_first: tuple[bool, ...]
    roots: tuple[int, ...]


def make_weak(weak: Weak, nodes: list[Any]) -> Any:
    targets = [nodes[t] for t in weak.targets]
    if weak.dead:
        targets = [Node(-1)]
    if weak.kind == "ref":
        return weakref.ref(targets[0])
    if weak.kind == "called":
        return weakref.ref(targets[0], Callback(nodes[weak.others[0]]))
    if weak.kind == "proxy":
        return weakref.proxy(targets[0])
    if weak.kind == "method":
        return weakref.WeakMethod(targets[0].method)
    if weak.kind == "subref":
        return SubRef(targets[0], "note")
    if weak.kind == "set":
        return SubSet("required", targets)
    if weak.kind == "values":
        return weakref.WeakValueDictionary(enumerate(targets))
    others = [nodes[o] for o in weak.others]
    return weakref.WeakKeyDictionary(zip(targets, others, strict=True))


def build(spec: Spec) -> tuple[list[Any], list[Any]]:
    """The root and all nodes, which the caller keeps alive."""
    nodes = [CLASSES[c](n) for n, c in enumerate(spec.classes)]
    for n, node in enumerate(nodes):
        if spec.weak_first[n] and hasattr(node, "__dict__"):
            attributes = dict(node.__dict__)
            node.__dict__.clear()
            node.__dict__.update(weak=attributes["weak"], strong=attributes["strong"],
                                 name=attributes["name"])  # fmt: skip
        node.strong += [nodes[s] for s in spec.strong[n]]
        node.weak += [make_weak(w, nodes) for w in spec.weak[n]]
    gc.collect()
    return [nodes[r] for r in spec.roots], nodes


class Model:
    """What the contract says of a spec under a policy (``"snapshot"`` or ``"dangle"``)."""

    def __init__(self, spec: Spec, outside: str) -> None:
        self.spec = spec
        self.outside = outside
        self.inside = self._fixpoint(set(spec.roots))
        self.travels = self._travels()

    def live(self, n: int) -> list[Weak]:
        return [w for w in self.spec.weak[n] if not w.dead]

    def _fixpoint(self, start: set[int]) -> set[int]:
        found = set(start)
        while True:
            more = set()
            for n in found:
                more.update(self.spec.strong[n])
                for w in self.live(n):
                    if w.kind == "keys":
                        more.update(
                            o for t, o in zip(w.targets, w.others, strict=True) if t in found
                        )
                    if w.kind == "called" and (self.outside == "snapshot" or w.targets[0] in found):
                        more.update(w.others)
            if more <= found:
                return found
            found |= more

    def fate(self, target: int) -> str:
        return "link" if target in self.inside else self.outside

    def _travels(self) -> set[int]:
        found = set(self.inside)
        if self.outside == "dangle":
            return found
        while True:
            more = set()
            for n in found:
                more.update(self.spec.strong[n])
                for w in self.live(n):
                    more.update(w.targets)
                    more.update(w.others)
            if more <= found:
                return found
            found |= more


def unweak(weak: Weak, thing: Any) -> list[tuple[int, Any, Any]]:
    """The entries of a weak thing: (position in the spec, referent, other half)."""
    if weak.kind in ("ref", "subref"):
        return [(0, weakref.ref.__call__(thing), None)]
    if weak.kind == "called":
        callback = thing.__callback__
        return [(0, thing(), callback)]
    if weak.kind == "method":
        bound = thing()
        return [(0, None if bound is None else bound.__self__, None)]
    if weak.kind == "proxy":
        from weakreduce.model.proxies import proxy_referent

        return [(0, proxy_referent(thing), None)]
    if weak.kind == "set":
        names = {m.name: m for m in thing}
        return [(i, names.get(t), None) for i, t in enumerate(weak.targets)]
    if weak.kind == "values":
        return [(i, thing.get(i), None) for i in range(len(weak.targets))]
    by_name = {key.name: (key, value) for key, value in thing.items()}
    return [(i, *by_name.get(t, (None, None))) for i, t in enumerate(weak.targets)]


TYPES = {
    "ref": weakref.ref,
    "called": weakref.ref,
    "method": weakref.WeakMethod,
    "subref": SubRef,
    "set": SubSet,
    "values": weakref.WeakValueDictionary,
    "keys": weakref.WeakKeyDictionary,
}


def check_copy(spec: Spec, model: Model, root: list[Any], is_pinned: Any) -> dict[int, Any]:
    """Isomorphism and fates; gives the copy of each node that travelled."""
    copies: dict[int, Any] = {}
    queue: list[tuple[int, Any]] = list(zip(spec.roots, root, strict=True))
    while queue:
        n, copy = queue.pop()
        if n in copies:
            assert copies[n] is copy, f"node {n} arrived twice"
            continue
        copies[n] = copy
        assert type(copy) is CLASSES[spec.classes[n]]
        assert copy.name == n
        assert len(copy.strong) == len(spec.strong[n])
        assert len(copy.weak) == len(spec.weak[n])
        queue += zip(spec.strong[n], copy.strong, strict=True)
        for weak, thing in zip(spec.weak[n], copy.weak, strict=True):
            queue += _check_weak(model, weak, thing, is_pinned)
    assert set(copies) == model.travels
    assert len({id(copy) for copy in copies.values()}) == len(copies)
    return copies


def _check_weak(model: Model, weak: Weak, thing: Any, is_pinned: Any) -> list[tuple[int, Any]]:
    if weak.kind == "proxy":
        callable_ = (
            False if weak.dead else CLASSES[model.spec.classes[weak.targets[0]]] is Callable_
        )
        assert type(thing) is (weakref.CallableProxyType if callable_ else weakref.ProxyType)
    else:
        assert type(thing) is TYPES[weak.kind]
    if weak.kind == "subref":
        assert thing.note == "note"
        assert thing.more == ["note"]
    if weak.kind == "set":
        assert thing.required == "required"
    if weak.dead:
        assert all(referent is None for _, referent, _ in unweak(weak, thing))
        if weak.kind in ("ref", "called", "subref", "method"):
            assert thing in {thing: 1}
        return []
    met: list[tuple[int, Any]] = []
    fates = [model.fate(t) for t in weak.targets]
    assert is_pinned(thing) == ("snapshot" in fates)
    for position, referent, other in unweak(weak, thing):
        if fates[position] == "dangle":
            assert referent is None
            continue
        assert referent is not None, (weak, fates)
        met.append((weak.targets[position], referent))
        if weak.kind == "keys":
            met.append((weak.others[position], other))
        if weak.kind == "called":
            from weakreduce.model.kinds import pin_of

            pin = pin_of(other)
            met.append((weak.others[0], (other if pin is None else pin.callback).held))
    if weak.kind in CONTAINERS:
        assert len(thing) == sum(fate != "dangle" for fate in fates)
    return met


KINDS = {
    "ref": "ref", "called": "ref", "subref": "ref", "proxy": "proxy", "method": "WeakMethod",
    "set": "WeakSet", "values": "WeakValueDictionary", "keys": "WeakKeyDictionary",
}  # fmt: skip


def expected_findings(spec: Spec, model: Model, nodes: list[Any]) -> Counter[Any]:
    """(kind, type of the referent, fate) of each weak edge that travels, each of them once.

    Python gives one weak reference (or proxy) for one object, wherever it is asked for it.
    """
    found: Counter[Any] = Counter()
    seen: set[int] = set()
    for n in model.travels:
        for weak, thing in zip(spec.weak[n], nodes[n].weak, strict=True):
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if weak.dead:
                if weak.kind not in CONTAINERS:
                    found[KINDS[weak.kind], None, "dead"] += 1
                continue
            for target in weak.targets:
                name = CLASSES[spec.classes[target]].__qualname__
                found[KINDS[weak.kind], name, model.fate(target)] += 1
    return found


def check_report(
    spec: Spec, model: Model, root: list[Any], nodes: list[Any], report: Any, size: Any
) -> None:
    """A report says what the model says, of each edge once, with paths that lead to it.

    `size` gives the length of an object's own pickle.
    """
    found = Counter((f.kind, f.referent, f.fate) for f in report)
    assert found == expected_findings(spec, model, nodes)
    assert sum(report.counts.values()) == len(report) == report.edges
    seen: set[int] = set()
    for finding in report:
        if finding.kind in KINDS.values() and "<" not in finding.path:
            if finding.kind == "WeakValueDictionary":
                referent = eval(finding.path, {"root": root})
            else:
                thing = eval(finding.path, {"root": root})
                assert id(thing) not in seen, finding
                seen.add(id(thing))
                kind = next(w for n in model.travels
                            for w, t in zip(spec.weak[n], nodes[n].weak, strict=True)
                            if t is thing)  # fmt: skip
                ((_, referent, _),) = unweak(kind, thing)
            name = None if referent is None else type(referent).__qualname__
            assert name == finding.referent, finding
            if finding.fate == "snapshot":
                assert finding.bytes == size(referent), finding
        assert (finding.bytes is None) == (finding.fate != "snapshot")
    if "snapshot" not in report.counts:
        assert report.snapshot_bytes == 0


def check_outcome(root: list[Any], policy: Any, host: str) -> None:
    """Under any policy, a report says what a dump then does: its error, bytes and warnings."""
    import warnings

    import weakreduce

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = weakreduce.explain(root, policy, host)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            payload = weakreduce.dumps(root, policy=policy, host=host)
        except weakreduce.WeakrefPicklingError as error:
            assert report.errors == [str(error)]
            assert report.total_bytes is None
            assert "refuse" in report.counts
            return
    assert report.errors == []
    assert report.total_bytes == len(payload)
    assert "refuse" not in report.counts
    told = {f"{f.path}: {f.referent} (outside) arrives dead: {f.reason}. " for f in report}
    for warning in caught:
        assert any(str(warning.message).startswith(text) for text in told), warning.message


def policies() -> dict[str, Any]:
    """Policies of every sort, to be compared with what dumps do under them."""
    import weakreduce

    return {
        "strict": weakreduce.Policy(outside="refuse"),
        "forbid": weakreduce.Policy(outside="refuse", live="forbid"),
        "severs": weakreduce.Policy(rules=((Valued, "sever"), (Slotted, "dangle"))),
        "refuses some": weakreduce.Policy(rules=((Callable_, "refuse"), (weakref.ref, "dangle"))),
        "limits": weakreduce.Policy(max_snapshot_bytes=150),
        "home": weakreduce.Policy(identity="home"),
        "drops": weakreduce.Policy(callbacks="drop", outside="dangle", rules=((Node, "snapshot"),)),
    }


def alive_after(
    spec: Spec, model: Model, roots: set[int], cut: set[tuple[int, int]], *, released: bool
) -> set[int]:
    """Which copies live once the strong edges `cut` (node, position) are gone.

    When its referent dies by reference count, CPython lets a ref's callback go; when the
    collector finds the referent, the dead ref keeps it. `released` chooses between the two, so
    that what really lives is between them.
    """
    entries = {
        (n, w, i)
        for n in model.travels
        for w, weak in enumerate(spec.weak[n])
        if weak.kind == "keys" and not weak.dead
        for i, t in enumerate(weak.targets)
        if model.fate(t) != "dangle"
    }
    while True:
        found = set(roots)
        while True:
            more = set()
            for n in found:
                more.update(s for i, s in enumerate(spec.strong[n]) if (n, i) not in cut)
                for w, weak in enumerate(spec.weak[n]):
                    if weak.dead:
                        continue
                    for i, t in enumerate(weak.targets):
                        if model.fate(t) == "snapshot":
                            more.add(t)
                        if (n, w, i) in entries:
                            more.add(weak.others[i])
                    if weak.kind == "called" and model.fate(weak.targets[0]) != "dangle":
                        more.update(weak.others)
            if more <= found:
                break
            found |= more
        # The dict holds its values while their keys live; an entry goes with its key.
        gone = {
            (n, w, i) for n, w, i in entries
            if n in found and spec.weak[n][w].targets[i] not in found
        }  # fmt: skip
        called = _released(spec, model, found) if released else set()
        if not gone and not called:
            return found
        entries -= gone
        if called:
            spec = _without(spec, called)


def _released(spec: Spec, model: Model, found: set[int]) -> set[tuple[int, int]]:
    return {
        (n, w)
        for n in found
        for w, weak in enumerate(spec.weak[n])
        if weak.kind == "called" and not weak.dead
        and model.fate(weak.targets[0]) == "link" and weak.targets[0] not in found
    }  # fmt: skip


def _without(spec: Spec, called: set[tuple[int, int]]) -> Spec:
    weak = tuple(
        tuple(
            dataclasses.replace(weak, dead=True) if (n, w) in called else weak
            for w, weak in enumerate(spec.weak[n])
        )
        for n in range(len(spec.weak))
    )
    return dataclasses.replace(spec, weak=weak)


def check_lives(
    spec: Spec,
    model: Model,
    root: list[Any],
    copies: dict[int, Any],
    keep: int,
    cut: set[tuple[int, int]],
) -> None:
    """Keep the first `keep` roots, cut strong edges, and compare what lives with the model.

    `root` and `copies` are the caller's only references to the copies; both are emptied.
    """
    at_least, at_most = (
        alive_after(spec, model, set(spec.roots[:keep]), cut, released=released)
        for released in (True, False)
    )
    for n in copies:
        copies[n].strong[:] = [s for i, s in enumerate(copies[n].strong) if (n, i) not in cut]
    del root[keep:]
    watched = {n: weakref.ref(copy) for n, copy in copies.items()}
    copies.clear()
    while gc.collect():  # an entry's value is let go only after its key has been collected
        pass
    alive = {n for n, reference in watched.items() if reference() is not None}
    assert at_least <= alive <= at_most, (at_least, alive, at_most)
