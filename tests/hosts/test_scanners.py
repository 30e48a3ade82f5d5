"""Scanners of pickles find nothing dangerous in what weak things of importable classes write, and
a file names neither weakreduce nor a way to import it."""

from __future__ import annotations

import io
import json
import pickletools
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from picklescan.scanner import scan_pickle_bytes
from things import (
    CallableThing,
    Frozen,
    FrozenSlots,
    Index,
    Listeners,
    Notes,
    SubMethod,
    SubRef,
    Thing,
    Valued,
    called,
    function,
    log,
)

import weakreduce

if sys.version_info < (3, 13):
    from modelscan.modelscan import ModelScan
else:
    ModelScan = None  # no release of it runs there

#: What a payload of ours may not name, whatever a scanner says.
FORBIDDEN = {
    "getattr", "partial", "itemgetter", "attrgetter", "methodcaller",
    "import_module", "find_spec", "__import__", "eval", "exec",
}  # fmt: skip

thing, other, valued, caller = Thing("a"), Thing("b"), Valued("v"), CallableThing("c")


def dead() -> weakref.ref[Thing]:
    return weakref.ref(Thing("dead"))


def dead_proxy(cls: type[Thing]) -> Any:
    return weakref.proxy(cls("dead"))


SHAPES: dict[str, Callable[[], Any]] = {
    "ref": lambda: weakref.ref(thing),
    "ref with a callback": lambda: weakref.ref(thing, called),
    "ref subclass": lambda: SubRef(thing, id(thing)),
    "ref to a slotted one": lambda: weakref.ref(FrozenSlots(1)),
    "ref to a function": lambda: weakref.ref(function),
    "ref to a class": lambda: weakref.ref(Thing),
    "dead ref": dead,
    "dead key": lambda: dead_key(),
    "WeakMethod": lambda: weakref.WeakMethod(thing.method),
    "WeakMethod with a callback": lambda: weakref.WeakMethod(thing.method, called),
    "WeakMethod subclass": lambda: SubMethod(thing.method),
    "dead WeakMethod": lambda: weakref.WeakMethod(Thing("dead").method),
    "proxy": lambda: weakref.proxy(thing),
    "proxy with a callback": lambda: weakref.proxy(thing, called),
    "callable proxy": lambda: weakref.proxy(caller),
    "dead proxy": lambda: dead_proxy(Thing),
    "dead callable proxy": lambda: dead_proxy(CallableThing),
    "WeakSet": lambda: weakref.WeakSet([thing, other]),
    "WeakSet by value": lambda: weakref.WeakSet([valued, thing]),
    "WeakSet subclass": lambda: Listeners("name", [thing]),
    "empty WeakSet": weakref.WeakSet,
    "WeakValueDictionary": lambda: weakref.WeakValueDictionary(a=thing, b=other),
    "WeakValueDictionary subclass": lambda: fill(Index("name"), "key", thing),
    "WeakKeyDictionary": lambda: weakref.WeakKeyDictionary({thing: 1, valued: other}),
    "WeakKeyDictionary subclass": lambda: fill(Notes("name"), thing, "value"),
    "finalize": lambda: weakref.finalize(thing, log, 1),
    "a value that its reference is a key of": lambda: key_of_its_own(),
}


def fill(container: Any, key: Any, value: Any) -> Any:
    container[key] = value
    return container


def dead_key() -> Any:
    mortal = Thing("mortal")
    return {weakref.ref(mortal): 1}


def key_of_its_own() -> Any:
    frozen = Frozen(3)
    object.__setattr__(frozen, "extra", {weakref.ref(frozen): 1})
    return frozen


def payloads(shape: str) -> Iterator[bytes]:
    made = SHAPES[shape]()
    policies: list[Any] = ["snapshot", "dangle", weakreduce.Policy(finalizers="rearm")]
    for root in (made, [made, thing, other, valued, caller], [thing, other, valued, caller, made]):
        for policy in policies:
            for host in ("cloudpickle", "dill", "pickle"):
                for protocol in (4, 5):
                    yield weakreduce.dumps(root, policy=policy, host=host, protocol=protocol)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::weakreduce.DanglingWarning")
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_dangerous(shape: str, tmp_path: Path) -> None:
    distinct = set(payloads(shape))
    for number, data in enumerate(distinct):
        found = scan_pickle_bytes(io.BytesIO(data), shape)
        named = {(g.module, g.name) for g in found.globals}
        assert found.infected_files == 0 and not found.scan_err, named
        assert not {name for _, name in named} & FORBIDDEN, named
        assert not {module for module, _ in named if module.startswith("weakreduce")}
        assert all("weakreduce" not in str(arg) for _, arg, _ in pickletools.genops(data))
        (tmp_path / f"{number}.pkl").write_bytes(data)
    if ModelScan is None:
        return
    scanned = ModelScan().scan(tmp_path)
    assert scanned["issues"] == [], scanned["issues"]
    assert scanned["summary"]["scanned"]["total_scanned"] == len(distinct)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_functions_met_before_the_first_weak_thing_change_no_words(host: Any) -> None:
    """What is known of their types by then is known of other payloads."""
    for _ in range(2):
        for root in ([len, str.join], [len, str.join, thing, weakref.WeakSet([thing])]):
            data = weakreduce.dumps(root, host=host)
    named = {arg for _, arg, _ in pickletools.genops(data) if isinstance(arg, str)}
    assert "set.update" in named


def test_what_is_dangerous_is_found() -> None:
    found = scan_pickle_bytes(io.BytesIO(b"cbuiltins\ngetattr\n."), "getattr")
    assert found.infected_files == 1


#: Loads a file, and says whether that imported a `weakreduce` from the current folder.
LOADER = (
    "import json, pickle, sys; x = pickle.load(open('file.pkl', 'rb'));"
    "print(json.dumps('weakreduce' in sys.modules))"
)


@pytest.mark.parametrize(
    ("ready", "ships", "imported"),
    [
        ("engines", False, False), ("engines", True, True),
        ("always", False, True), ("always", True, True),
        ("never", False, False), ("never", True, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_who_imports_weakreduce(
    ready: Any, ships: bool, imported: bool, host: Any, tmp_path: Path
) -> None:
    root = [thing, weakref.ref(thing)]
    with weakreduce.policy(ready_receiver=ready):
        if ships:
            data = weakreduce.dumps(weakreduce.bind(root), host=host)
        else:
            data = weakreduce.dumps(root, host=host)
    (tmp_path / "file.pkl").write_bytes(data)
    (tmp_path / "weakreduce.py").write_text("")
    (tmp_path / "things.py").write_text("class Thing: pass")
    done = subprocess.run(
        [sys.executable, "-c", LOADER], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) is imported
