"""Every weak kind: on one referent, and in one list on referents of every sort."""

from __future__ import annotations

import weakref
from typing import Any

import things
from things import Thing

import weakreduce

#: Referents that the list does not hold.
KEPT: list[Any] = []


def everything() -> list[Any]:
    inside, outside, valued = Thing("inside"), Thing("outside"), things.Valued("valued")
    KEPT.extend((outside, valued))
    shared = weakreduce.share("shared", Thing("shared"))
    KEPT.append(shared)
    return [
        inside,
        *(weakref.ref(thing) for thing in (inside, outside, Thing(), shared, things.function)),
        *(weakref.ref(thing, things.called) for thing in (inside, outside)),
        *(weakref.proxy(thing) for thing in (inside, outside, Thing())),
        *(weakref.WeakMethod(thing.method) for thing in (inside, outside, Thing())),
        weakref.WeakSet([inside, outside]),
        things.Listeners("listeners", [outside, inside]),
        weakref.WeakValueDictionary(a=inside, b=outside),
        weakref.WeakKeyDictionary({inside: 1, outside: 2}),
        weakref.WeakKeyDictionary({valued: 1}),
        *(things.SubRef(thing, 1) for thing in (inside, outside, Thing())),
        things.SubMethod(inside.method),
        weakref.finalize(inside, things.log),
    ]


def weak_things(target: Any) -> dict[str, Any]:
    """Every weak kind on `target`."""
    return {
        "ref": weakref.ref(target),
        "called": weakref.ref(target, things.called),
        "subref": things.SubRef(target, 7),
        "proxy": weakref.proxy(target),
        "method": weakref.WeakMethod(target.method),
        "submethod": things.SubMethod(target.method),
        "set": weakref.WeakSet([target]),
        "subset": things.Listeners("listeners", [target]),
        "values": weakref.WeakValueDictionary(key=target),
        "keys": weakref.WeakKeyDictionary({target: "value"}),
    }
