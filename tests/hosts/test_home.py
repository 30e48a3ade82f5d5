"""``Policy(identity="home")``: what comes back is what was sent, where that still lives."""

from __future__ import annotations

import functools
import gc
import io
import json
import pickle
import random
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import cloudpickle
import gaps
import graphs
import homing
import pytest
import run_random_graphs
import things
from circles_loaded import received
from homing import HOME, nothing_is_left

import weakreduce
from weakreduce import wire
from weakreduce.model import homes
from weakreduce.model.shipping import shipping

HERE = Path(__file__).parent.parent / "support"
HOSTS = ["cloudpickle", "dill", "pickle"]
PATIENCE = 60


@pytest.fixture(autouse=True)
def _without_what_other_tests_keep() -> None:
    for table in (homes._places, homes.away, homes._sent):
        table.clear()


def elsewhere(
    payload: bytes, host: str = "cloudpickle", protocol: int = 5, identity: str = "home"
) -> bytes:
    """What a fresh process makes of a payload's load."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "homing.py", host, str(protocol), identity],
        input=payload, capture_output=True, cwd=HERE, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def script(source: str, *arguments: str) -> Any:
    """What a script prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process", "-c", source, *arguments],
        capture_output=True, text=True, cwd=HERE, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def away(payload: bytes, host: str = "cloudpickle") -> Any:
    """The load of a payload where another process would be: a forked child."""
    homes._renew()
    return weakreduce.loads(payload, host=host)


# --- each kind ----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("host", HOSTS)
def test_each_kind_comes_back(host: str, protocol: int) -> None:
    for cls in (things.Thing, things.Valued, things.CallableThing):
        thing: Any = cls()
        sent = homing.every_kind(thing)
        payload = weakreduce.dumps(sent, host=host, protocol=protocol, policy=HOME)
        came = weakreduce.loads(elsewhere(payload, host, protocol), host=host)
        for before, after in zip(sent, came, strict=True):
            assert type(after) is type(before)
            assert homing.referent_of(after) is thing, after
            assert not weakreduce.is_pinned(after), after
        assert came[1].__callback__ is things.called
        assert came[2].identity == id(thing)
        assert came[3]() == thing.method
        assert came[7].name == "listeners"
        del sent, before
        thing = None
        gc.collect()
        assert [homing.referent_of(weak) for weak in came] == [None] * len(came)
        assert [len(weak) for weak in came[6:]] == [0] * 6
    del came, after
    assert nothing_is_left()


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_dead_comes_back_as_the_copy(host: str) -> None:
    thing = things.Thing("original")
    payload = weakreduce.dumps(homing.every_kind(thing), host=host, policy=HOME)
    del thing
    for bytes_of_it in (payload, elsewhere(payload, host)):
        came = weakreduce.loads(bytes_of_it, host=host)
        assert all(map(weakreduce.is_pinned, came))
        assert {homing.referent_of(weak).name for weak in came} == {"original"}
        assert len({id(homing.referent_of(weak)) for weak in came}) == 1
        del came
        assert nothing_is_left()


def test_a_registered_kind_comes_back() -> None:
    homing.register()
    thing = things.Thing()
    payload = weakreduce.dumps(homing.Registered(thing), policy=HOME)
    found = weakreduce.loads(payload)
    assert found.weak() is thing
    assert found.held is None
    copy = away(payload)
    assert copy.held is copy.weak() is not thing


def test_the_methods_of_classes_by_value() -> None:
    class Local:
        def method(self) -> str:
            return "method"

    local = Local()
    for host in filter(gaps.writes_code, ("cloudpickle", "dill")):
        weak = weakref.WeakMethod(local.method)
        payload = weakreduce.dumps(weak, host=host, policy=HOME)
        came = weakreduce.loads(payload, host=host)
        gc.collect()  # cloudpickle replaces the functions of a class that comes back
        assert came().__self__ is local
        assert came()() == "method"
        assert not weakreduce.is_pinned(came)
        again = weakreduce.loads(weakreduce.dumps(came, host=host, policy=HOME), host=host)
        assert again().__self__ is local
    called: list[Any] = []
    weak = weakref.WeakMethod(local.method, called.append)
    came = weakreduce.loads(weakreduce.dumps(weak, policy=weakreduce.Policy(identity="home")))
    local = None  # type: ignore[assignment]
    gc.collect()
    assert came() is None


def test_entries_of_their_own_fates() -> None:
    inside, outside, other = things.Valued("in"), things.Valued("out"), things.Valued("other")
    shared = weakreduce.share("other", other)
    members = weakref.WeakSet([inside, outside, shared])
    payload = weakreduce.dumps([inside, members], policy=HOME)
    copy, found = weakreduce.loads(payload)
    assert copy is not inside
    assert sorted(map(id, found)) == sorted(map(id, (copy, outside, other)))
    assert not weakreduce.is_pinned(found)
    del copy
    gc.collect()
    assert len(found) == 2
    copy, found = away(payload)
    assert [weakreduce.is_pinned(found), len(found)] == [True, 3]


def test_links_stay_links() -> None:
    thing = things.Thing()
    copy, weak = weakreduce.loads(weakreduce.dumps([thing, weakref.ref(thing)], policy=HOME))
    assert weak() is copy is not thing
    assert nothing_is_left()


# --- any graph ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
def test_random_graphs(host: str) -> None:
    for seed in range(120):
        choose = random.Random(seed)
        spec = run_random_graphs.random_spec(choose)
        model = graphs.Model(spec, "snapshot")
        root, nodes = graphs.build(spec)
        dumps = functools.partial(
            weakreduce.dumps, root, policy=HOME, host=host, protocol=choose.randint(2, 5)
        )
        payload = dumps()
        assert payload == dumps()
        check_at_home(spec, model, weakreduce.loads(payload, host=host), nodes)
        found = away(payload, host)
        again = away(weakreduce.dumps(found, policy=HOME, host=host), host)
        for load in (found, again):
            graphs.check_copy(spec, model, load, weakreduce.is_pinned)
        del root, nodes, found, again, load, dumps
        assert nothing_is_left()


def check_at_home(
    spec: graphs.Spec, model: graphs.Model, root: list[Any], nodes: list[Any]
) -> None:
    """What copies refer to as snapshots are the original nodes."""
    seen: set[int] = set()
    queue = list(zip(spec.roots, root, strict=True))
    while queue:
        n, copy = queue.pop()
        if n in seen:
            continue
        seen.add(n)
        queue += zip(spec.strong[n], copy.strong, strict=True)
        for weak, thing in zip(spec.weak[n], copy.weak, strict=True):
            for position, referent, _ in () if weak.dead else graphs.unweak(weak, thing):
                target = weak.targets[position]
                if model.fate(target) == "snapshot":
                    assert referent is nodes[target]


CIRCLES = """
import runpy, sys, weakreduce
weakreduce.set_policy("snapshot", identity="home")
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_circles_through_a_construction(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", CIRCLES, str(HERE / "circles.py")]
    subprocess.run([*command, "cloudpickle", str(tmp_path)], check=True)
    expected = json.loads((tmp_path / "expected.json").read_text())
    assert len(expected) > 1000
    assert not [label for label, (number, _) in expected.items() if number is None]
    some = dict(list(expected.items())[::4])  # all of them are in test_circles.py
    (tmp_path / "expected.json").write_text(json.dumps(some))
    assert received("cloudpickle", tmp_path) == []


# --- bytes and tables ---------------------------------------------------------------------


def test_bytes_carry_an_id_and_numbers_alone() -> None:
    source = """
import json, weakref, things, weakreduce
from weakreduce.model import homes
kept = [things.Thing("a"), things.Thing("b")]
weak = [weakref.ref(thing) for thing in kept]
data = weakreduce.dumps(weak, policy=weakreduce.Policy(identity="home"))
assert weakreduce.dumps(weak, policy=weakreduce.Policy(identity="home")) == data
print(json.dumps([homes._process, data.replace(homes._process.encode(), b"?").hex()]))
"""
    (one, first), (other, second) = script(source), script(source)
    assert one != other
    assert first == second


def test_nothing_is_named_that_was_not_sent() -> None:
    sent, other, refused = things.Thing("sent"), things.Thing("other"), things.Thing("refused")
    weakreduce.dumps(weakref.ref(sent), policy=HOME)
    weakreduce.explain(weakref.ref(other), HOME)
    rules = ((things.Locked, "refuse"),)
    both = [weakref.ref(refused), weakref.ref(locked := things.Locked())]
    with pytest.raises(weakreduce.WeakrefPicklingError):
        weakreduce.dumps(both, policy=weakreduce.Policy(identity="home", rules=rules))
    assert locked
    ours = homes._process
    named = {serial for serial in range(10_000) if homes.original((ours, serial)) is not None}
    assert [homes.original((ours, serial)) for serial in named] == [sent]
    copy = things.Thing("copy")
    for forged in (
        (ours, max(named) + 1),
        ("0" * 32, *named),
        (ours, -1),
        (ours, "1"),
        (ours,),
        (),
    ):
        assert wire.at_home(copy, *forged) is copy
        assert wire.is_away(copy, *forged)


def test_a_dangling_edge_names_nothing() -> None:
    big, locked = things.Big(), things.Locked()
    policy = weakreduce.Policy(identity="home", max_snapshot_bytes=1000)
    with pytest.warns(weakreduce.DanglingWarning):
        data = weakreduce.dumps([weakref.ref(big), weakref.ref(locked)], policy=policy)
    assert [weak() for weak in weakreduce.loads(data)] == [None, None]
    assert homes._process.encode() not in data
    assert not homes._sent


def test_a_copy_is_the_default_and_leaves_no_trace() -> None:
    thing = things.Thing()
    data = weakreduce.dumps(homing.every_kind(thing))
    assert b"at_home" not in data
    assert nothing_is_left()
    named = weakreduce.dumps(weakref.ref(thing), policy=HOME)
    # One that was sent home-bound is written as ever under another policy.
    assert weakreduce.dumps(homing.every_kind(thing)) == data
    copy = away(named)
    assert b"at_home" not in weakreduce.dumps(copy)  # a file needs nothing of ours
    ready = weakreduce.Policy(ready_receiver="always")
    assert b"at_home" in weakreduce.dumps(copy, policy=ready)
    with weakreduce.policy(ready_receiver="never"):
        assert b"at_home" not in weakreduce.bind(copy).data
    assert b"at_home" in weakreduce.bind(copy).data


def test_it_needs_weakreduce_on_the_receiver(tmp_path: Path) -> None:
    thing = things.Thing()
    (tmp_path / "x.pickle").write_bytes(weakreduce.dumps(weakref.ref(thing), policy=HOME))
    source = (
        "import pickle, sys; sys.modules['weakreduce'] = None; pickle.load(open(sys.argv[1], 'rb'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path / "x.pickle")],
        capture_output=True, text=True, cwd=HERE, check=False,
    )  # fmt: skip
    assert "weakreduce" in done.stderr.splitlines()[-1]
    assert "ModuleNotFoundError" in done.stderr


def test_homes_do_not_pile_up() -> None:
    weak: Any = weakref.ref(thing := things.Thing())
    first = homes._process
    sizes = []
    for _ in range(40):
        data = weakreduce.dumps(weak, policy=HOME)
        sizes.append(len(data))
        weak = away(data)
    assert max(sizes[20:]) - min(sizes[20:]) < 10
    assert first.encode() in data
    assert thing


@pytest.mark.parametrize("host", HOSTS)
def test_reports_tell(host: str) -> None:
    thing, kept = things.Thing(), things.Thing()
    root = [kept, weakref.ref(kept), weakref.ref(thing), weakref.WeakSet([thing])]
    report = weakreduce.explain(root, HOME, host)
    assert report.counts == {"home": 2, "link": 1}
    assert report.total_bytes == len(weakreduce.dumps(root, policy=HOME, host=host))
    assert report.snapshot_bytes
    assert all(finding.bytes for finding in report if finding.fate == "home")
    assert "of them for snapshots" in report.summary()
    for text in (
        str(report),
        report.to_html(),
        report.to_dot(),
        report.to_mermaid(),
        report.to_json(),
    ):
        assert "home" in text
    with weakreduce.record() as recorded:
        data = weakreduce.dumps(root, policy=HOME, host=host)
    assert recorded.counts == report.counts
    load = away(data, host)
    with weakreduce.policy(ready_receiver="always"):
        assert weakreduce.explain(load, host=host).counts == report.counts  # on its way back
    assert weakreduce.explain(load, host=host).counts == {"snapshot": 2, "link": 1}


def test_unknown_identities_are_refused() -> None:
    with pytest.raises(ValueError, match="'copy', 'home'"):
        weakreduce.Policy(identity="house")


def test_picklers_that_only_read_a_table() -> None:
    class Pickler(pickle.Pickler):
        dispatch_table = cloudpickle.Pickler.dispatch_table

    thing, file = things.Thing(), io.BytesIO()
    with weakreduce.policy(HOME):
        Pickler(file).dump([weakref.ref(thing), weakref.WeakSet([thing])])
    weak, members = weakreduce.loads(file.getvalue())
    assert weak() is thing
    assert [*members] == [thing]
    assert not weakreduce.is_pinned(members)


# --- threads ------------------------------------------------------------------------------


def test_threads() -> None:
    kept = [things.Thing(str(number)) for number in range(200)]
    failures: list[Any] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(60):
            chosen = choose.sample(kept, 20)
            short_lived = things.Thing("short-lived")
            sent = [weakref.ref(thing) for thing in [*chosen, short_lived]]
            came = weakreduce.loads(weakreduce.dumps(sent, policy=HOME))
            if [weak() for weak in came] != [*chosen, short_lived]:
                failures.append(came)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    serials = [place.serial for place in homes._places.values()]
    assert len(serials) == len(set(serials)) == len(kept)
    kept.clear()
    assert nothing_is_left()


# --- forks --------------------------------------------------------------------------------

FORKS = """
import json, os, pickle, sys, weakref
import things, weakreduce
home = weakreduce.Policy(identity="home")
sent, unsent = things.Thing("sent"), things.Thing("unsent")
early = weakreduce.dumps(weakref.ref(sent), policy=home)

def in_child(function):
    out, into = os.pipe()
    if os.fork() == 0:
        with os.fdopen(into, "wb") as file:
            pickle.dump(function(), file)
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        found = pickle.load(file)
    os.wait()
    return found

def child():
    # The parent's bytes: a copy, as on any receiver, and not what this process inherited.
    came = weakreduce.loads(early)
    told = [came() is sent, weakreduce.is_pinned(came)]
    # Its own: what it sends and gets back.
    both = [weakref.ref(sent), weakref.ref(unsent)]
    own = weakreduce.dumps(both, policy=home)
    told += [weak() is thing for weak, thing in zip(weakreduce.loads(own), [sent, unsent])]
    # A grandchild has what the child has sent from the child.
    told.append(in_child(lambda: weakreduce.loads(own)[1]() is unsent))
    return told, own, in_child(lambda: weakreduce.dumps([weakref.ref(sent)], policy=home))

told, own, of_grandchild = in_child(child)
# What the parent had sent before the fork is the parent's; what it had not is the child's.
back = weakreduce.loads(own)
told += [back[0]() is sent, back[1]() is unsent, weakreduce.is_pinned(back[1])]
told.append(weakreduce.loads(of_grandchild)[0]() is sent)
told.append(weakreduce.loads(early)() is sent)
print(json.dumps(told))
"""


def test_forks() -> None:
    assert script(FORKS) == [
        False, True, True, True, False,  # in the child and the grandchild
        True, False, True, True, True,  # in the parent
    ]  # fmt: skip


def test_a_fork_in_the_midst_of_other_threads() -> None:
    source = """
import json, os, threading, weakref
import things, weakreduce
home = weakreduce.Policy(identity="home")
weakreduce.dumps(weakref.ref(things.Thing()), policy=home)  # not while modules are imported
going = True
def work():
    while going:
        thing = things.Thing()
        assert weakreduce.loads(weakreduce.dumps(weakref.ref(thing), policy=home))() is thing
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
codes = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        thing = things.Thing()
        same = weakreduce.loads(weakreduce.dumps(weakref.ref(thing), policy=home))() is thing
        os._exit(0 if same else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
going = False
for thread in threads:
    thread.join()
print(json.dumps(codes))
"""
    assert script(source) == [0] * 20


def test_of_many_homes_the_first_and_the_last_ones_are_remembered() -> None:
    """A copy that wanders for ever may not carry an ever longer list."""
    copy = things.Thing()
    stations = [(f"process {number}", number) for number in range(1, 13)]
    homes.remember(copy, tuple(part for pair in stations for part in pair))
    kept = [stations[0], *stations[-7:]]
    assert homes.homes_of(copy, ours=False) == tuple(part for pair in kept for part in pair)
    # And so they are where this process comes last.
    mine = homes.homes_of(copy, ours=True)
    assert mine[:-2] == homes.homes_of(copy, ours=False)
    with weakreduce.policy(identity="home"):
        assert weakreduce.loads(weakreduce.dumps(weakref.ref(copy)))() is copy


def test_a_fork_in_mid_dump() -> None:
    """The child's dump goes on, with numbers that its parent gave, and that are not its own."""
    source = """
import json, os, weakref
import things, weakreduce
from weakreduce.model import homes
home = weakreduce.Policy(identity="home")

class Forking(things.Thing):
    child = None
    def __reduce__(self):
        if Forking.child is None:
            Forking.child = os.fork()
        return things.Thing, (self.name,)

first, last = things.Thing("first"), Forking("last")
payload = weakreduce.dumps([weakref.ref(first), weakref.ref(last)], policy=home)
if Forking.child == 0:
    copies = weakreduce.loads(payload)
    right = copies[0]() is not first and copies[0]().name == "first" and first.name == "first"
    again = weakreduce.loads(weakreduce.dumps(weakref.ref(first), policy=home))() is first
    os._exit(0 if right and again else 1)
code = os.waitstatus_to_exitcode(os.waitpid(Forking.child, 0)[1])
print(json.dumps([code, weakreduce.loads(payload)[0]() is first]))
"""
    assert script(source) == [0, True]


@pytest.mark.parametrize("host", gaps.BY_VALUE)
def test_a_method_of_a_copy_goes_home_and_its_function_with_it(host: Any) -> None:
    """The function is of a class by value, and was never sent as a thing of its own."""

    class Local:
        def method(self) -> str:
            return "called"

    local = Local()
    copy = away(weakreduce.dumps(weakref.ref(local), policy=HOME, host=host), host)()
    assert copy is not local
    with shipping():
        back = weakreduce.dumps(weakref.WeakMethod(copy.method), host=host)
    assert weakreduce.loads(back, host=host)()() == "called"
