"""`Report.heaviest`: no heavy part is missed because of what leads to it.

What a weak reference calls is complete only after the root, a class by value before its first
instance: neither stands in the payload where its holder does.
"""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

import weakreduce
from weakreduce.paths import parts

SIZE = 300_000


class Target:
    def method(self) -> None: ...


def closing(data: object) -> Callable[..., object]:
    def function(*_args: object) -> object:
        return data

    return function


def with_default(data: object) -> Callable[..., object]:
    def function(*_args: object, held: object = data) -> object:
        return held

    return function


def with_attribute(data: object) -> Any:
    function: Any = closing(None)
    function.data = data
    return function


def with_constant(data: object) -> Any:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(f"def function(*args): return {data!r}", names)
    return names["function"]


def with_text(data: bytes) -> Any:
    function = closing(None)
    function.__doc__ = data.decode()
    return function


def partial(data: bytes) -> Any:
    return functools.partial(closing(None), data)


FUNCTIONS = [closing, with_default, with_attribute, with_constant, with_text, partial]


def leads(root: Any, policy: Any = None) -> list[str]:
    """The paths of the heaviest, which have to lead to the data and to what they say."""
    report = weakreduce.explain(root, policy=policy)
    found = [
        (weight, eval(weight.path, {"root": root, "gc": gc, "type": type}))
        for weight in report.heaviest
    ]
    assert isinstance(found[-1][1], (bytes, str)), report
    for weight, part in found:
        assert weight.bytes >= SIZE
        if weight.exact:
            assert weight.bytes == len(weakreduce.dumps(part, policy="dangle"))
    return [weight.path for weight, _ in found]


@pytest.mark.parametrize("make", FUNCTIONS)
@pytest.mark.parametrize("is_inside", [True, False])
def test_the_callback_of_a_reference(make: Any, is_inside: bool) -> None:
    target = Target()
    references = [
        weakref.ref(target, make(bytes(SIZE))),
        weakref.proxy(target, make(bytes(SIZE))),
        weakref.WeakMethod(target.method, make(bytes(SIZE))),
    ]
    for reference in references:
        holder = {"deep": [{"weak": reference}], "target": target if is_inside else None}
        path = "root['deep'][0]['weak']"
        beyond = path + ".__callback__"
        if reference is references[1]:
            beyond = f"gc.get_referents({path})[0]"
        found = leads(holder)
        assert {"root['deep']", "root['deep'][0]", path} < set(found)
        assert found[-1].startswith(beyond)


def test_a_callback_of_a_callback() -> None:
    first, second = Target(), Target()
    inner = weakref.ref(second, closing([bytes(SIZE)]))
    root = [first, weakref.ref(first, closing([second, inner]))]
    assert leads(root)[-1].count("__callback__") == 2


def test_the_reference_itself_is_the_root() -> None:
    target = Target()
    assert leads(weakref.ref(target, closing(bytes(SIZE)))) == [
        "root.__callback__", "root.__callback__.__closure__[0].cell_contents",
    ]  # fmt: skip


@pytest.mark.parametrize("is_inside", [True, False])
def test_values_of_a_dictionary_with_weak_keys(is_inside: bool) -> None:
    key = Target()
    table: Any = weakref.WeakKeyDictionary({key: closing(bytes(SIZE))})
    root = {"table": [table], "key": key if is_inside else None}
    value = "list(root['table'][0].values())[0]"
    assert {"root['table']", value, f"{value}.__closure__[0].cell_contents"} <= set(leads(root))


def test_what_a_finalizer_calls() -> None:
    rearm = weakreduce.Policy(finalizers="rearm")
    target = Target()
    for arguments, keywords in [((bytes(SIZE),), {}), ((), {"name": [bytes(SIZE)]})]:
        finalizer = weakref.finalize(target, closing(None), *arguments, **keywords)
        assert leads([target, {"it": finalizer}], rearm)[-1].startswith("root[1]['it'].peek()[")
        finalizer.detach()
    finalizer = weakref.finalize(target, closing(bytes(SIZE)))
    assert "root[1].peek()[1].__closure__[0].cell_contents" in leads([target, finalizer], rearm)
    finalizer.detach()
    # Detached it takes none of that along.
    assert weakreduce.explain([target, finalizer]).heaviest[0].bytes < SIZE


def test_classes_by_value_that_hold_their_instances() -> None:
    class Registry:
        instances: Any = weakref.WeakValueDictionary()
        data = bytes(SIZE)

    Registry.instances["one"] = one = Registry()
    assert leads([one]) == ["root[0]", "type(root[0])", "type(root[0]).data"]

    class Called:
        weak: Any = None

    called = Called()
    Called.weak = weakref.ref(called, closing(bytes(SIZE)))
    assert "type(root[0]).weak.__callback__" in leads([called])


def test_modules_by_value() -> None:
    module: Any = types.ModuleType("made_here")
    module.data = bytes(SIZE)
    assert leads([module]) == ["root[0]", "root[0].data"]


def test_one_of_many() -> None:
    targets = [Target() for _ in range(3000)]
    weak = [weakref.ref(target) for target in targets]
    weak[2000] = weakref.ref(targets[2000], closing(bytes(10 * SIZE)))
    assert "root[1][2000].__callback__" in leads([targets, weak])


def test_what_is_recorded() -> None:
    target = Target()
    root = {"target": target, "weak": [weakref.ref(target, closing(bytes(SIZE)))]}
    with weakreduce.record() as report:
        cloudpickle.dumps(root)
    paths = [weight.path for weight in report.heaviest]
    assert "root['weak']" in paths
    assert paths[-1] == "root['weak'][0].__callback__.__closure__[0].cell_contents"


def test_what_weighs_less_than_half_is_listed_besides() -> None:
    kept = Target()
    root = [bytes(4 * SIZE), kept, weakref.ref(kept, closing(bytes(SIZE)))]
    report = weakreduce.explain(root)
    weights = {weight.path: weight.bytes for weight in report.heaviest}
    assert SIZE < weights["root[2]"] < SIZE + 2000
    assert weights["root[0]"] >= 4 * SIZE


def test_attributes_are_no_globals_of_a_function() -> None:
    """Of the names in its code only those that it reads or sets as globals travel with it."""
    source = """
class Table:
    def __init__(self): self.data = bytes(1000)
class Big:
    def __init__(self): self.table = text
    def method(self):
        def inner():
            class Inner:
                base = other
            return self.text2
        return inner
table, text, text2, other = Table(), "x" * 500, "y" * 500, "z" * 500
big = Big()
"""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "a file of some name" * 5, "exec"), names)
    names["big"].table = weakref.ref(names["table"])
    report = weakreduce.explain(names["big"], "dangle")
    paths = [weight.path for weight in report.heaviest]
    assert "type(root).__init__.__globals__['text']" in paths
    assert not any("['table']" in path or "['text2']" in path for path in paths)
    function = names["Big"].method
    found = {path for path, _ in parts.parts(function, "f") if "__globals__" in path}
    # The body of a class reads the module's name.
    assert found == {"f.__globals__['__name__']", "f.__globals__['other']"}
