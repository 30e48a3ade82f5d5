"""Every name that stands in payloads of ours, from payloads of every sort: for `test_security.py`.

``python named.py`` loads thousands of payloads and prints, for each sort of them, the names that
they import, and what they reach from there with ``getattr``. It is a process of its own, as it
registers types and changes `graphs`. Names are told as one text each: ``operator`` for
``_operator``, and ``dict.update`` alike whether a pickler writes a dotted name or a ``getattr``.
"""

from __future__ import annotations

import _compat_pickle
import collections
import io
import json
import pickle
import sys
import types
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "wire"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import things
import wired

import weakreduce
from weakreduce import Policy

HOSTS = ("cloudpickle", "dill", "pickle")
#: Modules whose names the graphs bring along.
THEIRS = ("things.", "wired.", "named.", "__main__.")
#: What any pickler writes for ordinary objects of classes; and what the graphs refer to by name.
STOCK = {
    "_codecs.encode", "copyreg.__newobj_ex__", "copyreg._reconstructor", "copyreg.__newobj__",
    "builtins.len", "builtins.int", "builtins.bytes", "collections.OrderedDict",
}  # fmt: skip


class Hashed(weakref.ref[Any]):
    """Hashes in a way of its own."""

    def __hash__(self) -> int:
        return 1


class Ordered(weakref.WeakValueDictionary):  # type: ignore[type-arg]
    """Keeps its entries in a collection of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.data = collections.OrderedDict()


def full_name(module: str, name: str) -> str:
    """The same for every way in which Python names a thing."""
    return f"{module.lstrip('_') if module in ('_operator', '_weakref', '_pickle') else module}." \
           f"{name}".replace("_weakrefset.", "weakref.")  # fmt: skip


class Recorder(pickle.Unpickler):
    """Loads a payload, and notes each name in it."""

    def __init__(self, payload: bytes, found: set[str]) -> None:
        super().__init__(io.BytesIO(payload))
        self.found = found
        self.maps = payload[1] < 3

    def find_class(self, module: str, name: str) -> Any:
        got = super().find_class(module, name)
        if self.maps:  # names of Python 2
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        self.found.add(full_name(module, name))
        if got is getattr or name == "_getattr":
            return self.attribute
        if name == "_load_type":
            return self.type_of_dill
        if got is pickle.loads:
            return lambda payload: Recorder(payload, self.found).load()
        return got

    def attribute(self, obj: Any, name: str, *more: Any) -> Any:
        if isinstance(obj, type):
            owner = full_name(obj.__module__, obj.__qualname__)
            self.found.add(f"{owner}.{name}")
        else:
            self.found.add(f"getattr of a {type(obj).__name__}: {name}")
        return getattr(obj, name, *more)

    def type_of_dill(self, name: str) -> Any:
        from dill._dill import _load_type

        got = _load_type(name)
        self.found.add(full_name(got.__module__, got.__qualname__))
        return got


def names_in(payload: bytes) -> set[str]:
    found: set[str] = set()
    Recorder(payload, found).load()
    return {name for name in found if not name.startswith(THEIRS)}


# --- payloads -----------------------------------------------------------------------------


def more_roots() -> Iterator[tuple[list[Any], Any]]:
    """What the frozen payloads have not, and what has to live."""
    thing, other, slots = things.Thing("a"), things.Thing("b"), things.FrozenSlots(1)
    caller = things.CallableThing("c")
    subref = things.SubRef(thing, id(thing))
    listeners, index, notes = things.Listeners("n", [thing]), things.Index("n"), things.Notes("n")
    ordered = Ordered()
    index["key"], notes[thing], ordered["key"] = thing, "value", thing
    frozen = things.Frozen(2)
    looping = things.FrozenSlots(3, weakref.ref(thing))  # not all of it is there early
    method = types.MethodType(caller, thing)
    dead = weakref.WeakMethod(things.Thing("dead").method)
    weak = [
        subref, listeners, index, notes, ordered, weakref.WeakSet([slots, frozen]),
        weakref.WeakKeyDictionary({slots: 1, frozen: weakref.ref(slots)}),
        weakref.WeakMethod(method), dead, Hashed(things.Thing("dead")),
        weakref.ref(looping), weakref.ref(thing, things.called),
        weakref.proxy(caller, things.called), things.SubMethod(thing.method),
    ]  # fmt: skip
    keep = (thing, other, slots, caller, frozen, looping, method)
    yield [weak, *keep[:-1]], keep
    yield [weak], keep


def by_value_roots() -> Iterator[tuple[list[Any], Any]]:
    """Classes and functions of a module that no receiver has."""
    module = types.ModuleType("__main__")
    source = (
        "import weakref\n"
        "class Local:\n"
        "    members = weakref.WeakSet()\n"
        "    def __init__(self):\n"
        "        self.members.add(self)\n"
        "    def method(self):\n"
        "        return known\n"
        "def function():\n"
        "    return known, myself(), argued()\n"
        "class Built:\n"
        "    def __reduce__(self):\n"
        "        return Built, ()\n"
        "def method_of(held):\n"
        "    return lambda self, *, other=[held]: held\n"
        "known = weakref.WeakSet([function])\n"
        "myself = weakref.ref(function)\n"
    )
    exec(source, vars(module))
    local = module.Local()  # type: ignore[attr-defined]
    # Something that is constructed from the function, and that the function knows weakly.
    argued = wired.Argued("argued", argument=module.function)  # type: ignore[attr-defined]
    module.argued = weakref.ref(argued)  # type: ignore[attr-defined]
    yield [argued, module.function], (module, argued)  # type: ignore[attr-defined]
    root = [local, module.function, weakref.WeakMethod(local.method)]  # type: ignore[attr-defined]
    yield root, module
    yield [weakref.WeakMethod(local.method)], (module, local)
    built = module.Built()  # type: ignore[attr-defined]
    module.Built.method = module.method_of(weakref.ref(built))  # type: ignore[attr-defined]
    yield [built], module


def everything() -> Iterator[tuple[str, bytes]]:
    """(sort, payload) of all."""
    import make

    for what, _, payload in make.everything():
        first = what.split(",")[0]
        sort = {"home": "home", "token": "token", "readying": "readying"}.get(first, "plain")
        yield ("by value" if first == "classes_by_value" else sort), payload
    rearm = Policy(finalizers="rearm")
    for roots, hosts in ((more_roots, HOSTS), (by_value_roots, HOSTS[:2])):
        by_value = roots is by_value_roots
        for root, keep in roots():
            for host in hosts:
                for protocol in (2, 3, 4, 5):

                    def dumps(policy: Any) -> bytes:
                        return weakreduce.dumps(
                            root,
                            policy=policy,
                            host=host,
                            protocol=protocol,  # noqa: B023
                        )  # type: ignore[call-overload,no-any-return]

                    for policy in ("snapshot", "dangle", rearm):
                        yield "by value" if by_value else "plain", dumps(policy)
                    yield "home", dumps(Policy(identity="home"))
                    yield "readying", dumps(Policy(ready_receiver="always"))
            assert keep
    thing = things.Thing("a")
    finalizer = weakref.finalize(thing, things.log, 1, two=2)
    finalizer.atexit = False
    for host in HOSTS:
        for protocol in (2, 3, 4, 5):
            root = [thing, finalizer]
            yield "plain", weakreduce.dumps(root, policy=rearm, host=host, protocol=protocol)  # type: ignore[arg-type]


def main() -> None:
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=weakreduce.DanglingWarning)
    warnings.filterwarnings("ignore", category=Warning, module="dill")
    found: dict[str, set[str]] = {}
    count = 0
    for sort, payload in everything():
        low = "" if payload[1] >= 4 else ", below protocol 4"
        found.setdefault(sort + low, set()).update(names_in(payload) - STOCK)
        count += 1
    print(json.dumps({"payloads": count, **{sort: sorted(names) for sort, names in found.items()}}))


if __name__ == "__main__":
    import named

    named.main()
