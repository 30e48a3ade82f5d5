"""Every example of the documentation runs, and prints what its page says it prints."""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import java
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")

#: Runs one page's blocks in one namespace, which is `__main__`, and tells what each printed.
RUNNER = """
import contextlib, io, json, sys
blocks = json.load(sys.stdin)
page = {"__name__": "__main__", "__builtins__": __builtins__}
sys.modules["__main__"].__dict__.update(page)
printed = []
for line, source in blocks:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\\n" * line + source, sys.argv[1], "exec"), sys.modules["__main__"].__dict__)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


def examples(page):
    """(line, source, what is to be printed or None) of each python block."""
    text = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    blocks = []
    for block, after in zip(found, [*found[1:], None]):
        if block[1] != "python":
            continue
        expected = None
        if (
            after is not None
            and after[1] == "text"
            and not text[block.end() : after.start()].strip()
        ):
            expected = after[2]
        blocks.append((text.count("\n", 0, block.start(2)), block[2], expected))
    return blocks


def run(*arguments, **keywords):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("WEAKREDUCE_")
    }
    environment["PYTHONIOENCODING"] = "utf-8"
    environment |= java.quiet()
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env=environment,
        **keywords,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples(page, tmp_path, pytestconfig):
    blocks = examples(page)
    if not blocks:
        return
    # What the tests are told to ignore (of engines' oldest releases), their examples ignore.
    ignored = [f"-W{option}" for option in pytestconfig.getoption("pythonwarnings") or ()
               if "pytest" not in option]  # fmt: skip
    # Ray Data warns of its own settings.
    ignored.append("-Wignore::DeprecationWarning:ray.data.context")
    done = run(
        "-W",
        "error",
        *ignored,
        "-c",
        RUNNER,
        page.name,
        input=json.dumps([(line, source) for line, source, _ in blocks]),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for (line, _, expected), printed in zip(blocks, json.loads(done.stdout), strict=True):
        if expected is None:
            assert printed == "", f"{page.name}:{line}: prints, but the page shows no output"
        else:
            assert printed == expected, f"{page.name}:{line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), target


def test_reference_names_every_public_name():
    import weakreduce

    text = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    missing = [name for name in weakreduce.__all__ if f"`{name}" not in text]
    assert missing == []


def test_readme_gives_the_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [block[2] for block in FENCE.finditer(text) if block[1] == "bash"]
    assert any(command.rstrip().endswith("python -m weakreduce demo") for command in commands)
    assert any(command.rstrip().endswith("python -m pytest") for command in commands)


def test_demo(tmp_path):
    done = run("-W", "error", "-m", "weakreduce", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "ref: pinned -> 'other' ref: pinned -> 'other'" in lines
    rows = [re.sub(r"^(\w+) \d+ ", r"\1 ", line) for line in lines]
    assert rows.count("snapshot ref: alive -> 'held' ref: alive -> 'held'") == 1
    assert rows.count("strict leaf.parent: alive -> 'root' leaf.parent: alive -> 'root'") == 1
    assert rows.count("snapshot leaf.parent: pinned -> 'root' leaf.parent: pinned -> 'root'") == 1
    assert rows.count("dangle leaf.parent: dead leaf.parent: dead") == 1
    assert rows.count("strict - WeakrefPicklingError:") == 2
    assert rows.count("forbid - WeakrefPicklingError:") == 3


def test_diagnose_shows_what_the_tool_makes():
    """Outputs and pictures of the page are those that `tests/make_pages.py` would write."""
    import make_pages

    for path, text in make_pages.made().items():
        assert path.read_text(encoding="utf-8") == text, path.name
    for drawing in make_pages.PICTURES.glob("*.dot"):
        labels = re.findall(r'label="((?:[^"\\]|\\.)*)"', drawing.read_text(encoding="utf-8"))
        texts = {line for label in labels for line in label.split("\\n") if line}
        svg = drawing.with_suffix(".svg").read_text(encoding="utf-8")
        drawn = re.findall(r"<text [^>]*>(.*?)</text>", svg)
        assert {html.unescape(text).strip() for text in drawn} == texts


def test_info(tmp_path):

    table = run("-m", "weakreduce", "info", cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert "policy: snapshot" in table.stdout
    assert "cloudpickle" in table.stdout
    as_json = run("-m", "weakreduce", "info", "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout)["policy"]["outside"] == "snapshot"


def test_info_writes_rules_as_text(capsys):

    import weakreduce
    from weakreduce.__main__ import main

    with weakreduce.policy(rules=((int, "dangle"),)):
        assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["policy"]["rules"] == [["<class 'int'>", "dangle"]]


@pytest.mark.parametrize("arguments", [(), ("nothing",)])
def test_an_unknown_command_is_a_usage_error(arguments, tmp_path):
    done = run("-m", "weakreduce", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "usage: python -m weakreduce" in done.stderr
