"""Tasks of `test_home*.py`: what a worker does with weak references that have a home elsewhere."""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing
import os
import sys
import weakref
from typing import Any

import things

import weakreduce
from weakreduce.model import homes

HOME = weakreduce.Policy(identity="home")
#: What a worker keeps from one task to the next.
KEPT: list[Any] = []


class Node:
    """Holds its children, and refers to its parent weakly."""

    def __init__(self, name: str, *children: Node) -> None:
        self.name = name
        self.children = children
        self.parent: Any = None
        for child in children:
            child.parent = weakref.ref(self)


class Finding:
    """Refers to a node weakly, by a reference that may have come with it."""

    def __init__(self, node: Any, text: str) -> None:
        self.node = node
        self.text = text


def tree() -> tuple[Node, list[Node]]:
    """A tree's root, and all its nodes."""
    leaves = [Node(f"leaf {number}") for number in range(3)]
    inner = Node("inner", *leaves)
    root = Node("root", inner)
    return root, [root, inner, *leaves]


def nothing_is_left() -> bool:
    """Whether the tables are empty, once the collector has run."""
    while gc.collect():
        pass
    return not (homes._places or homes.away or homes._sent)


def look(nodes: list[Any], _ticket: Any = None) -> list[Finding]:
    """Findings on nodes, and on the parents of those."""
    found = [Finding(node, f"{node().name} in {os.getpid()}") for node in nodes]
    parents = [node().parent for node in nodes if node().parent is not None]
    return found + [Finding(parent, "parent") for parent in parents]


def look_and_keep(nodes: list[Any]) -> list[Finding]:
    KEPT.append(nodes)
    return look(nodes)


def by_another(nodes: list[Any], method: str = "spawn") -> list[Finding]:
    """The same, by a process of this one: two hops there, and two back."""
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
        return executor.submit(look, nodes).result(60)


def by_another_of_lokys(nodes: list[Any]) -> list[Finding]:
    """The same, where processes are loky's."""
    import loky

    with loky.ProcessPoolExecutor(1) as executor:
        return executor.submit(look, nodes).result(60)  # type: ignore[no-any-return]


def back(weak: Any) -> Any:
    """What came."""
    return weak


def are_pinned(weak: list[Any]) -> tuple[list[bool], list[Any]]:
    return [weakreduce.is_pinned(one) for one in weak], weak


def forget() -> int:
    """How much is remembered here when all that came is let go of."""
    KEPT.clear()
    while gc.collect():
        pass
    return len(homes._places) + len(homes.away) + len(homes._sent)


def send_and_get_back(weak: list[Any]) -> tuple[list[bool], list[Any]]:
    """Send copies on, under this policy here, too: they are what comes back here."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor, weakreduce.policy(HOME):
        returned = executor.submit(back, weak).result(60)
    same = [one() is other() for one, other in zip(weak, returned, strict=True)]
    return same, returned


class Tree:
    """A global that a forked worker inherits."""

    node: Any = None


def inherited(_ticket: Any = None) -> Any:
    return weakref.ref(Tree.node)


class Registered:
    """A weak thing of a third party."""

    def __init__(self, referent: Any, held: Any = None) -> None:
        self.weak = weakref.ref(referent) if referent is not None else None
        self.held = held


def rebuild(referent: Any) -> Registered:
    return Registered(referent)


def pin(referent: Any) -> Registered:
    return Registered(referent, referent)


def register() -> None:
    weakreduce.register(
        Registered, referent=lambda weak: weak.weak and weak.weak(), rebuild=rebuild, pin=pin
    )


def every_kind(thing: Any) -> list[Any]:
    index = things.Index("index")
    index["thing"] = thing
    notes = things.Notes("notes")
    notes[thing] = "note"
    return [
        weakref.ref(thing),
        weakref.ref(thing, things.called),
        things.SubRef(thing, id(thing)),
        weakref.WeakMethod(thing.method),
        things.SubMethod(thing.method, things.called),
        weakref.proxy(thing),
        weakref.WeakSet([thing]),
        things.Listeners("listeners", [thing]),
        weakref.WeakValueDictionary(thing=thing),
        index,
        weakref.WeakKeyDictionary({thing: "note"}),
        notes,
    ]


def referent_of(weak: Any) -> Any:
    """The one referent of any of them."""
    from weakreduce.model.kinds import kind_of

    kind = kind_of(type(weak))
    assert kind is not None
    edges = kind.edges(weak)
    return edges[0].referent if edges else None


def forward() -> None:
    """Read a payload from standard input, and write what it holds to standard output."""
    host, protocol = sys.argv[1], int(sys.argv[2])
    load = weakreduce.loads(sys.stdin.buffer.read(), host=host)
    assert all(map(weakreduce.is_pinned, load))
    # It goes back under the same policy, one hop further.
    policy = weakreduce.Policy(identity=sys.argv[3], ready_receiver="always")
    payload = weakreduce.dumps(load, host=host, protocol=protocol, policy=policy)
    del load
    assert forget() == 0
    sys.stdout.buffer.write(payload)


if __name__ == "__main__":
    forward()
