"""blinker: ``Signal.receivers`` and ``_weak_senders`` are weak references with callbacks.

`connect` in ``blinker/base.py`` makes them by ``make_ref``: a ref, or a WeakMethod for methods.
"""

from __future__ import annotations

import gc

import journey
from blinker import Signal


class Stats:
    def __init__(self) -> None:
        self.seen = 0

    def on_done(self, sender: str, amount: int) -> None:
        self.seen += amount


class Pipeline:
    def __init__(self) -> None:
        self.done, self.all, self.nightly = Signal("done"), Stats(), Stats()
        self.done.connect(self.all.on_done)
        self.done.connect(self.nightly.on_done, sender="night")


def make() -> Pipeline:
    pipeline = Pipeline()
    pipeline.done.send("day", amount=1)
    return pipeline


def works(pipeline: Pipeline) -> None:
    pipeline.done.send("day", amount=2)
    pipeline.done.send("night", amount=10)
    assert (pipeline.all.seen, pipeline.nightly.seen) == (13, 10)
    pipeline.all = None  # type: ignore[assignment]
    gc.collect()
    pipeline.done.send("night", amount=5)  # the dead receiver is passed over
    assert pipeline.nightly.seen == 15


def test_a_signal_reaches_its_receivers() -> None:
    journey.refused(make())
    journey.travels(make, works)
