"""Should CPython learn to pickle weak references itself: we go first, and all is as it was.

A stand-in for its pull request 153818: reducers of the modules `weakref` and `_weakrefset`, in
copyreg's table and on the types themselves; and, in a process that began so, before a host was
imported, on the C types and among the savers of the pure-Python pickler, too.
"""

from __future__ import annotations

import _pickle
import copyreg
import io
import weakref
from collections.abc import Iterator
from typing import Any

import gaps
import programs
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


BEGAN = """
import copyreg, ctypes, gc, io, importlib.util, pickle, sys, weakref

def native(weak, *protocol):
    raise AssertionError("the interpreter's reducer was asked")

def save(pickler, weak):
    raise AssertionError("the interpreter's pickler was asked")

native.__module__, save.__module__ = "weakref", "pickle"
if sys.argv[1] == "native":
    for cls in (weakref.ref, weakref.KeyedRef, weakref.WeakMethod, weakref.WeakSet,
                weakref.WeakValueDictionary, weakref.WeakKeyDictionary):
        pickle._Pickler.dispatch[cls] = save
        copyreg.dispatch_table[cls] = native
        (attributes,) = (found for found in gc.get_referents(cls.__dict__) if type(found) is dict)
        attributes["__reduce__"] = attributes["__reduce_ex__"] = native
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))
        assert cls.__reduce_ex__ is native
    for cls in (weakref.ProxyType, weakref.CallableProxyType, weakref.finalize):
        copyreg.dispatch_table[cls] = native

import cloudpickle, dill, things, weakreduce
from everything import weak_things
from multiprocessing.reduction import ForkingPickler

inside, outside = things.Thing("inside"), things.Thing("outside")
index, notes = things.Index("index"), things.Notes("notes")
index["key"], notes[inside] = inside, outside
root = [weak_things(inside), inside, weak_things(outside), index, notes,
        weakref.KeyedRef(outside, things.called, "key"), weakref.ref(things.Thing())]
for host in ("cloudpickle", "dill", "pickle"):
    for protocol in (2, 5):
        for policy in ("snapshot", "dangle"):
            print(weakreduce.dumps(root, host=host, protocol=protocol, policy=policy).hex())
weakreduce.install("pickle")
for dumps in (cloudpickle.dumps, dill.dumps, ForkingPickler.dumps, pickle.dumps):
    print(bytes(dumps(root)).hex())
    with weakreduce.policy("dangle"):
        print(bytes(dumps(root)).hex())
weakreduce.uninstall("pickle")

# Picklers that have a host's table alone.
class WithTable(pickle.Pickler):
    dispatch_table = cloudpickle.Pickler.dispatch_table

class WithSavers(pickle._Pickler):
    dispatch = dill.Pickler.dispatch

exact = [weakref.ref(inside), weakref.KeyedRef(outside, None, 1), weakref.WeakMethod(inside.method),
         weakref.WeakSet([inside, outside]), weakref.WeakValueDictionary(a=outside),
         weakref.WeakKeyDictionary({inside: 1}), weakref.proxy(outside), inside]
for cls in (WithTable, WithSavers):
    cls(file := io.BytesIO(), 4).dump(exact)
    print(file.getvalue().hex())

if importlib.util.find_spec("joblib"):
    import joblib
    joblib.dump(root, file := io.BytesIO())
    print(file.getvalue().hex())
    print("joblib", *map(joblib.hash, (*weak_things(inside).values(), index, notes)))
"""


def test_a_process_that_began_so_writes_the_same() -> None:
    found = [programs.run(BEGAN, whose, PYTHONHASHSEED="0") for whose in ("native", "stock")]
    assert ("\njoblib " in found[0]) is not gaps.lacks("joblib")
    assert found[0] == found[1]


def test_a_c_pickler_asks_our_override_for_a_reference_first() -> None:
    """If this fails, the interpreter's C pickler writes references before it asks anybody."""
    asked = []

    class Pickler(_pickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            asked.append(type(obj))
            return (int, ()) if isinstance(obj, REGISTERED) else NotImplemented

    target = things.Thing("target")
    weak = [weakref.ref(target), weakref.proxy(target), weakref.WeakSet([target]),
            weakref.WeakValueDictionary(), weakref.WeakKeyDictionary()]  # fmt: skip
    Pickler(io.BytesIO()).dump(weak)
    assert [cls for cls in asked if cls is not type] == [type(one) for one in weak]
