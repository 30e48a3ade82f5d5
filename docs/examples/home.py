"""Tasks that get objects weakly, and results that refer to the very objects that were sent.

Without weakreduce:

    TypeError: cannot pickle 'weakref.ReferenceType' object

By default a result refers to a copy of a copy. Under `identity="home"` a weak reference that comes
back refers to the object that was sent, and so does one to what came along with it.

Prints:

    trees[1] is too tall, in the forest itself: True
    trees[2] is too tall, in the forest itself: True
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class Forest:
    def __init__(self, *heights):
        self.trees = [Tree(self, height) for height in heights]


class Tree:
    def __init__(self, forest, height):
        self.forest = weakref.ref(forest)
        self.height = height


class Finding:
    def __init__(self, tree, text):
        self.tree = tree
        self.forest = tree().forest
        self.text = text


def search(trees):
    return [Finding(tree, "too tall") for tree in trees if tree().height > 20]


if __name__ == "__main__":
    forest = Forest(10, 30, 50)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        with weakreduce.policy(identity="home"):
            future = executor.submit(search, [weakref.ref(tree) for tree in forest.trees])
        for finding in future.result():
            number = forest.trees.index(finding.tree())
            same = finding.forest() is forest
            print(f"trees[{number}] is {finding.text}, in the forest itself: {same}")
