"""Installing and uninstalling, in any order with imports, leaves all as it was."""

from __future__ import annotations

import copy
import copyreg
import io
import pickle
import subprocess
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from harm import (
    Plain,
    run,
)


def snapshot() -> dict[str, Any]:
    """All that installing might touch, in order, by identity."""
    import cloudpickle
    import dill

    return {
        "cloudpickle.Pickler": list(vars(cloudpickle.Pickler).items()),
        "cloudpickle": list(vars(cloudpickle).items()),
        "cloudpickle.cloudpickle": list(vars(cloudpickle.cloudpickle).items()),
        "cloudpickle table": list(cloudpickle.Pickler.dispatch_table.items()),
        "dill.Pickler": list(vars(dill.Pickler).items()),
        "dill": list(vars(dill).items()),
        "dill._dill": list(vars(dill._dill).items()),
        "dill dispatch": list(dill.Pickler.dispatch.items()),
        "copyreg": list(copyreg.dispatch_table.items()),
        "pickle": list(vars(pickle).items()),
        "pickle._Pickler": list(vars(pickle._Pickler).items()),
        "pickle dispatch": list(pickle._Pickler.dispatch.items()),
        "weakref": list(vars(weakref).items()),
        "WeakSet": list(vars(weakref.WeakSet).items()),
        "copy": list(vars(copy).items()),
        "copy table": list(copy._deepcopy_dispatch.items()),  # type: ignore[attr-defined]
        "meta path": list(enumerate(sys.meta_path)),
        "path hooks": list(enumerate(sys.path_hooks)),
    }


def assert_as_before(before: dict[str, Any]) -> None:
    for name, items in snapshot().items():
        assert [key for key, _ in items] == [key for key, _ in before[name]], name
        for (key, value), (_, earlier) in zip(items, before[name], strict=True):
            assert value is earlier or value == earlier, (name, key)
            if isinstance(value, types.FunctionType):
                assert value is earlier, (name, key)


def child_uninstall() -> None:
    """Every order of installing and uninstalling leaves things as they were."""
    import cloudpickle

    import weakreduce

    before = snapshot()
    hosts = ("cloudpickle", "dill", "pickle")
    ways: list[list[tuple[Callable[..., None], tuple[str, ...]]]] = [
        [(weakreduce.install, ()), (weakreduce.uninstall, ())],
        [(weakreduce.install, hosts), (weakreduce.uninstall, hosts)],
        [(weakreduce.install, hosts), (weakreduce.uninstall, hosts[::-1])],
        [(weakreduce.install, hosts[::-1]), (weakreduce.uninstall, hosts)],
        [(weakreduce.install, ()), (weakreduce.install, hosts), (weakreduce.uninstall, ())],
        [(weakreduce.install, ("dill",)), (weakreduce.install, ("dill",))],
        [(weakreduce.uninstall, ("dill",)), (weakreduce.uninstall, ())],
        [(weakreduce.uninstall, ())],
        [(weakreduce.install, ("cloudpickle",)), (weakreduce.uninstall, ("dill",))],
        [(weakreduce.uninstall, ("cloudpickle",))],
    ]
    alive = Plain()
    for _ in range(2):
        for way in ways:
            for step, names in way:
                step(*names)
            if way[-1][0] is weakreduce.install or "dill" in way[-1][1] == way[0][1]:
                continue
            if all(h["state"] == "off" for h in weakreduce.info()["hosts"].values()):
                assert_as_before(before)
                for module in (cloudpickle, pickle):
                    try:
                        module.dumps(weakref.ref(alive))
                    except TypeError:
                        continue
                    raise AssertionError("weak references are still pickled")
    weakreduce.install(*hosts)
    first = snapshot()
    weakreduce.install(*hosts)
    assert_as_before(first)
    for host in hosts:
        weakreduce.uninstall(host)
    weakreduce.uninstall()
    assert_as_before(before)
    try:
        weakreduce.install("no such host")
    except ValueError as error:
        assert "cloudpickle" in str(error)
    else:
        raise AssertionError("installed a host that is none")
    assert_as_before(before)


def test_uninstall_puts_back_exactly_what_was_there() -> None:
    run(child_uninstall, ours=False)


def child_pickler_outlives(order: str, host: str) -> None:
    """Picklers made before an install or uninstall go on writing to their files."""
    import weakreduce

    module: Any = __import__(host)
    install, uninstall = weakreduce.install, weakreduce.uninstall
    if order == "uninstall":
        install, uninstall = uninstall, install
    uninstall()
    file = io.BytesIO()
    pickler = module.Pickler(file)
    pickler.dump([1])
    install()
    pickler.dump([2])
    uninstall()
    pickler.dump([3])
    file.seek(0)
    assert [pickle.load(file) for _ in range(3)] == [[1], [2], [3]]


@pytest.mark.parametrize("order", ["install", "uninstall"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_picklers_outlive_install_and_uninstall(order: str, host: str) -> None:
    run(child_pickler_outlives, order, host)


def child_foreign_patch() -> None:
    """A patch that somebody put on top of ours is left in place, and works."""
    import cloudpickle

    import weakreduce

    ours = cloudpickle.Pickler.dump
    calls = []

    def dump(self: Any, obj: Any) -> Any:
        calls.append(obj)
        return ours(self, obj)

    cloudpickle.Pickler.dump = dump
    weakreduce.uninstall()
    assert cloudpickle.Pickler.dump is dump
    assert cloudpickle.loads(cloudpickle.dumps([1])) == [1]
    assert calls == [[1]]


def test_uninstall_leaves_the_patches_of_others() -> None:
    run(child_foreign_patch)


# --- imports ------------------------------------------------------------------------------


def child_import_order(order: list[str]) -> None:
    for name in order:
        __import__(name)
    import weakreduce

    for host in ("cloudpickle", "dill"):
        if host in order:
            module: Any = sys.modules[host]
            referent = Plain(1)
            copied = module.loads(module.dumps([referent, weakref.ref(referent)]))
            assert copied[1]() is copied[0]
            assert weakreduce.info()["hosts"][host]["state"] == "installed"
            assert module.__spec__.loader.__class__.__name__ == "SourceFileLoader"
        else:
            assert weakreduce.info()["hosts"][host]["state"] == "waiting"


@pytest.mark.parametrize(
    "order",
    [
        ["weakreduce", "cloudpickle", "dill"],
        ["cloudpickle", "dill", "weakreduce"],
        ["dill", "weakreduce", "cloudpickle"],
        ["weakreduce", "dill"],
        ["cloudpickle", "weakreduce"],
    ],
    ids="-".join,
)
def test_any_order_of_imports(order: list[str]) -> None:
    run(child_import_order, order)


def test_importing_imports_no_host_and_no_engine() -> None:
    code = "import sys; a = set(sys.modules); import weakreduce; print(*(set(sys.modules) - a))"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    new = {name.partition(".")[0] for name in done.stdout.split()}
    engines = {"cloudpickle", "dill", "joblib", "ray", "pyspark", "multiprocess", "pathos", "dask"}
    assert "weakreduce" in new
    assert new & (engines | {"distributed", "numpy", "asyncio", "pytest"}) == set()


def child_uninstall_before_import() -> None:
    """Uninstalled before the host came: the host stays as it is."""
    import weakreduce

    before = list(sys.meta_path)
    weakreduce.uninstall()
    assert len(sys.meta_path) == len(before) - 1
    import cloudpickle

    assert "__init__" not in vars(cloudpickle.Pickler) or not hasattr(
        cloudpickle.Pickler.__init__, "__wrapped__"
    )
    assert not hasattr(cloudpickle.Pickler.dump, "__wrapped__")


def child_reload() -> None:
    """What a module has when it is reloaded is extended as what it had, and both are put back."""
    import importlib

    import cloudpickle
    import dill

    import weakreduce

    def arrives(module: Any) -> bool:
        plain = Plain()
        copy, reference = module.loads(module.dumps([plain, weakref.ref(plain)]))
        return reference() is copy

    for module in (cloudpickle, dill):
        before = vars(module)["Pickler"]
        for part in (sys.modules[before.__module__], module, module):
            importlib.reload(part)
        assert vars(module)["Pickler"] is not before
        assert arrives(module), module
        weakreduce.uninstall()
        for cls in (before, vars(module)["Pickler"]):
            assert "weakreduce" not in cls.dump.__code__.co_filename, cls
        weakreduce.install()
        assert arrives(module), module
        assert "weakreduce" not in before.dump.__code__.co_filename


def test_a_module_that_is_reloaded() -> None:
    run(child_reload)


def test_uninstall_before_the_host_is_imported() -> None:
    run(child_uninstall_before_import)
