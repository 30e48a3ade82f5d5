"""What becomes of weak references by each way to pickle them, from real runs: a script.

``python tests/run_comparison.py`` writes the tables of `docs/explanation/comparison.md`; the tests
run it and check that they would not change. Each way runs in a process of its own, where
weakreduce extends nothing unless it is the way. No times are measured here: those are on the page
of performance. The column of CPython's pull request is no run, and says so.
"""

from __future__ import annotations

import copy
import functools
import gc
import io
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "comparison.md"
WAYS = ("pickle", "cloudpickle", "dill", "by hand", "wrapper", "weakreduce")
PULL_REQUEST = "PR 153818 †"


class Target:
    """A referent."""

    def __init__(self) -> None:
        self.children: list[Any] = []

    def method(self) -> None: ...


class SubRef(weakref.ref):  # type: ignore[type-arg]
    """A subclass of ref."""


def called(reference: Any) -> None:
    """A callback."""


class Kind(NamedTuple):
    """A kind of weak thing: how it is made, and how its referent is found."""

    make: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _first(collection: Any) -> Any:
    return next(iter(collection), None)


def _behind(proxy: Any) -> Any:
    try:
        return proxy.method.__self__
    except ReferenceError:
        return None


def _instance(method: Any) -> Any:
    return getattr(method(), "__self__", None)


KINDS = {
    "ref": Kind(weakref.ref, lambda weak: weak()),
    "ref with a callback": Kind(lambda t: weakref.ref(t, called), lambda weak: weak()),
    "subclass of ref": Kind(SubRef, lambda weak: weak()),
    "WeakMethod": Kind(lambda t: weakref.WeakMethod(t.method), _instance),
    "proxy": Kind(weakref.proxy, _behind),
    "WeakSet": Kind(lambda t: weakref.WeakSet([t]), _first),
    "WeakValueDictionary": Kind(
        lambda t: weakref.WeakValueDictionary(key=t), lambda weak: weak.get("key")
    ),
    "WeakKeyDictionary": Kind(lambda t: weakref.WeakKeyDictionary({t: "value"}), _first),
}


class Holder:
    """Holds a weak thing, and its referent where that is to be inside."""

    def __init__(self, kind: str, target: Any, inside: bool) -> None:
        self.kind = kind
        self.weak = self.made(target)
        self.held = target if inside else None

    def made(self, target: Any) -> Any:
        return KINDS[self.kind].make(target)

    def read(self) -> Any:
        return KINDS[self.kind].read(self.weak)


class ByHand(Holder):
    """The same, with what one writes by hand: strong in the state, weak again on arrival."""

    # begin
    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "weak": self.read()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.weak is not None:
            self.weak = self.made(self.weak)

    # end


class Link:
    """A weak reference in a wrapper that can be pickled, as some libraries have one."""

    # begin
    def __init__(self, kind: str, target: Any) -> None:
        self.kind = kind
        self.weak = None if target is None else KINDS[kind].make(target)

    def __call__(self) -> Any:
        return None if self.weak is None else KINDS[self.kind].read(self.weak)

    def __reduce__(self) -> Any:
        return Link, (self.kind, self())

    # end


class Wrapping(Holder):
    """The same, with the wrapper in place of the weak thing."""

    def made(self, target: Any) -> Any:
        return Link(self.kind, target)

    def read(self) -> Any:
        return self.weak()


class Node:
    """A tree's: its children strongly, its parent weakly."""

    def __init__(self, parent: Any = None) -> None:
        self.children: list[Any] = []
        self.parent = None if parent is None else self.up(parent)
        if parent is not None:
            parent.children.append(self)

    def up(self, parent: Any) -> Any:
        return weakref.ref(parent)


class NodeByHand(Node):
    """The same, for one who knows that every parent is found from its child's side."""

    def __getstate__(self) -> dict[str, Any]:
        return {"children": self.children}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.children, self.parent = state["children"], None
        for child in self.children:
            child.parent = weakref.ref(self)


class NodeWrapping(Node):
    """The same, with the wrapper."""

    def up(self, parent: Any) -> Any:
        return Link("ref", parent)


HOLDERS = {"by hand": (ByHand, NodeByHand), "wrapper": (Wrapping, NodeWrapping)}


# --- one way, in its own process ---------------------------------------------------------------


def fate(dumps: Any, loads: Any, holder: Any, reference_first: bool) -> str:
    """What becomes of one weak thing, in a word or two."""
    inside = holder.held is not None
    if reference_first:
        vars(holder)["held"] = vars(holder).pop("held")
    else:
        vars(holder)["weak"] = vars(holder).pop("weak")
    expected, source = type(holder.weak), holder.read()
    try:
        payload = dumps(holder)
    except Exception:
        return "error"
    arrived = loads(payload)
    gc.collect()
    if type(arrived.weak) is not expected:
        return "strong copy" if isinstance(arrived.weak, Target) else "nothing"
    if arrived.read() is None:
        return "dead"
    assert arrived.read() is not source
    if inside:
        assert arrived.read() is arrived.held
        lost = getattr(holder.weak, "__callback__", None) is called and (
            arrived.weak.__callback__ is not called
        )
        arrived.held = None
        gc.collect()
        word = "link" if arrived.read() is None else "kept alive"
        return f"{word}, no callback" if lost else word
    return "pinned"


def both_orders(dumps: Any, loads: Any, make: Callable[[], Any]) -> str:
    found = [fate(dumps, loads, make(), first) for first in (False, True)]
    return found[0] if found[0] == found[1] else f"{found[0]}, or {found[1]}"


class File(io.BytesIO):
    """Counts how often it is written to."""

    writes = 0

    def write(self, data: Any) -> int:
        self.writes += 1
        return super().write(data)


def calls(action: Callable[[], Any]) -> int:
    """How many functions written in Python are called."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(seen)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def measured(way: str) -> dict[str, Any]:
    """All outcomes of one way."""
    if way == "weakreduce":
        import weakreduce  # noqa: F401
    name = {"by hand": "pickle", "wrapper": "pickle", "weakreduce": "cloudpickle"}.get(way, way)
    module = __import__(name)
    dumps, loads = module.dumps, module.loads
    cls, node = HOLDERS.get(way, (Holder, Node))
    found: dict[str, Any] = {}
    for kind in KINDS:
        target = Target()
        found[kind] = [
            both_orders(dumps, loads, functools.partial(cls, kind, target, inside))
            for inside in (True, False)
        ]
    gone = cls("ref", Target(), inside=False)
    found["dead ref"] = [fate(dumps, loads, gone, reference_first=False)]

    target = Target()
    twin = copy.deepcopy(cls("ref", target, inside=False))
    found["deepcopy"] = "the same object" if twin.read() is target else "another"

    root = node()
    for _ in range(1000):
        node(root)
    try:
        payload = dumps(root)
    except Exception:
        found["bytes"] = found["calls"] = None
    else:
        found["bytes"] = round(len(payload) / 1000)
        found["calls"] = [round(calls(lambda: dumps(root)) / 1000),
                          round(calls(lambda: loads(payload)) / 1000)]  # fmt: skip

    file = File()
    module.Pickler(file, 5).dump([str(number) * 10 for number in range(100_000)])
    found["writes"] = file.writes
    return found


# --- the tables --------------------------------------------------------------------------------

#: From its description alone: (inside, outside) of each kind.
DESCRIBED = {
    "ref": "link / error", "ref with a callback": "link, no callback / error",
    "subclass of ref": "not said", "WeakMethod": "link / error", "proxy": "as pickle",
    "WeakSet": "link / error", "WeakValueDictionary": "link / error",
    "WeakKeyDictionary": "link / error", "dead ref": "dead",
}  # fmt: skip


def run(way: str) -> dict[str, Any]:
    environment = {**os.environ, "WEAKREDUCE_INSTALL": "1" if way == "weakreduce" else "0"}
    environment.pop("WEAKREDUCE_POLICY", None)
    done = subprocess.run(
        [sys.executable, __file__, way], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |\n"


def header() -> str:
    ways = [*WAYS, PULL_REQUEST]
    return row("", ways) + "|---" * (len(ways) + 1) + "|\n"


def lines_of(cls: type) -> int:
    """How many lines one writes: those between the marks in its source."""
    source = Path(__file__).read_text(encoding="utf-8").partition(f"class {cls.__name__}")[2]
    written = source.partition("# begin\n")[2].partition("    # end")[0]
    return sum(1 for line in written.splitlines() if line.strip())


def _few(number: int) -> str:
    """A number that is the same everywhere; dill asks more where there is more to ask about."""
    return str(number) if number < 10 else "dozens"


def fates(found: dict[str, dict[str, Any]]) -> str:
    """The first table: what arrives, inside / outside."""
    text = header()
    for kind, described in DESCRIBED.items():
        cells = []
        for way in WAYS:
            outcomes = found[way][kind]
            cells.append(outcomes[0] if len(set(outcomes)) == 1 else " / ".join(outcomes))
        text += row(kind, [*cells, described])
    return text


def properties(found: dict[str, dict[str, Any]]) -> str:
    """The second table: what it takes."""
    python = {name: str(metadata(name)["Requires-Python"]).removeprefix(">=")
              for name in ("cloudpickle", "dill", "weakreduce")}  # fmt: skip
    rows = {
        "lines to write, for each class": [
            "0", "0", "0", str(lines_of(ByHand)), f"{lines_of(Link)}, once, and each use", "0", "0",
        ],
        "for classes that are not yours": ["yes", "yes", "yes", "no", "no", "yes", "yes"],
        "packages to install": ["0", "1", "1", "0", "0", "3", "0"],
        "extends other packages": ["no", "no", "pickle", "no", "no", "what is installed", "no"],
        "pickles on Python": [
            "any", f"{python['cloudpickle']} and later", f"{python['dill']} and later",
            "any", "any", f"{python['weakreduce']} and later, CPython", "one to come",
        ],
        "the receiver needs": [
            "nothing", "cloudpickle, by value", "dill", "your class, with it", "the wrapper",
            "what the pickler needs", "nothing",
        ],
        "bytes for each node of a tree": [*(str(found[way]["bytes"] or "error") for way in WAYS),
                                          "not said"],
        "Python functions called for each node, dumps / loads": [
            *("error" if found[way]["calls"] is None else
              " / ".join(_few(number) for number in found[way]["calls"]) for way in WAYS),
            "not said",
        ],
        "writes to the file, for 6 MB": [*(str(found[way]["writes"]) for way in WAYS), "as pickle"],
        "`copy.deepcopy` refers to": [*(found[way]["deepcopy"] for way in WAYS), "the same object"],
        "choose the fate, for each call": ["no", "no", "no", "no", "no", "yes", "no"],
        "see the fate before it is sent": ["no", "no", "no", "no", "no", "yes", "no"],
    }  # fmt: skip
    return header() + "".join(row(name, cells) for name, cells in rows.items())


def versions() -> str:
    """What the figures were found with."""
    python = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    return ", ".join([python, *(f"{name} {version(name)}" for name in ("cloudpickle", "dill"))])


def made() -> dict[Path, str]:
    """The page with its tables made anew."""
    from make_pages import filled

    found = {way: run(way) for way in WAYS}
    return filled(
        PAGE,
        "tests/run_comparison.py",
        versions=f"Found with {versions()}.\n",
        fates=fates(found),
        properties=properties(found),
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        import run_comparison  # so that its classes are importable ones

        print(json.dumps(run_comparison.measured(sys.argv[1])))
    else:
        for path, text in made().items():
            path.write_text(text, encoding="utf-8")
