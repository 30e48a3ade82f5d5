"""Every example of the documentation runs, and prints what its page says it prints.

A page is run as somebody would run it who pastes its examples into a script: the whole of it,
and, where it starts processes, also up to each of its examples, under every start method.
"""

import ast
import html
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import gaps
import java
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w*|{[\w-]+})\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)]+)\)")
#: Pages without an example, and what is true of them instead: where their contents come from.
WITHOUT = {
    "docs/SECURITY.md": "told by hand",
    "docs/changelog.md": "told by hand",
    "docs/contributing.md": "commands, each run by test_contributing.py",
    "docs/examples/index.md": "a list of programs, each run by test_examples.py",
    "docs/explanation/comparison.md": "tables, made by tests/run_comparison.py",
    "docs/explanation/how-it-works.md": "names of files and functions",
    "docs/performance.md": "figures, made by tests/benchmarks/run.py",
    "docs/reference/api.md": "docstrings",
    "docs/reference/command-line.md": "options, made by tests/make_pages.py",
    "docs/reference/downstream.md": "a table, made by tests/downstream/run.py",
    "docs/reference/engines.md": "a table, made by tests/run_engine_table.py",
    "docs/reference/pythons.md": "told by hand",
}
#: Blocks that are no examples: commands, outputs, pictures, and what Sphinx fills in.
OTHERS = {"", "bash", "mermaid", "text", "{eval-rst}"}
#: What starts processes that import the script, or may.
STARTS = {
    "LocalCluster", "Manager", "Parallel", "Pool", "Process", "ProcessPoolExecutor",
    "SingleNodeExecutor", "LocalExecutor", "get_reusable_executor", "start",
}  # fmt: skip
GUARD = 'if __name__ == "__main__":'


def relative(page):
    return page.relative_to(ROOT).as_posix()


def examples(page):
    """(line, source, what is to be printed or None) of each python block."""
    text = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    blocks = []
    for block, after in zip(found, [*found[1:], None]):
        if block[1] != "python":
            assert block[1] in OTHERS, f"{page.name}: what is a block of {block[1]!r}?"
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


def script(blocks, method=None):
    """The blocks as one script, on the lines of their page; before each, a mark is printed."""
    start = ""
    if method is not None:
        start = f"{GUARD} import multiprocessing; multiprocessing.set_start_method({method!r}); "
        if any("import multiprocess\n" in source for _, source, _ in blocks):
            start += f"import multiprocess; multiprocess.set_start_method({method!r}); "
    text = ""
    for number, (line, source, _) in enumerate(blocks):
        text += "\n" * (line - 1 - text.count("\n"))
        text += f"{start or GUARD} print({MARK!r}, flush=True)\n{source}"
        start = ""
    return text


MARK = "\f---"


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


def check(page, blocks, folder, pytestconfig, method=None):
    """Run the blocks as a script, and compare what each prints."""
    # What the tests are told to ignore (of engines' oldest releases), their examples ignore.
    ignored = [f"-W{option}" for option in pytestconfig.getoption("pythonwarnings") or ()
               if "pytest" not in option]  # fmt: skip
    # Ray Data warns of its own settings.
    ignored.append("-Wignore::DeprecationWarning:ray.data.context")
    # Where there is no older pandas: on a new Python.
    ignored.append("-Wignore:PySpark does not yet fully support pandas:FutureWarning")
    # executorlib uses pydantic's old ways.
    for old in ("`pydantic.config.Extra`", "Support for class-based `config`"):
        ignored.append(f"-Wignore:{old} is deprecated:DeprecationWarning")
    name = f"pasted_{page.stem}.py".replace("-", "_")
    (folder / name).write_text(script(blocks, method), encoding="utf-8")
    done = run("-W", "error", *ignored, name, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, *printed = done.stdout.split(MARK + "\n")
    assert first == ""
    for (line, _, expected), output in zip(blocks, printed, strict=True):
        if expected is None:
            assert output == "", f"{page.name}:{line}: prints, but the page shows no output"
        else:
            assert output == expected, f"{page.name}:{line}"


PAGES_WITH = [page for page in PAGES if examples(page)]


def starts_processes(page):
    """Whether an example of a page starts processes as the start method says."""
    ways = ("import multiprocess", "concurrent.futures.ProcessPoolExecutor")
    return any(way in source for _, source, _ in examples(page) for way in ways)


IMPORT = re.compile(r"^ *(?:import|from) (\w+)", re.MULTILINE)


def needed_by(page):
    """The packages that the examples of a page import."""
    found = {name for _, source, _ in examples(page) for name in IMPORT.findall(source)}
    if found & {"dill", "multiprocess"}:
        found.add(gaps.DILL_BY_VALUE)
    return sorted(found)


def by_path(*pages):
    return pytest.mark.parametrize("page", pages, ids=relative)


def by_page_that_runs(*pages):
    marked = [pytest.param(page, marks=pytest.mark.needs(*needed_by(page))) for page in pages]
    return pytest.mark.parametrize("page", marked, ids=relative)


def test_no_page_is_passed_in_silence():
    """Every fence is one that is read, and a page without an example is known to have none."""
    assert {relative(page) for page in PAGES if page not in PAGES_WITH} == set(WITHOUT)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("```") == 2 * len(FENCE.findall(text)), page.name


@by_page_that_runs(*PAGES_WITH)
def test_examples(page, tmp_path, pytestconfig):
    check(page, examples(page), tmp_path, pytestconfig)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@by_page_that_runs(*filter(starts_processes, PAGES_WITH))
def test_examples_pasted_one_by_one(page, method, tmp_path, pytestconfig):
    blocks = examples(page)
    for number in range(1, len(blocks) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        check(page, blocks[:number], folder, pytestconfig, method)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@by_page_that_runs(*(page for page in PAGES_WITH if "pebble" in needed_by(page)))
def test_examples_of_pebble(page, method, tmp_path, pytestconfig):
    """Its processes start as multiprocessing's do, too."""
    blocks = examples(page)
    (last,) = (n for n, (_, source, _) in enumerate(blocks) if "import ProcessPool" in source)
    check(page, blocks[: last + 1], tmp_path, pytestconfig, method)


def outside_of_guards(tree):
    """What a module runs whenever it is imported."""
    for statement in tree.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == GUARD[3:-1].replace(
            '"', "'"
        ):
            continue
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from ast.walk(statement)


@by_path(*PAGES_WITH)
def test_what_starts_processes_is_guarded(page):
    for line, source, _ in examples(page):
        for node in outside_of_guards(ast.parse(source)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                assert name not in STARTS, f"{page.name}:{line + node.lineno}: {name}"


@by_path(*PAGES)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if not link.startswith(("https:", "http:")):
            target, _, anchor = link.partition("#")
            aim = (page.parent / target) if target else page
            assert aim.exists(), link
            if anchor:
                titles = re.findall(r"^#+ (.*)$", aim.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
                           for title in titles}  # fmt: skip
                assert anchor in anchors, link


def test_the_readme_works_on_a_package_index():
    """Which has none of our files beside it: its links are whole, and lead to pages of ours."""
    pages = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Documentation"]
    text = FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    links = LINK.findall(text)
    assert all(link.startswith("https://") for link in links), links
    ours = [link for link in links if link.startswith(pages)]
    assert len(ours) > 10
    for link in ours:
        path = link.removeprefix(pages).removeprefix("/en/latest/").partition("#")[0]
        name = path.removesuffix(".html") + ".md" if path else "index.md"
        assert (ROOT / "docs" / name).exists(), link


def test_the_extras_that_pages_name_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = {
        extra
        for page in PAGES
        for found in re.findall(r"weakreduce\[([\w,]+)\]", page.read_text(encoding="utf-8"))
        for extra in found.split(",")
    }
    assert named - {"test"} <= extras.keys()
    assert {"dask", "joblib", "loky", "multiprocess", "ray", "spark"} <= named


def test_reference_names_every_public_name():
    import weakreduce

    text = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\.\. auto\w+:: weakreduce\.(\w+)", text, re.MULTILINE))
    # What reports hold has no name in `__all__`.
    assert named == {*weakreduce.__all__, "Weight", "Advice", "LoadReport"}


def test_reference_names_every_host():
    from weakreduce.registry import HOSTS

    text = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    assert [name for name in HOSTS if f'`"{name}"`' not in text] == []


def test_pages_name_every_field_of_a_policy():
    import weakreduce

    names = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    meanings = (ROOT / "docs/explanation/semantics.md").read_text(encoding="utf-8")
    for name, field in weakreduce.Policy.__dataclass_fields__.items():
        assert f"{name}={field.default!r}".replace("'", '"') in names
        assert f"| `{name}` |" in meanings


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


def test_pages_show_what_the_code_makes():
    """Outputs, pictures and tables are those that `tests/make_pages.py` would write."""
    import make_pages

    for path, text in make_pages.made().items():
        assert path.read_text(encoding="utf-8") == text, path.name
    drawings = sorted((ROOT / "docs").glob("**/pictures/*.dot"))
    assert len(drawings) > 5
    for drawing in drawings:
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
