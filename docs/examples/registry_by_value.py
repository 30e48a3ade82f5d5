"""A class of `__main__` that keeps its instances in a WeakSet, sent by value to a process.

Without weakreduce there is no error, but the instances are lost:

    parts there: []
    with a new one: ['rudder']

Cloudpickle writes a class of `__main__` by value, and so its registry. It writes the instances,
too, but on arrival nobody holds them. With weakreduce the registry keeps its copies.

Prints:

    parts there: ['wheel', 'wing']
    with a new one: ['rudder', 'wheel', 'wing']
"""

import concurrent.futures
import multiprocessing
import weakref

import cloudpickle

import weakreduce


class Part:
    instances = weakref.WeakSet()

    def __init__(self, name):
        self.name = name
        self.instances.add(self)


def names():
    return sorted(part.name for part in Part.instances)


def look():
    lines = [f"parts there: {names()}"]
    rudder = Part("rudder")
    assert rudder in Part.instances
    lines.append(f"with a new one: {names()}")
    return lines


def run(payload):
    return cloudpickle.loads(payload)()


if __name__ == "__main__":
    parts = [Part("wheel"), Part("wing")]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print(*executor.submit(run, cloudpickle.dumps(look)).result(), sep="\n")
