"""What is inside a payload of plain objects, found out without a pickler, at the collector's speed.

A first walk that knows that a second will follow is run only to learn what is met strongly. Where
the payload holds nothing but builtin containers, plain instances (`TypeFacts.plain`), names,
and refs without callbacks, the collector's own view of the objects tells the same: pickle follows
just what they hold. Whatever else is met, nothing is said, and the first walk goes on.
Nothing here decides or encodes.

What we rely on, pinned by the tests: `gc.get_referents` gives what a builtin container holds; what
an instance's slots hold, and its class; and a ref's callback, but not what it refers to
(https://docs.python.org/3/library/gc.html#gc.get_referents).
"""

from __future__ import annotations

import copyreg
import gc
import itertools
import operator
import sys
import types
import weakref
from typing import Any, Final

from weakreduce.core.facts import Facts
from weakreduce.core.type_facts import Types
from weakreduce.model.classes import (
    LEAF_ATOMS,
    NAMEABLE,
    bases_of,
    class_attribute,
    names_of,
)

#: What leads nowhere, and is referred to by nothing weak.
_LEFT_ALONE: Final = LEAF_ATOMS | {bytearray, weakref.ref}
#: How many objects have to be inside for a look ahead to pay where anything is by value.
_WORTH_IT: Final = 300
_BUILTIN: Final = frozenset({list, tuple, dict, set, frozenset})
_attributes: Final = operator.attrgetter("__dict__")
#: Methods that an instance may have itself, in place of its class.
_OWN_WAYS: Final = ("__reduce_ex__", "__getstate__", "__getnewargs_ex__", "__getnewargs__")


class _Probe:
    def __init__(self) -> None:
        self.attribute = _attributes


def _collector_tells(probe: _Probe) -> bool:
    """Whether the collector sees an instance's attributes, in one step or two."""
    found = gc.get_referents(probe)
    found += gc.get_referents(*[part for part in found if type(part) is dict])
    return _attributes in found


_dict_descriptor: Final = vars(_Probe)["__dict__"]
_bare, _with_dict = _Probe(), _Probe()
#: Whether attributes are seen through an instance's ``__dict__``. Up to CPython 3.12 they are, and
#: not by way of the instance once it has one; from 3.13 on it is mostly the other way round.
_BY_DICT: Final = _attributes in gc.get_referents(vars(_with_dict))
#: Not known to be otherwise of any Python, but not promised for the next one.
_RELIABLE: Final = _collector_tells(_bare) and _collector_tells(_with_dict)

#: Whether the collector, where it is asked, makes all other threads wait: for long, where these are
#: many and processors few; and what is forked meanwhile waits for ever (CPython 3.13).
STOPS_OTHERS: Final = not getattr(sys, "_is_gil_enabled", lambda: True)()


def met_strongly(root: object, facts: Facts) -> tuple[dict[int, Any], list[Any]] | None:
    """What is met, but for atoms and refs; None where a pickler has to be asked.

    Returns:
        By id, what is met; and those classes and functions among it that are written by value: what
        they hold is left to the pickler.
    """
    if not _RELIABLE:
        return None
    adapter, ref = facts.adapter, weakref.ref
    # No new rows of the dump's: what is registered before the pickler comes to a type counts.
    rows, own_rows = facts.types, Types(adapter)
    inside: dict[int, Any] = {}
    by_value: list[Any] = []
    #: Types whose instances lead on: by what the collector sees, or by their attributes alone.
    seen_through: set[type] = {*_BUILTIN}
    with_attributes: set[type] = set()
    #: Types whose instances may have a `__getstate__`, say, each of its own.
    with_own: set[type] = set()
    found = [root]
    while found:
        if gc.get_referents(*[obj for obj in found if type(obj) is ref]):
            return None  # a callback
        level = {
            identity: obj
            for obj in found
            if type(obj) not in _LEFT_ALONE and (identity := id(obj)) not in inside
        }
        inside.update(level)
        objects = level.values()
        types_met: set[type] = set(map(type, objects))
        for obj_type in types_met.difference(NAMEABLE, seen_through, with_attributes):
            known = rows[obj_type] if obj_type in rows else own_rows[obj_type]
            if (
                not known.plain
                or known.overridden
                or known.has_own_look
                or not _shows_what_it_holds(obj_type)
            ):
                return None
            if id(obj_type) not in inside and not adapter.by_name(obj_type):
                by_value.append(obj_type)
            inside[id(obj_type)] = obj_type
            if known.has_dict:
                with_own.add(obj_type)
            in_dict = _BY_DICT and known.has_dict and not known.has_slots
            (with_attributes if in_dict else seen_through).add(obj_type)
        if not types_met.isdisjoint(NAMEABLE):
            by_value += [o for o in objects if type(o) in NAMEABLE and not adapter.by_name(o)]
        attributes = [*map(_attributes, [obj for obj in objects if type(obj) in with_own])]
        for name in _OWN_WAYS:
            if any(map(dict.__contains__, attributes, itertools.repeat(name))):
                return None  # pickle asks an instance for it, and takes what it has itself
        found = gc.get_referents(*[obj for obj in objects if type(obj) in seen_through])
        # Not by way of the instances: that would be two steps each, and their class.
        owners = [obj for obj in objects if type(obj) in with_attributes]
        found += gc.get_referents(*map(_attributes, owners))
    # What is by value is walked once more to find what it holds.
    return None if by_value and len(inside) < _WORTH_IT else (inside, by_value)


def _shows_what_it_holds(obj_type: type) -> bool:
    """Whether pickle, which asks an instance for its attributes, gets those that it holds."""
    cls: Any = obj_type
    slots = []
    for base in bases_of(cls):
        own = names_of(base)
        if type(own.get("__dict__", _dict_descriptor)) is not types.GetSetDescriptorType:
            return False
        for name, found in list(own.items()):  # a first pickle of the class adds to them
            if type(found) is types.MemberDescriptorType:
                if class_attribute(cls, name) is not found:
                    return False  # hidden
                slots.append(name)
    # Those that pickle asks for: a slot may have been taken away.
    return sorted(slots) == sorted(copyreg._slotnames(cls))  # type: ignore[attr-defined]
