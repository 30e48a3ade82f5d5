"""A fast way is a plug: when the call of it does nothing, all is still right, and no byte differs.

Each row of `PLUGS` is the one call of a fast way, which a test replaces by one that says nothing;
the general rule then does the work. Fast ways that depend on the pickler's class are turned off by
a class of the user's, as `OWN_CLASSES` says. The package has no switch for any of it.
"""

from __future__ import annotations

import collections
import functools
import io
import random
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import graphs
import pytest
import run_random_graphs
from shapes import SHAPES

import weakreduce
from weakreduce.core import look_ahead, short_cuts, writing
from weakreduce.hosts import opcodes_alone, scout
from weakreduce.hosts.own import _pickler_class

HOSTS = ("cloudpickle", "dill", "pickle")
#: Where each fast way is called, by module and name; and what it says of nothing.
PLUGS: dict[str, tuple[Any, str, Any]] = {
    "short cuts of the first walk": (short_cuts, "of_first_walk", {}),
    "short cuts of the second walk": (short_cuts, "of_second_walk", {}),
    "the look ahead": (look_ahead, "met_strongly", None),
    "what is ordinary needs no session": (writing, "is_ordinary", False),
    "what is written by opcodes alone needs nothing": (opcodes_alone, "is_of_opcodes", False),
}


def own_table(host: str) -> Any:
    """A class with a table of its own, though the same: cloudpickle's are not merged for it."""
    base = _pickler_class(host)

    class OwnTable(base):  # type: ignore[misc]
        if host == "cloudpickle":
            dispatch_table = collections.ChainMap(*base.dispatch_table.maps)

    return as_if(OwnTable, base)


def own_override(host: str) -> Any:
    """A class with an override of its own, which says what the host says: it is asked of all."""
    base = _pickler_class(host)
    stock = getattr(base, "reducer_override", None)

    class OwnOverride(base):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            return NotImplemented if stock is None else stock(self, obj)

    return as_if(OwnOverride, base)


def as_if(cls: Any, base: Any) -> Any:
    """dill asks a pickler's class for its name, to know its own."""
    cls.__module__, cls.__qualname__, cls.__name__ = (
        base.__module__, base.__qualname__, base.__name__,
    )  # fmt: skip
    return cls


OWN_CLASSES: dict[str, Callable[[str], Any]] = {
    "a merged table": own_table,
    "the override of a dump without weak things": own_override,
}


def dumped(cls: Any, root: Any, policy: str, protocol: int) -> bytes:
    file = io.BytesIO()
    with weakreduce.policy(policy):
        cls(file, protocol).dump(root)
    return file.getvalue()


def payloads(host: str, cls: Any = None) -> Iterator[tuple[str, bytes]]:
    """What becomes of all shapes, and of random graphs; with nothing weak, too."""
    cls = cls or _pickler_class(host)
    for shape in SHAPES:
        for policy in ("snapshot", "dangle"):
            for protocol in (2, 5):
                kept, root = shape()
                yield f"{shape.__name__} {policy}", dumped(cls, root, policy, protocol)
                if "importable" not in shape.__name__:  # one is a module
                    yield f"{shape.__name__} kept", dumped(cls, [kept, dict], policy, protocol)
    for protocol in (2, 5):
        yield "opcodes", dumped(cls, [1, "two", {"three": (4.0, None, b"5")}], "dangle", protocol)
    for seed in range(graphs.EXAMPLES):
        choose = random.Random(seed)
        root, nodes = graphs.build(run_random_graphs.random_spec(choose))
        policy, protocol = choose.choice(["snapshot", "dangle"]), choose.randint(2, 5)
        yield f"seed {seed} {policy}", dumped(cls, root, policy, protocol)
        assert nodes


@pytest.fixture(scope="module")
def as_usual() -> dict[str, list[tuple[str, bytes]]]:
    return {host: list(payloads(host)) for host in HOSTS}


def pull(patch: pytest.MonkeyPatch, plug: str) -> None:
    """Let a fast way say nothing."""
    owner, name, says = PLUGS[plug]
    patch.setattr(owner, name, lambda *_, **__: says)


@pytest.mark.parametrize("plug", PLUGS)
@pytest.mark.parametrize("host", HOSTS)
def test_without_a_fast_way_the_bytes_are_the_same(
    host: str, plug: str, as_usual: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(monkeypatch, plug)
    differ = [name for (name, one), (_, two) in zip(as_usual[host], payloads(host), strict=True)
              if one != two]  # fmt: skip
    assert differ == []


def messages() -> Iterator[tuple[str, bytes]]:
    """What multiprocessing makes of all shapes."""
    for shape in SHAPES:
        for policy in ("snapshot", "dangle"):
            for protocol in (2, None):
                kept, root = shape()
                with weakreduce.policy(policy):
                    yield f"{shape.__name__} {policy}", bytes(ForkingPickler.dumps(root, protocol))
                del kept


def test_without_a_scout_messages_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    as_usual = list(messages())
    monkeypatch.setattr(scout, "message", lambda *_: None)
    differ = [one[0] for one, two in zip(as_usual, messages(), strict=True) if one != two]
    assert differ == []


@pytest.mark.parametrize("host", HOSTS)
def test_without_all_of_them_the_bytes_are_the_same(
    host: str, as_usual: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for plug in PLUGS:
        pull(monkeypatch, plug)
    for cls in (None, *(make(host) for make in OWN_CLASSES.values())):
        found = payloads(host, cls)
        differ = [name for (name, one), (_, two) in zip(as_usual[host], found, strict=True)
                  if one != two]  # fmt: skip
        assert differ == [], cls


@pytest.mark.parametrize("way", OWN_CLASSES)
@pytest.mark.parametrize("host", HOSTS)
def test_classes_of_users_write_the_same_bytes(
    host: str, way: str, as_usual: dict[str, Any]
) -> None:
    found = payloads(host, OWN_CLASSES[way](host))
    differ = [name for (name, one), (_, two) in zip(as_usual[host], found, strict=True)
              if one != two]  # fmt: skip
    assert differ == []


@pytest.mark.parametrize("plug", [*PLUGS, "all of them"])
@pytest.mark.parametrize("host", HOSTS)
def test_without_a_fast_way_all_is_right(
    host: str, plug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shape, fates and lives of copies of random graphs, against the model."""
    for one in PLUGS if plug == "all of them" else [plug]:
        pull(monkeypatch, one)
    for seed in range(1000, 1000 + graphs.EXAMPLES):
        run_random_graphs.check(seed, host)


@pytest.mark.parametrize("plug", PLUGS)
def test_each_fast_way_is_taken(plug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests above would compare nothing."""
    owner, name, says = PLUGS[plug]
    stock, answers = getattr(owner, name), 0

    def taken(*arguments: Any, **keywords: Any) -> Any:
        nonlocal answers
        answer = stock(*arguments, **keywords)
        if says == {}:  # the plugs themselves
            return {cls: functools.partial(made, plug) for cls, plug in answer.items()}
        answers += answer is not None and answer is not says
        return answer

    def made(plug: Any, walk: Any, kind: Any) -> Any:
        nonlocal answers
        answers += 1
        return plug(walk, kind)

    monkeypatch.setattr(owner, name, taken)
    for host in HOSTS:
        list(payloads(host))
    assert answers
