"""A cache that looks objects up by key in a WeakValueDictionary, sent to a process.

Without weakreduce, one of these, as the Python is:

    AttributeError: Can't pickle local object 'WeakValueDictionary.__init__.<locals>.remove'
    AttributeError: Can't get local object 'WeakValueDictionary.__init__.<locals>.remove'
    PicklingError: Can't pickle local object <function WeakValueDictionary.__init__.<locals>.remove

The cache makes no tile twice while somebody holds it; each tile knows its cache weakly.
A tile that is sent beside the cache leaves it when the list that holds it lets go.
The other comes along by default, and the cache keeps it. Under "dangle" it stays here.

Prints:

    north found: True, tiles: ['north', 'south'], then ['south']
    north found: True, tiles: ['north'], then []
"""

import concurrent.futures
import multiprocessing
import weakref

import weakreduce


class Tile:
    def __init__(self, name, cache):
        self.name = name
        self.cache = weakref.ref(cache)


class Cache:
    def __init__(self):
        self.tiles = weakref.WeakValueDictionary()

    def tile(self, name):
        found = self.tiles.get(name)
        if found is None:
            found = self.tiles[name] = Tile(name, self)
        return found


def look(cache, shown):
    found = cache.tile("north") is shown[0] and shown[0].cache() is cache
    line = f"north found: {found}, tiles: {sorted(cache.tiles)}"
    shown.clear()
    return f"{line}, then {sorted(cache.tiles)}"


if __name__ == "__main__":
    cache = Cache()
    north, south = cache.tile("north"), cache.tile("south")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        print(executor.submit(look, cache, [north]).result())
        with weakreduce.policy("dangle"):
            print(executor.submit(look, cache, [north]).result())
