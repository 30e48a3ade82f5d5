"""Weak containers that hold each other, or themselves, and are met weakly before all else."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import pytest

import weakreduce

HOSTS = ("cloudpickle", "dill", "pickle")


class Members(weakref.WeakSet[Any]):
    __hash__ = object.__hash__


class Notes(weakref.WeakKeyDictionary[Any, Any]):
    __hash__ = object.__hash__  # type: ignore[assignment]


def values() -> list[Any]:
    one: Any = weakref.WeakValueDictionary()
    other: Any = weakref.WeakValueDictionary()
    one["other"], one["itself"], other["one"] = other, one, one
    return [one, other, weakref.ref(one), weakref.proxy(other)]


def members() -> list[Any]:
    one, other = Members(), Members()
    one.add(one)
    one.add(other)
    other.add(one)
    return [one, other, weakref.ref(one), weakref.proxy(other)]


def notes() -> list[Any]:
    one, other = Notes(), Notes()
    one[one], one[other], other[one] = [weakref.ref(other)], [weakref.ref(one)], [1]
    return [one, other, weakref.ref(one), weakref.proxy(other)]


def what_is_held(container: Any) -> list[Any]:
    return list(
        container.values()
        if isinstance(container, dict | weakref.WeakValueDictionary)
        else container
    )


@pytest.mark.parametrize("policy", ["snapshot", "dangle", "strict"])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("make", [values, members, notes])
def test_containers_that_lead_back_to_themselves_arrive_in_every_order(
    make: Any, host: Any, policy: Any
) -> None:
    parts = make()
    for order in itertools.permutations(range(4)):
        root = [(place, parts[place]) for place in order]
        for protocol in (2, 5):
            payload = weakreduce.dumps(root, policy=policy, host=host, protocol=protocol)
            copies = dict(weakreduce.loads(payload, host=host))
            one, other, reference, proxy = (copies[place] for place in range(4))
            assert reference() is one
            assert proxy.__repr__.__self__ is other
            assert {id(held) for held in what_is_held(one)} == {id(one), id(other)}
            assert [id(held) for held in what_is_held(other)] == [id(one)]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("make", [values, members, notes])
def test_a_reference_alone_takes_both_along(make: Any, host: Any) -> None:
    parts = make()
    copy = weakreduce.loads(weakreduce.dumps(parts[2], host=host), host=host)
    assert len(copy()) == 2
    assert id(copy()) in {id(held) for held in what_is_held(copy())}
    with weakreduce.policy("dangle"):
        assert weakreduce.loads(weakreduce.dumps(parts[2], host=host), host=host)() is None


@pytest.mark.parametrize("host", HOSTS)
def test_a_long_chain_of_containers_does_not_recurse(host: Any) -> None:
    chain: list[Any] = [weakref.WeakValueDictionary() for _ in range(3000)]
    for one, following in itertools.pairwise(chain):
        one["next"] = following
    copy = weakreduce.loads(weakreduce.dumps(weakref.ref(chain[0]), host=host), host=host)
    steps, container = 0, copy()
    while "next" in container:
        steps, container = steps + 1, container["next"]
    assert steps == 2999
