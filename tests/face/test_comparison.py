"""The comparison shows what its script finds here."""

from __future__ import annotations

import re

import gaps
import pytest
import run_comparison


def rows(text: str, part: str) -> list[str]:
    found = re.search(rf"run_comparison\.py: {part} -->\n(.*?)<!-- end", text, re.DOTALL)
    assert found is not None
    return found[1].splitlines()


@pytest.mark.needs(gaps.DILL_BY_VALUE)
def test_the_page_is_what_is_found() -> None:
    shown = run_comparison.PAGE.read_text(encoding="utf-8")
    made = run_comparison.made()[run_comparison.PAGE]
    assert rows(made, "fates") == rows(shown, "fates")
    if rows(made, "versions") == rows(shown, "versions"):
        assert made == shown
    else:  # figures differ from Python to Python, and from release to release; the rows do not
        here, there = rows(made, "properties"), rows(shown, "properties")
        assert [row.split("|")[1] for row in here] == [row.split("|")[1] for row in there]


def test_some_rows_are_better_elsewhere() -> None:
    """What the page says in words, in its figures."""
    found = {way: run_comparison.run(way) for way in ("pickle", "by hand", "weakreduce")}
    assert found["by hand"]["bytes"] < found["weakreduce"]["bytes"]
    assert found["weakreduce"]["writes"] == 1 < found["pickle"]["writes"]
