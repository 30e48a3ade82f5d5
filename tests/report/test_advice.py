"""`Report.advice`: what is advised was tried, and does what it says."""

from __future__ import annotations

import json
import threading
import warnings
import weakref
from typing import Any

import pytest
import things
from things import Big, Thing

import weakreduce
from weakreduce import explain
from weakreduce.model.policies import Policy
from weakreduce.report import advise

HOSTS = ["cloudpickle", "dill", "pickle"]
KEPT: list[Any] = []


class Table(Thing):
    pass


class Image(Thing):
    pass


def always_not(_weak: Any, _referent: Any) -> bool:
    return False


def row(size: int = 1_600_000) -> Thing:
    table = Table(data=bytes(size))
    KEPT.append(table)
    return Thing(table=weakref.ref(table), cells=bytes(80_000))


def sent(root: Any, line: str, host: Any = "cloudpickle") -> int:
    """Bytes of the payload, when somebody follows an advice."""
    names = {"weakreduce": weakreduce, "weakref": weakref, **vars(things), **globals()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with eval(f"weakreduce.policy({line})", names):
            return len(weakreduce.dumps(root, host=host))


def check(report: weakreduce.Report, root: Any, host: Any = "cloudpickle") -> list[str]:
    """Every advice holds; the lines."""
    assert len(report.advice) <= 5
    for advice in report.advice:
        assert sent(root, advice.line, host) == advice.bytes
        if report.total_bytes is None:
            assert advice.saves is None
        else:
            assert advice.saves == report.total_bytes - advice.bytes > 0
    return [advice.line for advice in report.advice]


@pytest.mark.parametrize("host", HOSTS)
def test_a_type_that_drags_in_the_world(host: Any) -> None:
    root = row()
    report = explain(root, host=host)
    assert check(report, root, host) == ["rules=((Table, 'dangle'),)"]
    for text in (str(report), report.to_html()):
        assert "1.68 MB becomes 80." in text
    assert "rules=((Table, 'dangle'),): 1.68 MB becomes 80." in str(report)
    found = json.loads(report.to_json())["advice"]
    assert found == [
        {"line": report.advice[0].line, "bytes": report.advice[0].bytes,
         "saves": report.advice[0].saves},
    ]  # fmt: skip


def cache_of_images() -> Any:
    cache: Any = weakref.WeakValueDictionary()
    for number, size in enumerate((300, 70_000, 900_000)):
        KEPT.append(Image(data=bytes(size)))
        cache[number] = KEPT[-1]
    return cache


def test_several_types_containers_and_a_limit() -> None:
    root = [row(), cache_of_images()]
    lines = check(explain(root), root)
    assert {
        "rules=((Table, 'dangle'),)",
        "rules=((Image, 'dangle'),)",
        "rules=((weakref.WeakValueDictionary, 'dangle'),)",
        "rules=((Table, 'dangle'), (Image, 'dangle'))",
    } & set(lines) >= {
        "rules=((Table, 'dangle'),)",
        "rules=((Image, 'dangle'),)",
        "rules=((Table, 'dangle'), (Image, 'dangle'))",
    }
    assert any(line.startswith("max_snapshot_bytes=") for line in lines)
    sizes = [advice.bytes for advice in explain(root).advice]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)


def test_callbacks() -> None:
    target = Thing()
    root = [target, weakref.ref(target, Big(size=100_000).method)]
    lines = check(explain(root), root)
    assert lines == ["callbacks='drop'"]


def test_nothing_to_advise() -> None:
    target = Thing()
    for root in ([1, 2], bytes(100_000), [target, weakref.ref(target)], [things.Locked()]):
        assert explain(root).advice == ()
    assert explain([threading.Lock(), row()], host="pickle").advice == ()
    with weakreduce.record() as report:
        weakreduce.dumps(row())
    assert report.advice == ()


@pytest.mark.parametrize("policy", ["strict", "forbid"])
def test_what_is_refused(policy: Any) -> None:
    root = row()
    for name in (policy, None):
        with weakreduce.policy(policy):
            report = explain(root, policy=name)
            lines = check(report, root)
        assert report.errors
        assert '"snapshot"' in lines
    lines = check(explain(root, policy=policy), root)
    if policy == "strict":
        assert lines[0] == "\"strict\", rules=((Table, 'dangle'),)"
        with weakreduce.policy("strict"):
            assert explain(root).advice[0].line == "rules=((Table, 'dangle'),)"


def test_of_many_types_that_are_refused_none_is_named() -> None:
    """A rule for each would be no line to paste."""
    types = [type(f"Kind{number}", (Thing,), {"__module__": __name__}) for number in range(5)]
    KEPT.extend(cls() for cls in types)
    root = [weakref.ref(thing) for thing in KEPT[-5:]]
    lines = check(explain(root, policy="strict"), root)
    assert lines
    assert not any("Kind" in line for line in lines)


class ArrivesAsList(Thing):
    """Its copy is one that cannot be weakly referenced."""

    def __reduce__(self) -> Any:
        return list, ((self.name,),)


def test_what_cannot_be_referred_to_is_to_be_severed() -> None:
    thing = ArrivesAsList()
    root = [thing, weakref.ref(thing)]
    lines = check(explain(root, policy=Policy(unpicklable="raise")), root)
    assert "unpicklable='raise', rules=((ArrivesAsList, 'sever'),)" in lines


def test_a_budget_that_is_spent_ends_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told was tried all the same."""
    root = [row(), cache_of_images()]
    whole = check(explain(root), root)
    monkeypatch.setattr(advise, "_MORE", 0)
    monkeypatch.setattr(advise, "_TIMES", 0.1)
    some = check(explain(root), root)
    assert 0 < len(some) < len(whole)


def test_the_roundest_limit_between_two_sizes() -> None:
    for low in range(4, 3000, 7):
        for high in (4 * low, 10 * low, 1000 * low + 1):
            found = advise._round_between(low, high)
            assert low <= found < high
            zeros = len(str(found)) - len(str(found).rstrip("0"))
            rounder = 10 ** (zeros + 1)
            assert -(-low // rounder) * rounder >= high


def test_what_is_refused_inside() -> None:
    target = Thing()
    root = [target, weakref.ref(target)]
    assert '"strict"' in check(explain(root, policy="forbid"), root)


def test_several_refused_types() -> None:
    image = Image()
    root = [row(), weakref.ref(image)]
    with weakreduce.policy("strict"):
        lines = check(explain(root), root)
    assert "rules=((Table, 'dangle'), (Image, 'dangle'))" in lines


def test_a_rule_that_refuses() -> None:
    root = row()
    with weakreduce.policy(rules=((Table, "refuse"),)):
        lines = check(explain(root), root)
    assert lines[0] == "rules=((Table, 'dangle'), (Table, 'refuse'))"


def test_a_snapshot_that_cannot_be_pickled() -> None:
    KEPT.append(things.Locked())
    root = [weakref.ref(KEPT[-1]), 1]
    policy = Policy(unpicklable="raise")
    with weakreduce.policy(policy):
        lines = check(explain(root), root)
    assert "rules=((things.Locked, 'dangle'),)" in lines or '"dangle"' in lines
    assert check(explain(root, policy=policy), root)


def test_rules_that_are_in_force_stay() -> None:
    root = [row(), weakref.ref(KEPT[-1])]

    def never(_weak: Any, _referent: Any) -> bool:
        return False

    with weakreduce.policy(rules=((Image, "snapshot"),)):
        assert check(explain(root), root)[0] == ("rules=((Table, 'dangle'), (Image, 'snapshot'))")
    with weakreduce.policy(rules=((lambda _weak, _referent: False, "dangle"),)):
        assert check(explain(root), root)[0] == (
            "rules=((Table, 'dangle'), *weakreduce.get_policy().rules)"
        )
    with weakreduce.policy(rules=((never, "dangle"),)):  # local: it cannot be named anywhere else
        assert check(explain(root), root)[0] == (
            "rules=((Table, 'dangle'), *weakreduce.get_policy().rules)"
        )
    with weakreduce.policy(rules=((always_not, "dangle"),)):
        assert check(explain(root), root)[0] == (
            "rules=((Table, 'dangle'), (always_not, 'dangle'))"
        )


def test_a_policy_that_is_not_in_force() -> None:
    """The line says all that differs from what is in force where it is pasted."""
    target = Thing()
    root = [row(), target, weakref.ref(target, Big(size=5000).method)]
    report = explain(root, policy=Policy(callbacks="drop"))
    lines = check(report, root)
    assert lines[0] == "callbacks='drop', rules=((Table, 'dangle'),)"


def test_nothing_warns_and_nothing_is_recorded() -> None:
    KEPT.append(things.Locked())
    root = [weakref.ref(KEPT[-1]), row()]
    with weakreduce.record() as recorded, warnings.catch_warnings():
        warnings.simplefilter("error")
        report = explain(root)
    assert report.advice
    assert recorded.dumps == 0


class First(Thing):
    pass


class Second(Thing):
    pass


class Third(Thing):
    pass


def test_types_that_weigh_the_same_are_advised_each() -> None:
    """And together, where each alone leaves most of it."""
    outside = [kind(data=bytes(100_000)) for kind in (First, Second, Third)]
    small: Any = Image(data=bytes(5000))
    KEPT.append(small)
    root = [*map(weakref.ref, outside[1:]), weakref.ref(small)]
    lines = check(explain(root), root)
    alone = {"rules=((Second, 'dangle'),)", "rules=((Third, 'dangle'),)"}
    assert alone <= set(lines)
    assert "rules=((Second, 'dangle'), (Third, 'dangle'))" in lines
    root = [*map(weakref.ref, outside)]
    lines = check(explain(root), root)
    assert lines[0].count("dangle") == 3
    assert len(lines) == len(set(lines)) == 5


def test_what_means_the_same_is_advised_once() -> None:
    """The narrower: a rule for the only type, and not for the only container as well."""
    one: Any = Image(data=bytes(100_000))
    KEPT.append(one)
    cache: Any = weakref.WeakValueDictionary({"one": one})
    assert check(explain([cache]), [cache]) == ["rules=((Image, 'dangle'),)"]


def test_where_a_rule_without_a_name_refuses() -> None:
    KEPT.append(Image(data=bytes(1000)))
    root = [weakref.ref(KEPT[-1])]
    for match in (lambda _weak, referent: isinstance(referent, Image), Image):
        report = explain(root, weakreduce.Policy(rules=((match, "refuse"),)))
        assert report.errors
        lines = check(report, root)
        assert lines[0].startswith("rules=((Image, 'dangle')")
        assert all(advice.saves is None for advice in report.advice)
    with weakreduce.policy(rules=((lambda _weak, _referent: True, "refuse"),)):
        lines = check(explain(root), root)
        assert lines[0] == "rules=((Image, 'dangle'), *weakreduce.get_policy().rules)"
