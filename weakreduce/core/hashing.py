"""What a hash needs early: the attributes of a referent that a weak thing is made on.

The weak thing may be a key of a dict that is part of the referent's own state, so on the receiver
it is hashed before that state is there. Nothing here decides.
"""

from __future__ import annotations

import operator
from typing import Any, Final

from weakreduce.core.expressions import Call, same_with
from weakreduce.core.facts import Facts
from weakreduce.model.classes import (
    NAMEABLE,
    constructs_by_default,
    hashed_by_value,
    reduces_by_default,
)
from weakreduce.model.kinds import kind_of

_stock_getstate: Final[Any] = object.__getstate__
#: How many parts of a value are looked at.
_LOOKED_AT: Final = 200
_ATOMS: Final = (int, float, complex, str, bytes, bool, type(None), type(...))
_SEQUENCES: Final = frozenset({tuple, list, set, frozenset})


def hashable(facts: Facts, referent: object, shell: object) -> Any:
    """`shell`, which stands for the referent, with the attributes that its hash may need."""
    cls = type(referent)
    if issubclass(cls, NAMEABLE) or not constructs_by_default(cls) or facts.engine.has_reducer(cls):
        return shell
    # The attributes as they are, also where the class has a __getstate__ of its own.
    state: Any = _stock_getstate(referent)
    parts = state if isinstance(state, tuple) else (state, None)
    early, early_slots = (
        {
            name: value
            for name, value in list((part or {}).items())
            if _comes_early(facts, value, referent)
        }
        for part in parts
    )
    if not early and not early_slots:
        return shell
    if reduces_by_default(cls):
        return same_with(shell, (early or None, early_slots) if early_slots else early)
    steps = [
        Call(object.__setattr__, shell, name, value)
        for name, value in (early | early_slots).items()
    ]
    return same_with(shell, steps, None, None, operator.is_)


def _comes_early(facts: Facts, value: object, referent: object) -> bool:
    """Whether an attribute may be needed for a hash, and does not lead back to its owner."""
    cls = type(value)
    if issubclass(cls, _ATOMS):
        return True
    return hashed_by_value(cls) and kind_of(cls) is None and _is_apart(facts, value, referent)


def _is_apart(facts: Facts, value: object, owner: object) -> bool:
    """Whether a value holds neither its owner nor a weak thing, from a short look at it."""
    waiting, seen = [value], {id(value): value}
    for _ in range(_LOOKED_AT):
        if not waiting:
            return True
        parts = _parts(facts, waiting.pop())
        if parts is None:
            return False
        for part in parts:
            if part is owner:
                return False
            if id(part) not in seen and not issubclass(type(part), _ATOMS):
                seen[id(part)] = part
                waiting.append(part)
    return False


def _parts(facts: Facts, obj: Any) -> list[Any] | None:
    """What an object holds; None where that is not to be known, or may be a weak thing."""
    cls = type(obj)
    if issubclass(cls, NAMEABLE):
        return []
    if kind_of(cls) is not None:
        return None
    if cls in _SEQUENCES:
        return list(obj)
    if cls is dict:
        return [*obj.keys(), *obj.values()]
    try:
        reduction = facts.reductions.reduced(obj)
    except MemoryError:
        raise  # it says nothing of the object
    except Exception:  # noqa: BLE001 - it surfaces, with its cause, when it is pickled
        return None
    if type(reduction) is str:
        return []
    return None if type(reduction) is not tuple or any(reduction[3:]) else list(reduction[1:])
