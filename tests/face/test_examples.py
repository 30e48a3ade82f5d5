"""Each program of the gallery runs as a script, under every start method, and prints what it says.

Without weakreduce none of them does: each shows the error, or the loss, that its docstring names.
No tests of pages live here (`test_docs.py`).
"""

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
GALLERY = ROOT / "docs" / "examples"
PROGRAMS = sorted(GALLERY.glob("*.py"))
METHOD = re.compile(r'(?<=get_context\(")\w+|(?<=set_start_method\(")\w+')
BLOCK = r"^{}[^\n]*:\n\n((?:    .+\n)+)"


def by_program(function):
    return pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)(function)


def block(program, title):
    """The indented lines of a program's docstring below the line that begins with a title."""
    text = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) + "\n"
    (found,) = re.findall(BLOCK.format(title), text, re.MULTILINE)
    return textwrap.dedent(found)


def run(file, *options, **variables):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("WEAKREDUCE_")
    }
    return subprocess.run(
        [sys.executable, *options, file],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env={**environment, "PYTHONIOENCODING": "utf-8", **variables},
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@by_program
def test_prints_what_it_says(program, method, tmp_path):
    text = program.read_text(encoding="utf-8")
    (written,) = METHOD.findall(text)
    assert written != "fork"
    if method != written:
        program = tmp_path / program.name
        program.write_text(METHOD.sub(method, text), encoding="utf-8")
    done = run(program, "-W", "error")
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == block(program, "Prints")


@by_program
def test_stock_cannot_do_it(program):
    done = run(program, WEAKREDUCE_INSTALL="0")
    said = block(program, "Without weakreduce")
    if done.returncode == 0:
        assert done.stdout == said
        assert done.stdout != block(program, "Prints")
    else:
        assert any(line in done.stderr for line in said.splitlines()), done.stderr


@by_program
def test_is_short_and_starts_with_its_situation(program):
    text = program.read_text(encoding="utf-8")
    assert 20 <= len(text.splitlines()) <= 60
    _, blank, error, *_ = text.splitlines()
    assert not blank
    assert error.startswith("Without weakreduce")
    assert "\nimport weakreduce\n" in text
    assert '\nif __name__ == "__main__":\n' in text


def test_the_page_lists_every_program():
    page = (GALLERY / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\((\w+\.py)\)", page)) == [program.name for program in PROGRAMS]
