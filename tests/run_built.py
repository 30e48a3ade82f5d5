"""The built wheel, installed alone, passes the tests that the sdist carries: a script.

    python -m build
    python tests/run_built.py dist                        # without engines
    python tests/run_built.py dist -- tests/hosts -x      # some of them, as pytest takes them
    python tests/run_built.py dist --all                  # with every engine

A virtual environment is made with the wheel and what runs tests, and the sdist is unpacked beside
it without the package itself, so that only the wheel's can be imported. Tests of packages that are
not there are left out, and named in the header of the run. The exit status is pytest's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

#: What runs the tests.
RUNNERS = ("pytest", "hypothesis", "pytest-timeout")
#: Tells the tests that engines may be missing (`support/gaps.py`).
ALONE = "WEAKREDUCE_TESTS_ALONE"


def only(folder: Path, pattern: str) -> Path:
    """The one file of a kind."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{folder} holds {len(found)} files {pattern}: empty it, and build again")
    return found[0].resolve()


def unpacked(sdist: Path, folder: Path) -> Path:
    """What a sdist holds, without the package."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    # Under another name: what is written must not hold the package's, and file names are written.
    root = found.rename(folder / "unpacked")
    shutil.rmtree(root / "weakreduce")
    return root


def main() -> int:
    """Make the environment, and run the tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path, help="the folder with one wheel and one sdist")
    parser.add_argument("--all", action="store_true", help="with every engine")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    options = parser.parse_args()
    wheel, sdist = only(options.dist, "*.whl"), only(options.dist, "*.tar.gz")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sdist").mkdir()
        root = unpacked(sdist, folder / "sdist")
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / "bin" / "python")
        needed = [f"{wheel}[test]"] if options.all else [str(wheel), *RUNNERS]
        subprocess.run([python, "-m", "pip", "install", "-q", *needed], check=True)
        environment = {**os.environ} if options.all else {**os.environ, ALONE: "1"}
        command = [python, "-m", "pytest", "-p", "no:cacheprovider", *options.pytest]
        return subprocess.run(command, cwd=root, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
