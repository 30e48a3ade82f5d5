"""A report as text: a table, or a few lines for each row where a table has no room.

Rule: rows that differ look different, whatever has to be left out of them, and what is not shown
says how it can be.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from weakreduce.model.texts import (
    columns,
    padded,
    paragraph,
    printable,
    shortened,
    sized,
    told_apart,
)
from weakreduce.report.findings import Advice, Finding, Findings, Weight

#: Rows of a table, unless it is told otherwise.
ROWS: Final = 50
#: Characters of an error in the table.
_LONGEST: Final = 2000
#: Columns of the narrowest text, and of the narrowest that is a table.
_NARROWEST: Final = 20
_TABLE: Final = 64
#: Bytes of a part that is worth a line.
_HEAVY: Final = 1000
#: Lines of a path where there is no table.
_LINES: Final = 6


def text(report: Findings, width: int | None, rows: int) -> str:
    """The report in lines of at most `width` columns; None for those of the terminal."""
    width = max(_NARROWEST, _terminal() if width is None else width)
    under = f' under policy "{report.policy}"' if report.policy else ""
    many = f" in {report.dumps:,} dumps" if report.dumps != 1 else ""
    head = f"{report.edges:,} weak edge{'' if report.edges == 1 else 's'}{many}{under}"
    if report.host:
        head += f", with {report.host}"
    lines = [*paragraph("", head, width), *paragraph("", report.summary(), width)]
    shown = alike(report)[: max(rows, 0)]
    reasons = dict.fromkeys(finding.reason for finding, _ in shown)
    numbers = {reason: number for number, reason in enumerate(reasons, 1)}
    if shown:
        made = _rows if width >= _TABLE else _blocks
        lines += ["", *made(shown, numbers, width), ""]
        for reason, number in numbers.items():
            lines += paragraph(f"[{number}] ", shortened(reason, _LONGEST), width)
    for line in _more(report, sum(number for _, number in shown)):
        lines += paragraph("", line, width)
    if is_worth_weighing(report):
        lines += ["", "what weighs:", *_weights(report, width)]
    if report.advice:
        lines += ["", *paragraph("", "for weakreduce.policy(...), each was tried:", width)]
        for advice in report.advice:
            lines += paragraph("  ", f"{advice.line}: {outcome(advice)}", width)
    if report.failures:
        lines += ["", "cannot be pickled:"]
        for failure in report.failures:
            said = f"{failure.text}: {shortened(failure.cause, _LONGEST)}"
            lines += paragraph("  ", said, width)
    errors = besides_failures(report)
    if errors:
        lines += ["", "error:" if len(errors) == 1 else "errors:"]
        for error in errors:
            lines += paragraph("  ", shortened(error, _LONGEST), width)
    return "\n".join(lines)


def besides_failures(report: Findings) -> list[str]:
    """Errors that say more than the failures do."""
    causes = {failure.cause for failure in report.failures}
    return [error for error in report.errors if error not in causes]


def is_worth_weighing(report: Findings) -> bool:
    """Whether a payload is so large that it is of interest what in it weighs."""
    return bool(report.heaviest) and report.heaviest[0].bytes >= _HEAVY


def outcome(advice: Advice) -> str:
    """What comes of following an advice."""
    if advice.saves is None:
        return f"it can be sent, {sized(advice.bytes)}"
    return f"{sized(advice.bytes + advice.saves)} becomes {sized(advice.bytes)}"


def weight(weighed: Weight) -> str:
    """A size; one that was not measured by itself has a mark."""
    return f"{'' if weighed.exact else '~'}{weighed.bytes:,}"


def _weights(report: Findings, width: int) -> list[str]:
    sizes = [weight(each) for each in report.heaviest]
    across = max(map(len, sizes))
    room = max(width - across - 4, _NARROWEST - 4)
    types = [printable(each.type) for each in report.heaviest]
    found = told_apart([printable(each.path) for each in report.heaviest], room)
    lines = []
    for size, path, name in zip(sizes, found, types, strict=True):
        lines += paragraph(f"  {size:>{across}}  ", f"{path} ({name})", width)
    return lines


def _terminal() -> int:
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if on_terminal else 80


def alike(found: Iterable[Finding]) -> list[tuple[Finding, int]]:
    """Findings, those that say the same once, with their number (entries of a WeakSet)."""
    numbers: dict[Finding, int] = {}
    for finding in found:
        key = dataclasses.replace(finding, dump=0) if finding.dump else finding
        numbers[key] = numbers.get(key, 0) + 1
    return list(numbers.items())


def _more(report: Findings, shown: int) -> Iterator[str]:
    """What is not shown, and how to see it."""
    kept = len(report)
    if kept > shown:
        yield (
            f"{kept - shown:,} more: table(rows={kept}), or --rows {kept} on the command line, "
            "shows them"
        )
    if report.edges > kept:
        yield not_kept(report)


def not_kept(report: Findings) -> str:
    """How many edges are counted alone, and how to keep them."""
    return (
        f"{report.edges - len(report):,} more are counted, but not kept: keep={report.edges}, or "
        f"--rows {report.edges} on the command line, keeps them"
    )


def extra(finding: Finding, number: int) -> str:
    """What a row says below its path."""
    parts = []
    if finding.held > 1:
        parts.append(f"held {finding.held:,} times")
    if number > 1:
        parts.append(f"{number:,} alike")
    return ", ".join(parts)


def _edge(finding: Finding) -> str:
    return printable(f"{finding.kind} -> {finding.referent or 'dead'}")


def _blocks(shown: list[tuple[Finding, int]], numbers: dict[str, int], width: int) -> list[str]:
    """Rows for where a table has no room: a few lines for each."""
    found = told_apart([printable(finding.path) for finding, _ in shown], _LINES * (width - 2))
    lines: list[str] = []
    for (finding, number), path in zip(shown, found, strict=True):
        size = "" if finding.bytes is None else f" {finding.bytes:,} bytes"
        lines += paragraph("", f"{finding.fate}{size} [{numbers[finding.reason]}]", width)
        for text in (path, extra(finding, number), _edge(finding)):
            if text:
                lines += paragraph("  ", text, width)
    return lines


def _rows(shown: list[tuple[Finding, int]], numbers: dict[str, int], width: int) -> list[str]:
    table = [("fate", "bytes", "path", "kind -> referent", "why")]
    for finding, _ in shown:
        size = "" if finding.bytes is None else f"{finding.bytes:,}"
        why = f"[{numbers[finding.reason]}]"
        table.append((finding.fate, size, printable(finding.path), _edge(finding), why))
    below = [extra(finding, number) for finding, number in shown]
    fates, sizes, paths, edges, whys = (
        max(map(columns, cells)) for cells in zip(*table, strict=True)
    )
    if not any(row[1] for row in table[1:]):
        table, sizes = [(row[0], "", *row[2:]) for row in table], -2
    room = width - fates - sizes - whys - 8
    paths = max(paths, *map(len, below))
    if paths + edges > room:
        edges = min(edges, max(room * 2 // 5, room - paths))
        paths = min(paths, room - edges)
    shorter = told_apart([row[2] for row in table], paths)
    kinds = told_apart([row[3] for row in table], edges)
    lines = []
    gap = " " * (fates + sizes + 4)
    for (fate, size, *_, why), path, edge, more in zip(
        table, shorter, kinds, ["", *below], strict=True
    ):
        lines.append(
            f"{padded(fate, fates + sizes + 2 - len(size))}{size}  "
            f"{padded(path, paths)}  {padded(edge, edges)}  {why}".rstrip()
        )
        if more:
            lines += [f"{gap}{line}".rstrip() for line in paragraph("", more, paths)]
    return lines
