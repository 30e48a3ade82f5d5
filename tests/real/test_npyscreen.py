"""npyscreen: a node of a tree knows its parent by ``weakref.proxy`` (``npyscreen/npysTree.py``)."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import journey
import pytest
from npyscreen import TreeData


class Outline:
    def __init__(self) -> None:
        self.root = TreeData(content="root")
        self.root.new_child(content="leaf")
        self.root.new_child(content="other").new_child(content="twig")


def works(outline: Any) -> None:
    root = outline.root
    leaf, other = root.get_children()
    assert [node.get_content() for node in root.walk_tree()] == ["leaf", "other", "twig"]
    assert type(leaf._parent) is weakref.ProxyType
    assert leaf.get_parent() == root
    assert [node.find_depth() for node in other.get_children()] == [2]
    leaf = root._children[0]
    del root, outline, other
    gc.collect()
    with pytest.raises(ReferenceError):
        leaf.get_parent().get_content()


def test_a_tree_knows_its_parents() -> None:
    journey.travels(Outline, works)
