"""zict: ``WeakValueMapping`` is a WeakValueDictionary (``zict/cache.py``)."""

from __future__ import annotations

import gc

import journey
import zict


class Blob:
    def __init__(self, size: int) -> None:
        self.size = size


class Store:
    def __init__(self) -> None:
        self.slow: dict[str, Blob] = {}
        self.cache = zict.Cache(self.slow, zict.WeakValueMapping())
        self.hot = self.cache["a"] = Blob(1)


def works(store: Store) -> None:
    assert store.cache["a"] is store.hot
    assert store.cache.cache["a"] is store.hot
    store.cache["b"] = Blob(2)
    assert sorted(store.cache) == ["a", "b"]
    del store.cache["a"], store.hot
    gc.collect()
    assert "a" not in store.cache.cache  # it evicts, as it did where it came from


def test_a_weak_cache_caches_there() -> None:
    journey.refused(Store())
    journey.travels(Store, works)
