"""What is inside, where only a weak thing leads there, or a construction that leads back.

Fate does not depend on the host, nor on what is met first: each graph is sent through each.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest

import weakreduce
from weakreduce.core.reach import Reach

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


# --- what is known of it -------------------------------------------------------------------


def test_what_is_met_is_inside_and_in_the_order_in_which_it_is_met() -> None:
    before, first, second, outside = (Thing() for _ in range(4))
    met = {id(before): before}
    reach = Reach(met, [id(before)])
    assert reach.holds(before)
    assert reach.position(before) == -1
    assert reach.holds(first) is None
    assert reach.position(first) == float("inf")
    met[id(first)] = first
    assert reach.position(first) == 1
    met[id(second)] = second
    assert reach.holds(second) is True
    assert reach.positions() == {id(before): -1, id(first): 1, id(second): 2}
    assert reach.position(outside) == float("inf")


def test_a_reach_is_open_and_in_order_until_it_is_extended() -> None:
    first, second, outside = (Thing() for _ in range(3))
    reach = Reach({id(first): first})
    assert not reach.complete
    assert reach.in_order
    reach.extend({id(second): second}, complete=False)
    assert not reach.in_order
    assert (reach.holds(first), reach.holds(second), reach.holds(outside)) == (True, True, None)
    reach.extend({}, complete=True)
    assert (reach.holds(first), reach.holds(second), reach.holds(outside)) == (True, True, False)
