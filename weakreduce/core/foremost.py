"""What is written before all else: referents of keys whose hash needs more than can come early.

A reference that is a key is hashed where it is met. Where that would be before its referent is
complete, the payload could not be loaded, or the key would be under a wrong hash for good. So such
a reference is written first, and its referent after it, as if the root began with that.
All others stay where they are, or what their referents lead to would be met in another order.
Containers wait with their entries by themselves.
"""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from weakreduce.core.circles import circles
from weakreduce.core.expressions import Reduction, Rest
from weakreduce.core.facts import Facts
from weakreduce.core.hashing import Attributes, can_be_tried, hashes_by, strong_parts
from weakreduce.core.held import ATOMS, held, held_by_function, items_of
from weakreduce.model.classes import NAMEABLE
from weakreduce.model.kinds import Edge

#: How often a walk is run again because such a referent was found. Each run may find another, which
#: comes too early only since the run before; one that the last run finds is hashed as it is then.
_SEARCHES: Final = 50


#: By the referent's id, edges on shells in the order of meeting, each with what came early of it.
OnShells = dict[int, tuple[Edge, Attributes]]


def remember(facts: Facts, on_shells: OnShells, objects: Iterable[Any]) -> bool:
    """Let the next walk know what comes too late; True where there is anything new.

    Args:
        facts: of the dump; `Facts.foremost` is what walks before have found.
        on_shells: the references that this walk made on shells.
        objects: all that it has met.
    """
    before = facts.foremost.keys() | facts.whole.keys()
    new = {key: found for key, found in on_shells.items() if key not in before}
    if not new or facts.searches == _SEARCHES:
        return False
    late: set[int] = set()

    def comes_early(referent: object) -> bool:
        if id(referent) not in new:
            return False
        # No code of the user's is run but what has run before: it hashed the key.
        if hashes_by(facts, referent, new[id(referent)][1]):
            return True
        late.add(id(referent))
        return False

    _follow_keys(facts, _keys_in(facts, objects), comes_early)
    if not late:
        return False
    found = {key: edge for key, (edge, _) in new.items() if key in late}
    # What cannot be tried may do with what comes early, if anything does.
    known = {
        key: edge
        for key, edge in found.items()
        if can_be_tried(facts, type(edge.referent)) or not any(new[key][1])
    }
    facts.whole |= _hashed_on_the_way(facts, known)
    first = {key: edge for key, edge in found.items() if key not in facts.whole}
    facts.foremost = _in_order(facts, facts.foremost | first)
    facts.searches += 1
    return True


def items(facts: Facts, travels: Callable[[object], bool]) -> list[Any]:
    """What to write before the root, given what says whether a referent travels by then."""
    found: list[Any] = []
    for edge in facts.foremost.values():
        found += [edge.weak, Rest(functools.partial(_finished, edge.referent, travels))]
    return found


def _finished(referent: object, travels: Callable[[object], bool]) -> Reduction:
    return (max, ((referent,),)) if travels(referent) else (list, ())


def _follow_keys(facts: Facts, keys: Iterable[Any], comes_early: Callable[[object], bool]) -> None:
    """Ask of each referent of a key whether all that its hash needs comes early.

    Where not, the hash may go by way of its own references, so these count as keys, too. Not of
    what leads to where it is hashed as a strong key: it has to be met as it was.
    """
    strong = _followed(facts, keys)
    asked: dict[int, Any] = {}
    bound: set[int] | None = None
    seen, waiting = {**strong}, [*strong.values()]
    while waiting:
        referent = _referent(waiting.pop())
        identity = id(referent)
        if referent is None or identity in asked:
            continue
        asked[identity] = referent
        if identity in strong:
            if bound is None:
                bound = _bound(facts, strong.values())
            if identity in bound:
                continue
        if facts.types[type(referent)].hashed_by_value and not comes_early(referent):
            more = _followed(facts, _seen_by_collector(referent), seen)
            waiting += more.values()
            seen.update(more)


def _followed(facts: Facts, keys: Iterable[Any], known: Collection[int] = ()) -> dict[int, Any]:
    """By id, keys and what their hashes may go through, as far as the first reference.

    But for what is known, with all that it leads to.
    """
    waiting = [*keys]
    found: dict[int, Any] = {}
    while waiting:
        key = waiting.pop()
        cls = type(key)
        if cls in ATOMS or id(key) in found or id(key) in known:
            continue
        found[id(key)] = key
        if not issubclass(cls, weakref.ref) and facts.types[cls].hashed_by_value:
            waiting += _seen_by_collector(key)  # maybe by what it holds
    return found


def _seen_by_collector(obj: object) -> list[Any]:
    """What an object holds itself, as the collector sees that."""
    parts = gc.get_referents(obj)
    return parts + [value for part in parts if type(part) is dict for value in part.values()]


def _referent(key: Any) -> Any:
    return weakref.ref.__call__(key) if issubclass(type(key), weakref.ref) else None


# --- what has to be complete before what ----------------------------------------------------


def _bound(facts: Facts, hashed: Iterable[Any]) -> set[int]:
    """By id, those among some objects that lead to where they are hashed themselves."""
    bound: set[int] = set()
    for circle in circles(hashed, functools.partial(_leads_to, facts)):
        bound.update(_followed(facts, (key for part in circle for key in _keys_of(part))))
    return bound


def _hashed_on_the_way(facts: Facts, late: dict[int, Edge]) -> dict[int, Any]:
    """By id, referents that lead to where a reference to them is hashed.

    Written first they would be incomplete there. Where they are met outside of that, they are
    written whole, as strong keys are.
    """

    def hashed(obj: Any) -> list[Any]:
        referents = map(_referent, _followed(facts, _keys_of(obj)).values())
        return [referent for referent in referents if id(referent) in late]

    def leads_to(obj: Any) -> list[Any]:
        return [*_leads_to(facts, obj), *hashed(obj)]

    found: dict[int, Any] = {}
    for circle in circles([edge.referent for edge in late.values()], leads_to):
        members = {*map(id, circle)}
        for part in circle:
            found |= {id(obj): obj for obj in hashed(part) if id(obj) in members}
    return found


class _Hash:
    """The moment in which an object is hashed."""

    def __init__(self, obj: Any) -> None:
        self.of = obj


def _in_order(facts: Facts, late: dict[int, Edge]) -> dict[int, Edge]:
    """First what the others need, when they are completed or hashed; else as they were met."""
    hashes: dict[int, _Hash] = {}

    def hash_of(obj: Any) -> _Hash:
        return hashes.setdefault(id(obj), _Hash(obj))

    def needs(obj: Any) -> list[Any]:
        if type(obj) is not _Hash:
            hashed = _keys_of(obj) + (_seen_by_collector(obj) if id(obj) in late else [])
            return [*_leads_to(facts, obj), *map(hash_of, hashed)]
        if id(obj.of) in late:
            return [obj.of]
        referent = _referent(obj.of)
        if referent is not None:
            return [hash_of(referent)]
        by_value = facts.types[type(obj.of)].hashed_by_value
        return [*map(hash_of, _seen_by_collector(obj.of))] if by_value else []

    places = {key: place for place, key in enumerate(late)}
    ordered: dict[int, Edge] = {}
    for circle in circles([edge.referent for edge in late.values()], needs):
        met = sorted({*map(id, circle)} & places.keys(), key=places.__getitem__)
        ordered |= {key: late[key] for key in met}
    return ordered


def _leads_to(facts: Facts, obj: Any) -> list[Any]:
    """What is written where an object is: what it holds, and what a referent is made from."""
    cls = type(obj)
    if cls in ATOMS:
        return []
    if issubclass(cls, weakref.ref):
        return _arguments_of(facts, _referent(obj))
    if facts.types[cls].kind is not None:
        return []
    return strong_parts(facts, obj) or []


def _arguments_of(facts: Facts, obj: Any) -> list[Any]:
    if issubclass(type(obj), (*NAMEABLE, type(None))):
        return []
    if type(obj) is tuple or type(obj) is frozenset:
        return [obj]
    reduction = facts.reductions.reduced_or_none(obj)
    return [] if reduction is None else list(reduction[1:2])


# --- which keys there are -------------------------------------------------------------------


def _keys_in(facts: Facts, objects: Iterable[Any]) -> Iterator[Any]:
    """Keys and members of the builtin containers that objects are, and hold."""
    parts: list[Any] = []
    for obj in objects:
        if items_of(obj) is not None:
            parts.append(obj)
        elif type(obj) is types.FunctionType:
            parts += held_by_function(obj)
        elif facts.types[type(obj)].kind is None:
            yield from _keys_of(obj)
            parts += gc.get_referents(obj)
    for part in held(parts).values():
        yield from _keys_of(part)


def _keys_of(container: Any) -> list[Any]:
    """What an object has hashed, past the code of its class."""
    for cls in (dict, set, frozenset):
        if issubclass(type(container), cls):
            return [*cls.__iter__(container)]
    return []
