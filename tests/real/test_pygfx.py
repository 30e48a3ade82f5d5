"""pygfx: a scene's object holds its parent by ``weakref.ref``, and is numbered in a weak table.

See ``WorldObject`` in ``pygfx/objects/_base.py``; resources and trackables have WeakSets. What
pipelines are made of is kept in a ``ReadOnlyDict``, which refuses its items when it is loaded: the
recipe constructs it with them, so that its hash is one of the process where it is, too.
"""

from __future__ import annotations

from typing import Any

import journey
import pygfx
from pygfx.utils import ReadOnlyDict


def make() -> pygfx.Group:
    group = pygfx.Group()
    group.add(pygfx.Mesh(pygfx.box_geometry(1, 1, 1), pygfx.MeshBasicMaterial(color="red")))
    return group


def works(group: pygfx.Group) -> None:
    (mesh,) = group.children
    assert mesh.parent is group
    assert tuple(mesh.material.color) == (1, 0, 0, 1)
    group.local.x = 3
    assert mesh.world.position[0] == 3
    mesh.material.color = "blue"
    assert tuple(mesh.material.color) == (0, 0, 1, 1)


def reduce_read_only(mapping: ReadOnlyDict) -> tuple[Any, ...]:
    return ReadOnlyDict, (dict(mapping),)


def test_a_scene_is_moved_there() -> None:
    journey.refused(make())
    with journey.reduced_by(reduce_read_only, ReadOnlyDict):
        journey.travels(make, works)
