"""Notes how each test of a run ends, as it ends: a plugin of pytest, and a runner of unittests.

``pytest -p outcomes ...``, or ``python outcomes.py MODULE [TEST ...]``; the file that the variable
``OUTCOMES`` names gets a line of JSON for the start of each test and one for each thing that
becomes of it. So a run that hangs or crashes tells, too, what came before, and in which test.

Rule: this file runs in others' processes, so it imports the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from typing import Any


def note(name: str, outcome: str) -> None:
    """Add a line; by appending, as children of the run write here, too."""
    with open(os.environ["OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps([name, outcome]) + "\n")


# --- pytest -------------------------------------------------------------------------------


def pytest_runtest_logstart(nodeid: str, location: Any) -> None:
    note(nodeid, "started")


def pytest_runtest_logreport(report: Any) -> None:
    outcome = report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "failed as expected" if outcome == "skipped" else "passed unexpectedly"
    if report.when == "call":
        note(report.nodeid, outcome)
    elif outcome != "passed":
        note(report.nodeid, f"{outcome} in {report.when}")


def pytest_collectreport(report: Any) -> None:
    if report.outcome != "passed":
        note(report.nodeid or "(collection)", f"{report.outcome} in collection")


# --- unittest -----------------------------------------------------------------------------


class Result(unittest.TestResult):
    """Notes what becomes of each test, and tells of failures on stderr."""

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        note(test.id(), "started")

    def addSuccess(self, test: Any) -> None:
        note(test.id(), "passed")

    def addFailure(self, test: Any, err: Any) -> None:
        self._bad(test, err)

    def addError(self, test: Any, err: Any) -> None:
        self._bad(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        note(test.id(), "skipped")

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        note(test.id(), "failed as expected")

    def addUnexpectedSuccess(self, test: Any) -> None:
        note(test.id(), "passed unexpectedly")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._bad(test, err)

    def _bad(self, test: Any, err: Any) -> None:
        note(test.id(), "failed")
        print(test.id(), self._exc_info_to_string(err, test), file=sys.stderr, flush=True)


def main() -> int:
    names = sys.argv[1:]
    sys.argv[1:] = []
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    suite.run(Result())
    return 0


if __name__ == "__main__":
    # What is left running is the run's to end.
    sys.exit(main())
