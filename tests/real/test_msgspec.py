"""msgspec: a Struct with ``weakref=True`` may be referred to weakly, its fields hold anything.

A Struct is pickled as a call of its class with all fields. One that leads back to itself, by
whatever reference, cannot be made so; a recipe sets the fields of the Struct when it is there.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import journey
import msgspec


class Folder(msgspec.Struct, weakref=True):
    name: str
    parent: Any = None
    folders: list[Any] = []


class Key(msgspec.Struct, weakref=True, frozen=True):
    name: str


def make() -> list[Any]:
    key, folder = Key("key"), Folder("folder")
    return [folder, key, weakref.WeakKeyDictionary({key: weakref.proxy(folder)})]


def works(made: list[Any]) -> None:
    _folder, key, table = made
    assert table[Key("key")].name == "folder"
    assert msgspec.to_builtins(key) == {"name": "key"}
    del made[1], key
    gc.collect()
    assert len(table) == 0  # its key was held by the list alone


def make_tree() -> Folder:
    root = Folder("root")
    root.folders.append(Folder("leaf", weakref.ref(root)))
    return root


def tree_works(root: Folder) -> None:
    (leaf,) = root.folders
    assert leaf.parent() is root
    leaf.parent().name = "new"
    assert msgspec.structs.astuple(root) == ("new", None, [leaf])


def by_fields(struct: msgspec.Struct) -> tuple[Any, ...]:
    fields = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return type(struct), (None,) * len(fields), (None, fields)


def test_structs_are_found_by_structs() -> None:
    journey.refused(make())
    # A Struct's class cannot travel by value, with weak references or without.
    journey.travels(make, works, ways=("cloudpickle", "dill"))


def test_structs_know_their_parents() -> None:
    journey.refused(make_tree())
    with journey.reduced_by(by_fields, Folder):
        journey.travels(make_tree, tree_works, ways=("cloudpickle", "dill"))
