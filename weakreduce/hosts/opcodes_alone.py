"""Plug: small roots of numbers and text, for which a dump needs nothing of ours.

A pickler writes them by opcodes alone: it asks no override, no table, and no code of anybody's. A C
pickler hands what is small to the file in one piece. Called by `hosts.patch` alone; without it, all
is right, and the bytes are the same (`tests/core/test_plugs.py`). A small list takes half of the
time so.
"""

from __future__ import annotations

import _pickle
from typing import Any, Final

from weakreduce.core.sink import Limit, Place
from weakreduce.core.watchers import Watched, receivers
from weakreduce.hosts.picklers import own_persistent_id

_WRITTEN: Final = frozenset({int, str, bytes, list, tuple, dict, float, bool, type(None)})
#: Objects that are looked at, in all.
_OBJECTS: Final = 64
#: Characters of one text: all texts together are far from 64 KiB, of which picklers make frames.
_CHARACTERS: Final = 200
#: An integer has to be nearer to 0 than this, so as to take as few bytes as such a text.
_INTEGER: Final = 1 << 1600


def needs_no_dump(pickler: Any, place: Place, root: Any) -> bool:
    """Whether the pickler may write `root` to its file by itself."""
    return (
        not place.used
        and type(root) in _WRITTEN
        and is_of_opcodes(root)
        and issubclass(type(pickler), _pickle.Pickler)
        and type(place.file) is not Limit
        and type(place.file) is not Watched
        and not receivers  # (the log does not tell of what holds nothing weak)
        and own_persistent_id(pickler) is None
    )


def dump(pickler: Any, place: Place, root: Any) -> None:
    """The first dump of a C pickler; the place hands what is written to the file.

    By the C pickler itself: the ``dump`` of a class between may be one of ours.

    Args:
        pickler: the C pickler.
        place: where it writes.
        root: what `needs_no_dump` is said of.
    """
    place.used = True
    before = pickler.memo.copy()
    try:
        _pickle.Pickler.dump(pickler, root)
    except BaseException:
        # Nothing reached the file, so the memo must not say that anything did.
        pickler.memo = before
        raise


def is_of_opcodes(root: Any) -> bool:
    """Whether a C pickler writes an object by opcodes alone: of a small thing, and whole.

    Numbers, text, and small lists, tuples and dicts of those. A False says nothing.
    """
    todo = [root]
    for obj in todo:  # which grows meanwhile
        cls = type(obj)
        if cls is int:
            if not -_INTEGER < obj < _INTEGER:
                return False
        elif cls is str or cls is bytes:
            if len(obj) > _CHARACTERS:
                return False
        elif cls is list or cls is tuple:
            todo += obj
            if len(todo) > _OBJECTS:
                return False
        elif cls is dict:
            entries = obj.copy()  # in one step: other threads may write to it
            todo += entries
            todo += entries.values()
            if len(todo) > _OBJECTS:
                return False
        elif cls is not float and cls is not bool and obj is not None:
            return False
    return True
