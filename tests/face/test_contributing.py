"""Each command of the page for contributors runs, in a copy of the checkout.

The tests that it runs are collected only: they run anyway. Its virtual environment finds the
packages of this one, so that pip has nothing to fetch but what builds weakreduce.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "contributing.md"
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.needs("mypy", "pre_commit", "ruff", "sphinx", "tox", "twine"),
    pytest.mark.needs("atom", "executorlib", "ray"),  # or pip does not install the test extra
]


def run(script: str, checkout: Path) -> None:
    """Run lines of the page, with the environment that the first of them make."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WEAKREDUCE_")}
    path = os.pathsep.join([
        str(checkout / ".venv" / "bin"), str(Path(sys.executable).parent), kept["PATH"],
    ])  # fmt: skip
    options = {"PYTEST_ADDOPTS": "--collect-only -q -p no:cacheprovider", "PATH": path}
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=checkout, env={**kept, **options},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, with the environment that the page begins with."""
    found: Path = tmp_path_factory.mktemp("contributing") / "weakreduce"
    made = shutil.ignore_patterns(
        ".git",
        ".venv*",
        "__pycache__",
        ".*_cache",
        ".tox",
        ".hypothesis",
        "dist",
        "build",
        "_build",  # fmt: skip
    )
    shutil.copytree(ROOT, found, ignore=made)
    run("git init -q", found)
    make, *others = BLOCKS[0].splitlines()
    assert make == "python3 -m venv .venv"
    run(make, found)
    (site,) = found.glob(".venv/lib/*/site-packages")
    (site / "of_these_tests.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages"))
    )
    run("\n".join(others), found)
    where = subprocess.run(
        [found / ".venv/bin/python", "-c", "import weakreduce; print(weakreduce.__file__)"],
        cwd=found.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()) == found / "weakreduce" / "__init__.py"
    return found


@pytest.mark.parametrize("script", BLOCKS[1:], ids=lambda script: script.splitlines()[0])
def test_the_commands_run(script: str, checkout: Path) -> None:
    run(script, checkout)


def test_commands_inside_of_lines_are_ours() -> None:
    """Those that take long, or a network: what they name exists."""
    text = PAGE.read_text(encoding="utf-8")
    scripts = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert len(scripts) >= 4
    assert [script for script in scripts if not (ROOT / script).exists()] == []
    folders = re.findall(r"^\| `(tests/\w+)`", text, re.M)
    assert {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))} == {
        Path(folder).name for line in re.findall(r"^\| `tests.*$", text, re.M)
        for folder in re.findall(r"`(tests/\w+)`", line) if folder != "tests/support"
    }  # fmt: skip
    assert folders
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
