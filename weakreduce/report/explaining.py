"""`explain`: a dump that is run for its report alone, and again without what cannot be pickled."""

from __future__ import annotations

import functools
import sys
import zlib
from typing import Any, Final, final

from weakreduce.core import blame, watchers, words
from weakreduce.core.watches import Culprit, Dump, Hook, Payload
from weakreduce.hosts import own
from weakreduce.model import naming
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.model.policies import Policy, PolicyName
from weakreduce.model.texts import class_name
from weakreduce.paths import search
from weakreduce.report import advise
from weakreduce.report.collecting import Collector
from weakreduce.report.findings import KEEP, Failure, Weight, checked
from weakreduce.report.measure import Scale
from weakreduce.report.progress import Progress
from weakreduce.report.reports import Report
from weakreduce.report.weights import heaviest

#: How often `explain` runs a dump again without what made it fail.
_AGAIN: Final = 10


@final
class _Counter:
    """A file that counts, and knows one payload from another."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = 0

    def write(self, data: bytes) -> int:
        """Count the bytes, and forget them."""
        self.size += len(data)
        self.digest = zlib.crc32(data, self.digest)
        return len(data)


@final
class _Explaining(Collector):
    """Watches a dump that is run for its report alone."""

    goes_on = True
    quiet = True

    def __init__(self, keep: int, left_out: dict[int, Any], progress: Progress) -> None:
        super().__init__()
        self.keep = keep
        self.left_out = left_out
        self.progress = progress
        self.culprit: Culprit | None = None
        #: Policies that may help.
        self.guesses: list[Policy] = []
        #: What `_leave_out` left out: the objects and why.
        self.alike: list[tuple[object, str]] = []

    def hooks(self, reduced: Hook | None) -> list[Hook]:
        """Move the bar with a walk; leave out what is alike to what has failed."""
        found: list[Hook] = []
        if self.progress.shown:
            found.append(self._tick)
        if self.left_out and reduced is not None:
            types = {type(obj) for obj in self.left_out.values()}
            found.append(functools.partial(self._leave_out, types, reduced))
        return found

    def _tick(self, _obj: object) -> Any:
        self.progress.tick()
        return NotImplemented

    def _leave_out(self, types: set[type], reduced: Hook, obj: object) -> Any:
        """Leave out, too, what is of a type that failed and whose reduction fails as well.

        In the strong graph of the root alone: what only snapshots hold is lost with them.
        """
        if type(obj) in types and id(obj) not in self.left_out:
            try:
                reduced(obj)
            except Exception as error:  # noqa: BLE001 - it is the answer
                self.left_out[id(obj)] = obj
                self.alike.append((obj, words.cause(error)))
        return NotImplemented

    def fail(self, dump: Dump, root: object, error: Exception, culprit: Culprit | None) -> None:
        """Make the report, and remember what was to blame."""
        super().fail(dump, root, error, culprit)
        self.culprit = culprit

    def _heaviest(self, dump: Dump, strong: Payload, root: object) -> tuple[Weight, ...]:
        """What weighs, each part pickled by itself as far as the budget goes."""
        refused = [*self.refusals, *self.seen.get("refuse", ())]
        unsent = {*self.left_out, *(id(edge.weak) for edge, _ in refused)}
        with Scale(dump) as scale:
            return tuple(heaviest(strong, root, dump.by_name, scale, unsent))

    def _end(self, dump: Dump, report: Report, root: object) -> None:
        self.guesses = advise.guesses(dump.policy, self.seen, self.refusals, self.sizes)
        super()._end(dump, report, root)
        listed = self.alike[: self.keep]
        ways = search.Search(root, [id(obj) for obj, _ in listed]) if listed else None
        for obj, cause in listed:
            assert ways is not None
            path = ways.path(obj) or "below root"
            text = blame.described(path, obj)
            report.failures.append(Failure(path, class_name(type(obj)), cause, text))


def explain(
    obj: object,
    policy: PolicyName | Policy | None = None,
    host: own.OwnHost = "cloudpickle",
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
    checked(keep, "explain(..., keep=)")
    own.check_host(host)
    in_force, names = get_policy(), naming.around(sys._getframe(1))
    with block(policy), Progress("explaining") as progress:
        report, guesses = _explained(obj, host, keep, progress)
        reported = get_policy()

    def payload_under(guess: Policy) -> tuple[int, int]:
        file = _Counter()
        with watchers.watching(False), block(guess):
            own.dump(obj, file, host=host)
        return file.size, file.digest

    def line_of(guess: Policy) -> str | None:
        return advise.line(guess, in_force, reported, names)

    with block(policy):
        report.advice = advise.tried(guesses, payload_under, report.total_bytes, line_of)
        if report.errors and not report.advice:
            # A rule that is in no line, as it has no name, may be what refuses.
            guesses = advise.without_rules(reported, guesses)
            report.advice = advise.tried(guesses, payload_under, None, line_of)
    return report


def _explained(
    obj: object, host: own.OwnHost, keep: int, progress: Progress
) -> tuple[Report, list[Policy]]:
    """The report of a dump, and the policies that may help."""
    left_out: dict[int, Any] = {}
    failures: list[Failure] = []
    errors: list[str] = []
    again = 0
    while True:
        watch = _Explaining(keep, left_out, progress)
        try:
            own.dump(obj, watchers.Watched(watch), host=host)
        except Exception:
            if watch.report is None:
                raise
        report, culprit = watch.report, watch.culprit
        assert report is not None
        failures += report.failures
        errors += report.errors
        if culprit is None or culprit.fatal or id(culprit.obj) in left_out or again == _AGAIN:
            break
        again += 1
        left_out[id(culprit.obj)] = culprit.obj
    report.failures = list(dict.fromkeys(failures))[: max(keep, _AGAIN)]
    # What a dump raises is the first.
    report.errors = errors[:1]
    if report.errors:
        report.total_bytes = report.snapshot_bytes = None
    return report, watch.guesses
