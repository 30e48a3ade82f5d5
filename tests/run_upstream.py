"""The test suites of cloudpickle, dill and joblib, run stock and with weakreduce: a script.

``python tests/run_upstream.py [cloudpickle] [dill] [joblib] [--timeout SECONDS]``

Each suite comes from the project's sdist, of the version that is installed here, and is run twice:
once as it is, once with weakreduce imported before anything else, in every child process too. A
test whose outcome differs is run again by itself in both ways; the exit status is 1 if any still
differs. Failures that both ways share (a missing extra, a newer Python) are no concern here.

cloudpickle has shipped no tests, neither in its sdist nor in its wheel, since 3.0; its suite is
that of 2.2.1, the last sdist with one, run against the cloudpickle that is installed (two
names that are gone since are rewritten). dill's tests are inside its package, and are
made to be run as scripts (``python -m dill.tests``): they are run as scripts, and by pytest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

Outcomes = dict[str, str]


@dataclass(frozen=True)
class Suite:
    """Where a project's tests are in its sdist, and how they are run."""

    project: str
    tests: str  # below the sdist's root
    sdist: str = ""  # a version other than the installed one
    alone: bool = False  # take the tests out of the sdist, leave the project's code behind
    scripts: bool = False  # each file is a script as well
    path: tuple[str, ...] = ()  # to be importable, below the sdist's root
    rewrite: tuple[tuple[str, str], ...] = ()  # in the test files

    @property
    def version(self) -> str:
        """The version of the sdist."""
        return self.sdist or version(self.project)


SUITES = {
    suite.project: suite
    for suite in (
        Suite(
            "cloudpickle",
            "tests",
            sdist="2.2.1",
            alone=True,
            path=("tests/cloudpickle_testpkg", "."),
            rewrite=(
                ("from cloudpickle.compat import pickle", "import pickle"),
                ("import _make_empty_cell, cell_set", "import _make_empty_cell"),
                ("cell_set(", "(lambda cell, value: setattr(cell, 'cell_contents', value))("),
            ),
        ),
        Suite("dill", "dill/tests", scripts=True, path=("dill/tests", ".")),
        Suite("joblib", "joblib/test", path=(".",)),
    )
}


def download(suite: Suite, folder: Path) -> Path:
    """The root of the sdist, unpacked."""
    constraint = folder / "constraint.txt"
    constraint.write_text("flit_core<4\nsetuptools<80\n")
    where = folder / suite.project
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "-q", "--no-deps"),
            *("--no-binary", suite.project, "-d", str(where)),
            f"{suite.project}=={suite.version}",
        ],
        check=True,
        env=os.environ
        | {"PIP_BUILD_CONSTRAINT": str(constraint), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    (archive,) = where.glob("*.tar.gz")
    root = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as sdist:
        members = sdist.getmembers()
        if suite.alone:
            members = [m for m in members if m.name.startswith(f"{root}/{suite.tests}")]
        sdist.extractall(where, members, filter="data")
    if not (where / root / suite.tests).is_dir():
        raise SystemExit(f"{archive.name} holds no {suite.tests}")
    for test in (where / root / suite.tests).glob("*.py") if suite.rewrite else ():
        text = test.read_bytes()
        for old, new in suite.rewrite:
            text = text.replace(old.encode(), new.encode())
        test.write_bytes(text)
    return where / root


def environment(suite: Suite, root: Path, ours: Path | None) -> dict[str, str]:
    """The environment of a run; `ours` is a folder whose sitecustomize imports weakreduce."""
    path = [str(root / part) for part in suite.path]
    if ours is not None:
        path.insert(0, str(ours))
    found = {name: value for name, value in os.environ.items() if name[:10] != "WEAKREDUCE"}
    found.update(PYTHONPATH=os.pathsep.join(path), PYTHONDONTWRITEBYTECODE="1")
    return found


def by_pytest(suite: Suite, root: Path, ours: Path | None, limit: float, only: str) -> Outcomes:
    """The outcome of each test, from pytest's report; `only` is an expression for ``-k``."""
    report = root / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="]
    command += ["--capture=no", "--continue-on-collection-errors"]
    command += [f"--junitxml={report}", "-o", "junit_family=xunit2", suite.tests]
    if only:
        command += ["-k", only]
    done = subprocess.run(
        command,
        cwd=root,
        env=environment(suite, root, ours),
        timeout=limit,
        capture_output=True,
        text=True,
    )
    if not report.exists():
        raise SystemExit(f"pytest made no report for {suite.project}:\n{done.stdout}{done.stderr}")
    outcomes: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        marks = {child.tag for child in case} & {"failure", "error", "skipped"}
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes[name] = "+".join(sorted(marks)) or "passed"
    return outcomes


def by_scripts(suite: Suite, root: Path, ours: Path | None, limit: float) -> Outcomes:
    """The exit status of each test file, run as a script."""
    outcomes: Outcomes = {}
    for script in sorted((root / suite.tests).glob("test_*.py")):
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=root / suite.tests,
            env=environment(suite, root, ours),
            timeout=limit,
            capture_output=True,
        )
        outcomes[f"script {script.name}"] = f"exit {done.returncode}"
    return outcomes


def check_readied(suite: Suite, root: Path, ours: Path) -> None:
    """Fail unless a child of the second way has weakreduce in place."""
    code = f"""
        import importlib, importlib.util, sys
        assert "weakreduce" in sys.modules
        import {suite.project}, weakreduce
        def find(name):
            try:
                return importlib.util.find_spec(name)
            except ModuleNotFoundError:
                return None
        # joblib carried a cloudpickle of its own once
        for name in ("{suite.project}.externals.cloudpickle", "{suite.project}", "cloudpickle"):
            if name not in weakreduce.info()["hosts"] or not find(name):
                continue
            if hasattr(importlib.import_module(name), "Pickler"):
                assert weakreduce.info()["hosts"][name]["state"] == "installed"
                assert hasattr(sys.modules[name].Pickler.dump, "__wrapped__")
                break
        else:
            raise AssertionError("no host")
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=True,
        cwd=root,
        env=environment(suite, root, ours),
    )


def compare(suite: Suite, folder: Path, limit: float) -> list[str]:
    """One line for each test whose outcome differs."""
    root = download(suite, folder)
    ours = folder / "ours"
    ours.mkdir(exist_ok=True)
    (ours / "sitecustomize.py").write_text("import weakreduce\n")
    check_readied(suite, root, ours)
    runs: list[Outcomes] = []
    for way in (None, ours):
        outcomes = by_pytest(suite, root, way, limit, "")
        if suite.scripts:
            outcomes |= by_scripts(suite, root, way, limit)
        runs.append(outcomes)
    stock, with_ours = runs
    different = {name for name in stock | with_ours if stock.get(name) != with_ours.get(name)}
    if different:
        # Some tests depend on load or timing: what differs has to differ by itself as well.
        print("  differ at first: " + ", ".join(sorted(different)))
        only = " or ".join(sorted({name.split("::")[-1].split("[")[0] for name in different}))
        if not any(name.startswith("script ") for name in different):
            stock = by_pytest(suite, root, None, limit, only)
            with_ours = by_pytest(suite, root, ours, limit, only)
            different = {name for name in different if stock.get(name) != with_ours.get(name)}
    total = {}
    for outcome in runs[1].values():
        total[outcome] = total.get(outcome, 0) + 1
    counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(total.items()))
    print(f"{root.name}, its suite: {counted}")
    return [
        f"  {name}: {stock.get(name, 'absent')} stock, {with_ours.get(name, 'absent')} with ours"
        for name in sorted(different)
    ]


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description="Run upstream test suites stock and with ours.")
    parser.add_argument("projects", nargs="*", choices=[*SUITES, []], default=[])
    parser.add_argument("--timeout", type=float, default=1800.0, help="for one run, in seconds")
    arguments = parser.parse_args()
    differences: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for project in arguments.projects or SUITES:
            differences += (lines := compare(SUITES[project], Path(folder), arguments.timeout))
            print("\n".join(lines or ["  no outcome differs"]), flush=True)
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
