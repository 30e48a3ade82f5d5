"""A report as HTML: a fragment for notebooks, and a page that needs nothing else.

Rule: no script, nothing loaded from elsewhere, and every text of the user's is escaped.
"""

from __future__ import annotations

import html

from weakreduce.model.texts import printable
from weakreduce.report.findings import Findings
from weakreduce.report.pictures import COLOURS
from weakreduce.report.table import (
    alike,
    besides_failures,
    extra,
    is_worth_weighing,
    not_kept,
    outcome,
    weight,
)

#: Wide places have a table; narrow ones a block for each row. What counts is the width of the
#: report's own box, which in a notebook is not the window's.
_STYLE = """
.weakreduce { font: 14px/1.45 system-ui, sans-serif; color: inherit; max-width: 80rem;
  container-type: inline-size; contain-intrinsic-inline-size: 48rem; min-width: 15rem; }
.weakreduce table { border-collapse: collapse; width: 100%; table-layout: fixed; margin: 0; }
.weakreduce th, .weakreduce td { text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-bottom: 1px solid #8884; overflow-wrap: anywhere; white-space: normal; }
.weakreduce th { border-bottom: 2px solid #8888; font-weight: 600; }
.weakreduce th, .weakreduce td { box-sizing: border-box; }
.weakreduce td.fate { font-weight: 600; border-left: 4px solid; }
.weakreduce th.fate { width: 6.2rem; border-left: 4px solid transparent; }
.weakreduce th.bytes { width: 7rem; } .weakreduce th.path { width: 34%; }
.weakreduce th.edge { width: 21%; }
.weakreduce .bytes { text-align: right; font-variant-numeric: tabular-nums; }
.weakreduce code { font: 13px/1.45 ui-monospace, monospace; background: none; color: inherit;
  padding: 0; }
.weakreduce small { display: block; font-size: 12px; opacity: .8; }
.weakreduce table + p { margin-top: 1rem; } .weakreduce .weights th.path { width: auto; }
.weakreduce .advice { border-left: 4px solid #009e73; padding: .1rem .8rem; }
.weakreduce .error { border-left: 4px solid #cc0033; padding: .3rem .8rem; margin: .6rem 0;
  overflow-wrap: anywhere; }
.weakreduce p { margin: .4rem 0; overflow-wrap: anywhere; }
.weakreduce .fates span { display: inline-block; margin: 0 1.2em .2rem 0; padding-left: .5em;
  font-weight: 600; border-left: 4px solid; }
@container (max-width: 48rem) {
  .weakreduce table, .weakreduce tbody { display: block; }
  .weakreduce thead { display: none; }
  .weakreduce tbody tr { display: flow-root; padding: .45rem 0 .45rem .7rem;
    border-bottom: 1px solid #8884; background: none; }
  .weakreduce tbody td { display: block; width: auto; border: 0; padding: 0; }
  .weakreduce tbody td.fate { float: left; padding-left: .4rem; margin-right: .8rem; }
  .weakreduce tbody td.bytes { text-align: left; }
  .weakreduce tbody td.bytes:not(:empty)::after { content: " bytes"; }
  .weakreduce tbody td.path { clear: both; }
  .weakreduce tbody td.why { opacity: .8; }
}
"""
_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 1.5rem auto; padding: 0 1rem; max-width: 80rem; }
h1 { font: 600 1.3rem/1.3 system-ui, sans-serif; }
"""


def _text(text: object) -> str:
    return html.escape(printable(str(text)))


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def fragment(report: Findings) -> str:
    """The report without a page around it."""
    many = f" in {report.dumps:,} dumps" if report.dumps != 1 else ""
    head = f"{report.edges:,} weak edge{'' if report.edges == 1 else 's'}{many}"
    if report.policy:
        head += f" under policy “{_text(report.policy)}”"
    if report.host:
        head += f", with {_text(report.host)}"
    counts = "".join(
        f'<span style="border-color:{COLOURS[fate]}">{number:,} {fate}</span>'
        for fate, number in report.counts.items()
    )
    parts = [
        f'<div class="weakreduce"><style>{_STYLE}</style>',
        f"<p>{head}</p>",
        f'<p class="fates">{counts}</p>' if counts else "",
        f"<p>{_text(report.size_text() or 'Nothing is sent.')}</p>",
    ]
    for failure in report.failures:
        text = f"cannot be pickled: {_text(failure.text)}: {_code(failure.cause)}"
        parts.append(f'<p class="error">{text}</p>')
    parts += [f'<p class="error">{_text(error)}</p>' for error in besides_failures(report)]
    if len(report):
        parts.append(_table(report))
    if report.edges > len(report):
        parts.append(f"<p>{_text(not_kept(report))}</p>")
    if is_worth_weighing(report):
        parts += ["<p>What weighs:</p>", _weights(report)]
    if report.advice:
        parts.append("<p>For <code>weakreduce.policy(...)</code>, each was tried:</p>")
        parts += [
            f'<p class="advice">{_code(advice.line)}: {_text(outcome(advice))}</p>'
            for advice in report.advice
        ]
    return "\n".join([*filter(None, parts), "</div>"])


def _table(report: Findings) -> str:
    rows = []
    sized = any(finding.bytes is not None for finding in report)
    for finding, number in alike(report):
        size = "" if finding.bytes is None else f"{finding.bytes:,}"
        sizes = f'<td class="bytes">{size}</td>' if sized else ""
        edge = f"{finding.kind} → {finding.referent or 'dead'}"
        more = extra(finding, number)
        below = f"<small>{_text(more)}</small>" if more else ""
        colour = COLOURS[finding.fate]
        rows.append(
            f'<tr><td class="fate" style="border-left-color:{colour}">{finding.fate}</td>'
            f'{sizes}<td class="path">{_code(finding.path)}{below}</td>'
            f'<td class="edge">{_text(edge)}</td><td class="why">{_text(finding.reason)}</td></tr>'
        )
    head = '<th class="bytes">bytes</th>' if sized else ""
    return (
        f'<table><thead><tr><th class="fate">fate</th>{head}'
        '<th class="path">path</th><th class="edge">kind → referent</th>'
        f"<th>why</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _weights(report: Findings) -> str:
    rows = "".join(
        f'<tr><td class="bytes">{weight(each)}</td><td class="path">{_code(each.path)}</td>'
        f'<td class="edge">{_text(each.type)}</td></tr>'
        for each in report.heaviest
    )
    return (
        '<table class="weights"><thead><tr><th class="bytes">bytes</th>'
        '<th class="path">path</th><th class="edge">type</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def page(report: Findings) -> str:
    """The report as a page of its own."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        "<title>weakreduce: what would travel</title>\n"
        f"<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>What would travel</h1>\n{fragment(report)}\n</body>\n</html>\n"
    )
