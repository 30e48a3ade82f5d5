"""What dumps do to weak edges, as plain data: a `Finding` for each edge, and `Findings`.

Rule: nothing here looks at a user's object; findings are strings and numbers and keep nothing
alive. How they are shown is not known here: a `Report` (`reports`) is findings with their looks.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, final, get_args, overload

FateName = Literal["snapshot", "home", "refuse", "dangle", "token", "dead", "link"]
#: Fates in the order of a report, the ones that cost most first.
FATES: Final[tuple[FateName, ...]] = get_args(FateName)
#: Those of which a copy travels that only weak things need.
COPIES: Final = FATES[:2]
#: How many weak edges a report's picture has at most.
DRAWN: Final = 200
#: A part that is less than one in so many is too small to be told.
SMALL: Final = 100
#: How many findings a report keeps, unless it is told otherwise.
KEEP: Final = 1000


def checked(keep: int, where: str) -> int:
    """How many findings are kept.

    Raises:
        ValueError: where that is no number, or negative.
    """
    if type(keep) is not int or keep < 0:
        raise ValueError(f"{where} takes a number of findings, not {keep!r}")
    return keep


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One weak edge and what becomes of it.

    Attributes:
        path: where the weak thing is, as an expression of ``root`` wherever one exists.
        kind: ``"ref"``, ``"WeakMethod"``, ``"proxy"``, ``"WeakSet"``,
            ``"WeakKeyDictionary"``, ``"WeakValueDictionary"``, ``"finalize"``, or the name of a
            registered type. Each entry of a container is a finding.
        referent: the name of the referent's type; None where it is dead.
        fate: ``"link"``, ``"snapshot"``, ``"home"``, ``"dangle"``, ``"token"``, ``"refuse"`` or
            ``"dead"``.
        reason: why, in words.
        bytes: of a snapshot, also one that goes home, the size of the referent's own pickle with
            all that it drags in; None for other fates, and where it was not measured.
        dump: which dump of a `record` it belongs to, counted from 0.
        held: how many places hold this very weak reference (``weakref.ref(x)`` gives one object
            to all who ask); 1 where that was not counted.
    """

    path: str
    kind: str
    referent: str | None
    fate: FateName
    reason: str
    bytes: int | None = None
    dump: int = 0
    held: int = 1


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An object that cannot be pickled.

    Attributes:
        path: where it is.
        referent: the name of its type.
        cause: the error in one line.
        text: what it is and where, or what a reduction made of which object.
    """

    path: str
    referent: str
    cause: str
    text: str


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """A strong part of a payload, and what it weighs.

    Attributes:
        path: where the part is.
        type: the name of its type.
        bytes: the size of its own pickle with all that it holds strongly, the referents of
            snapshots left aside. What several parts share counts for each of them.
        exact: False where `bytes` was not measured by pickling the part: then it is how much the
            part takes in the payload, with what is written elsewhere for it alone, as the
            callback of a weak reference may be.
    """

    path: str
    type: str
    bytes: int
    exact: bool = True


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """A policy under which a payload is smaller, or possible at all; it was tried.

    Attributes:
        line: what to write between the brackets of ``weakreduce.policy(...)``. It names classes
            as the module that called `explain` can; a dotted name that begins with a module
            (``pandas.DataFrame``) needs that module's import.
        bytes: the payload's size under it.
        saves: how many bytes that saves; None where nothing could be sent before.
    """

    line: str
    bytes: int
    saves: int | None


@final
class Picture(NamedTuple):
    """What a picture shows: holders, the strong paths to them, and weak edges."""

    #: number -> type name.
    nodes: dict[int, str]
    #: (holder, held) -> label.
    strong: dict[tuple[int, int], str]
    #: (holder, referent, label, fate).
    weak: list[tuple[int, int, str, str]]

    def beside(self, other: Picture) -> Picture:
        """Both pictures in one, as long as that is of a size to be looked at."""
        if len(self.weak) + len(other.weak) > DRAWN:
            return self
        past = max(self.nodes, default=-1) + 1 - min(other.nodes, default=0)
        return Picture(
            self.nodes | {node + past: name for node, name in other.nodes.items()},
            self.strong | {(a + past, b + past): text for (a, b), text in other.strong.items()},
            self.weak + [(a + past, b + past, text, fate) for a, b, text, fate in other.weak],
        )


def rank(finding: Finding) -> tuple[int, int]:
    """The sort key of a report's findings: snapshots first, the largest of them first."""
    return FATES.index(finding.fate), -1 - finding.bytes if finding.bytes is not None else 0


def heaviest(weights: Iterable[Weight]) -> tuple[Weight, ...]:
    """Weights of several dumps, the heaviest first.

    What several of them sent is there once; what is small beside the heaviest is left out.
    """
    found: dict[tuple[str, str], Weight] = {}
    ordered = sorted(weights, key=lambda weight: -weight.bytes)
    for weight in ordered:
        if weight.bytes * SMALL >= ordered[0].bytes:
            found.setdefault((weight.path, weight.type), weight)
    return tuple(found.values())


def chosen(groups: dict[str, list[Any]], keep: int) -> dict[str, list[Any]]:
    """At most `keep` items of all groups together: a share for each fate, then what is left."""
    taken = {fate: min(len(items), keep // len(FATES)) for fate, items in groups.items()}
    room = keep - sum(taken.values())
    for fate in FATES:
        more = min(room, len(groups.get(fate, ())) - taken.get(fate, 0))
        if more > 0:
            taken[fate] += more
            room -= more
    return {fate: items[: taken[fate]] for fate, items in groups.items()}


class Findings(Sequence[Finding]):
    """The findings of dumps, and their numbers; the attributes are told at `Report`."""

    def __init__(self, policy: str = "", host: str = "", *, keep: int = KEEP) -> None:
        self.policy = policy
        self.host = host
        self.keep = keep
        self.dumps = 0
        self.total_bytes: int | None = None
        self.snapshot_bytes: int | None = None
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.partial = False
        self.heaviest: tuple[Weight, ...] = ()
        self.advice: tuple[Advice, ...] = ()
        self.failures: list[Failure] = []
        self.errors: list[str] = []
        self.picture = Picture({}, {}, [])
        #: Sizes of the payloads in this one that were dumps of their own.
        self.packed: list[int] = []
        self._findings: list[Finding] = []

    # --- a sequence -------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    @overload
    def __getitem__(self, position: int) -> Finding: ...
    @overload
    def __getitem__(self, position: slice) -> list[Finding]: ...
    def __getitem__(self, position: int | slice) -> Finding | list[Finding]:
        return self._findings[position]

    def take(self, findings: Iterable[Finding]) -> None:
        """Put findings in, in the report's order, and let go of the least relevant."""
        groups: dict[str, list[Finding]] = {}
        for finding in sorted([*self._findings, *findings], key=rank):
            groups.setdefault(finding.fate, []).append(finding)
        kept = chosen(groups, self.keep)
        self._findings = [finding for fate in FATES for finding in kept.get(fate, ())]

    def add(self, other: Findings) -> None:
        """Add the report of one more dump."""
        hosts = [*filter(None, self.host.split(", ")), other.host]
        policies = [*filter(None, self.policy.split(" / ")), other.policy]
        self.host = ", ".join(dict.fromkeys(hosts))
        self.policy = " / ".join(dict.fromkeys(policies))
        number, self.dumps = self.dumps, self.dumps + other.dumps
        for name in ("total_bytes", "snapshot_bytes"):
            added = getattr(other, name)
            if added is not None:
                setattr(self, name, (getattr(self, name) or 0) + added)
        self.kinds.update(other.kinds)
        self.partial = self.partial or other.partial
        self.heaviest = heaviest([*self.heaviest, *other.heaviest])[: self.keep]
        self.failures = [*self.failures, *other.failures][: self.keep]
        self.errors = [*self.errors, *other.errors][: self.keep]
        self.take(dataclasses.replace(finding, dump=number) for finding in other)
        self.picture = self.picture.beside(other.picture)

    # --- numbers ----------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        """Number of edges of each fate that occurs, those included that are not kept."""
        found: Counter[str] = Counter()
        for (_, fate), number in self.kinds.items():
            found[fate] += number
        return {fate: found[fate] for fate in FATES if found[fate]}

    @property
    def edges(self) -> int:
        """Number of weak edges, those included that are not kept."""
        return sum(self.kinds.values())

    def size_text(self) -> str:
        """How many bytes are sent, in words; none where nothing is."""
        if self.total_bytes is None:
            return ""
        text = f"{self.total_bytes:,} bytes"
        if self.snapshot_bytes and not self.counts.keys().isdisjoint(COPIES):
            text += f", {self.snapshot_bytes:,} of them for snapshots"
        return text

    def summary(self) -> str:
        """The numbers in one line."""
        counts = ", ".join(f"{number:,} {fate}" for fate, number in self.counts.items())
        parts = [counts or "no weak edge"]
        if self.total_bytes is not None:
            parts.append(self.size_text())
        if self.errors:
            parts.append("not sent" if self.dumps <= 1 else f"{len(self.errors):,} not sent")
        if self.partial:
            parts.append("walked in part, so there may be more")
        return "; ".join(parts)

    # --- for other programs -----------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data: dicts, lists, strings and numbers."""
        return {
            "policy": self.policy,
            "host": self.host,
            "dumps": self.dumps,
            "total_bytes": self.total_bytes,
            "snapshot_bytes": self.snapshot_bytes,
            "partial": self.partial,
            "edges": self.edges,
            "counts": self.counts,
            "kinds": [
                {"kind": kind, "fate": fate, "edges": number}
                for (kind, fate), number in sorted(self.kinds.items())
            ],
            "heaviest": [dataclasses.asdict(weight) for weight in self.heaviest],
            "advice": [dataclasses.asdict(advice) for advice in self.advice],
            "findings": [dataclasses.asdict(finding) for finding in self._findings],
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
            "errors": list(self.errors),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)
