"""Ray's ``multiprocessing.Pool``, run for real: the policy of the call counts for every item."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cargo
import pytest
from engines import ray_cluster

import weakreduce

pytestmark = pytest.mark.needs("ray")

ITEMS = 7  # more than a chunk for each worker


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    with ray_cluster():
        from ray.util.multiprocessing import Pool

        workers = Pool(2)
        yield workers
        workers.terminate()
        workers.join()


def targets_and_references() -> tuple[list[Any], list[Any]]:
    targets = [cargo.Target() for _ in range(ITEMS)]
    return targets, [weakref.ref(target) for target in targets]


WAYS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "imap": lambda pool, weak: pool.imap(cargo.dead, weak),
    "imap, chunks": lambda pool, weak: pool.imap(cargo.dead, tuple(weak), 2),
    "imap, one deep": lambda pool, weak: pool.imap(
        lambda pair: pair["it"]() is None, [{"it": item} for item in weak]
    ),
    "imap_unordered": lambda pool, weak: pool.imap_unordered(cargo.dead, weak),
    "imap_unordered, chunks": lambda pool, weak: pool.imap_unordered(cargo.dead, weak, 3),
    "map": lambda pool, weak: pool.map(cargo.dead, weak),
    "map, an iterator": lambda pool, weak: pool.map(cargo.dead, iter(weak)),
    "map_async": lambda pool, weak: pool.map_async(cargo.dead, weak).get(),
    "starmap": lambda pool, weak: pool.starmap(cargo.dead, [(item,) for item in weak]),
    "starmap_async": lambda pool, weak: pool.starmap_async(
        cargo.dead, [(item,) for item in weak]
    ).get(),
    "apply": lambda pool, weak: [pool.apply(cargo.dead, (item,)) for item in weak],
    "apply_async": lambda pool, weak: [
        found.get() for found in [pool.apply_async(cargo.dead, (), {"weak": w}) for w in weak]
    ],
}


@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("way", WAYS)
def test_the_policy_of_the_call_counts_for_all_items(pool: Any, way: str, policy: str) -> None:
    targets, references = targets_and_references()
    with weakreduce.policy(policy):
        results = WAYS[way](pool, references)
    del targets, references
    gc.collect()
    with weakreduce.policy("strict"):
        assert list(results) == [policy == "dangle"] * ITEMS


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_is_raised_by_the_call(pool: Any, way: str) -> None:
    _targets, references = targets_and_references()
    with (
        weakreduce.policy("strict"),
        pytest.raises(weakreduce.WeakrefPicklingError, match=r"^(args|kwargs).*Target \(outside"),
    ):
        WAYS[way](pool, references)


def test_the_last_item_is_refused_by_the_call(pool: Any) -> None:
    target = cargo.Target()
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        pool.imap(cargo.dead, [weakref.ref(cargo.Target)] * 20 + [weakref.ref(target)])


@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_items_of_a_generator_go_under_the_policy_of_the_call(
    pool: Any, way: str, policy: str
) -> None:
    targets, references = targets_and_references()
    made = []

    def items() -> Iterator[Any]:
        for reference in references:
            made.append(weakreduce.get_policy())
            yield reference

    with weakreduce.policy(policy):
        right = weakreduce.get_policy()
        results = getattr(pool, way)(cargo.dead, items())
        assert len(made) < ITEMS  # the others come into being when results are taken
    assert list(results) == [policy == "dangle"] * ITEMS
    assert made == [right] * ITEMS
    assert targets


def test_a_function_that_holds_a_weak_thing(pool: Any) -> None:
    target = cargo.Target()
    weak = weakref.ref(target)
    with weakreduce.policy("dangle"):
        of_a_list = pool.imap(lambda item: weak() is None, list(range(ITEMS)))
        of_a_range = pool.imap(lambda item: weak() is None, range(ITEMS), 1)
    assert list(of_a_list) == list(of_a_range) == [True] * ITEMS


def test_without_weak_things_chunks_are_submitted_as_results_are_taken(pool: Any) -> None:
    results = pool.imap(str, [object()] * ITEMS)
    assert len(results._submitted_chunks) == 2
    assert len(list(results)) == ITEMS


def test_paths_begin_at_the_function_and_its_arguments(pool: Any) -> None:
    load, _target = cargo.load("ref", "outside")
    calls = {
        "args[0].weak": lambda: pool.imap(cargo.look, [load]),
        "args[1].weak": lambda: pool.starmap(cargo.look, [(1, load)]),
        "kwargs['cargo'].weak": lambda: pool.apply(cargo.look, (), {"cargo": load}),
        "func.__closure__[0].cell_contents.weak": lambda: pool.map(lambda item: load, [1]),
    }
    for path, call in calls.items():
        with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError) as raised:
            call()
        assert str(raised.value).startswith(f"{path}: Target (outside"), path


def test_uninstalling_puts_back_what_was_there(pool: Any) -> None:
    from ray.util.multiprocessing import pool as module

    owners = [
        (module.IMapIterator, "__init__"),
        (module.IMapIterator, "_submit_next_chunk"),
        (module.Pool, "_run_batch"),
    ]
    ours = [vars(owner)[name] for owner, name in owners]
    results = pool.imap(cargo.add_one, list(range(ITEMS)))
    weakreduce.uninstall("ray")
    try:
        stock = [vars(owner)[name] for owner, name in owners]
        assert list(results) == list(range(1, ITEMS + 1))
    finally:
        weakreduce.install("ray")
    assert [mine.__wrapped__ for mine in ours] == stock
