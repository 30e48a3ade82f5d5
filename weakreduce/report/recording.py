"""Records and logs: the reports of dumps that somebody else runs, for `record` and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, final

from weakreduce.core import watchers, words
from weakreduce.core.watches import Culprit, Dump
from weakreduce.model.locks import new_lock
from weakreduce.model.texts import class_name, printable
from weakreduce.report.collecting import Collector
from weakreduce.report.findings import KEEP, checked
from weakreduce.report.reports import Report

#: How many findings a log shows of one dump.
_LOGGED: Final = 100


@final
class Recording(Collector):
    """Watches a dump that somebody else runs, for whoever records or logs."""

    def __init__(self) -> None:
        super().__init__()
        self.parent: object = watchers.around.get()
        #: For each walk of this dump, the reports of the dumps that ran inside it.
        self.inner: list[list[Report]] = []
        self.measures = bool(watchers.receivers)
        self.keep = KEEP if watchers.receivers else _LOGGED

    def begin(self) -> None:
        """Forget what was not final; dumps that ran inside an earlier walk are kept apart."""
        super().begin()
        self.inner.append([])

    def finish(self, dump: Dump, root: object, dropped: Iterable[tuple[object, str]]) -> None:
        """Make the report; the dump is somebody else's, and goes on whatever happens here."""
        try:
            super().finish(dump, root, dropped)
        except Exception as error:  # noqa: BLE001 - said in the report
            self._give_up(dump, root, error)

    def fail(self, dump: Dump, root: object, error: Exception, culprit: Culprit | None) -> None:
        """The same, for a dump that raises."""
        try:
            super().fail(dump, root, error, culprit)
        except Exception as other:  # noqa: BLE001 - said in the report
            self._give_up(dump, root, other)

    def _give_up(self, dump: Dump, root: object, error: Exception) -> None:
        report = self._report(dump)
        report.errors.append(f"this dump could not be reported: {words.cause(error)}")
        self._end(dump, report, root)

    def _end(self, dump: Dump, report: Report, root: object) -> None:
        super()._end(dump, report, root)
        reports = [*self._inner_reports(), report]
        if isinstance(self.parent, Recording):
            self.parent.inner[-1] += reports
        elif self.parent is None:
            for each in reports:
                for receive in list(watchers.receivers):
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


def _log(report: Report, root: object) -> None:
    logger = watchers.logger()
    if logger is None or not (report.edges or report.errors):
        return
    host, summary = printable(report.host), printable(report.summary())
    logger.debug("dump of %s with %s: %s", class_name(type(root)), host, summary)
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


def record(*, keep: int = KEEP) -> AbstractContextManager[Report]:
    """A block that collects the findings of every dump in it, in all threads.

    ``with weakreduce.record() as report:``; the report fills while dumps end. Dumps inside
    dumps (by a ``__reduce__`` that pickles something itself) count as dumps of their own.

    Args:
        keep: how many findings the report keeps at most; it counts the others.

    Raises:
        ValueError: for a negative `keep`.
    """
    return _recording(checked(keep, "record(keep=)"))


@contextmanager
def _recording(keep: int) -> Iterator[Report]:
    report = Report(keep=keep)
    lock = new_lock()
    #: Sizes of the payloads whose bytes are in the report.
    counted: Counter[int] = Counter()

    def take_back(size: int) -> None:
        if counted[size] and report.total_bytes is not None:
            counted[size] -= 1
            report.total_bytes -= size

    def receive(one: Report | int) -> None:
        with lock:
            if isinstance(one, int):
                take_back(one)
                return
            report.add(one)
            # What an engine packed when it was given it is in the dump of its own message, too.
            for size in one.packed:
                take_back(size)
            if one.total_bytes is not None:
                counted[one.total_bytes] += 1

    try:
        watchers.add_receiver(receive)
        yield report
    finally:
        try:
            watchers.remove_receiver(receive)
        finally:
            watchers.remove_receiver(receive)  # an interrupt may have struck before that was done
