"""What has to be there before a value can be: what it is made from.

The arguments of its construction, and of theirs. What their states hold is not among that, but
where a hash may need it: states come later, or can (`core.construction`).
"""

from __future__ import annotations

import enum
from typing import Any, Final

from weakreduce.core.facts import Facts
from weakreduce.core.held import held, listed
from weakreduce.model.classes import (
    COLLECTED,
    NAMEABLE,
    class_attribute,
    constructs_by_default,
    flags_of,
    hashed_by_value,
)

#: How many objects are looked at.
_LOOKED_AT: Final = 1000


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
    if issubclass(cls, (tuple, frozenset)) and not known.by_own_code:
        return [*(tuple if issubclass(cls, tuple) else frozenset).__iter__(obj)]
    if issubclass(cls, NAMEABLE):
        if not issubclass(cls, enum.EnumMeta) or facts.adapter.by_name(obj):
            return None
        return [member._value_ for member in class_attribute(obj, "_member_map_").values()]
    if known.kind:
        return None
    by_own_code = known.by_own_code or known.own_arguments
    # What is written in C may have a state without which it is nothing (a partial has).
    in_c = not by_own_code and flags_of(cls) & COLLECTED and not constructs_by_default(cls)
    # It may be a key, so what its hash needs of its state cannot come later.
    hashed = hashed_by_value(cls)
    if not (by_own_code or in_c or hashed or known.has_reducer):
        return None
    found = facts.reductions.reduced_or_none(obj)
    if found is None:
        return None
    return listed(found[1:]) if in_c or hashed else found[1]
