"""Others' test suites, run without and with weakreduce in every process, test by test: a script.

    python tests/downstream/run.py                    # all of them, one after the other: hours
    python tests/downstream/run.py cloudpickle dill   # minutes
    python tests/downstream/run.py --write            # puts what it finds into the documentation

Each ``*.toml`` beside this file is a suite: where its tests come from (`source`), what of them is
run and how (`parts`), and which tests may differ, each with its reason (`differs`). Nothing of
theirs is kept. Each part is run twice, in two virtual environments that see what is installed
here; in one of them a ``.pth`` file imports weakreduce as Python starts, so in every child too,
whatever options it is started with (but for ``-S``). A test whose outcome differs is run again by
itself, both ways, up to three times: what depends on load or chance is counted as unsteady.
Failures that both ways share (a missing extra, a newer Python) are no concern here.

The exit status is 1 if a test differs of which no suite says why, or one does not that should, or
if none of a suite passed (this Python may lack it): that tells nothing, and is not written.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fnmatch
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs/reference/downstream.md"
START = "<!-- made by tests/downstream/run.py -->"
WAYS = ("stock", "ours")
GOOD = ("passed", "exit 0")
#: How often what differs is run again.
AGAIN = 3
#: What may be different from run to run in the name of a test.
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")

Outcomes = dict[str, str]


# --- recipes ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """What is run at a time: by pytest, by unittest, or as scripts."""

    how: str
    #: Files below the source's root (patterns), or names of modules for unittest.
    run: list[str]
    #: Patterns of files that are left out, each with the reason.
    without: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    #: Whether all files are run by one command, which is faster; else each has its own.
    together: bool = False
    #: In seconds, for one command.
    timeout: float = 900.0


@dataclass(frozen=True)
class Differs:
    """Tests that may differ: `test` is a pattern of names."""

    test: str
    reason: str
    #: Not each time: nothing is said if it does not.
    sometimes: bool = False


@dataclass(frozen=True)
class Suite:
    """One file of this folder."""

    name: str
    title: str
    project: str
    #: ``"sdist"``, ``"installed"`` or ``"python"`` (the standard library's own tests).
    source: str
    parts: list[Part]
    #: Of the sdist, where that is not the version that is installed, and why.
    version: str = ""
    why: str = ""
    #: Folders that are taken out of the sdist; all of it if empty.
    take: list[str] = field(default_factory=list)
    #: Folders below the sdist's root that are to be importable.
    path: list[str] = field(default_factory=list)
    #: What is replaced in the test files.
    rewrite: list[list[str]] = field(default_factory=list)
    #: What each process runs as it starts.
    start: str = "import weakreduce"
    differs: list[Differs] = field(default_factory=list)

    @staticmethod
    def read(path: Path) -> Suite:
        """The suite that a file describes."""
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        parts = [Part(**part) for part in found.pop("parts")]
        differs = [Differs(**entry) for entry in found.pop("differs", [])]
        return Suite(name=path.stem, parts=parts, differs=differs, **found)


SUITES = {path.stem: path for path in sorted(HERE.glob("*.toml"))}


# --- where the tests come from ------------------------------------------------------------


def unpacked(suite: Suite, folder: Path) -> Path:
    """The root of the sdist, unpacked."""
    wanted = suite.version or version(suite.project)
    constraint = folder / "constraint.txt"
    constraint.write_text("flit_core<4\nsetuptools<80\n")
    where = folder / "sdist"
    environment = {"PIP_BUILD_CONSTRAINT": str(constraint), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "-q", "--no-deps"),
            *("--no-binary", suite.project, "-d", str(where), f"{suite.project}=={wanted}"),
        ],
        check=True,
        env=os.environ | environment,
    )
    (archive,) = where.glob("*.tar.gz")
    root = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as sdist:
        members = sdist.getmembers()
        if suite.take:
            starts = tuple(f"{root}/{taken}" for taken in suite.take)
            members = [member for member in members if member.name.startswith(starts)]
        sdist.extractall(where, members, filter="data")
    return where / root


def checked_out(suite: Suite, folder: Path, checkout: Path) -> Path:
    """What a suite takes, from a checkout of the project instead of an sdist."""
    root = folder / "checkout"
    names = suite.take or [entry.name for entry in checkout.iterdir() if entry.name != ".git"]
    for name in names:
        source = checkout / name
        if source.is_dir():
            shutil.copytree(source, root / name)
        elif source.exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / name)
    return root


def tests_of_python(folder: Path) -> Path:
    """An empty folder to run in; the package `test` is in it where this Python has none."""
    root = folder / "python"
    root.mkdir()
    asked = subprocess.run([sys.executable, "-c", "import test.support"], capture_output=True)
    if asked.returncode:
        minor = "{}.{}".format(*sys.version_info)
        pyenv = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True)
        places = Path(pyenv.stdout.strip()).glob(f"versions/{minor}.*/lib/python{minor}/test")
        shutil.copytree(sorted(places)[-1], root / "test")
    return root


def source_of(suite: Suite, folder: Path, checkout: Path | None) -> Path:
    """The folder in which a suite is run."""
    if checkout is not None:
        root = checked_out(suite, folder, checkout)
    elif suite.source == "sdist":
        root = unpacked(suite, folder)
    else:
        root = tests_of_python(folder)
    for test in root.glob("**/*.py") if suite.rewrite else ():
        text = changed = test.read_bytes()
        for old, new in suite.rewrite:
            changed = changed.replace(old.encode(), new.encode())
        if changed != text:
            test.write_bytes(changed)
    return root


# --- the two ways -------------------------------------------------------------------------


def make_environment(way: str, suite: Suite, folder: Path) -> Path:
    """The Python of a virtual environment that sees what is installed here.

    ``.pth`` files there are read with ``-I`` and ``-E``, too, which no variable is.
    """
    where = folder / way
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(where)], check=True)
    (packages,) = where.glob("lib/python*/site-packages")
    seen = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "a_seen.pth").write_text("\n".join(seen) + "\n")
    shutil.copy(HERE / "outcomes.py", packages)
    python = where / "bin/python"
    if way == "ours":
        # A copy: the checkout may change while a suite runs for an hour.
        ignored = shutil.ignore_patterns("__pycache__")
        found = importlib.util.find_spec("weakreduce")
        assert found is not None
        (source,) = found.submodule_search_locations or ()
        shutil.copytree(source, packages / "weakreduce", ignore=ignored)
        compiled = [str(python), "-m", "compileall", "-q", str(packages / "weakreduce")]
        subprocess.run(compiled, check=True)
        (packages / "z_weakreduce.pth").write_text("import z_weakreduce\n")
        (packages / "z_weakreduce.py").write_text(suite.start + "\n")
    for options in ([], ["-I"]):
        asked = "import sys; print('weakreduce' in sys.modules)"
        done = subprocess.run(
            [str(python), *options, "-c", asked], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(way == "ours"), done
        assert done.stderr == "", done.stderr
    return python


def variables(suite: Suite, root: Path) -> dict[str, str]:
    """The environment variables of a run."""
    found = {name: value for name, value in os.environ.items() if name[:10] != "WEAKREDUCE"}
    found.update(PYTHONDONTWRITEBYTECODE="1")
    path = [str(root / part) for part in suite.path]
    if (root / "test").is_dir() and suite.source == "python":
        path.append(str(root))
    if path:
        found["PYTHONPATH"] = os.pathsep.join(path)
    return found


# --- running ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Files or modules that are run at a time, both ways."""

    suite: Suite
    part: Part
    what: tuple[str, ...]
    root: Path
    pythons: dict[str, Path]

    @property
    def name(self) -> str:
        return self.what[0] if len(self.what) == 1 else f"{self.what[0]} and more"

    def command(self, python: Path, only: list[str]) -> list[str]:
        if self.part.how == "pytest":
            options = ["-q", "-p", "no:cacheprovider", "-p", "outcomes", "-o", "addopts="]
            options += ["--continue-on-collection-errors", *self.part.arguments]
            return [str(python), "-m", "pytest", *options, *(only or self.what)]
        if self.part.how == "unittest":
            script = next(python.parent.parent.glob("lib/python*/site-packages/outcomes.py"))
            return [str(python), str(script), *(only or self.what)]
        return [str(python), *self.what]

    def once(self, way: str, log: Path, only: list[str]) -> Outcomes:
        """What becomes of each test; and of the run, as a test of its own."""
        with tempfile.TemporaryDirectory() as folder:
            notes = Path(folder) / "outcomes"
            environment = variables(self.suite, self.root) | {"OUTCOMES": str(notes)}
            cwd = self.root
            if self.part.how == "scripts":
                cwd = (self.root / self.what[0]).parent
            command = self.command(self.pythons[way], only)
            if self.part.how == "scripts":
                command[-1] = Path(self.what[0]).name
            with log.open("a") as output:
                print(f"\n=== {way}: {command}", file=output, flush=True)
                status = run(command, cwd, environment, self.part.timeout, output)
            if self.part.how == "scripts":
                return {f"script {self.name}": status}
            outcomes = read_notes(notes)
        outcomes[f"(the run of {self.name})"] = (
            "passed" if status in ("exit 0", "exit 1") else status
        )
        return outcomes


def run(
    command: list[str], cwd: Path, environment: dict[str, str], limit: float, output: Any
) -> str:
    """How a command ends; whatever it leaves running is ended as well."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return f"exit {process.wait(limit)}"
    except subprocess.TimeoutExpired:
        return "took too long"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_notes(notes: Path) -> Outcomes:
    """The outcome of each test, all that became of it together."""
    found: dict[str, set[str]] = {}
    if notes.exists():
        for line in notes.read_text(encoding="utf-8").splitlines():
            name, outcome = json.loads(line)
            found.setdefault(_ADDRESS.sub("0x", name), set()).add(outcome)
    outcomes = {}
    for name, outcome in found.items():
        bad = sorted(outcome - {"started", "passed"})
        outcomes[name] = " and ".join(bad) or ("passed" if "passed" in outcome else "did not end")
    return outcomes


def things_to_run(part: Part, root: Path, only: str) -> Iterator[tuple[str, ...]]:
    """The files or modules of a part that are run at a time; `only` is a pattern of names."""
    names = list(part.run)
    if part.how != "unittest":
        found = [path for pattern in part.run for path in sorted(root.glob(pattern))]
        names = [path.relative_to(root).as_posix() for path in found]
    names = [
        name
        for name in names
        if fnmatch.fnmatch(name, only)
        and not any(fnmatch.fnmatch(name, left_out) for left_out in part.without)
    ]
    yield from [tuple(names)] if part.together and names else [(name,) for name in names]


# --- comparing ----------------------------------------------------------------------------


@dataclass
class Found:
    """What came out of a suite."""

    suite: Suite
    version: str
    outcomes: dict[str, Outcomes]
    #: Tests that differ, with what they were without and with ours.
    different: dict[str, tuple[str, str]]
    unsteady: list[str]
    seconds: dict[str, float]
    is_checkout: bool

    def passed(self, way: str) -> int:
        return sum(
            outcome in GOOD
            for name, outcome in self.outcomes[way].items()
            if not name.startswith("(")
        )

    def reason(self, name: str) -> Differs | None:
        return next(
            (entry for entry in self.suite.differs if fnmatch.fnmatchcase(name, entry.test)), None
        )

    def unexplained(self) -> list[str]:
        return [name for name in self.different if self.reason(name) is None]

    def stale(self) -> list[str]:
        """Tests that are said to differ, and do not."""
        return [
            entry.test
            for entry in self.suite.differs
            if not entry.sometimes
            and not any(fnmatch.fnmatchcase(name, entry.test) for name in self.different)
        ]

    def row(self) -> str:
        """The line of the table."""
        reasons = Counter(
            entry.reason if (entry := self.reason(name)) else f"**unexplained**: `{name}`"
            for name in self.different
        )
        why = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
        tests = len(set(self.outcomes["stock"]) | set(self.outcomes["ours"]))
        tests -= sum(name.startswith("(") for name in self.outcomes["stock"])
        cells = (
            self.suite.title + (", a checkout's tests" if self.is_checkout else ""),
            self.version,
            tests,
            self.passed("stock"),
            self.passed("ours"),
            len(self.different),
            why or "-",
            len(self.unsteady) or "-",
            "{}.{}.{}".format(*sys.version_info),
            f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        )
        return "| " + " | ".join(map(str, cells)) + " |"


def differing(outcomes: dict[str, Outcomes]) -> dict[str, tuple[str, str]]:
    stock, ours = outcomes["stock"], outcomes["ours"]
    return {
        name: (stock.get(name, "absent"), ours.get(name, "absent"))
        for name in sorted(stock.keys() | ours.keys())
        if stock.get(name) != ours.get(name)
    }


def compare(suite: Suite, folder: Path, logs: Path, checkout: Path | None, only: str) -> Found:
    """Run a suite both ways, and what differs again."""
    root = source_of(suite, folder, checkout)
    pythons = {way: make_environment(way, suite, folder) for way in WAYS}
    total: dict[str, Outcomes] = {way: {} for way in WAYS}
    different: dict[str, tuple[str, str]] = {}
    unsteady: list[str] = []
    seconds = dict.fromkeys(WAYS, 0.0)
    for part in suite.parts:
        for what in things_to_run(part, root, only):
            this = Run(suite, part, what, root, pythons)
            log = logs / f"{suite.name}-{this.name.replace('/', '-')}.log"
            found = {}
            for way in WAYS:
                begin = time.monotonic()
                found[way] = this.once(way, log, [])
                seconds[way] += time.monotonic() - begin
            first = differing(found)
            print(
                f"  {this.name}: {len(found['ours'])} outcomes, {len(first)} differ at first, "
                + ", ".join(f"{seconds[way]:.0f} s {way} so far" for way in WAYS),
                flush=True,
            )
            again = again_by_itself(this, log, found)
            for name, (before, after) in first.items():
                if name in again:
                    different[name] = again[name]
                    print(f"    {name}: {before}, {after} with ours", flush=True)
                else:
                    unsteady.append(name)
                    print(f"    {name}: {before}, {after} with ours, but not again", flush=True)
            for way in WAYS:
                total[way].update(found[way])
    of = suite.version or (
        platform.python_version() if suite.source == "python" else version(suite.project)
    )
    if checkout is not None:
        git = ["git", "-C", str(checkout), "describe", "--tags"]
        of = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "a checkout"
    return Found(suite, of, total, different, unsteady, seconds, checkout is not None)


def again_by_itself(this: Run, log: Path, found: dict[str, Outcomes]) -> dict[str, tuple[str, str]]:
    """What of the tests that differ does so each time, where nothing else is run.

    In `found` a test counts as what became of it the last time.
    """
    left = differing(found)
    for _ in range(AGAIN):
        if not left:
            break
        only = [name for name in left if not name.startswith(("(", "script ")) and "0x" not in name]
        whole = len(only) < len(left) or len(only) > 50
        seen = {way: this.once(way, log, [] if whole else only) for way in WAYS}
        for way in WAYS:
            found[way].update({name: seen[way][name] for name in left if name in seen[way]})
        again = differing(seen)
        left = {name: again[name] for name in left if name in again}
    return left


# --- the page -----------------------------------------------------------------------------

COLUMNS = (
    "suite", "version", "tests", "passed before", "passed after", "differing", "reason",
    "unsteady", "Python", "run on",
)  # fmt: skip
HEAD = ("| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS))


def key(row: str) -> tuple[str, str]:
    """Its suite, and the Python that it was run on, without the last number."""
    cells = row.split(" | ")
    return cells[0], cells[COLUMNS.index("Python")].rpartition(".")[0]


def write(row: str) -> None:
    """Put a row into the page; those of other suites stay as they are."""
    before, start, rest = PAGE.read_text(encoding="utf-8").partition(START)
    kept = [
        line
        for line in rest.splitlines()
        if line.startswith("| ") and key(line) not in (key(HEAD[0]), key(row))
    ]
    table = [*HEAD, *sorted([*kept, row], key=str.lower)]
    PAGE.write_text(before + "\n".join([start, "", *table]) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=textwrap.dedent(__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", default=list(SUITES), metavar="SUITE")
    parser.add_argument("--write", action="store_true", help="put the rows into the documentation")
    parser.add_argument("--only", default="*", help="a pattern of the files or modules to run")
    parser.add_argument("--logs", type=Path, help="a folder for what the runs print")
    parser.add_argument(
        "--checkout", action="append", default=[], metavar="SUITE=FOLDER",
        help="take the tests from a checkout of the project",
    )  # fmt: skip
    chosen = parser.parse_args()
    checkouts = dict(entry.split("=", 1) for entry in chosen.checkout)
    rows, good = [], True
    for name in chosen.suites:
        suite = Suite.read(SUITES[name])
        print(suite.title, flush=True)
        checkout = Path(checkouts[name]) if name in checkouts else None
        with tempfile.TemporaryDirectory(prefix="downstream-") as folder:
            logs = chosen.logs or Path(folder) / "logs"
            logs.mkdir(parents=True, exist_ok=True)
            found = compare(suite, Path(folder), logs, checkout, chosen.only)
        for test, (before, after) in found.different.items():
            reason = found.reason(test)
            why = reason.reason if reason else "unexplained"
            print(f"  {test}: {before}, {after} with weakreduce: {why}")
        if chosen.only == "*":
            for test in found.stale():
                print(f"  {test}: is said to differ, and does not")
            good = good and not found.stale()
        good = good and not found.unexplained()
        rows.append(found.row())
        print("  " + ", ".join(f"{found.seconds[way]:.0f} s {way}" for way in WAYS))
        print(rows[-1], flush=True)
        if not found.passed("stock"):
            print(f"  nothing of it passed, so this tells nothing: {suite.why}".rstrip(": "))
            good = False
        elif chosen.write:
            write(rows[-1])
    print("\n".join([*HEAD, *rows]))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
