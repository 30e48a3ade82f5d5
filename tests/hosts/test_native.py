"""Should CPython learn to pickle weak references itself: we go first, and all is as it was.

A stand-in for its pull request 153818: reducers of the modules `weakref` and `_weakrefset`, in
copyreg's table and on the types themselves.
"""

from __future__ import annotations

import copyreg
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import things
from everything import weak_things

import weakreduce
from weakreduce.hosts import scout

HOSTS = ("cloudpickle", "dill", "pickle")
REGISTERED = (
    weakref.ref, weakref.WeakMethod, weakref.KeyedRef, weakref.ProxyType,
    weakref.CallableProxyType, weakref.WeakSet, weakref.WeakValueDictionary,
    weakref.WeakKeyDictionary, weakref.finalize,
)  # fmt: skip
ON_TYPES = (
    weakref.WeakMethod, weakref.KeyedRef, weakref.WeakSet, weakref.WeakValueDictionary,
    weakref.WeakKeyDictionary,
)  # fmt: skip


def native(weak: Any, *_protocol: Any) -> Any:
    """What the interpreter would do; here, it is not to be asked."""
    raise AssertionError(f"the interpreter's reducer was asked for a {type(weak).__name__}")


@pytest.fixture(params=["table", "types", "both"])
def interpreter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def learns() -> None:
        for name in ("weakref", "_weakrefset"):
            monkeypatch.setattr(native, "__module__", name)
        if request.param != "types":
            for cls in REGISTERED:
                monkeypatch.setitem(copyreg.dispatch_table, cls, native)
        if request.param != "table":
            for cls in ON_TYPES:
                monkeypatch.setattr(cls, "__reduce__", native, raising=False)
                monkeypatch.setattr(cls, "__reduce_ex__", native, raising=False)

    yield learns  # type: ignore[misc]


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
def test_the_bytes_are_the_same(interpreter: Any, host: str, policy: str, protocol: int) -> None:
    target, outside = things.Thing("target"), things.Thing("outside")
    index, notes = things.Index("index"), things.Notes("notes")
    index["key"], notes[target] = target, outside
    keyed = weakref.KeyedRef(target, things.called, "key")
    root = [
        weak_things(target), target, weak_things(outside),
        index, notes, keyed, weakref.ref(things.Thing()),
    ]  # fmt: skip

    def payload() -> bytes:
        return weakreduce.dumps(root, policy=policy, host=host, protocol=protocol)

    before = payload()
    interpreter()
    assert payload() == before


@pytest.mark.parametrize("host", HOSTS)
def test_policies_hold(interpreter: Any, host: str) -> None:
    interpreter()
    outside = things.Thing("outside")
    for weak in weak_things(outside).values():
        with pytest.raises(weakreduce.WeakrefPicklingError, match="outside"):
            weakreduce.dumps([weak], policy="strict", host=host)
    found = weakreduce.loads(weakreduce.dumps(weakref.ref(outside), host=host))
    assert weakreduce.is_pinned(found)
    with pytest.raises(scout.WeakThingMet):
        scout.dumps(weakref.WeakSet([outside]))


@pytest.mark.parametrize("host", HOSTS)
def test_a_users_own_reducer_still_wins(
    interpreter: Any, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter()
    target = things.Thing("target")
    own = things.OwnReduce(target)
    assert weakreduce.loads(weakreduce.dumps(own, host=host)) == "its own way"
    values = weakref.WeakValueDictionary  # (cloudpickle has a reducer of its own for WeakSets)
    monkeypatch.setitem(copyreg.dispatch_table, values, lambda weak: (str, ("mine",)))
    assert weakreduce.loads(weakreduce.dumps(values(key=target), host=host)) == "mine"
