"""Many dumps and loads leave nothing: no object, no reference, no class, however each ends.

`run_leaks.py` does the same a hundred thousand times.
"""

from __future__ import annotations

import gc
import pickle
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import cargo
import gaps
import growth
import harm
import pytest
import things
from harm import run

import weakreduce

HOSTS = ("cloudpickle", "dill", "pickle")


def child_growth(host: str) -> None:
    growth.growth(growth.size(), growth.size())
    for way in growth.WAYS:
        for kind in cargo.KINDS:
            growth.many(host, way, kind, 4)  # the first fills caches
        before = growth.size()
        for kind in cargo.KINDS:
            growth.many(host, way, kind, 12)
        found = growth.growth(before, growth.size())
        # A single leak of one kind would be twelve.
        assert all(more < 10 for more in found.objects.values()), (way, found)
        assert found.references < 10, (way, found)
    assert not gc.garbage


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_grows(host: str) -> None:
    run(child_growth, host)


# --- classes ------------------------------------------------------------------------------------


def make_class(number: int) -> Any:
    """A class that no name leads to, with instances that know one another weakly."""

    class Local(things.Thing):
        members: Any = weakref.WeakSet()
        attribute = number

        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.members.add(self)

    Local.members = weakref.WeakSet()
    return Local


def _weakly(made: Any) -> list[Any]:
    return [weakref.ref(made), weakref.WeakMethod(made.method), weakref.WeakSet([made]),
            weakref.ref(type(made))]  # fmt: skip


#: What is done with an instance of a class that is to die afterwards.
USES: dict[str, Callable[[Any, Any], Any]] = {
    "strong": lambda made, host: weakreduce.dumps([made, type(made)], host=host),
    "linked": lambda made, host: weakreduce.dumps([*_weakly(made), made], host=host),
    "snapshot": lambda made, host: weakreduce.dumps(_weakly(made), host=host),
    "left out": lambda made, host: weakreduce.dumps(_weakly(made), host=host, policy="dangle"),
    "loaded": lambda made, host: pickle.loads(weakreduce.dumps(_weakly(made), host=host)),
    "home": lambda made, host: pickle.loads(
        weakreduce.dumps(_weakly(made), host=host, policy=weakreduce.Policy(identity="home"))
    ),
    "explained": lambda made, host: weakreduce.explain([made, *_weakly(made)], host=host),
    "shared": lambda made, host: weakreduce.dumps(
        weakref.ref(weakreduce.share(f"name {id(made)}", made)), host=host
    ),
    "ruled": lambda made, host: weakreduce.dumps(
        _weakly(made), host=host, policy=weakreduce.Policy(rules=((type(made), "dangle"),))
    ),
}


def _recorded(made: Any, host: Any) -> None:
    with weakreduce.record():
        weakreduce.dumps([made, *_weakly(made)], host=host)


def _failed(made: Any, host: Any) -> None:
    for policy in ("snapshot", "forbid"):
        try:
            weakreduce.dumps([*_weakly(made), made, harm.Explosive()], host=host, policy=policy)  # type: ignore[arg-type]
        except (ZeroDivisionError, weakreduce.WeakrefPicklingError):
            pass


def _registered(made: Any, host: Any) -> None:
    weakreduce.register(type(made), referent=lambda weak: None, rebuild=things.called)
    weakreduce.dumps([made], host=host)


def child_classes(host: str) -> None:
    """A class made at run time dies with its last user, whatever was dumped of it."""
    warnings.simplefilter("ignore", weakreduce.DanglingWarning)
    uses = {**USES, "recorded": _recorded, "failed": _failed, "registered": _registered}
    for name, use in uses.items():
        for number in range(3):
            cls = make_class(number)
            kept = cls("kept")
            use(kept, host)
            watched = weakref.ref(cls), weakref.ref(kept)
            del kept
            assert watched[1]() is None, (name, "the instance")
            del cls
            gc.collect()
            assert watched[0]() is None, (name, gc.get_referrers(watched[0]()))


@pytest.mark.parametrize("host", gaps.BY_VALUE)
def test_classes_die(host: str) -> None:
    run(child_classes, host)


# --- roots --------------------------------------------------------------------------------------


def child_roots(host: str) -> None:
    """After an error that is kept, without its traceback, nothing has the root; as with stock."""
    warnings.simplefilter("ignore", weakreduce.DanglingWarning)
    gc.disable()
    outside = things.Thing("outside")
    failing: dict[str, Callable[[Any], Any]] = {
        "reduce": lambda root: [root, harm.Explosive()],
        "lock": lambda root: [root, things.Locked()],
        "weak first": lambda root: [weakref.ref(root), weakref.ref(outside), root, things.Locked()],
        "callback": lambda root: [weakref.ref(root, things.called), root, harm.Explosive()],
        "below": lambda root: {"a": things.Thing(held=[root, things.Locked()])},
        "refused": lambda root: [root, weakref.ref(outside)],
        "a generator": lambda root: [root, (item for item in ())],
    }
    for name, make in failing.items():
        for policy in ("snapshot", "dangle", "strict", weakreduce.Policy(unpicklable="raise")):
            for number in range(2):
                root = things.Thing("root")
                watched = weakref.ref(root)
                kept = None
                payload = make(root)
                try:
                    weakreduce.dumps(payload, host=host, policy=policy)  # type: ignore[arg-type]
                except Exception as error:
                    kept = error.with_traceback(None)
                    cause = kept.__cause__
                    if cause is not None:
                        cause.with_traceback(None)
                    del cause
                del root, payload
                found = watched()
                assert found is None, (name, policy, number, kept, gc.get_referrers(found))


@pytest.mark.parametrize("host", HOSTS)
def test_an_error_that_is_kept_keeps_no_root(host: str) -> None:
    run(child_roots, host)


def child_pickler(host: str) -> None:
    """A pickler that failed keeps nothing of what it failed at; one that wrote has a memo of it."""
    import faults

    gc.disable()
    outside = things.Thing("outside")
    for fails in (True, False):
        root = things.Thing("root")
        watched = weakref.ref(root)
        bench = faults.Bench(host, [1])
        payload = [weakref.ref(root), weakref.ref(outside), root]
        if fails:
            payload.append(harm.Explosive())
        try:
            bench.pickler.dump(payload)
        except ZeroDivisionError:
            assert fails
        del root, payload
        assert (watched() is None) is fails, (fails, gc.get_referrers(watched()))
        bench.pickler.clear_memo()
        assert watched() is None, gc.get_referrers(watched())


@pytest.mark.parametrize("host", HOSTS)
def test_a_pickler_keeps_what_its_memo_names(host: str) -> None:
    run(child_pickler, host)
