"""What has to be there before a value can be: what it is made from.

The arguments of its construction, and of theirs. What their states hold is not among that, but
where a hash may need it: states come later, or can (`core.construction`).

A weak edge may be in a circle of such: what it refers to is made from what holds it, in however
many steps, other weak edges among them. No part of that circle can be the first, and any may be met
first, so each weak edge of it dangles.
"""

from __future__ import annotations

import enum
import gc
import types
from typing import Any, Final, final

from weakreduce.core.circles import circles
from weakreduce.core.facts import Facts
from weakreduce.core.held import ATOMS, held, items_of, listed
from weakreduce.core.reach import Reach
from weakreduce.model.classes import (
    COLLECTED,
    HEAP_TYPE,
    NAMEABLE,
    class_attribute,
    flags_of,
)
from weakreduce.model.decide import PINS, Fate, decide
from weakreduce.model.kinds import Edge

#: How many objects are looked at.
_LOOKED_AT: Final = 1000
#: What is made with its items; a subclass may be, too.
_FIXED: Final = (tuple, frozenset)


def single_edge(facts: Facts, part: object) -> Edge | None:
    """The edge of a weak thing that has one, and cannot wait for its referent; None for all else.

    A weak container can wait, and be filled later.
    """
    kind = None if type(part) in ATOMS else facts.types[type(part)].kind
    if kind is None or kind.is_container or kind.is_finalizer:
        return None
    (edge,) = kind.edges(part)
    return edge


def needed_for(facts: Facts, value: object) -> dict[int, Any]:
    """By id, a value with all that it is made from."""
    found = held(value)
    waiting = [*found.values()]
    while waiting and len(found) < _LOOKED_AT:
        for identity, part in held(_arguments(facts, waiting.pop())).items():
            if identity not in found:
                found[identity] = part
                waiting.append(part)
    return found


def _arguments(facts: Facts, obj: Any) -> Any:
    """What is handed over when an object is constructed."""
    cls, known = type(obj), facts.types[type(obj)]
    if issubclass(cls, _FIXED) and not known.by_own_code:
        return _items_of_fixed(obj)
    if issubclass(cls, NAMEABLE):
        if not issubclass(cls, enum.EnumMeta) or facts.adapter.by_name(obj):
            return None
        return [member._value_ for member in class_attribute(obj, "_member_map_").values()]
    if known.kind:
        return None
    by_own_code = known.by_own_code or known.own_arguments
    # What is written in C may have a state without which it is nothing (a partial has).
    in_c = not by_own_code and flags_of(cls) & COLLECTED and not known.constructs_by_default
    # It may be a key, so what its hash needs of its state cannot come later.
    hashed = known.hashed_by_value
    if not (by_own_code or in_c or hashed or known.has_reducer):
        return None
    found = facts.reductions.reduced_or_none(obj)
    if found is None:
        return None
    return listed(found[1:]) if in_c or hashed else found[1]


def _items_of_fixed(obj: Any) -> list[Any]:
    """The items of a tuple or frozenset, past the code of its class."""
    return [*(tuple if issubclass(type(obj), tuple) else frozenset).__iter__(obj)]


@final
class Circles:
    """Weak edges to what is constructed from what holds them.

    Args:
        facts: of the dump.
        reach: what is inside, all of it.
    """

    def __init__(self, facts: Facts, reach: Reach) -> None:
        self._facts = facts
        self._reach = reach
        #: By id, objects of which it is known what is constructed from them, and they from it.
        self._known: dict[int, Any] = {}
        #: By id, those among them of which anything is, with the ids of all that.
        self._circles: dict[int, frozenset[int]] = {}

    def has(self, edge: Edge) -> bool:
        """Whether an edge that travels is in such a circle."""
        referent = edge.referent
        if id(referent) not in self._known:
            for circle in circles([referent], self._made_from):
                ids = [*map(id, circle)]
                self._known.update(zip(ids, circle, strict=True))
                if len(ids) > 1:
                    self._circles.update(dict.fromkeys(ids, frozenset(ids)))
        return id(edge.weak) in self._circles.get(id(referent), ())

    def _travels(self, edge: Edge) -> bool:
        if id(edge.weak) in self._facts.circular:
            return True  # it would, were it not in a circle
        decision = decide(edge, self._facts, self._reach, lambda _: None)
        return decision.fate in (Fate.LINK, *PINS)

    def _made_from(self, obj: Any) -> list[Any]:
        """What an object is constructed from, or holds as a builtin container or a weak thing."""
        facts, found = self._facts, items_of(obj)
        if found is None:
            edge = single_edge(facts, obj)
            if edge is not None:
                found = [edge.referent] if self._travels(edge) else []
            elif facts.types[type(obj)].kind is None:
                found = _constructed_from(facts, obj)
        return [
            part
            for part in found or ()
            if type(part) not in ATOMS
            and id(part) not in self._known
            and id(part) not in facts.written_before
        ]


def _constructed_from(facts: Facts, obj: Any) -> list[Any] | None:
    """The arguments of an object's construction, if it has any."""
    cls, known = type(obj), facts.types[type(obj)]
    if issubclass(cls, NAMEABLE):
        return None
    if issubclass(cls, _FIXED) and not known.by_own_code:
        return _items_of_fixed(obj)
    if cls is types.MethodType:
        return [obj.__self__]
    # An iterator, a slice, and the like are made from what they hold.
    in_c = not flags_of(cls) & HEAP_TYPE and flags_of(cls) & COLLECTED
    if known.by_own_code or known.own_arguments or (in_c and not known.constructs_by_default):
        reduction = facts.reductions.reduced_or_none(obj)
        if reduction is None and in_c:  # dill has a way of its own
            return gc.get_referents(obj)
        return None if reduction is None else items_of(reduction[1])
    return None
