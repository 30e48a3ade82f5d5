"""What the user's code takes out of the graph while a dump is under way, after a walk met it.

A link that was promised on it would arrive dead, and nobody would be told.
"""

from __future__ import annotations

import copyreg
import io
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

import weakreduce

HOSTS = ("cloudpickle", "dill", "pickle")


class Referent:
    pass


class Held(Referent):
    """With a state that is more than atoms."""

    def __init__(self) -> None:
        self.more = [Referent()]


class Takes:
    def __init__(self, held: list[Any] | None = None) -> None:
        self.held = [] if held is None else held
        self.taken: list[Any] = []

    def take(self) -> None:
        if self.held:
            self.taken.append(self.held.pop())


class Reduces(Takes):
    def __reduce__(self) -> Any:
        self.take()
        return Reduces, ()


class ByTable(Takes):
    pass


def _by_table(obj: ByTable) -> Any:
    obj.take()
    return ByTable, ()


copyreg.pickle(ByTable, _by_table)

TAKERS = (Reduces, ByTable)
#: Weak things, and what they refer to.
KINDS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "ref": (weakref.ref, lambda ref: ref()),
    "proxy": (weakref.proxy, lambda proxy: proxy.__class__),
    "set": (lambda obj: weakref.WeakSet([obj]), lambda found: next(iter(found), None)),
    "values": (
        lambda obj: weakref.WeakValueDictionary({1: obj}), lambda found: found.get(1)
    ),
    "keys": (
        lambda obj: weakref.WeakKeyDictionary({obj: 1}), lambda found: next(iter(found), None)
    ),
}  # fmt: skip


def graph(taker: Any, made: Any, kind: str) -> tuple[list[Any], Any]:
    """A root of which the second part is emptied by the third, and what was in it."""
    held = [made()]
    return [KINDS[kind][0](held[0]), held, taker(held)], held[0]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("made", [Referent, Held])
@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_taken_out_is_outside(taker: Any, made: Any, kind: str, host: Any) -> None:
    for protocol in (2, 5):
        root, kept = graph(taker, made, kind)
        data = weakreduce.dumps(root, policy="snapshot", host=host, protocol=protocol)
        weak, held, _ = weakreduce.loads(data)
        assert held == []
        assert isinstance(KINDS[kind][1](weak), (made, type))
        assert weakreduce.is_pinned(weak)
        assert kept is not None


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_says_of_it(kind: str) -> None:
    root, kept = graph(Reduces, Held, kind)
    with pytest.raises(weakreduce.WeakrefPicklingError, match="outside"):
        weakreduce.dumps(root, policy="strict")
    root, kept = graph(Reduces, Held, kind)
    weakreduce.loads(weakreduce.dumps(root, policy="dangle"))  # asked for: no warning
    assert kept is not None


def test_what_hangs_on_it_is_outside_too() -> None:
    held = Held()
    inner = weakref.ref(held.more[0])
    listed = [held]
    data = weakreduce.dumps([inner, weakref.ref(held), listed, Reduces(listed)])
    copy, holder, emptied, _ = weakreduce.loads(data)
    assert emptied == []
    assert holder().more[0] is copy()
    del holder
    assert weakreduce.is_pinned(copy)
    assert type(copy()) is Referent


def test_what_stays_by_another_way_is_a_link() -> None:
    root, kept = graph(Reduces, Held, "ref")
    weak, _, _, copy = weakreduce.loads(weakreduce.dumps([*root, kept]))
    assert weak() is copy
    assert not weakreduce.is_pinned(weak)


class Pipe(io.RawIOBase):
    """A file that takes what is written, and nothing else."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self.parts.append(bytes(part))
        return len(part)


def test_to_a_file_that_takes_nothing_back() -> None:
    root, kept = graph(Reduces, Held, "ref")
    pipe = Pipe()
    weakreduce.dump(root, pipe)
    weak, held, _ = weakreduce.loads(b"".join(pipe.parts))
    assert (type(weak()), held) == (Held, [])
    assert kept is not None


class Counts(cloudpickle.Pickler):  # type: ignore[misc]
    """Counts how often an object is asked about: once in each walk."""

    count = 0

    def reducer_override(self, obj: Any) -> Any:
        self.count += type(obj) is Takes
        return super().reducer_override(obj)


@pytest.mark.parametrize(("taker", "walks"), [(Takes, 2), (Reduces, 4)])
def test_walks_begin_anew_where_something_was_taken_alone(taker: Any, walks: int) -> None:
    """Of a payload with code of the user's, too: here what answers without taking."""
    held = [Held()]

    def callback(_: Any) -> None: ...

    method = weakref.WeakMethod(Bound.by_value().method, callback)
    root = [weakref.ref(held[0]), held, taker(held), Takes(), Reduces(), method, method()]
    pickler = Counts(io.BytesIO())
    pickler.dump(root)
    assert pickler.count - (taker is Takes) * walks == walks


class Bound:
    kept: Any = None

    @classmethod
    def by_value(cls) -> Any:
        class Local:
            def method(self) -> None: ...

        cls.kept = Local()
        return cls.kept
