"""Paths: each is an expression that gives the object, with nothing but `root` to start from.

Into arrays, frames and what else a library keeps: `test_paths_of_libraries.py`.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import pytest
from holders import HOLDERS, Plain, Target, check, with_attribute

from weakreduce.paths import search


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
