"""Policies: names, fields, blocks, decorators, threads, tasks, the environment, rules, limits."""

from __future__ import annotations

import asyncio
import dataclasses
import fractions
import functools
import inspect
import numbers
import os
import pickle
import subprocess
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudpickle
import pytest
import things
from things import Thing

import weakreduce
from weakreduce import Policy

NAMES = ["snapshot", "dangle", "strict", "forbid"]


def arrives(obj: Any, **keywords: Any) -> Any:
    return weakreduce.loads(weakreduce.dumps(obj, **keywords))


def test_policy_is_plain_frozen_data() -> None:
    policy = Policy()
    assert (policy.outside, policy.unpicklable, policy.max_snapshot_bytes) == (
        "snapshot", "dangle", None)  # fmt: skip
    assert (policy.callbacks, policy.finalizers, policy.rules) == ("keep", "detach", ())
    with pytest.raises(AttributeError):
        policy.outside = "dangle"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Policy("dangle")  # type: ignore[misc]
    assert hash(policy) == hash(Policy())


def test_the_signature_of_a_policy_tells_its_fields() -> None:
    told = inspect.signature(Policy).parameters
    assert [*told] == [field.name for field in dataclasses.fields(Policy)]
    assert {part.kind for part in told.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert Policy(**{name: part.default for name, part in told.items()}) == Policy()


@numbers.Integral.register
class Count:
    """An integer that is no int, as numpy's are none."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __int__(self) -> int:
        return self.number

    def __ge__(self, other: int) -> bool:
        return self.number >= other


def test_a_limit_may_be_any_number() -> None:
    for limit in (Count(5), 5.0, fractions.Fraction(5)):
        assert Policy(max_snapshot_bytes=limit) == Policy(max_snapshot_bytes=5)  # type: ignore[arg-type]
    assert repr(Policy(max_snapshot_bytes=Count(5))) == repr(Policy(max_snapshot_bytes=5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("outside", "snap", "'snapshot', 'dangle', 'refuse'"),
        ("outside", None, "'snapshot', 'dangle', 'refuse'"),
        ("unpicklable", "ignore", "'dangle', 'raise'"),
        ("callbacks", True, "'keep', 'drop'"),
        ("finalizers", "run", "'detach', 'rearm'"),
        ("max_snapshot_bytes", -1, "number of bytes"),
        ("max_snapshot_bytes", "1MB", "number of bytes"),
        ("max_snapshot_bytes", float("nan"), "number of bytes"),
        ("rules", (Thing,), "pairs"),
        ("rules", ((Thing, "link"),), "'snapshot', 'dangle', 'refuse', 'sever'"),
        ("rules", ((3, "sever"),), "a type or a predicate"),
        ("outsid", "dangle", "its fields are 'outside'"),
    ],
)
def test_bad_values_are_refused_when_given(field: str, value: Any, says: str) -> None:
    changes = {field: value}
    if hasattr(Policy, field):
        with pytest.raises(ValueError, match=says):
            Policy(**changes)
    with pytest.raises(ValueError, match=says):
        weakreduce.policy(**changes)
    with pytest.raises(ValueError, match=says):
        weakreduce.set_policy("dangle", **changes)


@pytest.mark.parametrize("bad", ["snapshots", 3, object()])
def test_unknown_names_list_the_right_ones(bad: Any) -> None:
    for use in (weakreduce.policy, weakreduce.set_policy):
        with pytest.raises(ValueError, match="'snapshot', 'dangle', 'strict', 'forbid'"):
            use(bad)
    for host in ("marshal", ["pickle"]):
        with pytest.raises(ValueError, match="'cloudpickle', 'dill', 'pickle'"):
            weakreduce.dumps(1, host=host)


def test_blocks_nest_change_and_restore() -> None:
    assert weakreduce.get_policy() == Policy()
    with weakreduce.policy("dangle") as outer:
        assert weakreduce.get_policy() is outer
        with weakreduce.policy(callbacks="drop") as inner:
            assert inner == Policy(outside="dangle", callbacks="drop")
            with pytest.raises(ZeroDivisionError), weakreduce.policy("strict"):
                1 / 0  # noqa: B018
            assert weakreduce.get_policy() is inner
        assert weakreduce.get_policy() is outer
    assert weakreduce.get_policy() == Policy()
    block = weakreduce.policy("dangle")
    with block, block:
        assert weakreduce.get_policy().outside == "dangle"
    assert weakreduce.get_policy() == Policy()


def test_set_policy_is_the_default_of_the_process() -> None:
    weakreduce.set_policy("strict", callbacks="drop")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(weakreduce.get_policy()))
    thread.start()
    thread.join()
    assert seen == [Policy(outside="refuse", callbacks="drop")]
    with weakreduce.policy("snapshot"):
        assert weakreduce.get_policy() == Policy()


def test_no_policy_is_no_default() -> None:
    with pytest.raises(ValueError, match="'snapshot', 'dangle', 'strict', 'forbid', not None"):
        weakreduce.set_policy(None, callbacks="drop")  # type: ignore[arg-type]
    assert weakreduce.get_policy() == Policy()


def test_decorator() -> None:
    @weakreduce.policy("dangle")
    def send(depth: int) -> tuple[str, ...]:
        """Doc."""
        here = weakreduce.get_policy().outside
        return (here, *(send(depth - 1) if depth else ()))

    @weakreduce.policy("strict")
    async def send_later() -> str:
        await asyncio.sleep(0)
        return weakreduce.get_policy().outside

    assert send.__doc__ == "Doc."
    assert send(2) == ("dangle",) * 3

    async def both() -> list[str]:
        return await asyncio.gather(send_later(), send_later())

    assert asyncio.run(both()) == ["refuse", "refuse"]
    assert weakreduce.get_policy() == Policy()
    with pytest.raises(TypeError, match="generator"):

        @weakreduce.policy("strict")
        def generate() -> Any:
            yield 1


def test_what_no_block_could_be_around_is_not_decorated() -> None:
    decorate = weakreduce.policy("strict")

    async def generate_later() -> Any:
        yield 1

    class Generates:
        def __call__(self) -> Any:
            yield 1

    for generator in (generate_later, Generates(), functools.partial(Generates.__call__, None)):
        with pytest.raises(TypeError, match="open the block inside it"):
            decorate(generator)
    for cls in (Thing, type, Generates):
        with pytest.raises(TypeError, match=f"not the class .*{cls.__name__}, .*its methods"):
            decorate(cls)
    with pytest.raises(TypeError, match="decorates a function, not 3"):
        decorate(3)  # type: ignore[arg-type]


def test_whatever_is_called_is_decorated() -> None:
    decorate = weakreduce.policy("dangle")

    class Sender:
        @decorate
        @staticmethod
        def alone(number: int) -> tuple[int, str]:
            return number, weakreduce.get_policy().name

        @decorate
        @classmethod
        def of_class(cls, number: int) -> tuple[str, int, str]:
            return cls.__name__, number, weakreduce.get_policy().name

        async def __call__(self) -> str:
            await asyncio.sleep(0)
            return weakreduce.get_policy().name

    assert Sender().alone(1) == Sender.alone(1) == (1, "dangle")
    assert Sender().of_class(1) == Sender.of_class(1) == ("Sender", 1, "dangle")
    sent: Any = decorate(Sender())
    assert asyncio.run(sent()) == "dangle"
    assert decorate(functools.partial(Sender.alone, 2))() == (2, "dangle")


def test_threads_and_tasks_do_not_see_each_other() -> None:
    thing = Thing()
    reference = weakref.ref(thing)
    expected = {"snapshot": True, "dangle": False, "strict": None}

    def one(number: int) -> bool:
        name = ["snapshot", "dangle", "strict"][number % 3]
        with weakreduce.policy(name):
            try:
                alive = cloudpickle.loads(cloudpickle.dumps(reference))() is not None
            except weakreduce.WeakrefPicklingError:
                alive = None
        return alive == expected[name]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(600)))

    async def task(number: int) -> bool:
        with weakreduce.policy(NAMES[number % 2]):
            await asyncio.sleep(0.001 * (number % 3))
            return weakreduce.get_policy().outside == NAMES[number % 2]

    async def many() -> list[bool]:
        return await asyncio.gather(*(task(n) for n in range(50)))

    assert all(asyncio.run(many()))


def test_rules_first_match_wins() -> None:
    thing, big = Thing("t"), things.Big()
    rules = ((things.Big, "dangle"), (lambda weak, referent: referent.name == "t", "snapshot"))
    copy = arrives(
        [weakref.ref(thing), weakref.ref(big), weakref.proxy(thing)],
        policy=Policy(outside="refuse", rules=rules),
    )
    assert copy[0]().name == "t"
    assert copy[1]() is None
    assert copy[2].name == "t"
    with pytest.raises(weakreduce.WeakrefPicklingError, match="rule 0"):
        arrives(weakref.ref(thing), policy=Policy(rules=((weakref.ref, "refuse"),)))
    # A type of the weak thing; inside is not asked, unless the rule severs.
    pair = [thing, weakref.ref(thing)]
    kept = arrives(pair, policy=Policy(rules=((weakref.ref, "refuse"),)))
    assert kept[1]() is kept[0]
    severed = arrives(pair, policy=Policy(rules=((weakref.ref, "sever"),)))
    assert severed[1]() is None
    assert severed[0].name == "t"
    group = arrives(weakref.WeakSet([thing, big]), policy=Policy(rules=((things.Big, "dangle"),)))
    assert [type(member) for member in group] == [Thing]


def test_a_predicate_is_asked_once_for_each_edge() -> None:
    thing, asked = Thing(), []

    def match(weak: Any, referent: Any) -> bool:
        asked.append(weak)
        return False

    arrives([weakref.ref(thing), weakref.proxy(thing)], policy=Policy(rules=((match, "dangle"),)))
    assert len(asked) == 2


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_unpicklable_referents_dangle_with_a_warning(host: str) -> None:
    locked, good = things.Locked(), Thing("good", deeper=Thing("deeper"))
    good.deeper.bad = weakref.ref(locked, things.called)
    root = Thing("root", a=weakref.ref(locked), b=weakref.ref(good))
    with pytest.warns(weakreduce.DanglingWarning) as caught:
        copy = arrives(root, host=host)
    assert copy.a() is None
    assert copy.b().deeper.bad() is None
    texts = sorted(str(w.message) for w in caught)
    assert len(texts) == 2
    assert texts[0].startswith("root.a: Locked (outside)")
    assert "cannot pickle a lock" in texts[0]
    assert texts[1].startswith("root.b().deeper.bad: Locked (outside)")
    with pytest.raises(weakreduce.WeakrefPicklingError, match=r"root\.a.*cannot pickle a lock"):
        arrives(root, host=host, policy=Policy(unpicklable="raise"))


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_what_a_callback_takes_along_counts_in_a_limit(host: str) -> None:
    small, outside, ballast = Thing("small"), Thing("outside"), things.Big(size=10_000)
    small.watched = weakref.ref(outside, ballast.__eq__)
    for limit in (5_000, 50_000):
        policy = Policy(max_snapshot_bytes=limit)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", weakreduce.DanglingWarning)
            copy = arrives(weakref.ref(small), host=host, policy=policy)
        assert [f"max_snapshot_bytes={limit}" in str(each.message) for each in caught] == (
            [True] if limit < 10_000 else []
        )
        assert (copy() is None) is (limit < 10_000)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_a_limit_on_snapshots(host: str) -> None:
    big, small = things.Big(size=10_000), Thing("small")
    small.big = weakref.ref(big)
    group = weakref.WeakValueDictionary(big=big, small=small)
    policy = Policy(max_snapshot_bytes=5_000)
    with pytest.warns(weakreduce.DanglingWarning, match="max_snapshot_bytes=5000") as caught:
        copy = arrives(group, host=host, policy=policy)
    assert list(copy) == []  # the small one drags the big one in: its own pickle is as large
    assert len(caught) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(arrives(group, host=host, policy=Policy(max_snapshot_bytes=50_000))) == 2
        # What is inside is no snapshot.
        arrives([big, group, small], host=host, policy=policy)


class FailsOnce(Thing):
    """As where memory lacks for a moment, which the interpreter may tell by another error."""

    asked = 0

    def __reduce__(self) -> Any:
        FailsOnce.asked += 1
        if FailsOnce.asked == 2:  # (first it is asked whether it has a name)
            raise pickle.PicklingError("attribute lookup failed")
        return FailsOnce, (), vars(self)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_what_fails_while_it_is_measured_is_measured_again(host: str) -> None:
    """Else it would be over the limit without a word, where the walk after that succeeds."""
    FailsOnce.asked = 0
    referent = FailsOnce(data="x" * 10_000)
    policy = Policy(max_snapshot_bytes=5_000)
    with pytest.warns(weakreduce.DanglingWarning, match="max_snapshot_bytes=5000"):
        assert arrives([weakref.ref(referent)], host=host, policy=policy)[0]() is None


def test_a_referent_that_is_too_deep_to_be_measured_dangles_and_says_so() -> None:
    """It is measured inside the dump, where fewer frames are left than for the dump itself."""

    def warned(depth: int, limit: int | None) -> str:
        held: Any = []
        for _ in range(depth):
            held = [held]
        thing = Thing(held=held)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            policy = Policy(max_snapshot_bytes=limit)
            try:
                copy = arrives([weakref.ref(thing)], host="dill", policy=policy)
            except RecursionError:
                return "raised"
        assert (copy[0]() is None) is bool(caught)
        return "".join(str(warning.message) for warning in caught)

    deepest = max(depth for depth in range(20, sys.getrecursionlimit() // 2, 2)
                  if not warned(depth, None))  # fmt: skip
    assert "too deep to be measured for max_snapshot_bytes=1000000" in warned(deepest, 1_000_000)
    assert warned(deepest // 2, 1_000_000) == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_environment_sets_the_default(name: str) -> None:
    code = "import weakreduce; print(weakreduce.get_policy().name, *weakreduce.info()['policy'])"
    environment = {**os.environ, "WEAKREDUCE_POLICY": name}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                         text=True, check=True)  # fmt: skip
    assert run.stdout.split()[0] == name
    environment["WEAKREDUCE_POLICY"] = "nonsense"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                         text=True, check=False)  # fmt: skip
    assert run.returncode != 0
    assert "WEAKREDUCE_POLICY is one of 'snapshot'" in run.stderr


def test_bind() -> None:
    thing = Thing()
    bound = weakreduce.bind([weakref.ref(thing)], "dangle")
    with weakreduce.policy("forbid"):
        assert cloudpickle.loads(cloudpickle.dumps(bound))[0]() is None
    captured = weakref.ref(thing)
    assert weakreduce.bind(lambda x: (x, captured().name))(3) == (3, "thing")
    with pytest.raises(ValueError, match="a policy is"):
        weakreduce.bind(thing, "nope")
    with pytest.raises(weakreduce.WeakrefPicklingError):
        weakreduce.bind(captured, "strict")


def test_share_refuses_bad_arguments() -> None:
    thing = Thing()
    assert weakreduce.share("a", thing) is thing
    assert weakreduce.share("a", thing) is thing
    with pytest.raises(ValueError, match="already names a Thing"):
        weakreduce.share("a", Thing())
    with pytest.raises(TypeError, match="is a str"):
        weakreduce.share(3, thing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        weakreduce.share("", thing)
    with pytest.raises(TypeError):
        weakreduce.share("b", 3)
    weakreduce.unshare("a")
    with pytest.raises(KeyError):
        weakreduce.unshare("a")
    weakreduce.share("c", Thing())  # dead at once, and its name free again
    weakreduce.share("c", thing)


def test_is_pinned_and_unpin_refuse_what_is_not_weak() -> None:
    for ask in (weakreduce.is_pinned, weakreduce.unpin):
        with pytest.raises(TypeError, match="Thing is not a weak"):
            ask(Thing())
