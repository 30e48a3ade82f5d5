"""Pictures of a report, in the languages of Graphviz and Mermaid.

Boxes are objects, plain arrows strong paths, and dashed arrows weak edges, coloured by fate.
Rule: every text of the user's is escaped here, and nothing of it is read as markup.
"""

from __future__ import annotations

from typing import Final

from weakreduce.model.texts import printable, shortened
from weakreduce.report.findings import COPIES, Findings, Picture

#: Fate -> colour, which reads on white and on dark paper, and to the colour-blind.
COLOURS: Final = {
    "link": "#0072b2",
    "snapshot": "#d55e00",
    "home": "#b8860b",
    "dangle": "#8a8a8a",
    "dead": "#8a8a8a",
    "token": "#009e73",
    "refuse": "#cc0033",
}
_WIDTH = 40


def _limited(report: Findings, limit: int) -> tuple[Picture, int]:
    """The picture with its first weak edges, and how many it does not show."""
    whole = report.picture
    weak = whole.weak[: max(limit, 0)]
    wanted = {node for holder, referent, _, _ in weak for node in (holder, referent)} | {0}
    holders: dict[int, list[int]] = {}
    for holder, held in whole.strong:
        holders.setdefault(held, []).append(holder)
    todo = list(wanted)
    while todo:
        for holder in holders.get(todo.pop(), ()):
            if holder not in wanted:
                wanted.add(holder)
                todo.append(holder)
    nodes = {node: name for node, name in whole.nodes.items() if node in wanted}
    # Numbered anew, so that equal graphs give equal texts.
    numbers = {node: number for number, node in enumerate(nodes)}
    strong = {
        (numbers[a], numbers[b]): label
        for (a, b), label in whole.strong.items()
        if a in numbers and b in numbers
    }
    drawn = [(numbers[a], numbers[b], label, fate) for a, b, label, fate in weak]
    named = {numbers[node]: name for node, name in nodes.items()}
    return Picture(named, strong, drawn), report.edges - len(weak)


def _short(text: str) -> str:
    return shortened(printable(text), _WIDTH)


def _quoted(text: str) -> str:
    # Graphviz reads entities in quoted texts, too.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") + '"'


def dot(report: Findings, limit: int) -> str:
    """The picture in Graphviz's language."""
    picture, left = _limited(report, limit)
    lines = [
        "digraph weakreduce {",
        '  graph [rankdir=LR, bgcolor="white", fontname="sans-serif", fontsize=11];',
        '  node [shape=box, style="rounded,filled", fillcolor="#f4f4f4", color="#666666", '
        'fontname="sans-serif", fontsize=11];',
        '  edge [color="#333333", fontname="sans-serif", fontsize=9];',
    ]
    for node, name in picture.nodes.items():
        look = ", penwidth=2" if node == 0 else ""
        if name == "dead":
            look = ", style=dotted"
        text = f"root: {name}" if node == 0 else name
        lines.append(f"  n{node} [label={_quoted(_short(text))}{look}];")
    for (holder, held), label in picture.strong.items():
        lines.append(f"  n{holder} -> n{held} [label={_quoted(_short(label))}];")
    for holder, referent, label, fate in picture.weak:
        colour = f'color="{COLOURS[fate]}", fontcolor="{COLOURS[fate]}"'
        text = _quoted(_short(label))[:-1] + f'\\n{fate}"'
        style = "style=dashed" if fate not in COPIES else 'style="dashed,bold"'
        lines.append(f"  n{holder} -> n{referent} [label={text}, {style}, {colour}];")
    if left:
        how = f"limit={report.edges} shows them"
        lines.append(f'  label="{left:,} more weak edges are not shown ({how})";')
    return "\n".join([*lines, "}", ""])


def _entities(text: str) -> str:
    """Mermaid's own escapes, for all but letters, digits and what is harmless."""
    return "".join(c if c.isalnum() or c in " .,_[]()':-…" else f"#{ord(c)};" for c in text)


def mermaid(report: Findings, limit: int) -> str:
    """The picture in Mermaid's language."""
    picture, left = _limited(report, limit)
    lines = ["flowchart LR"]
    for node, name in picture.nodes.items():
        text = f"root: {name}" if node == 0 else name
        lines.append(f'  n{node}["{_entities(_short(text))}"]')
    arrows = []
    for (holder, held), label in picture.strong.items():
        arrows.append(f'  n{holder} -->|"{_entities(_short(label)) or " "}"| n{held}')
    styles: dict[str, list[int]] = {}
    for holder, referent, label, fate in picture.weak:
        styles.setdefault(fate, []).append(len(arrows))
        text = f"{_entities(_short(label))} {fate}".strip()
        arrows.append(f'  n{holder} -.->|"{text}"| n{referent}')
    lines += arrows
    for fate, positions in styles.items():
        listed = ",".join(map(str, positions))
        lines.append(f"  linkStyle {listed} stroke:{COLOURS[fate]},color:{COLOURS[fate]}")
    if left:
        how = f"limit {report.edges} shows them"
        lines.append(f'  more["{left:,} more weak edges are not shown; {how}"]')
    return "\n".join([*lines, ""])
