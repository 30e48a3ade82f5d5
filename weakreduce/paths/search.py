"""Where an object is: its path from the root, as a Python expression wherever one exists.

It is looked for only when an error, a warning or a report is to be written, so it may be slow,
but takes time in proportion to the graph. Rule: it reads objects through their builtin base's
own methods and runs no code of the user's.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Any, Final, final

from weakreduce.model.blocks import Block, Scope
from weakreduce.model.classes import NAMEABLE
from weakreduce.model.kinds import Edge, Kind, kind_of
from weakreduce.model.texts import class_name
from weakreduce.paths.parts import HOLDER, LEAVES, Shapes, finalizer_parts, parts
from weakreduce.paths.steps import named
from weakreduce.paths.tasks import Named, given_in

#: The step to the root itself.
_ROOT: Final = ""
#: A path of more steps than this has lost its beginning: nobody reads an expression that long.
LONGEST: Final = 500
#: Objects that are looked at to count who holds a weak reference.
_COUNTED: Final = 100_000

#: What an engine was given, each with the name that its user knows it by, where the engine pickles
#: a wrapping of its own: paths begin at those, not at the wrapping.
given: Final = Scope("weakreduce_given")


def given_for(root: object) -> tuple[Named, ...]:
    """What was given to the engine that pickles a root, if one does, with these names."""
    return given.get(()) or given_in(root)


def is_closed(obj: object, by_name: Callable[[Any], bool] | None) -> bool:
    """Whether an object is written as a name, so that nothing behind it travels."""
    if by_name is None or not issubclass(type(obj), NAMEABLE):
        return False
    try:
        return by_name(obj)
    except Exception:  # noqa: BLE001 - one that the pickler never met, and that is odd
        return True


def held_times(
    root: object,
    wanted: Iterable[int],
    taken_along: Iterable[int],
    by_name: Callable[[Any], bool] | None = None,
) -> dict[int, int]:
    """How many places below `root` hold each object that is wanted.

    Args:
        root: where to look.
        wanted: ids of the objects.
        taken_along: ids of the referents that weak edges are followed to.
        by_name: as of `Search`.

    Returns:
        Id -> number; nothing at all where there is too much below `root` to be looked at.
    """
    times = dict.fromkeys(wanted, 0)
    travelling = set(taken_along)
    shapes: Shapes = {}
    objects, seen = [root], {id(root)}
    place = 0
    while place < len(objects):
        if place > _COUNTED:
            return {}
        obj = objects[place]
        place += 1
        if is_closed(obj, by_name):
            continue
        held = [each for _, each in parts(obj, HOLDER, shapes)]
        kind = kind_of(type(obj))
        if kind is not None and not kind.is_finalizer and travelling:
            referents = [edge.referent for edge in kind.edges(obj)]
            held += [each for each in referents if id(each) in travelling and id(each) not in seen]
        for each in held:
            identity = id(each)
            if identity in times:
                times[identity] += 1
            if identity not in seen and not issubclass(type(each), LEAVES):
                seen.add(identity)
                objects.append(each)
    return times


@final
class Search:
    """One search from a root, breadth first, for all the objects that are wanted.

    Strong edges are followed first, weak ones after them. It stops when everything is found.

    Args:
        root: where paths begin.
        wanted: ids of the objects to be found. They need not be alive.
        by_name: whether a class, function or module is written as a name. Such a one is not
            opened, as a pickler does not open it: behind it is all the rest of the program.
        limit: how many objects are opened at most.
        until: the id of the object that is enough, if there is one.
    """

    def __init__(
        self,
        root: object,
        wanted: Iterable[int],
        by_name: Callable[[Any], bool] | None = None,
        limit: float = float("inf"),
        until: int | None = None,
    ) -> None:
        #: Everything visited, in order of distance; the places of a trail are positions here.
        self.objects: list[Any] = [root]
        #: id -> place, of what was wanted and found.
        self.places: dict[int, int] = {}
        #: Places that are reached over a weak edge only.
        self.weakly: set[int] = set()
        self._holders = [-1]
        self._steps = [_ROOT]
        self._by_name = by_name
        self._limit = limit
        self._shapes: Shapes = {}
        self._from_given: dict[int, str] | None = None
        self._run(set(wanted), limit, until)

    def _run(self, missing: set[int], limit: float, until: int | None) -> None:
        objects, places = self.objects, self.places
        seen = {id(objects[0])}
        weak: collections.deque[tuple[int, str, Any]] = collections.deque()
        place = 0
        if id(objects[0]) in missing:
            missing.discard(id(objects[0]))
            places[id(objects[0])] = 0
        while missing and place < limit and until not in places:
            if place == len(objects):
                if not weak:
                    return
                holder, step, referent = weak.popleft()
                if id(referent) not in seen:
                    seen.add(id(referent))
                    self.weakly.add(len(objects))
                    self._visit(holder, step, referent, missing)
                continue
            obj = objects[place]
            if is_closed(obj, self._by_name):
                place += 1
                continue
            kind = kind_of(type(obj))
            if kind is not None and kind.is_finalizer:
                weak += [(place, *part) for part in finalizer_parts(obj, HOLDER)]
            elif kind is not None:
                for edge in kind.edges(obj):
                    if edge.referent is not None and id(edge.referent) not in seen:
                        weak.append((place, edge_path(kind, HOLDER, edge), edge.referent))
            for step, held in parts(obj, HOLDER, self._shapes):
                identity = id(held)
                if identity not in seen:
                    if issubclass(type(held), LEAVES) and identity not in missing:
                        continue
                    seen.add(identity)
                    self._visit(place, step, held, missing)
            place += 1

    def _visit(self, holder: int, step: str, obj: object, missing: set[int]) -> None:
        if id(obj) in missing:
            missing.discard(id(obj))
            self.places[id(obj)] = len(self.objects)
        self.objects.append(obj)
        self._holders.append(holder)
        self._steps.append(step)

    def trail(self, place: int) -> list[tuple[int, str]]:
        """The way from the root to a place: each place on it, and the step that leads there."""
        found: list[tuple[int, str]] = []
        while place >= 0 and len(found) <= LONGEST:
            found.append((place, self._steps[place]))
            place = self._holders[place]
        return found[::-1]

    def path(self, obj: object, root: str = "root") -> str | None:
        """The shortest path to this very object; None where it was not found."""
        place = self.places.get(id(obj))
        if place is None:
            return None
        named = self._paths_from_given().get(id(obj)) if root == "root" else None
        return named or joined([step for _, step in self.trail(place)], root)

    def _paths_from_given(self) -> dict[int, str]:
        """Id -> path, of what was found, and is in what was `given` as well."""
        known = given_for(self.objects[0])
        if self._from_given is None:
            self._from_given = {}
            if known:
                names = {id(held): name for name, held in reversed(known)}
                search = Search(
                    [held for _, held in known], self.places, self._by_name, self._limit
                )
                for identity, place in search.places.items():
                    _, (top, _), *rest = search.trail(place)
                    name = names.get(id(search.objects[top]))
                    if name is not None:  # else the way is so long that its beginning is lost
                        self._from_given[identity] = joined([_ROOT, *(s for _, s in rest)], name)
        return self._from_given


def joined(steps: list[str], root: str) -> str:
    """The expression that steps make, one applied to what the other gave."""
    path = root if steps[0] == _ROOT else f"{root}…"
    for step in steps:
        if step != _ROOT:
            path = step.replace(HOLDER, path, 1)
    return path


class naming(Block):  # noqa: N801 - it reads as a verb, as `policy` does
    """What is pickled inside was given by these names, or by those of a block around this one.

    None: it is none of what was given.
    """

    scope = given

    def __init__(self, named: Iterable[Named] | None) -> None:
        self._named = None if named is None else tuple(named)

    def __enter__(self) -> None:
        self.enter(() if self._named is None else (*given.get(()), *self._named))


def paths_to(root: object, wanted: Iterable[object]) -> dict[int, str]:
    """Id -> the shortest path from `root` to that very object; those not found are left out.

    One search for all of them. Strong edges are followed first, weak ones after them.
    """
    objects = list(wanted)
    search = Search(root, map(id, objects))
    found = ((id(obj), search.path(obj)) for obj in objects)
    return {identity: path for identity, path in found if path is not None}


def edge_path(kind: Kind, path: str, edge: Edge) -> str:
    """The path of an edge's weak thing, with the entry where it is one of a container."""
    key = named(edge.key) if "{key}" in kind.step else ""
    return kind.step.format(weak=path, key=key, type=class_name(type(edge.referent)))
