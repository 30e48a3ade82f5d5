"""Django: ``Signal.receivers`` holds functions and methods by ``weakref.ref`` and WeakMethod.

See ``django/dispatch/dispatcher.py``. A signal also has a lock, and keys of ``id(...)`` by which it
finds its receivers, ``id(None)`` among them: in another process these mean nothing. So a recipe
connects the receivers again, there.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import journey
from django.dispatch import Signal


class Log:
    def __init__(self) -> None:
        self.orders: list[int] = []

    def on_order(self, order: int, **_: Any) -> None:
        self.orders.append(order)


class Shop:
    def __init__(self, use_caching: bool = True) -> None:
        self.ordered, self.log, self.book = Signal(use_caching=use_caching), Log(), Log()
        self.ordered.connect(self.log.on_order)
        self.ordered.connect(self.book.on_order, weak=False)
        gone = Log()
        self.ordered.connect(gone.on_order)


def works(shop: Shop) -> None:
    assert len(shop.ordered.send(sender=Shop, order=1)) == 2
    assert shop.log.orders == shop.book.orders == [1]
    assert shop.ordered.use_caching
    book = shop.book
    del shop.log, shop.book
    gc.collect()
    assert shop.ordered.send(sender=Shop, order=2) == [(book.on_order, None)]


def reduce_signal(signal: Signal) -> tuple[Any, ...]:
    """A signal as its receivers; those of one sender only would need that sender's id."""
    receivers = [receiver for _, receiver, *_ in signal.receivers]
    return Signal, (signal.use_caching,), receivers, None, None, connect_again


def connect_again(signal: Signal, receivers: list[Any]) -> None:
    for receiver in receivers:
        weak = isinstance(receiver, weakref.ref)
        found = receiver() if weak else receiver
        if found is not None:
            signal.connect(found, weak=weak)


def test_a_signal_is_connected_there() -> None:
    journey.refused(Shop())
    with journey.reduced_by(reduce_signal, Signal):
        journey.travels(Shop, works)
