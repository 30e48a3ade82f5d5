"""An event bus that knows its receivers by WeakMethod, sent to a process.

Without weakreduce:

    TypeError: cannot pickle 'WeakMethod' object

The bus keeps no receiver alive, and each receiver knows the bus by a weak reference.
Both are sent, so every weak link leads to the copy that came along.
What the worker lets go of, the bus does not call any more.

Prints:

    ['door: opened', 'window: opened']
    ['door: closed']
    one bus: True
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class Bus:
    def __init__(self):
        self.receivers = []

    def subscribe(self, method):
        self.receivers.append(weakref.WeakMethod(method))

    def send(self, event):
        methods = [receiver() for receiver in self.receivers]
        return [method(event) for method in methods if method is not None]


class Sensor:
    def __init__(self, name, bus):
        self.name = name
        self.bus = weakref.ref(bus)
        bus.subscribe(self.hear)

    def hear(self, event):
        return f"{self.name}: {event}"


def live(bus, sensors):
    first = bus.send("opened")
    sensors.pop()
    return first, bus.send("closed"), sensors[0].bus() is bus


if __name__ == "__main__":
    bus = Bus()
    sensors = [Sensor("door", bus), Sensor("window", bus)]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        first, second, same = executor.submit(live, bus, sensors).result()
    print(first, second, f"one bus: {same}", sep="\n")
