"""Write what the tool makes into `docs/how-to/diagnose.md`: outputs, pictures. A script.

``python tests/make_pages.py`` rewrites the files; the tests check that it would change nothing.
The SVG files are drawn by Graphviz' ``dot``, if that is installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "diagnose.md"
PICTURES = PAGE.parent / "pictures"
#: Pictures of the page: the name of the report in it -> how it is drawn.
DRAWN = {"tree": "dot", "cache": "dot", "bus": "mermaid"}

RUNNER = """
import contextlib, io, json, sys
printed = []
for source in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "page", "exec"), globals())
    printed.append(out.getvalue())
texts = {name: getattr(globals()[name + "_report"], "to_" + how)() for name, how in DRAWN.items()}
print(json.dumps([printed, texts]))
"""


def made() -> dict[Path, str]:
    """What each file should hold, the SVG files left out."""
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", f"DRAWN = {DRAWN!r}\n{RUNNER}"],
        input=json.dumps(blocks), capture_output=True, text=True, check=True,
    )  # fmt: skip
    printed, texts = json.loads(done.stdout)
    outputs = iter(printed)
    fences = re.split(r"(^```\w*\n.*?^```$)", page, flags=re.MULTILINE | re.DOTALL)
    for position, part in enumerate(fences):
        if part.startswith("```python"):
            output = next(outputs)
            if output:
                # The output stands in the next fence.
                fences[position + 2] = f"```text\n{output}```"
        elif part.startswith("```mermaid"):
            fences[position] = f"```mermaid\n{texts['bus']}```"
    page = "".join(fences)
    files = {PAGE: page}
    for name, how in DRAWN.items():
        if how == "dot":
            files[PICTURES / f"{name}.dot"] = texts[name]
    return files


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")
        if path.suffix == ".dot" and shutil.which("dot"):
            drawn = subprocess.run(
                ["dot", "-Tsvg"], input=text.encode(), capture_output=True, check=True
            ).stdout
            path.with_suffix(".svg").write_bytes(drawn)


if __name__ == "__main__":
    main()
