"""A decorated function that holds a weak reference to itself, sent by value to a process.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

The decorator needs the function that it makes, to count on it, and holds it weakly: so there is
no circle for the garbage collector. The copy refers to itself, and keeps its own count.

Prints:

    there: 8 after 3 calls
    there, by the weak reference: True
    here: 1 call
"""

import concurrent.futures
import functools
import multiprocessing
import weakref

import cloudpickle

import weakreduce


def counted(function):
    @functools.wraps(function)
    def counting(*arguments):
        itself().calls += 1
        return function(*arguments)

    itself = weakref.ref(counting)
    counting.calls = 0
    counting.itself = itself
    return counting


@counted
def double(number):
    return 2 * number


def run(payload):
    function = cloudpickle.loads(payload)
    number = function(function(2))
    return number, function.calls, function.itself() is function


if __name__ == "__main__":
    double(1)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        number, calls, same = executor.submit(run, cloudpickle.dumps(double)).result()
    print(f"there: {number} after {calls} calls")
    print(f"there, by the weak reference: {same}")
    print(f"here: {double.calls} call")
