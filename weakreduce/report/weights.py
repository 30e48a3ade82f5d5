"""What weighs in a payload: the strong parts that take most of it, down to where none stands out.

What each object takes is read off the finished payload (`extents`); the heaviest are then pickled
by themselves (`measure`), as far as its budget goes. Rule: nothing is decided here, and no code of
the user's is run but what pickling runs.
"""

from __future__ import annotations

import bisect
import itertools
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from weakreduce.core.watches import Payload
from weakreduce.model.bound import PACKED
from weakreduce.model.kinds import kind_of
from weakreduce.model.texts import class_name, printable
from weakreduce.paths import search
from weakreduce.paths.parts import LEAVES, Shapes, finalizer_parts, parts
from weakreduce.paths.tasks import Named
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
#: Objects of somebody else's dump that are looked at: a third of a second.
_WATCHED: Final = 100_000
#: Objects that are not in the payload themselves, and are looked through for some that are.
_THROUGH: Final = 2_000
#: The same, to look for what is written elsewhere: so many times the objects of the payload more.
_AGAIN: Final = 4
#: Objects that are looked into for shorter paths.
_NEARER: Final = 20_000
#: A part is opened if it, or one of its own parts, takes more than one in so many bytes of the
#: holder.
_SHARE: Final = 2


class _Part(NamedTuple):
    size: int
    path: str
    obj: Any
    #: How many steps its path has, and where it stands in the payload.
    depth: int
    begin: int
    end: int


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
    if scale is None and len(payload.memo) - payload.entries_before > _WATCHED:
        return []
    try:
        found = extents(payload.data, payload.deferred, payload.entries_before)
        # What an engine sends in place of what it was given, whose pickle was a dump of its own.
        told = frozenset() if scale else frozenset(PACKED)
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
    for part in sorted(held, key=lambda part: (-part.size, part.begin)):
        sort = type(part.obj), _NUMBER.sub("[]", part.path)
        met[sort] += 1
        if met[sort] <= _ALIKE:
            found.append(part)
            if len(found) == _BESIDES:
                break
    return found


def _together(held: Collection[_Part]) -> int:
    """What parts take together: one that is written inside another is in that one's size."""
    size = until = 0
    for part in sorted(held, key=lambda part: (part.begin, -part.end)):
        if part.end > until:
            size += part.size
            until = part.end
    return size


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
    """From the root to its heavy parts, and to theirs, as long as one takes most of its holder."""

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
        self.total = len(payload.data) + sum(size for _, size, _ in payload.deferred)
        self.memo = payload.memo
        self.extents = extents
        self.by_name = by_name
        self.shapes: Shapes = {}
        #: Ids of what was met as a part.
        self.seen: set[int] = set()
        #: Id -> path and steps of a heavy part where it was met first.
        self.nearest: dict[int, tuple[str, int]] = {}
        #: Id -> what is to be listed, in the order of finding.
        self.rows: dict[int, _Part] = {}
        #: Ids of rows of which one part takes most.
        self.passed: set[int] = set()
        #: How many objects may be looked into for what is written elsewhere.
        self.left = _THROUGH + _AGAIN * (len(payload.memo) - payload.entries_before)

    def listed(self, root: object) -> list[_Part]:
        """All that is to be listed."""
        self.seen.add(id(root))
        # What is complete only after the root is the root's as well.
        whole = _Part(self.total, "root", root, 0, 0, sys.maxsize)
        # The root may be an engine's wrapping of that.
        given = search.given_for(root)
        if given:
            self.rows = {id(part.obj): part for part in self.parts_among(given, whole)}
        waiting = deque((part, True) for part in (self.rows.values() if given else [whole]))
        while waiting:
            holder, is_most = waiting.popleft()
            for part in self.opened(holder, is_most):
                self.rows[id(part.obj)] = part
                waiting.append((part, part.size * _SHARE > holder.size))
        found = self.few()
        if found or given or self.unsent or type(root) in self.told:
            return self.shortened(found, given or [("root", root)], int(bool(given)))
        return [whole._replace(size=self.total)]

    def opened(self, holder: _Part, is_most: bool) -> list[_Part]:
        """The heavy parts of a holder that takes most of its own, or whose heaviest part does."""
        if holder.depth >= search.LONGEST:
            return []
        found = self.parts_among(self.strong(holder.obj, holder.path), holder)
        heavy = [part for part in found if part.size * SMALL >= self.total]
        most = max((part.size for part in heavy), default=0)
        if most * _SHARE > holder.size:
            self.passed.add(id(holder.obj))
        elif not is_most:
            return []
        return [part for part in _few_alike(heavy) if id(part.obj) not in self.rows]

    def few(self) -> list[_Part]:
        """The rows that are shown: some first ones, the ends of ways, and what leads there.

        Objects that know each other take about the same each, as the one written first holds all
        the others: those beside the way say nothing.
        """
        rows = list(self.rows.values())
        ends = [part for part in rows if id(part.obj) not in self.passed]
        ends = sorted(ends, key=lambda part: (-part.size, part.begin))[:_MOST]
        between = [
            part
            for part in rows
            if id(part.obj) in self.passed
            and (part.depth == 1 or any(part.path in end.path for end in ends))
        ]
        chosen = {id(part.obj) for part in (*between, *ends)}
        if len(rows) <= _MOST:
            return [part for part in rows if id(part.obj) in chosen]
        first = [part for part in rows if id(part.obj) in chosen][:_BEGINNING]
        # Of those between, the nearest to the ends.
        ordered = (*first, *ends, *reversed(between))
        shown = set(list(dict.fromkeys(id(part.obj) for part in ordered))[:_MOST])
        return [part for part in rows if id(part.obj) in shown]

    def shortened(self, found: list[_Part], starts: Sequence[Named], depth: int) -> list[_Part]:
        """What is listed, with the shortest paths there are: some lead through what is light."""
        missing = {id(part.obj): part.depth for part in found}
        shorter: dict[int, str] = {}
        met = {id(obj) for _, obj in starts}
        level, left = list(starts), _NEARER
        while level and left and any(steps > depth + 1 for steps in missing.values()):
            depth += 1
            nearer, level = level[:left], []
            left -= len(nearer)
            for path, obj in nearer:
                for step, held in self.strong(obj, path):
                    identity = id(held)
                    if identity in met or identity not in self.memo:
                        continue
                    met.add(identity)
                    if missing.pop(identity, 0) > depth:
                        shorter[identity] = step
                    if not issubclass(type(held), LEAVES):
                        level.append((step, held))
        return [part._replace(path=shorter.get(id(part.obj), part.path)) for part in found]

    def extent(self, identity: int) -> Extent | None:
        """Where an object stands in the payload; None where it is not in it."""
        entry = self.memo.get(identity)
        return None if entry is None else self.extents.get(entry[0])

    def parts_among(self, held: Iterable[tuple[str, Any]], holder: _Part) -> list[_Part]:
        """What is in the payload of all that a holder holds, and of what is behind the rest."""
        found: dict[int, _Part] = {}
        passed: list[tuple[str, Any]] = []
        depth = holder.depth + 1
        self.sort(held, holder, depth, found, passed)
        # A reduction that hands over what is inside its attributes, and not those.
        left = _THROUGH
        while passed and left and _SHARE * _together(found.values()) < holder.size:
            nearer, passed = passed, []
            depth += 1
            for path, obj in nearer[:left]:
                self.sort(self.strong(obj, path), holder, depth, found, passed)
            left -= min(left, len(nearer))
        return self.with_elsewhere(holder, list(found.values()))

    def with_elsewhere(self, holder: _Part, found: list[_Part]) -> list[_Part]:
        """The parts of a holder, each with what it leads to and what is written elsewhere.

        The callback of a weak reference is complete only after the root, and a class by value
        that holds its own instances before the first of them.
        """
        known = _together(found)
        # For as long as what is not known might be listed.
        if not found or (holder.size - known) * SMALL < self.total:
            return found
        covered = _Covered(self.extent(id(part.obj)) for part in found)
        more: Counter[int] = Counter()
        met: set[int] = set()
        waiting = deque((number, part.path, part.obj) for number, part in enumerate(found))
        while waiting and self.left and (holder.size - known) * SMALL >= self.total:
            self.left -= 1
            number, path, obj = waiting.popleft()
            for step, held in self.strong(obj, path):
                if id(held) in met or id(held) in self.seen:
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
        holder: _Part,
        depth: int,
        found: dict[int, _Part],
        passed: list[tuple[str, Any]],
    ) -> None:
        """Tell parts that are in the payload from those that are to be looked through.

        What was met before is a part of this holder as well where it is written inside it.
        """
        for step, held in parts:
            identity = id(held)
            extent = self.extent(identity)
            if identity in self.seen:
                if (
                    extent is not None
                    and identity in self.nearest
                    and identity != id(holder.obj)
                    and holder.begin <= extent.begin
                    and extent.end <= holder.end
                ):
                    found.setdefault(identity, self.part(extent, step, held, depth))
            elif extent is not None and type(held) in self.told:
                self.seen.add(identity)
                self.total -= extent.size
            elif extent is not None and identity not in self.unsent:
                self.seen.add(identity)
                found[identity] = self.part(extent, step, held, depth)
            elif not issubclass(type(held), LEAVES):
                self.seen.add(identity)
                passed.append((step, held))

    def part(self, extent: Extent, path: str, held: object, depth: int) -> _Part:
        """A part, with the shorter path where it was met before."""
        if extent.size * SMALL >= self.total:
            nearest = self.nearest.setdefault(id(held), (path, depth))
            if nearest[1] < depth:
                path, depth = nearest
        return _Part(extent.size, path, held, depth, extent.begin, extent.end)

    def strong(self, obj: object, path: str) -> Iterator[tuple[str, Any]]:
        if search.is_closed(obj, self.by_name):
            return iter(())
        return itertools.chain(parts(obj, path, self.shapes), finalizer_parts(obj, path))
