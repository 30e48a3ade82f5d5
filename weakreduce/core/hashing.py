"""What a hash needs early: the attributes of a referent that a weak thing is made on.

The weak thing may be a key of a dict that is part of the referent's own state, so on the receiver
it is hashed before that state is there. Nothing here decides.
"""

from __future__ import annotations

import copyreg
import gc
import operator
import pickle
import types
from dataclasses import fields, is_dataclass
from typing import Any, Final

from weakreduce.core.expressions import Call, same_with
from weakreduce.core.facts import Facts
from weakreduce.core.held import ATOMS, MISSING, held, held_by_function, items_of, listed
from weakreduce.model.classes import (
    NAMEABLE,
    VALUES,
    class_attribute,
    defines,
    stock_getstate,
)
from weakreduce.model.kinds import kind_of
from weakreduce.model.scarce import is_too_deep, says_nothing

#: How much of a value is looked at in any case (see `Facts.looks`).
_LOOKED_AT: Final = 1000
#: What leads nowhere, of their subclasses too, and what a pickler writes by a way of its own.
_ATOMS: Final = (
    *ATOMS, bytearray, range, type(NotImplemented), pickle.PickleBuffer, types.CodeType
)  # fmt: skip
#: The type of a hash that is written in C.
_OF_C: Final = types.WrapperDescriptorType
#: What makes a bare instance, and runs no code of the user's.
_BARE: Final = (object.__new__, list.__new__, dict.__new__)
#: Attributes, and those in slots.
Attributes = tuple[dict[str, Any], dict[str, Any]]


def early_attributes(facts: Facts, referent: object) -> Attributes:
    """The attributes of a referent that may be there before its state is."""
    found = facts.early.get(id(referent))
    if found is None:
        early, early_slots = (
            {name: value for name, value in [*part.items()] if _comes_early(facts, value, referent)}
            for part in _attributes(facts, referent)
        )
        found = facts.early[id(referent)] = referent, (early, early_slots)
    return found[1]


def with_attributes(shell: object, cls: type, attributes: Attributes) -> Any:
    """`shell`, which stands for an instance of a class, with attributes put in."""
    early, early_slots = attributes
    if not early and not early_slots:
        return shell
    if not defines(cls, "__setstate__"):
        return same_with(shell, (early or None, early_slots) if early_slots else early)
    # Past the code of the class, which has its say when the state is complete.
    steps = [Call(object.__setattr__, shell, name, value) for name, value in early_slots.items()]
    if early:
        steps.append(Call(dict.update, Call(getattr, shell, "__dict__"), early))
    return same_with(shell, steps, None, None, operator.is_)


def hashes_by(facts: Facts, referent: object, attributes: Attributes) -> bool:
    """Whether some attributes are all that the hash of an object needs.

    Two bare instances of its class are hashed, one with these attributes and one with all. (Not
    the object itself, which may keep its hash in mind, and would travel with that.)
    """
    cls = type(referent)
    if issubclass(cls, VALUES) and type(class_attribute(cls, "__hash__")) is _OF_C:
        return True  # by what it is constructed from
    if not can_be_tried(facts, cls):
        return False  # not known
    try:
        right = hash(_bare_with(cls, _split(stock_getstate(referent)), referent))
    except Exception as error:
        if says_nothing(error) or is_too_deep(error):
            raise
        return True  # nobody can have hashed it
    try:
        return hash(_bare_with(cls, attributes)) == right
    except Exception as error:
        if says_nothing(error):
            raise
        return False  # it lacks something


def can_be_tried(facts: Facts, cls: type) -> bool:
    """Whether the hash of an instance can be tried, on a bare one with attributes and items."""
    new = class_attribute(cls, "__new__")
    return (
        any(new is bare for bare in _BARE)
        and facts.types[cls].constructs_by_default
        and not defines(cls, "__del__")
    )


def _bare_with(cls: type, attributes: Attributes, items_from: Any = None) -> Any:
    """A bare instance with some attributes and, past the code of its class, an object's items."""
    made: Any = class_attribute(cls, "__new__")(cls)
    early, early_slots = attributes
    if items_from is not None and issubclass(cls, list):
        list.extend(made, list.__iter__(items_from))
    elif items_from is not None and issubclass(cls, dict):
        dict.update(made, dict.items(items_from))
    if early:
        made.__dict__.update(early)
    for name, value in early_slots.items():
        object.__setattr__(made, name, value)
    return made


def _attributes(facts: Facts, referent: object) -> Attributes:
    """The attributes of a referent that its state puts in as they are, and those in slots.

    The state is what the referent's class says that it is: what a ``__getstate__`` leaves out does
    not travel.
    """
    cls, known = type(referent), facts.types[type(referent)]
    if issubclass(cls, NAMEABLE) or known.has_reducer:
        return {}, {}
    if known.reduces_by_default:
        return _split(stock_getstate(referent))
    found: Any = facts.reductions.reduced_or_none(referent) or ()
    if len(found) < 3 or (len(found) > 3 and not known.constructs_by_default):
        return {}, {}
    if not known.has_setstate:
        return _split(found[2])
    if not known.constructs_by_default:
        return {}, {}
    own, own_slots = _split(stock_getstate(referent))
    return _also_in(found[2], cls, own), _also_in(found[2], cls, own_slots)


def _split(state: Any) -> Attributes:
    """Attributes, and those in slots, given a state of these; else neither."""
    parts = state if type(state) is tuple and len(state) == 2 else (state, None)
    known = all(part is None or type(part) is dict for part in parts)
    attributes, slots = parts if known else (None, None)
    return attributes or {}, slots or {}


def _also_in(state: Any, cls: type, attributes: dict[str, Any]) -> dict[str, Any]:
    """Those attributes that a state has by their names, whatever its form."""
    if type(state) is list and is_dataclass(cls) and len(state) == len(fields(cls)):
        state = dict(zip([field.name for field in fields(cls)], state, strict=True))
    parts = held(state)
    names = {part for part in parts.values() if type(part) is str}
    return {
        name: value for name, value in attributes.items() if name in names and id(value) in parts
    }


def _comes_early(facts: Facts, value: object, owner: object) -> bool:
    """Whether an attribute may be needed for a hash, and does not lead back to its owner."""
    if issubclass(type(value), NAMEABLE):
        return facts.adapter.by_name(value)
    return issubclass(type(value), _ATOMS) or is_apart(facts, value, owner)


def is_apart(facts: Facts, value: object, owner: object = MISSING) -> bool:
    """Whether a value leads neither to its owner nor to a weak thing, as far as it is looked at."""
    # What leads to nothing weak may lead to an owner.
    known = facts.apart if owner is MISSING else {}
    if id(value) in known:
        return True
    waiting, seen = [value], {id(value): value}
    holders: dict[int, int] = {}
    looked_at = 0
    while waiting:
        obj = waiting.pop()
        parts = None if id(obj) in facts.not_apart else strong_parts(facts, obj)
        if parts is None:
            # Nor is what was on the way there.
            at: int | None = id(obj)
            while at is not None:
                facts.not_apart[at] = seen[at]
                at = holders.get(at)
            return False
        looked_at += 1 + len(parts)
        facts.looks -= 1 + len(parts)
        if facts.looks < 0 and looked_at > _LOOKED_AT:
            return False
        for part in parts:
            if part is owner:
                return False
            identity = id(part)
            if (
                identity not in seen
                and identity not in known
                and not issubclass(type(part), _ATOMS)
            ):
                seen[identity] = part
                holders[identity] = id(obj)
                waiting.append(part)
    known.update(seen)
    return True


def strong_parts(facts: Facts, obj: Any) -> list[Any] | None:
    """What an object holds; None where that is not to be known, or may be a weak thing."""
    cls = type(obj)
    if issubclass(cls, NAMEABLE):
        if facts.adapter.by_name(obj):
            return []
        return held_by_function(obj) if cls is types.FunctionType else gc.get_referents(obj)
    if kind_of(cls) is not None:
        return None
    items = items_of(obj)
    if items is not None:
        return items
    try:
        reduction = facts.reductions.reduced(obj)
        if type(reduction) is str:
            return []
        if reduction is None:  # the pickler has a way of its own
            return gc.get_referents(obj)
        function, arguments, *rest = reduction
        # Its own class is there before it.
        own = function is copyreg.__newobj__ and arguments[0] is cls  # type: ignore[attr-defined]
        return listed([arguments[1:] if own else arguments, *rest])
    except Exception as error:
        if says_nothing(error):
            raise
        return None  # it surfaces, with its cause, when it is pickled
