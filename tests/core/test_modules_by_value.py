"""Modules that travel by value, and hold weakly what leads back to them: as whole as any object."""

from __future__ import annotations

import itertools
import sys
import types
import weakref
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from programs import run

import weakreduce

LOAD = "import pickle, sys\nwith open(sys.argv[1], 'rb') as file:\n    parts = pickle.load(file)\n"
CODE = "class Kept:\n    pass\n\ndef me():\n    return itself()\n"


def made() -> dict[str, Any]:
    """A module with every way back to it, and what it refers to that is outside, by name."""
    module: Any = types.ModuleType("made_at_run_time")
    exec(CODE, vars(module))  # noqa: S102 - as programs make modules
    outside = module.Kept()
    module.number, module.outside = 7, weakref.ref(outside)
    module.itself, module.listed = weakref.ref(module), [weakref.ref(module)]
    module.members = weakref.WeakSet([module])
    module.kept = module.Kept()
    module.kept.module = module.Kept.module = module.itself
    return {"module": module, "kept": module.kept, "reference": module.itself, "held": outside}


HOLDS = (
    "module.number, module.itself() is module, module.listed[0]() is module,"
    " list(module.members) == [module], module.kept.module() is module,"
    " module.Kept.module() is module, module.me() is module, '__builtins__' in vars(module)"
)


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("names", list(itertools.permutations(["module", "kept", "reference"])))
def test_a_module_that_leads_back_to_itself_is_whole(
    tmp_path: Path, names: tuple[str, ...], policy: Any, protocol: int
) -> None:
    parts, path = made(), tmp_path / "payload"
    with weakreduce.policy(policy):
        payload = cloudpickle.dumps({name: parts[name] for name in names}, protocol=protocol)
    path.write_bytes(payload)
    code = f"{LOAD}module = parts['module']\nprint(({HOLDS}, parts['kept'] is module.kept,"
    code += " parts['reference']() is module, module.outside() is None))"
    dead = policy == "dangle"
    assert run(code, str(path)).strip() == str((7, *[True] * 9, dead))
    assert list(names) == list(cloudpickle.loads(payload))


def test_a_snapshot_of_a_module_leads_back_to_it() -> None:
    module = made()["module"]
    copy = cloudpickle.loads(cloudpickle.dumps(module.itself))
    assert copy().itself() is copy() is not module


def test_a_module_that_holds_nothing_weak_has_the_bytes_of_stock() -> None:
    module = types.ModuleType("made_at_run_time")
    exec("number = 7\ndef double(): return 2 * number\n", vars(module))  # noqa: S102
    mixed = [module, sys, module]
    ours = cloudpickle.dumps(mixed)
    weakreduce.uninstall()
    try:
        assert cloudpickle.dumps(mixed) == ours
    finally:
        weakreduce.install()
