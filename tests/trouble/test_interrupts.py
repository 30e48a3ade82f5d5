"""An exception at any bytecode of ours: the tests of `interrupts.py`, each in its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import interrupts
import pytest


@pytest.mark.parametrize("name", [name for name in vars(interrupts) if name.startswith("test_")])
def test_in_a_process_of_its_own(name: str) -> None:
    file = Path(interrupts.__file__)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{file}::{name}"],
        cwd=file.parent.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
