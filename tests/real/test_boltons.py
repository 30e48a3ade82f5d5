"""boltons: ``MinIDMap`` numbers the keys of a WeakKeyDictionary (``boltons/cacheutils.py``).

It keeps a ``weakref.ref`` to each, with a bound method as callback, as a key of a dict, too.
"""

from __future__ import annotations

import gc

import journey
from boltons.cacheutils import MinIDMap


class Star:
    pass


class Catalogue:
    def __init__(self) -> None:
        self.numbers, self.stars = MinIDMap(), [Star() for _ in range(3)]
        for star in self.stars:
            self.numbers.get(star)


def works(catalogue: Catalogue) -> None:
    assert [catalogue.numbers.get(star) for star in catalogue.stars] == [0, 1, 2]
    del catalogue.stars[1]
    gc.collect()
    assert catalogue.numbers.get(Star()) == 1  # the callback gave the number back


def test_numbers_stay_with_their_keys() -> None:
    journey.refused(Catalogue())
    journey.travels(Catalogue, works)
