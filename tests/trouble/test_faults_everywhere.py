"""A fault at any moment of a dump: `run_faults.py`, with a stride. By itself it tries them all.

In a process of its own, which is forked for each moment.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import faults
import pytest

SCRIPT = Path(faults.__file__).parent.parent / "run_faults.py"
#: Of so many moments one is tried; numbers that have no part in common with a loop's length.
STRIDES = {("KeyboardInterrupt", "MemoryError"): 3001, ("depth",): 17}


@pytest.mark.parametrize("names", STRIDES, ids=lambda names: names[0])
@pytest.mark.parametrize("scene", faults.SCENES)
def test_after_a_fault_all_is_as_before(scene: str, names: tuple[str, ...]) -> None:
    command = [sys.executable, str(SCRIPT), scene, "--every", str(STRIDES[names]), "--errors"]
    done = subprocess.run([*command, *names], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 wrong") == len(faults.HOSTS) * len(names)
    assert ": 0 raised, 0 as ever" not in done.stdout
