"""Programs in processes of their own, which can import the modules of these tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
#: Where programs find modules of the tests.
FOLDERS = [str(TESTS / name) for name in ("support", "core", "trouble", "hosts", "engines")]


def environment(*folders: str, **variables: str) -> dict[str, str]:
    """The environment of a program, with more folders in front, and more variables."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *FOLDERS]), **variables}


def run(code: str, *arguments: str, file: Path | None = None, **variables: str) -> str:
    """What a program prints; it has to succeed.

    Args:
        code: the program.
        arguments: what it finds in ``sys.argv``.
        file: where to put it, for those who read the source of functions; else ``python -c``.
        variables: more of the environment.
    """
    where = ["-c", code]
    if file is not None:
        file.write_text(code, encoding="utf-8")
        where = [str(file)]
    done = subprocess.run(
        [sys.executable, "-W", "error", *where, *arguments],
        capture_output=True,
        text=True,
        env=environment(**variables),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
