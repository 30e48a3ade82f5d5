"""What is written by value and incomplete where the payload stands, and what cannot be made then.

A class or function by value is incomplete while what it holds is written; that may lead weakly to
what needs it: a registry of the class's own instances does.
"""

from __future__ import annotations

import copyreg
import itertools
import types
import weakref
from collections.abc import Iterator
from typing import Any

from weakreduce.core.facts import Facts
from weakreduce.model.classes import NAMEABLE, bases_of, is_bare, names_of


def has_open_class(facts: Facts, met: dict[int, Any], obj: object) -> bool:
    """Whether the class of an object, or a base of it, is being written: not all of it is there."""
    adapter = facts.adapter
    return bool(adapter.opened) and any(adapter.is_open(base, met) for base in bases_of(type(obj)))


def can_construct(facts: Facts, met: dict[int, Any], obj: Any) -> bool:
    """Whether the receiver can construct an object when it comes to this place of the payload.

    Args:
        facts: of the dump.
        met: what its walk has met so far.
        obj: the object.
    """
    adapter, cls = facts.adapter, type(obj)
    if not adapter.opened:
        return True

    def is_open(part: object) -> bool:
        return adapter.is_open(part, met)

    if issubclass(cls, type):
        return not any(map(is_open, itertools.chain(bases_of(cls), bases_of(obj))))
    if issubclass(cls, NAMEABLE):
        return adapter.has_skeletons or not is_open(obj)
    incomplete = has_open_class(facts, met, obj)
    own_arguments = not adapter.has_skeletons and facts.types[cls].own_arguments
    if facts.types[cls].by_own_code or own_arguments:
        found = facts.reductions.reduced_or_none(obj)
        if found is None:
            return True  # the error surfaces, with its cause, when it is pickled
        if found[0] is not copyreg.__newobj__ or len(found[1]) != 1:  # type: ignore[attr-defined]
            return not any(map(is_open, _parts_with_code(found[:2], adapter.has_skeletons)))
    return not incomplete or (adapter.has_skeletons and is_bare(cls))


def lacks_hash(facts: Facts, met: dict[int, Any], obj: object) -> bool:
    """Whether an object has no hash yet, or another than it will have: its class is not complete.

    The hash is that of a base until the class has its own, and the object has no state so far.
    """
    adapter, cls = facts.adapter, type(obj)
    return has_open_class(facts, met, obj) and (
        facts.types[cls].hashed_by_value
        or any(
            names_of(base).get("__hash__") is not None and adapter.is_open(base, met)
            for base in bases_of(cls)
        )
    )


def cannot_be_called_yet(facts: Facts, met: dict[int, Any], weak: object, referent: object) -> bool:
    """Whether a proxy made here would not be one that can be called, as it has to be.

    The class of its referent says so, once its methods are there.
    """
    return type(weak) is weakref.CallableProxyType and has_open_class(facts, met, referent)


def _parts_with_code(part: Any, has_skeletons: bool) -> Iterator[Any]:
    """Classes and functions that the arguments of a construction need.

    Those of instances, too, where no class is there, empty, while its attributes are written.
    """
    if type(part) is tuple:
        for item in part:
            yield from _parts_with_code(item, has_skeletons)
    elif issubclass(type(part), type):
        yield from bases_of(part)
    elif type(part) is types.MethodType:
        yield from _parts_with_code((part.__func__, part.__self__), has_skeletons)
    elif type(part) is types.FunctionType:
        yield part
    elif not has_skeletons:
        yield from bases_of(type(part))
