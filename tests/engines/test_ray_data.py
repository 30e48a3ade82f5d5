"""Ray Data, run for real: the block around the call that takes a function counts."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cargo
import pytest
import ray
from engines import ray_cluster

import weakreduce

pytestmark = [
    # Ray Data's own.
    pytest.mark.filterwarnings("ignore:Use 'expr' instead of 'fn'"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def rows() -> Iterator[Any]:
    with ray_cluster():
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray.data.from_items([{"number": 1}])


def actors() -> dict[str, Any]:
    return {"compute": ray.data.ActorPoolStrategy(size=1), "num_cpus": 0.01}


def batch_of(answer: Any) -> dict[str, list[Any]]:
    return {"dead": [answer]}


def looking(weak: Any) -> Any:
    """A callable class whose methods hold a weak reference."""

    class Looking:
        def __call__(self, batch: Any) -> Any:
            return batch_of(weak() is None)

    return Looking


def async_looking(weak: Any) -> Any:
    class Looking:
        async def __call__(self, batch: Any) -> Any:
            yield batch_of(weak() is None)

    return Looking


class Given:
    """A callable class that is given one."""

    def __init__(self, *weak: Any, **named: Any) -> None:
        self.weak = [*weak, *named.values()]

    def __call__(self, batch: Any, *weak: Any, **named: Any) -> Any:
        (found,) = [*self.weak, *weak, *named.values()]
        return batch_of(found() is None)


class Bag:
    """A callable object that holds one."""

    def __init__(self, weak: Any) -> None:
        self.weak = weak

    def __call__(self, batch: Any) -> Any:
        return batch_of(self.weak() is None)

    def method(self, batch: Any) -> Any:
        return self(batch)


def look(batch: Any, *weak: Any, **named: Any) -> Any:
    (found,) = [*weak, *named.values()]
    return batch_of(found() is None)


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "map_batches": lambda rows, weak: rows.map_batches(lambda batch: batch_of(weak() is None)),
    "map_batches, a generator": lambda rows, weak: rows.map_batches(
        lambda batch: (batch_of(weak() is None) for _ in range(1))
    ),
    "map": lambda rows, weak: rows.map(lambda row: {"dead": weak() is None}),
    "flat_map": lambda rows, weak: rows.flat_map(lambda row: [{"dead": weak() is None}]),
    "filter": lambda rows, weak: rows.map(lambda row: {"dead": True}).filter(
        lambda row: weak() is None
    ),
    "add_column": lambda rows, weak: rows.add_column("dead", lambda batch: weak() is None),
    "map_groups": lambda rows, weak: rows.groupby("number").map_groups(
        lambda group: batch_of(weak() is None)
    ),
    "two, fused": lambda rows, weak: rows.map(lambda row: {"dead": weak() is None}).map(
        lambda row: {"dead": row["dead"] and weak() is None}
    ),
    "fn_args": lambda rows, weak: rows.map_batches(look, fn_args=(weak,)),
    "fn_args, a list": lambda rows, weak: rows.map_batches(look, fn_args=[weak]),
    "fn_kwargs": lambda rows, weak: rows.map_batches(look, fn_kwargs={"self": weak}),
    "fn_kwargs of map": lambda rows, weak: rows.map(
        lambda row, weak: {"dead": weak() is None}, fn_kwargs={"weak": weak}
    ),
    "a callable object": lambda rows, weak: rows.map_batches(Bag(weak)),
    "a method": lambda rows, weak: rows.map_batches(Bag(weak).method),
    "a class": lambda rows, weak: rows.map_batches(looking(weak), **actors()),
    "an asynchronous class": lambda rows, weak: rows.map_batches(async_looking(weak), **actors()),
    "fn_constructor_args": lambda rows, weak: rows.map_batches(
        Given, fn_constructor_args=(weak,), **actors()
    ),
    "fn_constructor_kwargs": lambda rows, weak: rows.map_batches(
        Given, fn_constructor_kwargs={"it": weak}, **actors()
    ),
    "fn_kwargs of a class": lambda rows, weak: rows.map_batches(
        Given, fn_kwargs={"it": weak}, **actors()
    ),
}


POLICIES = ("snapshot", "dangle")


def answers(dataset: Any) -> list[Any]:
    return [bool(row["dead"]) for row in dataset.take_all()]


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_is_raised_by_the_call(rows: Any, way: str) -> None:
    target = cargo.Target()
    with (
        weakreduce.policy("strict"),
        pytest.raises(weakreduce.WeakrefPicklingError, match=r"^fn.*Target \(outside"),
    ):
        WAYS[way](rows, weakref.ref(target))


@pytest.mark.parametrize("of_classes", [False, True], ids=["functions", "classes"])
def test_the_block_around_the_call_counts(rows: Any, of_classes: bool) -> None:
    ways = [way for way in WAYS if ("class" in way or "constructor" in way) == of_classes]
    targets = [cargo.Target() for _ in ways]
    datasets = []
    for way, target in zip(ways, targets, strict=True):
        for policy in POLICIES:
            with weakreduce.policy(policy):
                found = WAYS[way](rows, weakref.ref(target))
            label = f"{way}, {policy}"
            datasets.append(
                found.map(
                    lambda row, label: {"label": label, "dead": bool(row["dead"])},
                    fn_kwargs={"label": label},
                )
            )
    del target
    watched = [weakref.ref(target) for target in targets]
    targets.clear()
    gc.collect()
    assert not any(weak() for weak in watched)
    with weakreduce.policy("strict"):
        first, *others = datasets
        found = {row["label"]: row["dead"] for row in first.union(*others).take_all()}
    right = {f"{way}, {policy}": policy == "dangle" for way in ways for policy in POLICIES}
    right.pop("filter, snapshot", None)  # the row is filtered out
    assert found == right


def test_what_was_pickled_is_opened_by_each_run(rows: Any) -> None:
    target = cargo.Target()
    dataset = WAYS["map"](rows, weakref.ref(target))
    del target
    assert answers(dataset) == answers(dataset) == [False]


def test_a_function_and_its_arguments_stay_together(rows: Any) -> None:
    target = cargo.Target()
    weak = weakref.ref(target)

    def same(batch: Any, one: Any, *, two: Any) -> Any:
        return batch_of(one is weak() and two() is one)

    dataset = rows.map_batches(same, fn_args=(target,), fn_kwargs={"two": weakref.ref(target)})
    assert answers(dataset) == [True]


def test_functions_without_weak_things_are_left_as_they_are(rows: Any) -> None:
    values = [True]

    def function(row: Any, lock: Any) -> Any:
        return {"dead": values[0]}

    arguments = ([1],)
    dataset = rows.map(function, fn_args=arguments)
    operator = dataset._logical_plan.dag
    found = vars(operator)
    assert found.get("fn", found.get("_fn")) is function
    assert found.get("fn_args", found.get("_fn_args")) is arguments
    values[0] = False
    assert answers(dataset) == [False]


def test_a_function_that_cannot_be_pickled_fails_when_it_is_consumed(rows: Any) -> None:
    class Stuck:
        def __reduce__(self) -> Any:
            raise SystemExit("stuck")

    stuck = Stuck()
    rows.map(lambda row: stuck)
    generator = (item for item in ())
    dataset = rows.map(lambda row: generator)
    with pytest.raises(Exception, match="generator"):
        dataset.take_all()


def test_object_refs_come_along_and_are_let_go(rows: Any) -> None:
    target = cargo.Target()
    weak = weakref.ref(target)
    reference = ray.put(5)

    def made(reference: Any) -> Any:
        def function(row: Any, other: Any) -> Any:
            return {"dead": weak() is None and ray.get(reference) == 5 == ray.get(other[0])}

        return function

    with weakreduce.policy("dangle"):
        dataset = rows.map(made(reference), fn_args=([reference],))
    name = reference.hex()
    counts = ray._private.worker.global_worker.core_worker.get_all_reference_counts
    assert answers(dataset) == [True]
    assert bytes.fromhex(name) in {bytes.fromhex(key.decode()) for key in counts()}
    del reference, dataset
    gc.collect()
    assert bytes.fromhex(name) not in {bytes.fromhex(key.decode()) for key in counts()}


def test_the_plan_still_names_the_function(rows: Any) -> None:
    target = cargo.Target()
    weak = weakref.ref(target)

    def my_own_function(row: Any) -> Any:
        return {"dead": weak() is None}

    dataset = rows.map(my_own_function)
    function = getattr(dataset._logical_plan.dag, "fn", None) or dataset._logical_plan.dag._fn
    assert function is not my_own_function
    assert function.__name__ == "my_own_function"
    assert function({})["dead"] is False
    assert "my_own_function" in str(dataset._logical_plan.dag.name)


def test_items(rows: Any) -> None:
    target = cargo.Target()
    with weakreduce.policy("dangle"):
        dead = ray.data.from_items([{"it": weakref.ref(target)}])
    pinned = ray.data.from_items([{"it": weakref.ref(target)}])
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        ray.data.from_items([{"it": weakref.ref(target)}])
    for dataset, right in ((dead, True), (pinned, False)):
        assert answers(dataset.map(lambda row: {"dead": row["it"]() is None})) == [right]


def test_what_is_not_known_takes_bound_functions(rows: Any) -> None:
    target = cargo.Target()
    weak = weakref.ref(target)

    def accumulate(total: Any, row: Any) -> Any:
        return total + (weak() is None)

    aggregate = ray.data.aggregate.AggregateFn(
        init=lambda key: 0,
        accumulate_row=weakreduce.bind(accumulate, "dangle"),
        merge=lambda one, two: one + two,
        name="dead",
    )
    assert rows.aggregate(aggregate) == {"dead": 1}


def test_uninstalling_puts_back_what_was_there(rows: Any) -> None:
    import ray.data.dataset

    ours = ray.data.dataset.Dataset.__init__
    weakreduce.uninstall("ray")
    try:
        stock = ray.data.dataset.Dataset.__init__
    finally:
        weakreduce.install("ray")
    assert ours.__wrapped__ is stock
