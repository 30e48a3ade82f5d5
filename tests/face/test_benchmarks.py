"""The benchmarks run, at small size, and docs/performance.md shows what they found at full size.

No time is asserted here.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gaps
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PAGE = BENCHMARKS.parent.parent / "docs" / "performance.md"
#: Rows that start an engine take seconds to do it; the tests of the engines are elsewhere.
ENGINES = ("ProcessPoolExecutor", "loky", "Dask")


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for other in ("groups", "measure", "finders", "rows", "rows_of_shapes", "cases", "plot", "run"):
        monkeypatch.delitem(sys.modules, other, raising=False)
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_smoke_run(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "--rounds", "1", "--scale", "0.001",
         "--json", str(found), "--skip", *ENGINES, *(["joblib"] if gaps.lacks("joblib") else [])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    both = json.loads(found.read_text())
    rows = both["rows"] + both["floors"]
    assert all(row["figure"] is not None for row in rows), done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert {f"| {row['name']} |" for row in rows} <= {
        line[: line.index(" |") + 2] for line in lines
    }


def test_every_case_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the plot, too."""
    rows = load("rows", monkeypatch)
    cases = load("cases", monkeypatch)
    monkeypatch.setitem(sys.modules, "cases", cases)
    for _, case in rows.SERIES.values():
        name = case.removeprefix("cases.")
        if "stock" not in name and "wrapper" not in name:
            assert getattr(cases, name)(10).action()


def test_the_page_shows_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    run = load("run", monkeypatch)
    figures = json.loads(run.FIGURES.read_text())
    page = PAGE.read_text()
    assert run.with_tables(page, figures) == page
    tables = [run.table(group, figures) for group in run.Group]
    assert [page.count(table + "\n\n") for table in tables] == [1] * len(tables)
    shown = "".join(tables).count("\n") - len(tables)
    assert shown == len(figures["rows"]) + len(figures["floors"])
    assert [row["name"] for row in figures["rows"]] == [row.name for row in run.ROWS]
    assert [row["name"] for row in figures["floors"]] == [row.name for row in run.FLOORS]
    assert [row["bar"] for row in figures["rows"]] == [row.bar for row in run.ROWS]
    assert run.PLOT.exists()
    assert f"Python {figures['machine']['python']}" in page
