"""atom: ``atomref`` is a weak reference of its own, written in C, to an Atom.

No pickler knows it; ``weakreduce.register`` teaches it (``atom/src/atomref.cpp``). It takes an Atom
and nothing else, so a dead one is made on an Atom that dies at once.
"""

from __future__ import annotations

import gc
import warnings
from typing import Any

import journey
import pytest
from atom.api import Atom, List, Str, Typed, atomref

#: Members are descriptors written in C: classes of Atom do not travel by value.
WAYS: tuple[journey.Way, ...] = ("cloudpickle", "dill")
KEPT: list[Any] = []


class Node(Atom):
    name = Str()
    parent = Typed(atomref)
    children = List()


def refer(atom: Atom | None) -> Any:
    return atomref(Atom() if atom is None else atom)


@pytest.fixture(autouse=True)
def taught() -> None:
    import weakreduce

    weakreduce.register(atomref, referent=lambda ref: ref(), rebuild=refer)


def make() -> Node:
    root = Node(name="root")
    root.children.append(Node(name="leaf", parent=atomref(root)))
    root.children.append(Node(name="orphan", parent=atomref(Node())))
    return root


def works(root: Node) -> None:
    leaf, orphan = root.children
    assert leaf.parent() is root
    assert type(orphan.parent) is atomref
    assert orphan.parent() is None
    del root
    gc.collect()
    assert leaf.parent() is None


def make_outside() -> Node:
    KEPT.append(Node(name="outside"))
    return Node(name="alone", parent=atomref(KEPT[-1]))


def is_alone(node: Node) -> None:
    assert node.name == "alone"
    assert type(node.parent) is atomref
    assert node.parent() is None
    assert not node.parent


def test_an_atomref_is_taught() -> None:
    journey.travels(make, works, ways=WAYS)


def test_one_to_what_stays_behind_is_dead_and_says_so() -> None:
    import weakreduce

    with pytest.warns(weakreduce.DanglingWarning, match=r"root\.parent"):
        journey.travels(make_outside, is_alone, ways=WAYS)


def test_no_word_where_the_policy_leaves_it_behind() -> None:
    import weakreduce

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journey.travels(make_outside, is_alone, ways=WAYS, outside="dangle")
    with pytest.raises(weakreduce.WeakrefPicklingError, match="Node"):
        weakreduce.dumps(make_outside(), policy="strict")
