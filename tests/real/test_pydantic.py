"""pydantic: private attributes are for what is no field, such as a weak reference to a parent.

They are in ``__pydantic_private__``, which ``BaseModel.__getstate__`` hands over.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import journey
from pydantic import BaseModel, PrivateAttr


class Node(BaseModel):
    name: str
    children: list[Any] = []
    _parent: Any = PrivateAttr(None)

    def add(self, child: Node) -> Node:
        child._parent = weakref.ref(self)
        self.children.append(child)
        return self


def make() -> Node:
    return Node(name="root").add(Node(name="leaf"))


def works(root: Node) -> None:
    (leaf,) = root.children
    assert leaf._parent() is root
    leaf.add(type(leaf)(name="twig"))
    assert root.model_dump()["children"][0]["children"] == [{"name": "twig", "children": []}]
    del root
    gc.collect()
    assert leaf._parent() is None


def test_a_model_knows_its_parent() -> None:
    journey.refused(make())
    journey.travels(make, works, ways=("cloudpickle", "cloudpickle by value", "dill"))
