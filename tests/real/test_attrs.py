"""attrs: slotted classes with a ``__weakref__`` slot, whose fields hold weak references.

They are reduced by the ``__getstate__`` and ``__setstate__`` that ``attr/_make.py`` gives them.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import attrs
import journey
import pytest


@attrs.define(eq=False)
class Part:
    name: str
    whole: Any = None
    parts: list[Part] = attrs.field(factory=list)

    def add(self, name: str) -> Part:
        part = Part(name, weakref.proxy(self))
        self.parts.append(part)
        return part


@attrs.frozen
class Key:
    """Hashed by its fields."""

    number: int
    of: Any = attrs.field(eq=False, default=None)


class Catalogue:
    def __init__(self) -> None:
        self.root = Part("root")
        self.root.add("leaf")
        self.keys = [Key(1, weakref.ref(self.root))]
        self.seen: Any = weakref.WeakKeyDictionary({self.keys[0]: "first"})


def works(catalogue: Any) -> None:
    root = catalogue.root
    (leaf,) = root.parts
    assert leaf.whole.name == "root"
    assert leaf.add("twig").whole.whole.parts == [leaf]
    assert catalogue.keys[0].of() is root
    assert catalogue.seen[type(catalogue.keys[0])(1)] == "first"
    gone = weakref.ref(root)
    del root, catalogue.root
    gc.collect()
    assert gone() is None


def test_parts_know_the_whole() -> None:
    journey.refused(Catalogue())
    journey.travels(Catalogue, works)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_a_key_of_what_it_holds(host: Any) -> None:
    """What attrs' methods put in again may be there before (`core.hashing`)."""
    import weakreduce  # receivers of this file are without it

    key = Key(1, {})
    key.of[weakref.ref(key)] = "own"
    (copy,) = weakreduce.loads(weakreduce.dumps([key], host=host), host=host)
    assert copy.of[weakref.ref(copy)] == "own"
