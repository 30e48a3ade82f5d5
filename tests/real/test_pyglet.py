"""pyglet: an EventDispatcher holds the methods that handle events by WeakMethod.

See ``_get_handlers`` in ``pyglet/event.py``; the callbacks are partials of its own methods.
"""

from __future__ import annotations

import gc

import journey
from pyglet.event import EventDispatcher


class Clock(EventDispatcher):
    pass


Clock.register_event_type("on_tick")


class Game:
    def __init__(self) -> None:
        self.clock, self.player = Clock(), Player()
        self.clock.push_handlers(self.player)


class Player:
    def __init__(self) -> None:
        self.ticks = 0

    def on_tick(self, number: int) -> None:
        self.ticks += number


def works(game: Game) -> None:
    game.clock.dispatch_event("on_tick", 3)
    assert game.player.ticks == 3
    del game.player
    gc.collect()
    game.clock.dispatch_event("on_tick", 3)
    assert not any(game.clock._event_stack)  # the callback took the dead handler out


def test_events_are_handled_there() -> None:
    journey.refused(Game())
    journey.travels(Game, works)
