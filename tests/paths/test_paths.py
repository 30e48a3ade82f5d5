"""Paths: each is an expression that gives the object, with nothing but `root` to start from.

Into arrays, frames and what else a library keeps: `test_paths_of_libraries.py`.
"""

from __future__ import annotations

import array
import copyreg
import functools
import hashlib
import itertools
import select
import subprocess
import sys
import types
import weakref
from typing import Any

import pytest
from holders import HOLDERS, Plain, Target, check, with_attribute

import weakreduce
from weakreduce.paths import own_storage, parts, search


@pytest.mark.parametrize("name", HOLDERS)
def test_every_holder_has_an_expression(name: str) -> None:
    make, expected = HOLDERS[name]
    target = Target()
    check(make(target), target, expected)


@pytest.mark.parametrize("name", HOLDERS)
def test_holders_hold_each_other(name: str) -> None:
    """The steps are put together in any order."""
    make, _ = HOLDERS[name]
    for around in ("attribute", "tuple", "exception", "dict, lies"):
        target = Target()
        check(HOLDERS[around][0](make(target)), target)


def test_no_code_of_the_users_runs() -> None:
    asked: list[str] = []

    class Counts:
        def __reduce__(self) -> Any:
            asked.append("reduce")
            return (Counts, ())

        @property
        def x(self) -> Any:
            asked.append("x")

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise AttributeError(name)

    class CountsPartial(functools.partial):  # type: ignore[type-arg]
        def __reduce__(self) -> Any:
            asked.append("reduce")
            return super().__reduce__()

    target = Target()
    root = [with_attribute(Counts(), 1), CountsPartial(print, 1), target]
    assert search.Search(root, [-1]).path(target) is None
    assert asked == []


def test_types_that_are_not_ready_are_passed_by() -> None:
    """In a process of its own: the interpreter made this type ready for nobody yet."""
    code = (
        "from weakreduce.paths import search\n"
        "lines, last = (lambda: 0).__code__.co_lines(), []\n"
        "print(search.paths_to([lines, last], [last])[id(last)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "root[1]\n"), done.stderr


def test_a_search_asks_each_object_once() -> None:
    """A list of many objects takes as many steps as it has items."""
    items = [Plain(x=number) for number in range(2000)]
    ways = search.Search([tuple(items), items], [-1])
    assert len(ways.objects) == len(items) + 3


def test_a_function_leads_to_the_globals_that_it_names_alone() -> None:
    def function() -> Any:
        return Target

    missing = object()
    ways = search.Search([function], [id(missing)], lambda obj: obj is Target)
    assert not ways.places
    assert any(obj is Target for obj in ways.objects)
    assert not any(obj is Plain for obj in ways.objects)


def test_a_variable_without_a_value_is_passed_by() -> None:
    """It has a cell in the closure, and nothing in it."""
    early = late = target = Target()

    def function() -> Any:
        return early, late

    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    del cells["early"].cell_contents
    check([function], target)


def test_what_a_weak_container_keeps_in_a_slot_is_its_own() -> None:
    class SlotSet(weakref.WeakSet[Any]):
        __slots__ = ("data", "more")

    target, member = Target(), Target()
    root = SlotSet([member])
    root.more = target
    assert search.paths_to(root, [target, root.data]) == {id(target): "root.more"}


def test_a_class_that_cannot_be_asked_for_its_name_is_not_opened() -> None:
    """It is on the way of the search, and a pickler has never come to it."""
    outside = Target()

    class Unnamed(type):
        def __getattribute__(cls, name: str) -> Any:
            if name in ("__qualname__", "__module__"):
                raise ZeroDivisionError
            return super().__getattribute__(name)

    class Odd(metaclass=Unnamed):
        held = outside

    with pytest.raises(weakreduce.WeakrefPicklingError, match=r"^root\[0\]\[0\]\[0\]: "):
        weakreduce.dumps([[[weakref.ref(outside)]], Odd], policy="forbid")
    ways = search.Search([Odd], [id(outside)], lambda obj: obj.__module__ == "builtins")
    assert not ways.places


def test_a_way_into_an_argument_that_is_too_long_has_no_beginning() -> None:
    """A part of it may be shown, and not with the argument's name, as if it were the whole."""
    target = Target()
    deep: Any = target
    for _ in range(2 * search.LONGEST):
        deep = [deep]
    for given, expected in ((deep, "root…[0]"), ([target], "args[0][0]")):
        with search.naming([("args[0]", given)]):
            found = search.paths_to([None, given], [target])[id(target)]
        assert found.startswith(expected)


def test_a_reduction_of_the_users_own_is_not_asked_for_parts() -> None:
    """It may count, or have effects; what it would hand over is named as the collector sees it."""

    class Chain(itertools.chain[Any]):
        def __reduce__(self) -> Any:
            raise AssertionError("code of the user's ran")

    target = Target()
    root = Chain([target])
    path = search.paths_to(root, [target])[id(target)]
    assert path.startswith("gc.get_referents(root)[")


def test_a_class_that_holds_a_dead_proxy_is_opened() -> None:
    """``isinstance`` asks a proxy's referent, and a dead one raises."""
    target = Target()

    class Holder:
        dead = weakref.proxy(Target())
        __getitem__ = weakref.proxy(Target())
        data = target

    root = [Holder, Holder()]
    for holder in (Holder, root[1]):
        found = [path for path, part in parts.parts(holder, "root") if part is target]
        assert found == (["root.data"] if holder is Holder else [])
    found = [path for path, part in parts.parts(Holder, "root") if part is vars(Holder)["dead"]]
    assert len(found) == 1


@pytest.mark.parametrize("cls", [type(hashlib.sha256()), select.epoll, types.GeneratorType])
def test_what_cannot_be_pickled_is_not_asked_what_it_computes(cls: Any) -> None:
    """Such a getter of numba's crashes the interpreter, and behind it is nothing that travels."""
    assert any(isinstance(value, types.GetSetDescriptorType) for value in vars(cls).values())
    assert own_storage.computed(cls) == []


def test_what_somebody_can_pickle_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_storage.computed(array.array)
    hashes = type(hashlib.sha256())
    monkeypatch.setitem(copyreg.dispatch_table, hashes, lambda hash: (hashlib.sha256, ()))
    assert "digest_size" in dict(own_storage.computed(hashes))
