"""A subject that knows its observers by a WeakSet, sent to a process.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

Two displays observe the thermometer, and one of them is sent with it.
By default the other comes along, and the WeakSet keeps that copy. Under "dangle" it stays here.

Prints:

    ['hall: 25', 'kitchen: 25']
    ['kitchen: 25']
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class Thermometer:
    def __init__(self):
        self.degrees = 20
        self.observers = weakref.WeakSet()

    def change(self, degrees):
        self.degrees = degrees
        return sorted(observer.show() for observer in self.observers)


class Display:
    def __init__(self, room, thermometer):
        self.room = room
        self.thermometer = weakref.ref(thermometer)
        thermometer.observers.add(self)

    def show(self):
        return f"{self.room}: {self.thermometer().degrees}"


def heat(thermometer, display):
    assert display in thermometer.observers
    return thermometer.change(25)


if __name__ == "__main__":
    thermometer = Thermometer()
    kitchen = Display("kitchen", thermometer)
    hall = Display("hall", thermometer)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print(executor.submit(heat, thermometer, kitchen).result())
        with weakreduce.policy("dangle"):
            print(executor.submit(heat, thermometer, kitchen).result())
