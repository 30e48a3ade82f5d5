"""python-statemachine: a state of a machine holds the machine by ``weakref.ref``.

``InstanceState`` in ``statemachine/state.py``. Its ``__getattr__`` asks for what it does not have
before it is loaded, so a recipe loads it by hand.
"""

from __future__ import annotations

from typing import Any

import journey
from statemachine import State, StateMachine
from statemachine.state import InstanceState


class Door(StateMachine):
    closed = State(initial=True)
    opened = State()
    push = closed.to(opened)
    pull = opened.to(closed)


def make() -> list[Any]:
    door = Door()
    return [door, door.opened, door.closed]


def works(made: list[Any]) -> None:
    door, opened, closed = made
    assert (opened.is_active, closed.is_active) == (False, True)
    door.push()
    assert (opened.is_active, closed.is_active) == (True, False)
    assert door.opened == opened


def test_states_know_their_machine_there() -> None:
    journey.refused(make())
    with journey.reduced_by(journey.by_hand, InstanceState):
        # A machine's class cannot travel by value, with weak references or without.
        journey.travels(make, works, ways=("cloudpickle", "dill"))
