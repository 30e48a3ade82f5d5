"""`Report.heaviest`: what weighs in a payload, weak or not."""

from __future__ import annotations

import collections
import concurrent.futures
import io
import json
import multiprocessing
import pickle
import re
import sys
import types
import weakref
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
import things

import weakreduce
from weakreduce.report.extents import Unread, _read, extents
from weakreduce.report.findings import Weight
from weakreduce.report.measure import Scale

HOSTS = ["cloudpickle", "dill", "pickle"]


def paths(report: weakreduce.Report) -> list[str]:
    return [weight.path for weight in report.heaviest]


def nested() -> dict[str, Any]:
    return {
        "wrapped": things.Thing(data=bytes(900_000), more=bytes(50_000), few=bytes(50)),
        "list": [bytes(100_000)],
        "numbers": list(range(10)),
    }


@pytest.mark.parametrize("host", HOSTS)
def test_the_heaviest_parts_of_the_heaviest_part(host: Any) -> None:
    root = nested()
    report = weakreduce.explain(root, host=host)
    assert paths(report) == [
        "root['wrapped']", "root['wrapped'].data",
        "root['list']", "root['list'][0]", "root['wrapped'].more",
    ]  # fmt: skip
    types = ["Thing", "bytes", "list", "bytes", "bytes"]
    assert [weight.type for weight in report.heaviest] == types
    for weight in report.heaviest:
        part = eval(weight.path, {"root": root})
        assert weight.exact
        assert weight.bytes == len(weakreduce.dumps(part, host=host))


@pytest.mark.parametrize("protocol", range(6))
def test_extents_are_those_of_the_payload(protocol: int) -> None:
    root = [bytes(5000), {"key": ["a" * 70_000, (1, 2, 3)]}, things.Thing(x=bytearray(300)), {1, 2}]
    root += [root[0], root[1]]
    file = io.BytesIO()
    pickler = pickle.Pickler(file, protocol)
    pickler.dump(root)
    found = extents(file.getvalue(), (), 0)
    memo = pickler.memo.copy()
    for part in (root, root[0], root[1], root[1]["key"], root[1]["key"][0], root[2]):
        own = len(pickle.dumps(part, protocol))
        assert abs(own - found[memo[id(part)][0]].size) <= 60
    with pytest.raises(Unread):
        extents(file.getvalue(), (), 0, 5)
    for end in range(0, len(file.getvalue()), 7):
        with pytest.raises(Unread):
            extents(file.getvalue()[:end], (), 0)


def test_it_goes_down_to_where_no_part_takes_most() -> None:
    root: Any = [bytes(1000) for _ in range(20)]
    for _ in range(5):
        root = things.Thing(held=root, note="x")
    report = weakreduce.explain(root)
    chain = ["root" + ".held" * depth for depth in range(1, 6)]
    assert paths(report)[:5] == chain
    assert all(path.startswith("root.held.held.held.held.held[") for path in paths(report)[5:])


def test_a_long_way_is_shown_by_its_beginning_and_its_end() -> None:
    root: Any = bytes(100_000)
    for _ in range(60):
        root = [root]
    report = weakreduce.explain(root)
    assert len(report.heaviest) == 20
    assert report.heaviest[0].path == "root[0]"
    assert paths(report)[-1] == "root" + "[0]" * 60


def test_what_is_small_or_alike_is_no_part() -> None:
    report = weakreduce.explain([{"number": number} for number in range(1000)])
    assert paths(report) == ["root"]
    assert report.heaviest[0].bytes == report.total_bytes


@pytest.mark.parametrize("root", [3, None, "text", bytes(2000), int, print, (), []])
def test_what_has_no_parts_weighs_itself(root: Any) -> None:
    report = weakreduce.explain(root)
    total = report.total_bytes
    assert report.heaviest == (Weight("root", type(root).__name__, total),)  # type: ignore[arg-type]


class Selective:
    """Leaves its cache behind."""

    def __init__(self) -> None:
        self.cache = bytes(1_000_000)
        self.data = bytes(10_000)

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data}


class Indirect:
    """Hands over what is inside an attribute that does not travel itself."""

    def __init__(self, held: Any) -> None:
        self.box = [held, 1]

    def __reduce__(self) -> Any:
        return Indirect, (self.box[0],)


def test_what_does_not_travel_does_not_weigh() -> None:
    assert paths(weakreduce.explain([Selective()])) == ["root[0]", "root[0].data"]


def test_parts_behind_what_does_not_travel() -> None:
    report = weakreduce.explain({"it": Indirect(bytes(5000))})
    assert paths(report) == ["root['it']", "root['it'].box[0]"]


def test_what_is_shared_is_there_once() -> None:
    shared = bytes(100_000)
    report = weakreduce.explain([{"a": shared}, {"b": shared}])
    assert paths(report) == ["root[0]", "root[0]['a']"]


@pytest.mark.parametrize("host", HOSTS)
def test_snapshots_are_left_aside(host: Any) -> None:
    outside = things.Big(size=500_000)
    root = things.Thing(weak=weakref.ref(outside), held=[bytes(1000), bytes(9000)])
    root.back = things.Thing(parent=weakref.ref(root), data=bytes(3000))
    report = weakreduce.explain(root, host=host)
    assert report[0].bytes is not None and report[0].bytes > 500_000
    found = {weight.path: weight.bytes for weight in report.heaviest}
    assert list(found)[:2] == ["root.held", "root.held[1]"]
    assert 3000 < found["root.back"] < 4000
    assert max(found.values()) < 11_000


def test_where_something_cannot_be_pickled() -> None:
    report = weakreduce.explain({"lock": things.Locked(), "data": bytes(5000)})
    assert report.total_bytes is None
    assert paths(report) == ["root['data']"]


@pytest.mark.parametrize("host", HOSTS)
def test_what_makes_a_dump_raise_has_no_weight(host: Any) -> None:
    """In its place stands something else while a dump goes on, whose size would say nothing."""
    alive = things.Thing()
    for root, policy in [
        ((number for number in ()), None),
        ([(number for number in ())], None),
        (weakref.ref(alive), "strict"),
        ([weakref.ref(alive)], "strict"),
        ([alive.__init__.__self__, weakref.proxy(alive)][1:], "forbid"),
        (weakref.WeakSet([alive]), "strict"),
    ]:
        report = weakreduce.explain(root, policy, host)
        assert report.errors
        assert (report.total_bytes, report.heaviest) == (None, ())
    report = weakreduce.explain([weakref.ref(alive), bytes(9000)], "strict", host)
    assert paths(report) == ["root[1]"]


def test_functions_and_classes_by_value() -> None:
    data = bytes(40_000)

    def function() -> int:
        return len(data)

    report = weakreduce.explain({"function": function})
    assert paths(report)[:2] == [
        "root['function']", "root['function'].__closure__[0].cell_contents",
    ]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_what_holds_something_that_cannot_be_pickled_is_measured_without_it(host: Any) -> None:
    """By itself as in the payload: nothing is written for what is left out."""
    kept = things.Thing("kept")
    bad = [(number for number in ()), (number for number in ())]
    root = {"first": [bytes(50_000), bad[0]], "second": [bytes(9000), *bad, weakref.ref(kept)]}
    report = weakreduce.explain(root, host=host)
    assert {failure.path for failure in report.failures} == {
        "root['first'][1]", "root['second'][2]",
    }  # fmt: skip
    assert [(weight.path, weight.exact) for weight in report.heaviest] == [
        ("root['first']", True), ("root['first'][0]", True),
        ("root['second']", True), ("root['second'][0]", True),
    ]  # fmt: skip
    assert 50_000 < report.heaviest[0].bytes < 50_100


def test_the_report_shows_it() -> None:
    report = weakreduce.explain(nested())
    for text in (str(report), report.table(40), report.to_html()):
        assert "what weighs:" in text.lower()
        assert "900,009" in text
    # Narrow places show no head of a table.
    heads = re.findall("<thead>.*?</thead>", report.to_html(), re.DOTALL)
    assert not any("weighs" in head for head in heads)
    assert "root['wrapped'].data (bytes)" in str(report)
    assert "root[&#x27;wrapped&#x27;].data" in report.to_html()
    found = json.loads(report.to_json())["heaviest"]
    assert found[1] == {
        "path": "root['wrapped'].data", "type": "bytes", "bytes": 900_009, "exact": True,
    }  # fmt: skip
    assert "what weighs" not in str(weakreduce.explain([1, 2]))


def test_a_recorded_dump() -> None:
    """The sizes are read off the payload; nothing is pickled twice."""
    counted = collections.Counter[str]()

    class Counting(things.Thing):
        def __getstate__(self) -> Any:
            counted["asked"] += 1
            return vars(self)

    root = {"counting": Counting(data=bytes(50_000)), **nested()}
    with weakreduce.record() as report:
        payload = pickle.loads(cloudpickle.dumps(root))
    assert payload["list"] == root["list"]
    assert counted["asked"] == 1
    assert paths(report)[:2] == ["root['wrapped']", "root['wrapped'].data"]
    assert not report.heaviest[0].exact
    assert abs(report.heaviest[1].bytes - 900_000) < 30
    assert "~900,0" in str(report)
    with weakreduce.record() as report:
        cloudpickle.dumps([1])
        cloudpickle.dumps(root)
        cloudpickle.dumps(root)
    assert len(set(paths(report))) == len(report.heaviest)
    assert "root['wrapped'].data" in paths(report)


def test_a_recorded_dump_of_many_objects_is_not_slowed() -> None:
    """Nothing is read off it; `explain` does."""
    root = [str(number) for number in range(110_000)] + [bytes(3_000_000)]
    with weakreduce.record() as report:
        cloudpickle.dumps(root)
    assert report.dumps == 1
    assert report.heaviest == ()
    assert paths(weakreduce.explain(root)) == ["root[110000]"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_an_engine_was_sent(method: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        with weakreduce.record() as report:
            task = pool.submit(repr, things.Thing(data=bytes(200_000)))
            assert "Thing" in task.result(timeout=300)
    assert paths(report) == ["args[0]", "args[0].data"]
    assert abs(report.heaviest[1].bytes - 200_000) < 100
    with context.Pool(1) as pool, weakreduce.record() as report:
        assert pool.apply(len, ([things.Big(size=200_000)],)) == 1
    assert paths(report)[:3] == ["args[0]", "args[0][0]", "args[0][0].data"]


def test_a_dump_that_writes_to_its_file_itself(tmp_path: Any) -> None:
    root = {"array": np.zeros(10_000), "text": "x" * 1000}
    with weakreduce.record() as report:
        joblib.dump(root, tmp_path / "file")
    assert (joblib.load(tmp_path / "file")["array"] == 0).all()
    assert report.heaviest


def test_a_budget_that_is_spent_shows() -> None:
    """A chain of large parts costs more to be measured than the dump did."""
    root: Any = bytes(12_000_000)
    for _ in range(12):
        root = [root]
    report = weakreduce.explain(root)
    exact = [weight.exact for weight in report.heaviest]
    assert True in exact
    assert False in exact
    assert all(12_000_000 < weight.bytes < 12_000_200 for weight in report.heaviest)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [[bytes(3000 + number)] for number in range(8)],
        lambda: tuple(things.Big(size=900) for _ in range(8)),
        lambda: {number: bytes(700) for number in range(8)},
        lambda: {frozenset({number}): bytearray(700) for number in range(8)},
        lambda: collections.deque(bytes(700) for _ in range(8)),
    ],
)
def test_parts_that_are_alike_do_not_flood_the_list(make: Any) -> None:
    """Three of one sort and holder: of one type, with the same path but for a number."""
    root = {"held": make(), "other": [bytes(800), "x" * 800, *map(bytes, range(801, 804))]}
    for explained in (root, root["held"]):
        report = weakreduce.explain(explained)
        held = "root['held']" if explained is root else "root"
        found = [path for path in paths(report) if path != held and "other" not in path]
        outer = [path for path in found if not any(path[:-1].startswith(one) for one in found)]
        assert len(outer) == 3
        assert len(found) in {3, 6}  # with what takes most of each
        for weight in report.heaviest:
            assert weight.exact
            part = eval(weight.path, {"root": explained})
            assert weight.bytes == len(weakreduce.dumps(part))


def test_parts_with_names_or_types_of_their_own_are_not_alike() -> None:
    root = {f"name{number}": bytes(600) for number in range(5)}
    assert len(weakreduce.explain(root).heaviest) == 5
    mixed = [bytes(800), "x" * 800, bytearray(800), *map(bytes, range(801, 804))]
    assert paths(weakreduce.explain(mixed)) == [
        "root[2]", "root[5]", "root[4]", "root[3]", "root[1]",
    ]  # fmt: skip


def test_what_is_alike_in_all_is_found_in_a_list_of_many() -> None:
    """The few that weigh are shown among many that do not."""
    root: list[Any] = [{"number": number} for number in range(50_000)]
    for number in (100, 40_000):
        root[number]["data"] = bytes(2_000_000)
    assert set(paths(weakreduce.explain(root))[:2]) == {"root[100]", "root[40000]"}


class Searched(types.ModuleType):
    """Counts how often it is asked for a function that it does not have."""

    count = 0

    def __getattr__(self, name: str) -> Any:
        if name == "nobodys":
            Searched.count += 1
        raise AttributeError(name)


def test_modules_are_searched_once_for_a_function_that_knows_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as one of a template that was compiled: cloudpickle looks into every module."""
    monkeypatch.setitem(sys.modules, "searched", Searched("searched"))
    names: dict[str, Any] = {"__name__": None}
    exec(f"def nobodys(): return {bytes(5000)!r}", names)
    function = names["nobodys"]
    assert function.__module__ is None
    root = things.Thing(box=[things.Thing(held=[{"function": function}])])
    root.me = weakref.ref(root)
    copy = pickle.loads(cloudpickle.dumps(root))
    assert copy.box[0].held[0]["function"]() == bytes(5000)
    Searched.count = 0
    report = weakreduce.explain(root)
    exact = [weight for weight in report.heaviest if weight.exact]
    assert len(exact) >= 5
    # A dump that is run for advice is another.
    assert Searched.count <= 2
    for weight in exact:
        assert weight.bytes == len(weakreduce.dumps(eval(weight.path, {"root": root})))


def test_a_finalizer_weighs_what_it_takes_in_the_payload() -> None:
    """By itself it would be detached, and weigh nothing."""
    thing = things.Thing()
    finalizer = weakref.finalize(thing, things.called, bytes(300_000))
    report = weakreduce.explain([thing, finalizer], policy=weakreduce.Policy(finalizers="rearm"))
    finalizer.detach()
    assert [(weight.path, weight.exact) for weight in report.heaviest] == [
        ("root[1]", False), ("root[1].peek()[2][0]", True),
    ]  # fmt: skip
    assert report.heaviest[0].bytes > report.heaviest[1].bytes > 300_000


def test_memory_that_lacks_a_report_costs_no_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is weighed for a report is written where the payload stood, which is put back."""

    def lacks(_scale: Scale, *_exception: object) -> None:
        raise MemoryError

    thing = things.Thing("outside")
    root = [weakref.ref(thing), "text" * 100]
    expected = cloudpickle.dumps(root)
    monkeypatch.setattr(Scale, "__exit__", lacks)
    with weakreduce.record() as report:
        assert cloudpickle.dumps(root) == expected
    assert "could not be reported" in " ".join(report.errors)


def test_of_many_parts_that_weigh_alike_ten_are_shown() -> None:
    names = "abcdefghijkl"
    report = weakreduce.explain(things.Thing(**{name: bytes(10_000) for name in names}))
    assert len(set(paths(report))) == len(paths(report)) == 10
    assert all(re.fullmatch(r"root\.[a-l]", path) for path in paths(report))


def test_the_way_down_has_an_end() -> None:
    """However long it is: each part of it is nearly all that its holder is."""
    deep: Any = bytes(100_000)
    for _ in range(600):
        deep = [deep]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    try:
        report = weakreduce.explain(deep, host="pickle")
    finally:
        sys.setrecursionlimit(limit)
    assert paths(report)[0] == "root[0]"
    assert {weight.type for weight in report.heaviest} == {"list"}


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("base", [cloudpickle.Pickler, pickle._Pickler])  # type: ignore[attr-defined]
def test_a_tuple_that_is_in_itself_by_an_old_protocol(base: Any, protocol: int) -> None:
    """Its items are taken away again, and below protocol 1 the mark is, too, as if it were one."""
    held: list[Any] = []
    inner = (held, 1, 2, 3)
    held.append(inner)
    root = [inner, bytes(5000), "x" * 9000]
    file = io.BytesIO()
    base(file, protocol).dump(root)
    read = _read(file.getvalue(), 0, 10_000)
    assert all(0 <= begin < end <= len(file.getvalue()) for begin, end in read.values())
    with weakreduce.record() as report:
        cloudpickle.Pickler(io.BytesIO(), protocol).dump(root)
    assert paths(report)[-1] == "root[2]" or "root[2]" in paths(report)


def test_where_a_holder_cannot_be_looked_into_nothing_is_said_to_weigh() -> None:
    """The rest of the report is there."""
    root = things.restless(things.Thing(data=bytes(50_000)))
    found = set()
    for things.Restless.left in range(1, 30):
        try:
            report = weakreduce.explain(root)
        except ZeroDivisionError:
            continue
        if report.errors:
            continue
        assert report.counts == {"link": 1}
        found.add(bool(report.heaviest))
    assert found == {False, True}
