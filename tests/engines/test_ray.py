"""Ray, run for real: functions and classes under every policy, actors, put, and what is left alone.

The ways and kinds are in test_engines.py, where no hook readies the workers; Ray Data is in
test_ray_data.py, Ray's Pool in test_ray_pool.py.
"""

from __future__ import annotations

import concurrent.futures
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import cargo
import pytest
import ray
from engines import PATIENCE, ray_cluster

import weakreduce


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with ray_cluster(worker_process_setup_hook="weakreduce.install"):
        yield


def get(result: Any) -> Any:
    return ray.get(result, timeout=PATIENCE)


def looking() -> tuple[Any, Any]:
    """A remote function whose closure holds a weak reference, and the referent."""
    load, target = cargo.load("ref", "outside")

    def task() -> str:
        # The function is opened once for all its calls, so nothing of it may be taken apart.
        return "dead" if load.weak() is None else "alive"

    return ray.remote(task), target


def counter() -> tuple[Any, Any]:
    """An actor class with a weak reference, and the referent."""
    target = cargo.Target()
    weak = weakref.ref(target)

    class Actor:
        def __init__(self, *arguments: Any) -> None:
            self.arguments = arguments

        def of_the_class(self) -> str:
            return "dead" if weak() is None else "alive"

        def of_the_constructor(self) -> str:
            return cargo.look(self.arguments[0])

        def look(self, load: Any) -> str:
            return cargo.look(load)

        def give(self, kind: str) -> Any:
            return cargo.give(kind, "outside")

        def fail(self, kind: str) -> None:
            cargo.fail(kind, "outside")

    return ray.remote(Actor), target


def test_a_function_goes_under_the_policy_of_each_call() -> None:
    function, _target = looking()
    first = function.remote()
    with weakreduce.policy("dangle"):
        second = function.remote()
        third = function.options(num_cpus=0.5).remote()
    fourth = function.remote()
    assert get([first, second, third, fourth]) == ["alive", "dead", "dead", "alive"]


def test_a_default_counts_too() -> None:
    function, _target = looking()
    assert get(function.remote()) == "alive"
    weakreduce.set_policy("dangle")
    assert get(function.remote()) == "dead"


def test_a_class_goes_under_the_policy_of_each_call() -> None:
    actor, _target = counter()
    found = []
    for policy in ("snapshot", "dangle", "snapshot"):
        with weakreduce.policy(policy):
            found.append(actor.options(num_cpus=0.1).remote())
    assert get([handle.of_the_class.remote() for handle in found]) == ["alive", "dead", "alive"]


@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("kind", list(cargo.KINDS))
def test_put(kind: str, policy: str) -> None:
    load, target = cargo.load(kind, "outside")
    with weakreduce.policy(policy):
        stored = ray.put(load)
    del load, target
    gc.collect()
    right = cargo.expected(kind, "outside", policy)
    assert cargo.look(get(stored)) == right
    assert get(ray.remote(cargo.look).remote(stored)) == right


def test_actors() -> None:
    actor, _target = counter()
    with weakreduce.policy("dangle"):
        load, target = cargo.load("WeakSet", "outside")
        handle = actor.options(num_cpus=0.1).remote(load)
        again, target = cargo.load("proxy", "outside")
        seen = handle.look.remote(again)
        del load, again, target
        assert get(handle.of_the_constructor.remote()) == "dead"
        assert get(seen) == "dead"
    for kind in cargo.KINDS:
        load, target = cargo.load(kind, "outside")
        assert get(handle.look.remote(load)) == cargo.expected(kind, "outside")
        # The worker's own policy counts on the way back.
        right = cargo.expected(kind, "outside")
        assert cargo.look(get(handle.give.remote(kind))) == right
        with pytest.raises(cargo.CargoError) as raised:
            get(handle.fail.remote(kind))
        assert cargo.look(raised.value.cargo) == right


def test_with_the_setup_hook_results_need_no_ticket() -> None:
    # A worker that has seen no weak thing: each task of its own runtime environment has its own.
    fresh = {"env_vars": {"FRESH": "1"}}
    found = get(ray.remote(cargo.give).options(runtime_env=fresh).remote("WeakMethod", "outside"))
    assert cargo.look(found) == "pinned"


def test_a_refusal_is_not_wrapped() -> None:
    function, _target = looking()
    actor, _other = counter()
    unused, _another = counter()
    handle = actor.options(num_cpus=0.1).remote()
    load, _third = cargo.load("ref", "outside")
    calls = (
        function.remote,
        unused.remote,
        lambda: actor.remote(load),
        lambda: handle.look.remote(load),
        lambda: ray.put(load),
        lambda: ray.remote(cargo.look).remote(load),
    )
    with weakreduce.policy("strict"):
        for call in calls:
            with pytest.raises(weakreduce.WeakrefPicklingError, match=r"Target \(outside"):
                call()
    # Nothing is left of it.
    assert get(function.remote()) == "alive"
    assert get(handle.look.remote(load)) == "pinned"
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError):
        function.remote()


def test_the_cause_of_a_refusal_is_kept() -> None:
    target = cargo.Target()
    target.stuck = (item for item in ())  # type: ignore[attr-defined]
    with (
        weakreduce.policy(unpicklable="raise"),
        pytest.raises(weakreduce.WeakrefPicklingError) as raised,
    ):
        ray.put(weakref.ref(target))
    assert isinstance(raised.value.__cause__, TypeError)


def test_paths_begin_at_the_arguments() -> None:
    actor, _target = counter()
    handle = actor.options(num_cpus=0.1).remote()
    load, _other = cargo.load("ref", "outside")
    look = ray.remote(cargo.look)
    looks = ray.remote(cargo.look_at_all)
    calls: dict[str, Any] = {
        "args[0].weak": lambda: look.remote(load),
        "args[1].weak": lambda: looks.remote(1, load),
        "args[1][0].weak": lambda: looks.options(num_cpus=0.5).remote(load.kind, [load]),
        "kwargs['cargo'].weak": lambda: look.remote(cargo=load),
        "kwargs['load']['it'].weak": lambda: handle.look.remote(load={"it": load}),
        "args[2].weak": lambda: ray.remote(cargo.Cargo).remote("ref", 2, load),
        "root.weak": lambda: ray.put(load),
        "root['it'][1].weak": lambda: ray.put({"it": [1, load]}),
        "root[1]": lambda: ray.put([1, load.weak]),
    }
    for path, call in calls.items():
        with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError) as raised:
            call()
        assert str(raised.value).startswith(f"{path}: Target (outside"), path
    # A function is no argument of its own call, though it may hold one.
    with weakreduce.policy("strict"), pytest.raises(weakreduce.WeakrefPicklingError) as raised:
        ray.remote(lambda _load: load).remote(load)
    assert str(raised.value).startswith("root.__closure__[0].cell_contents.weak: Target")


def test_what_a_worker_cannot_send_has_a_path_from_what_the_task_gave() -> None:
    def give() -> Any:
        weakreduce.set_policy("strict")
        return {"found": [cargo.give("ref", "outside")]}

    fresh = {"env_vars": {"FRESH": "2"}}
    with pytest.raises(
        weakreduce.WeakrefPicklingError, match=r"root\['found'\]\[0\]\.weak: Target"
    ):
        get(ray.remote(give).options(runtime_env=fresh).remote())


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, MemoryError, ValueError, OSError])
def test_whatever_a_reducer_raises_is_raised(error: type[BaseException], weak: bool) -> None:
    class Stuck:
        def __reduce__(self) -> Any:
            raise error("stuck")

    stuck = [weakref.ref(cargo.Target), Stuck()] if weak else Stuck()
    for call in (
        lambda: ray.put(stuck),
        lambda: ray.remote(cargo.look).remote(stuck),
        lambda: ray.remote(lambda: stuck).remote(),
    ):
        with pytest.raises(error, match="stuck"):
            call()


def test_other_errors_are_as_they_were() -> None:
    generator = (item for item in ())
    with pytest.raises(TypeError, match="Could not serialize the put value"):
        ray.put(generator)
    with pytest.raises(TypeError, match="Could not serialize the argument"):
        ray.remote(cargo.look).remote(generator)
    with pytest.raises(TypeError, match="Could not serialize the function"):
        ray.remote(lambda: generator).remote()


def test_threads_that_are_first_at_once() -> None:
    policies = ["snapshot", "dangle"] * 4
    for _ in range(5):
        function, _target = looking()

        def send(policy: str, function: Any = function) -> str:
            with weakreduce.policy(policy):
                result = function.remote()
            found: str = get(result)
            return found

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            assert list(threads.map(send, policies)) == ["alive", "dead"] * 4


def exports(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    manager = ray._private.worker.global_worker.function_actor_manager
    stock, found = manager.export, []

    def export(function: Any) -> None:
        found.append(function)
        stock(function)

    monkeypatch.setattr(manager, "export", export)
    return found


def test_a_function_without_weak_things_is_exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    exported = exports(monkeypatch)
    function = ray.remote(cargo.look)
    for policy in ("snapshot", "dangle", "snapshot", "dangle"):
        load, _target = cargo.load("ref", "outside")
        with weakreduce.policy(policy):
            function.remote(load)
    assert exported == [function]


def test_a_function_with_weak_things_is_exported_once_for_each_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exported = exports(monkeypatch)
    function, _target = looking()
    for _ in range(3):
        for policy in ("snapshot", "dangle"):
            with weakreduce.policy(policy):
                function.remote()
    assert len(exported) == 2


def test_policies_made_anew_for_each_call_do_not_pile_up() -> None:
    from weakreduce.engines.per_policy import KEPT, Made

    made = Made()
    for size in range(3 * KEPT):
        with weakreduce.policy(max_snapshot_bytes=size):
            assert made.under_the_policy(lambda size=size: size) == size  # type: ignore[misc]
            assert made.under_the_policy(list) == size
    assert len(made.things) == KEPT


def test_an_argument_that_cannot_be_pickled_does_not_hide_the_function() -> None:
    load, _target = cargo.load("ref", "outside")

    def task(*_arguments: Any) -> bool:
        return load.weak() is None

    function = ray.remote(task)
    with pytest.raises(TypeError):
        function.remote(item for item in ())
    with weakreduce.policy("dangle"):
        assert get(function.remote())
    assert not get(function.remote())


def test_a_function_that_went_under_two_policies_can_be_sent_itself() -> None:
    function, _target = looking()
    with weakreduce.policy("dangle"):
        assert get(function.remote()) == "dead"
    assert get(function.remote()) == "alive"

    def nested() -> Any:
        return get(function.remote())

    assert get(ray.remote(nested).remote()) in ("alive", "dead")  # as of its own export


def test_nothing_is_kept_alive() -> None:
    function, target = looking()
    actor, other = counter()
    for policy in ("snapshot", "dangle"):
        with weakreduce.policy(policy):
            get(function.remote())
            handle = actor.options(num_cpus=0.1).remote()
            get(handle.of_the_class.remote())
    watched = [weakref.ref(thing) for thing in (function, actor, target, other)]
    del function, actor, target, other, handle
    gc.collect()
    assert [weak() for weak in watched] == [None] * 4


def test_uninstalling_puts_back_what_was_there() -> None:
    import ray._private.function_manager
    import ray._private.worker
    import ray.actor
    import ray.remote_function

    owners = [
        (ray.remote_function, "pickle_dumps"),
        (ray.remote_function.RemoteFunction, "_remote"),
        (ray._private.function_manager, "pickle_dumps"),
        (ray.actor.ActorClass, "_remote"),
        (ray.actor.ActorHandle, "_actor_method_call"),
        (ray._private.worker.Worker, "put_object"),
        (ray._private.serialization.SerializationContext, "serialize"),
    ]
    ours = [vars(owner)[name] for owner, name in owners]
    weakreduce.uninstall("ray")
    try:
        stock = [vars(owner)[name] for owner, name in owners]
    finally:
        weakreduce.install("ray")
    assert [mine.__wrapped__ for mine in ours] == stock
    assert all("weakreduce" not in function.__code__.co_filename for function in stock)
