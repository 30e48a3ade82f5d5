"""Freeze payloads: ``make.py VERSION`` writes ``VERSION.zip`` beside it, for `wired.py` to check.

With a path in the place of the version it writes them there.
``make.py --compare VERSION`` tells which payloads would be other bytes today.

Run once for each release, with the weakreduce that is released. What each payload has to arrive as
is not taken from a payload: for random graphs it is what the model of `graphs.py` says; for all
others it is what the sender's own objects look like, once those have died that do not travel.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import warnings
import weakref
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import graphs
import run_random_graphs
import wired

import weakreduce
from weakreduce import Policy

HERE = Path(__file__).resolve().parent
HOSTS = ("cloudpickle", "dill", "pickle")
PROTOCOLS = (2, 3, 4, 5)
GRAPHS = 12  # for each host, protocol and policy

weakreduce.register(
    wired.Handle, referent=wired.Handle.referent, rebuild=wired.Handle, pin=wired.PinnedHandle
)


@dataclass
class Case:
    """Something to freeze.

    The last item of `root` holds what else in it is to be inside; `keep` what is outside, for as
    long as it lives; `becomes` does to the sender's objects what the journey does.
    """

    root: list[Any]
    keep: Any = None
    becomes: Callable[[], object] = int
    pops: bool = True
    hosts: tuple[str, ...] = HOSTS


# --- cases --------------------------------------------------------------------------------


def weak_things(target: Any) -> dict[str, Any]:
    """Every weak kind on `target`."""
    subvalues, subkeys = wired.SubValues("required"), wired.SubKeys("required")
    subvalues["key"] = target
    subkeys[target] = "value"
    return {
        "ref": weakref.ref(target),
        "again": weakref.ref(target),
        "called": weakref.ref(target, wired.called),
        "subref": wired.SubRef(target, "note"),
        "keyed": weakref.KeyedRef(target, wired.called, "key"),
        "proxy": weakref.proxy(target),
        "method": weakref.WeakMethod(target.whoami),
        "submethod": wired.SubMethod(target.whoami),
        "set": weakref.WeakSet([target]),
        "subset": wired.SubSet("required", [target]),
        "values": weakref.WeakValueDictionary({"key": target, 2: target}),
        "subvalues": subvalues,
        "keys": weakref.WeakKeyDictionary({target: "value"}),
        "subkeys": subkeys,
        "handle": wired.Handle(target),
    }


TARGETS: dict[str, Callable[[], Any]] = {
    "Node": lambda: wired.Node("target"),
    "CallableNode": lambda: wired.CallableNode("target"),
    "Valued": lambda: wired.Valued("target"),
    "Slotted": lambda: wired.Slotted("target", held=wired.Node("held")),
    "Reduced": lambda: wired.Reduced("target", more=[1]),
    "Stateful": lambda: wired.Stateful("target", more=[1]),
    "Argued": lambda: wired.Argued("target", argument=wired.Node("argument")),
    "Failure": lambda: wired.Failure("args"),
}


def kinds_inside(make: Callable[[], Any]) -> Case:
    target = make()
    return Case([weak_things(target), target])


def kinds_inside_after(make: Callable[[], Any]) -> Case:
    """The same, the referent met first, and held by an attribute."""
    target = make()
    holder = wired.Node("holder", held=target)
    return Case([[holder.held], weak_things(target)], pops=False)


def kinds_outside(make: Callable[[], Any]) -> Case:
    target = make()
    return Case([weak_things(target), "nothing else"], target)


def kinds_dead(make: Callable[[], Any]) -> Case:
    target = make()
    root = [weak_things(target), "nothing else"]
    for weak in root[0].values():
        if isinstance(weak, weakref.ref):
            hash(weak)
    return Case(root)


def tree() -> Case:
    """Nodes that know their parents weakly."""
    top = wired.Node("top", parent=None, children=[])
    for name in ("left", "right"):
        child = wired.Node(name, parent=weakref.ref(top), children=[])
        top.children.append(child)
        child.children.append(wired.Node("leaf", parent=weakref.proxy(child), children=[]))
    leaf = top.children[0].children[0]
    return Case([leaf, weakref.ref(top), leaf.parent, top])


def subtree() -> Case:
    """A part of a tree: its parent is outside."""
    case = tree()
    return Case([case.root[0], "nothing else"], case.root)


def cache() -> Case:
    values = [wired.Node(f"value {n}", data=bytes(3)) for n in range(6)]
    found = weakref.WeakValueDictionary({f"key {n}": value for n, value in enumerate(values)})
    return Case([wired.Node("cache", entries=found), values[::2]], values[1::2])


def observers() -> Case:
    listeners = [wired.Node(f"listener {n}") for n in range(4)]
    subject = wired.Node("subject", listeners=weakref.WeakSet(listeners))
    for listener in listeners:
        listener.subject = weakref.ref(subject)
    subject.methods = [weakref.WeakMethod(listener.whoami) for listener in listeners]
    return Case([subject, listeners[1:3]], (listeners[0], listeners[3]))


def notes_about_objects() -> Case:
    """Keys hash by value, values lead back to their keys weakly, and to other keys strongly."""
    keys = [wired.Valued(f"key {n}") for n in range(4)]
    notes = weakref.WeakKeyDictionary()
    for key, other in zip(keys, [*keys[1:], keys[0]], strict=True):
        notes[key] = [weakref.ref(key), weakref.proxy(other)]
    return Case([notes, keys[:2]], keys[2:])


def ephemerons() -> Case:
    """A value is inside once its key is."""
    keys = [wired.Node(f"key {n}") for n in range(4)]
    notes = weakref.WeakKeyDictionary(zip(keys, [*keys[1:], "end"], strict=True))
    return Case([notes, weakref.ref(keys[3]), keys[0]])


def registry() -> Case:
    """A dict whose keys are weak references, some of them dead."""
    nodes = [wired.Node(f"node {n}") for n in range(3)]
    found = {weakref.ref(node): node.name for node in nodes}
    dead = wired.Node("dead")
    found[weakref.ref(dead)] = "dead"
    for key in found:
        hash(key)
    return Case([found, weakref.ref(nodes[0]), nodes[:2]], nodes[2:])


def itself() -> Case:
    """Circles: through a pin, through a callback, through the payload's own root."""
    node = wired.Node("node")
    node.itself = weakref.ref(node)
    node.proxy = weakref.proxy(node)
    node.called = weakref.ref(node, wired.Callback(node))
    other = wired.Node("other", held=wired.Node("part"))
    other.held.whole = weakref.ref(other)
    return Case([node.itself, other.held, weakref.ref(other)], (node, other))


def circle_inside() -> Case:
    case = itself()
    node, other = case.keep
    return Case([weakref.ref(other), node.called, other.held.whole, node, other])


def chains() -> Case:
    """Each knows the next weakly; some are held besides."""
    nodes = [wired.Node(n) for n in range(60)]
    for node, after in zip(nodes, nodes[1:], strict=False):
        node.after = weakref.ref(after)
    for node, before in zip(nodes[1:], nodes, strict=False):
        node.before = weakref.proxy(before)
    return Case([nodes[0], nodes[30].after, nodes[::2]], nodes[1::2])


def chain_outside() -> Case:
    nodes = [wired.Node(n) for n in range(60)]
    for node, after in zip(nodes, nodes[1:], strict=False):
        node.after = weakref.ref(after)
    return Case([nodes[0].after, "nothing else"], nodes)


def ways_of_reduction() -> Case:
    """Weak references in every part of a reduction, and back."""
    target = wired.Node("target")
    reduced = wired.Reduced("reduced", to=weakref.ref(target))
    stateful = wired.Stateful("stateful", to=weakref.ref(reduced))
    argued = wired.Argued("argued", argument=[weakref.ref(stateful)], to=weakref.ref(target))
    names, table = wired.Names(), wired.Table()
    names.append(weakref.ref(table))
    table["names"] = weakref.ref(names)
    names.back, table.target = weakref.proxy(argued), weakref.ref(target)
    failure = wired.Failure(weakref.ref(target), "text")
    target.all = [weakref.ref(obj) for obj in (reduced, stateful, argued, names, table, failure)]
    parts = [argued, reduced, names, stateful, failure, table]
    return Case([target.all, weakref.ref(argued), [*parts, target]])


def by_name() -> Case:
    names = [wired.Node, wired.function, wired.called, len, weakref.WeakSet]
    node = wired.Node("node")
    node.names = [weakref.ref(name) for name in names]
    node.proxy = weakref.proxy(wired.function)
    return Case([
        node.names,
        weakref.WeakSet([wired.Node, wired.function]),
        weakref.WeakValueDictionary({"class": wired.Node, "function": wired.function}),
        weakref.WeakKeyDictionary({wired.function: node}),
        weakref.ref(wired.function, wired.Callback(node)),
    ], pops=False)  # fmt: skip


def containers_of_many() -> Case:
    nodes = [(wired.Node if n % 3 else wired.Valued)(f"node {n}") for n in range(12)]
    return Case([
        weakref.WeakSet(nodes),
        weakref.WeakValueDictionary({(n if n % 2 else f"key {n}"): v for n, v in enumerate(nodes)}),
        weakref.WeakKeyDictionary({node: [n] for n, node in enumerate(nodes)}),
        weakref.WeakSet(),
        weakref.WeakValueDictionary(),
        wired.SubSet("required", nodes[:3]),
        nodes[4:8],
    ], nodes[:4] + nodes[8:])  # fmt: skip


def callbacks() -> Case:
    nodes = [wired.Node(f"node {n}") for n in range(4)]
    held = wired.Node("held")
    root = [
        weakref.ref(nodes[0], wired.Callback(held)),
        weakref.ref(nodes[1], wired.Callback(nodes[0])),
        weakref.proxy(nodes[2], wired.Callback(held)),
        wired.SubRef(nodes[3], "note"),
        weakref.WeakMethod(nodes[3].whoami, wired.Callback(held)),
    ]
    return Case([*root, [nodes[0], nodes[2]]], (nodes[1], nodes[3]))


def finalizers(*, inside: bool, detached: bool) -> Case:
    target, argument = wired.Node("target"), wired.Node("argument")
    finalizer = weakref.finalize(target, wired.cleaned, argument, two=2)
    finalizer.atexit = False
    root = [finalizer, weakref.ref(target), [argument, target] if inside else argument]
    return Case(root, None if inside else target, finalizer.detach if detached else int)


def severed() -> Case:
    """`sever`: what dies for the weak thing is not what dies."""
    target = wired.Valued("target")
    root = [{"ref": weakref.ref(target), "set": weakref.WeakSet([target])}, target]

    def becomes() -> None:
        other = wired.Valued("target")
        root[0].update(ref=weakref.ref(other), set=weakref.WeakSet([other]))

    return Case(root, becomes=becomes)


def classes_by_value() -> Case:
    """A class that travels by value, and knows its instances weakly in registries of its own.

    It has no functions of its own: their code would load on this Python alone.
    """
    registries = {"members": weakref.WeakSet(), "names": weakref.WeakValueDictionary()}
    local = type("Local", (wired.Node,), {"__module__": "__main__", **registries})
    nodes = [local(f"node {n}", whole=weakref.ref(local)) for n in range(4)]
    for node in nodes:
        local.members.add(node)
        local.names[node.name] = node
    root = [nodes[0], local, local.members, local.names, nodes[:2]]
    return Case(root, nodes[2:], hosts=("cloudpickle", "dill"))


ALL: dict[str, tuple[Callable[[], Case], tuple[str, ...]]] = {
    **{
        f"kinds on {name}, {make.__name__}": (lambda make=make, target=target: make(target), fates)
        for name, target in TARGETS.items()
        for make, fates in (
            (kinds_inside, ("snapshot",)),
            (kinds_inside_after, ("dangle",)),
            (kinds_outside, ("snapshot", "dangle")),
            (kinds_dead, ("snapshot",)),
        )
    },
    **{
        case.__name__: (case, ("snapshot", "dangle"))
        for case in (
            tree, subtree, cache, observers, notes_about_objects, ephemerons, registry, itself,
            circle_inside, chains, chain_outside, ways_of_reduction, by_name, containers_of_many,
            callbacks, classes_by_value,
        )
    },
    # What only a receiver with weakreduce loads.
    "home, kinds": (lambda: kinds_outside(TARGETS["Node"]), ("home",)),
    **{
        f"home, {case.__name__}": (case, ("home",))
        for case in (subtree, cache, observers, itself, callbacks)
    },
    # What readies a receiver that has it, and loads where it is not, too.
    **{
        f"readying, {case.__name__}": (case, ("ready", "bound"))
        for case in (subtree, observers, callbacks)
    },
    "finalizers, detached": (lambda: finalizers(inside=True, detached=True), ("snapshot",)),
    "finalizers, outside": (lambda: finalizers(inside=False, detached=True), ("snapshot",)),
    "finalizers, armed": (lambda: finalizers(inside=True, detached=False), ("rearm",)),
    "severed": (severed, ("sever",)),
}  # fmt: skip
POLICIES: dict[str, Any] = {
    "snapshot": "snapshot",
    "dangle": "dangle",
    "rearm": Policy(finalizers="rearm"),
    "sever": Policy(rules=((wired.Valued, "sever"),)),
    "home": Policy(identity="home"),
    "ready": Policy(ready_receiver="always"),
    "bound": "snapshot",
}


def frozen_case(make: Callable[[], Case], policy: str) -> tuple[dict[Any, bytes], Any]:
    """The payloads of a case, and what they are to arrive as."""
    case = make()
    gc.collect()
    root = weakreduce.bind(case.root) if policy == "bound" else case.root
    written = {
        (host, protocol): weakreduce.dumps(
            root, policy=POLICIES[policy], host=host, protocol=protocol
        )
        for host in case.hosts
        for protocol in PROTOCOLS
    }
    case.becomes()
    if policy == "dangle":
        case.keep = None
    wired.collect()
    expected = [wired.describe(case.root)]
    if case.pops:
        case.root.pop()
        wired.collect()
        expected.append(wired.describe(case.root))
    return written, expected


# --- random graphs ------------------------------------------------------------------------


def frozen_graph(seed: int, policy: str, host: str, protocol: int) -> tuple[bytes, Any]:
    """The payload of a random graph, and what the model says that it arrives as."""
    choose = random.Random(seed)
    spec = run_random_graphs.random_spec(choose)
    model = graphs.Model(spec, policy)
    root, nodes = graphs.build(spec)
    payload = weakreduce.dumps(root, policy=policy, host=host, protocol=protocol)
    assert nodes
    edges = [(n, i) for n in sorted(model.travels) for i in range(len(spec.strong[n]))]
    lives = []
    for _ in range(2):
        cut = sorted(choose.sample(edges, choose.randint(0, len(edges))))
        keep = choose.randint(0, len(spec.roots))
        kept = set(spec.roots[:keep])
        least, most = (
            sorted(graphs.alive_after(spec, model, kept, set(cut), released=released))
            for released in (True, False)
        )
        lives.append((keep, cut, least, most))
    return payload, {
        "roots": spec.roots,
        "classes": spec.classes,
        "strong": spec.strong,
        "weak": [[_weak(model, weak) for weak in weaks] for weaks in spec.weak],
        "travels": sorted(model.travels),
        "lives": lives,
    }


def _weak(model: graphs.Model, weak: graphs.Weak) -> Any:
    others = weak.others or (None,) * len(weak.targets)
    return (weak.kind, weak.dead, [
        (target, other, not weak.dead and model.fate(target) != "dangle")
        for target, other in zip(weak.targets, others, strict=True)
    ])  # fmt: skip


def use_frozen_classes() -> None:
    """The builder of random graphs is to make what receivers of every Python can import."""
    graphs.CLASSES = wired.CLASSES
    graphs.SubRef, graphs.SubSet, graphs.Callback = wired.SubRef, wired.SubSet, wired.Callback
    for cls in (wired.Node, wired.Slotted):
        cls.method = property(lambda self: self.whoami)


class _Graphs:
    """For `graphs.build`, which gives a node a name alone."""

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def __call__(self, name: int) -> Any:
        return self.cls(name, strong=[], weak=[])


# --- the file -----------------------------------------------------------------------------


def everything() -> Iterator[tuple[str, Any, bytes]]:
    """(what it is, what is expected, payload) of all that is frozen."""
    for name, (make, policies) in ALL.items():
        for policy in policies:
            written, expected = frozen_case(make, policy)
            for (host, protocol), payload in written.items():
                yield f"{name}, {policy}, {host}, {protocol}", expected, payload
    use_frozen_classes()
    graphs.CLASSES = tuple(map(_Graphs, wired.CLASSES))
    seed = 0
    for host in HOSTS:
        for protocol in PROTOCOLS:
            for policy in ("snapshot", "dangle"):
                for _ in range(GRAPHS):
                    payload, expected = frozen_graph(seed, policy, host, protocol)
                    yield "graph", expected, payload
                    seed += 1
    shared = wired.Node("shared")
    weakreduce.share("a shared node", shared)
    for host in HOSTS:
        for protocol in PROTOCOLS:
            root = [weakref.ref(shared), weakref.proxy(shared), weakref.WeakSet([shared])]
            yield "token", None, weakreduce.dumps(root, host=host, protocol=protocol)


def compare(version: str) -> int:
    """How many payloads would be other bytes than those that are frozen; which, is printed.

    What goes home has the id of its process in it, and cloudpickle gives random ids to classes.
    """
    different: dict[str, int] = {}
    with zipfile.ZipFile(HERE / f"{version}.zip") as archive:
        for number, (what, _, payload) in enumerate(everything()):
            random_parts = "home" in what or ("by_value" in what and "cloudpickle" in what)
            if archive.read(f"{number:04}.pickle") != payload and not random_parts:
                different[what] = different.get(what, 0) + 1
    for what, count in different.items():
        print(count, what)
    return sum(different.values())


def write(version: str) -> None:
    expectations: dict[str, Any] = {}
    index: dict[str, Any] = {}
    path = HERE / f"{version}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:

        def add(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 9)

        for number, (what, expected, payload) in enumerate(everything()):
            key = json.dumps(expected)
            expectations.setdefault(key, str(len(expectations)))
            index[f"{number:04}.pickle"] = (what, expectations[key])
            add(f"{number:04}.pickle", payload)
        found = {number: json.loads(key) for key, number in expectations.items()}
        add("index.json", json.dumps({"payloads": index, "expected": found}).encode())
    print(path, len(index), path.stat().st_size)


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=weakreduce.DanglingWarning)
    if sys.argv[1] == "--compare":
        print(compare(sys.argv[2]), "differ")
    else:
        write(sys.argv[1])
