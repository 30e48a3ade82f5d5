"""signalslot: a weak Slot holds its method by WeakMethod (``signalslot/slot.py``)."""

from __future__ import annotations

import gc

import journey
from signalslot import Signal, Slot


class Meter:
    def __init__(self) -> None:
        self.values: list[int] = []

    def on_value(self, value: int, **_: object) -> None:
        self.values.append(value)


class Device:
    def __init__(self) -> None:
        self.measured, self.meter = Signal(args=["value"]), Meter()
        self.measured.connect(Slot(self.meter.on_value, weak=True))


def works(device: Device) -> None:
    device.measured.emit(value=1)
    assert device.meter.values == [1]
    slot = device.measured.slots[0]
    assert slot.is_alive
    del device.meter
    gc.collect()
    assert not slot.is_alive


def test_slots_are_called_there() -> None:
    journey.refused(Device())
    journey.travels(Device, works)
