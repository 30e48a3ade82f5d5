"""`explain` and `record`: what they say is what dumps do."""

from __future__ import annotations

import collections
import functools
import gc
import io
import itertools
import json
import multiprocessing
import pickle
import subprocess
import sys
import textwrap
import threading
import types
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gaps
import graphs
import pytest
import things
from graphs import Model, Spec
from hypothesis import given
from hypothesis import strategies as st
from specs import SETTINGS, specs
from things import Restless, Thing, restless

import weakreduce
from weakreduce import explain
from weakreduce.core import watchers
from weakreduce.report.findings import DRAWN, Picture

HOSTS = ["cloudpickle", "dill", "pickle"]


@pytest.mark.parametrize("host", HOSTS)
@given(spec=specs(), outside=st.sampled_from(["snapshot", "dangle"]))
@SETTINGS
def test_explain_and_dumps_agree(host: str, spec: Spec, outside: str) -> None:
    """On random graphs: the report, the model, the payload and its copy say the same."""
    model = Model(spec, outside)
    root, nodes = graphs.build(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = explain(root, policy=outside, host=host)
        payload = weakreduce.dumps(root, policy=outside, host=host)
        copied = weakreduce.loads(payload, host=host)
    assert report.total_bytes == len(payload)

    def size(obj: object) -> int:
        return len(weakreduce.dumps(obj, policy=outside, host=host))

    graphs.check_report(spec, model, root, nodes, report, size)
    gc.collect()
    graphs.check_copy(spec, model, copied, weakreduce.is_pinned)


@pytest.mark.parametrize("host", HOSTS)
@given(spec=specs(), policy=st.sampled_from(list(graphs.policies())))
@SETTINGS
def test_explain_and_dumps_agree_under_any_policy(host: str, spec: Spec, policy: str) -> None:
    """Errors, sizes and warnings of a dump are those of its report."""
    root, nodes = graphs.build(spec)
    graphs.check_outcome(root, graphs.policies()[policy], host)
    assert nodes


def fates(report: weakreduce.Report) -> dict[str, str]:
    return {finding.path: finding.fate for finding in report}


@pytest.mark.parametrize("host", HOSTS)
def test_each_fate_is_told(host: str) -> None:
    inside, outside = Thing("inside"), Thing("outside")
    shared = weakreduce.share("shared", Thing("shared"))
    root = {
        "inside": inside,
        "link": weakref.ref(inside),
        "snapshot": weakref.ref(outside),
        "dead": weakref.ref(Thing()),
        "token": weakref.ref(shared),
        "named": weakref.ref(things.function),
        "finalizer": weakref.finalize(inside, things.log),
        "severed": weakref.proxy(inside),
        "refused": weakref.proxy(outside),
    }
    policy = weakreduce.Policy(
        rules=(
            (
                lambda weak, referent: type(weak) is weakref.ProxyType and referent is inside,
                "sever",
            ),
            (weakref.ProxyType, "refuse"),
        )
    )
    report = explain(root, policy, host)
    assert fates(report) == {
        "root['link']": "link",
        "root['snapshot']": "snapshot",
        "root['dead']": "dead",
        "root['token']": "token",
        "root['named']": "link",
        "root['finalizer']": "dangle",
        "root['severed']": "dangle",
        "root['refused']": "refuse",
    }
    reasons = {finding.path: finding.reason for finding in report}
    assert reasons["root['severed']"].endswith("says 'sever'")
    assert reasons["root['named']"] == "its referent is importable on the receiver"
    assert "detached" in reasons["root['finalizer']"]
    with pytest.raises(weakreduce.WeakrefPicklingError) as caught:
        weakreduce.dumps(root, policy=policy, host=host)
    assert report.errors == [str(caught.value)]
    assert report.total_bytes is None
    del root["refused"]
    report = explain(root, policy, host)
    assert report.total_bytes == len(weakreduce.dumps(root, policy=policy, host=host))
    assert report.errors == []


def test_each_refused_edge_is_told() -> None:
    kept = [Thing(str(number)) for number in range(3)]
    root = [weakref.ref(thing) for thing in kept]
    for policy in ("strict", "forbid"):
        report = explain(root, policy)
        assert fates(report) == {f"root[{n}]": "refuse" for n in range(3)}
        with pytest.raises(weakreduce.WeakrefPicklingError) as caught:
            weakreduce.dumps(root, policy=policy)
        assert report.errors == [str(caught.value)]


def test_bytes_are_those_of_the_referents_own_pickle() -> None:
    big = things.Big(size=50_000)
    one, two = Thing("one", big=big), Thing("two", big=big)
    root = [weakref.ref(one), weakref.ref(two), weakref.ref(Thing())]
    report = explain(root)
    assert [finding.bytes for finding in report][:2] == [
        len(weakreduce.dumps(one)),
        len(weakreduce.dumps(two)),
    ]
    total, without = len(weakreduce.dumps(root)), len(weakreduce.dumps(root, policy="dangle"))
    assert report.total_bytes == total
    # What both share counts once.
    assert report.snapshot_bytes == total - without
    assert 50_000 < report.snapshot_bytes < 51_000


def test_shared_megabytes_take_linear_time() -> None:
    """1,000 snapshots that drag in the same 8 MB are not weighed 1,000 times."""
    big = things.Big(size=8_000_000)
    kept = [Thing(str(number), big=big) for number in range(1000)]
    weighed = []
    report = explain([weakref.ref(thing) for thing in kept])
    weighed = [finding.bytes for finding in report if finding.bytes is not None]
    assert 1 <= len(weighed) < 20
    assert min(weighed) > 8_000_000
    assert report.counts == {"snapshot": 1000}


def test_reducers_run_as_often_as_in_a_dump() -> None:
    once = things.Once()
    keeper = Thing("keeper", once=once)
    report = explain([weakref.ref(keeper)])
    assert once.reduced == 1
    assert report[0].bytes is not None


def test_limits_and_unpicklable_referents() -> None:
    big, locked = things.Big(), things.Locked()
    root = [weakref.ref(big), weakref.ref(locked)]
    policy = weakreduce.Policy(max_snapshot_bytes=1000)
    report = explain(root, policy)  # quiet: what a dump would warn of is in the report
    assert report.counts == {"dangle": 2}
    assert "max_snapshot_bytes=1000" in report[0].reason + report[1].reason
    assert "cannot pickle a lock" in report[0].reason + report[1].reason
    report = explain(root, weakreduce.Policy(unpicklable="raise"))
    assert report.counts == {"snapshot": 1, "refuse": 1}
    with pytest.raises(weakreduce.WeakrefPicklingError) as caught:
        weakreduce.dumps(root, policy=weakreduce.Policy(unpicklable="raise"))
    assert report.errors == [str(caught.value)]


@pytest.mark.parametrize("host", HOSTS)
def test_the_part_that_is_to_blame_is_told(host: str) -> None:
    server = Thing(parts=[Thing(), {"x": sys._getframe()}])
    (finding,) = explain([weakref.ref(server)], host=host)
    cause = "TypeError: cannot pickle 'frame' object, at it.parts[1]['x']"
    assert finding.reason == f"it cannot be pickled ({cause})"
    with pytest.warns(weakreduce.DanglingWarning) as caught:
        weakreduce.dumps([weakref.ref(server)], host=host)
    assert f"arrives dead: {finding.reason}. Write " in str(caught[0].message)


def test_a_dropped_callback_is_told() -> None:
    outside = Thing()
    locked = things.Locked()
    root = [weakref.ref(outside, lambda reference: locked)]
    (finding,) = explain(root)
    assert finding.fate == "snapshot"
    assert "callback is dropped" in finding.reason


@pytest.mark.parametrize("host", HOSTS)
def test_everything_unpicklable_is_told(host: str) -> None:
    outside = Thing()
    root = Thing(
        first=[(number for number in ())],
        reference=weakref.ref(outside),
        second={"x": Thing(frame=sys._getframe())},
    )
    report = explain(root, host=host)
    assert [failure.path for failure in report.failures] == [
        "root.first[0]",
        "root.second['x'].frame",
    ]
    assert fates(report) == {"root.reference": "snapshot"}
    assert report.total_bytes is None
    assert report.errors == ["TypeError: cannot pickle 'generator' object"]
    assert "  root.first[0] (a generator): TypeError: " in str(report)


@pytest.mark.parametrize("host", HOSTS)
def test_many_unpicklable_things_hide_no_edge(host: str) -> None:
    outside, lost = Thing(), Thing(frame=sys._getframe())
    root = Thing()
    root.servers = [Thing(items=(n for n in ()), owner=weakref.ref(root)) for _ in range(25)]
    root.last = [weakref.ref(outside), weakref.WeakSet([lost])]
    report = explain(root, host=host)
    assert report.counts == {"snapshot": 1, "dangle": 1, "link": 1}
    assert not report.partial
    assert [failure.path for failure in report.failures] == [
        f"root.servers[{number}].items" for number in range(25)
    ]


def test_a_report_that_ends_at_a_failure_says_so() -> None:
    classes = [type(f"C{n}", (), {"__reduce__": lambda self: [][0]}) for n in range(15)]
    root = [[cls() for cls in classes], weakref.ref(classes[0])]
    report = explain(root)
    assert len(report.failures) == 11
    assert report.partial
    assert report.to_dict()["partial"]
    assert "walked in part" in str(report)


def test_the_first_of_several_errors_is_the_one_of_a_dump() -> None:
    inside = Thing()
    for root, path in (
        (Thing(weak=weakref.ref(inside), inside=inside, lock=threading.Lock()), "root.lock"),
        (Thing(lock=threading.Lock(), weak=weakref.ref(inside), inside=inside), "root.lock"),
    ):
        with pytest.raises((TypeError, weakreduce.WeakrefPicklingError)) as caught:
            weakreduce.dumps(root, policy="forbid")
        report = explain(root, "forbid")
        (error,) = report.errors
        assert error.removeprefix("TypeError: ") == str(caught.value)
        assert [failure.path for failure in report.failures] == [path]
        assert report.counts == {"refuse": 1}


def test_wrong_names_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="a policy is a Policy or one of"):
        explain([], "loose")
    with pytest.raises(ValueError, match="host is one of"):
        explain([], host="marshal")
    for keep in (-1, 1.5, "x"):
        with pytest.raises(ValueError, match="keep="):
            explain([], keep=keep)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="keep="):
            weakreduce.record(keep=keep)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", HOSTS)
def test_an_edge_that_its_referent_leads_back_to_is_told_once(host: str) -> None:
    referent = Thing()
    referent.weak = weakref.ref(referent)
    root = [weakref.WeakSet([Thing()]), Thing(weak=referent.weak), weakref.ref(Thing()), referent]
    for policy in ("snapshot", "dangle"):
        report = explain(root, policy, host)
        assert report.counts["link"] == 1


def test_an_ampersand_in_a_picture() -> None:
    odd = type("A&lt;B", (), {})()
    assert "A&amp;lt;B" in explain([weakref.ref(odd)]).to_dot()


def test_a_dead_reference_in_a_picture() -> None:
    """Its end is no object, and looks like none."""
    lines = explain([weakref.ref(Thing())]).to_dot().splitlines()
    (node,) = (line for line in lines if "style=dotted" in line)
    assert 'label="dead"' in node


def test_a_page_tells_what_cannot_be_pickled() -> None:
    report = explain([1, {"key": things.Locked()}])
    assert "cannot be pickled: root[1][&#x27;key&#x27;] (a things.Locked)" in report.to_html()


def test_what_is_refused_is_passed_by_in_the_search_for_what_fails() -> None:
    thing = Thing()

    class Making:
        """Its reduction makes what no path leads to, beside a reference that is refused."""

        def __reduce__(self) -> Any:
            return list, ((weakref.ref(thing), (number for number in ())),)

    report = explain([1, Making()], policy="forbid")
    assert [failure.path for failure in report.failures] == ["root[1]"]
    assert "generator" in report.failures[0].text
    assert report.counts == {}  # it is left out, with all that it holds


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_weighed_may_need_a_walk_to_the_end_for_an_order(host: Any) -> None:
    """Of the members of a set, those that are inside come in the order in which they are met."""
    nodes = [Thing(str(number)) for number in range(5)]
    part = [weakref.ref(nodes[0]), weakref.WeakSet(nodes), nodes, bytes(50_000)]
    report = explain([part, 1], host=host)
    (weight,) = (weight for weight in report.heaviest if weight.path == "root[0]")
    assert weight.bytes == len(weakreduce.dumps(part, host=host))


def test_a_record_of_no_dump() -> None:
    with weakreduce.record() as report:
        pass
    assert report.dumps == 0
    assert "under policy" not in report.to_html()
    assert ", with" not in report.to_html()


def test_an_empty_report() -> None:
    report = explain([])
    assert len(report) == 0
    assert report.counts == {}
    assert report.total_bytes == len(weakreduce.dumps([]))
    assert "no weak edge" in str(report)
    for text in (report.to_dot(), report.to_mermaid(), report.to_html(), report.to_json()):
        assert text


def test_a_report_keeps_what_matters_and_counts_all() -> None:
    kept = [Thing(str(number), data=b"x" * number) for number in range(100)]
    root = [[weakref.ref(thing) for thing in kept], [weakref.ref(Thing()) for _ in range(100)]]
    report = explain(root, keep=12)
    assert len(report) == 12
    assert report.counts == {"snapshot": 100, "dead": 100}
    largest = [f"root[0][{number}]" for number in range(99, 89, -1)]
    assert [finding.path for finding in report][:10] == largest
    assert len(explain(root, keep=0)) == 0


def test_a_report_holds_nothing_alive() -> None:
    outside = Thing()
    watch = weakref.ref(outside)
    report = explain([weakref.ref(outside), weakref.WeakSet([outside])])
    del outside
    assert watch() is None
    assert len(report) == 2


# --- record ---------------------------------------------------------------------------


def test_record_collects_dumps_of_all_threads() -> None:
    import cloudpickle
    import dill

    kept = [Thing(str(number)) for number in range(8)]
    with weakreduce.record() as report:
        workers = [
            threading.Thread(target=host.dumps, args=(weakref.ref(thing),))
            for thing in kept
            for host in (cloudpickle, dill)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        with weakreduce.record() as inner:
            size = len(cloudpickle.dumps([kept[0], weakref.ref(kept[0])]))
        explain(weakref.ref(kept[0]))  # sends nothing
    cloudpickle.dumps(weakref.ref(kept[0]))
    assert report.dumps == 17
    assert report.counts == {"snapshot": 16, "link": 1}
    assert {finding.dump for finding in report} == set(range(17))
    assert inner.dumps == 1
    assert inner.total_bytes == size
    assert report.host in ("cloudpickle, dill", "dill, cloudpickle")


class Nesting:
    """Pickles something itself, by code that is asked in each walk."""

    def __init__(self, held: Any) -> None:
        self.held = held


def reduce_nesting(nesting: Nesting) -> Any:
    return bytes, (weakreduce.dumps(weakref.ref(nesting.held)),)


def test_nested_dumps_are_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import copyreg

    monkeypatch.setitem(copyreg.dispatch_table, Nesting, reduce_nesting)
    held, outside = Thing("held"), Thing("outside")
    root = [Nesting(held), Nesting(held), weakref.ref(outside)]
    with weakreduce.record() as report:
        payload = weakreduce.dumps(root)
    assert report.dumps == 3
    assert report.counts == {"snapshot": 3}
    nested = len(weakreduce.dumps(weakref.ref(held)))
    assert report.total_bytes == len(payload) + 2 * nested


def test_measuring_dumps_are_not_recorded() -> None:
    big = things.Big()
    with weakreduce.record() as report, pytest.warns(weakreduce.DanglingWarning):
        weakreduce.dumps([weakref.ref(big)], policy=weakreduce.Policy(max_snapshot_bytes=10))
    assert report.dumps == 1
    assert report.counts == {"dangle": 1}


def test_a_recorded_dump_is_the_dump_it_would_be() -> None:
    outside, big = Thing("outside"), things.Big()
    root = [weakref.ref(outside), weakref.proxy(big), weakref.WeakSet([outside, big])]
    buffers: list[Any] = []
    plain = weakreduce.dumps(root, protocol=5, buffer_callback=buffers.append)
    with weakreduce.record() as report:
        assert weakreduce.dumps(root, protocol=5, buffer_callback=buffers.append) == plain
    assert report.total_bytes == len(plain)


def test_one_pickler_goes_on_after_a_recorded_dump() -> None:
    import io

    import cloudpickle

    outside = Thing("outside")
    root = [weakref.ref(outside)]

    def twice() -> bytes:
        file = io.BytesIO()
        pickler = cloudpickle.Pickler(file)
        pickler.dump(root)
        pickler.dump([root, weakref.proxy(outside)])
        return file.getvalue()

    plain = twice()
    with weakreduce.record() as report:
        assert twice() == plain
    assert report.dumps == 2


def test_record_tells_of_errors() -> None:
    outside = Thing()
    with weakreduce.record() as report:
        with pytest.raises(TypeError):
            weakreduce.dumps([(number for number in ())])
        with pytest.raises(weakreduce.WeakrefPicklingError):
            weakreduce.dumps([weakref.ref(outside)], policy="strict")
    assert report.dumps == 2
    assert report.counts == {"refuse": 1}
    assert report.failures[0].path == "root[0]"
    assert report.errors[1].startswith("root[0]: Thing")
    assert report.errors[1:] == explain([weakref.ref(outside)], "strict").errors


def test_record_ends_with_its_block() -> None:
    outside = Thing()
    with pytest.raises(KeyError), weakreduce.record() as report:
        raise KeyError
    weakreduce.dumps(weakref.ref(outside))
    assert report.dumps == 0


# --- notes ----------------------------------------------------------------------------


def closure(held: Any) -> Any:
    def inner() -> Any:
        return held

    return inner


class Temporary:
    def __getstate__(self) -> Any:
        return {"made": (number for number in ())}


def notes(error: BaseException) -> list[str]:
    """Those of ours: from Python 3.14 on, picklers add some of their own."""
    found = getattr(error, "__notes__", [])
    return [note for note in found if note.startswith("weakreduce: ")]


@pytest.mark.parametrize("host", HOSTS)
def test_errors_of_others_get_a_note_with_the_path(host: str) -> None:
    frame = sys._getframe()
    cases: list[tuple[Any, str]] = [
        ({"a": [1, (Thing(f=frame),)]}, "root['a'][1][0].f (a frame)"),
        ([Thing(x={1: Thing(), 2: things.Locked()})], "root[0].x[2] (a things.Locked)"),
        ([Thing(), Temporary(), Thing()], "a generator that is made to write root[1]"),
    ]
    if gaps.writes_code(host):
        place = "root[0].__closure__[0].cell_contents['x'][0] (a frame)"
        cases.append(([closure({"x": (frame,)})], place))
    for root, expected in cases:
        with pytest.raises(TypeError) as caught:
            weakreduce.dumps(root, host=host)
        assert type(caught.value) is TypeError
        assert "weakreduce" not in str(caught.value)
        (note,) = notes(caught.value)
        assert note.startswith("weakreduce: what cannot be pickled is ")
        assert expected in note


class RaisesTheSame:
    error = ValueError("always the same")

    def __reduce__(self) -> Any:
        raise self.error


class DumpsInside:
    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return (bytes, (weakreduce.dumps([0, self.held]),))


def test_an_error_has_one_note() -> None:
    for path in ("root[0]", "root[1]"):
        root = [RaisesTheSame()] if path == "root[0]" else [0, RaisesTheSame()]
        with pytest.raises(ValueError, match="always the same") as caught:
            weakreduce.dumps(root)
        (note,) = notes(caught.value)
        assert path in note
    with pytest.raises(TypeError) as caught_inside:
        weakreduce.dumps({"x": DumpsInside(threading.Lock())})
    (note,) = notes(caught_inside.value)
    assert "root['x']" in note


class ReducesTo:
    def __init__(self, reduction: Any) -> None:
        self.reduction = reduction

    def __reduce__(self) -> Any:
        return self.reduction


@pytest.mark.parametrize("reduction", [5, (), (1, 2, 3, 4, 5, 6, 7)])
@pytest.mark.parametrize("host", HOSTS)
def test_what_is_no_reduction_is_refused_in_the_words_of_the_host(
    host: str, reduction: Any
) -> None:
    bad = ReducesTo(reduction)
    weakreduce.uninstall()
    try:
        with pytest.raises(pickle.PicklingError) as stock:
            sys.modules[host].dumps(bad)
    finally:
        weakreduce.install()
    for root in (bad, [weakref.ref(Thing()), bad]):
        with pytest.raises(pickle.PicklingError) as ours:
            weakreduce.dumps(root, host=host)
        assert str(ours.value) == str(stock.value)


def test_a_note_for_a_recursion() -> None:
    chain: Any = None
    for _ in range(100_000):
        chain = Thing(next=chain)
    with pytest.raises((RecursionError, weakreduce.model.errors.pickle.PicklingError)) as caught:
        weakreduce.dumps(chain)
    (note,) = notes(caught.value)
    assert note.startswith("weakreduce: the pickler's recursion ended at root")
    assert ".next.next.next" in note
    assert len(note) < 600
    report = explain(chain)
    assert report.total_bytes is None
    assert len(str(report)) < 3000
    while chain is not None:  # freeing it at once would recurse as well
        chain = vars(chain).pop("next")


class Raising:
    """Raises wherever it is asked for anything."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no")

    def _no(self, *_arguments: Any) -> Any:
        raise ZeroDivisionError

    __repr__ = __str__ = __eq__ = __bool__ = __len__ = __hash__ = __getattr__ = _no


@pytest.mark.parametrize("host", HOSTS)
def test_objects_that_raise_everywhere(host: str) -> None:
    raising = Raising()
    root = {"a": [raising], "b": weakref.ref(raising)}
    with pytest.raises(RuntimeError) as caught:
        weakreduce.dumps(root, host=host)
    assert str(caught.value) == "no"
    assert "root['a'][0] (a " in notes(caught.value)[0]
    report = explain(root, host=host)
    assert fates(report) == {"root['b']": "link"}
    assert report.failures[0].path == "root['a'][0]"


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class RaisesSpeechless:
    def __reduce__(self) -> Any:
        raise Speechless


def test_errors_that_cannot_be_said() -> None:
    raising = RaisesSpeechless()
    with pytest.raises(Speechless) as caught:
        weakreduce.dumps([raising])
    assert "root[0]" in notes(caught.value)[0]
    report = explain([raising])
    assert report.errors == ["Speechless: (its text cannot be made)"]
    with pytest.warns(weakreduce.DanglingWarning, match="its text cannot be made"):
        weakreduce.dumps([weakref.ref(raising)])


def test_the_key_of_a_weak_dictionary_is_named() -> None:
    value = Thing()
    lock = threading.Lock()
    report = explain({"table": weakref.WeakValueDictionary({lock: value})})
    assert [failure.path for failure in report.failures] == ["list(root['table'])[0]"]


def test_a_record_never_breaks_a_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handle:
        def __init__(self, held: Any) -> None:
            self.held = held

    asked = []

    def referent(handle: Any) -> Any:
        asked.append(handle)
        if len(asked) > 1:  # the dump itself asks once
            raise ZeroDivisionError
        return handle.held

    from weakreduce.model import kinds

    monkeypatch.setattr(kinds, "_registered", weakref.WeakKeyDictionary())
    weakreduce.register(Handle, referent=referent, rebuild=list)
    held = Thing()
    root = [held, Handle(held), [[weakref.ref(held)]]]
    plain = weakreduce.dumps(root, policy="dangle")
    asked.clear()
    with weakreduce.record() as report:
        assert weakreduce.dumps(root, policy="dangle") == plain
    assert report.dumps == 1
    assert report.errors == ["this dump could not be reported: ZeroDivisionError: "]


def test_a_record_of_a_dump_that_fails_leaves_the_error_as_it_is() -> None:
    outside = Thing()
    root = restless(Thing(), [[[weakref.ref(outside)]]])
    kept = []
    for Restless.left in range(12):
        with weakreduce.record() as report, pytest.raises(
            (weakreduce.WeakrefPicklingError, ZeroDivisionError)
        ) as caught:  # fmt: skip
            weakreduce.dumps(root, policy="strict")
        assert report.dumps == 1
        kept.append((caught.type.__name__, report.errors[0].partition(":")[0]))
    assert ("WeakrefPicklingError", "this dump could not be reported") in kept
    assert kept[-1] == ("WeakrefPicklingError", "root[2][0][0][0]")


def test_explain_raises_what_hinders_it() -> None:
    """Whenever that comes; and there is no report that lacks what could not be looked at."""
    root, raised = restless(Thing(), [[weakref.ref(Thing())]]), 0
    Restless.left = 1000
    whole = explain(root).counts
    for Restless.left in range(30):
        try:
            report = explain(root)
        except ZeroDivisionError:
            raised += 1
        else:
            assert report.errors or report.counts == whole
    assert raised


def test_what_runs_inside_of_an_explanation_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import copyreg

    monkeypatch.setitem(copyreg.dispatch_table, Nesting, reduce_nesting)
    held = Thing("held")
    with weakreduce.record() as report:
        assert explain([Nesting(held), weakref.ref(held)]).counts == {"snapshot": 1}
    assert report.dumps == 0


def test_dumps_inside_a_walk_that_is_run_again_are_recorded_once() -> None:
    """A pickler's own override is asked by each walk."""
    held, outside = Thing("held"), Thing("outside")
    asked = []

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is Nesting:
                asked.append(obj)
                return bytes, (weakreduce.dumps(weakref.ref(obj.held)),)
            return super().reducer_override(obj)

    with weakreduce.record() as report:
        Pickler(io.BytesIO()).dump([Nesting(held), Nesting(held), weakref.ref(outside)])
    assert len(asked) >= 4
    assert report.dumps == 3
    assert report.counts == {"snapshot": 3}


def test_limits_hold_for_dill_after_uninstall() -> None:
    policy = weakreduce.Policy(max_snapshot_bytes=1000)
    big = things.Big()
    weakreduce.uninstall("dill")
    try:
        with pytest.warns(weakreduce.DanglingWarning, match="max_snapshot_bytes=1000"):
            weakreduce.dumps([weakref.ref(big)], policy=policy, host="dill")
    finally:
        weakreduce.install("dill")


class AttributesRaise:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class ClassRaises:
    @property
    def __class__(self) -> Any:
        raise RuntimeError


class DictRaises(dict):  # type: ignore[type-arg]
    def _no(self, *_arguments: Any) -> Any:
        raise RuntimeError

    items = keys = values = __iter__ = __len__ = _no


def unpicklable() -> dict[str, Any]:
    frame = sys._getframe()

    class LocalHolds:
        held = frame

    slots = type("Slots", (), {"__slots__": ("x",)})()
    slots.x = frame
    return {
        "root[0]": [AttributesRaise()],
        "root['a']": {"a": ClassRaises()},
        "root": DictRaises(a=1),
        "type(root[0]).held": [LocalHolds()],
        "root.held": LocalHolds,
        "root.args[0]": functools.partial(print, frame),
        "list(root)[1]": collections.deque([1, frame]),
        "root.default_factory.__closure__[0].cell_contents": collections.defaultdict(
            closure(frame)
        ),
        "root[(1, 'a')][0]": {(1, "a"): [frame]},
        "list(root)[0]": {frame: 1},
        "list(root.values())[0]": {Thing(): frame},
        "root[0].x": [slots],
        "root.m.__self__.held": Thing(m=Thing(held=frame).method),
        "root[1][0]": (lambda cycle: cycle.append((frame, cycle)) or cycle)([0]),
    }


@pytest.mark.parametrize("path", list(unpicklable()))
def test_odd_things_that_cannot_be_pickled_are_found(path: str) -> None:
    for host in ("cloudpickle", "dill"):
        if "__closure__" in path and not gaps.writes_code(host):
            continue
        report = explain(unpicklable()[path], host=host)
        assert [failure.path for failure in report.failures] == [path]
        assert report.total_bytes is None


def test_types_that_are_not_ready_do_not_crash() -> None:
    """In a process of its own: the interpreter made this type ready for nobody yet."""
    code = (
        "import weakreduce, sys\n"
        "lines = (lambda: 0).__code__.co_lines()\n"
        "for host in ('cloudpickle', 'dill', 'pickle'):\n"
        "    print(weakreduce.explain([lines], host=host).failures[0].path)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "root[0]\n" * 3), done.stderr


def test_odd_names_are_quoted() -> None:
    thing = Thing()
    vars(thing)["a b"] = sys._getframe()
    (failure,) = explain(thing).failures
    assert failure.path == "vars(root)['a b']"
    assert eval(failure.path, {"root": thing}) is vars(thing)["a b"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_record_sees_what_engines_send(method: str) -> None:
    from concurrent.futures import ProcessPoolExecutor

    outside = Thing()
    with weakreduce.record() as report:
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            assert pool.submit(things.log, weakref.ref(outside)).result() is None
    assert report.counts == {"snapshot": 1}
    assert report[0].path == "args[0]"
    assert report.dumps >= 1


def test_an_interrupt_passes() -> None:
    class Interrupting:
        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        explain([Interrupting()])
    assert notes(caught.value) == []


def test_a_good_dump_imports_nothing_for_bad_ones() -> None:
    code = (
        "import sys, weakref, weakreduce; o = type('O', (), {})(); import cloudpickle;"
        "cloudpickle.dumps([o, weakref.ref(o), weakref.WeakSet([o])]);"
        "rooms = ('weakreduce.report', 'weakreduce.reading');"
        "print([name for name in sys.modules if name.startswith(rooms)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    light = "import sys, weakreduce; print('logging' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("host", HOSTS)
def test_a_recorded_dump_writes_finalizers_as_any_other(host: Any) -> None:
    """Also where the host's tables, and no override, are asked for them."""
    target = Thing("target")
    root = [weakref.finalize(target, things.log), target]
    payload = weakreduce.dumps(root, host=host)
    with weakreduce.record() as report:
        assert weakreduce.dumps(root, host=host) == payload
    assert (report.errors, report.counts) == ([], {"dangle": 1})


def test_the_reports_are_imported_by_the_first_dump_that_is_watched() -> None:
    """By one that is logged, say, without a word of the user's; not with weakreduce."""
    code = """
        import logging, sys, weakref
        import weakreduce
        ours = {name for name in sys.modules if name.startswith("weakreduce.")}
        rooms = {name.split(".")[1] for name in ours}
        assert not rooms & {"report", "reading", "paths", "engines"}, ours
        assert {name for name in ours if ".core." in name} == {"weakreduce.core.watchers"}, ours
        target = {1}
        weakreduce.dumps([target, weakref.ref(target)])
        assert not any(name.startswith("weakreduce.report") for name in sys.modules)
        logging.basicConfig(level="DEBUG", stream=sys.stdout, format="%(message)s")
        weakreduce.dumps([target, weakref.WeakSet()])
        weakreduce.dumps([target, weakref.ref(target)])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("dump of list with cloudpickle: 1 link; "), done.stdout


def test_a_dump_while_another_thread_imports_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is there then, and empty: nobody can listen yet."""
    target = Thing()
    payload = weakreduce.dumps([target, weakref.ref(target)])
    with monkeypatch.context() as patch:
        patch.setattr(watchers, "_logger", None)
        patch.setitem(sys.modules, "logging", types.ModuleType("logging"))
        assert weakreduce.dumps([target, weakref.ref(target)]) == payload
        assert watchers._logger is None  # it is looked for again


def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    import cloudpickle

    outside = Thing()
    root = [
        outside,
        weakref.ref(outside),
        weakref.WeakSet([Thing(), outside]),
        weakref.ref(Thing()),
    ]
    with caplog.at_level("INFO", "weakreduce"):
        cloudpickle.dumps(root)
    assert caplog.messages == []
    with caplog.at_level("DEBUG", "weakreduce"):
        cloudpickle.dumps([1, 2])
        cloudpickle.dumps(root)
        with pytest.raises(weakreduce.WeakrefPicklingError):
            weakreduce.dumps([weakref.ref(outside)], policy="strict")
    assert caplog.messages[0].startswith("dump of list with cloudpickle: 1 dead, 2 link; ")
    assert caplog.messages[1] == "root[3]: ref -> None: dead (its referent is dead)"
    assert caplog.messages[2] == "dump of list with cloudpickle: 1 refuse; not sent"
    assert caplog.messages[3] == 'root[0]: ref -> Thing: refuse (policy "strict" refuses it)'
    assert len(caplog.messages) == 4


def test_json_is_json() -> None:
    outside = Thing()
    report = explain({"\ud800<b>": weakref.ref(outside), ("a", 1): weakref.proxy(outside)})
    found = json.loads(report.to_json())
    assert found["counts"] == {"snapshot": 2}
    assert found["findings"][0]["fate"] == "snapshot"
    assert Path(__file__).name not in report.to_json()


def test_a_failure_does_not_search_the_whole_program() -> None:
    """What the pickler writes as a name, and all that is behind it, is no place to look."""
    from weakreduce.paths import search

    made = Temporary()
    root = [made, json.dumps, Thing]
    everywhere = search.Search(root, [-1])
    here = search.Search(root, [-1], lambda named: True)
    assert len(here.objects) < 20 < len(everywhere.objects)
    with pytest.raises(TypeError) as caught:
        weakreduce.dumps(root)
    assert "a generator that is made to write root[0]" in notes(caught.value)[0]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("attributes", [{}, {"tag": 1}], ids=["bare", "tagged"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: functools.partial(print, sep=""),
        lambda: functools.partial(functools.partial(print), 1),
        lambda: OSError(1, "no"),
        lambda: things.OddError("odd"),
        lambda: io.BytesIO(b"bytes"),
        lambda: io.StringIO("text"),
    ],
    ids=["partial", "partial of partial", "OSError", "OddError", "BytesIO", "StringIO"],
)
def test_looking_at_an_object_leaves_it_as_it_was(
    make: Callable[[], Any], attributes: dict[str, int], host: Any
) -> None:
    """Types in C make their ``__dict__`` when asked for it, and their pickle tells that."""
    obj = make()
    for name, value in attributes.items():
        setattr(obj, name, value)
    thing = Thing()
    payload = [obj, thing, weakref.ref(thing)]
    before = pickle.dumps(obj), weakreduce.dumps(payload, host=host)
    explain(payload, host=host)
    with pytest.raises(weakreduce.WeakrefPicklingError):
        weakreduce.dumps(payload, policy="forbid", host=host)
    unpicklable = [obj, things.Locked()]
    with pytest.raises(TypeError):
        weakreduce.dumps(unpicklable, host=host)
    assert (pickle.dumps(obj), weakreduce.dumps(payload, host=host)) == before


# --- reports by themselves -----------------------------------------------------------------


def test_a_report_says_in_one_line_what_it_is() -> None:
    report = explain(weakref.WeakSet())
    assert repr(report) == f"<weakreduce.Report: {report.summary()}>"


def test_pictures_are_put_side_by_side_as_long_as_they_can_be_looked_at() -> None:
    one = Picture({0: "list", 1: "Thing"}, {(0, 1): "[0]"}, [(0, 1, "()", "link")])
    both = one.beside(one)
    assert both == Picture(
        {0: "list", 1: "Thing", 2: "list", 3: "Thing"},
        {(0, 1): "[0]", (2, 3): "[0]"},
        [(0, 1, "()", "link"), (2, 3, "()", "link")],
    )
    full = Picture(one.nodes, one.strong, one.weak * DRAWN)
    assert full.beside(one) is full
    assert Picture({}, {}, []).beside(one).weak == one.weak


def test_a_snapshot_that_cannot_be_pickled_by_itself_has_no_size() -> None:
    """What it leads to is too deep, unless the payload has met that from its other end."""
    links = [Thing(str(number)) for number in range(40_000)]
    for link, following in itertools.pairwise(links):
        link.following = following
    deep, plain = Thing("deep", first=links[0]), Thing("plain")
    report = weakreduce.explain([*reversed(links), weakref.ref(deep), weakref.ref(plain)])
    sizes = {finding.path: finding.bytes for finding in report}
    assert sizes["root[40000]"] is None
    assert sizes["root[40001]"] is not None
