"""A class that registers its instances weakly, by name, and the registry sent to a process.

Without weakreduce, one of these, as the Python is:

    AttributeError: Can't pickle local object 'WeakValueDictionary.__init__.<locals>.remove'
    AttributeError: Can't get local object 'WeakValueDictionary.__init__.<locals>.remove'
    PicklingError: Can't pickle local object <function WeakValueDictionary.__init__.<locals>.remove

multiprocessing sends a class by its name: the worker has its own, with an empty registry.
So the registry itself is sent. Nothing else holds the plug-ins there, so it keeps its copies, until
`weakreduce.unpin` hands them over to the list that takes them up.

Prints:

    known there: ['load', 'save']
    load comes before save: True
    after the list is empty: []
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class Plugin:
    registry = weakref.WeakValueDictionary()

    def __init__(self, name, before=None):
        self.name = name
        self.before = before and weakref.ref(before)
        self.registry[name] = self


def take_up(registry):
    plugins = list(registry.values())
    Plugin.registry.update(weakreduce.unpin(registry))
    lines = [f"known there: {sorted(Plugin.registry)}"]
    found = Plugin.registry["load"].before() is Plugin.registry["save"]
    lines.append(f"load comes before save: {found}")
    plugins.clear()
    lines.append(f"after the list is empty: {sorted(Plugin.registry)}")
    return lines


if __name__ == "__main__":
    save = Plugin("save")
    load = Plugin("load", before=save)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print(*executor.submit(take_up, Plugin.registry).result(), sep="\n")
