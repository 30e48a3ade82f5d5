"""What a dump does to weak edges, collected while it runs: for `explain`, `record` and the log.

Rule: nothing here decides. A watch gets each edge with the decision that the dump itself
acted on, and makes a `Report` of them when the dump ends.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, cast

from weakreduce.core import words
from weakreduce.core.watches import Culprit, Dump, Hook, Payload
from weakreduce.model.bound import PACKED
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.errors import WeakreduceError
from weakreduce.model.kinds import Edge, kind_of
from weakreduce.model.texts import class_name, printable
from weakreduce.paths import search
from weakreduce.report.drawing import Drawing
from weakreduce.report.findings import (
    COPIES,
    DRAWN,
    FATES,
    KEEP,
    Failure,
    FateName,
    Finding,
    Weight,
    chosen,
)
from weakreduce.report.measure import MOST, Scale
from weakreduce.report.progress import Progress
from weakreduce.report.reports import Report
from weakreduce.report.weights import heaviest

#: Kinds whose instances are often one for many: those without a callback are handed out again.
_ONE_FOR_ALL: Final = frozenset({weakref.ref, weakref.ProxyType, weakref.CallableProxyType})

Seen = tuple[Edge, Decision]


def _fate(decision: Decision) -> FateName:
    """A severed edge dangles; that a rule said so is in its reason."""
    fate = Fate.DANGLE if decision.fate is Fate.SEVER else decision.fate
    return cast(FateName, fate.value)


def _packed(payload: Payload) -> list[int]:
    """The sizes of the payloads in a payload that were dumps of their own."""
    objects = [obj for entry, obj in payload.memo.values() if entry >= payload.entries_before]
    packed = {id(obj.data): len(obj.data) for obj in objects if type(obj) in PACKED}
    return list(packed.values())


class Collector:
    """Collects the edges of one dump; when it ends, `report` is there."""

    goes_on = False
    quiet = False
    keep = KEEP
    measures = True

    def __init__(self) -> None:
        self.report: Report | None = None
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.seen: dict[str, list[Seen]] = {}
        self.refusals: list[Seen] = []
        #: Id -> bytes of the own pickle of referents of snapshots.
        self.sizes: dict[int, int] = {}
        self.progress = Progress(None)
        self.left_out: dict[int, Any] = {}

    # --- while the dump runs ------------------------------------------------------------

    def begin(self) -> None:
        """Forget what was not final."""
        self.kinds.clear()
        self.seen.clear()

    def hooks(self, reduced: Hook | None) -> list[Hook]:
        """Nothing is asked before a walk."""
        return []

    def see(self, edge: Edge, decision: Decision) -> None:
        """Count an edge, and keep it while there is room."""
        kind, fate = kind_of(type(edge.weak)), _fate(decision)
        self.kinds["" if kind is None else kind.name, fate] += 1
        kept = self.seen.setdefault(fate, [])
        if len(kept) < (MOST if fate in COPIES else self.keep):
            kept.append((edge, decision))

    def refused(self, edge: Edge, decision: Decision) -> None:
        """Remember the first refusal: that is what a dump would raise."""
        if not self.refusals:
            self.refusals.append((edge, decision))

    # --- when it has ended --------------------------------------------------------------

    def finish(self, dump: Dump, root: object, dropped: Iterable[tuple[object, str]]) -> None:
        """Make the report of a dump that came to its end."""
        report = self._report(dump)
        report.total_bytes = dump.size()
        lost = {id(callback): reason for callback, reason in dropped}
        strong = self._measure(dump, report, root, lost)
        if strong is not None:
            report.heaviest = self._heaviest(dump, strong, root)
            report.packed = _packed(strong)
        if self.refusals:
            report.errors.append(self._refusal(dump, root))
            report.total_bytes = report.snapshot_bytes = None
        self._fill(dump, report, root, lost)
        self._end(dump, report, root)

    def _measure(
        self, dump: Dump, report: Report, root: object, lost: dict[int, str]
    ) -> Payload | None:
        """Find out what snapshots take; gives the payload without them, if that can be told.

        What their weak things hold strongly is in it: callbacks, but for those that are `lost`,
        and the values of a WeakKeyDictionary.
        """
        report.snapshot_bytes = 0
        snapshots = [edge for fate in COPIES for edge, _ in self.seen.get(fate, ())]
        if not self.measures:
            report.snapshot_bytes = None if snapshots else 0
            return None
        if not snapshots:
            return dump.payload()
        with Scale(dump) as scale:
            without = scale.weigh(root, with_snapshots=False)
            strong = None if without is None else dump.payload()
            held = [edge.value for edge in snapshots]
            if dump.policy.callbacks == "keep":
                held += [edge.callback for edge in snapshots if id(edge.callback) not in lost]
            beside = {id(each): each for each in held if each is not None}
            if beside and scale.weigh([root, *beside.values()], with_snapshots=False) is not None:
                strong = dump.payload()
            referents = {id(edge.referent): edge.referent for edge in snapshots}
            self.sizes = scale.sizes(list(referents.values()), self.progress.tick)
        # A dead reference in the place of a small snapshot may even take more.
        whole = report.total_bytes or 0
        report.snapshot_bytes = None if without is None else max(0, whole - without)
        return strong

    def _heaviest(self, dump: Dump, strong: Payload, root: object) -> tuple[Weight, ...]:
        """What weighs, as far as it shows in the payload: the dump is somebody else's."""
        return tuple(heaviest(strong, root, dump.by_name))

    def fail(self, dump: Dump, root: object, error: Exception, culprit: Culprit | None) -> None:
        """Make the report of a dump that raises."""
        report = self._report(dump)
        report.partial = self.goes_on
        if self.refusals:
            # It came before this error, and so a dump raises it.
            report.errors.append(self._refusal(dump, root))
        # Ours say it all; of others the type says as much as the text.
        ours = isinstance(error, WeakreduceError)
        report.errors.append(str(error) if ours else words.cause(error))
        if culprit is not None:
            name = class_name(type(culprit.obj))
            report.failures.append(Failure(culprit.path, name, words.cause(error), culprit.text))
        self._fill(dump, report, root, {})
        self._end(dump, report, root)

    def _refusal(self, dump: Dump, root: object) -> str:
        edge, decision = self.refusals[0]
        return str(words.refusal(dump.policy, root, edge, decision))

    def _report(self, dump: Dump) -> Report:
        report = Report(dump.policy.name, dump.host, keep=self.keep)
        report.dumps = 1
        report.kinds.update(self.kinds)
        return report

    def _end(self, dump: Dump, report: Report, root: object) -> None:
        self.report = report
        self.seen = {}
        self.refusals = []

    # --- findings -----------------------------------------------------------------------

    def _fill(self, dump: Dump, report: Report, root: object, dropped: dict[int, str]) -> None:
        """Turn the edges that are kept into findings, with one search for all their paths."""

        def rank(seen: Seen) -> int:
            return -self.sizes.get(id(seen[0].referent), -1)

        kept = chosen({fate: sorted(seen, key=rank) for fate, seen in self.seen.items()}, self.keep)
        edges = [seen for fate in FATES for seen in kept.get(fate, ())]
        if not edges:
            return
        drawn = edges[:DRAWN]
        wanted = {id(edge.weak) for edge, _ in edges}
        wanted.update(id(edge.referent) for edge, _ in drawn if edge.referent is not None)
        ways = search.Search(root, wanted, dump.by_name)
        held = self._held(dump, root, edges)
        report.take(
            self._finding(ways, edge, decision, dropped, held.get(id(edge.weak)) or 1)
            for edge, decision in edges
        )
        drawing = Drawing(ways)
        for edge, decision in drawn:
            drawing.add(edge, _fate(decision))
        report.picture = drawing.picture

    def _held(self, dump: Dump, root: object, edges: list[Seen]) -> dict[int, int]:
        """How many places hold each reference: `weakref.ref` gives all who ask the same one."""
        if not self.measures:
            return {}
        wanted = [id(edge.weak) for edge, _ in edges if type(edge.weak) in _ONE_FOR_ALL]
        if not wanted:
            return {}
        along = [id(edge.referent) for edge, decision in edges if _fate(decision) in COPIES]
        return search.held_times(root, wanted, along, dump.by_name)

    def _finding(
        self,
        ways: search.Search,
        edge: Edge,
        decision: Decision,
        dropped: dict[int, str],
        held: int,
    ) -> Finding:
        kind, fate, reason = kind_of(type(edge.weak)), _fate(decision), decision.reason
        lost_callback = dropped.get(id(edge.callback)) if edge.callback is not None else None
        if lost_callback is not None and fate != "dead":
            reason += f"; its callback is dropped because it cannot be pickled ({lost_callback})"
        return Finding(
            words.where(ways.path(edge.weak), edge),
            "" if kind is None else kind.name,
            None if edge.referent is None else class_name(type(edge.referent)),
            fate,
            printable(reason),
            self.sizes.get(id(edge.referent)) if fate in COPIES else None,
            held=held,
        )
