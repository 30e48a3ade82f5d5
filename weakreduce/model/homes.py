"""Homes: which object of which process a copy was made of, for ``Policy(identity="home")``.

An object that a snapshot takes along under that policy gets a serial number. Its copies elsewhere
remember its *homes*: the ids of the processes that sent it, the first of them first, each with the
object's serial number there. A weak reference to a copy that comes back to one of these processes
resolves to the object that was sent. All tables are weak. Nothing here pickles.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Final, final

from weakreduce.model.locks import new_lock

#: Pairs of a process and a serial number, one after the other.
Homes = tuple[Any, ...]
#: How many homes are remembered at most: the first one, and the last ones.
_MOST: Final = 8

_lock = new_lock()


def _new_id() -> str:
    return os.urandom(16).hex()


#: The id of this process, which nobody can guess; a forked child has another.
_process = _new_id()
_serials = itertools.count(1)


@final
class _Place(weakref.ref[Any]):
    """What is known of one object."""

    __slots__ = ("homes", "identity", "serial")

    identity: int
    #: Its homes in other processes.
    homes: Homes
    #: Its number in this process; 0 for none.
    serial: int


_places: dict[int, _Place] = {}
#: By id, those of copies; read by the decision for each snapshot.
away: dict[int, _Place] = {}
#: By serial number, those of objects that were really sent.
_sent: dict[int, _Place] = {}


def _gone(place: _Place) -> None:
    with _lock:
        keys = (place.identity, place.identity, place.serial)
        for table, key in zip((_places, away, _sent), keys, strict=True):
            if table.get(key) is place:
                del table[key]


def _place_of(obj: object) -> _Place | None:
    place = _places.get(id(obj))
    return place if place is not None and place() is obj else None


def _new_place(obj: object) -> _Place:
    place = _Place(obj, _gone)
    place.identity, place.homes, place.serial = id(obj), (), 0
    _places[place.identity] = place
    return place


def came(obj: object) -> bool:
    """Whether an object is a copy that remembers a home."""
    place = away.get(id(obj))
    return place is not None and place() is obj


def homes_of(obj: object, *, ours: bool) -> Homes:
    """The homes of an object; with `ours`, this process is one of them from now on."""
    place = _place_of(obj)
    if ours and (place is None or not place.serial):
        with _lock:
            place = _place_of(obj) or _new_place(obj)
            place.serial = place.serial or next(_serials)
    if place is None:
        return ()
    return (*place.homes, _process, place.serial) if ours else place.homes


def sent(objects: Iterable[object]) -> None:
    """Let payloads name objects that have a number: they are being sent."""
    places = map(_place_of, objects)
    with _lock:
        _sent.update({place.serial: place for place in places if place and place.serial})


def _pairs(homes: Homes) -> Iterator[Homes]:
    return zip(homes[::2], homes[1::2], strict=False)


def original(homes: Homes) -> Any | None:
    """The object of this process that has one of these homes, or None."""
    for process, serial in _pairs(homes):
        if process == _process:
            place = _sent.get(serial)
            return None if place is None else place()
    return None


def remember(copy: object, homes: Homes) -> None:
    """Note that an object is a copy of what has these homes."""
    # Where an original of ours is dead, nothing here is its copy's home any more.
    pairs = [pair for pair in _pairs(homes) if pair[0] != _process]
    if len(pairs) > _MOST:
        pairs = [pairs[0], *pairs[1 - _MOST :]]
    if not pairs:
        return
    with _lock:
        place = _place_of(copy) or _new_place(copy)
        place.homes = tuple(itertools.chain.from_iterable(pairs))
        away[place.identity] = place


def _renew() -> None:
    """A forked child is another process, and its objects are copies of its parent's."""
    global _process
    parent, _process = _process, _new_id()
    for place in list(_places.values()):
        if place.serial in _sent:
            place.homes = (*place.homes, parent, place.serial)
            away[place.identity] = place
        place.serial = 0
    _sent.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_renew)
