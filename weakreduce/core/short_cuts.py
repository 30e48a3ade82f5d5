"""Short cuts: the most frequent weak things, done without an `Edge`, a decision and a `Call` each.

Each function says which general rule it equals; `tests/test_short_cuts.py` turns them off
(`known.short_cuts_allowed`) and compares the bytes. They hold only where the policy chooses one
fate for all that is outside (`Known.lets_short_cuts`). What does not fit goes the general way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from weakreduce.core.encode import pinned_container
from weakreduce.core.expressions import Reduction, Rest
from weakreduce.model import names
from weakreduce.model.classes import is_leaf
from weakreduce.model.kinds import Kind, copied

if TYPE_CHECKING:
    from weakreduce.core.first_walk import FirstWalk
    from weakreduce.core.second_walk import SecondWalk

Plan = Callable[[Any], Any]
#: Written by a first walk that is certain to be thrown away.
_placeholder: Final[Reduction] = (list, ())
_atoms = frozenset({int, float, complex, str, bytes, bool, type(None)})
_sets = frozenset({set, frozenset})


def of_first_walk(walk: FirstWalk, kind: Kind, weak_type: type) -> Plan | None:
    """The short cut for exact instances of a weak type in a first walk, if there is one."""
    if not walk.known.lets_short_cuts or walk.watched or weak_type is not kind.base:
        return None
    snapshots = walk.policy.outside == "snapshot"
    if kind.name == "ref":
        return _first_ref(walk, kind, snapshots)
    if snapshots and weak_type in (weakref.WeakSet, weakref.WeakValueDictionary):
        return _first_container(walk, kind)
    return None


def _first_ref(walk: FirstWalk, kind: Kind, snapshots: bool) -> Plan:
    """A ref without a callback, whose referent hashes by identity and has no name of its own.

    Where the referent was met, `decide` says link, and `encode` writes just this. Where it was
    not, cannot be importable, and a snapshot is what the policy chooses, a second walk is certain.
    """
    met, shared, ref, left_open = walk.met, names.shared_ids, weakref.ref, walk.left_open
    nameable, referable = walk.known.nameable, walk.known.referable
    by_identity = walk.known.hashed_by_identity
    # What a memo tells of is there.
    opened = {} if walk.reads_memo else walk.known.adapter.opened

    def reduce_ref(weak: Any) -> Reduction:
        referent = weak()
        if (
            referent is not None
            and weak.__callback__ is None
            and by_identity[type(referent)]
            and not shared
        ):
            if id(referent) in met:
                if walk.weak_things and not opened and referable[type(referent)]:
                    return (ref, (referent,))
            elif snapshots and not nameable[type(referent)]:
                if not walk.again:
                    walk.look_ahead()
                walk.again = True
                left_open.append(weak)
                return _placeholder
        return walk.weak(kind, weak)

    return reduce_ref


def _first_container(walk: FirstWalk, kind: Kind) -> Plan:
    """A container without strong edges, with an entry whose referent was not met yet.

    `FirstWalk.not_inside` would note one pending edge for each, and nothing else; that edge
    would be a snapshot, as none of them can be importable, so a second walk is certain.
    """
    met, nameable = walk.met, walk.known.nameable

    def reduce_container(weak: Any) -> Reduction:
        found = _entries(kind, weak)
        if found is not None:
            referents, _ = found
            types = set(map(type, referents))
            if (
                not all(map(met.__contains__, map(id, referents)))
                and _sets.isdisjoint(types)
                and not any(map(nameable.__getitem__, types))
            ):
                walk.again = True
                walk.left_open.append(weak)
                return _placeholder
        return walk.weak(kind, weak)

    return reduce_container


def _entries(kind: Kind, weak: Any) -> tuple[list[Any], list[Any]] | None:
    """Referents and keys of a container; None where there is anything else that travels."""
    if set(weak.__dict__) != kind.internals or names.shared_ids:
        return None
    data = weak.data
    if type(data) is dict:
        entries = copied(data.items)
        keys = [key for key, _ in entries]
        references = [reference for _, reference in entries]
    elif type(data) is set:
        keys, references = [], copied(lambda: data)
    else:
        return None
    referents = [reference() for reference in references]
    if not _atoms.issuperset(map(type, keys)) or any(found is None for found in referents):
        return None
    return referents, keys


def of_second_walk(walk: SecondWalk, kind: Kind, weak_type: type) -> Plan | None:
    """The short cut for exact instances of a weak type in a second walk, if there is one."""
    if not walk.known.lets_short_cuts or walk.watched or weak_type is not kind.base:
        return None
    if kind.name == "ref":
        return _second_ref(walk, kind)
    if walk.policy.outside == "snapshot" and weak_type is weakref.WeakValueDictionary:
        return _second_values(walk, kind)
    return None


def _second_ref(walk: SecondWalk, kind: Kind) -> Plan:
    """A ref without a callback, whose referent is written already or may be written whole.

    `decide` says link or snapshot, `SecondWalk.shell` gives the referent itself or
    `SecondWalk.whole` lets it be written here, and `encode` writes this.
    """
    met, inside, shared, ref = walk.met, walk.known.inside, names.shared_ids, weakref.ref
    snapshots = walk.policy.outside == "snapshot"
    taken, plain, standins = walk.taken, walk.known.plain, walk.standins
    nameable, referable = walk.known.nameable, walk.known.referable
    by_identity = walk.known.hashed_by_identity
    orderless, closing = walk.known.orderless, walk.closing
    under_construction = walk.under_construction
    # Or a class by value is not there while what it holds is written.
    skeletons = walk.known.adapter.has_skeletons

    def reduce_ref(weak: Any) -> Reduction:
        referent = weak()
        cls = type(referent)
        if (
            referent is not None
            and weak.__callback__ is None
            and by_identity[cls]
            and not shared
            and walk.weak_things
            and not under_construction
        ):
            identity = id(referent)
            if identity in met:
                if not referable[cls] or (nameable[cls] and not skeletons):
                    pass
                elif identity in inside:
                    return (ref, (referent,))
                elif snapshots and not nameable[cls]:
                    taken.append(weak)
                    return (ref, (referent, referent))
            elif plain[cls] and identity not in standins and (skeletons or walk.can_make(referent)):
                if identity in inside:
                    if orderless and walk.room:
                        walk.room -= 1
                        return (ref, (referent, Rest(closing)))
                elif snapshots and is_leaf(referent):
                    taken.append(weak)
                    return (ref, (referent, referent))
        return walk.weak(kind, weak)

    return reduce_ref


def _second_values(walk: SecondWalk, kind: Kind) -> Plan:
    """A WeakValueDictionary with keys that are atoms, all of whose values are leaves and outside.

    Each edge would be a snapshot, and each target the referent itself.
    """
    inside, plain, standins = walk.known.inside, walk.known.plain, walk.standins

    def reduce_values(weak: Any) -> Reduction:
        found = _entries(kind, weak)
        if found is not None and found[0]:
            referents, keys = found
            if (
                all(map(plain.__getitem__, set(map(type, referents))))
                and not any(map(inside.__contains__, map(id, referents)))
                and not any(map(standins.__contains__, map(id, referents)))
                and all(map(is_leaf, referents))
                # Of plain ones it is their class that matters.
                and all(map(walk.can_make, {type(found): found for found in referents}.values()))
            ):
                walk.taken_entries.append((weak, referents, keys))
                return pinned_container(walk, kind.base, weak, referents, keys)
        return walk.weak(kind, weak)

    return reduce_values
