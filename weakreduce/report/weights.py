"""What weighs in a payload: the strong parts that take most of it, down to where none stands out.

What each object takes is read off the finished payload (`extents`); the heaviest are then pickled
by themselves (`measure`), as far as its budget goes. Rule: nothing is decided here, and no code of
the user's is run but what pickling runs.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

from weakreduce.core.watches import Payload
from weakreduce.model.bound import Bound
from weakreduce.model.kinds import kind_of
from weakreduce.model.texts import class_name, printable
from weakreduce.paths import search
from weakreduce.paths.parts import LEAVES, Shapes, finalizer_parts, parts
from weakreduce.report.extents import Extent, extents
from weakreduce.report.findings import SMALL, Weight
from weakreduce.report.measure import Scale

#: How many parts are listed at most, and how many of one holder.
_MOST: Final = 20
_BEGINNING: Final = 5
_BESIDES: Final = 10
#: How many of one holder that are alike: of one type, their paths the same but for a number.
_ALIKE: Final = 3
_NUMBER: Final = re.compile(r"\[\d+\]")
#: What an engine sends in place of what it was given, whose pickle was a dump of its own.
_TOLD: Final = frozenset({Bound})
#: Objects of somebody else's dump that are looked at: a third of a second.
_WATCHED: Final = 100_000
#: Objects that are not in the payload themselves, and are looked through for some that are.
_THROUGH: Final = 2_000
#: The same, to look for what is written elsewhere: so many times the objects of the payload more.
_AGAIN: Final = 4
#: A part is opened if it takes more than one in so many bytes of its holder.
_SHARE: Final = 2


class _Part(NamedTuple):
    size: int
    path: str
    obj: Any


def heaviest(
    payload: Payload,
    root: object,
    by_name: Callable[[Any], bool],
    scale: Scale | None = None,
    unsent: Collection[int] = (),
) -> list[Weight]:
    """The parts that weigh most, the heaviest first; none where that cannot be told.

    Args:
        payload: what was written for the root, without snapshots.
        root: the root.
        by_name: whether the pickler writes a class, function or module as a name.
        scale: measures the parts by themselves; None: what they take in the payload has to do.
        unsent: ids of what makes the dump raise. Something stands there for each, whose size
            means nothing.
    """
    if scale is None and len(payload.memo) - payload.first > _WATCHED:
        return []
    try:
        found = extents(payload.data, payload.later, payload.first)
        told = frozenset() if scale else _TOLD
        listed = _Descent(payload, found, by_name, told, unsent).listed(root)
    except Exception:  # noqa: BLE001 - of a report's numbers, these are left out
        return []
    exact: dict[int, int] = {}
    if scale is not None:
        # From the inside out: what holds most of the payload costs most to be measured.
        for part in sorted(listed, key=lambda part: part.size):
            if scale.budget < part.size:
                break
            if kind_of(type(part.obj)) is not None:
                continue  # by itself it would have other fates
            size = scale.weigh(part.obj, with_snapshots=False)
            # Less by far is not the same: some of its weak edges have other fates by themselves.
            if size is not None and size * _SHARE > part.size:
                exact[id(part.obj)] = size
    weights = [
        Weight(
            printable(part.path),
            class_name(type(part.obj)),
            exact.get(id(part.obj), part.size),
            id(part.obj) in exact,
        )
        for part in listed
    ]
    return sorted(weights, key=lambda weight: -weight.bytes)


def _few_alike(held: list[_Part]) -> list[_Part]:
    """The heaviest parts of a holder, the heaviest first, some of each sort."""
    found: list[_Part] = []
    met: Counter[tuple[type, str]] = Counter()
    for part in sorted(held, key=lambda part: -part.size):
        sort = type(part.obj), _NUMBER.sub("[]", part.path)
        met[sort] += 1
        if met[sort] <= _ALIKE:
            found.append(part)
            if len(found) == _BESIDES:
                break
    return found


class _Covered:
    """The stretches of a payload that are accounted for."""

    def __init__(self, extents: Iterable[Extent | None]) -> None:
        ordered = sorted((one.begin, one.end) for one in extents if one is not None)
        #: Without those inside others.
        self.begins: list[int] = []
        self.ends: list[int] = []
        for begin, end in ordered:
            if not self.ends or end > self.ends[-1]:
                self.begins.append(begin)
                self.ends.append(end)

    def add(self, extent: Extent) -> bool:
        """Account for one more; False where that is in what was accounted for already."""
        place = bisect.bisect_right(self.begins, extent.begin)
        if place and self.ends[place - 1] >= extent.end:
            return False
        inside = slice(place, bisect.bisect_right(self.ends, extent.end))
        self.begins[inside] = [extent.begin]
        self.ends[inside] = [extent.end]
        return True


class _Descent:
    """From the root to the heaviest part of the heaviest part, as long as there is one."""

    def __init__(
        self,
        payload: Payload,
        extents: dict[int, Extent],
        by_name: Callable[[Any], bool],
        told: frozenset[type[Any]],
        unsent: Collection[int],
    ) -> None:
        self.told = told
        self.unsent = unsent
        self.total = len(payload.data) + sum(size for _, size, _ in payload.later)
        self.memo = payload.memo
        self.extents = extents
        self.by_name = by_name
        self.shapes: Shapes = {}
        self.seen: set[int] = set()
        #: How many objects may be looked into for what is written elsewhere.
        self.left = _THROUGH + _AGAIN * (len(payload.memo) - payload.first)

    def listed(self, root: object) -> list[_Part]:
        """All that is to be listed."""
        self.seen.add(id(root))
        # What is complete only after the root is the root's as well.
        whole = _Part(self.total, "root", root)
        # The root may be an engine's wrapping of that.
        given = search.given_for(root)
        levels = [self.parts_among(given, whole)]
        for holder in levels[0].copy() if given else [whole]:
            self.descend(holder, levels)
        found = [part for level in levels for part in level]
        if len(found) > _MOST:
            # Of a long way, its beginning and its end.
            found = found[:_BEGINNING] + found[_BEGINNING - _MOST :]
        if found or given or self.unsent or type(root) in self.told:
            return found
        return [whole._replace(size=self.total)]

    def descend(self, holder: _Part, levels: list[list[_Part]]) -> None:
        """Open a part, and its heaviest part, and so on."""
        while len(levels) < search.LONGEST:
            found = self.held(holder)
            held = _few_alike([part for part in found if part.size * SMALL >= self.total])
            levels.append(held)
            if not held or held[0].size * _SHARE <= holder.size:
                break
            holder = held[0]

    def extent(self, identity: int) -> Extent | None:
        """Where an object stands in the payload; None where it is not in it."""
        entry = self.memo.get(identity)
        return None if entry is None else self.extents.get(entry[0])

    def held(self, holder: _Part) -> list[_Part]:
        """The parts of a holder that are in the payload."""
        return self.parts_among(self.strong(holder.obj, holder.path), holder)

    def parts_among(self, held: Iterable[tuple[str, Any]], holder: _Part) -> list[_Part]:
        """What is in the payload of all that a holder holds, and of what is behind the rest."""
        found: list[_Part] = []
        passed: list[tuple[str, Any]] = []
        self.sort(held, found, passed)
        # A reduction that hands over what is inside its attributes, and not those.
        left = _THROUGH
        while passed and left and 2 * sum(part.size for part in found) < holder.size:
            nearer, passed = passed, []
            for path, obj in nearer[:left]:
                self.sort(self.strong(obj, path), found, passed)
            left -= min(left, len(nearer))
        return self.with_elsewhere(holder, found)

    def with_elsewhere(self, holder: _Part, found: list[_Part]) -> list[_Part]:
        """The parts of a holder, each with what it leads to and what is written elsewhere.

        The callback of a weak reference is complete only after the root, and a class by value
        that holds its own instances before the first of them.
        """
        known = sum(part.size for part in found)
        covered = _Covered(self.extent(id(part.obj)) for part in found)
        more: Counter[int] = Counter()
        met = self.seen.copy() if found and known * _SHARE < holder.size else set()
        waiting = deque((number, part.path, part.obj) for number, part in enumerate(found))
        while waiting and self.left and known * _SHARE < holder.size:
            self.left -= 1
            number, path, obj = waiting.popleft()
            for step, held in self.strong(obj, path):
                if id(held) in met:
                    continue
                met.add(id(held))
                extent = self.extent(id(held))
                is_large = extent is not None and extent.size * SMALL >= self.total
                if extent is not None and is_large and covered.add(extent):
                    more[number] += extent.size
                    known += extent.size
                if not issubclass(type(held), LEAVES):
                    waiting.append((number, step, held))
        return [part._replace(size=part.size + more[number]) for number, part in enumerate(found)]

    def sort(
        self,
        parts: Iterable[tuple[str, Any]],
        found: list[_Part],
        passed: list[tuple[str, Any]],
    ) -> None:
        """Tell parts that are in the payload from those that are to be looked through."""
        for step, held in parts:
            identity = id(held)
            if identity in self.seen:
                continue
            extent = self.extent(identity)
            if extent is not None and type(held) in self.told:
                self.seen.add(identity)
                self.total -= extent.size
            elif extent is not None and identity not in self.unsent:
                self.seen.add(identity)
                found.append(_Part(extent.size, step, held))
            elif not issubclass(type(held), LEAVES):
                self.seen.add(identity)
                passed.append((step, held))

    def strong(self, obj: object, path: str) -> Iterator[tuple[str, Any]]:
        if search.is_closed(obj, self.by_name):
            return iter(())
        return itertools.chain(parts(obj, path, self.shapes), finalizer_parts(obj, path))
