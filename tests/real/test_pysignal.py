"""PySignal: a signal holds the methods that are connected in a WeakKeyDictionary, by object."""

from __future__ import annotations

import gc

import journey
from PySignal import Signal


class Meter:
    def __init__(self) -> None:
        self.values: list[int] = []

    def on_value(self, value: int) -> None:
        self.values.append(value)


class Lab:
    def __init__(self) -> None:
        self.measured, self.meters = Signal(), [Meter(), Meter()]
        for meter in self.meters:
            self.measured.connect(meter.on_value)


def works(lab: Lab) -> None:
    lab.meters.pop()
    gc.collect()
    lab.measured.emit(3)
    assert [meter.values for meter in lab.meters] == [[3]]
    lab.measured.disconnect(lab.meters[0].on_value)
    lab.measured.emit(4)
    assert lab.meters[0].values == [3]


def test_slots_are_called_there() -> None:
    journey.refused(Lab())
    journey.travels(Lab, works)
