"""Hosts that are imported after weakreduce: what their modules and specs look like, and to whom."""

from __future__ import annotations

import pytest
from programs import run

LOOKS = """
import copy, importlib.util, pickle
{first}
spec = importlib.util.find_spec("multiprocessing.pool")
print(spec.origin, spec.loader.get_filename(), len(spec.loader.get_source(spec.name)))
for copied in (copy.copy(spec.loader), copy.deepcopy(spec).loader,
               pickle.loads(pickle.dumps(spec.loader))):
    print(type(copied), vars(copied))
import multiprocessing.pool as pool
for loader in (pool.__loader__, pool.__spec__.loader):
    print(type(loader), vars(loader))
import importlib
print(importlib.reload(pool) is pool, type(pool.__loader__), type(pool.__spec__.loader))
"""


def test_a_host_s_module_and_spec_look_as_without_weakreduce() -> None:
    assert run(LOOKS.format(first="import weakreduce")) == run(LOOKS.format(first=""))


def test_a_module_s_own_code_sees_its_own_loader() -> None:
    """It is run by our loader, which is gone by then."""
    code = """
import sys, types, weakreduce
seen = []
def look(event, arguments):
    if event == "exec" and arguments[0].co_filename.endswith("multiprocessing/queues.py"):
        module = sys.modules["multiprocessing.queues"]
        seen.extend([type(module.__loader__).__name__, type(module.__spec__.loader).__name__])
sys.addaudithook(look)
import multiprocessing.queues
print(*seen, hasattr(multiprocessing.queues.Queue.put, "__wrapped__"))
"""
    assert run(code).split() == ["SourceFileLoader", "SourceFileLoader", "True"]


def test_a_second_copy_of_a_module_is_left_alone() -> None:
    """One that is made from the spec, and is in no table of modules."""
    code = """
import importlib.util, weakreduce
spec = importlib.util.find_spec("multiprocessing.pool")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(hasattr(module.Pool.apply_async, "__wrapped__"))
import multiprocessing.pool
print(hasattr(multiprocessing.pool.Pool.apply_async, "__wrapped__"))
"""
    assert run(code).split() == ["False", "True"]


@pytest.mark.parametrize("turn", ["weakreduce.uninstall()", ""])
def test_a_spec_that_was_found_before_uninstall_readies_nothing(turn: str) -> None:
    code = f"""
import importlib.util, sys, weakreduce
spec = importlib.util.find_spec("multiprocessing.pool")
{turn}
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(hasattr(module.Pool.apply_async, "__wrapped__"))
"""
    assert run(code).strip() == str(not turn)


def test_a_loader_of_the_old_kind_is_left_alone() -> None:
    """It loads a module in one step, behind which nothing can be done; `install` can, later."""
    code = """
import importlib.util, sys, weakreduce
from importlib.machinery import ModuleSpec
class Old:
    def load_module(self, name): raise AssertionError("not asked")
old = Old()
class Finder:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, old) if name == "multiprocessing.pool" else None
sys.meta_path.insert(1, Finder())
assert weakreduce.registry._waiting_for("multiprocessing.pool")
print(importlib.util.find_spec("multiprocessing.pool").loader is old)
"""
    assert run(code) == "True\n"


def test_a_module_that_is_run_again_by_the_loader_that_was_found() -> None:
    """That loader is nowhere in the module any more, and it is the module's own that stays."""
    code = """
import importlib.util, sys, weakreduce
spec = importlib.util.find_spec("multiprocessing.pool")
found = spec.loader
module = importlib.util.module_from_spec(spec)
for _ in range(2):
    found.exec_module(module)
    print(module.__loader__ is spec.loader, spec.loader is not found, hasattr(module, "Pool"))
"""
    assert run(code) == "True True True\n" * 2
