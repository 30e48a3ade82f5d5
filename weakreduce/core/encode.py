"""Encode: write a weak thing as calls of the standard library.

An encoder looks inside (`Kind.edges`), asks its walk for the fate of each edge (`Writer.decide`),
and writes what that makes of it. Rule: nothing here decides, and every callable that is written
belongs to the standard library (those of `wire.py` alone excepted). What is written is a small
program for the unpickler; `Call` is one expression of it, and `expressions` tells its tricks. Two
more are here:

- ``(x, hash(x))[0]`` is ``x``, hashed: that makes a dead reference usable as a key.
- ``map(ref, targets, callbacks)`` fills a weak container at C speed.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import operator
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from weakreduce.core.expressions import (
    PLACEHOLDER,
    Call,
    Reduction,
    _attribute,
    bound_from,
    bound_method,
    same_with,
)
from weakreduce.core.identities import with_new_identities, with_new_identity
from weakreduce.core.writer import Writer
from weakreduce.model.classes import (
    HEAP_TYPE,
    LEAF_ATOMS,
    as_it_stands,
    class_attribute,
    defines,
    flags_of,
    stock_getstate,
)
from weakreduce.model.decide import ARRIVES, PINS, Fate
from weakreduce.model.kinds import Edge, Kind

_STATELESS = frozenset({weakref.ref, weakref.WeakMethod})
_ref_hash: Any = weakref.ref.__hash__


def _dead(walk: Writer, make: object, *before: object, through: Any = None) -> Reduction:
    """The reduction of a weak thing whose referent is gone as soon as it is made.

    An unpickler's memo keeps what a payload constructs until the load ends, but not what `map` and
    `starmap` make. So they put the referent, and what `make` makes on it, into lists, and those
    that hold the referent are emptied. A reference is hashed before that, or it could never be a
    key again.

    Args:
        walk: the walk.
        make: what makes the weak thing.
        before: its arguments, before the referent.
        through: a function that the referent is to be bound to first, for a WeakMethod.
    """
    target: Any = contextlib.ContextDecorator
    if make is weakref.proxy and before == (False,):
        target = set  # which cannot be called
    holders = [Call(list, Call(itertools.starmap, target, [()]))]
    if through is not None:
        bound = Call(map, classmethod.__get__, [Call(classmethod, through)], [None], holders[0])
        holders.append(Call(list, bound))
    parts = [] if make is weakref.proxy else [[part] for part in before]
    made = Call(operator.getitem, Call(list, Call(map, make, *parts, holders[-1])), 0)
    steps = [] if make is weakref.proxy else [_hashed(made, before[0] if before else make)]
    steps += [Call(operator.delitem, holder, 0) for holder in reversed(holders)]
    return (walk.readying(operator.getitem), ((made, *steps), 0))


def _hashed(made: Call, cls: Any) -> Call:
    """A call that hashes a reference of a class as `ref` does, whatever the class has for that.

    Code of its own may need attributes, which are not there yet, or the referent.
    """
    if class_attribute(cls, "__hash__") is _ref_hash:
        return Call(hash, made)
    return Call(_ref_hash, made)


def user_state(weak: object, internals: frozenset[str]) -> Any:
    """Instance attributes and slots that are the user's, in the form that BUILD takes, or None."""
    if type(weak) in _STATELESS:
        return None
    state = weak.__getstate__()
    if as_it_stands(type(weak), "__getstate__") is not stock_getstate:
        return state
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    # The attributes themselves, which other threads may write to.
    kept, kept_slots = dict(attributes or {}), dict(slots or {})
    for name in internals:
        kept.pop(name, None)
        kept_slots.pop(name, None)
    if kept_slots:
        return (kept or None, kept_slots)
    return kept or None


def _target(walk: Writer, edge: Edge, fate: Fate) -> tuple[Any, Any]:
    """What a weak thing is made on, and whether it is pinned: a bool, or an expression of one."""
    copy = walk.target(edge)
    return walk.at_home(edge.referent, copy) if fate is Fate.HOME else (copy, fate is Fate.SNAPSHOT)


def _either(without: object, pinned: object, pin: object) -> Any:
    """One of two things, by whether a weak thing is pinned."""
    if type(pin) is bool:
        return pinned if pin else without
    return Call(operator.getitem, (without, pinned), pin)


def _slot(edge: Edge, target: object, callback: object, pin: object) -> Any:
    """The content of a callback slot: the callback, the pin, both in one, or None."""
    pinned = target if callback is None and edge.function is None else (target, callback)
    return _either(callback, pinned, pin)


def _constructor(kind: Kind, cls: type) -> tuple[Any, ...]:
    """What makes a reference, and what that is given before the referent."""
    if cls is weakref.ref or cls is weakref.WeakMethod:
        return (cls,)
    # Not the subclass's own __new__ and __init__: they may ask for arguments.
    if kind.base is weakref.WeakMethod:
        return weakref.WeakMethod.__new__, cls
    return weakref.ref.__new__, cls


def dead_single(walk: Writer, kind: Kind, weak: object) -> Reduction:
    """A dead weak thing of the type of one with a single edge, without attributes."""
    return PLACEHOLDER if walk.again else _encoder(kind).dead(walk, kind, weak)


def _dead_ref(walk: Writer, kind: Kind, weak: object) -> Reduction:
    through = copy.copy if kind.base is weakref.WeakMethod else None
    return _dead(walk, *_constructor(kind, type(weak)), through=through)


def _dead_proxy(walk: Writer, kind: Kind, weak: object) -> Reduction:
    return _dead(walk, weakref.proxy, type(weak) is weakref.CallableProxyType)


def _dead_registered(walk: Writer, kind: Kind, weak: object) -> Reduction:
    return (walk.readying(kind.rebuild), (None,))


def _ref(walk: Writer, kind: Kind, weak: object) -> Reduction:
    (edge,) = kind.edges(weak)
    fate = walk.decide(edge).fate
    construct, *before = _constructor(kind, type(weak))
    is_method = kind.base is weakref.WeakMethod
    state = user_state(weak, kind.internals)
    if fate not in ARRIVES:
        dead = dead_single(walk, kind, weak)
        return dead if state is None else (*dead, state)
    target, pin = _target(walk, edge, fate)
    if state is not None:
        state = with_new_identity(state, edge.referent, target)
    holds: Any = False
    function: Any = None
    stored = walk.stored_in(edge) if is_method else None
    if stored is not None:
        target = bound_from(*stored, target)
    elif is_method:
        function = walk.function(edge)
        if fate is Fate.HOME:
            function, holds = walk.at_home(edge.function, function)
        target = bound_method(edge.function, function, target)
    callback = walk.callback(edge)
    slot = _slot(edge, target, callback, pin)
    if holds is not False:
        slot = _either(walk.holding(function, callback), (target, callback), pin)
    arguments = (*before, target) if slot is None else (*before, target, slot)
    reduction: Reduction = (walk.readying(construct), arguments)
    return reduction if state is None else (*reduction, state)


def _proxy(walk: Writer, kind: Kind, weak: object) -> Reduction:
    (edge,) = kind.edges(weak)
    fate = walk.decide(edge).fate
    if fate not in ARRIVES:
        return dead_single(walk, kind, weak)
    target, pin = _target(walk, edge, fate)
    slot = _slot(edge, target, walk.callback(edge), pin)
    arguments = (target,) if slot is None else (target, slot)
    return (walk.readying(weakref.proxy), arguments)


def container_shell(walk: Writer, kind: Kind, cls: type) -> Reduction:
    """The construction of a weak container, without what it holds."""
    return (walk.readying(cls), ()) if cls is kind.base else (walk.readying(object.__new__), (cls,))


def _container(walk: Writer, kind: Kind, weak: Any) -> Reduction:
    base: Any = kind.base
    exact = type(weak) is base
    shell = container_shell(walk, kind, type(weak))
    steps: list[Any] = [] if exact else [Call(base.__init__, weak)]
    state = user_state(weak, kind.internals)
    # A subclass may keep its entries in a collection of its own (an ordered one, say).
    own_collection = type(weak.data) is not type(vars(base())["data"])
    if own_collection:
        steps.append(Call(setattr, weak, "data", _empty(weak.data)))
    if state is not None:
        steps.append(same_with(weak, state))
    kept = [(edge, walk.decide(edge).fate) for edge in kind.edges(weak)]
    kept = [(edge, fate) for edge, fate in kept if fate in ARRIVES]
    if base is weakref.WeakSet and not own_collection:
        fates = {id(edge): fate for edge, fate in kept}
        kept = [(edge, fates[id(edge)]) for edge in walk.ordered([edge for edge, _ in kept])]
    if kept:
        referents = [edge.referent for edge, _ in kept]
        found = [_target(walk, edge, fate) for edge, fate in kept]
        targets, pins = [target for target, _ in found], [pin for _, pin in found]
        keys = [edge.key for edge, _ in kept]
        if base is weakref.WeakValueDictionary:
            hashed = any(_needs_state(walk, key) for key in keys)
        else:
            hashed = any(walk.types[type(referent)].hashed_by_value for referent in referents)
        values = [edge.value for edge, _ in kept]
        late = not all(map(walk.can_make, (*referents, *keys, *values)))
        if hashed and not late and base is weakref.WeakKeyDictionary:
            steps.append(values)
        keys = with_new_identities(keys, referents, targets)
        fill = _filling(base, weak, own_collection, targets, pins, keys, values)
        if hashed or late:
            walk.later(fill)
        else:
            steps.append(fill)
    if not steps:
        return shell
    return (*shell, steps, None, None, operator.is_)


def _empty(collection: Any) -> Call:
    """A collection like another, without items, but with the settings that it keeps of itself.

    (A limit, say. What else it holds may be its items, in whatever way.)
    """
    made = Call(type(collection))
    attributes = getattr(collection, "__dict__", None)
    if type(attributes) is dict and not defines(type(collection), "__setstate__"):
        kept = {
            name: value for name, value in attributes.copy().items() if type(value) in LEAF_ATOMS
        }
        if kept:
            made.reduction = (*made.reduction, kept)
    return made


def _needs_state(walk: Writer, key: Any) -> bool:
    """Whether a hash of a key may run code that needs the state of an object."""
    cls = type(key)
    if cls is tuple or cls is frozenset:
        return any(_needs_state(walk, part) for part in key)
    if issubclass(cls, weakref.ref):  # which hashes as its referent does
        return walk.types[type(weakref.ref.__call__(key))].hashed_by_value
    return bool(flags_of(cls) & HEAP_TYPE) and walk.types[cls].hashed_by_value


def _filling(
    base: object,
    weak: object,
    own_collection: bool,
    targets: list[Any],
    pins: list[Any],
    keys: list[Any],
    values: list[Any],
) -> Call:
    """The expression that puts its entries into a container."""
    # A pinned entry cannot die, so it needs no eviction: its slot holds the pin.
    evict = _attribute(weak, "_remove")
    callbacks: Any
    if all(pin is True for pin in pins):
        callbacks = targets
    elif any(pins):
        callbacks = list(map(_either, itertools.repeat(evict), targets, pins))
    else:
        callbacks = Call(itertools.repeat, evict)
    fill, entries_of = _FILLS[base]
    entries = entries_of(targets, callbacks, keys, values)
    if own_collection:
        fill, entries = operator.ior, Call(list, entries) if fill is set.update else entries
    return Call(fill, _attribute(weak, "data"), entries)


def _members(targets: list[Any], callbacks: Any, _keys: list[Any], _values: list[Any]) -> Call:
    return Call(map, weakref.ref, targets, callbacks)


def _weak_values(targets: list[Any], callbacks: Any, keys: list[Any], _values: list[Any]) -> Call:
    return Call(zip, keys, Call(map, weakref.KeyedRef, targets, callbacks, keys))


def _weak_keys(targets: list[Any], callbacks: Any, _keys: list[Any], values: list[Any]) -> Call:
    return Call(zip, Call(map, weakref.ref, targets, callbacks), values)


#: By the type of a container, what puts entries into its data, and what makes them.
_FILLS: Final[dict[object, tuple[Any, Callable[..., Call]]]] = {
    weakref.WeakSet: (set.update, _members),
    weakref.WeakValueDictionary: (dict.update, _weak_values),
    weakref.WeakKeyDictionary: (dict.update, _weak_keys),
}


def container_of(
    walk: Writer, base: object, weak: object, targets: list[Any], keys: list[Any], *, pinned: bool
) -> Reduction:
    """What `encode` gives for a WeakSet or WeakValueDictionary whose entries share one fate."""
    shell = walk.readying(base)
    if any(map(operator.eq, keys, map(id, targets))):  # which no key's own code answers: atoms
        keys = with_new_identities(keys, targets, targets)
    fill = _filling(base, weak, False, targets, [pinned], keys, [])
    return (shell, (), [fill], None, None, operator.is_)


def _finalize(walk: Writer, kind: Kind, weak: Any) -> Reduction:
    (edge,) = kind.edges(weak)
    if walk.decide(edge).fate not in ARRIVES - PINS:
        return (walk.readying(object.__new__), (type(weak),))
    function, arguments, keywords = edge.callback
    armed: Any = type(weak)
    arguments = (walk.target(edge), function, *arguments)
    if keywords:
        # Nothing else of the standard library calls with keywords.
        armed = Call(None)
        state = (type(weak), arguments, keywords, None)
        armed.reduction = (functools.partial, (type(weak),), state)
        arguments = ()
    reduction: Reduction = (walk.readying(armed), arguments)
    if not weak.atexit:
        # `atexit` is a property of the class; BUILD sets what stands behind the dict by setattr.
        reduction = (*reduction, (None, {"atexit": False}))
    return reduction


def _registered(walk: Writer, kind: Kind, weak: object) -> Reduction:
    (edge,) = kind.edges(weak)
    fate = walk.decide(edge).fate
    if fate not in ARRIVES:
        return dead_single(walk, kind, weak)
    target, pin = _target(walk, edge, fate)
    return (walk.readying(_either(kind.rebuild, kind.pin, pin)), (target,))


@final
@dataclass(frozen=True, slots=True)
class _Encoder:
    """A row: what writes a weak thing, and a dead one that points at one referent."""

    whole: Callable[[Writer, Kind, Any], Reduction]
    dead: Callable[[Writer, Kind, Any], Reduction]


#: By the name of a kind. Where no weak thing is written dead (a container is empty, a finalizer
#: detached), `whole` writes that as well.
_ENCODERS: Final = {
    "ref": _Encoder(_ref, _dead_ref),
    "WeakMethod": _Encoder(_ref, _dead_ref),
    "proxy": _Encoder(_proxy, _dead_proxy),
    "WeakSet": _Encoder(_container, _container),
    "WeakValueDictionary": _Encoder(_container, _container),
    "WeakKeyDictionary": _Encoder(_container, _container),
    "finalize": _Encoder(_finalize, _finalize),
}
_OF_REGISTERED: Final = _Encoder(_registered, _dead_registered)


def _encoder(kind: Kind) -> _Encoder:
    return _ENCODERS[kind.name] if kind.rebuild is None else _OF_REGISTERED


def encode(walk: Writer, kind: Kind, weak: object) -> Reduction:
    """The reduction of a weak thing, for the fates that `walk` decides."""
    return _encoder(kind).whole(walk, kind, weak)
