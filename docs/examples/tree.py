"""A tree whose nodes know their parents weakly, sent to a process: as a whole, and from a leaf.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

A whole tree holds every parent, so the weak references are ordinary ones on its one copy.
A leaf holds nobody. By default its parent comes along, and the reference keeps it alive;
under "dangle" the leaf is sent alone.

Prints:

    oak: oak/branch/leaf
    leaf: oak/branch/leaf
    leaf, under "dangle": leaf
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class Node:
    def __init__(self, name, *children):
        self.name = name
        self.parent = None
        self.children = children
        for child in children:
            child.parent = weakref.ref(self)

    def path(self):
        parent = self.parent and self.parent()
        return self.name if parent is None else f"{parent.path()}/{self.name}"


def deepest(node):
    leaf = node
    while leaf.children:
        leaf = leaf.children[0]
    return leaf.path()


if __name__ == "__main__":
    leaf = Node("leaf")
    oak = Node("oak", Node("branch", leaf))
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print("oak:", executor.submit(deepest, oak).result())
        print("leaf:", executor.submit(deepest, leaf).result())
        with weakreduce.policy("dangle"):
            print('leaf, under "dangle":', executor.submit(deepest, leaf).result())
