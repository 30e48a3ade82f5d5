"""A descriptor that keeps its values in a WeakKeyDictionary on the class, sent to a process.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

Cloudpickle writes a class of a script by value, and so its descriptor, with the table. A value
arrives with its item. Items that are not sent come along by default, and not under "dangle".

Prints:

    sum: 30, prices in the table: 3
    sum: 30, prices in the table: 2
"""

import concurrent.futures
import multiprocessing
import weakref

import cloudpickle

import weakreduce


class Amount:
    def __init__(self):
        self.values = weakref.WeakKeyDictionary()

    def __get__(self, item, cls=None):
        return self if item is None else self.values[item]

    def __set__(self, item, value):
        self.values[item] = max(value, 0)


class Item:
    price = Amount()

    def __init__(self, price):
        self.price = price


def add(items):
    total = sum(item.price for item in items)
    return f"sum: {total}, prices in the table: {len(Item.price.values)}"


def run(payload):
    function, items = cloudpickle.loads(payload)
    return function(items)


if __name__ == "__main__":
    *items, other = Item(10), Item(20), Item(30)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print(executor.submit(run, cloudpickle.dumps((add, items))).result())
        with weakreduce.policy("dangle"):
            payload = cloudpickle.dumps((add, items))
        print(executor.submit(run, payload).result())
