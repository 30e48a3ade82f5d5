"""traits: a ``WeakRef`` trait keeps its value by ``weakref.ref`` (``traits/trait_types.py``)."""

from __future__ import annotations

import gc

import journey
from traits.api import HasTraits, List, Str, WeakRef


class Team(HasTraits):
    name = Str()
    members = List()


class Member(HasTraits):
    name = Str()
    team = WeakRef(Team)


def make() -> Team:
    team = Team(name="red")
    team.members = [Member(name="a", team=team), Member(name="b", team=team)]
    return team


def works(team: Team) -> None:
    members = list(team.members)
    assert all(member.team is team for member in members)
    del team
    gc.collect()
    assert members[0].team is None  # it is weak there, too


def test_members_know_their_team() -> None:
    journey.refused(make())
    # Classes of traits cannot travel by value, whatever they hold: their C code is in the way.
    journey.travels(make, works, ways=("cloudpickle", "dill"))
