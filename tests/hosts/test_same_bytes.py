"""Do no harm: what is not weak is pickled as if weakreduce were not there, and fails so.

Stock and with weakreduce, each in a process of its own (`harm.py`); copies, too.
"""

from __future__ import annotations

import base64
import copy
import functools
import gc
import io
import json
import os
import pickle
import re
import weakref
from collections.abc import Callable
from typing import Any

import gaps
import pytest
from harm import (
    BY_VALUE,
    ERRORS,
    PAYLOADS,
    PROTOCOLS,
    Plain,
    Registered,
    Target,
    answer,
    deep,
    importable,
    run,
)


def child_answers(host: str, what: str) -> None:
    """Print what `host` gives for all payloads, or all errors."""
    module: Any = __import__(host)
    payloads = ERRORS if what == "errors" else PAYLOADS
    if what == "payloads" and host != "pickle":
        payloads = payloads | BY_VALUE
    if os.environ["WEAKREDUCE_INSTALL"] == "1":
        import weakreduce

        weakreduce.install(host)
        assert weakreduce.info()["hosts"][host]["state"] == "installed"
    answers = {}
    for name, make in payloads.items():
        for protocol in PROTOCOLS:
            obj = make()
            answers[f"{name} {protocol}"] = found = answer(lambda: module.dumps(obj, protocol))
            file = io.BytesIO()
            if host != "pickle":
                through_class = answer(
                    lambda: module.Pickler(file, protocol).dump(obj) or file.getvalue()
                )
                assert through_class == found or name == "class", (name, protocol)
            if what == "payloads" and (name in PAYLOADS or gaps.writes_code(host)):
                assert module.loads(base64.b64decode(found)) is not None
                apart = ("cyclic", "leads back", "names", "deep", "shared", "bound")
                if name in PAYLOADS and name not in apart:
                    _same(module.loads(base64.b64decode(found)), obj)
    print(json.dumps(answers))


def _same(copied: Any, obj: Any) -> None:
    if isinstance(obj, list):
        assert type(copied) is type(obj)
        assert len(copied) == len(obj)
        for one, other in zip(copied, obj, strict=True):
            _same(one, other)
    elif isinstance(obj, BaseException):
        assert (type(copied), copied.args, vars(copied)) == (type(obj), obj.args, vars(obj))
    elif isinstance(obj, Registered):
        assert type(copied) is Plain
    elif isinstance(obj, functools.partial):
        assert (copied.func, copied.args) == (obj.func, obj.args)
    else:
        assert copied == obj


@pytest.mark.parametrize("what", ["payloads", "errors"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_the_same_bytes_and_the_same_errors(host: str, what: str) -> None:
    stock = json.loads(run(child_answers, host, what, ours=False))
    ours = json.loads(run(child_answers, host, what))
    assert set(stock) == set(ours)
    assert [name for name in stock if stock[name] != ours[name]] == []
    errors = {name for name, found in stock.items() if ": " in found}
    lacking = set() if host == "pickle" or gaps.writes_code(host) else set(BY_VALUE)
    assert what == "errors" or {name.rpartition(" ")[0] for name in errors} <= lacking


def child_buffers(host: str) -> None:
    """Print bytes and buffers for each way of a buffer_callback to answer."""
    module: Any = __import__(host)
    if os.environ["WEAKREDUCE_INSTALL"] == "1":
        import weakreduce

        weakreduce.install(host)
    found = []
    for way in ("none", "true", "alternate", "raise"):
        obj = PAYLOADS["raw"]()
        taken: list[Any] = []

        def callback(buffer: Any, way: str = way, taken: list[Any] = taken) -> Any:
            taken.append(bytes(buffer.raw()))
            if way == "raise":
                raise LookupError("callback")
            return {"none": None, "true": True}.get(way, len(taken) % 2)

        found.append(answer(lambda: module.dumps(obj, 5, buffer_callback=callback)))
        found += [base64.b64encode(data).decode() for data in taken]
        found.append(answer(lambda: module.dumps(obj, 4, buffer_callback=callback)))
    print(json.dumps(found))


@pytest.mark.parametrize("host", ["cloudpickle", "pickle"])
def test_buffers_go_the_same_way(host: str) -> None:
    assert run(child_buffers, host) == run(child_buffers, host, ours=False)


def child_depth(host: str) -> None:
    """Print how deep a chain of instances `host` can pickle."""
    module: Any = __import__(host)
    low, high = 1, 5000
    while high - low > 1:
        middle = (low + high) // 2
        try:
            module.dumps(deep(middle))
            low = middle
        except (RecursionError, pickle.PicklingError):
            high = middle
    print(low)


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_what_was_not_too_deep_is_not_too_deep(host: str) -> None:
    """A few frames of ours at the bottom and at the top, none for each level."""
    stock = int(run(child_depth, host, ours=False))
    ours = int(run(child_depth, host))
    assert ours >= stock - 10


# --- copies -------------------------------------------------------------------------------


class SubRef(weakref.ref):  # type: ignore[type-arg]
    note = "note"


class SubSet(weakref.WeakSet):  # type: ignore[type-arg]
    pass


def child_copies() -> None:
    """Print what copying gives for every weak kind, alive and dead."""
    import cloudpickle

    found = {}
    for alive in (True, False):
        kept, gone = Target("held"), Target("held")
        target = kept if alive else gone
        sub_set = SubSet([target])
        sub_set.note = ["note"]  # type: ignore[attr-defined]
        weak_things = {
            "ref": weakref.ref(target),
            "called": weakref.ref(target, importable),
            "subref": SubRef(target),
            "proxy": weakref.proxy(target),
            "method": weakref.WeakMethod(target.method),
            "set": weakref.WeakSet([target]),
            "subset": sub_set,
            "values": weakref.WeakValueDictionary(key=target),
            "keys": weakref.WeakKeyDictionary({target: ["value"]}),
            "finalize": weakref.finalize(target, importable),
        }
        if os.environ["WEAKREDUCE_INSTALL"] == "1":
            cloudpickle.dumps([target, weak_things])
        del gone, target
        gc.collect()
        for name, weak in weak_things.items():
            for copier in (copy.copy, copy.deepcopy):
                found[f"{name} {alive} {copier.__name__}"] = _copied(copier, weak, kept)
        for copier in (copy.copy, copy.deepcopy):
            found[f"holder {alive} {copier.__name__}"] = _copied(copier, Plain(weak_things), kept)
            weak_things["finalize"].detach()
    print(json.dumps(found))


def _copied(copier: Callable[[Any], Any], weak: Any, target: Any) -> list[Any]:
    try:
        made = copier(weak)
        cls = type(made)
        described: list[Any] = [cls.__name__, made is weak]
        if isinstance(made, weakref.ref):
            referent = weakref.ref.__call__(made)
            described += [referent is None, referent is target, made.__callback__ is importable]
        elif isinstance(made, (weakref.WeakSet, weakref.WeakValueDictionary)):
            members = list(made if cls is not weakref.WeakValueDictionary else made.values())
            described += [len(members), [member is target for member in members]]
            described.append(sorted(vars(made)))
        elif isinstance(made, weakref.WeakKeyDictionary):
            described += [len(made), [(k is target, v) for k, v in made.items()]]
        elif isinstance(made, weakref.finalize):
            described.append(made.alive)
    except Exception as error:
        return [type(error).__name__, re.sub("0x[0-9a-f]+", "", str(error))]
    return described


def test_copies_are_as_without_us() -> None:
    assert json.loads(run(child_copies)) == json.loads(run(child_copies, ours=False))
