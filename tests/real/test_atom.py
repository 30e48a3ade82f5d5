"""atom: ``atomref`` is a weak reference of its own, written in C, to an Atom.

No pickler knows it; ``weakreduce.register`` teaches it (``atom/src/atomref.cpp``).
"""

from __future__ import annotations

import gc

import journey
from atom.api import Atom, List, Str, Typed, atomref


class Node(Atom):
    name = Str()
    parent = Typed(atomref)
    children = List()


def make() -> Node:
    root = Node(name="root")
    root.children.append(Node(name="leaf", parent=atomref(root)))
    return root


def works(root: Node) -> None:
    leaf = root.children[0]
    assert leaf.parent() is root
    del root
    gc.collect()
    assert leaf.parent() is None


def test_an_atomref_is_taught() -> None:
    import weakreduce

    weakreduce.register(atomref, referent=lambda ref: ref(), rebuild=atomref)
    # Members are descriptors written in C: classes of Atom do not travel by value.
    journey.travels(make, works, ways=("cloudpickle", "dill"))
