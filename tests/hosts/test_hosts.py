"""The hosts: every copy, either import order, Pickler subclasses, and what we rely on of each."""

from __future__ import annotations

import importlib.util
import io
import pickle
import subprocess
import sys
import types
import weakref
from collections import ChainMap
from pathlib import Path
from typing import Any

import cloudpickle
import dill
import gaps
import programs
import pytest
import things
from things import Thing

import weakreduce
from weakreduce.registry import HOSTS

TRIP = """
import importlib, sys, warnings
first, second = sys.argv[1:3]
importlib.import_module(first); importlib.import_module(second)
import weakreduce, weakref
host = importlib.import_module(sys.argv[3])
class T: pass
t = T()
root = [weakref.ref(t), weakref.proxy(t), weakref.WeakSet([t]), t]
r, p, s, copy = host.loads(host.dumps(root))
assert r() is copy and copy in s and type(p) is weakref.ProxyType
assert host.loads(host.dumps(weakref.ref(t)))() is not None
with weakreduce.policy("dangle"):
    assert host.loads(host.dumps(weakref.ref(t)))() is None
print(weakreduce.info()["hosts"][sys.argv[4]]["state"])
"""


JOBLIB_HAS_A_COPY = (
    importlib.util.find_spec("joblib") is not None
    and importlib.util.find_spec("joblib.externals.cloudpickle") is not None
)


@pytest.mark.parametrize("weakreduce_first", [True, False])
@pytest.mark.parametrize(
    ("module", "host"),
    gaps.params(
        ("cloudpickle", "cloudpickle"),
        ("dill", "dill"),
        ("multiprocess.reduction", "dill"),
        ("ray.cloudpickle", "ray.cloudpickle"),
        ("pyspark.cloudpickle", "pyspark.cloudpickle"),
        # joblib has none since 1.6; the lowest releases are tested, too.
        *[("joblib.externals.cloudpickle",) * 2] * JOBLIB_HAS_A_COPY,
    ),
)
def test_every_copy_in_either_order(module: str, host: str, weakreduce_first: bool) -> None:
    order = ["weakreduce", module] if weakreduce_first else [module, "weakreduce"]
    dumps = "multiprocess_dumps" if module == "multiprocess.reduction" else module
    if dumps != module:
        pytest_code = TRIP.replace(
            "host = importlib.import_module(sys.argv[3])",
            "import types, multiprocess.reduction as m, dill\n"
            "host = types.SimpleNamespace("
            "dumps=lambda o: bytes(m.ForkingPickler.dumps(o)), loads=dill.loads)",
        )
    else:
        pytest_code = TRIP
    assert programs.run(pytest_code, *order, module, host).split() == ["installed"]


def test_importing_weakreduce_imports_no_host() -> None:
    code = (
        "import sys, weakreduce; print([m for m in sys.modules if m.partition('.')[0] in "
        "('cloudpickle', 'dill', 'ray', 'pyspark', 'joblib', 'multiprocess', 'dask')])"
    )
    assert programs.run(code).strip() == "[]"


def test_install_can_be_turned_off_and_asked_for() -> None:
    code = """
import weakreduce, cloudpickle, weakref, pickle
class T: pass
t = T()
def trip(module):
    try: return module.loads(module.dumps(weakref.ref(t)))() is not None
    except TypeError: return None
import __main__
ours = weakreduce.loads(weakreduce.dumps(weakref.ref(t)))
print(trip(cloudpickle), trip(pickle), ours() is not None)
weakreduce.install("cloudpickle", "pickle"); print(trip(cloudpickle), trip(pickle))
weakreduce.uninstall("pickle"); print(trip(cloudpickle), trip(pickle))
weakreduce.uninstall(); print(trip(cloudpickle), trip(pickle))
"""
    assert programs.run(code, WEAKREDUCE_INSTALL="0").split() == [
        "None", "None", "True", "True", "True", "True", "None", "None", "None"]  # fmt: skip


def test_unknown_hosts_are_refused() -> None:
    for use in (weakreduce.install, weakreduce.uninstall):
        with pytest.raises(ValueError, match=r"no host 'marshal'; the hosts are 'cloudpickle'"):
            use("marshal")
        with pytest.raises(ValueError, match=r"no host \['dill'\]; the hosts are 'cloudpickle'"):
            use(["dill"])


def test_info() -> None:
    info = weakreduce.info()
    assert set(info["hosts"]) == set(HOSTS)
    assert info["hosts"]["cloudpickle"]["state"] == "installed"
    assert info["hosts"]["cloudpickle"]["version"] == cloudpickle.__version__
    assert info["hosts"]["pickle"]["state"] == "off"
    assert info["policy"]["name"] == "snapshot"


def test_what_is_on_the_path_alone_has_no_known_version(tmp_path: Path) -> None:
    (tmp_path / "weakreduce").symlink_to(Path(weakreduce.__file__).parent)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import weakreduce; "
        "print(weakreduce.__version__, weakreduce.info()['weakreduce'])"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "unknown unknown\n"


@pytest.mark.parametrize("base", [cloudpickle.Pickler, dill.Pickler])
def test_subclasses_of_the_picklers(base: Any) -> None:
    """Their own hooks still count, and several dumps share a memo."""

    class Special:
        pass

    class Pickler(base):  # type: ignore[misc]
        asked = 0

        def reducer_override(self, obj: Any) -> Any:
            Pickler.asked += 1
            if isinstance(obj, Special):
                return str, ("special",)
            inherited = getattr(super(), "reducer_override", None)
            return NotImplemented if inherited is None else inherited(obj)

        def persistent_id(self, obj: Any) -> Any:
            return "kept" if obj is KEEP else None

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return KEEP

    thing, file = Thing(), io.BytesIO()
    pickler = Pickler(file)
    pickler.dump([weakref.ref(thing), thing, Special(), KEEP])
    pickler.dump([thing, weakref.proxy(thing)])
    assert Pickler.asked
    file.seek(0)
    unpickler = Unpickler(file)
    reference, copy, special, kept = unpickler.load()
    assert reference() is copy
    assert special == "special"
    assert kept is KEEP
    again, proxy = unpickler.load()
    assert again is copy
    assert proxy.name == "thing"


SENDER = """
import abc, enum, sys, weakref, cloudpickle
if sys.argv[1] == "ours":
    import weakreduce
class Meta(type): pass
class WithMeta(metaclass=Meta): pass
class Abstract(abc.ABC):
    name = "abstract"
    @abc.abstractmethod
    def call(self): ...
class Concrete(Abstract):
    def call(self): return self.name
class Colour(enum.Enum):
    RED = 1
class Index(dict, metaclass=abc.ABCMeta): pass
for obj in (WithMeta, WithMeta(), Abstract, Concrete, Concrete(), Colour, Colour.RED, Index,
            Index(a=1), [Concrete, Colour.RED], lambda: Concrete().call()):
    print(cloudpickle.dumps(obj).hex())
"""
RECEIVER = """
import pickle, sys
for line in sys.stdin:
    found = pickle.loads(bytes.fromhex(line))
    print(type(found).__name__, getattr(found, "__name__", ""))
print(found())
"""


def test_classes_of_every_metaclass_travel_by_value() -> None:
    """An abstract class of ``__main__`` too, though its type is not ``type``."""
    said = []
    for whose in ("stock", "ours"):
        sent = subprocess.run([sys.executable, "-c", SENDER, whose], capture_output=True, text=True)
        assert sent.returncode == 0, sent.stderr
        arrived = subprocess.run(
            [sys.executable, "-c", RECEIVER], input=sent.stdout, capture_output=True, text=True
        )
        assert arrived.returncode == 0, arrived.stderr
        said.append((arrived.stdout, [len(line) for line in sent.stdout.splitlines()]))
    assert said[0] == said[1]
    assert said[1][0].endswith("abstract\n")


KEEP = Thing("keep")


def test_the_file_is_written_once_and_not_on_failure() -> None:
    class File:
        def __init__(self) -> None:
            self.chunks: list[bytes] = []

        def write(self, data: Any) -> int:
            self.chunks.append(bytes(data))
            return len(data)

    outside = Thing()
    for dump in (cloudpickle.dump, dill.dump):
        file = File()
        dump([weakref.ref(outside), b"x" * 100_000], file)
        assert len(file.chunks) == 1
        assert pickle.loads(file.chunks[0])[0]().name == "thing"
        file = File()
        with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
            dump([b"x" * 100_000, weakref.ref(outside)], file)
        assert file.chunks == []


def test_a_reducer_of_the_users_own_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """In copyreg, in cloudpickle's table, or as a saver of dill's."""
    import copyreg

    thing = Thing()
    own = weakref.ref(thing)
    monkeypatch.setitem(copyreg.dispatch_table, weakref.ref, lambda weak: (str, ("copyreg",)))
    assert cloudpickle.loads(cloudpickle.dumps(own)) == "copyreg"
    assert weakreduce.loads(weakreduce.dumps(own, host="pickle")) == "copyreg"
    monkeypatch.setitem(
        cloudpickle.Pickler._dispatch_table, weakref.ref, lambda weak: (str, ("table",))
    )
    assert cloudpickle.loads(cloudpickle.dumps([own, weakref.proxy(thing)]))[0] == "table"

    def saver(pickler: Any, weak: Any) -> None:
        pickler.save_reduce(str, ("saver",), obj=weak)

    monkeypatch.setitem(dill.Pickler.dispatch, weakref.ref, saver)
    assert dill.loads(dill.dumps(own)) == "saver"


class TestWhatWeRelyOn:
    """If one of these fails, a host has changed and `weakreduce.hosts` has to follow."""

    def test_cloudpickle(self) -> None:
        stock = cloudpickle.Pickler
        assert isinstance(stock.dispatch_table, ChainMap)
        assert stock.dispatch_table.maps[0] is stock._dispatch_table
        assert issubclass(stock, pickle.Pickler)
        module = sys.modules[stock.__module__]
        assert module._should_pickle_by_reference(Thing)
        assert not module._should_pickle_by_reference(type("Local", (), {}))
        assert stock(io.BytesIO(), 4).proto == 4
        assert set() == module._PICKLE_BY_VALUE_MODULES

    def test_dill(self) -> None:
        module = dill._dill
        assert issubclass(dill.Pickler, pickle._Pickler)  # type: ignore[attr-defined]
        pickler = dill.Pickler(io.BytesIO())
        assert module._locate_function(things.function, pickler)
        assert module._locate_function(Thing, pickler)
        assert module._typemap[int]
        assert pickler._postproc == {}
        for name in ("_byref", "_fmode", "_recurse"):
            assert hasattr(pickler, name)

    def test_python(self) -> None:
        thing = Thing()

        def gone(reference: Any) -> None:
            """A callback."""

        method = weakref.WeakMethod(thing.method, gone)
        inner = weakref.ref.__dict__["__callback__"].__get__(method)
        cells = dict(zip(inner.__code__.co_freevars, inner.__closure__, strict=True))
        assert cells["callback"].cell_contents is gone
        for container in (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary):
            made: Any = container()
            assert type(made.data) in (set, dict)
            assert isinstance(made._remove, types.FunctionType)


def test_a_payload_of_dill_names_its_protocol_after_a_walk_that_failed() -> None:
    locked = things.Locked()
    with pytest.warns(weakreduce.DanglingWarning):
        payload = weakreduce.dumps([weakref.ref(locked)], host="dill", protocol=4)
    assert payload[:2] == b"\x80\x04"


def test_a_subclass_is_asked_for_cloudpickle_s_own_functions() -> None:
    asked: list[object] = []

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            asked.append(obj)
            return super().reducer_override(obj)

    Pickler(io.BytesIO()).dump(lambda: None)
    names = {getattr(obj, "__name__", None) for obj in asked}
    assert {"_make_function", "_function_setstate"} <= names


class Installs:
    """Installs weakreduce in the middle of a dump."""

    def __reduce__(self) -> Any:
        weakreduce.install()
        return int, ()


@pytest.mark.parametrize("policy", ["dangle", "snapshot", "strict"])
def test_a_dump_that_began_without_us_ends_without_us(policy: Any) -> None:
    """The entries of a table alone would know nothing of what is inside."""
    thing = Thing("inside")
    weakreduce.uninstall()
    try:
        with weakreduce.policy(policy), pytest.raises(TypeError, match="cannot pickle"):
            cloudpickle.dumps([thing, Installs(), weakref.ref(thing)])
    finally:
        weakreduce.install()


def test_a_table_that_is_set_after_construction_is_not_read() -> None:
    """As stock: a C pickler looks for it when it is made, and cloudpickle's class has its own."""
    asked: list[object] = []
    pickler = cloudpickle.Pickler(io.BytesIO())
    pickler.dispatch_table = {Thing: lambda thing: asked.append(thing) or (int, ())}
    pickler.dump([Thing("it")])
    assert not asked


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
@pytest.mark.parametrize("cls", [types.FunctionType, types.MethodType, types.ModuleType])
def test_types_that_a_host_knows_by_a_name_of_its_own(cls: type, host: Any) -> None:
    """They are on every receiver, whatever their own name says."""
    with weakreduce.policy("strict"):
        payload = weakreduce.dumps(
            [weakref.ref(cls), weakref.WeakKeyDictionary({cls: 1})], host=host
        )
    reference, notes = weakreduce.loads(payload, host=host)
    assert reference() is cls
    assert notes == {cls: 1}
    assert not weakreduce.is_pinned(reference)
