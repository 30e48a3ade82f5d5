"""A graph whose edges are weak in both directions, sent to a process.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

Only the graph holds its cities; roads lead weakly, there and back, in circles.
In the worker the roads are ordinary weak references: with a city go the roads that lead to it.

Prints:

    from Bern: ['Basel', 'Chur', 'Geneva']
    to Chur: ['Bern', 'Geneva']
    from Bern without Chur: ['Basel', 'Geneva']
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class City:
    def __init__(self, name):
        self.name = name
        self.next = weakref.WeakSet()
        self.previous = weakref.WeakSet()


class Map:
    def __init__(self, *roads):
        self.cities = {}
        for start, end in roads:
            start, end = self.city(start), self.city(end)
            start.next.add(end)
            end.previous.add(start)

    def city(self, name):
        return self.cities.setdefault(name, City(name))


def names(cities):
    return sorted(city.name for city in cities)


def travel(cities):
    lines = [f"from Bern: {names(cities['Bern'].next)}"]
    lines.append(f"to Chur: {names(cities['Chur'].previous)}")
    del cities["Chur"]
    lines.append(f"from Bern without Chur: {names(cities['Bern'].next)}")
    return lines


if __name__ == "__main__":
    roads = ["Bern Basel", "Bern Chur", "Bern Geneva", "Geneva Chur", "Chur Basel", "Basel Bern"]
    swiss = Map(*(road.split() for road in roads))
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print(*executor.submit(travel, swiss.cities).result(), sep="\n")
