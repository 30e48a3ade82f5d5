"""The runner of others' test suites, `downstream/run.py`, sees what differs; its page is whole."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "downstream"
_spec = importlib.util.spec_from_file_location("downstream_run", FOLDER / "run.py")
assert _spec is not None and _spec.loader is not None
runner: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = runner
_spec.loader.exec_module(runner)

SUITES = {name: runner.Suite.read(path) for name, path in runner.SUITES.items()}


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
def test_a_recipe_is_whole(suite: Any) -> None:
    assert suite.source in ("sdist", "installed", "python")
    assert suite.parts and all(part.run for part in suite.parts)
    assert {part.how for part in suite.parts} <= {"pytest", "unittest", "scripts"}
    assert bool(suite.version) <= bool(suite.why), "another version than the installed one: why?"
    assert all(entry.reason for entry in suite.differs)


def test_the_page_has_a_row_of_every_suite_and_no_difference_without_a_reason() -> None:
    head, *rows = [
        line for line in runner.PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "
    ]
    assert head == runner.HEAD[0]
    titles = {row.split(" | ")[0].removeprefix("| ").partition(", a checkout")[0] for row in rows}
    assert titles == {suite.title for suite in SUITES.values()}
    for row in rows:
        cells = dict(zip(runner.COLUMNS, row.strip("| ").split(" | "), strict=True))
        assert "unexplained" not in row
        assert (cells["differing"] == "0") == (cells["reason"] == "-"), row
        assert int(cells["passed after"]) >= int(cells["passed before"]) - int(cells["differing"])


#: What a suite may look like: one test differs where weakreduce is.
TESTS = """
import sys
import unittest

class Some(unittest.TestCase):
    def test_same(self):
        pass
    def test_fails(self):
        self.fail()
    def test_skips(self):
        self.skipTest("always")
    def test_differs(self):
        self.assertNotIn("weakreduce", sys.modules)
    def test_in_a_child(self):
        import subprocess
        asked = "import sys; sys.exit('weakreduce' in sys.modules)"
        for options in ([], ["-I"], ["-E"]):
            subprocess.run([sys.executable, *options, "-c", asked], check=True)
"""


@pytest.mark.parametrize("how", ["pytest", "unittest"])
def test_what_differs_is_seen_in_children_too(how: str, tmp_path: Path) -> None:
    part = runner.Part(how, ["test_some.py" if how == "pytest" else "test_some"])
    suite = runner.Suite("some", "some", "some", "sdist", [part], path=["."])
    root = tmp_path / "root"
    root.mkdir()
    (root / "test_some.py").write_text(TESTS)
    pythons = {way: runner.make_environment(way, suite, tmp_path) for way in runner.WAYS}
    this = runner.Run(suite, part, tuple(part.run), root, pythons)
    found = {way: this.once(way, tmp_path / "log", []) for way in runner.WAYS}
    different = runner.differing(found)
    names = {name.rpartition("test_")[2]: outcomes for name, outcomes in different.items()}
    assert names == {name: ("passed", "failed") for name in ("differs", "in_a_child")}
    outcomes = sorted(found["stock"].values())
    assert outcomes == ["failed", "passed", "passed", "passed", "passed", "skipped"]
    again = runner.again_by_itself(this, tmp_path / "log", found)
    assert again == different
    report = runner.Found(suite, "1", found, again, [], dict.fromkeys(runner.WAYS, 0.0), False)
    assert sorted(report.unexplained()) == sorted(different)
    assert "| 5 | 3 | 1 | 2 |" in report.row()


def test_a_run_that_crashes_or_hangs_tells_what_came_before(tmp_path: Path) -> None:
    part = runner.Part("unittest", ["test_bad"], timeout=5.0)
    suite = runner.Suite("bad", "bad", "bad", "sdist", [part], path=["."])
    (tmp_path / "test_bad.py").write_text(
        "import os, time, unittest\n"
        "class Bad(unittest.TestCase):\n"
        "    def test_1(self): pass\n"
        "    def test_2(self): os._exit(7) if os.environ['HOW'] == 'ends' else time.sleep(600)\n"
    )
    for how, ended in (("ends", "exit 7"), ("hangs", "took too long")):
        python = Path(sys.prefix) / "bin/python"
        notes = tmp_path / how
        environment = runner.variables(suite, tmp_path) | {"HOW": how, "OUTCOMES": str(notes)}
        command = [str(python), str(FOLDER / "outcomes.py"), "test_bad"]
        status = runner.run(command, tmp_path, environment, 5.0, subprocess.DEVNULL)
        assert status == ended
        outcomes = runner.read_notes(notes)
        assert outcomes == {"test_bad.Bad.test_1": "passed", "test_bad.Bad.test_2": "did not end"}


def test_a_suite_of_which_nothing_passes_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, page = tmp_path / "lacking.toml", tmp_path / "page.md"
    recipe.write_text(
        'title = "what this Python lacks"\nproject = "weakreduce"\nsource = "python"\n'
        'why = "a newer one has it"\n'
        '[[parts]]\nhow = "unittest"\nrun = ["test.test_of_another_python"]\n'
    )
    page.write_text(runner.START)
    monkeypatch.setattr(runner, "SUITES", {"lacking": recipe})
    monkeypatch.setattr(runner, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["run.py", "lacking", "--write"])
    assert runner.main() == 1
    told = "nothing of it passed, so this tells nothing: a newer one has it"
    assert told in capsys.readouterr().out
    assert page.read_text() == runner.START
