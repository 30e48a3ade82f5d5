"""The lines of `Report.advice` are there to be pasted: every name in them is found there."""

from __future__ import annotations

import array
import ast
import collections
import contextlib
import importlib
import io
import itertools
import random
import re
import subprocess
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from things import Big, Thing

import weakreduce
from weakreduce import explain
from weakreduce.model.policies import Policy


class Image(Thing):
    pass


def imported(line: str) -> dict[str, Any]:
    """What a line needs, where whoever pastes it imports the module of each dotted name."""
    names: dict[str, Any] = {"weakreduce": weakreduce}
    for node in ast.walk(ast.parse(f"policy({line})")):
        if isinstance(node, ast.Attribute):
            # Of `package.module.Class.Inner`, what is a module.
            with contextlib.suppress(ImportError):
                importlib.import_module(ast.unparse(node.value))
            if isinstance(node.value, ast.Name) and node.value.id in sys.modules:
                names[node.value.id] = sys.modules[node.value.id]
    return names


def explained_elsewhere(root: Any, policy: Any = None, **names: Any) -> weakreduce.Report:
    """A report that is asked for by a module that has these names alone."""
    found = {"__name__": "elsewhere", "explain": explain, **names, "root": root, "policy": policy}
    exec("report = explain(root, policy)", found)
    report = found["report"]
    assert isinstance(report, weakreduce.Report)
    return report


def pasted(report: weakreduce.Report, root: Any, **names: Any) -> list[str]:
    """Every line is pasted where the report was asked for, and does what it promises."""
    for advice in report.advice:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with eval(f"weakreduce.policy({advice.line})", {**imported(advice.line), **names}):
                assert len(weakreduce.dumps(root)) == advice.bytes
    return [advice.line for advice in report.advice]


def by_value() -> Callable[[], int]:
    data = bytes(5000)
    return lambda: len(data)


def a_module() -> types.ModuleType:
    module = types.ModuleType("made_up")
    vars(module)["data"] = bytes(5000)
    return module


def a_weak_set() -> Any:
    made: Any = weakref.WeakSet()
    made.note = bytes(5000)
    return made


class Outer:
    class Inner(Thing):
        pass


REFERENTS: list[tuple[Callable[[], Any], str]] = [
    (by_value, "types.FunctionType"),
    (a_module, "types.ModuleType"),
    (lambda: array.array("d", range(2000)), "array.array"),
    (lambda: np.arange(2000.0), "numpy.ndarray"),
    (lambda: pd.DataFrame({"a": range(5000)}), "pandas.DataFrame"),
    (lambda: set(range(5000)), "set"),
    (lambda: collections.deque(range(5000)), "collections.deque"),
    (lambda: collections.OrderedDict(enumerate(range(5000))), "collections.OrderedDict"),
    (lambda: io.BytesIO(bytes(5000)), "io.BytesIO"),
    (lambda: re.compile("x" * 5000), "re.Pattern"),
    (lambda: type("Made", (), {"data": bytes(5000)}), "type"),
    (a_weak_set, "weakref.WeakSet"),
    (lambda: random.Random(3), "random.Random"),
    (lambda: Big(size=5000), "things.Big"),
    (lambda: Outer.Inner(data=bytes(5000)), f"{__name__}.Outer.Inner"),
]


@pytest.mark.parametrize(("make", "name"), REFERENTS, ids=[name for _, name in REFERENTS])
def test_a_line_can_be_pasted(make: Callable[[], Any], name: str) -> None:
    referent = make()
    root = [weakref.ref(referent), 1]
    for policy in ("snapshot", "strict"):
        report = explained_elsewhere(root, policy)
        lines = pasted(report, root)
        found = [line for line in lines if f"rules=(({name}, 'dangle'),)" in line]
        # Of two that come to the same, the first is given.
        assert found, lines


@pytest.mark.parametrize("cls", [weakref.WeakSet, weakref.WeakValueDictionary])
def test_a_container_can_be_pasted(cls: Any) -> None:
    values = [Big(size=5000), Outer.Inner(data=bytes(5000)), Image(data=bytes(5000))]
    container = cls(values) if cls is weakref.WeakSet else cls(enumerate(values))
    root = [container, *map(weakref.ref, values)]
    del root[1:3]
    lines = pasted(explained_elsewhere(root), root)
    assert any(f"weakref.{cls.__name__}" in line for line in lines), lines


def test_names_of_who_asks() -> None:
    """By the names that are there, where there are any."""
    for referent, names, name in (
        (np.arange(2000.0), {"np": np}, "np.ndarray"),
        (np.arange(2000.0), {"Array": np.ndarray}, "Array"),
        (by_value(), {"types": types}, "types.FunctionType"),
        (set(range(5000)), {"set": None}, "builtins.set"),
        (Big(size=5000), {"Big": Big}, "Big"),
        (Big(size=5000), {"Big": None}, "things.Big"),
        (Outer.Inner(data=bytes(5000)), {"Outer": Outer}, "Outer.Inner"),
    ):
        root = [weakref.ref(referent)]
        lines = pasted(explained_elsewhere(root, **names), root, **names)
        assert lines == [f"rules=(({name}, 'dangle'),)"]


def test_what_has_no_name_is_not_named() -> None:
    """A class of a function, one that is there no more, and a rule that is a lambda."""

    class Local(Thing):
        pass

    lost = type("Table", (Thing,), {"__module__": __name__})
    for referent in (Local(data=bytes(5000)), lost(data=bytes(5000))):
        root = [weakref.ref(referent)]
        for policy in (None, "strict"):
            lines = pasted(explained_elsewhere(root, policy), root)
            assert '"dangle"' in lines
            assert "rules" not in "".join(lines)
    image = Image(data=bytes(5000))
    root = [weakref.ref(image)]
    given = Policy(rules=((lambda _weak, _referent: False, "dangle"),))
    assert pasted(explained_elsewhere(root, given), root) == []


def test_a_line_says_all_that_differs() -> None:
    """Whatever is in force, and whatever the report was asked for."""
    kept = Image(data=bytes(3000))
    target = Thing()
    root = [weakref.ref(kept), target, weakref.ref(target, Big(size=5000).method)]
    policies = [
        Policy(outside=outside, callbacks=callbacks, max_snapshot_bytes=most, rules=rules)
        for outside, callbacks, most, rules in itertools.product(
            ("snapshot", "refuse"),
            ("keep", "drop"),
            (None, 10_000, float("inf")),
            ((), ((Image, "snapshot"),), ((lambda _weak, _referent: False, "dangle"),)),
        )
    ]
    count = 0
    pairs = list(itertools.product(policies, repeat=2))
    for in_force, reported in random.Random(4).sample(pairs, 60):
        with weakreduce.policy(in_force):
            report = explained_elsewhere(root, reported)
            count += len(pasted(report, root))
    assert count > 60


def test_a_script_has_its_own_names(tmp_path: Any) -> None:
    """A module that a script imports asks; whoever reads it pastes into the script."""
    (tmp_path / "asking.py").write_text("import weakreduce\nask = weakreduce.explain\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import weakref, asking\n"
        "class Table:\n    data = None\n"
        "table = Table()\ntable.data = bytes(5000)\n"
        "print(asking.ask([weakref.ref(table)]).advice[0].line)\n"
    )
    found = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=True
    )
    assert found.stdout == "rules=((Table, 'dangle'),)\n"


def test_a_name_that_is_hidden_where_it_is_pasted() -> None:
    """Names are those that hold in the function that asks."""

    def hiding_a_class() -> str:
        Image = None  # noqa: N806
        assert Image is None
        return explain([weakref.ref(image)], host="pickle").advice[0].line

    def hiding_a_module() -> str:
        pd = None
        assert pd is None
        return explain([weakref.ref(frame)], host="pickle").advice[0].line

    def hiding_a_builtin() -> str:
        set = None  # noqa: A001
        assert set is None
        return explain([weakref.ref(numbers)], host="pickle").advice[0].line

    def hiding_nothing() -> str:
        return explain([weakref.ref(numbers)], host="pickle").advice[0].line

    image, frame = Image(data=bytes(10_000)), pd.DataFrame({"a": range(10_000)})
    numbers = {*range(10_000)}
    for ask, name in (
        (hiding_a_class, f"{__name__}.Image"),
        (hiding_a_module, "pandas.DataFrame"),
        (hiding_a_builtin, "builtins.set"),
        (hiding_nothing, "set"),
    ):
        assert ask() == f"rules=(({name}, 'dangle'),)"


def test_an_error_names_what_holds_where_it_is_raised() -> None:
    def hiding() -> None:
        Image = None  # noqa: N806
        assert Image is None
        weakreduce.dumps([weakref.ref(image)], policy="strict")

    image = Image()
    with pytest.raises(weakreduce.WeakrefPicklingError, match=rf"\(\({__name__}.Image, 'dangle'"):
        hiding()
