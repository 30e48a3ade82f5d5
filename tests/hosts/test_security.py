"""What payloads of ours can do on a receiver: the names in them, shared names, readying.

`docs/explanation/security.md` lists every name; what is checked here is that the list is exact,
against thousands of payloads (`named.py`) and against the source of what writes them. What
scanners find is in `test_scanners.py`, forged homes in `core/test_home.py`.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import pickle
import re
import subprocess
import sys
import textwrap
import typing
import weakref
from pathlib import Path
from typing import Any

import gaps
import pytest
import things
from named import full_name

import weakreduce

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/explanation/security.md"
#: The tables of the page, in its order.
TABLES = ("weak things", "below protocol 4", "readying", "ours", "by value")
#: By sort of payload: the tables that it may take names from, beside the first.
ALLOWED: dict[str, tuple[str, ...]] = {
    "plain": (),
    "token": ("ours",),
    "home": ("ours", "by value"),
    "readying": ("readying", "by value"),
    "by value": ("by value",),
}
HOSTS = ("cloudpickle.", "dill.")


def tables() -> dict[str, set[str]]:
    """The names in each table of the page."""
    section = PAGE.read_text(encoding="utf-8").partition("## What our payloads name")[2]
    section = section.partition("\n### ")[0]
    found = [
        {
            name
            for row in table.splitlines()[2:]
            for name in re.findall("`([^`]+)`", row.split("|")[1])
        }
        for table in re.findall(r"^\| Names \|.*?(?:\n\|.*)+", section, re.MULTILINE)
    ]  # fmt: skip
    return dict(zip(TABLES, found, strict=True))


# --- names --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named() -> dict[str, set[str]]:
    """The names in payloads of each sort."""
    script = ROOT / "tests/support/named.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("payloads") > 1000
    return {sort: set(names) for sort, names in found.items()}


@pytest.mark.needs(gaps.DILL_BY_VALUE)  # whose payloads are among them
@pytest.mark.parametrize("low", ["", ", below protocol 4"])
@pytest.mark.parametrize("sort", ALLOWED)
def test_payloads_name_what_the_page_lists(sort: str, low: str, named: dict[str, set[str]]) -> None:
    listed = tables()
    allowed = listed["weak things"].union(*(listed[name] for name in ALLOWED[sort]))
    if low:
        allowed |= listed["below protocol 4"]
    found = named[sort + low]
    if "by value" in (sort, *ALLOWED[sort]):
        # What a host names of its own is no word of ours; the attributes are of functions.
        found = {name for name in found if not name.startswith(HOSTS)}
        found -= {f"getattr of a function: __{name}__" for name in ("globals", "closure")}
        found -= {"getattr of a module: _setattr"}  # dill's, for cells that lead back
    assert found <= allowed, found - allowed


@pytest.mark.needs(gaps.DILL_BY_VALUE)  # whose payloads are among them
def test_nothing_is_listed_that_no_payload_names(named: dict[str, set[str]]) -> None:
    listed = tables()
    assert named["plain"] == listed["weak things"]
    assert named["token"] | named["home"] >= listed["ours"]
    assert named["readying"] >= listed["readying"]
    assert named["by value"] >= listed["by value"]
    assert set().union(*named.values()) >= listed["below protocol 4"]


def written(name: str) -> set[str]:
    """Full names of the library's callables that a module of the package has as values.

    What is called there and then is none, nor what is compared with, or a part of a type.
    """
    module = importlib.import_module(f"weakreduce.{name}")
    known = vars(builtins) | vars(module)
    values: list[ast.AST] = []
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            # What these are given is written; so are lists and tuples.
            if ast.unparse(node.func).rpartition(".")[2] in ("Call", "same_with", "readying"):
                values += node.args
        elif isinstance(node, (ast.Tuple, ast.List)):
            values += node.elts
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return)) and node.value:
            values.append(node.value)
    found = set()
    for value in values:
        if isinstance(value, (ast.Name, ast.Attribute)):
            try:
                got = eval(ast.unparse(value), dict(known))
            except (AttributeError, NameError):
                continue  # a local variable
            if issubclass(type(got), type) and issubclass(got, BaseException):
                continue  # caught or raised
            if callable(got) and getattr(got, "__module__", "") != "typing":
                source = ast.unparse(value).replace("weakref.ref", "weakref.ReferenceType")
                place, _, last = source.rpartition(".")
                found.add(full_name(place.replace("wire", "weakreduce.wire") or "builtins", last))
    return {full if full.partition(".")[0] in NAMESPACES else f"builtins.{full}" for full in found}


NAMESPACES = {
    "builtins", "contextlib", "copy", "functools", "importlib", "itertools", "operator", "pickle",
    "types", "weakref", "weakreduce",
}  # fmt: skip
#: What is compared with.
NOT_WRITTEN = {
    f"builtins.{name}"
    for name in (
        "bool", "bytes", "bytearray", "range", "NotImplemented", "complex", "float", "frozenset",
        "int", "str", "tuple",
        "copyreg.__newobj__", "dict.__new__", "list.__new__", "object.__eq__",
        "object.__getstate__", "object.__hash__",
    )
} | {"pickle.PickleBuffer"}  # fmt: skip
NOT_WRITTEN |= {f"types.{name}Type" for name in ("Code", "Function", "WrapperDescriptor")}
#: Where the package is: of the wheel, where that is tested.
PACKAGE = Path(weakreduce.__file__).parent
WRITERS = sorted(path.stem for path in (PACKAGE / "core").glob("[a-z]*.py"))


def test_what_the_source_writes_is_listed() -> None:
    listed = set().union(*tables().values())
    found = set().union(*(written(f"core.{name}") for name in WRITERS))
    ours = set()
    for name in WRITERS:
        module = importlib.import_module(f"weakreduce.core.{name}")
        ours |= {f"builtins.{name}" for name in set(vars(module)) - set(vars(builtins))}
    found -= ours | NOT_WRITTEN
    assert found <= listed, found - listed
    # The kinds themselves are written by what an object's type is, the rest is in the source.
    kinds = re.compile(r"weakref\.(finalize|WeakMethod|Weak\w+(\.__init__)?)$|dill\.")
    told = {name for name in tables()["weak things"] if not kinds.match(name)}
    assert told <= found, told - found


def test_a_new_word_would_be_noticed() -> None:
    """The source is read as it should be: it has words of every sort."""
    assert {"operator.getitem", "weakref.ReferenceType.__new__"} <= written("core.encode")
    assert "builtins.id" in written("core.identities")
    assert {"importlib.util.find_spec", "builtins.classmethod.__get__"} <= written(
        "core.expressions"
    )
    assert any("weakreduce.wire.shared" in written(f"core.{name}") for name in WRITERS)


def test_all_of_ours_that_payloads_name_is_in_one_module() -> None:
    from weakreduce import wire

    public = {
        f"weakreduce.wire.{name}"
        for name, found in vars(wire).items()
        if getattr(found, "__module__", "") == "weakreduce.wire"
    }
    assert public == tables()["ours"]


# --- shared names -------------------------------------------------------------------------


#: What an attacker may hope that a name is: a path, an attribute, code.
HOSTILE: typing.Final = [
    "", " ", "os.system", "builtins.eval", "__main__", "things.Thing", "weakreduce.share",
    "known\0", "known ", "KNOWN", "known.name", "known.__class__", "../known", "known()",
    "lambda: 1", "_by_name",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("is_callable", [True, False])
def test_a_name_is_what_was_shared_and_nothing_else(name: str, is_callable: bool) -> None:
    known = weakreduce.share("known", things.Thing("known"))
    payload = weakreduce.dumps(weakref.ref(known), host="pickle", protocol=2)
    assert pickle.loads(payload)() is known
    forged = _with_name(payload, "known", name)
    if not is_callable:
        forged = forged.replace(b"\x88", b"\x89")
    with pytest.warns(weakreduce.DanglingWarning, match="nothing is shared as"):
        assert pickle.loads(forged)() is None


def _with_name(payload: bytes, old: str, new: str) -> bytes:
    def text(name: str) -> bytes:
        data = name.encode()
        return b"X" + len(data).to_bytes(4, "little") + data

    assert payload.count(text(old)) == 1
    return payload.replace(text(old), text(new))


@pytest.mark.parametrize("name", [1, None, b"known", ("known",), 1.5])
def test_a_name_of_another_type_is_nobodys(name: Any) -> None:
    from weakreduce import wire

    known = weakreduce.share("known", things.Thing("known"))
    with pytest.warns(weakreduce.DanglingWarning):
        assert wire.shared(name) is not known


def test_a_name_ends_with_unshare_and_with_its_object() -> None:
    for end in (lambda known: weakreduce.unshare("known"), list.clear):
        known = [things.Thing("known")]
        weakreduce.share("known", known[0])
        payload = weakreduce.dumps(weakref.ref(known[0]))
        assert pickle.loads(payload)() is known[0]
        end(known)
        with pytest.warns(weakreduce.DanglingWarning, match="nothing is shared as 'known'"):
            assert pickle.loads(payload)() is None


# --- readying -----------------------------------------------------------------------------


RECEIVER = """
    import io, json, pickle, sys, threading
    import things, weakref, {known}
    before, events = set(sys.modules), []
    def hook(event, arguments):
        if event == "open" and not set(str(arguments[1] or "r")) & set("wax+"):
            return
        if event.partition(".")[0] in WATCHED or event == "open":
            events.append([event, repr(arguments)])
    WATCHED = {{"os", "socket", "subprocess", "shutil", "ctypes", "http", "urllib", "ftplib",
               "smtplib", "webbrowser", "signal", "_thread", "tempfile", "sqlite3", "pty"}}
    READS = {{"os.listdir", "os.scandir"}}
    threads = threading.active_count()
    sys.addaudithook(hook)
    found = pickle.loads(bytes.fromhex(sys.argv[1]))
    assert type(found[1]) is weakref.ReferenceType and found[1]() is found[0]
    print(json.dumps({{
        "modules": sorted(set(sys.modules) - before),
        "events": [event for event in events if event[0] not in READS],
        "threads": threading.active_count() - threads,
    }}))
"""


def receive(payload: bytes, known: str, *options: str) -> Any:
    """What loading a payload does in a new process."""
    folders = [str(Path(things.__file__).parent)] + ([] if options else [str(ROOT)])
    script = f"import sys; sys.path[:0] = {folders!r}\n" + textwrap.dedent(
        RECEIVER.format(known=known)
    )
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", *options, "-c", script, payload.hex()],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_readying_imports_weakreduce_and_does_nothing_else(host: Any) -> None:
    """Neither a file that is written, nor a thread, a process or a connection."""
    thing = things.Thing("a")
    root = [thing, weakref.ref(thing)]
    stock = receive(weakreduce.dumps(root, host=host), host)
    ready = receive(
        weakreduce.dumps(root, host=host, policy=weakreduce.Policy(ready_receiver="always")), host
    )
    assert stock == {"modules": [], "events": [], "threads": 0}
    assert "weakreduce" in ready["modules"]
    assert ready["threads"] == 0 and ready["events"] == []
    roots = {name.partition(".")[0] for name in ready["modules"]}
    assert roots <= {"weakreduce", *sys.stdlib_module_names}, roots


def test_readying_asks_for_weakreduce_alone_and_is_silent_without_it() -> None:
    thing = things.Thing("a")
    policy = weakreduce.Policy(ready_receiver="always")
    payload = weakreduce.dumps([thing, weakref.ref(thing)], policy=policy, host="pickle")
    found = receive(payload, "pickle", "-I", "-S")
    assert not {name for name in found["modules"] if name.startswith("weakreduce")}
    assert found["events"] == []


def test_nothing_of_loading_is_changed() -> None:
    """Importing weakreduce extends picklers, and no unpickler."""
    code = """
        import cloudpickle, dill, pickle, _pickle
        def all_that_loads():
            classes = [pickle._Unpickler, dill.Unpickler]
            return [
                pickle.loads, pickle.load, pickle.Unpickler, pickle._loads, pickle._load,
                _pickle.loads, cloudpickle.loads, cloudpickle.load, dill.loads, dill.load,
                *classes, *(dict(vars(cls)) for cls in classes), dict(pickle._Unpickler.dispatch),
            ]
        before = all_that_loads()
        import weakreduce
        weakreduce.install("pickle")
        after = all_that_loads()
        assert before == after
        assert weakreduce.info()["hosts"]["dill"]["state"] == "installed"
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
