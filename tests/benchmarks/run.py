"""``python tests/benchmarks/run.py`` prints the tables of docs/performance.md: figures and bars.

``--write`` also writes `figures.json`, and with it the plot and the tables of the page;
``--rows TEXT`` and ``--skip TEXT`` choose rows by a part of their name (those that are left out
keep the figures that they have, and the plot its curves); ``--scale`` shrinks all sizes. The page
has one table for each of `groups.Group`, under the heading of that name.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from finders import Row, Settings  # noqa: E402 - the path above is what finds it
from groups import Group  # noqa: E402
from measure import Side, side_by_side  # noqa: E402
from rows import FLOORS, ROWS, SERIES  # noqa: E402

FIGURES = HERE / "figures.json"
PAGE = HERE.parent.parent / "docs" / "performance.md"
PLOT = PAGE.with_name("performance.svg")
PLOT_SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


def machine() -> dict[str, Any]:
    """What the figures were found on."""
    from importlib.metadata import version

    return {
        "system": platform.system(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "cloudpickle": version("cloudpickle"),
        "dill": version("dill"),
    }


def find(row: Row, settings: Settings) -> float | None:
    """A row's figure, or None where what it measures is not installed here."""
    try:
        return row.find(settings)
    except RuntimeError as error:
        print(f"  ({row.name}: {error})", file=sys.stderr)
        return None


def line(name: str, figure: float | None, bar: float | None, unit: str) -> str:
    """One line of a table, as Markdown."""
    digits = 3 if unit == "s" else 2
    text = "not measured" if figure is None else f"{figure:.{digits}f}"
    if bar is None:
        return f"| {name} | {text} |"
    mark = "" if unit == "x" else f" {unit}"
    reached = "" if figure is None else "yes" if round(figure, digits) <= bar else "no"
    return f"| {name} | {text}{mark} | {bar:.2f}{mark} | {reached} |"


HEAD = "| Measure | Now | At most | Reached |\n|---|---|---|---|"
FLOORS_HEAD = "| The least that could be, without weakreduce | Found |\n|---|---|"
GROUPS = {row.name: row.group for row in (*ROWS, *FLOORS)}


def head_of(group: Group) -> str:
    """The head of a group's table."""
    return FLOORS_HEAD if group is Group.FLOORS else HEAD


def table(group: Group, figures: dict[str, Any]) -> str:
    """The table of a group, of rows and floors as `figures.json` has them."""
    rows = [row for row in (*figures["rows"], *figures["floors"]) if GROUPS[row["name"]] is group]
    lines = (line(row["name"], row["figure"], row["bar"], row["unit"]) for row in rows)
    return "\n".join([head_of(group), *lines])


def with_tables(page: str, figures: dict[str, Any]) -> str:
    """The page with each group's table under its heading, in place of the one that is there."""
    sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    for group in Group:
        (at,) = (n for n, text in enumerate(sections) if text.startswith(f"## {group.value}\n"))
        before, rows = re.escape(head_of(group)), r"\n(\|.*\|\n)*"
        made = table(group, figures) + "\n"
        sections[at], times = re.subn(before + rows, lambda _, made=made: made, sections[at])
        assert times == 1, group
    return "".join(sections)


def curves(settings: Settings) -> dict[str, list[list[float]]]:
    """For each series of the plot: pairs of size and seconds."""
    found: dict[str, list[list[float]]] = {label: [] for label in SERIES}
    for full in PLOT_SIZES:
        size = settings.size(full)
        # dill takes seconds at the largest sizes; its slope is plain before that.
        labels = [label for label in SERIES if "dill" not in label or full <= 30_000]
        sides = [Side(*SERIES[label], size) for label in labels]
        rounds = settings.rounds if full <= 10_000 else max(1, settings.rounds // 3)
        for label, measured in zip(labels, side_by_side(sides, rounds), strict=True):
            found[label].append([size, measured.seconds])
    return found


def with_kept(found: list[dict[str, Any]], rows: tuple[Row, ...], kept: Any) -> Any:
    """What was found for some rows of a table, and for the others what was found before."""
    figures = {row["name"]: row["figure"] for row in [*kept, *found]}
    return [
        {"name": row.name, "figure": figures.get(row.name), "bar": row.bar, "unit": row.unit}
        for row in rows
    ]


def write(
    rows: list[dict[str, Any]],
    floors: list[dict[str, Any]],
    series: dict[str, list[list[float]]] | None,
) -> None:
    """The JSON, the plot where it was measured, and the tables in the page."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    figures |= {"machine": machine(), "rows": rows, "floors": floors}
    if series is not None:
        from plot import draw

        figures["series"] = series
        draw(series, PLOT)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    page = with_tables(PAGE.read_text(encoding="utf-8"), figures)
    page = re.sub(r"Python 3\.\d+\.\d+", f"Python {platform.python_version()}", page)
    PAGE.write_text(page, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print the tables of figures and bars.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rows", default="", help="only rows with this text in their name")
    parser.add_argument("--skip", nargs="*", default=[], help="no rows with these texts")
    parser.add_argument("--json", type=Path, help="write the rows' figures to this file")
    parser.add_argument("--write", action="store_true", help="figures.json, the plot, the page")
    chosen = parser.parse_args(arguments)
    settings = Settings(chosen.rounds, chosen.scale)
    found: dict[str, list[dict[str, Any]]] = {"rows": [], "floors": []}
    for group in Group:
        print(f"\n{group.value}\n\n{head_of(group)}")
        kind = "floors" if group is Group.FLOORS else "rows"
        for row in (*ROWS, *FLOORS):
            left_out = any(text in row.name for text in chosen.skip)
            if row.group is not group or chosen.rows not in row.name or left_out:
                continue
            figure = find(row, settings)
            found[kind].append(
                {"name": row.name, "figure": figure, "bar": row.bar, "unit": row.unit}
            )
            print(line(row.name, figure, row.bar, row.unit), flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({"machine": machine(), **found}, indent=1))
    if chosen.write:
        before = json.loads(FIGURES.read_text(encoding="utf-8"))
        rows = with_kept(found["rows"], ROWS, before["rows"])
        floors = with_kept(found["floors"], FLOORS, before["floors"])
        some = chosen.rows or chosen.skip
        write(rows, floors, None if some else curves(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
