"""Where an object is, for a test that asks for one alone."""

from __future__ import annotations

from typing import Any

from weakreduce.paths import search


def path_to(root: Any, wanted: Any) -> str | None:
    """The shortest path from `root` to this very object, or None where none was found."""
    return search.paths_to(root, [wanted]).get(id(wanted))
