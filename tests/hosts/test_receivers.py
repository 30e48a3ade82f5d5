"""Receivers: interpreters without weakreduce, and with it installed but not imported.

Both are fresh processes with a path of their own: the hosts, this folder's `things`, and nothing
else; for the second kind, weakreduce. Payloads of earlier releases are in the folder `wire`.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import multiprocessing.reduction
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import weakref
import zipfile
from pathlib import Path
from typing import Any

import gaps
import programs
import pytest
import things
from everything import weak_things

import weakreduce

HOSTS = ("cloudpickle", "dill", "pickle")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the hosts and `things`, to be a receiver's only path."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("cloudpickle", "dill"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, folder / name, ignore=_no_caches)
    shutil.copy(things.__file__, folder)
    return folder


@pytest.fixture(scope="module")
def equipped(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with weakreduce."""
    folder = tmp_path_factory.mktemp("equipped") / "path"
    shutil.copytree(bare, folder)
    shutil.copytree(Path(weakreduce.__file__).parent, folder / "weakreduce", ignore=_no_caches)
    return folder


_no_caches = shutil.ignore_patterns("__pycache__", "tests")


def receive(path: Path, payload: bytes, code: str, hash_seed: str = "0") -> str:
    """Run `code` where nothing but `path` and the standard library can be imported.

    ``payload`` is there; ``found`` is what it loads as, unless the code loads it itself.
    """
    body = textwrap.dedent(code)
    load = "" if "pickle.loads" in body else "found = pickle.loads(payload)\n"
    prelude = f"import sys, gc, pickle, weakref\nsys.path.insert(0, {str(path)!r})\n"
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-W", "error", "-c"),
            f"{prelude}payload = sys.stdin.buffer.read()\n{load}{body}",
        ],
        input=payload,
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


SAME = """
    def referent(name, weak):
        if name == "proxy":
            return weak.method.__self__
        if name.endswith("method"):
            bound = weak()
            return None if bound is None else bound.__self__
        if name in ("set", "subset", "keys"):
            return next(iter(weak), None)
        if name == "values":
            return weak.get("key")
        return weakref.ref.__call__(weak)

    import things
    expected = {
        "ref": weakref.ref, "called": weakref.ref, "subref": things.SubRef,
        "proxy": weakref.CallableProxyType if CALLABLE else weakref.ProxyType,
        "method": weakref.WeakMethod, "submethod": things.SubMethod, "set": weakref.WeakSet,
        "subset": things.Listeners, "values": weakref.WeakValueDictionary,
        "keys": weakref.WeakKeyDictionary,
    }
    assert "weakreduce" not in sys.modules
"""


def check(body: str, is_callable: bool = False) -> str:
    """`body` after the helpers that it needs."""
    helpers = textwrap.dedent(SAME).replace("CALLABLE", str(is_callable))
    return helpers + textwrap.dedent(body)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("cls", [things.Thing, things.CallableThing, things.Valued])
def test_alive_inside(bare: Path, host: str, protocol: int, cls: type) -> None:
    target = cls("target")
    payload = weakreduce.dumps([weak_things(target), target], host=host, protocol=protocol)
    code = """
        found, target = found
        assert set(found) == set(expected)
        for name, weak in found.items():
            assert type(weak) is expected[name], name
            assert referent(name, weak) is target, name
        assert found["called"].__callback__ is things.called
        assert (found["subref"].identity, found["subref"].note) == (7, "note")
        assert found["subset"].name == "listeners"
        assert found["keys"][target] == "value"
        del target, weak
        gc.collect()
        for name, weak in found.items():
            if name == "proxy":
                continue
            assert referent(name, weak) is None, name
        assert [len(found[name]) for name in ("set", "subset", "values", "keys")] == [0] * 4
    """
    receive(bare, payload, check(code, cls is things.CallableThing))


@pytest.mark.parametrize("host", HOSTS)
def test_pinned(bare: Path, host: str) -> None:
    target = things.Thing("target")
    payload = weakreduce.dumps(weak_things(target), host=host)
    code = """
        gc.collect()
        one = referent("ref", found["ref"])
        assert type(one) is things.Thing
        assert one.name == "target"
        for name, weak in found.items():
            assert type(weak) is expected[name], name
            assert referent(name, weak) is one, name
        watched = weakref.ref(one)
        del one, weak
        found.clear()
        gc.collect()
        assert watched() is None
    """
    receive(bare, payload, check(code))


@pytest.mark.parametrize("state", ["dead", "dangling"])
@pytest.mark.parametrize("host", HOSTS)
def test_dead(bare: Path, host: str, state: str) -> None:
    target = things.Thing("target")
    sent = weak_things(target)
    if state == "dead":
        del target
        assert weakref.ref.__call__(sent["ref"]) is None
    payload = weakreduce.dumps([sent, sent["ref"]], host=host, policy="dangle")
    assert b"target" not in payload
    code = """
        found, again = found
        assert again is found["ref"]
        for name, weak in found.items():
            assert type(weak) is expected[name], name
            if name != "proxy":
                assert referent(name, weak) is None, name
            if name in ("ref", "called", "subref", "method", "submethod"):
                assert {weak: 1}[weak] == 1
        assert found["ref"] != found["called"]
        try:
            found["proxy"].name
        except ReferenceError:
            pass
        else:
            raise AssertionError("the proxy lives")
    """
    receive(bare, payload, check(code))


@pytest.mark.parametrize("finalizers", ["detach", "rearm"])
@pytest.mark.parametrize("host", HOSTS)
def test_finalizers(bare: Path, host: str, finalizers: str) -> None:
    target = things.Thing("target")
    finalizer = weakref.finalize(target, things.log, 1, two=2)
    policy = weakreduce.Policy(finalizers=finalizers)  # type: ignore[arg-type]
    payload = weakreduce.dumps([target, finalizer], host=host, policy=policy)
    finalizer.detach()
    receive(
        bare,
        payload,
        f"""
        import things
        assert found[1].alive is {finalizers == "rearm"}
        del found[0]
        gc.collect()
        assert found[0].alive is False
        assert things.LOG == ({[((1,), {"two": 2})]} if {finalizers == "rearm"} else [])
        assert "weakreduce" not in sys.modules
        """,
    )


@pytest.mark.parametrize("host", HOSTS)
def test_a_shared_name_says_what_is_missing(bare: Path, host: str) -> None:
    cache = things.Thing("cache")
    weakreduce.share("the cache", cache)
    payload = weakreduce.dumps([weakref.ref(cache)], host=host)
    receive(
        bare,
        payload,
        """
        try:
            pickle.loads(payload)
        except ImportError as error:
            assert "weakreduce" in str(error)
        else:
            raise AssertionError("no error")
        """,
    )


@pytest.mark.parametrize("host", HOSTS)
def test_loading_readies_the_receiver(equipped: Path, host: str) -> None:
    """A process that was sent something weak can send weak things back, where that is asked for."""
    target = things.Thing("target")
    always = weakreduce.Policy(ready_receiver="always")
    payload = weakreduce.dumps([target, weakref.ref(target)], policy=always, host=host)
    code = """
        assert "weakreduce" not in sys.modules, "before"
        found = pickle.loads(payload)
        assert "weakreduce" in sys.modules
        import cloudpickle, dill
        for module in (cloudpickle, dill):
            back = module.loads(module.dumps(found))
            assert back[1]() is back[0]
            assert module.loads(module.dumps(weakref.ref(found[0])))().name == "target"
    """
    receive(equipped, payload, code)
    # Also where the host was there first.
    receive(equipped, payload, "import cloudpickle, dill\n" + textwrap.dedent(code))


def loky_dumps(obj: Any) -> Any:
    from loky.backend.reduction import dumps

    return dumps(obj)


SHIPPED = {
    "multiprocessing": multiprocessing.reduction.ForkingPickler.dumps,
    "loky": loky_dumps,
    "bind": lambda obj: pickle.dumps(weakreduce.bind(obj)),
}


@pytest.mark.parametrize("engine", gaps.params(*SHIPPED))
def test_what_engines_ship_readies_the_receiver(equipped: Path, engine: str) -> None:
    target = things.Thing("target")
    root = [target, weakref.ref(target)]
    code = """
        found = pickle.loads(payload)
        import cloudpickle
        back = cloudpickle.loads(cloudpickle.dumps(found))
        assert back[1]() is back[0]
    """
    receive(equipped, bytes(SHIPPED[engine](root)), code)
    with weakreduce.policy(ready_receiver="never"):
        payload = bytes(SHIPPED[engine](root))
    receive(
        equipped,
        payload,
        """
        assert found[1]() is found[0]
        assert "weakreduce" not in sys.modules
        """,
    )


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("host", HOSTS)
def test_a_file_changes_nothing_where_it_is_loaded(
    equipped: Path, host: str, protocol: int
) -> None:
    target = things.Thing("target")
    root = [target, weakref.ref(target), weakref.WeakSet([target]), weakref.proxy(things.Thing())]
    payload = weakreduce.dumps(root, host=host, protocol=protocol)
    assert b"weakreduce" not in payload
    assert b"importlib" not in payload
    receive(
        equipped,
        payload,
        """
        assert found[1]() is found[0]
        assert "weakreduce" not in sys.modules
        """,
    )


@pytest.mark.parametrize("host", HOSTS)
def test_a_payload_with_nothing_weak_readies_nothing(equipped: Path, host: str) -> None:
    payload = weakreduce.dumps([things.Thing("target"), things.function], host=host)
    assert b"weakreduce" not in payload
    receive(equipped, payload, "assert 'weakreduce' not in sys.modules")


MAKE = """
    import sys, weakref, weakreduce, things
    from everything import weak_things
    pool = [object() for _ in range(int(sys.argv[1]))]  # other addresses
    inside, outside = things.Thing("inside"), [things.Thing(f"outside {n}") for n in range(9)]
    root = [
        weak_things(inside), inside,
        weak_things(outside[0]),
        weakref.WeakSet(outside), weakref.WeakKeyDictionary({thing: 1 for thing in outside}),
        weakref.ref(things.Thing()),
    ]
    for host in ("cloudpickle", "dill", "pickle"):
        for protocol in (2, 5):
            print(weakreduce.dumps(root, host=host, protocol=protocol).hex())
"""


def test_the_same_bytes_in_every_process() -> None:
    seeds = ("0", "1", "2", "77")
    code = textwrap.dedent(MAKE)
    assert len({programs.run(code, seed, PYTHONHASHSEED=seed) for seed in seeds}) == 1


# --- payloads of earlier releases ---------------------------------------------------------

WIRE = Path(__file__).parent.parent / "wire"
FROZEN = sorted(WIRE.glob("*.zip"))


def pythons() -> dict[str, str]:
    """The path of one CPython of each version that is found here, from 3.8 on."""
    places = [shutil.which(f"python3.{minor}") for minor in range(8, 20)]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout
        places += map(str, sorted(Path(root.strip()).glob("versions/*/bin/python")))
    found = {}
    for place in [sys.executable, *filter(None, places)]:
        asked = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
        run = subprocess.run([place, "-c", asked], capture_output=True, text=True)
        name, *version = run.stdout.split() or ("none",)
        if name == "cpython" and tuple(map(int, version)) >= (3, 8):
            found.setdefault(".".join(version), place)
    return found


def arrived(program: Path, folder: Path, pythons: dict[str, str]) -> dict[str, dict[str, int]]:
    """For each Python: how many payloads of each file beside `wired.py` arrive."""
    counts = {}
    for version, place in pythons.items():
        run = subprocess.run(
            [place, "-I", "-S", "-W", "error", str(program), str(folder)],
            capture_output=True, text=True,
        )  # fmt: skip
        assert run.returncode == 0, (version, run.stderr)
        lines = map(str.split, run.stdout.splitlines())
        counts[version] = {name: int(count) for name, count in lines}
    return counts


def payloads_in(path: Path) -> int:
    """How many payloads a file holds."""
    with zipfile.ZipFile(path) as archive:
        return sum(name.endswith(".pickle") for name in archive.namelist())


@pytest.mark.timeout(900)
def test_frozen_payloads_arrive_on_every_python_that_is_here(bare: Path) -> None:
    """Without weakreduce. What is checked is what comes out, in `wire/wired.py`."""
    everything = {path.name: payloads_in(path) for path in FROZEN}
    assert everything
    found = pythons()
    assert "{}.{}".format(*sys.version_info) in found
    for version, counts in arrived(WIRE / "wired.py", bare, found).items():
        expected = dict(everything)
        if version in ("3.8", "3.9"):
            # The first release wrote `types.NoneType` for dill, which came in 3.10.
            expected["0.1.0.zip"] -= 16
        assert counts == expected, version


@pytest.mark.timeout(900)
def test_payloads_of_this_python_arrive_on_the_oldest_and_newest(
    bare: Path, tmp_path: Path
) -> None:
    """The same payloads, written now and here."""
    made = subprocess.run(
        [sys.executable, str(WIRE / "make.py"), str(tmp_path / "now")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    shutil.copy(WIRE / "wired.py", tmp_path)
    everything = {"now.zip": payloads_in(tmp_path / "now.zip")}
    assert everything["now.zip"] > 1000
    found = pythons()
    ordered = sorted(found, key=lambda version: int(version.partition(".")[2]))
    ends = {version: found[version] for version in (ordered[0], ordered[-1])}
    for version, counts in arrived(tmp_path / "wired.py", bare, ends).items():
        assert counts == everything, version


@pytest.mark.parametrize("path", FROZEN, ids=lambda path: path.stem)
def test_what_arrived_from_an_earlier_release_can_be_sent_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links and pins of then are links and pins, too, where they are pickled again."""
    monkeypatch.syspath_prepend(str(WIRE))
    wired = importlib.import_module("wired")
    monkeypatch.setattr("weakreduce.model.kinds._registered", weakref.WeakKeyDictionary())
    weakreduce.register(
        wired.Handle, referent=wired.Handle.referent, rebuild=wired.Handle, pin=wired.PinnedHandle
    )
    shared = wired.Node("shared")
    weakreduce.share("a shared node", shared)
    for number, (_, what, payload, expected) in enumerate(wired.payloads(path)):
        if what == "token":
            reference, proxy, members = pickle.loads(payload)
            assert reference() is proxy.whoami() is next(iter(members)) is shared
        elif number % 5 == 0 or wired.needs_weakreduce(what):
            # Plain pickle takes no class by value.
            hosts = HOSTS[:2] if what.startswith("classes_by_value") else HOSTS
            host, protocol = hosts[number % len(hosts)], 2 + number % 4

            def load(payload: bytes = payload, host: str = host, protocol: int = protocol) -> Any:
                found = pickle.loads(payload)
                policy = weakreduce.Policy(finalizers="rearm")
                again = weakreduce.dumps(found, policy=policy, host=host, protocol=protocol)
                return pickle.loads(again)

            wired.check(what, load, expected)
    gc.unfreeze()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("protocol", [2, 5])
def test_nothing_is_named_that_older_pythons_lack(host: str, protocol: int) -> None:
    """`NoneType` came to `types` in 3.10, which is where dill looks for it."""
    here, there = things.Thing("here"), things.Thing("there")
    tree = things.Thing("top", children=[])
    for name in ("left", "right"):
        child = things.Thing(name, parent=weakref.ref(tree), children=[])
        child.children.append(things.Thing("leaf", parent=weakref.proxy(child), children=[]))
        tree.children.append(child)
    registry = [weakref.ref(child) for child in tree.children]
    roots = (
        # The second and later ones are written by a short cut, referents and all.
        [weakref.ref(here), weakref.ref(there), here, there],
        [tree.children[0].children[0], weakref.ref(tree), tree],
        [registry, tree],
        registry,
        [{weakref.ref(here): 1, weakref.ref(there): 2}, [here, there]],
    )
    for root in roots:
        assert b"NoneType" not in weakreduce.dumps(root, host=host, protocol=protocol)
