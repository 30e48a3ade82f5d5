"""joblib on real processes: late dispatch, arrays in files, failures, hashes.

Its workers import this file, so it does not import loky: joblib carries a copy of its own, and
where both are imported arrays' files are left behind, with weakreduce or without.
"""

from __future__ import annotations

import gc
import json
import pickle
import random
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cargo
import joblib
import numpy as np
import pandas as pd
import programs
import pytest
from joblib import delayed
from joblib.externals.loky import get_reusable_executor
from joblib.hashing import Hasher, NumpyHasher
from joblib.parallel import BatchedCalls
from joblib.pool import PicklingPool

import weakreduce
from weakreduce.engines import submit

BACKENDS = ("loky", "multiprocessing")
BIG = 200_000  # numbers: more bytes than joblib's max_nbytes


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def parallel(backend: str, **settings: Any) -> Any:
    """Two workers, tasks dispatched one by one, most of them from callbacks."""
    settings = {"batch_size": 1, "pre_dispatch": 2, "n_jobs": 2} | settings
    return joblib.Parallel(backend=backend, **settings)


def loads(count: int, kind: str = "ref") -> Iterator[Any]:
    """Tasks that are made late, and whose referents die at once."""
    for _ in range(count):
        yield delayed(cargo.look)(cargo.load(kind, "outside")[0])


def keeping(count: int, kept: list[Any]) -> Iterator[Any]:
    """The same, of referents that live on."""
    for _ in range(count):
        load, target = cargo.load("ref", "outside")
        kept.append(target)
        yield delayed(cargo.look)(load)


# --- Parallel: the policy of the call -----------------------------------------------------


@pytest.mark.parametrize(("policy", "arrives"), [("snapshot", "pinned"), ("dangle", "dead")])
def test_the_block_counts_for_tasks_that_are_dispatched_later(
    backend: str, policy: str, arrives: str
) -> None:
    weakreduce.set_policy("strict")  # what a thread that does not know the block would see
    with weakreduce.policy(policy):
        found = parallel(backend)(keeping(20, []))
    assert found == [arrives] * 20


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_the_block_counts_while_results_are_taken_outside_it(return_as: str) -> None:
    weakreduce.set_policy("strict")
    with weakreduce.policy("dangle"):
        found = parallel("loky", return_as=return_as)(keeping(20, []))
    with weakreduce.policy("forbid"):
        assert list(found) == ["dead"] * 20


def test_the_process_default_counts_outside_a_block(backend: str) -> None:
    weakreduce.set_policy("dangle")
    assert parallel(backend)(keeping(6, [])) == ["dead"] * 6


def test_one_parallel_and_a_block_for_each_call(backend: str) -> None:
    with parallel(backend) as workers:
        for policy, arrives in [("dangle", "dead"), ("snapshot", "pinned")] * 2:
            with weakreduce.policy(policy):
                assert workers(keeping(5, [])) == [arrives] * 5


def test_a_call_that_cannot_begin_leaves_the_policy_of_the_one_that_runs() -> None:
    with weakreduce.policy("dangle"):
        workers = parallel("loky", return_as="generator")
        found = workers(keeping(20, []))
    with weakreduce.policy("strict"), pytest.raises(RuntimeError, match="already running"):
        workers(keeping(1, []))
    assert list(found) == ["dead"] * 20


def test_what_generates_the_tasks_sees_the_block_too(backend: str) -> None:
    seen = []

    def tasks() -> Iterator[Any]:
        for _ in range(10):
            seen.append((weakreduce.get_policy().outside, threading.current_thread().name))
            # A task that was done when its callback is added calls that in the main thread.
            yield delayed(time.sleep)(0.05)

    with weakreduce.policy("dangle"):
        assert parallel(backend)(tasks()) == [None] * 10
    assert {policy for policy, _ in seen} == {"dangle"}
    assert len({thread for _, thread in seen}) > 1  # some were dispatched late


def test_referents_that_die_after_they_were_generated_arrive(backend: str) -> None:
    """A batch that waits in a queue holds its payload."""
    tasks = [delayed(cargo.look)(cargo.load("ref", "inside")[0]) for _ in range(8)]
    assert parallel(backend, pre_dispatch="all")(tasks) == ["link"] * 8


def inner(load: Any) -> list[str]:
    """A task that calls Parallel itself."""
    return joblib.Parallel(n_jobs=2)([delayed(cargo.look)(load)])  # type: ignore[no-any-return]


def test_nested_calls(backend: str) -> None:
    load, _target = cargo.load("WeakSet", "outside")
    with weakreduce.policy("dangle"):
        assert parallel(backend)([delayed(inner)(load)] * 2) == [["dead"]] * 2


@pytest.mark.parametrize("settings", [{"n_jobs": 1}, {"n_jobs": 2, "backend": "threading"}])
def test_nothing_is_pickled_where_no_process_is(settings: Any) -> None:
    weakreduce.set_policy("forbid")
    target = cargo.Target()
    weak = weakref.ref(target)
    found = joblib.Parallel(**settings)([delayed(lambda held: held)(weak)] * 3)
    assert [item is weak for item in found] == [True] * 3


# --- Parallel: failures -------------------------------------------------------------------


def mixed(bad: Any, at: int) -> Iterator[Any]:
    """Good tasks, and a bad one that is dispatched late."""
    for number in range(20):
        yield delayed(cargo.look)(bad) if number == at else delayed(cargo.add)(number, 1)


@pytest.mark.parametrize("at", [0, 15])
def test_a_refused_task_raises_out_of_the_call(backend: str, at: int) -> None:
    load, _target = cargo.load("ref", "outside")
    with (
        weakreduce.policy("strict"),
        pytest.raises(weakreduce.WeakrefPicklingError, match=r"Target \(outside"),
    ):
        parallel(backend)(mixed(load, at))
    assert parallel(backend)(loads(4)) == ["dead"] * 4  # of dead referents


@pytest.mark.parametrize("at", [0, 15])
def test_a_refused_task_leaves_a_parallel_that_is_reused_usable(backend: str, at: int) -> None:
    load, _target = cargo.load("ref", "outside")
    with parallel(backend) as workers:
        with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
            workers(mixed(load, at))
        assert workers([delayed(cargo.look)(load)] * 3) == ["pinned"] * 3


def test_a_refused_task_raises_out_of_a_generator() -> None:
    load, _target = cargo.load("ref", "outside")
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        list(parallel("loky", return_as="generator_unordered")(mixed(load, 15)))
    assert parallel("loky")([delayed(cargo.add)(1, 2)]) == [3]


@pytest.mark.parametrize("at", [0, 15])
def test_a_task_that_cannot_be_pickled_raises(backend: str, at: int) -> None:
    with pytest.raises(Exception, match="pickle"):
        parallel(backend)(mixed(cargo.stuck(), at))
    assert parallel(backend)([delayed(cargo.add)(1, 2)]) == [3]


def failure_of(backend: str) -> tuple[Any, str]:
    with pytest.raises(Exception) as raised:
        parallel(backend)([delayed(cargo.look)(item for item in ())])
    return type(raised.value), str(raised.value)


def test_a_task_without_weak_things_fails_as_ever(backend: str) -> None:
    ours = failure_of(backend)
    weakreduce.uninstall()
    try:
        assert failure_of(backend) == ours
    finally:
        weakreduce.install()


def test_nothing_of_a_payload_is_kept_alive(backend: str) -> None:
    load, target = cargo.load("ref", "outside")
    gone = weakref.ref(target)
    workers = parallel(backend)
    assert workers([delayed(cargo.look)(load)] * 3) == ["pinned"] * 3
    del load, target
    gc.collect()
    assert gone() is None


# --- Parallel: arrays in files ------------------------------------------------------------


def total(array: Any, weak: Any = None) -> tuple[str, float, Any]:
    """What arrived of an array, and of a weak thing's referent."""
    return type(array).__name__, float(array.sum()), weak and weak().name


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder for arrays: workers that are reused stay with the folder that they began with."""
    get_reusable_executor().shutdown(wait=True, kill_workers=True)
    return tmp_path


def emptied(folder: Path) -> bool:
    """Whether the files go once the workers have let go of them."""
    for _ in range(100):
        gc.collect()
        if not files(folder):
            return True
        # A worker that idles may still hold the last array that it had.
        parallel("loky")([delayed(gc.collect)()] * 4)
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_a_large_array_beside_a_weak_thing_is_mapped(backend: str, place: str, fresh: Path) -> None:
    array, target = np.ones(BIG), cargo.Target("near")
    tasks = [
        delayed(total)(array, weakref.ref(target)),
        *[delayed(total)(array)] * 2,
    ]
    if place == "inside":
        tasks = [(function, arguments, {}) for function, arguments, _ in tasks]
        tasks[0] = delayed(total_of)([array, weakref.ref(target), target])
    found = parallel(backend, temp_folder=fresh)(tasks)
    assert found == [("memmap", BIG, "near"), *[("memmap", BIG, None)] * 2]
    assert emptied(fresh)


def total_of(parts: Any) -> tuple[str, float, Any]:
    return total(*parts[:2])


def total_in(holder: cargo.Target) -> tuple[str, float, Any]:
    return total(holder.array)  # type: ignore[attr-defined]


@pytest.mark.parametrize("held", [False, True])
def test_a_task_past_the_limit_leaves_no_file(
    held: bool, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are thrown away, and the feeding thread asks the reducers again."""
    monkeypatch.setattr(submit, "WAITING_LIMIT", 0)
    array, holder = np.ones(BIG), cargo.Target()
    holder.array = array  # type: ignore[attr-defined]
    holder.small = np.ones(3)  # type: ignore[attr-defined] # for which there is no file
    task = delayed(total_in)(holder) if held else delayed(total)(array)
    found = parallel("loky", temp_folder=fresh)([task] * 6)
    assert found == [("memmap", BIG, None)] * 6
    assert emptied(fresh)


def test_a_pool_of_joblibs_without_reducers() -> None:
    """As one that was made by hand; it pickles as the standard library's does."""
    load, _target = cargo.load("ref", "outside")
    with PicklingPool(1) as pool:
        assert pool.apply(cargo.look, (load,)) == "pinned"
        with weakreduce.policy("dangle"):
            assert pool.apply(cargo.look, (load,)) == "dead"
        pool.close()
        pool.join()


def test_a_task_that_nobody_is_called_back_for_raises(backend: str) -> None:
    """Whoever submits one by hand has no other way to hear of it."""
    load, _target = cargo.load("ref", "outside")
    with joblib.Parallel(2, backend=backend) as jobs:
        batch = BatchedCalls([delayed(cargo.look)(load)], jobs._backend.get_nested_backend())
        with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
            jobs._backend.submit(batch)
        assert jobs([delayed(abs)(-1)] * 2) == [1, 1]


def test_calls_in_threads_keep_their_arrays_apart(fresh: Path) -> None:
    """They share the workers, and each has a folder of its own."""
    found: dict[int, Any] = {}

    def call(number: int) -> None:
        target = cargo.Target(str(number))
        tasks = [
            delayed(total)(np.full(BIG, number * 10 + task), weakref.ref(target))
            for task in range(8)
        ]
        found[number] = parallel("loky", temp_folder=fresh)(tasks)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {
        number: [("memmap", (number * 10 + task) * BIG, str(number)) for task in range(8)]
        for number in range(4)
    }
    assert emptied(fresh)


def test_the_pickler_of_joblib_pools_knows_sizes(fresh: Path) -> None:
    """What is measured by itself leaves no file."""
    small, large = cargo.Target("small"), cargo.Target("large")
    large.array = np.ones(BIG)  # type: ignore[attr-defined]
    with (
        weakreduce.policy(max_snapshot_bytes=10_000),
        pytest.warns(weakreduce.DanglingWarning, match="max_snapshot_bytes"),
    ):
        found = parallel("multiprocessing", temp_folder=fresh)(
            [delayed(names_behind)([weakref.ref(small), weakref.ref(large)])] * 2
        )
    assert found == [["small", None]] * 2


def names_behind(weak: Any) -> list[Any]:
    return [None if reference() is None else reference().name for reference in weak]


# --- arrays and columns of objects --------------------------------------------------------


def net(holder: str, place: str) -> Any:
    """Something that holds an object which knows it, or something outside, weakly."""
    whole, part = cargo.Target("whole"), cargo.Target("part")
    part.whole = weakref.ref(whole if place == "inside" else outside)  # type: ignore[attr-defined]
    array = np.array([part, None], dtype=object)
    if holder == "frame":
        whole.held = pd.DataFrame({"a": array, "b": [1, 2]})  # type: ignore[attr-defined]
    elif holder == "structured":
        whole.held = np.array(  # type: ignore[attr-defined]
            [(1, part)], dtype=[("a", int), ("b", object)]
        )
    else:
        whole.held = array if holder == "array" else [array, part]  # type: ignore[attr-defined]
    return whole


outside = cargo.Target("outside")


def part_of(whole: Any) -> Any:
    """The object in it, wherever it is."""
    held = whole.held
    if isinstance(held, pd.DataFrame):
        return held["a"][0]
    if isinstance(held, list):
        assert held[0][0] is held[1]
        return held[1]
    return held["b"][0] if held.dtype.names else held[0]


def name_behind(whole: Any) -> Any:
    """Who the object in it knows: the copy of the whole is ``link``."""
    known = part_of(whole).whole()
    return "link" if known is whole else known and known.name


def same_net(whole: Any) -> Any:
    return whole


@pytest.mark.parametrize("holder", ["array", "list", "frame", "structured"])
def test_arrays_of_objects_travel_as_lists_do(backend: str, holder: str) -> None:
    inner, outer = net(holder, "inside"), net(holder, "outside")
    tasks = [delayed(name_behind)(inner), delayed(name_behind)(outer)]
    assert parallel(backend)(tasks) == ["link", "outside"]
    with weakreduce.policy("dangle"):
        assert parallel(backend)(tasks) == ["link", None]
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        # Alone: a call that is ended while another task waits is a race in loky itself.
        parallel(backend)(tasks[1:])
    results = parallel(backend)([delayed(same_net)(inner), delayed(same_net)(outer)])
    assert [name_behind(result) for result in results] == ["link", "outside"]


def test_an_array_of_objects_without_weak_things_arrives(backend: str) -> None:
    array = np.array([[cargo.Target("a"), "b"], [None, 1]], dtype=object)
    (found,) = parallel(backend)([delayed(same_net)(array)])
    assert (found.shape, found[0, 0].name, found[0, 1]) == ((2, 2), "a", "b")


# --- loky: exceptions that cannot be pickled: see also test_loky.py ----------------------------


def test_parallel_reports_it_too() -> None:
    with pytest.raises(pickle.PicklingError, match=r"CargoError(.|\n)*generator"):
        joblib.Parallel(2)([delayed(cargo.fail_stuck)(weakref.ref(cargo.Target))])


# --- hashes -------------------------------------------------------------------------------


class Node:
    """A referent of some content."""

    def __init__(self, name: Any, **attributes: Any) -> None:
        self.name = name
        vars(self).update(attributes)

    def method(self) -> Any:
        return self.name


def other_called(reference: Any) -> None:
    """Another callback."""


def of(kind: str, name: str) -> tuple[Any, Any]:
    """A weak thing of a kind, and its referent."""
    target = cargo.KINDS[kind].target(name)
    weak = cargo.KINDS[kind].make(target)
    if kind == "finalize":
        weak.atexit = False
    return weak, target


@pytest.mark.parametrize("kind", cargo.KINDS)
def test_what_is_behind_counts(kind: str) -> None:
    (one, _1), (alike, _2), (other, _3), (dead, target) = (
        of(kind, name) for name in ("a", "a", "b", "a")
    )
    del target
    gc.collect()
    hashes = [joblib.hash({"key": [weak]}) for weak in (one, alike, other, dead)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    dead_other, _ = of(kind, "b")
    del _
    gc.collect()
    assert joblib.hash({"key": [dead_other]}) == hashes[3]


@pytest.mark.parametrize("kind", cargo.KINDS)
@pytest.mark.parametrize("policy", ["dangle", "strict", "forbid"])
def test_the_policy_does_not_count(kind: str, policy: str) -> None:
    weak, _target = of(kind, "a")
    before = joblib.hash(weak)
    with weakreduce.policy(policy, callbacks="drop", rules=((cargo.Target, "dangle"),)):
        assert joblib.hash(weak) == before


@pytest.mark.parametrize("kind", sorted(set(cargo.KINDS) - {"finalize"}))
def test_a_copy_that_travelled_hashes_like_the_original(kind: str) -> None:
    """A pin is how it travelled, not what it is."""
    weak, _target = of(kind, "a")
    assert joblib.hash(weakreduce.loads(weakreduce.dumps(weak))) == joblib.hash(weak)


def test_callbacks_attributes_and_values_count() -> None:
    target, other = Node("a"), Node("b")
    weaks = [
        weakref.ref(target),
        weakref.ref(target, cargo.called),
        weakref.ref(target, other_called),
        weakref.proxy(target, cargo.called),
        weakref.proxy(target),
        cargo.SubRef(target, "one"),
        cargo.SubRef(target, "two"),
        weakref.WeakMethod(target.method),
        weakref.WeakKeyDictionary({target: 1}),
        weakref.WeakKeyDictionary({target: 2}),
        weakref.WeakValueDictionary({1: target}),
        weakref.WeakValueDictionary({2: target}),
        weakref.WeakSet([target]),
        weakref.WeakSet([target, other]),
        weakref.WeakSet(),
        weakref.WeakKeyDictionary(),
        weakref.WeakValueDictionary(),
        target,
    ]
    assert len(set(map(joblib.hash, weaks))) == len(weaks)


class ByIdentity(weakref.ref):  # type: ignore[type-arg]
    def __init__(self, referent: Any) -> None:
        super().__init__(referent)
        self.identity = id(referent)


def by_identity(values: list[Any]) -> Any:
    return weakref.WeakValueDictionary({id(value): value for value in values})


@pytest.mark.parametrize("make", [by_identity, lambda values: [ByIdentity(v) for v in values]])
def test_identities_do_not_count(make: Any) -> None:
    kept = [[Node(name) for name in "abc"] for _ in range(2)]
    one, two = (joblib.hash(make(values)) for values in kept)
    assert one == two
    assert one == joblib.hash(make(kept[0]))
    assert one != joblib.hash(make(kept[0][1:]))


def test_which_of_two_alike_it_points_at_counts() -> None:
    def pointing(at: int, make: Any) -> Any:
        both = [Node("same"), Node("same")]
        return [make(both[at]), both]

    for make in (weakref.ref, weakref.proxy, lambda target: weakref.WeakSet([target])):
        hashes = [{joblib.hash(pointing(at, make)) for _ in range(10)} for at in (0, 1)]
        assert len(hashes[0]) == len(hashes[1]) == 1
        assert hashes[0] != hashes[1]


def test_one_weak_thing_twice_is_not_two() -> None:
    target = cargo.Target()
    weak = weakref.ref(target)
    assert joblib.hash([weak, weak]) == joblib.hash([weakref.ref(target), weakref.ref(target)])
    one, two = cargo.SubRef(target, "note"), cargo.SubRef(target, "note")
    assert joblib.hash([one, one]) != joblib.hash([one, two])


def family(names: Any, *, collection: Any = list, up: Any = weakref.ref) -> Node:
    """A parent and its children."""
    parent = Node("parent")
    children = [Node(name, parent=up(parent)) for name in names]
    parent.children = collection(children)  # type: ignore[attr-defined]
    parent.held = children  # type: ignore[attr-defined]
    return parent


def strongly(parent: Node) -> Node:
    return parent


COLLECTIONS = {
    "list": list,
    "set": set,
    "frozenset": frozenset,
    "keys": lambda members: {member: member.name for member in members},
    "WeakSet": weakref.WeakSet,
    "WeakKeyDictionary": lambda members: weakref.WeakKeyDictionary(dict.fromkeys(members, 1)),
    "WeakValueDictionary": lambda members: weakref.WeakValueDictionary(enumerate(members)),
}


@pytest.mark.parametrize("up", [weakref.ref, weakref.proxy, strongly])
@pytest.mark.parametrize("collection", COLLECTIONS)
def test_cycles_through_parents(collection: str, up: Any) -> None:
    if up is strongly and not collection.startswith("Weak"):
        return  # nothing is weak, so it is joblib's alone
    make = COLLECTIONS[collection]
    names = ["a", "b", "b", "c"]
    one = joblib.hash(family(names, collection=make, up=up))
    assert joblib.hash(family(names, collection=make, up=up)) == one
    assert joblib.hash(family(["a", "b", "c", "c"], collection=make, up=up)) != one


def graph(seed: int, order: int) -> Any:
    """A random graph, built and filled in another order each time, of nodes that look alike."""
    shape, mixed = random.Random(seed), random.Random(order)
    count = shape.randint(2, 7)
    nodes: list[Any] = [Node(shape.randint(0, 1)) for _ in range(count)]
    for number in mixed.sample(range(count), count):
        nodes[number].placed = None
    for node in nodes:
        node.near = weakref.ref(shape.choice(nodes))
        for name in ("circle", "group"):
            members = shape.sample(nodes, shape.randint(0, count))
            mixed.shuffle(members)
            setattr(node, name, weakref.WeakSet(members) if name == "circle" else set(members))
    held = [node for node in nodes if shape.random() < 0.3]
    return nodes, [held, weakref.WeakSet(mixed.sample(nodes, count))]


def test_the_order_of_members_does_not_count() -> None:
    found: dict[int, set[str]] = {}
    for seed in range(60):
        for order in range(4):
            nodes, root = graph(seed, order)
            found.setdefault(seed, set()).add(joblib.hash(root))
            del nodes
    assert {seed: len(hashes) for seed, hashes in found.items() if len(hashes) > 1} == {}


def test_members_that_differ_only_behind_their_own_weak_references() -> None:
    def chained(names: str) -> Any:
        """Members that look alike, each pointing at another thing."""
        things = [Node(name) for name in names]
        members = [Node("member", points=weakref.ref(thing)) for thing in things]
        random.shuffle(members)
        return things, members, weakref.WeakSet(members)

    kept = [chained(names) for names in ("abcd", "dcba", "abcc")]
    one, same, other = (joblib.hash(members) for *_, members in kept)
    assert one == same
    assert one != other


def test_members_that_another_collection_tells_apart() -> None:
    def told_apart(first: int) -> Any:
        both = [Node("same"), Node("same")]
        random.shuffle(both)
        return both, [weakref.WeakSet(both), weakref.WeakSet(both[:first])]

    kept = [told_apart(1) for _ in range(20)]
    assert len({joblib.hash(root) for _, root in kept}) == 1
    assert joblib.hash(told_apart(2)[1]) != joblib.hash(kept[0][1])


def test_members_that_share_what_they_point_at() -> None:
    """What is behind that counts for each of them, however often it is come to."""

    def sharing(end: str) -> Any:
        last = Node(end)
        hub = Node("hub", points=weakref.ref(last))
        members = [Node("member", points=weakref.ref(hub)) for _ in range(4)]
        return last, hub, members, weakref.WeakSet(members)

    kept = [sharing(end) for end in ("a", "a", "b")]
    one, same, other = (joblib.hash(members) for *_, members in kept)
    assert one == same
    assert one != other


def test_a_long_chain() -> None:
    nodes = [Node(number) for number in range(20_000)]
    for node, following in zip(nodes, nodes[1:]):
        node.following = weakref.ref(following)  # type: ignore[attr-defined]
    before = joblib.hash(nodes[0])
    nodes[-1].name = "changed"
    assert joblib.hash(nodes[0]) != before


def test_arrays_behind_weak_references() -> None:
    arrays = [np.zeros(5), np.zeros(5), np.ones(5)]
    hashes = [joblib.hash(weakref.ref(array)) for array in arrays]
    assert hashes[0] == hashes[1] != hashes[2]
    sets = [joblib.hash([{"x": weakref.ref(array)}, {(1, 2.5), ("a", None)}]) for array in arrays]
    assert sets[0] == sets[1] != sets[2]


def test_a_mapped_array_behind_a_weak_reference(tmp_path: Path) -> None:
    array = np.arange(10.0)
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    assert joblib.hash(weakref.ref(mapped)) != joblib.hash(weakref.ref(array))
    assert joblib.hash(weakref.ref(mapped), coerce_mmap=True) == joblib.hash(weakref.ref(array))


IN_A_PROCESS = """
import json, sys, weakref
import joblib, cargo, test_joblib
found = {kind: joblib.hash(test_joblib.of(kind, "a")[0]) for kind in cargo.KINDS}
kept = {kind: test_joblib.of(kind, "a") for kind in cargo.KINDS}
found |= {kind + " alive": joblib.hash(weak) for kind, (weak, _) in kept.items()}
names = ["b", "a", "a", "c", "e", "d"]
for name, make in test_joblib.COLLECTIONS.items():
    found[name] = joblib.hash(test_joblib.family(names, collection=make))
for seed in range(20):
    nodes, root = test_joblib.graph(seed, int(sys.argv[1]))
    found[str(seed)] = joblib.hash(root)
print(json.dumps(found))
"""


def run(folder: Path, code: str, *arguments: str, **variables: str) -> str:
    """What a program prints, run from a file of its own: joblib reads the source of functions."""
    return programs.run(code, *arguments, file=folder / "program.py", **variables)


START_METHOD = """
import warnings
import cargo, joblib, weakreduce
warnings.filterwarnings("ignore", "This process .* is multi-threaded")  # numpy has threads
if __name__ == "__main__":
    load, target = cargo.load("ref", "outside")
    parallel = joblib.Parallel(2, backend="multiprocessing")
    print(parallel(joblib.delayed(cargo.look)(load) for _ in range(2)))
    inside = cargo.load("ref", "inside")[0]
    print([cargo.look(found) for found in parallel(
        joblib.delayed(cargo.give)("WeakSet", "inside", inside) for _ in range(2))])
    with weakreduce.policy("dangle"):
        print(parallel(joblib.delayed(cargo.look)(load) for _ in range(2)))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_its_own_multiprocessing_by_each_start_method(tmp_path: Path, method: str) -> None:
    said = run(tmp_path, START_METHOD, JOBLIB_START_METHOD=method)
    assert said.splitlines() == ["['pinned', 'pinned']", "['link', 'link']", "['dead', 'dead']"]


@pytest.mark.parametrize("first", ["dill", "weakreduce"])
def test_hashes_count_what_is_behind_whatever_is_imported_first(tmp_path: Path, first: str) -> None:
    """dill adds savers to the pickler that joblib copies its own from."""
    code = f"""
import {first}, joblib, weakref
import weakreduce, test_joblib
a, b = test_joblib.Node("a"), test_joblib.Node("b")
things = [weakref.ref(a), weakref.ref(b), weakref.ref(a, test_joblib.other_called),
          weakref.proxy(a), weakref.proxy(b), weakref.WeakSet([a]), weakref.WeakSet([b])]
print(len({{joblib.hash(thing) for thing in things}}), len(things))
weakreduce.uninstall()
print(any(weakref.ref in vars(cls).get("dispatch", ()) for cls in joblib.hashing.Hasher.__mro__))
"""
    assert run(tmp_path, code).split() == ["7", "7", str(first == "dill")]


def test_hashes_are_the_same_in_every_process(tmp_path: Path) -> None:
    found = [
        json.loads(run(tmp_path, IN_A_PROCESS, seed, PYTHONHASHSEED=seed))
        for seed in ("0", "1", "77")
    ]
    assert found[0] == found[1] == found[2]


# What the objects of the next test are made of.
class Slotted:
    __slots__ = ("one",)

    def __init__(self) -> None:
        self.one = 1


class Meta(type):
    """A class of classes."""


class WithMeta(metaclass=Meta):
    """An instance of it."""


def plain_objects(folder: Path) -> list[Any]:
    np.save(folder / "array.npy", np.arange(10.0))
    shared = [1, 2]
    return [
        None, 1, "text", b"bytes", 2.5, (), [shared, shared], {"a": 1, 2: 3}, {1, 2, "a"},
        {("a", 1), None}, Node("a", other=Node("b")), Node, Meta, WithMeta, WithMeta(), Slotted(),
        cargo.add, Node("a").method, len, [].append, np.arange(6).reshape(2, 3).T,
        np.load(folder / "array.npy", mmap_mode="r"), np.dtype("f4"), np.float64(1.5),
        np.array([Node("a"), None]), np.array(3), np.arange("2001-01", "2001-03", dtype="M8[D]"),
        random.Random(3), {Node("a"): 1}, {Slotted(): 1, "a": 2}, bytearray(b"a"),
        joblib.Memory(None),
    ]  # fmt: skip


def hashes_of(objects: list[Any]) -> list[Any]:
    found: list[Any] = []
    for obj in objects:
        for name in ("md5", "sha1"):
            found += [joblib.hash(obj, hash_name=name, coerce_mmap=mapped) for mapped in (0, 1)]
            found.append(Hasher(name).hash(obj) if not isinstance(obj, np.generic) else None)
    hasher = NumpyHasher()
    return [*found, hasher.hash(objects[0], False), hasher.hash(objects[10]), hasher.hash([1])]


def test_hashes_without_weak_things_are_bit_for_bit_what_they_were(tmp_path: Path) -> None:
    objects = plain_objects(tmp_path)
    ours = hashes_of(objects)
    weakreduce.uninstall()
    try:
        assert "dispatch_table" not in vars(Hasher)
        assert not hasattr(Hasher.hash, "__wrapped__")
        assert hashes_of(objects) == ours
    finally:
        weakreduce.install()


def error_of(obj: Any) -> tuple[Any, str]:
    with pytest.raises(Exception) as raised:
        joblib.hash(obj)
    return type(raised.value), str(raised.value)


def test_errors_without_weak_things_are_what_they_were() -> None:
    objects = [(item for item in ()), [sys._getframe()], {"a": memoryview(b"")}]
    ours = [error_of(obj) for obj in objects]
    weakreduce.uninstall()
    try:
        assert [error_of(obj) for obj in objects] == ours
    finally:
        weakreduce.install()


def test_one_hasher_for_weak_things_and_others() -> None:
    target, hasher = Node("a"), NumpyHasher()
    first = hasher.hash(weakref.ref(target))
    assert first == joblib.hash(weakref.ref(target))
    assert len(hasher.memo) == 0
    assert hasher.stream.getvalue() == b""
    assert NumpyHasher().hash(weakref.ref(target), return_digest=False) is None


class Wrapping(Hasher):  # type: ignore[misc, unused-ignore]
    """Raises an error of its own in the place of whatever ends it."""

    def save(self, obj: Any) -> None:
        try:
            super().save(obj)
        except BaseException as error:
            raise ValueError("wrapped") from error


def test_a_hasher_that_raises_errors_of_its_own() -> None:
    """What we tell it by, that there is a weak thing, is found behind them; and it hashes on."""
    node = Node("it")
    roots: list[Any] = [[weakref.ref(node)], [weakref.WeakSet([node, Node])], [1, "a"]]
    for root in roots:
        assert Wrapping("md5").hash(root) == Hasher("md5").hash(root)
    with pytest.raises(ValueError, match="wrapped"):
        Wrapping("md5").hash([iter(i for i in ())])  # functions dill may have taught pickle


def test_a_hash_asked_for_by_the_objects_own_code() -> None:
    target = cargo.Target("a")
    assert joblib.hash([Asking(target), weakref.ref(target)]) == joblib.hash(
        [Asking(target), weakref.ref(target)]
    )


class Asking:
    """Its state holds a hash."""

    def __init__(self, target: Any) -> None:
        self.weak = weakref.ref(target)

    def __getstate__(self) -> Any:
        return joblib.hash({self.weak, "a", 1})


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda node: {"key": [weakref.ref(node)]}, r"root\['key'\]\[0\]\(\)\.held: generator"),
        (lambda node: weakref.WeakSet([node]), r"root\[<Node>\]\.held: generator"),
        (lambda node: weakref.WeakSet([node, KEPT]), r"root\[<Node>\]\.held: generator"),
        (lambda node: weakref.WeakValueDictionary(a=node), r"root\['a'\]\.held: generator"),
        (lambda node: [weakref.ref(node), node], r"root\[1\]\.held: generator"),
    ],
)
def test_what_cannot_be_pickled_says_where_it_is(make: Any, path: str) -> None:
    node = Node("a", held=(item for item in ()))
    weak = make(node)
    with pytest.raises(pickle.PicklingError, match=path) as raised:
        joblib.hash(weak)
    assert not isinstance(raised.value, TypeError)
    assert isinstance(raised.value.__cause__, TypeError)


KEPT = Node("b")


def test_nothing_that_was_hashed_is_kept_alive() -> None:
    target = Node("a")
    target.me = weakref.WeakSet([target])  # type: ignore[attr-defined]
    gone = weakref.ref(target)
    joblib.hash([weakref.ref(target), {target, Node("b")}])
    gc.disable()
    try:
        del target
        assert gone() is None
    finally:
        gc.enable()


MEMORY = """
import sys, weakref
if sys.argv[2] == "ours":
    import weakreduce
import joblib

class Target:
    def __init__(self, name):
        self.name = name

class Leaf:
    def __init__(self, parent):
        self.parent = weakref.ref(parent)

def name(argument):
    return argument["leaf"].parent().name

name = joblib.Memory(sys.argv[1], verbose=0).cache(name)
kept = [Target("one"), Target("two"), Target("one")]
print([name({"leaf": Leaf(target), "a": 1}) for target in kept])
"""


def test_memory_gives_the_right_result(tmp_path: Path) -> None:
    """Stock joblib gives the first argument's result for all of them."""
    stock = run(tmp_path, MEMORY, str(tmp_path / "stock"), "stock")
    assert stock == "['one', 'one', 'one']\n"
    for _ in range(2):  # the second run finds all of it in the cache
        assert run(tmp_path, MEMORY, str(tmp_path / "ours"), "ours") == "['one', 'two', 'one']\n"
    assert len(list((tmp_path / "ours").rglob("output.pkl"))) == 2


def test_memory_refuses_what_has_no_hash(tmp_path: Path) -> None:
    cached = joblib.Memory(tmp_path, verbose=0).cache(cargo.same)
    node = Node("a", held=(item for item in ()))
    with pytest.raises(pickle.PicklingError, match="generator cannot be pickled"):
        cached({"weak": weakref.ref(node)}, node)


# --- what joblib is, and what is left of us -----------------------------------------------


def test_uninstall_leaves_nothing() -> None:
    import joblib._dask
    import joblib._parallel_backends
    import joblib.executor
    import joblib.externals.loky.backend.queues
    import joblib.externals.loky.process_executor
    import joblib.numpy_pickle
    import joblib.parallel
    import joblib.pool

    owners = [
        Hasher,
        joblib._dask.DaskDistributedBackend,
        joblib.numpy_pickle.NumpyPickler,
        joblib.numpy_pickle.NumpyArrayWrapper,
        joblib.parallel.Parallel,
        joblib._parallel_backends.LokyBackend,
        joblib._parallel_backends.MultiprocessingBackend,
        joblib.executor.MemmappingExecutor,
        joblib.pool.CustomizablePickler,
        joblib.pool.PicklingPool,
        joblib.externals.loky.backend.queues,
        joblib.externals.loky.backend.queues.SimpleQueue,
    ]
    installed = [dict(vars(owner)) for owner in owners]
    weakreduce.uninstall()
    try:
        stock = [dict(vars(owner)) for owner in owners]
        for owner, ours, left in zip(owners, installed, stock, strict=True):
            assert ours != left, owner
            for name, value in left.items():
                assert not getattr(value, "__module__", "").startswith("weakreduce"), (owner, name)
                assert "weakreduce" not in getattr(
                    getattr(value, "__code__", None), "co_filename", ""
                ), (owner, name)
    finally:
        weakreduce.install()
    assert [dict(vars(owner)).keys() for owner in owners] == [found.keys() for found in installed]


class KeyWithoutRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_a_key_without_a_repr_gets_in_no_hashs_way() -> None:
    """Python 3.14 asks for it where a hash is ended at the first weak thing."""
    targets = [cargo.Target("one"), cargo.Target("other")]
    hashes = {joblib.hash({KeyWithoutRepr(): {1: weakref.ref(target)}}) for target in targets}
    assert len(hashes) == 2
