"""Names of shared objects, where an object has two, or dies while a name is taken away."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

from things import Thing

import weakreduce
from weakreduce.model import sharing


def test_a_name_that_is_left_still_travels() -> None:
    thing = Thing("shared")
    weakreduce.share("first", thing)
    weakreduce.share("second", thing)
    weakreduce.unshare("first")
    assert sharing.name_of(thing) == "second"
    assert weakreduce.loads(weakreduce.dumps(weakref.ref(thing)))() is thing
    weakreduce.unshare("second")
    assert sharing.name_of(thing) is None
    assert not sharing.shared_ids


def test_a_name_may_be_taken_away_while_the_collector_takes_its_object() -> None:
    """The collector clears all references first, and only then calls their callbacks."""
    found: list[Any] = []

    def unshare(_dead: object) -> None:
        with contextlib.suppress(KeyError):  # the object's own callback was called before
            found.append(sharing.lookup("going"))
            weakreduce.unshare("going")

    gc.collect()
    things = [Thing("before"), Thing("shared"), Thing("after")]
    weakreduce.share("going", things[1])
    references = [weakref.ref(things[0], unshare), weakref.ref(things[2], unshare)]
    for thing in things:
        thing.circle = things
    del thing, things
    gc.collect()
    assert [reference() for reference in references] == [None, None]
    assert found[0] is None
    assert sharing.lookup("going") is None
    assert not sharing.shared_ids
