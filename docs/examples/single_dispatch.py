"""A functools.singledispatch function of a script, sent by value to a process.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

Such a function keeps what it has looked up in a WeakKeyDictionary, with classes as keys.
Cloudpickle writes a function of a script by value, and so the dictionary.
On the other side the function dispatches as here, and learns new types.

Prints:

    ['something', 'the number 3', 'a list of 2', 'the text hello']
"""

import concurrent.futures
import functools
import multiprocessing

import cloudpickle

import weakreduce


@functools.singledispatch
def describe(thing):
    return "something"


@describe.register
def _(thing: int):
    return f"the number {thing}"


@describe.register
def _(thing: list):
    return f"a list of {len(thing)}"


def run(payload, things):
    function = cloudpickle.loads(payload)
    function.register(str, lambda text: f"the text {text}")
    return [function(thing) for thing in things]


if __name__ == "__main__":
    describe(1)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        things = [None, 3, [1, 2], "hello"]
        print(executor.submit(run, cloudpickle.dumps(describe), things).result())
