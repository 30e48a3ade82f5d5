"""Write into pages of `docs` what comes from the code and from runs of it. A script.

- `how-to/diagnose.md` and `explanation/semantics.md`: outputs and pictures of their examples.
- `how-to/error-messages.md`: what each Python said, from `error_messages.json`.
- `reference/command-line.md`: the commands and options that there are.

``python tests/make_pages.py`` rewrites the files; the tests check that it would change nothing.
The SVG files are drawn by Graphviz' ``dot``, if that is installed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

TESTS = Path(__file__).resolve().parent
DOCS = TESTS.parent / "docs"
#: Pages with pictures -> the names of the reports that are drawn.
DRAWN = {
    DOCS / "how-to" / "diagnose.md": ("tree", "cache", "bus"),
    DOCS / "explanation" / "semantics.md": ("held", "outside", "left", "named", "table"),
}
ERRORS = TESTS / "error_messages.json"

RUNNER = """
import contextlib, io, json, sys
blocks, names = json.load(sys.stdin)
printed = []
for source in blocks:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "page", "exec"), globals())
    printed.append(out.getvalue())
reports = {name: globals()[name + "_report"] for name in names}
pictures = {name: (report.to_dot(), report.to_mermaid()) for name, report in reports.items()}
print(json.dumps([printed, pictures]))
"""


# --- outputs and pictures of examples -------------------------------------------------------


def with_outputs(page: Path, names: tuple[str, ...]) -> dict[Path, str]:
    """A page with what its examples print, and its pictures in Graphviz's language."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps([blocks, names]), capture_output=True, text=True, check=True,
    )  # fmt: skip
    printed, pictures = json.loads(done.stdout)
    outputs = iter(printed)
    fences = re.split(r"(^```\w*\n.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    for position, part in enumerate(fences):
        if part.startswith("```python"):
            output = next(outputs)
            if output:
                # The output stands in the next fence.
                fences[position + 2] = f"```text\n{output}```"
        elif part.startswith("```mermaid"):
            fences[position] = f"```mermaid\n{pictures['bus'][1]}```"
    drawn = {page.parent / "pictures" / f"{name}.dot": dot for name, (dot, _) in pictures.items()}
    return {page: "".join(fences), **drawn}


def filled(page: Path, maker: str = "tests/make_pages.py", **made: str) -> dict[Path, str]:
    """A page with each of its marked parts made anew."""
    text = page.read_text(encoding="utf-8")
    for name, part in made.items():
        begin, end = f"<!-- made by {maker}: {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(begin)
        text = before + begin + part + end + rest.partition(end)[2]
    return {page: text}


# --- error messages -------------------------------------------------------------------------

#: What to do about what a pickler says.
FIXES = {
    "cloudpickle": "`import weakreduce`",
    "dill": "`import weakreduce`",
    "pickle": "`import weakreduce`; where your own code calls `pickle.dumps`, also "
    '`weakreduce.install("pickle")`',
}
#: Engines' pages, by how the engines' names begin.
ENGINES_PAGES = {
    "Process": "multiprocessing", "multiprocessing": "multiprocessing",
    "multiprocess, pathos": "multiprocessing", "loky": "loky", "joblib": "joblib",
    "Dask": "dask", "Ray": "ray", "PySpark": "spark",
}  # fmt: skip


def span(versions: set[str]) -> str:
    """Versions of Python, each by its first two numbers, as a range."""
    minors = sorted({int(version.split(".")[1]) for version in versions})
    return f"3.{minors[0]}" if len(minors) == 1 else f"3.{minors[0]} to 3.{minors[-1]}"


def of_picklers(found: dict[str, Any]) -> str:
    """One section for each text: who says it, where, and what to do."""
    said: dict[str, dict[str, tuple[list[str], set[str]]]] = {}
    for version, picklers in found.items():
        for pickler, outcomes in picklers.items():
            for kind, outcome in outcomes.items():
                if kind == "version" or outcome.startswith("arrives as"):
                    continue
                first = outcome.partition("\n")[0]
                kinds, versions = said.setdefault(first, {}).setdefault(pickler, ([], set()))
                if kind not in kinds:
                    kinds.append(kind)
                versions.add(version)
    newest_first = sorted(said, key=lambda text: _weight(said[text]), reverse=True)
    text = ""
    for error in newest_first:
        name, _, message = error.partition(": ")
        article = "an" if name[0] in "AEIOU" else "a"
        text += f"### `{message}`\n\nAs {article} `{name}`:\n\n"
        text += "| Says | On Python | Of |\n|---|---|---|\n"
        for pickler, (kinds, versions) in sorted(said[error].items()):
            named = ", ".join(sorted(kinds)).replace("__reduce__", "`__reduce__`")
            text += f"| {pickler} | {span(versions)} | {named} |\n"
        text += f"\n{_fix(error, said[error])}\n\n"
    return text


def _weight(picklers: dict[str, tuple[list[str], set[str]]]) -> tuple[int, int]:
    """How new, and how often met, a text is."""
    newest = max(int(v.split(".")[1]) for _, versions in picklers.values() for v in versions)
    return newest, sum(len(kinds) * len(versions) for kinds, versions in picklers.values())


def _fix(error: str, picklers: dict[str, Any]) -> str:
    if "co_lnotab" in error:
        return (
            "**Fix**: this is dill 0.4.1, which cannot write functions and classes by value on "
            "[Python 3.15](../reference/pythons.md), weak references or not. Use cloudpickle, or "
            "put the class into a module."
        )
    kinds = {kind for found, _ in picklers.values() for kind in found}
    if kinds == {"proxy of what has no __reduce__"}:
        return (
            "**Fix**: `import weakreduce`. What the proxy refers to cannot be pickled, so it "
            "arrives dead, with a warning, unless that [travels](policies.md) by another way."
        )
    fixes = list(dict.fromkeys(FIXES[pickler] for pickler in sorted(picklers)))
    if len(fixes) > 1:
        fixes = [FIXES["pickle"]]
    newest = max(int(v.split(".")[1]) for _, versions in picklers.values() for v in versions)
    older = ", on Python 3.11 or later; a receiver may stay where it is" if newest < 11 else ""
    return f"**Fix**: {fixes[0]}{older}."


def notes(found: dict[str, Any]) -> str:
    """What the newest Python prints of an attribute that is a weak reference."""
    newest = max((version for version in found), key=lambda text: int(text.split(".")[1]))
    return f"```text\n{found[newest]['pickle']['object with a ref']}\n```\n\n"


def of_engines(found: dict[str, str]) -> str:
    """What each engine says first."""
    text = ""
    for name, error in found.items():
        page = next(page for key, page in ENGINES_PAGES.items() if name.startswith(key))
        text += f"### {name}\n\n```text\n{error}\n```\n\n{_engines_fix(name, page)}\n\n"
    return text


def _engines_fix(name: str, page: str) -> str:
    if name.endswith("a result"):
        return (
            "**Fix**: `import weakreduce` in the worker: under spawn and forkserver at the top of "
            f"your main module, or by an initializer; see [results]({page}.md#results)."
        )
    return f"**Fix**: [here]({page}.md)."


def error_messages() -> dict[Path, str]:
    """The page of what each Python and each engine said."""
    found = json.loads(ERRORS.read_text(encoding="utf-8"))
    engines = found.pop("engines")
    return filled(
        DOCS / "how-to" / "error-messages.md",
        picklers=of_picklers(found),
        notes=notes(found),
        engines=of_engines(engines),
    )


# --- the command line -----------------------------------------------------------------------


def command_line() -> dict[Path, str]:
    """The page of commands, each with its arguments."""
    from weakreduce.__main__ import _parser

    (commands,) = (
        action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    text = ""
    for name, parser in commands.choices.items():
        rows = ""
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            if action.dest == "target":
                action.help = "the object: a module, and what is in it"
            words = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            if action.option_strings and action.nargs != 0:
                words += f" {action.metavar or '|'.join(action.choices or ()) or action.dest}"
            said = action.help or f"`{action.default}`, unless it is given"
            rows += f"| `{_cell(words)}` | {_cell(said)} |\n"
        text += f"## {name}\n\n`python -m weakreduce {name}`: {parser.description}.\n\n"
        text += f"| Argument | |\n|---|---|\n{rows}\n" if rows else ""
    return filled(DOCS / "reference" / "command-line.md", commands=text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def made() -> dict[Path, str]:
    """What each file should hold, the SVG files left out."""
    files = {**error_messages(), **command_line()}
    for page, names in DRAWN.items():
        files |= with_outputs(page, names)
    return files


def main() -> None:
    for path, text in made().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if path.suffix == ".dot" and shutil.which("dot"):
            drawn = subprocess.run(
                ["dot", "-Tsvg"], input=text.encode(), capture_output=True, check=True
            ).stdout
            path.with_suffix(".svg").write_bytes(drawn)


if __name__ == "__main__":
    main()
