"""The command line, `inspect`, and what a report looks like."""

from __future__ import annotations

import html.parser
import io
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import textwrap
import types
import warnings
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import cloudpickle
import graphs
import programs
import pytest
import run_random_graphs
import things
from everything import KEPT, everything
from things import Thing

import weakreduce
from weakreduce import explain
from weakreduce.__main__ import main
from weakreduce.model import texts
from weakreduce.reading import payload

HOSTS = ["cloudpickle", "dill", "pickle"]
PROTOCOLS = [2, 3, 4, 5]
HOME = weakreduce.Policy(identity="home")


STATE = {"link": "linked", "snapshot": "pinned", "token": "named", "dangle": "dangling",
         "dead": "dangling", "home": "home"}  # fmt: skip


def held(path: Path) -> dict[str, dict[str, int]]:
    """What `inspect` finds in a file of one pickle, empty containers left out."""
    (found,) = payload.read(str(path)).payloads
    counts = found.counts()
    kinds = {
        kind: {s: n for s, n in states.items() if s != "empty"} for kind, states in counts.items()
    }
    return {kind: states for kind, states in kinds.items() if states}


def told(report: weakreduce.Report) -> dict[str, dict[str, int]]:
    """The same of a report; entries that dangle are not in a payload."""
    states: dict[str, Counter[str]] = {}
    for (kind, fate), number in report.kinds.items():
        if not (fate == "dangle" and kind.startswith("Weak") and kind != "WeakMethod"):
            states.setdefault(kind, Counter())[STATE[fate]] += number
    return {kind: dict(counts) for kind, counts in states.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("policy", ["snapshot", "dangle", HOME])
def test_inspect_and_explain_agree(
    policy: str | weakreduce.Policy, host: str, protocol: int, tmp_path: Path
) -> None:
    root = everything()
    path = tmp_path / "x.pkl"
    path.write_bytes(weakreduce.dumps(root, policy=policy, host=host, protocol=protocol))
    assert held(path) == told(explain(root, policy, host))
    (found,) = payload.read(str(path)).payloads
    assert found.size == path.stat().st_size
    assert found.protocol == protocol
    own, standard = found.needed
    assert {"things", "weakreduce.wire"} <= set(own) <= {"things", "weakreduce.wire", "dill._dill"}
    assert "weakref" in standard


@pytest.mark.parametrize("host", HOSTS)
def test_inspect_and_explain_agree_on_random_graphs(host: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    for seed in range(150):
        choose = random.Random(seed)
        root, nodes = graphs.build(run_random_graphs.random_spec(choose))
        policy, protocol = choose.choice(["snapshot", "dangle"]), choose.choice(PROTOCOLS)
        path.write_bytes(weakreduce.dumps(root, policy=policy, host=host, protocol=protocol))
        assert held(path) == told(explain(root, policy, host)), seed
        assert nodes


def test_inspect_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([Evil(), pickle.loads]))
    found = payload.read(str(path))
    assert not (tmp_path / "ran").exists()
    assert found.payloads[0].needed == ([], ["_pickle", "posix"])


def test_inspect_reads_what_others_write(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"

    def local() -> Any:
        return json.dumps, Thing

    for data in (
        cloudpickle.dumps(
            [local, json, 1.5, {1: (2, {3}, frozenset([4]))}, "x" * 1000, b"y" * 1000]
        ),
        *(
            pickle.dumps([Thing(), [1, "é", None, 2**70], {"a": ()}], protocol)
            for protocol in range(6)
        ),
    ):
        path.write_bytes(data)
        (found,) = payload.read(str(path)).payloads
        assert found.counts() == {}
        assert found.size == len(data)
        assert "things" in found.modules
    assert "no weak things" in str(payload.read(str(path)))


def test_inspect_counts_buffers_and_pickles(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    data = pickle.dumps([pickle.PickleBuffer(b"x")], 5, buffer_callback=lambda buffer: None)

    class Persisting(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return "me" if isinstance(obj, Thing) else None

    file = io.BytesIO()
    Persisting(file).dump([Thing()])
    path.write_bytes(data + file.getvalue() + pickle.dumps(3) * 30)
    found = payload.read(str(path))
    assert len(found.payloads) == 32
    assert found.payloads[0].buffers == 1
    assert found.payloads[1].persistent == 1
    text = str(found)
    assert "32 pickles" in text
    assert "12 more pickles" in text
    assert sum(each.size for each in found.payloads) == path.stat().st_size


def damaged() -> dict[str, tuple[bytes, str]]:
    whole = weakreduce.dumps(everything())
    return {
        "empty": (b"", "the file is empty"),
        "cut": (whole[: len(whole) // 2], "cut short"),
        "cut at the end": (whole[:-1], "cut short"),
        "cut frame": (whole[:30], "cut short"),
        "text": (b"Hello, this is a text.\n", "not a pickle, or a damaged one"),
        "json": (b'{"a": 1}', "not a pickle, or a damaged one"),
        "zeros": (bytes(100), "not a pickle, or a damaged one"),
        "gzip": (b"\x1f\x8b\x08\x00rest", "packed by gzip"),
        "zip": (b"PK\x03\x04rest", "packed by zip"),
        "stop": (b".", "not a pickle, or a damaged one"),
        "no mark": (b"\x80\x04t.", "a mark is missing"),
        "no memo": (b"\x80\x04h\x07.", "not a pickle, or a damaged one"),
        "huge claim": (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "a pickle"),
    }


def test_inspect_answers_for_damaged_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pkl"
    for name, (data, message) in damaged().items():
        path.write_bytes(data)
        assert main(["inspect", str(path)]) == 2, name
        printed = capsys.readouterr()
        assert printed.out == ""
        assert message in printed.err, name
        assert len(printed.err.splitlines()) == 1
        assert printed.err.startswith(f"python -m weakreduce inspect: {path}: ")


def test_inspect_answers_for_any_bytes(tmp_path: Path) -> None:
    """Random damage is read, or answered for; nothing else comes out."""
    whole = bytearray(weakreduce.dumps(everything()))
    path = tmp_path / "x.pkl"
    answered = 0
    for seed in range(400):
        choose = random.Random(seed)
        data = bytearray(whole)
        for _ in range(choose.randint(1, 4)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        path.write_bytes(data)
        try:
            str(payload.read(str(path)))
        except payload.NotAPayload as error:
            assert str(error)
            answered += 1
    assert answered > 50


@pytest.mark.parametrize("arguments", [["inspect", "nothing.pkl"], ["inspect", "."],
    ["explain"], ["explain", "json"], ["explain", "no_such_module:x"], ["explain", "json:nothing"],
    ["explain", "json:dumps", "--policy", "loose"], ["explain", "--pickle", "nothing.pkl"],
    ["explain", "json:dumps", "--html", "no/such/folder.html"],
])  # fmt: skip
def test_what_cannot_be_done_has_status_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    last = printed.err.splitlines()[-1]
    assert last.startswith(f"python -m weakreduce {arguments[0]}: ")
    assert "Traceback" not in printed.err


MODULE = """
import weakref

class Server:
    def __init__(self):
        self.handlers = weakref.WeakSet()

class Handler:
    pass

handler = Handler()
server = Server()
server.handlers.add(handler)
frames = [(number for number in ())]
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "weakreduce", *arguments],
        capture_output=True, text=True, encoding="utf-8", cwd=cwd,
    )  # fmt: skip


def test_explain_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(MODULE)
    done = run("explain", "example:server", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "root.handlers[<Handler>]" in done.stdout
    done = run("explain", "example:server", "--policy", "strict", "--host", "dill", "--json",
               "--html", "x.html", "--dot", "x.dot", cwd=tmp_path)  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["counts"] == {"refuse": 1}
    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "x.dot").read_text(encoding="utf-8").startswith("digraph")
    done = run("explain", "example:frames", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "cannot be pickled:\n  root[0] (a generator): TypeError: " in done.stdout
    (tmp_path / "x.pkl").write_bytes(weakreduce.dumps([weakref.ref(KEPT[0])] if KEPT else []))
    done = run("explain", "--pickle", "x.pkl", cwd=tmp_path)
    assert "which runs what it says" in done.stderr
    done = run("inspect", "x.pkl", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("x.pkl: ")
    done = run("inspect", "x.pkl", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["pickles"][0]["bytes"] == (tmp_path / "x.pkl").stat().st_size


def test_info_tests_each_host(tmp_path: Path) -> None:
    done = run("info", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    hosts = json.loads(done.stdout)["hosts"]
    tests = {name: host["self_test"] for name, host in hosts.items()}
    assert {tests[name] for name in ("cloudpickle", "dill", "pickle")} == {"passed"}
    assert tests["ray.cloudpickle"] in ("not imported", "not installed")


def test_a_self_test_tells_what_failed(tmp_path: Path) -> None:
    code = (
        "import weakreduce, dill, sys; from weakreduce.__main__ import main;"
        "parts = weakreduce.registry.HOSTS['dill'].parts; [part.patch.remove() for part in parts];"
        "parts[0].patch.__class__.applied = True; sys.exit(main(['info']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("dill")]
    assert "failed: " in line
    assert "snapshot: " in line


# --- what it looks like ---------------------------------------------------------------


def odd_report() -> weakreduce.Report:
    evil = type("<script>alert(1)</script>\n\"'&", (Thing,), {})
    long = type("Long" * 40, (Thing,), {})
    wide = type("観測者" * 10, (Thing,), {})
    kept = [evil(), long(), wide()]
    KEPT.extend(kept)
    root: dict[Any, Any] = {
        "<img src=x onerror=alert(1)>" * 5: weakref.ref(kept[0]),
        "\x1b[31m\n": weakref.proxy(kept[1]),
        "観測" * 40: weakref.ref(kept[2]),
        "many": weakref.WeakValueDictionary((n, KEPT[0]) for n in range(1000)),
        kept[1]: weakref.ref(Thing()),
    }
    vars(kept[0])["not an identifier\n"] = root
    return explain(kept[0], weakreduce.Policy(rules=((evil, "refuse"), (wide, "dangle"))))


@pytest.mark.parametrize("width", [40, 60, 80, 81, 120, 200])
def test_the_table_fits(width: int) -> None:
    KEPT.append(Thing())
    report = odd_report()
    lines = report.table(width, rows=1000).split("\n")
    assert max(texts.columns(line) for line in lines) <= width
    assert all(character.isprintable() for line in lines for character in line)
    assert len(lines) > 900
    assert len(str(report).split("\n")) < 90


def test_texts_are_shortened_in_the_middle() -> None:
    assert texts.shortened("root.abc", 8) == "root.abc"
    for width in range(1, 30):
        for text in ("x" * 100, "観測" * 30, "root.a['観']" * 9):
            short = texts.shortened(text, width)
            assert texts.columns(short) <= width
            assert "…" in short
    assert texts.shortened("root.beginning.middle.end", 16) == "root.…middle.end"


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_escaped() -> None:
    KEPT.append(Thing())
    page = odd_report().to_html()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not tags.seen & {"script", "img", "link", "iframe", "object"}
    assert tags.attributes <= {"class", "style", "charset", "name", "content", "lang"}
    assert "://" not in page
    assert "url(" not in page
    fragment = odd_report()._repr_html_()
    assert fragment.startswith('<div class="weakreduce">')


def test_pictures_are_escaped() -> None:
    KEPT.append(Thing())
    report = odd_report()
    dot = report.to_dot()
    # Outside its quoted texts, a DOT file of ours consists of these characters.
    outside = "".join(
        part for n, part in enumerate(dot.replace('\\"', "").split('"')) if n % 2 == 0
    )
    assert set(outside) <= set("abcdefghijklmnopqrstuvwxyzLRA0123456789 \n{}[]=,;->")
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tsvg"], input=dot.encode(), capture_output=True, check=True)
        assert b"</svg>" in done.stdout
        assert b"<script" not in done.stdout
    mermaid = report.to_mermaid()
    assert "<" not in mermaid.replace("-.->", "").replace("-->", "")
    assert all(line.startswith(("flowchart", "  ")) for line in mermaid.splitlines())


def test_a_picture_shows_holders_and_weak_edges() -> None:
    root, child = Thing("root"), things.Big()
    root.children = [child]
    child.parent = weakref.ref(root)
    KEPT.append(things.Frozen(1))
    child.other = weakref.ref(KEPT[-1])
    report = explain(root)
    assert report.to_mermaid() == (
        "flowchart LR\n"
        '  n0["root: Thing"]\n'
        '  n1["Big"]\n'
        '  n2["Frozen"]\n'
        '  n0 -->|".children[0]"| n1\n'
        '  n1 -.->|".other ref snapshot"| n2\n'
        '  n1 -.->|".parent ref link"| n0\n'
        "  linkStyle 1 stroke:#d55e00,color:#d55e00\n"
        "  linkStyle 2 stroke:#0072b2,color:#0072b2\n"
    )
    dot = report.to_dot()
    assert 'n0 -> n1 [label=".children[0]"];' in dot
    assert 'n1 -> n0 [label=".parent ref\\nlink", style=dashed, color="#0072b2"' in dot
    assert "1 more weak edges" in report.to_dot(limit=1)


@pytest.mark.needs("tqdm")
def test_a_progress_bar_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    import tqdm

    from weakreduce.report.progress import Progress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    root = [Thing() for _ in range(10)]
    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert Progress("explaining").shown == shown
        explain(root)
        assert stream.getvalue() == ""  # nothing in the first second
    monkeypatch.setattr(tqdm.tqdm, "__init__", _without_delay(tqdm.tqdm.__init__))
    explain(root)
    assert "explaining" in stream.getvalue()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert not Progress("explaining").shown


def _without_delay(stock: Any) -> Any:
    def __init__(bar: Any, *arguments: Any, **keywords: Any) -> None:
        stock(bar, *arguments, **{**keywords, "delay": 0, "mininterval": 0})

    return __init__


def test_no_warning_without_tqdm() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert explain([Thing()]).total_bytes


def test_no_command_ends_with_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "class Odd:\n    def __getattr__(self, name): raise RuntimeError('boom')\nodd = Odd()\n"
    )
    (tmp_path / "leaves.py").write_text("raise SystemExit(7)")
    (tmp_path / "text").write_text("hello world\n")
    (tmp_path / "good").write_bytes(pickle.dumps([weakref.ref, 1]))
    for arguments, text in (
        (("explain", "odd:odd.x"), "cannot get odd.x of odd: RuntimeError: boom"),
        (("explain", "leaves:x"), "cannot import leaves: SystemExit: 7"),
        (("inspect", "text"), "it refers to an object that it does not have"),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    command = [sys.executable, "-m", "weakreduce"]
    environment = {**os.environ, "WEAKREDUCE_POLICY": "bogus"}
    done = subprocess.run([*command, "info"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("python -m weakreduce: WEAKREDUCE_POLICY is one of ")
    assert done.stderr.count("\n") == 1
    read, write = os.pipe()
    os.close(read)
    for output, said in ((write, ""), (os.open("/dev/full", os.O_WRONLY), "cannot write")):
        done = subprocess.run(
            [*command, "inspect", str(tmp_path / "good")],
            stdout=output, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(output)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


def test_what_is_public_is_listed() -> None:
    assert set(dir(weakreduce)) == {*weakreduce.__all__, "__version__"}
    assert weakreduce.__version__ == weakreduce.info()["weakreduce"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        weakreduce.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_a_package_that_is_only_on_the_path_has_no_version() -> None:
    code = """
        import importlib.metadata, sys, weakreduce
        sys.path.clear()  # where its metadata would be looked for
        print(weakreduce.__version__)
    """
    assert programs.run(textwrap.dedent(code)) == "unknown\n"


def test_several_files_none_of_which_can_be_read(tmp_path: Path) -> None:
    """Nothing is printed that would look like an answer."""
    (tmp_path / "bad.pkl").write_bytes(b"no pickle")
    done = run("inspect", "--json", "bad.pkl", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "bad.pkl" in done.stderr


def test_a_payload_finds_the_modules_beside_it(tmp_path: Path) -> None:
    """Also where Python does not look there by itself."""
    (tmp_path / "shelf.py").write_text("class Book: pass\n")
    (tmp_path / "x.pkl").write_bytes(b"cshelf\nBook\n.")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "weakreduce", "explain-load", "x.pkl"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "it loads\n"), done.stderr


def test_what_keeps_pickle_as_it_was_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    keeps = types.ModuleType("keeps_dumps")
    keeps.dumps = pickle.dumps  # type: ignore[attr-defined]
    sys.modules[keeps.__name__] = keeps
    try:
        weakreduce.install("pickle")
        assert main(["info"]) == 0
    finally:
        weakreduce.uninstall("pickle")
        del sys.modules[keeps.__name__]
    (line,) = (text for text in capsys.readouterr().out.splitlines() if "as it was" in text)
    assert "keeps_dumps" in line


def test_a_host_that_is_not_there_or_does_not_import(tmp_path: Path) -> None:
    """A self-test tells, and the others are made."""
    for expected in ("not installed", "failed: import: ZeroDivisionError: here"):
        (tmp_path / "dill").mkdir(exist_ok=True)
        (tmp_path / "dill" / "__init__.py").write_text("raise ZeroDivisionError('here')\n")
        code = f"""
import importlib.util, sys
if {expected == "not installed"}:
    stock = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "dill" else stock(name, *rest)
else:
    sys.path.insert(0, {str(tmp_path)!r})
import weakreduce
from weakreduce import selftest
found = selftest.results()
print(found["dill"])
print(found["cloudpickle"])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.splitlines() == [expected, "passed"], done.stderr
