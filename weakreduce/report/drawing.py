"""Drawing: the `Picture` of a report, from the search for the paths of its findings.

Rule: what a picture looks like is not known here (`pictures`).
"""

from __future__ import annotations

from typing import Final, final

from weakreduce.model.kinds import Edge, kind_of
from weakreduce.model.texts import class_name
from weakreduce.paths.parts import HOLDER
from weakreduce.paths.search import Search, edge_path
from weakreduce.report.findings import FateName, Picture

#: Holders that a picture leaves out: the way through them is on the arrow.
_PLAIN: Final = frozenset({list, tuple, dict, set, frozenset})
#: Steps to an object that a picture shows at most, the last ones.
_WAY: Final = 12


def _label(steps: list[str]) -> str:
    """Steps as they stand on an arrow."""
    return "".join(
        step[1:] if step.startswith(HOLDER) else step.replace(HOLDER, "…", 1) for step in steps
    )


@final
class Drawing:
    """Makes a `Picture`: nodes are objects of classes, builtin containers are on the arrows."""

    def __init__(self, ways: Search) -> None:
        self.ways = ways
        self.picture = Picture({0: class_name(type(ways.objects[0]))}, {}, [])
        self._unplaced = 0

    def add(self, edge: Edge, fate: FateName) -> None:
        """Draw a weak edge, and the way to its ends."""
        kind = kind_of(type(edge.weak))
        place = self.ways.places.get(id(edge.weak))
        label = "" if kind is None else kind.name
        if place is None or self._is_node(place):
            holder = self._node(edge.weak)
            if kind is not None and kind.name == "WeakValueDictionary":
                label = edge_path(kind, "", edge)
            elif place != 0:
                label = ""
        else:
            holder, steps = self._lead(place)
            label = f"{_label(steps)} {label}".strip()
        arrow = (holder, self._node(edge.referent), label, fate)
        self.picture.weak.append(arrow)

    def _is_node(self, place: int) -> bool:
        if place == 0:
            return True
        obj_type = type(self.ways.objects[place])
        kind = kind_of(obj_type)
        return obj_type not in _PLAIN and (kind is None or kind.is_container)

    def _lead(self, place: int) -> tuple[int, list[str]]:
        """Draw the way to a place; gives the last node before it, and the steps from there."""
        trail = self.ways.trail(place)
        holder, steps = 0, []
        if len(trail) > _WAY:
            trail, steps = trail[-_WAY:], ["…"]
        for on_it, step in trail[:-1]:
            if on_it == 0:
                continue
            steps.append(step)
            if on_it in self.ways.weakly:
                # The arrow there is that of a weak edge.
                holder, steps = on_it, []
            elif self._is_node(on_it):
                self.picture.strong[holder, on_it] = _label(steps)
                holder, steps = on_it, []
            if holder == on_it:
                self.picture.nodes[on_it] = class_name(type(self.ways.objects[on_it]))
        return holder, [*steps, trail[-1][1]]

    def _node(self, obj: object) -> int:
        place = None if obj is None else self.ways.places.get(id(obj))
        if place is None:
            self._unplaced -= 1
            self.picture.nodes[self._unplaced] = "dead" if obj is None else class_name(type(obj))
            return self._unplaced
        if place != 0:
            holder, steps = self._lead(place)
            if place not in self.ways.weakly:
                self.picture.strong[holder, place] = _label(steps)
        self.picture.nodes[place] = class_name(type(obj))
        return place
