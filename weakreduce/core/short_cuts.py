"""Plugs for walks: the most frequent weak things, without an `Edge`, a decision and a `Call` each.

A plug makes, for the exact instances of a weak type, a function that does what `Walk.weak` would
do. It is given to a walk by `writing.py` when that is made, and to nothing else:
without it everything is right, and the bytes are the same (`tests/core/test_plugs.py`). Plugs hold
only where the policy chooses one fate for all that is outside, which nothing may change (`_hold`);
what does not fit goes the general way.

| plug | payloads | times the time without it |
|---|---|---|
| links to what was met | trees with parents that are met first | 1.4 |
| refs on what was met, or can be made at once | leaves with their parent outside | 1.7 |
| the same | references that come first | 2.0 |
| WeakSet, WeakValueDictionary | caches of 4,000 entries | 3.5 |
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from weakreduce.core.dispatch import NO_SHORT_CUTS, ShortCut
from weakreduce.core.encode import container_of
from weakreduce.core.expressions import PLACEHOLDER, Reduction
from weakreduce.core.facts import Facts
from weakreduce.core.first_walk import SETS, FirstWalk
from weakreduce.core.held import MISSING
from weakreduce.core.incomplete import can_construct
from weakreduce.core.second_walk import SecondWalk, is_leaf_reduction
from weakreduce.model import homes, sharing
from weakreduce.model.classes import LEAF_ATOMS, NAMEABLE, is_leaf
from weakreduce.model.kinds import Kind, copied


def _hold(facts: Facts) -> bool:
    """Whether the policy chooses one fate for all that is outside, which nothing may change."""
    policy = facts.policy
    return (
        facts.with_snapshots
        and not policy.rules
        and policy.live == "allow"
        and policy.max_snapshot_bytes is None
        and policy.identity == "copy"
        and not (facts.readies and homes.away)
        and not facts.failed
        and not facts.failed_entries
        and facts.persistent_id is None
    )


def of_first_walk(facts: Facts) -> Mapping[type, ShortCut]:
    """By weak type, the plugs of a first walk."""
    return _FIRST if _hold(facts) else NO_SHORT_CUTS


def of_second_walk(facts: Facts) -> Mapping[type, ShortCut]:
    """By weak type, the plugs of a second walk."""
    return _SECOND if _hold(facts) else NO_SHORT_CUTS


def _first_ref(walk: FirstWalk, kind: Kind) -> Callable[[Any], Reduction]:
    """A ref without a callback, whose referent was met and hashes by identity, or not met yet.

    In the first case `decide` says link, and `encode` writes just this. In the second it is open;
    and where it would be a snapshot, a second walk is certain.
    """
    met, shared_ids, ref, opened = walk.met, sharing.shared_ids, weakref.ref, walk.adapter.opened
    types, is_referable = walk.types, walk.facts.is_referable
    snapshots = walk.policy.outside == "snapshot"

    def reduce_ref(weak: Any) -> Reduction:
        referent = weak()
        if weak.__callback__ is not None or type(referent) in SETS:
            return walk.weak(kind, weak)
        if walk.again:  # as `FirstWalk.weak`
            return PLACEHOLDER
        known = types[type(referent)]
        if referent is None or shared_ids or not (known.referable or is_referable(referent)):
            return walk.weak(kind, weak)
        if id(referent) in met:
            if known.hashed_by_identity and (not opened or walk.can_make(referent)):
                return (ref if walk.weak_things else walk.readying(ref), (referent,))
        elif snapshots and not known.nameable:
            walk.again = True
            walk.explore()
            return PLACEHOLDER
        return walk.weak(kind, weak)

    return reduce_ref


def _first_container(walk: FirstWalk, kind: Kind) -> Callable[[Any], Reduction]:
    """A WeakSet or WeakValueDictionary, all of whose entries are links, or one of which is open.

    Where an entry's referent was not met yet, `FirstWalk` would leave open one edge for each, and
    nothing else; that edge would be a snapshot, as none of them can be importable, so a second walk
    is certain.
    """
    met = walk.met
    snapshots = walk.policy.outside == "snapshot"

    def reduce_container(weak: object) -> Reduction:
        found = None if walk.again else _entries(kind, weak)
        if found is not None:
            referents, keys = found
            if all(map(met.__contains__, map(id, referents))):
                if _are_linked(walk, referents):
                    return _linked(walk, kind, weak, referents, keys)
            elif snapshots and kind.base is weakref.WeakValueDictionary:
                types = set(map(type, referents))
                known = [walk.types[cls] for cls in types]
                if SETS.isdisjoint(types) and all(t.referable and not t.nameable for t in known):
                    walk.again = True
                    return PLACEHOLDER
        return walk.weak(kind, weak)

    return reduce_container


def _are_linked(walk: FirstWalk | SecondWalk, referents: list[Any]) -> bool:
    """Whether `decide` says link of all of these, which were met, and there is one order."""
    facts, types = walk.facts, set(map(type, referents))
    return (
        len(referents) > 0
        and all(facts.types[cls].hashed_by_identity for cls in types)
        and all(
            facts.types[cls].referable
            or all(facts.is_referable(r) for r in referents if type(r) is cls)
            for cls in types
        )
        and not facts.written_before
        and walk.reach.in_order
        and (not facts.adapter.opened or all(map(walk.can_make, referents)))
    )


def _linked(
    walk: FirstWalk | SecondWalk, kind: Kind, weak: object, referents: list[Any], keys: list[Any]
) -> Reduction:
    if kind.base is weakref.WeakSet:
        positions = walk.reach.positions()
        referents = sorted(referents, key=lambda referent: positions[id(referent)])
    return container_of(walk, kind.base, weak, referents, keys, pinned=False)


def _entries(kind: Kind, weak: Any) -> tuple[list[Any], list[Any]] | None:
    """Referents, and keys of a WeakValueDictionary; None where there is anything else in it."""
    if set(weak.__dict__) != kind.internals or sharing.shared_ids:
        return None
    data, keys = weak.data, []
    if kind.base is weakref.WeakSet:
        if type(data) is not set:
            return None
        referents = [reference() for reference in copied(lambda: data)]
    else:
        if type(data) is not dict:
            return None
        entries = copied(data.items)
        keys = [key for key, _ in entries]
        referents = [reference() for _, reference in entries]
        if not LEAF_ATOMS.issuperset(map(type, keys)):
            return None
    return None if any(found is None for found in referents) else (referents, keys)


def _second_ref(walk: SecondWalk, kind: Kind) -> Callable[[Any], Reduction]:
    """A ref without a callback, whose referent is written already or needs only what is there.

    `decide` says link or snapshot, and `encode` writes this.
    """
    met, inside, shared_ids, ref = walk.met, walk.reach.met, sharing.shared_ids, weakref.ref
    snapshots, took = walk.policy.outside == "snapshot", walk.taken_refs.append
    under_way = walk.construction.under_way
    begun = walk.construction.begun
    is_referable = walk.facts.is_referable
    types = walk.types
    # Or a class by value is not there while what it holds is written.
    skeletons = walk.adapter.has_skeletons

    def reduce_ref(weak: Any) -> Reduction:
        referent = weak()
        known, identity = types[type(referent)], id(referent)
        linked = identity in inside
        if (
            (linked or snapshots)
            and referent is not None
            and weak.__callback__ is None
            and known.hashed_by_identity
            and not shared_ids
            and not under_way
        ):
            if not (known.referable or is_referable(referent)):
                target = MISSING
            elif identity not in met:
                target = _shell_at_once(walk, referent)
            elif identity in begun:  # which may have been made from what holds this
                target = MISSING
            else:
                is_there = not known.nameable or (linked and skeletons)
                target = referent if is_there else MISSING
            if target is not MISSING:
                make = ref if walk.weak_things else walk.readying(ref)
                if linked:
                    return (make, (target,))
                took(weak)
                return (make, (target, target))
        return walk.weak(kind, weak)

    return reduce_ref


def _shell_at_once(walk: SecondWalk, referent: object) -> Any:
    """`SecondWalk.shell` of what is not written yet, if nothing can hinder it; else `MISSING`."""
    known, adapter = walk.types[type(referent)], walk.adapter
    if adapter.has_skeletons and adapter.opened:
        opened = [obj for obj, _ in adapter.opened.values()]
        if any(adapter.is_open(obj, walk.met) for obj in opened):
            return MISSING  # what is behind the referent may need it with all its methods
    if known.plain:
        if known.nameable and walk.facts.is_named(referent):
            return MISSING
        is_there = adapter.has_skeletons or can_construct(walk.facts, walk.met, referent)
        return walk.shell(referent) if is_there else MISSING
    if not known.by_own_code or issubclass(type(referent), NAMEABLE) or known.kind:
        return MISSING
    found = walk.facts.reductions.reduced_or_none(referent)
    if found is None or not walk.construction.is_closed_construction(found):
        return MISSING
    if id(referent) not in walk.standins and known.may_come_whole and is_leaf_reduction(found):
        walk.promised.append(referent)
        return referent
    return walk.shell(referent)


def _second_container(walk: SecondWalk, kind: Kind) -> Callable[[Any], Reduction]:
    """A WeakSet or WeakValueDictionary, all of whose entries are links to what is written already.

    Or a WeakValueDictionary with keys that are atoms, all of whose values are leaves and outside.
    Each edge would be a snapshot, and each target the referent itself.
    """
    met, inside, standins = walk.met, walk.reach.met, walk.standins
    snapshots, under_way = walk.policy.outside == "snapshot", walk.construction.under_way
    waiting = walk.construction.waiting

    def reduce_container(weak: object) -> Reduction:
        found = None if under_way or waiting else _entries(kind, weak)
        if found is not None and found[0]:
            referents, keys = found
            if any(map(inside.__contains__, map(id, referents))):
                if (
                    all(map(inside.__contains__, map(id, referents)))
                    and all(map(met.__contains__, map(id, referents)))
                    and _are_linked(walk, referents)
                ):
                    return _linked(walk, kind, weak, referents, keys)
            elif (
                snapshots
                and kind.base is weakref.WeakValueDictionary
                and all(walk.types[cls].plain for cls in set(map(type, referents)))
                and not any(map(standins.__contains__, map(id, referents)))
                and all(map(is_leaf, referents))
                # Of plain ones it is their class that matters.
                and all(map(walk.can_make, {type(found): found for found in referents}.values()))
            ):
                walk.taken.append((weak, referents, keys))
                return container_of(walk, kind.base, weak, referents, keys, pinned=True)
        return walk.weak(kind, weak)

    return reduce_container


_FIRST: Final[Mapping[type, ShortCut]] = {
    weakref.ref: _first_ref,
    weakref.WeakSet: _first_container,
    weakref.WeakValueDictionary: _first_container,
}
_SECOND: Final[Mapping[type, ShortCut]] = {
    weakref.ref: _second_ref,
    weakref.WeakSet: _second_container,
    weakref.WeakValueDictionary: _second_container,
}
