"""`Report`: findings with their looks, as text, as data for other programs, as pictures and a page.

Rule: each look has a file of its own (`table`, `pictures`, `page`), which takes `Findings`.
"""

from __future__ import annotations

from typing import final

from weakreduce.report import page, pictures, table
from weakreduce.report.findings import Findings
from weakreduce.report.table import ROWS


@final
class Report(Findings):
    """What dumps do to weak edges: a sequence of `Finding`, snapshots first, the largest first.

    It holds the most relevant findings and counts all of them.

    Attributes:
        policy: the policy's name.
        host: the host's name; of a `record`, the hosts' names.
        keep: how many findings are kept at most.
        dumps: how many dumps are in it.
        total_bytes: size of the payload in bytes (of a `record`, of all of them together, those
            that an engine packed before it packed its message counting once); None where nothing
            would be sent.
        snapshot_bytes: how many of those are there because of snapshots. What several of them
            share counts once. None where `total_bytes` is, or where it was not measured.
        kinds: ``(kind, fate)`` -> number of edges.
        partial: whether `explain` had to stop at something that cannot be pickled, so that what
            comes after it is not in the numbers. (Any dump that is recorded stops at its error.)
        heaviest: the strong parts of the payload that weigh most, the heaviest first, each opened
            as long as one of its own parts takes most of it.
        advice: policies under which the payload is smaller, or possible at all, the best first;
            each was tried. Of a `record` there is none.
        failures: the objects that cannot be pickled.
        errors: the errors that dumps raise, in one line each.
    """

    def __repr__(self) -> str:
        return f"<weakreduce.Report: {self.summary()}>"

    def __str__(self) -> str:
        return table.text(self, None, ROWS)

    def table(self, width: int | None = None, rows: int = ROWS) -> str:
        """The report as text.

        Args:
            width: columns; None for those of the terminal, or 80 where there is none.
            rows: how many findings at most.
        """
        return table.text(self, width, rows)

    def to_dot(self, limit: int = 60) -> str:
        """A picture in Graphviz's language: holders, strong paths, and weak edges by fate.

        Args:
            limit: how many weak edges it shows at most.
        """
        return pictures.dot(self, limit)

    def to_mermaid(self, limit: int = 60) -> str:
        """The same picture for Mermaid, which many documentation tools draw."""
        return pictures.mermaid(self, limit)

    def to_html(self) -> str:
        """A page that needs nothing else: no script, no style and no picture from elsewhere."""
        return page.page(self)

    def _repr_html_(self) -> str:
        return page.fragment(self)
