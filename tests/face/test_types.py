"""Type checkers take what works and report what does not: names, values, keywords, hosts.

Each file below is checked as a user's own file is: mypy strict and basedpyright (a pyright that
comes from PyPI whole), from outside the package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import weakreduce
from weakreduce.model.policies import NAMED, Changes, PolicyName
from weakreduce.registry import HOSTS

RIGHT = f"""
import gzip
import io
import mmap
import pickle
import weakref
from collections.abc import Callable
from typing import assert_type

import weakreduce
from weakreduce import Finding, Policy, Report, WeakrefPicklingError, dumps, explain, policy

version: str = weakreduce.__version__

class Thing:
    pass

def is_small(weak: object, referent: object) -> bool:
    return True

thing = Thing()
reference = weakref.ref(thing)
policy("snapshot"), policy("dangle"), policy("strict"), policy("forbid"), policy(), policy(None)
policy(Policy()), policy("dangle", callbacks="drop"), policy(outside="refuse")
policy(unpicklable="raise", max_snapshot_bytes=10, finalizers="rearm", live="forbid")
policy(identity="home"), Policy(identity="copy")
policy(rules=((Thing, "dangle"), (is_small, "sever"), (Thing, "snapshot"), (Thing, "refuse")))
policy("strict", rules=())
Policy(outside="dangle", unpicklable="dangle", max_snapshot_bytes=None, callbacks="keep")
Policy(rules=((Thing, "dangle"),), finalizers="detach", live="allow")
weakreduce.set_policy("strict")
weakreduce.set_policy(Policy(), max_snapshot_bytes=3)
assert_type(weakreduce.get_policy(), Policy)
assert_type(dumps(thing, policy="dangle", host="dill", protocol=4), bytes)
weakreduce.dump(thing, io.BytesIO(), host="pickle", policy=Policy())
weakreduce.loads(b"", host="cloudpickle", buffers=None)
weakreduce.loads(memoryview(b"")), weakreduce.loads(bytearray()), weakreduce.loads(mmap.mmap(0, 1))
weakreduce.load(io.BytesIO(), host="dill")
buffers: list[pickle.PickleBuffer] = []
weakreduce.loads(dumps(thing, protocol=5, buffer_callback=buffers.append), buffers=buffers)
with open("file", "wb") as out, gzip.open("file", "rb") as back:
    weakreduce.dump(thing, out, buffer_callback=None)
    weakreduce.load(back)
weakreduce.bind(thing, "dangle")
assert_type(explain(thing, "strict", host="pickle", keep=3), Report)
finding: Finding = explain(thing)[0]
finding.fate == "snapshot" or finding.fate == "token" or finding.fate == "home"
with weakreduce.record(keep=10) as report:
    print(report.counts)
weakreduce.install()
weakreduce.install({", ".join(map(repr, HOSTS))})
weakreduce.uninstall("pickle")
assert_type(weakreduce.share("name", thing), Thing)
weakreduce.unshare("name")
assert_type(weakreduce.unpin(reference), "weakref.ref[Thing]")
assert_type(weakreduce.is_pinned(reference), bool)
weakreduce.register(Thing, referent=lambda weak: None, rebuild=lambda referent: Thing())
error: type[TypeError] = WeakrefPicklingError
warning: type[Warning] = weakreduce.DanglingWarning
base: type[Exception] = weakreduce.WeakreduceError
print(weakreduce.info()["policy"])
with policy("dangle") as entered:
    assert_type(entered, Policy)

@policy("dangle")
def send(number: int) -> str:
    return str(number)

@policy(outside="dangle")
async def send_later(number: int) -> str:
    return str(number)

assert_type(send(1), str)
function: Callable[[int], str] = send
"""

WRONG = """
import weakreduce
from weakreduce import Policy, policy

class Thing: ...

def no_predicate(weak: object) -> bool: return True

weakreduce.polcy
from weakreduce import explian
policy("loose")
policy(3)
policy(outside="x")
policy(outsid="dangle")
policy("dangle", callbacks=True)
policy(unpicklable="drop")
policy(finalizers="run")
policy(live="refuse")
policy(max_snapshot_bytes="1MB")
policy(rules=((Thing, "link"),))
policy(rules=((3, "dangle"),))
policy(rules=((no_predicate, "dangle"),))
policy(rules=(Thing,))
weakreduce.set_policy("loose")
weakreduce.set_policy("strict", outside="loose")
weakreduce.set_policy()
Policy("dangle")
Policy(outside="x")
Policy(outsid="dangle")
Policy(rules=((Thing, "link"),))
Policy().outside = "dangle"
weakreduce.dumps(1, host="nope")
weakreduce.dumps(1, policy="loose")
weakreduce.dumps(1, polcy="strict")
weakreduce.dump(1, host="dill")
weakreduce.dump(1, "file")
weakreduce.dump(1, open("file", "w"))
weakreduce.dumps(1, buffer_callback=3)
weakreduce.load(object(), host="marshal")
weakreduce.load("file")
weakreduce.load(open("file"))
weakreduce.loads("text")
weakreduce.loads(b"", buffers=3)
weakreduce.loads(b"", host="marshal")
weakreduce.bind(1, "loose")
weakreduce.explain(1, "loose")
weakreduce.explain(1, host="ray")
weakreduce.install("dil")
weakreduce.uninstall("cloud")
weakreduce.share(3, Thing())
weakreduce.register(Thing, referent=3, rebuild=print)
number: int = weakreduce.dumps(1)
weakreduce.get_policy().outsid
policy("dangle")(3)
"""

#: Comparisons that can never hold: mypy's strict equality sees them.
NEVER = """
import weakreduce

weakreduce.get_policy().outside == "refused"
weakreduce.explain(1)[0].fate == "pinned"
"""


def run(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "MYPYPATH": str(Path(weakreduce.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True, text=True, cwd=folder, env=environment, timeout=250,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(file: Path) -> dict[int, str]:
    """Line -> what mypy reports there."""
    printed = run("mypy", "--strict", "--no-error-summary", "--show-absolute-path",
                  "--follow-imports=silent", file.name, folder=file.parent)  # fmt: skip
    found: dict[int, str] = {}
    for line in printed.splitlines():
        path, number, kind, text = line.split(":", 3)
        assert Path(path) == file.resolve(), line
        if kind.strip() == "error":
            found[int(number)] = text
    return found


def pyright(file: Path) -> dict[int, str]:
    """Line -> what pyright reports there."""
    root = str(Path(weakreduce.__file__).parent.parent)
    settings = {"typeCheckingMode": "strict", "extraPaths": [root],
                "reportUnusedExpression": False, "reportUnusedCallResult": False,
                "reportUnusedImport": False}  # fmt: skip
    (file.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    printed = run("basedpyright", "--outputjson", "--pythonpath", sys.executable, file.name,
                  folder=file.parent)  # fmt: skip
    return {
        problem["range"]["start"]["line"] + 1: problem["message"]
        for problem in json.loads(printed)["generalDiagnostics"]
        if problem["severity"] == "error"
    }


CHECKERS = pytest.mark.parametrize(
    "checker",
    [
        pytest.param(mypy, marks=pytest.mark.needs("mypy")),
        pytest.param(pyright, marks=pytest.mark.needs("basedpyright")),
    ],
)


def checked(checker: object, source: str, folder: Path) -> dict[int, str]:
    file = folder / "uses.py"
    file.write_text(source)
    found: dict[int, str] = checker(file)  # type: ignore[operator]
    return found


@CHECKERS
def test_right_uses_pass(checker: object, tmp_path: Path) -> None:
    assert checked(checker, RIGHT, tmp_path) == {}


@CHECKERS
def test_each_wrong_use_is_reported(checker: object, tmp_path: Path) -> None:
    lines = WRONG.splitlines()
    first = lines.index("weakreduce.polcy") + 1
    found = checked(checker, WRONG, tmp_path)
    assert {lines[number - 1] for number in found} == set(lines[first - 1 :]), found


@pytest.mark.needs("mypy")
def test_comparisons_that_never_hold_are_reported(tmp_path: Path) -> None:
    assert len(checked(mypy, NEVER, tmp_path)) == 2


def test_the_types_are_those_of_the_fields() -> None:
    """A field that is new is one line in `Changes`, too."""
    hints = get_type_hints(weakreduce.Policy)
    assert get_type_hints(Changes) == {name: hints[name] for name in hints}
    assert get_args(PolicyName) == tuple(NAMED)


def test_every_right_use_runs(tmp_path: Path) -> None:
    """What the checkers are shown as right is right: the values, at least, are taken."""
    for line in RIGHT.splitlines():
        if line.startswith(("policy(", "Policy(")):
            eval(line, {**vars(weakreduce), "Thing": type("Thing", (), {}), "is_small": print})
