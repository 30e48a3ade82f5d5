"""``install("pickle")``: what it reaches of the standard library, and what it puts back."""

from __future__ import annotations

import _pickle
import copy
import gc
import importlib
import io
import pickle
import shelve
import sys
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import programs
import pytest
from things import Thing

import weakreduce

NAMES = ("Pickler", "dumps", "dump")
STOCK = {name: getattr(pickle, name) for name in NAMES}


class MadeBefore(pickle.Pickler):
    """By name, as older code calls the base class."""

    def __init__(self, file: Any, protocol: int | None = None) -> None:
        pickle.Pickler.__init__(self, file, protocol)

    def dump(self, obj: Any) -> None:
        pickle.Pickler.dump(self, obj)


@pytest.fixture
def installed() -> Iterator[None]:
    weakreduce.install("pickle")
    yield
    weakreduce.uninstall("pickle")
    assert {name: getattr(pickle, name) for name in NAMES} == STOCK
    taken = [name for name in NAMES if hasattr(shelve, name)]  # `Pickler`; from 3.15 on `dumps`
    assert taken
    assert all(getattr(shelve, name) is STOCK[name] for name in taken)


def dumped(cls: Any, obj: Any, *args: Any, **keywords: Any) -> bytes:
    file = io.BytesIO()
    cls(file, *args, **keywords).dump(obj)
    return file.getvalue()


def pair() -> list[Any]:
    thing = Thing()
    return [weakref.ref(thing), thing, weakref.WeakSet([thing])]


def holds(found: Any) -> bool:
    reference, thing, members = found
    return reference() is thing and list(members) == [thing]


@pytest.mark.usefixtures("installed")
def test_picklers_and_functions() -> None:
    for protocol in (2, 3, 4, 5, -1, None):
        assert holds(pickle.loads(dumped(pickle.Pickler, pair(), protocol)))
        assert holds(pickle.loads(pickle.dumps(pair(), protocol)))
    file = io.BytesIO()
    pickle.dump(pair(), file, fix_imports=False)
    assert holds(pickle.loads(file.getvalue()))
    file = io.BytesIO()
    pickler = pickle.Pickler(file=file, protocol=4, fix_imports=True, buffer_callback=None)
    both = pair()
    pickler.dump(both)
    pickler.dump(both[1])
    file.seek(0)
    unpickler = pickle.Unpickler(file)
    found = unpickler.load()
    assert holds(found)
    assert unpickler.load() is found[1]
    outside = Thing()
    assert pickle.loads(dumped(pickle.Pickler, weakref.ref(outside)))().name == "thing"
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        dumped(pickle.Pickler, weakref.ref(outside))


@pytest.mark.usefixtures("installed")
def test_what_derives_from_it() -> None:
    """With every hook that picklers have."""
    kept = Thing("kept")

    class Pickler(pickle.Pickler):
        proto = property(lambda self: 1 / 0)

        def __init__(self, file: Any, protocol: int = 4) -> None:
            super().__init__(file, protocol)
            self.dispatch_table = {complex: lambda number: (str, (str(number),))}

        def persistent_id(self, obj: Any) -> Any:
            return "kept" if obj is kept else None

        def reducer_override(self, obj: Any) -> Any:
            return (str, ("overridden",)) if type(obj) is Special else NotImplemented

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return kept

    data = dumped(Pickler, [*pair(), 1j, Special(), kept, weakref.ref(kept)])
    *three, number, special, same, reference = Unpickler(io.BytesIO(data)).load()
    assert holds(three)
    assert (number, special) == ("1j", "overridden")
    assert same is kept
    assert reference() is kept
    pickler = pickle.Pickler(file := io.BytesIO())
    pickler.persistent_id = lambda obj: "kept" if obj is kept else None  # type: ignore[method-assign]
    with weakreduce.policy("strict"):
        pickler.dump([weakref.ref(kept), *pair()])
    reference, *three = Unpickler(io.BytesIO(file.getvalue())).load()
    assert reference() is kept
    assert holds(three)


class Special:
    pass


@pytest.mark.usefixtures("installed")
def test_it_is_a_pickler_of_the_c_type() -> None:
    pickler = pickle.Pickler(io.BytesIO())
    assert isinstance(pickler, STOCK["Pickler"])
    assert issubclass(pickle.Pickler, STOCK["Pickler"])
    assert pickle.Pickler.__name__ == "Pickler"
    pickler.dump([1])
    pickler.memo = pickler.memo.copy()  # type: ignore[attr-defined]
    pickler.clear_memo()
    pickler.fast = True
    for wrong in ((), (1,), (io.BytesIO(), 99)):
        with pytest.raises((TypeError, ValueError)) as ours:
            pickle.Pickler(*wrong)  # type: ignore[arg-type]
        with pytest.raises(type(ours.value)) as stock:
            STOCK["Pickler"](*wrong)
        if wrong:
            assert str(ours.value) == str(stock.value)

    class Uninitialised(pickle.Pickler):
        def __init__(self) -> None:
            """Without the base class's."""

    with pytest.raises(pickle.PicklingError, match="not called"):
        Uninitialised().dump(1)  # type: ignore[call-arg]


@pytest.mark.usefixtures("installed")
def test_the_same_bytes_where_nothing_is_weak() -> None:
    for obj in (1, "a", [Thing("a")] * 2, {"deep": [[Thing, print, len]]}, b"x" * 100_000):
        for protocol in range(6):
            assert pickle.dumps(obj, protocol) == STOCK["dumps"](obj, protocol)
            assert dumped(pickle.Pickler, obj, protocol) == dumped(STOCK["Pickler"], obj, protocol)
    out: list[Any] = []
    data = pickle.dumps([pickle.PickleBuffer(b"abc")], 5, buffer_callback=out.append)
    assert len(out) == 1
    assert bytes(pickle.loads(data, buffers=out)[0]) == b"abc"


@pytest.mark.usefixtures("installed")
def test_what_was_made_before_is_as_it_was() -> None:
    """Its calls of ``pickle.Pickler`` by name, too: nothing it writes may get lost."""
    assert pickle.loads(dumped(MadeBefore, [1, Thing("a")]))[1].name == "a"
    with pytest.raises(TypeError, match="cannot pickle"):
        dumped(MadeBefore, pair())
    assert _pickle.Pickler is STOCK["Pickler"]
    assert _pickle.dumps is STOCK["dumps"]


@pytest.mark.usefixtures("installed")
def test_shelve(tmp_path: Path) -> None:
    with shelve.open(str(tmp_path / "shelf")) as shelf:
        shelf["pair"] = pair()
        assert holds(shelf["pair"])


@pytest.mark.usefixtures("installed")
def test_a_function_is_a_function() -> None:
    """Not bound where a class has it, written as stock's, copied as one."""

    class Serializer:
        dumps = pickle.dumps
        loads = pickle.loads

    assert Serializer().loads(Serializer().dumps([1])) == [1]  # type: ignore[arg-type]
    assert pickle.dumps.__name__ == "dumps"
    assert copy.copy(pickle.dumps) is pickle.dumps
    assert repr(pickle.dumps) == "<function dumps, extended by weakreduce>"
    assert copy.deepcopy(pickle.dumps) is pickle.dumps
    for dumps in (cloudpickle.dumps, pickle.dumps):
        data = dumps([pickle.dumps, pickle.Pickler])
        assert b"weakreduce" not in data
        assert pickle.loads(data) == [STOCK["dumps"], pickle.Pickler]
    data = cloudpickle.dumps(lambda: pickle.dumps)
    assert b"weakreduce" not in data


def test_what_was_taken_meanwhile_is_as_stock_afterwards() -> None:
    library, other = types.ModuleType("shelve.taken"), types.ModuleType("somebodys")
    sys.modules.update({library.__name__: library, other.__name__: other})
    try:
        weakreduce.install("pickle")
        for module in (library, other):
            vars(module).update({name: getattr(pickle, name) for name in NAMES})
        own = type("Own", (pickle.Pickler,), {})
        weakreduce.uninstall("pickle")
        assert {name: getattr(library, name) for name in NAMES} == STOCK
        for use in (other.dumps, lambda obj: dumped(other.Pickler, obj), lambda o: dumped(own, o)):
            assert pickle.loads(use([Thing("a")]))[0].name == "a"
            with pytest.raises(TypeError, match="cannot pickle"):
                use(pair())
        weakreduce.install("pickle")
        assert holds(pickle.loads(dumped(own, pair())))
    finally:
        weakreduce.uninstall("pickle")
        del sys.modules[library.__name__], sys.modules[other.__name__]


def test_what_is_not_reached_is_said() -> None:
    keeps, class_only = types.ModuleType("keeps_dumps"), types.ModuleType("keeps.the_class")
    keeps.dumps, class_only.P = pickle.dumps, pickle.Pickler  # type: ignore[attr-defined]
    sys.modules.update({keeps.__name__: keeps, class_only.__name__: class_only, "odd": []})  # type: ignore[dict-item]
    try:
        assert weakreduce.info()["hosts"]["pickle"]["not_reached"] == []
        weakreduce.install("pickle")
        found = weakreduce.info()["hosts"]["pickle"]["not_reached"]
        assert {"keeps_dumps", "keeps.the_class"} <= set(found)
        assert not {name for name in found if name.partition(".")[0] in sys.stdlib_module_names}
        assert keeps.dumps is STOCK["dumps"]
        weakreduce.install("pickle")
        weakreduce.uninstall("pickle")
        weakreduce.uninstall("pickle")
        assert weakreduce.info()["hosts"]["pickle"]["not_reached"] == []
        assert {name: getattr(pickle, name) for name in NAMES} == STOCK
    finally:
        for name in ("keeps_dumps", "keeps.the_class", "odd"):
            del sys.modules[name]


ORDER = """
import pickle, weakref, io, sys
import weakreduce
weakreduce.install("pickle")
import cloudpickle, multiprocessing.reduction as reduction
class T:
    def __init__(self): self.name = "here"
t = T()
C = type(t)
def trips():
    for dumps in (cloudpickle.dumps, lambda o: bytes(reduction.ForkingPickler.dumps(o))):
        for obj in ([weakref.ref(t), t], [weakref.ref(t)], [1, T, t]):
            try: yield type(pickle.loads(dumps(obj))[0]).__name__
            except TypeError: yield "-"
print(issubclass(cloudpickle.Pickler, pickle.Pickler), *trips())
weakreduce.uninstall("cloudpickle")
with weakreduce.policy("snapshot"):
    data = cloudpickle.dumps([weakref.ref(T), weakref.ref(t)])
sys.stdout.flush()
weakreduce.uninstall()
print(*trips())
weakreduce.install()
print(*trips())
import subprocess
code = ("import gc, pickle, sys; c, i = pickle.loads(sys.stdin.buffer.read());"
        "gc.collect(); print(c().__name__, i().name)")
print(subprocess.run([sys.executable, "-c", code], input=data, capture_output=True).stdout.decode())
"""


def test_hosts_that_are_imported_afterwards() -> None:
    """They derive from ours, and are patched as well."""
    ours, stock, again, received = programs.run(ORDER).split("\n")[:4]
    assert ours.split() == ["True", *["ReferenceType", "ReferenceType", "int"] * 2]
    assert stock.split() == ["-", "-", "int"] * 2
    assert again == ours.removeprefix("True ")
    assert received == "T here"


@pytest.mark.usefixtures("installed")
def test_nothing_is_kept() -> None:
    thing = Thing()
    gone = weakref.ref(thing)
    gc.disable()
    try:
        dumped(pickle.Pickler, [weakref.ref(thing), thing])
        del thing
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("base", ["pickle", "cloudpickle", "dill"])
def test_an_override_of_the_users_own_comes_first(base: str) -> None:
    stock = pickle.Pickler if base == "pickle" else importlib.import_module(base).Pickler

    class Own(stock):  # type: ignore[misc, valid-type]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, weakref.ref) and obj() is mine:
                return str, ("its own way",)
            return super().reducer_override(obj) if base == "cloudpickle" else NotImplemented

    mine, other = Thing(), Thing()
    for root in ([weakref.ref(mine), weakref.ref(other), mine, other],
                 [mine, other, weakref.ref(mine), weakref.ref(other)]):  # fmt: skip
        with weakreduce.policy("strict"):
            found = pickle.loads(dumped(Own, root))
        assert "its own way" in found
        (reference,) = (item for item in found if isinstance(item, weakref.ref))
        assert any(reference() is item for item in found)


SMALL = """
import weakreduce; weakreduce.install("pickle")
import cloudpickle, io
class Derived(cloudpickle.Pickler): ...
file = io.BytesIO()
Derived(file).dump({"a": 1})
print(cloudpickle.dumps([1, 2, 3]), file.getvalue())
"""


def test_a_small_root_by_what_derives_from_a_pickler_of_ours() -> None:
    """cloudpickle's class, imported later, derives from the one that is in ``pickle``."""
    expected = [pickle.dumps(root, 5) for root in ([1, 2, 3], {"a": 1})]
    assert programs.run(SMALL).strip() == f"{expected[0]!r} {expected[1]!r}"
