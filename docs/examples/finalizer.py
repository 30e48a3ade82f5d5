"""A folder that is removed by a weakref.finalize, handed over to a process.

Without weakreduce there is no error, but the folder stays:

    armed there: False
    removed there: False

By default a finalizer arrives detached, so that nothing is cleaned up twice. Where the object is
handed over, `finalizers="rearm"` arms it again on the copy, and this process detaches its own.

Prints:

    armed there: True
    removed there: True
"""

import concurrent.futures
import multiprocessing
import os
import shutil
import tempfile
import weakref

import weakreduce


class Scratch:
    def __init__(self):
        self.folder = tempfile.mkdtemp()
        self.clean_up = weakref.finalize(self, shutil.rmtree, self.folder)


def use(scratch):
    armed, folder = scratch.clean_up.alive, scratch.folder
    return armed, folder


def exists(folder):
    return os.path.exists(folder)


if __name__ == "__main__":
    scratch = Scratch()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        with weakreduce.policy(finalizers="rearm"):
            future = executor.submit(use, scratch)
        armed, folder = future.result()
        scratch.clean_up.detach()
        print(f"armed there: {armed}")
        print(f"removed there: {not executor.submit(exists, folder).result()}")
    shutil.rmtree(folder, ignore_errors=True)
