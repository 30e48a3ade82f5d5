"""What is inside, where only a weak thing leads there, or a construction that leads back.

Fate does not depend on the host, nor on what is met first: each graph is sent through each.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest

import weakreduce

HOSTS = ("cloudpickle", "dill", "pickle")


class Thing:
    pass


class FromHolder:
    def __init__(self, holder: Thing) -> None:
        self.holder = holder

    def __reduce__(self) -> Any:
        return FromHolder, (self.holder,), {"part": self.part}  # type: ignore[attr-defined]


def made(cls: Any) -> Any:
    return cls.__new__(cls)


class InTable:
    table: weakref.WeakKeyDictionary[InTable, Any] = weakref.WeakKeyDictionary()

    def __reduce__(self) -> Any:
        return made, (InTable,), self.__dict__


def state_of_what_leads_back() -> tuple[Any, Callable[[Any], Any]]:
    """The construction leads back weakly, and the state holds the referent."""
    holder = Thing()
    one = FromHolder(holder)
    one.part = Thing()  # type: ignore[attr-defined]
    holder.owner = weakref.ref(one)  # type: ignore[attr-defined]
    return [weakref.ref(one.part), one], lambda root: root[1].part  # type: ignore[attr-defined]


def other_half_of_an_entry() -> tuple[Any, Callable[[Any], Any]]:
    """The entry's key is inside, and so is its value."""
    key, value = InTable(), Thing()
    table = weakref.WeakKeyDictionary({key: value})
    return [key, table, weakref.ref(value)], lambda root: root[1][root[0]]


@pytest.mark.parametrize("policy", ["snapshot", "dangle", "strict"])
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("make", [state_of_what_leads_back, other_half_of_an_entry])
def test_what_is_inside_is_a_link(make: Any, host: Any, protocol: int, policy: Any) -> None:
    root, inside = make()
    copy = weakreduce.loads(
        weakreduce.dumps(root, host=host, protocol=protocol, policy=policy), host=host
    )
    (weak,) = [part for part in copy if type(part) is weakref.ref]
    assert weak() is inside(copy)
    assert not weakreduce.is_pinned(weak)


def test_a_recorded_refusal_is_one() -> None:
    thing = Thing()
    thing.frame = (n for n in ())  # type: ignore[attr-defined]
    with weakreduce.policy(unpicklable="raise"), weakreduce.record() as report:
        with pytest.raises(weakreduce.WeakrefPicklingError):
            weakreduce.dumps([weakref.ref(thing)])
    assert [finding.fate for finding in report] == ["refuse"]
