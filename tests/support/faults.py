"""What may go wrong in the midst of a dump: graphs, and how the process is after it.

Nothing here tests anything: `trouble/test_faults.py` and its kin do, and `run_faults.py` at length.
"""

from __future__ import annotations

import contextlib
import copyreg
import gc
import io
import pickle
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cloudpickle
import dill
import harm
import things

import weakreduce
from weakreduce.core import watchers
from weakreduce.hosts import standard
from weakreduce.model import blocks, in_force, locks

#: A C pickler of a host, a Python one, and the C one of the standard library.
PICKLERS: dict[str, Any] = {
    "cloudpickle": cloudpickle.Pickler,
    "dill": dill.Pickler,
    "pickle": standard.Pickler,
}
HOSTS = tuple(PICKLERS)
#: Attributes that dill gives a pickler with its first dump, however that ends.
_DILLS = frozenset({"_trace_depth"})


# --- what is to be as before ----------------------------------------------------------------


def _shown(value: Any) -> Any:
    """The contents of a registry, as far as they can be compared."""
    if isinstance(value, (dict, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)):
        return [(id(key), id(found)) for key, found in value.items()]
    shown = [id(item) for item in value]
    # The order of a set is by addresses and by what it held before.
    return sorted(shown) if isinstance(value, (set, weakref.WeakSet)) else shown


_REGISTRIES = (dict, list, set, weakref.WeakSet, weakref.WeakKeyDictionary,
               weakref.WeakValueDictionary)  # fmt: skip
#: Objects are numbered before their payload is handed over, and named by nobody if it is not. Both
#: tables empty themselves (`hosts/test_home.py`).
_NUMBERED = ("weakreduce.model.homes._sent", "weakreduce.model.homes._places")
_FIXED = (types.FunctionType, types.ModuleType, type)


def registries() -> dict[str, Any]:
    """Every container and every other value that a module of the package has, by name."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith("weakreduce"):
            continue
        for key, value in vars(module).items():
            if isinstance(value, _REGISTRIES):
                if key[:2] != "__" and f"{name}.{key}" not in _NUMBERED:
                    found[f"{name}.{key}"] = _shown(value)
            elif not isinstance(value, _FIXED):
                found[f"{name}.{key}"] = id(value)
    return found


def fingerprint() -> dict[str, Any]:
    """All that a dump finds in a process and could leave otherwise than it was."""
    return {
        "policy": id(weakreduce.get_policy()),
        "block": id(in_force._blocks.innermost()),
        "watch": id(watchers.around.innermost()),
        "entering": blocks._leaving.get() is None or blocks._leaving.get()() is None,  # type: ignore[misc]
        "locks": [lock for lock in locks._made if lock._is_owned()],  # type: ignore[attr-defined]
        "registries": registries(),
        "copyreg": _shown(copyreg.dispatch_table),
        "cloudpickle's table": _shown(vars(cloudpickle.Pickler)["_dispatch_table"]),
        "dill's table": _shown(dill.Pickler.dispatch),
        "dill's settings": dict(dill.settings),
        "classes": [_shown(vars(cls)) for cls in (*PICKLERS.values(), pickle._Pickler)],  # type: ignore[attr-defined]
        "pickle": [id(getattr(pickle, name)) for name in ("Pickler", "dumps", "dump")],
        "filters": list(warnings.filters),
        "interpreter": (gc.isenabled(), gc.get_threshold(), sys.getrecursionlimit(),
                        sys.getswitchinterval(), threading.active_count(), id(sys.excepthook),
                        id(sys.unraisablehook), len(gc.garbage), list(map(id, sys.meta_path))),
    }  # fmt: skip


@contextlib.contextmanager
def left_alone() -> Iterator[None]:
    """The process is afterwards as it was before."""
    before = fingerprint()
    yield
    after = fingerprint()
    assert after == before, [*differing(before, after)]


def differing(before: Any, after: Any) -> Iterator[Any]:
    """What is not the same any more."""
    for key in before.keys() | after.keys():
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differing(one, other)
        elif one != other:
            yield key


def state(pickler: Any) -> tuple[dict[str, Any], dict[int, Any]]:
    """What a pickler holds itself, and its memo."""
    own = {name: value for name, value in vars(pickler).items() if name not in _DILLS}
    own.pop("memo", None)
    own["framed"] = getattr(getattr(pickler, "framer", None), "current_frame", None)
    return own, pickler.memo.copy()


# --- one pickler, and what it has to write after a fault --------------------------------------


class Bench:
    """A pickler and its file, and what they are to be like after a dump that ends in any way.

    Args:
        host: one of `HOSTS`.
        early: is dumped before; the memo of what was is shared by all that comes.
        options: of the pickler.
    """

    def __init__(self, host: str, early: Any = None, **options: Any) -> None:
        self.host = host
        self.early = early
        self.options = options
        self.file = io.BytesIO()
        self.pickler: Any = PICKLERS[host](self.file, **options)
        self.pickler.dump(early)

    def written(self, root: Any, *, forget: bool = False) -> bytes:
        """What one more dump of the same pickler writes."""
        if forget:
            self.pickler.clear_memo()
        start = self.file.tell()
        self.pickler.dump(root)
        return self.file.getvalue()[start:]

    def attempt(self, work: Callable[[Any], None]) -> BaseException | None:
        """Let `work` use the pickler; what it raises, its traceback taken away.

        Where it raises before the payload is in the file, the file, the pickler and its memo are
        as they were.
        """
        start, before = self.file.getvalue(), state(self.pickler)
        try:
            work(self.pickler)
        except BaseException as error:
            found = error.with_traceback(None)
        else:
            return None
        if self.file.getvalue() == start:
            assert state(self.pickler) == before
        return found

    def check(self, root: Any, expected: bytes) -> None:
        """A dump by this pickler, and one by a new one, are the reference."""
        assert self.written(root, forget=True) == expected
        assert reference(self.host, root, **self.options) == expected


def reference(host: str, root: Any, **options: Any) -> bytes:
    """The payload of a root by a pickler that has done nothing else."""
    file = io.BytesIO()
    PICKLERS[host](file, **options).dump(root)
    return file.getvalue()


# --- what is dumped ---------------------------------------------------------------------------


class Seldom(things.Thing):
    """Has its own reduction."""

    def __reduce__(self) -> Any:
        return things.Thing, (self.name,), vars(self).copy()


class Scene(NamedTuple):
    """A root, with what keeps its referents alive, and how it is dumped."""

    root: Any
    kept: Any
    policy: Any = "snapshot"
    #: Whether a watch sees the dump.
    recorded: bool = False
    #: Whether buffers go to a callback.
    buffers: bool = False


def kinds() -> Scene:
    """Every kind, with each fate of what is inside or outside, dead or hashed by value."""
    inside, outside, valued = things.Thing("inside"), things.Thing("outside"), things.Valued("v")
    root = [
        weakref.ref(outside, things.called),
        weakref.ref(inside),
        weakref.ref(things.Thing("gone")),
        weakref.proxy(inside),
        weakref.WeakMethod(outside.method),
        things.SubRef(inside, 1),
        weakref.WeakSet([inside, valued]),
        weakref.WeakValueDictionary({1: outside}),
        weakref.WeakKeyDictionary({inside: 1}),
        weakref.finalize(inside, things.function),
        inside,
    ]
    return Scene(root, (outside, valued))


def parts() -> Scene:
    """What few graphs have: own reductions, names, buffers, what is met in a circle."""
    own, outside, constructed = Seldom("own"), Seldom("outside"), circles_of_arguments()
    named = weakreduce.share("a shared name", things.Thing("shared"))
    subref = things.SubRef(outside, 1)
    members = things.Listeners("listeners", [things.Frozen(1, 2)])
    root = [weakref.ref(own), subref, weakref.ref(named), own, constructed, harm.Raw(b"raw"),
            members, weakref.ref(things.function)]  # fmt: skip
    return Scene(root, (outside, named), buffers=True)


def circles_of_arguments() -> Any:
    """Its construction takes what refers back to it."""
    child = things.Thing("child")
    parent = Constructed([child])
    child.parent = weakref.ref(parent)
    return parent


class Constructed:
    def __init__(self, children: Any) -> None:
        self.children = children

    def __reduce__(self) -> Any:
        return Constructed, (self.children,)


def trouble() -> Scene:
    """Snapshots that fail or are too large, a callback that cannot travel, rules, and home."""
    failing, large, good = things.Locked(), things.Big(size=3000), things.Thing("good")
    severed = things.Valued("severed")

    def stuck(_reference: Any, _held: Any = (item for item in ())) -> None:
        pass

    root = [weakref.ref(failing), weakref.ref(large), weakref.ref(good, stuck),
            weakref.WeakSet([failing, good]), weakref.ref(severed), severed,
            weakref.WeakKeyDictionary({good: failing})]  # fmt: skip
    policy = weakreduce.Policy(
        max_snapshot_bytes=1000, rules=((is_severed, "sever"),), identity="home"
    )
    return Scene(root, (failing, large, good), policy)


def is_severed(_weak: Any, referent: Any) -> bool:
    return type(referent) is things.Valued


def refused() -> Scene:
    """A policy that refuses, below a name of three steps."""
    outside = things.Thing("outside")
    return Scene({"a": [things.Thing(held=weakref.ref(outside))]}, outside, "strict")


def fails() -> Scene:
    """What is strong cannot be pickled."""
    inside, outside = things.Thing("inside"), things.Thing("outside")
    root = [weakref.ref(inside), weakref.ref(outside), inside, things.Thing(held=things.Locked())]
    return Scene(root, outside)


def recorded() -> Scene:
    """A watch sees the dump."""
    inside, outside = things.Thing("inside"), things.Thing("outside")
    root = [
        weakref.ref(inside),
        weakref.ref(outside, things.called),
        inside,
        weakref.WeakSet([inside, outside]),
        weakref.finalize(inside, things.function),
    ]
    return Scene(root, outside, recorded=True)


SCENES: dict[str, Callable[[], Scene]] = {
    make.__name__: make for make in (kinds, parts, trouble, refused, fails, recorded)
}


class Play:
    """A scene, dumped again and again.

    Args:
        name: of `SCENES`.
        host: of `HOSTS`.
    """

    def __init__(self, name: str, host: str) -> None:
        self.scene = SCENES[name]()
        self.buffers: list[Any] = []
        options: dict[str, Any] = {"protocol": 5} if self.scene.buffers else {}
        if self.scene.buffers:
            options["buffer_callback"] = self.buffers.append
        self.host, self.options = host, options
        self.healthy, self._kept = kinds()[:2]

    def bench(self) -> Bench:
        """A new pickler, which has made one dump."""
        return Bench(self.host, [things.Thing("early")], **self.options)

    def dump(self, pickler: Any) -> None:
        """The dump that is to be disturbed."""
        reports: list[Any] = []
        with weakreduce.policy(self.scene.policy):
            if self.scene.recorded:
                with weakreduce.record() as reports:  # noqa: F841
                    pickler.dump(self.scene.root)
            else:
                pickler.dump(self.scene.root)

    def outcome(self, bench: Bench, disturb: Any = contextlib.nullcontext()) -> Outcome:  # noqa: B008
        """What a dump by the bench writes, raises and warns of."""
        start = bench.file.tell()

        def work(pickler: Any) -> None:
            with disturb:
                self.dump(pickler)

        with left_alone(), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            error = bench.attempt(work)
        return Outcome(bench.file.getvalue()[start:], error, len(warned))


class Outcome(NamedTuple):
    """Of a dump."""

    written: bytes
    error: BaseException | None
    warnings: int

    @property
    def key(self) -> Any:
        """What is the same of two dumps that ended in the same way."""
        return self.written, type(self.error), self.warnings

    @property
    def told(self) -> str:
        """The same, in words."""
        return f"{len(self.written)} bytes, {self.error!r}, {self.warnings} warnings"
