"""``python -m weakreduce demo``: weak references, sent to a real worker process and back.

The parent pickles with cloudpickle, the bytes go through a pipe to a spawned process, and
what that process answers, which holds weak references again, comes back the same way.
"""

from __future__ import annotations

import multiprocessing
import textwrap
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, get_args

from weakreduce.model.policies import PolicyName

POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
_WIDTH = 88
_ROW = "  {:<9} {:>7}  {:<33} {}"

#: A task takes `state` and gives a list of states and a list that ends in the same references.
Task = Callable[[Callable[[Any], str]], tuple[list[str], list[Any]]]


def state(reference: weakref.ref[Any]) -> str:
    """Dead, alive or pinned, and the name of the referent, of one weak reference."""
    from weakreduce import is_pinned

    referent = reference()
    if referent is None:
        return "dead"
    return f"{'pinned' if is_pinned(reference) else 'alive'} -> {referent.name!r}"


def worker(connection: Connection) -> None:
    """Answer payloads until the parent sends an empty one; runs in the other process."""
    import cloudpickle

    while data := connection.recv_bytes():
        task = cloudpickle.loads(data)
        connection.send_bytes(cloudpickle.dumps(task(state)))


def _closure() -> tuple[Task, Any]:
    """A closure over two weak references, and the referent that it does not hold."""

    # Defined in a function, so the class and the closure travel by value.
    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

    held, other = Model("held"), Model("other")
    to_held, to_other = weakref.ref(held), weakref.ref(other)

    def task(state: Callable[[Any], str]) -> tuple[list[str], list[Any]]:
        references = [to_held, to_other]
        return [state(reference) for reference in references], [held, *references]

    return task, other


def _tree() -> tuple[Task, Task, Any]:
    """A tree with parent pointers: one task that carries its root, one its leaf, and the root."""

    class Node:
        def __init__(self, name: str, parent: Any = None) -> None:
            self.name = name
            self.children: list[Any] = []
            self.parent = None if parent is None else weakref.ref(parent)
            if parent is not None:
                parent.children.append(self)

    root = Node("root")
    leaf = Node("leaf", root)

    def from_root(state: Callable[[Any], str]) -> tuple[list[str], list[Any]]:
        (child,) = root.children
        return [state(child.parent)], [root, child.parent]

    def from_leaf(state: Callable[[Any], str]) -> tuple[list[str], list[Any]]:
        return [state(leaf.parent)], [leaf, leaf.parent]

    return from_root, from_leaf, root


def _show_error(name: str, error: Exception) -> None:
    print(_ROW.format(name, "-", type(error).__name__ + ":", "").rstrip())
    print(textwrap.fill(str(error), _WIDTH, initial_indent=" " * 21, subsequent_indent=" " * 21))


def _scene(connection: Connection, title: str, task: Task, labels: tuple[str, ...]) -> None:
    import cloudpickle

    import weakreduce

    print(f"\n{title}")
    print(_ROW.format("policy", "bytes", "what arrived over there", "what came back here"))
    payloads: dict[PolicyName, bytes | Exception] = {}
    for name in POLICIES:
        try:
            with weakreduce.policy(name):
                payloads[name] = cloudpickle.dumps(task)
        except weakreduce.WeakrefPicklingError as error:
            payloads[name] = error
    for name, data in payloads.items():
        if isinstance(data, Exception):
            _show_error(name, data)
            continue
        connection.send_bytes(data)
        arrived, returned = cloudpickle.loads(connection.recv_bytes())
        references = returned[-len(labels) :]
        for row, label in enumerate(labels):
            start = (name, str(len(data))) if row == 0 else ("", "")
            there, back = f"{label}: {arrived[row]}", f"{label}: {state(references[row])}"
            print(_ROW.format(*start, there, back))


def main() -> None:
    """Run the demo and print what happens."""
    closure, other = _closure()
    from_root, _, whole = _tree()
    _, from_leaf, root = _tree()
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=worker, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        print(f"Weak references, sent to process {process.pid} and back, under each policy.")
        print("alive: the payload holds the referent. pinned: the weak reference itself does.")
        _scene(
            connection,
            "1. A closure over two weak references; it holds 'held' strongly, but not 'other'",
            closure,
            ("ref", "ref"),
        )
        _scene(
            connection,
            "2. A tree with parent pointers, sent from its root: the parent is inside",
            from_root,
            ("leaf.parent",),
        )
        _scene(
            connection,
            "3. The same tree, sent from its leaf: the parent is outside",
            from_leaf,
            ("leaf.parent",),
        )
        connection.send_bytes(b"")
    finally:
        connection.close()
        process.join(10)
    del other, whole, root  # held until here, so that no referent was dead when it was sent
