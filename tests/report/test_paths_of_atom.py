"""Paths into members of atom's, which it keeps on its own. Needs atom (the test extra)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import atom.api
import holders
import pytest
from holders import Plain, Target, check, reports_name
from ways import path_to


class Members(atom.api.Atom):
    x = atom.api.Value()
    items = atom.api.List()


class MoreMembers(Members):
    y = atom.api.Value()


class LateMembers(atom.api.Atom):
    x = atom.api.Value(factory=lambda: pytest.fail("made for a path"))


#: What it is -> how it is made to hold something, and the step to that.
HOLDERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "atom": (lambda held: Members(x=held), "root.x"),
    "atom, list": (lambda held: Members(items=[1, held]), "root.items[1]"),
    "atom, subclass": (lambda held: MoreMembers(y=held), "root.y"),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_every_holder_has_an_expression(name: str) -> None:
    make, expected = HOLDERS[name]
    target = Target()
    check(make(target), target, expected)


@pytest.mark.parametrize("name", [*holders.HOLDERS, *HOLDERS])
def test_holders_hold_each_other(name: str) -> None:
    """The steps are put together in any order."""
    known = holders.HOLDERS | HOLDERS
    make, _ = known[name]
    for around in ("atom", "atom, list", *(("attribute", "exception") if name in HOLDERS else ())):
        target = Target()
        check(known[around][0](make(target)), target)


def test_nothing_is_made_for_a_path() -> None:
    """A member that is not set stays so: looking does not change what is looked at."""
    target = Target()
    assert path_to([LateMembers(), target], target) == "root[1]"


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_reports_name_what_is_in_members(host: Any) -> None:
    target = Plain()
    reports_name(target, Members(x=target), "root.x", host)


def test_a_weak_thing_in_a_member_is_seen_by_engines() -> None:
    from weakreduce.engines.submit import holds_weak

    assert holds_weak([Members(x=weakref.ref(Target))])
    assert not holds_weak([Members(x=1)])
