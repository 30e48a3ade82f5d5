"""Ways through a dump that few payloads take."""

from __future__ import annotations

import io
import pickle
import threading
import types
import weakref
from typing import Any

import dill
import pytest
import things

import weakreduce
from weakreduce.core import notes
from weakreduce.hosts import opcodes_alone
from weakreduce.hosts.own import _pickler_class
from weakreduce.paths import tasks
from weakreduce.paths.parts import parts

HOSTS = ("cloudpickle", "dill", "pickle")


class Part:
    def __init__(self, owner: Any) -> None:
        self.owner = owner


class Endless:
    """Constructed from something new each time, which leads back to it."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __reduce__(self) -> Any:
        return Endless, (Part(self),)


@pytest.mark.parametrize("host", HOSTS)
def test_what_never_ends_as_stock_ends_as_stock(host: Any) -> None:
    thing, endless = things.Thing(more=[1]), Endless(None)
    errors = []
    for root in ([thing, endless], [weakref.ref(thing), thing, endless, weakref.ref(endless)]):
        with pytest.raises((RecursionError, pickle.PicklingError)) as caught:
            weakreduce.dumps(root, host=host)
        errors.append(type(caught.value))
    assert errors[0] == errors[1]


class OwnOverride(_pickler_class("pickle")):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        return NotImplemented


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_function_of_a_list_that_is_met_weakly_first(protocol: int) -> None:
    file = io.BytesIO()
    items: list[Any] = []
    append = items.append
    OwnOverride(file, protocol).dump([weakref.ref(append), append, items])
    reference, found, copy = pickle.loads(file.getvalue())
    found(1)
    assert reference() is found
    assert copy == [1]


class Saved(Exception):
    pass


def test_what_a_saver_of_dills_never_remembers() -> None:
    """It is met twice, and has arguments of its own."""
    saved, thing = Saved(), things.Thing(more=[1])
    dill.Pickler.dispatch[Saved] = lambda pickler, obj: pickler.save_reduce(Saved, ())
    try:
        data = weakreduce.dumps([weakref.ref(thing), thing, saved, saved], host="dill")
    finally:
        del dill.Pickler.dispatch[Saved]
    reference, copy, one, other = weakreduce.loads(data, host="dill")
    assert reference() is copy
    assert type(one) is type(other) is Saved
    assert one is not other




@pytest.fixture
def by_value() -> Any:
    """A class by value."""
    return type("ByValue", (), {"__module__": "nowhere_to_be_found"})


def test_what_cannot_be_pickled_in_a_class_by_value_is_named(by_value: Any) -> None:
    """It is met after a look ahead, which does not go into it."""
    by_value.lock = threading.Lock()
    thing = things.Thing(more=[1])
    texts = []
    for first in (thing, weakref.ref(thing)):
        with pytest.raises(TypeError, match="cannot pickle '_thread.lock' object") as caught:
            weakreduce.dumps([first, thing, by_value(), [things.Thing() for _ in range(300)]])
        texts.append(caught.value.__notes__[-1])
    assert texts[0] == texts[1]
    assert "root[2]" in texts[0]


class Unreferable(things.Thing):
    """Its copy cannot be weakly referenced."""

    def __reduce__(self) -> Any:
        return list, ()


class Callback(things.Thing):
    def __call__(self, reference: Any) -> None:
        pass


class BadCallback(things.Locked):
    def __call__(self, reference: Any) -> None:
        pass


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("turned", [False, True])
def test_a_refusal_in_a_callback_beside_one_that_fails(host: Any, turned: bool) -> None:
    """It is no failure of the callback, which would be left out."""
    thing, unreferable = things.Thing(), Unreferable()
    good = Callback(held=[unreferable, weakref.ref(unreferable)])
    references = [weakref.ref(thing, BadCallback()), weakref.ref(thing, good)]
    root = [thing, *(references[::-1] if turned else references)]
    with pytest.raises(weakreduce.WeakrefPicklingError, match="Unreferable"):
        weakreduce.dumps(root, host=host, policy=weakreduce.Policy(unpicklable="raise"))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("turned", [False, True])
def test_a_large_snapshot_in_a_snapshot_beside_one_that_fails(host: Any, turned: bool) -> None:
    """What fails is looked for while the first one is measured, and the limit still holds."""
    bad, large = things.Locked(), things.Thing(text="x" * 5000)
    inside = [weakref.ref(bad), weakref.ref(large)]
    outer = things.Thing(inside=inside[::-1] if turned else inside)
    policy = weakreduce.Policy(max_snapshot_bytes=2000)
    with pytest.warns(weakreduce.DanglingWarning, match="larger than max_snapshot_bytes=2000"):
        data = weakreduce.dumps(weakref.ref(outer), host=host, policy=policy)
    assert weakreduce.loads(data, host=host)() is None


class Makes:
    """Reduced to things that are made for that alone; one fails, and each holds many others."""

    def __init__(self, shared: Any) -> None:
        self.shared = shared

    def __reduce__(self) -> Any:
        made: Any = things.Locked()
        for _ in range(8):
            made = things.Thing(shared=self.shared, inner=made)
        return Makes, (None,), made


@pytest.mark.parametrize("host", ["cloudpickle", "pickle"])
@pytest.mark.parametrize("many", [1, 1000])
def test_who_is_to_blame_is_not_looked_for_without_end(host: Any, many: int) -> None:
    """By itself each of those is walked with all that it holds."""
    shared = [things.Thing() for _ in range(many)]
    with pytest.raises(TypeError, match="cannot pickle a lock") as caught:
        weakreduce.dumps([shared, Makes(shared)], host=host)
    ours = [note for note in notes.of(caught.value) if "weakreduce" in note]
    if many == 1:
        assert "root[1]" in ours[0]
    else:
        assert ours == []


def test_what_is_weighed_may_take_more_walks_than_two() -> None:
    """Members of a set whose order a look ahead cannot tell are written in that of a walk."""
    first, second = things.Thing(), things.Thing()
    holder = things.Thing(members=weakref.WeakSet([first, second]))
    part = things.Thing(reference=weakref.ref(holder), members=[first, second], text="x" * 10_000)
    report = weakreduce.explain([weakref.ref(part)], host="pickle")
    assert report[0].bytes == len(weakreduce.dumps(part, host="pickle"))


@pytest.mark.parametrize("host", HOSTS)
def test_explain_goes_on_without_what_is_met_weakly_first(host: Any) -> None:
    locked = things.Locked()
    root = [weakref.ref(locked), locked, weakref.ref(things.Thing), things.Locked()]
    report = weakreduce.explain(root, host=host)
    assert {failure.path for failure in report.failures} == {"root[1]", "root[3]"}
    assert report.kinds == {("ref", "link"): 2}
    assert not report.partial


def test_an_empty_cell_has_no_parts() -> None:
    cell = types.CellType()
    assert list(parts(cell, "cell")) == []
    cell.cell_contents = 5
    assert list(parts(cell, "cell")) == [("cell.cell_contents", 5)]


@pytest.mark.parametrize("many", [list, tuple, lambda items: dict(enumerate(items))])
def test_what_is_of_opcodes_is_small(many: Any) -> None:
    """Or it would not be handed to the file in one piece."""
    assert opcodes_alone.is_of_opcodes(many(range(30)))
    assert not opcodes_alone.is_of_opcodes(many(range(70)))


def test_the_notes_on_a_wrapping_are_cut_where_they_are_all_there() -> None:
    """As a pickler adds them from Python 3.14 on, from the inside out; ours is the last."""
    way = ["when serializing Stuck object", "when serializing tuple item 0"]
    wrapping = [f"when serializing {step}" for step in notes.OF_PARTIAL]
    ours = "weakreduce: what cannot be pickled is args[0]"
    for before, after in (
        ([*way, *wrapping, ours], [*way, ours]),
        ([*way, *wrapping], way),
        ([*way, wrapping[0], wrapping[2], ours], [*way, wrapping[0], wrapping[2], ours]),
        ([wrapping[2], ours], [wrapping[2], ours]),
        ([ours], [ours]),
    ):
        error = ValueError()
        for note in before:
            error.add_note(note)
        notes.cut(error, notes.OF_PARTIAL)
        assert error.__notes__ == after


@pytest.mark.parametrize(("module", "name"), list(tasks._WRAPPINGS))
def test_a_wrapping_of_another_version_is_an_object_like_any(module: str, name: str) -> None:
    wrapping = type(name, (), {"__module__": f"{module}.elsewhere"})()
    assert tasks.given_in(wrapping) == ()
