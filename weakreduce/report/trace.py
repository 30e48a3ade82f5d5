"""Trace: what dumps do to weak edges, collected while they run: `explain`, `record`, and the log.

Rule: nothing here decides. A watch gets each edge with the decision that the dump itself
acted on, and makes a `Report` of them when the dump ends.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from weakreduce import api, hosts
from weakreduce.core import blame, observe, words
from weakreduce.core.first_walk import FirstWalk
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.errors import WeakreduceError
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.model.kinds import CONTAINERS, Edge, kind_of
from weakreduce.model.locks import new_lock
from weakreduce.model.policies import Policy, PolicyName
from weakreduce.model.texts import class_name, printable
from weakreduce.paths import search
from weakreduce.paths.parts import HOLDER
from weakreduce.report import advise, weights
from weakreduce.report.findings import (
    COPIES,
    DRAWN,
    FATES,
    Failure,
    FateName,
    Finding,
    Picture,
    Report,
    Weight,
    chosen,
)
from weakreduce.report.measure import MOST, Scale
from weakreduce.report.progress import Progress

#: How many findings a report keeps, unless it is told otherwise.
KEEP: Final = 1000
#: How many findings a log shows of one dump.
_LOGGED: Final = 100
#: How often `explain` runs a dump again without what made it fail.
_AGAIN: Final = 10
#: Holders that a picture leaves out: the way through them is on the arrow.
_PLAIN = frozenset({list, tuple, dict, set, frozenset})
#: Steps to an object that a picture shows at most, the last ones.
_WAY: Final = 12

#: Kinds whose instances are often one for many: those without a callback are handed out again.
_ONE_FOR_ALL: Final = frozenset({weakref.ref, weakref.ProxyType, weakref.CallableProxyType})

_Seen = tuple[Edge, Decision]


def _fate(decision: Decision) -> FateName:
    """A severed edge dangles; that a rule said so is in its reason."""
    fate = Fate.DANGLE if decision.fate is Fate.SEVER else decision.fate
    return cast(FateName, fate.value)


def _host(engine: Any) -> str:
    for host in hosts.HOSTS.values():
        if any(part.module == engine.host_module for part in host.parts):
            return host.name
    return "pickle"


class _Watch:
    """Collects the edges of one dump; when it ends, `report` is there."""

    goes_on = False
    quiet = False
    keep = KEEP
    measures = True

    def __init__(self) -> None:
        self.report: Report | None = None
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.seen: dict[str, list[_Seen]] = {}
        self.refusals: list[_Seen] = []
        self.progress = Progress(None)
        self.left_out: dict[int, Any] = {}

    def begin(self) -> None:
        """Forget what was not final."""
        self.kinds.clear()
        self.seen.clear()

    def prepare(self, walk: Any) -> None:
        """Listen to a walk."""
        walk.watched_by(self)

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

    def finish(self, session: Any, root: Any, lost: Any, dropped: Any) -> None:
        """Make the report of a dump that came to its end."""
        report = self._report(session)
        report.total_bytes = session.place.size()
        report.snapshot_bytes = 0
        sizes: dict[int, int] = {}
        strong = weights.payload_of(session) if self.measures else None
        snapshots = [seen for fate in COPIES for seen in self.seen.get(fate, ())]
        if snapshots and self.measures:
            scale = Scale(session)
            try:
                without = scale.weigh(root, snapshots=False)
                strong = None if without is None else weights.payload_of(session)
                edges = {id(edge.referent): edge.referent for edge, _ in snapshots}
                sizes = scale.sizes(list(edges.values()), self.progress.tick)
            finally:
                scale.put_back()
            if without is None:
                report.snapshot_bytes = None
            else:
                # A dead reference in the place of a small snapshot may even take more.
                report.snapshot_bytes = max(0, report.total_bytes - without)
        elif snapshots:
            report.snapshot_bytes = None
        if strong is not None:
            report.heaviest = self._heaviest(session, strong, root)
        if self.refusals:
            report.errors.append(self._refusal(session, root))
            report.total_bytes = report.snapshot_bytes = None
        dropped_callbacks = {id(callback): reason for callback, reason in dropped}
        self._fill(session, report, root, sizes, dropped_callbacks)
        self._end(report, root)

    def _heaviest(self, session: Any, strong: weights.Payload, root: Any) -> tuple[Weight, ...]:
        """What weighs, as far as it shows in the payload: the dump is somebody else's."""
        return tuple(weights.heaviest(strong, root, None))

    def fail(self, session: Any, root: Any, error: Exception, culprit: Any) -> None:
        """Make the report of a dump that raises."""
        report = self._report(session)
        report.partial = self.goes_on
        if self.refusals:
            # It came before this error, and so a dump raises it.
            report.errors.append(self._refusal(session, root))
        # Ours say it all; of others the type says as much as the text.
        ours = isinstance(error, WeakreduceError)
        report.errors.append(str(error) if ours else words.cause(error))
        if culprit is not None:
            name = class_name(type(culprit.obj))
            report.failures.append(Failure(culprit.path, name, words.cause(error), culprit.text))
        self._fill(session, report, root, {}, {})
        self._end(report, root)

    def _refusal(self, session: Any, root: Any) -> str:
        edge, decision = self.refusals[0]
        return str(words.refusal(session.policy, root, edge, decision))

    def _report(self, session: Any) -> Report:
        report = Report(session.policy.name, _host(session.engine), keep=self.keep)
        report.dumps = 1
        report.kinds.update(self.kinds)
        return report

    def _end(self, report: Report, root: Any) -> None:
        self.report = report
        self.seen = {}
        self.refusals = []

    def _fill(
        self,
        session: Any,
        report: Report,
        root: Any,
        sizes: dict[int, int],
        dropped: dict[int, str],
    ) -> None:
        """Turn the edges that are kept into findings, with one search for all their paths."""
        for edges in self.seen.values():
            edges.sort(key=lambda seen: -sizes.get(id(seen[0].referent), -1))
        kept = chosen(self.seen, self.keep)
        edges = [seen for fate in FATES for seen in kept.get(fate, ())]
        drawn = edges[:DRAWN]
        wanted = {id(edge.weak) for edge, _ in edges}
        wanted.update(id(edge.referent) for edge, _ in drawn if edge.referent is not None)
        if not edges:
            return
        ways = search.Search(root, wanted, session.engine.by_name)
        held = self._held(session, root, edges)
        report.take(
            _finding(ways, edge, decision, sizes, dropped, held) for edge, decision in edges
        )
        drawing = _Drawing(ways)
        for edge, decision in drawn:
            drawing.add(edge, decision)
        report.picture = drawing.picture

    def _held(self, session: Any, root: Any, edges: list[_Seen]) -> dict[int, int]:
        """How many places hold each reference: `weakref.ref` gives all who ask the same one."""
        if not self.measures:
            return {}
        wanted = [id(edge.weak) for edge, _ in edges if type(edge.weak) in _ONE_FOR_ALL]
        if not wanted:
            return {}
        along = [id(edge.referent) for edge, decision in edges if _fate(decision) in COPIES]
        return search.held_times(root, wanted, along, session.engine.by_name)


def _finding(
    ways: search.Search,
    edge: Edge,
    decision: Decision,
    sizes: dict[int, int],
    dropped: dict[int, str],
    held: dict[int, int],
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
        sizes.get(id(edge.referent)) if fate in COPIES else None,
        held=held.get(id(edge.weak)) or 1,
    )


def _label(steps: list[str]) -> str:
    """Steps as they stand on an arrow."""
    return "".join(
        step[1:] if step.startswith(HOLDER) else step.replace(HOLDER, "…", 1) for step in steps
    )


class _Drawing:
    """Makes a `Picture`: nodes are objects of classes, builtin containers are on the arrows."""

    def __init__(self, search: search.Search) -> None:
        self.search = search
        self.picture = Picture({0: _name(search.objects[0])}, {}, [])
        self._unplaced = 0

    def add(self, edge: Edge, decision: Decision) -> None:
        """Draw a weak edge, and the way to its ends."""
        kind = kind_of(type(edge.weak))
        place = self.search.places.get(id(edge.weak))
        label = "" if kind is None else kind.name
        if place is None or self._is_node(place):
            holder = self._node(edge.weak)
            if kind is not None and kind.name == "WeakValueDictionary":
                label = search.edge_path(kind.name, "", edge)
            elif place != 0:
                label = ""
        else:
            holder, steps = self._lead(place)
            label = f"{_label(steps)} {label}".strip()
        arrow = (holder, self._node(edge.referent), label, _fate(decision))
        self.picture.weak.append(arrow)

    def _is_node(self, place: int) -> bool:
        if place == 0:
            return True
        obj_type = type(self.search.objects[place])
        kind = kind_of(obj_type)
        return obj_type not in _PLAIN and (kind is None or kind.base in CONTAINERS)

    def _lead(self, place: int) -> tuple[int, list[str]]:
        """Draw the way to a place; gives the last node before it, and the steps from there."""
        trail = self.search.trail(place)
        holder, steps = 0, []
        if len(trail) > _WAY:
            trail, steps = trail[-_WAY:], ["…"]
        for on_it, step in trail:
            if on_it == 0:
                continue
            steps.append(step)
            if on_it == place:
                break
            if on_it in self.search.weakly:
                # The arrow there is that of a weak edge.
                holder, steps = on_it, []
            elif self._is_node(on_it):
                self.picture.strong[holder, on_it] = _label(steps)
                holder, steps = on_it, []
            if holder == on_it:
                self.picture.nodes[on_it] = _name(self.search.objects[on_it])
        return holder, steps

    def _node(self, obj: Any) -> int:
        place = None if obj is None else self.search.places.get(id(obj))
        if place is None:
            self._unplaced -= 1
            self.picture.nodes[self._unplaced] = "dead" if obj is None else _name(obj)
            return self._unplaced
        if place != 0:
            holder, steps = self._lead(place)
            if place not in self.search.weakly:
                self.picture.strong[holder, place] = _label(steps)
        self.picture.nodes[place] = _name(obj)
        return place


def _name(obj: Any) -> str:
    return class_name(type(obj))


class Recording(_Watch):
    """Watches a dump that somebody else runs, for whoever records or logs."""

    def __init__(self) -> None:
        super().__init__()
        self.parent: Any = observe.around.get()
        #: For each walk of this dump, the reports of the dumps that ran inside it.
        self.inner: list[list[Report]] = []
        self.measures = bool(observe.receivers)
        self.keep = KEEP if observe.receivers else _LOGGED

    def begin(self) -> None:
        """Forget what was not final; dumps that ran inside an earlier walk are kept apart."""
        super().begin()
        self.inner.append([])

    def finish(self, session: Any, root: Any, lost: Any, dropped: Any) -> None:
        """Make the report; the dump is somebody else's, and goes on whatever happens here."""
        try:
            super().finish(session, root, lost, dropped)
        except Exception as error:  # noqa: BLE001 - said in the report
            self._end(self._failed_report(session, error), root)

    def fail(self, session: Any, root: Any, error: Exception, culprit: Any) -> None:
        """The same, for a dump that raises."""
        try:
            super().fail(session, root, error, culprit)
        except Exception as other:  # noqa: BLE001 - said in the report
            self._end(self._failed_report(session, other), root)

    def _failed_report(self, session: Any, error: Exception) -> Report:
        report = self._report(session)
        report.errors.append(f"this dump could not be reported: {words.cause(error)}")
        return report

    def _end(self, report: Report, root: Any) -> None:
        super()._end(report, root)
        reports = [*self._inner_reports(), report]
        if isinstance(self.parent, Recording):
            self.parent.inner[-1] += reports
        elif self.parent is None:
            for each in reports:
                for receive in list(observe.receivers):
                    receive(each)
        _log(report, root)

    def _inner_reports(self) -> list[Report]:
        """What ran inside: once each, although a walk that was run again ran it again, too."""
        found: dict[str, list[Report]] = {}
        for walk in self.inner:
            groups: dict[str, list[Report]] = {}
            for report in walk:
                groups.setdefault(report.to_json(), []).append(report)
            for text, group in groups.items():
                if len(group) > len(found.get(text, ())):
                    found[text] = group
        return [report for group in found.values() for report in group]


def _log(report: Report, root: Any) -> None:
    logger = observe.logger()
    if logger is None or not (report.edges or report.errors):
        return
    host, summary = printable(report.host), printable(report.summary())
    logger.debug("dump of %s with %s: %s", _name(root), host, summary)
    for finding in report:
        if finding.fate != "link":
            logger.debug(
                "%s: %s -> %s: %s (%s)",
                printable(finding.path),
                printable(finding.kind),
                finding.referent,
                finding.fate,
                printable(finding.reason),
            )


class _Explaining(_Watch):
    """Watches a dump that is run for its report alone."""

    goes_on = True
    quiet = True

    def __init__(self, keep: int, left_out: dict[int, Any], progress: Progress) -> None:
        super().__init__()
        self.keep = keep
        self.left_out = left_out
        self.progress = progress
        self.culprit: Any = None
        #: Policies that may help.
        self.guesses: list[Policy] = []
        #: What `_leave_out` left out: the objects and why.
        self.alike: list[tuple[Any, str]] = []

    def prepare(self, walk: Any) -> None:
        """Listen to a walk, and move the bar with it."""
        super().prepare(walk)
        if self.progress.shown:
            ask, tick = walk.override, self.progress.tick

            def override(obj: Any) -> Any:
                tick()
                return ask(obj)

            walk.override = override
        if self.left_out and isinstance(walk, FirstWalk):
            self._leave_out(walk, {type(obj) for obj in self.left_out.values()})

    def _leave_out(self, walk: FirstWalk, types: set[type]) -> None:
        """Leave out, too, what is of a type that failed and whose reduction fails as well.

        In the strong graph of the root alone: what only snapshots hold is lost with them.
        """
        ask, left_out = walk.override, self.left_out

        def override(obj: Any) -> Any:
            if type(obj) in types and id(obj) not in left_out and walk.override is outermost:
                try:
                    walk.known.reduced(obj)
                except Exception as error:  # noqa: BLE001 - it is the answer
                    left_out[id(obj)] = obj
                    self.alike.append((obj, words.cause(error)))
            return ask(obj)

        outermost = walk.override = override

    def _fill(
        self,
        session: Any,
        report: Report,
        root: Any,
        sizes: dict[int, int],
        dropped: dict[int, str],
    ) -> None:
        self.guesses = advise.guesses(session.policy, self.seen, self.refusals, sizes)
        super()._fill(session, report, root, sizes, dropped)

    def _end(self, report: Report, root: Any) -> None:
        super()._end(report, root)
        listed = self.alike[: self.keep]
        ways = search.Search(root, [id(obj) for obj, _ in listed]) if listed else None
        for obj, cause in listed:
            assert ways is not None
            path = ways.path(obj) or "below root"
            failure = Failure(path, _name(obj), cause, blame.described(path, obj))
            report.failures.append(failure)

    def _heaviest(self, session: Any, strong: weights.Payload, root: Any) -> tuple[Weight, ...]:
        """What weighs, each part pickled by itself as far as the budget goes."""
        scale = Scale(session)
        try:
            return tuple(weights.heaviest(strong, root, scale))
        finally:
            scale.put_back()

    def fail(self, session: Any, root: Any, error: Exception, culprit: Any) -> None:
        """Make the report, and remember what was to blame."""
        super().fail(session, root, error, culprit)
        self.culprit = culprit


def _check_keep(where: str, keep: Any) -> None:
    if type(keep) is not int or keep < 0:
        raise ValueError(f"{where} takes a number of findings, not {keep!r}")


def explain(
    obj: Any,
    policy: PolicyName | Policy | None = None,
    host: api.OwnHost = "cloudpickle",
    *,
    keep: int = KEEP,
) -> Report:
    """What `dumps` would do with each weak edge, and what that costs, without sending anything.

    The dump is run, with the policy and the host given, and its payload thrown away. Where
    something cannot be pickled, the report says where that is and goes on without it.

    Args:
        obj: the root.
        policy: a name or a `Policy`; None for the one in force.
        host: ``"cloudpickle"``, ``"dill"`` or ``"pickle"``.
        keep: how many findings the report keeps at most; it counts the others.

    Raises:
        ValueError: for an unknown policy or host, or a negative `keep`.
    """
    _check_keep("explain(..., keep=)", keep)
    api.check_host(host)
    left_out: dict[int, Any] = {}
    failures: list[Failure] = []
    errors: list[str] = []
    again, around = 0, get_policy()
    with block(policy), Progress("explaining") as progress:
        while True:
            watch = _Explaining(keep, left_out, progress)
            try:
                api.dump(obj, observe.Watched(watch), host=host)
            except Exception:
                if watch.report is None:
                    raise
            report = watch.report
            assert report is not None
            failures += report.failures
            errors += report.errors
            culprit = watch.culprit
            if culprit is None or culprit.fatal or id(culprit.obj) in left_out:
                break
            if again == _AGAIN:
                break
            again += 1
            left_out[id(culprit.obj)] = culprit.obj
    report.failures = list(dict.fromkeys(failures))[: max(keep, _AGAIN)]
    # What a dump raises is the first.
    report.errors = errors[:1]
    if report.errors:
        report.total_bytes = report.snapshot_bytes = None
    with block(policy):
        report.advice = advise.tried(
            obj, host, watch.guesses, report.total_bytes, (around, get_policy())
        )
    return report


@contextmanager
def record(*, keep: int = KEEP) -> Iterator[Report]:
    """A block that collects the findings of every dump in it, in all threads.

    ``with weakreduce.record() as report:``; the report fills while dumps end. Dumps inside
    dumps (by a ``__reduce__`` that pickles something itself) count as dumps of their own.

    Args:
        keep: how many findings the report keeps at most; it counts the others.

    Raises:
        ValueError: for a negative `keep`.
    """
    _check_keep("record(keep=)", keep)
    report = Report(keep=keep)
    lock = new_lock()

    def receive(one: Report) -> None:
        with lock:
            report.add(one)

    observe.add_receiver(receive)
    try:
        yield report
    finally:
        observe.remove_receiver(receive)
