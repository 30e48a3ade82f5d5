"""Weak references to methods whose functions are found under no name of their own.

``Class.class_method`` is a bound method, and ``Class.__private`` is found from inside the class
only; their functions stand in the class alone.
"""

from __future__ import annotations

import gc
import io
import pickle
import pickletools
import types
import weakref
from typing import Any

import cloudpickle
import gaps
import pytest

import weakreduce

HOSTS = ("cloudpickle", "dill", "pickle")
POLICIES = ("snapshot", "dangle", "strict")


class Listener:
    @classmethod
    def heard(cls) -> Any:
        return cls

    @classmethod
    def replaced(cls) -> Any:
        return cls

    def __private(self) -> Any:
        return self

    @classmethod
    def __private_too(cls) -> Any:
        return cls

    def listen(self) -> Any:
        return weakref.WeakMethod(self.__private)

    @classmethod
    def listen_too(cls) -> Any:
        return weakref.WeakMethod(cls.__private_too)


class Derived(Listener):
    pass


class Method(weakref.WeakMethod[Any]):
    pass


def callback(_: Any) -> None: ...


def sent(root: Any, **how: Any) -> Any:
    host = how.get("host", "cloudpickle")
    return weakreduce.loads(weakreduce.dumps(root, **how), host=host)


@pytest.mark.parametrize("host", [*gaps.BY_VALUE, "pickle"])  # dill writes the function by value
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("cls", [Listener, Derived])
def test_it_is_a_link_on_the_method_of_the_class(host: Any, policy: Any, cls: Any) -> None:
    for protocol in (2, 3, 4, 5):
        for root in (
            [weakref.WeakMethod(cls.heard)],
            [weakref.WeakMethod(cls.heard, callback), cls],
            [Method(cls.heard), cls.heard],
        ):
            (weak, *_) = sent(root, host=host, policy=policy, protocol=protocol)
            assert type(weak) is type(root[0])
            assert weak()() is cls
            assert not weakreduce.is_pinned(weak)
    report = weakreduce.explain([weakref.WeakMethod(cls.heard)], policy, host=host)
    assert report.counts == {"link": 1}


@pytest.mark.parametrize("host", HOSTS)
def test_it_is_the_receivers_own(host: Any) -> None:
    (weak,) = sent([weakref.WeakMethod(Listener.heard)], host=host)
    assert weak() == Listener.heard


def test_no_name_is_dangerous() -> None:
    data = weakreduce.dumps([weakref.WeakMethod(Listener.heard)], protocol=4)
    names = {argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)}
    assert names.isdisjoint({"getattr", "partial", "attrgetter", "itemgetter", "importlib"})
    assert "weakreduce" not in names


def test_a_pickler_that_reads_the_table_alone() -> None:
    file = io.BytesIO()
    pickler = pickle.Pickler(file)
    pickler.dispatch_table = cloudpickle.Pickler.dispatch_table
    with weakreduce.policy("strict"):
        pickler.dump([weakref.WeakMethod(Listener.heard)])
    assert pickle.loads(file.getvalue())[0]() == Listener.heard


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_of_a_class_by_value_that_inherits_it(host: Any) -> None:
    derived = types.new_class("ByValue", (Listener,))
    derived.__module__ = "nowhere"
    (weak, cls) = sent([weakref.WeakMethod(derived.heard), derived], host=host, policy="dangle")  # type: ignore[attr-defined]
    assert weak()() is cls
    (weak,) = sent([weakref.WeakMethod(derived.heard)], host=host)  # type: ignore[attr-defined]
    gc.collect()
    assert weakreduce.is_pinned(weak)
    assert weak().__self__.__mro__[1] is Listener
    (weak,) = sent([weakref.WeakMethod(derived.heard)], host=host, policy="dangle")  # type: ignore[attr-defined]
    assert weak() is None


def test_what_was_put_into_the_class_later_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    def later(cls: Any) -> Any:
        return cls

    monkeypatch.setattr(Listener, "later", classmethod(later), raising=False)
    monkeypatch.setattr(Listener, "replaced", classmethod(later))
    for method in (Listener.later, Listener.replaced):  # type: ignore[attr-defined]
        data = weakreduce.dumps([weakref.WeakMethod(method)])
        with monkeypatch.context() as receiver:
            receiver.delattr(Listener, "later")
            receiver.delattr(Listener, "replaced")
            (weak,) = weakreduce.loads(data)
            assert weak()() is Listener


def test_a_function_that_was_replaced_in_its_class_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its own name the class has another, as where a decorator was put in later."""
    method = Listener.heard
    monkeypatch.setattr(Listener, "heard", Listener.replaced)
    (weak,) = sent([weakref.WeakMethod(method)])
    assert weak().__func__.__code__.co_name == "heard"
    assert weak()() is Listener


@pytest.mark.parametrize("weak_first", [True, False])
def test_a_function_bound_to_a_name_is_inside_wherever_it_is_met(weak_first: bool) -> None:
    def inside(cls: Any) -> Any:
        return cls

    weak = weakref.WeakMethod(types.MethodType(inside, Listener))
    root = [weak, inside] if weak_first else [inside, weak]
    found = sent(root, policy="dangle")
    weak, function = found if weak_first else reversed(found)
    assert weak().__func__ is function


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("cls", [Listener, Derived])
@pytest.mark.parametrize("weak_first", [True, False])
def test_a_private_method_is_a_link(host: Any, policy: Any, cls: Any, weak_first: bool) -> None:
    listener = cls()
    weak = listener.listen()
    for protocol in (2, 5):
        root = [weak, listener] if weak_first else [listener, weak]
        found = sent(root, host=host, policy=policy, protocol=protocol)
        copy, listener_copy = found if weak_first else reversed(found)
        assert copy()() is listener_copy
        assert not weakreduce.is_pinned(copy)
        del found, listener_copy
        assert copy() is None
        (of_class,) = sent([cls.listen_too()], host=host, policy=policy, protocol=protocol)
        assert of_class()() is cls


@pytest.mark.parametrize("host", HOSTS)
def test_a_private_method_of_what_is_outside_is_pinned(host: Any) -> None:
    listener = Listener()
    (weak,) = sent([listener.listen()], host=host)
    gc.collect()
    assert weakreduce.is_pinned(weak)
    assert type(weak()()) is Listener
    (weak,) = sent([listener.listen()], host=host, policy="dangle")
    assert weak() is None


def test_a_private_method_goes_home() -> None:
    listener = Listener()
    (weak,) = sent([listener.listen()], policy=weakreduce.Policy(identity="home"))
    assert weak()() is listener
    assert not weakreduce.is_pinned(weak)
