"""mesa: an event keeps its function by ``weakref.ref`` or ``WeakMethod``.

See ``SimulationEvent`` in ``mesa/experimental/devs/eventlist.py``.
"""

from __future__ import annotations

import multiprocessing

import journey
import mesa
from mesa.experimental.devs.eventlist import EventList, SimulationEvent

# Its import makes the whole process start others by spawn; they are started as before again.
multiprocessing.set_start_method(None, force=True)


class Tree(mesa.Agent):
    burnt = 0

    def burn(self, amount: int) -> None:
        self.burnt += amount


class Forest(mesa.Model):
    def __init__(self) -> None:
        super().__init__()
        self.trees = [Tree(self) for _ in range(3)]
        self.events = EventList()
        for number, tree in enumerate(self.trees):
            self.events.add_event(
                SimulationEvent(float(number), tree.burn, function_args=[number + 1])
            )


def works(forest: Forest) -> None:
    assert len(forest.events) == 3
    while len(forest.events):
        forest.events.pop_event().execute()
    assert [tree.burnt for tree in forest.trees] == [1, 2, 3]
    assert len(forest.agents) == 3


def test_pending_events_are_run_there() -> None:
    journey.refused(Forest())
    journey.travels(Forest, works)
