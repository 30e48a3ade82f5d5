"""`inspect`: it ends on every file, within small memory, and runs nothing of it."""

from __future__ import annotations

import base64
import codecs
import functools
import io
import json
import pickle
import random
import re
import subprocess
import sys
import textwrap
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import cloudpickle
import dill
import gaps
import odd_pickles
import pytest
import things
from everything import KEPT, everything
from things import Thing

import weakreduce
from weakreduce.__main__ import main
from weakreduce.core.expressions import Call
from weakreduce.reading import facts, machine, opcodes, payload


def read(path: Path, data: bytes, objects: int = machine.OBJECTS) -> payload.Contents:
    path.write_bytes(data)
    return payload.read(str(path), objects)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.pkl"


# --- it ends --------------------------------------------------------------------------


def test_the_reader_steps_once_for_each_opcode(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file makes the reader do more than its bytes, nor keep more than its limits."""
    steps = Counter[str]()

    def counted(step: Any) -> Any:
        def count(follower: machine.Machine, position: int) -> int:
            steps["opcodes"] += 1
            return step(follower, position)

        return count

    monkeypatch.setattr(opcodes, "STEPS", [counted(step) for step in opcodes.STEPS])
    limits = machine.Limits(1000)
    made: list[machine.Limits] = []

    def limited(objects: int) -> machine.Limits:
        made.append(limits)
        limits.renew()
        return limits

    monkeypatch.setattr(payload, "Limits", limited)
    for name, data in odd_pickles.hard(20_000):
        steps.clear()
        try:
            found = str(read(path, data))
        except payload.NotAPayload as error:
            found = str(error)
        assert steps["opcodes"] <= len(data), name
        assert len(found) < 20_000, name
        assert min(limits.objects, limits.items, limits.steps) >= 0, name
    assert made


def test_hard_files_take_small_memory(tmp_path: Path) -> None:
    """Files of 300,000 bytes, which reach each limit, one after the other in one process."""
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import odd_pickles
        from weakreduce.reading import payload
        answers = 0
        for name, data in odd_pickles.hard(300_000):
            with open(sys.argv[2], "wb") as file:
                file.write(data)
            del data
            try:
                assert len(str(payload.read(sys.argv[2]))) < 20_000, name
            except payload.NotAPayload as error:
                assert len(str(error)) < 300, name
            answers += 1
        if sys.platform == "linux":
            # Not ru_maxrss, which begins at what the process had that started this one.
            status = dict(line.split(":") for line in open("/proc/self/status"))
            print(answers, status["VmHWM"].split()[0])
        else:
            print(answers, 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parent.parent / "support"),
         str(tmp_path / "x.pkl")],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers, kilobytes = map(int, done.stdout.split())
    assert answers == len(list(odd_pickles.hard(100)))
    assert kilobytes < 90_000


def test_the_smallest_circle_ends(path: Path) -> None:
    path.write_bytes(odd_pickles.CYCLE)
    done = subprocess.run(
        [sys.executable, "-m", "weakreduce", "inspect", str(path)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "no weak things" in done.stdout


def answered(data: bytes, path: Path, objects: int) -> bool:
    try:
        contents = read(path, data, objects)
    except payload.NotAPayload as error:
        assert str(error).isprintable()
        return False
    assert json.dumps(contents.to_dict())
    assert str(contents).replace("\n", "").isprintable()
    return True


def test_any_bytes_are_answered_for(path: Path) -> None:
    root = everything()
    real = [
        weakreduce.dumps(root, policy=policy, host=host, protocol=protocol)
        for policy in ("snapshot", "dangle")
        for host in ("cloudpickle", "dill", "pickle")
        for protocol in (2, 4, 5)
    ]
    real += [weakreduce.dumps(weakreduce.bind(root)), pickle.dumps([1.5, "é", {2: b"x"}], 0)]
    good = Counter[str]()
    for seed in range(2000):
        choose = random.Random(seed)
        data = odd_pickles.damaged(choose, choose.choice(real))
        good["damaged"] += answered(data, path, choose.choice([300_000, 20, 0]))
        data = odd_pickles.generated(choose, choose.choice([5, 20, 80, 300]))
        good["generated"] += answered(data, path, choose.choice([300_000, 20, 0]))
    assert all(200 < number < 1950 for number in good.values()), good


class _Nameless(pickle._Unpickler):  # type: ignore[name-defined]
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(name)


def test_what_pickle_loads_is_read(path: Path) -> None:
    """The reader is never stricter than Python's two unpicklers."""
    loaded = 0
    for seed in range(2000):
        choose = random.Random(seed)
        data = odd_pickles.generated(choose, choose.choice([5, 20, 60]), names=False)
        for load in (pickle.loads, lambda data: _Nameless(io.BytesIO(data)).load()):
            try:
                load(data)
            except Exception:
                continue
            loaded += 1
            assert read(path, data).payloads
    assert loaded > 500


def test_past_a_limit_a_pickle_is_read_in_part(path: Path) -> None:
    """Modules are whole; states are unknown where nothing was kept."""
    inside = [Thing(str(number)) for number in range(100)]
    data = weakreduce.dumps([inside, [weakref.ref(thing) for thing in inside]])
    (whole,) = read(path, data).payloads
    assert whole.counts() == {"ref": {"linked": 100}}
    assert not whole.partial
    (part,) = read(path, data, 300).payloads
    assert part.partial
    assert part.modules == whole.modules
    assert 99 <= part.counts()["ref"].total() <= 100  # the first readies the receiver, too
    assert part.counts()["ref"]["unknown"] > 0
    assert "(--objects N keeps more)" in str(part)
    assert part.to_dict()["partial"]


def test_texts_name_what_can_be_read(path: Path) -> None:
    many = b"".join(b"cm%d\nn\n0" % number for number in range(3000)) + b"N."
    (found,) = read(path, many).payloads
    assert len(found.modules) == facts.MOST
    assert found.partial
    assert "and 950 more" in str(found)
    (found,) = read(path, b"c\x1b[31mm\x07" + b"x" * 500 + b"\nn\n.").payloads
    assert "\x1b" not in str(found)
    assert len(str(found)) < 400


# --- what is in it --------------------------------------------------------------------


class Made:
    """An object of a payload that is made by a call, as `encode` writes them."""

    def __init__(self, *reduction: Any) -> None:
        self.reduction = reduction

    def __reduce__(self) -> Any:
        return self.reduction


def bound(obj: Any) -> Any:
    return Made(pickle.loads, (weakreduce.dumps(obj, host="pickle"),))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", [
    weakreduce.bind,
    bound,
    lambda obj: Made(cloudpickle.loads, (weakreduce.dumps(obj, protocol=2),)),
    lambda obj: {"data": bytearray(weakreduce.dumps(obj))},
    lambda obj: weakreduce.bind([weakreduce.bind(obj)]),
    lambda obj: Made(pickle.loads, (pickle.dumps(bound(obj), 0),)),
], ids=["bind", "pickle", "cloudpickle", "data", "bind twice", "protocol 0"])  # fmt: skip
def test_pickles_inside_a_pickle_are_looked_into(path: Path, wrap: Any, protocol: int) -> None:
    inside, outside = Thing("inside"), Thing("outside")
    root = [inside, weakref.ref(inside), weakref.ref(outside)]
    (found,) = read(path, pickle.dumps([wrap(root)], protocol)).payloads
    assert found.counts() == {"ref": {"linked": 1, "pinned": 1}}
    assert found.inside in (1, 2)
    assert "things" in found.modules
    assert "inside, as bytes: included here" in str(found)


def test_bytes_that_are_no_pickle_are_data(path: Path) -> None:
    data = pickle.dumps([b"\x80\x04damaged.", b"\x80\x04N.N.", b"N.", b"."])
    (found,) = read(path, data).payloads
    assert found.inside == 0
    assert found.counts() == {}


def test_several_pickles_and_junk(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = weakreduce.dumps(everything())
    for junk, reason in (
        (b"garbage", "a pickle that is cut short"),
        (whole[:-5], "a pickle that is cut short"),
        (b"\0\0", "not a pickle, or a damaged one"),
        (b"\n", "opcode b'\\n' is not known"),
    ):
        for before in (1, 3):
            path.write_bytes(whole * before + junk)
            assert main(["inspect", str(path)]) == 1
            printed = capsys.readouterr()
            assert printed.err == ""
            assert "finalize: 1 dangling" in printed.out
            at = f"{len(junk):,} bytes from byte {len(whole) * before:,} on are no whole pickle: "
            assert at in printed.out
            assert reason in printed.out
            assert main(["inspect", "--json", str(path)]) == 1
            told = json.loads(capsys.readouterr().out)
            assert len(told["pickles"]) == before
            assert told["junk"]["at"] == len(whole) * before
            assert told["junk"]["bytes"] == len(junk)


def test_more_pickles_than_are_kept(path: Path) -> None:
    """A log of pickles: the first are told one by one, the others together."""
    one = pickle.dumps([Thing("x")])
    found = read(path, one * 2500)
    assert len(found.payloads) == 1000
    assert (found.more, found.rest.size) == (1500, 1500 * len(one))
    assert f"2,480 more pickles: {2480 * len(one):,} bytes together" in str(found)
    assert found.to_dict()["rest"]["modules"] == ["things"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_shared_names_are_told(path: Path, host: str, protocol: int) -> None:
    first, second = Thing("first"), Thing("second")
    KEPT.extend((first, second))
    weakreduce.share("the first", first)
    weakreduce.share("\x1b[31m second", second)
    root = [weakref.ref(first), weakref.WeakSet([second]), weakref.ref(first)]
    (found,) = read(path, weakreduce.dumps(root, host=host, protocol=protocol)).payloads
    assert found.names == {"the first", "\x1b[31m second"}
    assert "shared names: '\\x1b[31m second', 'the first'" in str(found)
    assert found.to_dict()["names"] == ["\x1b[31m second", "the first"]
    weakreduce.unshare("the first")
    weakreduce.unshare("\x1b[31m second")


class Cached:
    @functools.cache  # noqa: B019 - what binds it is no function
    def method(self) -> int:
        return 1


@pytest.mark.parametrize("host", [*gaps.BY_VALUE, "pickle"])
def test_a_method_that_is_no_function_has_its_instances_name(path: Path, host: Any) -> None:
    cached = Cached()
    weakreduce.share("cached", cached)
    try:
        data = weakreduce.dumps(weakref.WeakMethod(cached.method), host=host)
    finally:
        weakreduce.unshare("cached")
    (found,) = read(path, data).payloads
    assert found.counts() == {"WeakMethod": {"named": 1}}


def _state(data: Any) -> dict[str, Any]:
    return {"data": data, "_pending_removals": [], "_iterating": set()}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers_whose_entries_are_their_state(path: Path, protocol: int) -> None:
    """Words without `getattr` and `map`: `data` is part of the state."""
    thing, other = Thing("x"), Thing("y")

    def reference(target: Any, *slot: Any) -> Made:
        return Made(weakref.ref.__new__, (weakref.ref, target, *slot))

    def keyed(target: Any, key: Any) -> Made:
        return Made(weakref.KeyedRef, (target, target, key))

    bare = object.__new__
    root = [
        thing,
        Made(weakref.WeakSet, (), _state({reference(thing), reference(other, other)})),
        Made(weakref.WeakValueDictionary, (), _state({"a": keyed(thing, "a")})),
        Made(weakref.WeakKeyDictionary, (), _state({reference(thing): 1, reference(other): 2})),
        Made(bare, (things.Listeners,), _state({reference(thing)})),
        Made(bare, (things.Notes,), _state({reference(thing): 1})),
        Made(bare, (things.Index,), _state({"a": keyed(thing, "a"), "b": keyed(other, "b")})),
        Made(weakref.WeakSet, (), _state(set())),
        other,
        reference(thing),
    ]
    (found,) = read(path, pickle.dumps(root, protocol)).payloads
    assert found.counts() == {
        "WeakKeyDictionary": {"linked": 3},
        "WeakSet": {"linked": 2, "pinned": 1, "empty": 1},
        "WeakValueDictionary": {"pinned": 3},
        "ref": {"linked": 1},
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_referents_that_look_like_dead_ones(path: Path, protocol: int) -> None:
    """An empty set that the payload holds is no throw-away."""
    kept = {1}
    root = [weakref.ref(kept), kept, weakref.ref(set())]
    empty: set[int] = set()
    root += [empty, weakref.ref(empty)]
    (found,) = read(path, weakreduce.dumps(root, protocol=protocol)).payloads
    assert found.counts() == {"ref": {"linked": 2, "dangling": 1}}


def test_payloads_of_0_1_0_are_read(path: Path) -> None:
    """What an earlier version wrote, with other words."""
    kept = Path(__file__).with_name("payloads_of_0_1_0.json")
    for one in json.loads(kept.read_text()):
        (found,) = read(path, base64.b64decode(one["payload"])).payloads
        counts = {
            kind: {state: number for state, number in states.items() if state != "empty"}
            for kind, states in found.counts().items()
        }
        assert {kind: states for kind, states in counts.items() if states} == one["weak"]
        assert found.names == {"shared"}


def test_stock_payloads_of_dill_are_read(path: Path) -> None:
    thing = Thing("x")
    weakreduce.uninstall("dill")
    try:
        data = dill.dumps([thing, weakref.ref(thing), weakref.ref(Thing("y"))])
    finally:
        weakreduce.install("dill")
    (found,) = read(path, data).payloads
    assert found.counts() == {"ref": {"linked": 1, "dangling": 1}}


def test_python_2_is_read(path: Path) -> None:
    data = b"c__builtin__\nset\n(lp0\nU\x03abcaU\x02\xe9.aS'x'\naI01\natR."
    data = data.replace(b"(lp0", b"((lp0")
    (found,) = read(path, data).payloads
    assert found.modules == {"builtins"}


# --- the command ----------------------------------------------------------------------


def run(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "weakreduce", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=120)


def test_standard_input(tmp_path: Path) -> None:
    data = cloudpickle.dumps([1, Thing])
    done = run("inspect", "-", data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"standard input: {len(data)} bytes".encode())
    done = run("inspect", "-", "--json", data=data)
    assert json.loads(done.stdout)["file"] == "-"
    done = run("inspect", "-")
    assert done.returncode == 2
    assert done.stderr == b"python -m weakreduce inspect: standard input: the file is empty\n"


def test_a_stream_without_an_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return len(buffer)

    monkeypatch.setattr(payload, "_IN_MEMORY", 100_000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    assert main(["inspect", "-"]) == 2
    assert "standard input: a stream of more than 100,000 bytes" in capsys.readouterr().err


def test_a_large_file_is_mapped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = weakreduce.dumps(everything())
    known = read(path, data * 3).to_dict()
    monkeypatch.setattr(payload, "_IN_MEMORY", 100)
    assert payload.read(str(path)).to_dict() == known


def test_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad\x1b[31m\n"
    good.write_bytes(pickle.dumps([Thing("x")]))
    bad.write_bytes(b"no pickle")
    assert main(["inspect", str(good), str(good)]) == 0
    assert capsys.readouterr().out.count(f"{good}: ") == 2
    assert main(["inspect", str(bad), str(good), "nothing"]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{good}: ")
    first, second = printed.err.splitlines()
    assert "bad\N{REPLACEMENT CHARACTER}[31m : " in first
    assert "cannot read nothing: " in second
    assert main(["inspect", str(good), str(good), "--json"]) == 0
    assert [each["file"] for each in json.loads(capsys.readouterr().out)] == [str(good)] * 2


def test_the_version_and_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"weakreduce {weakreduce.info()['weakreduce']}\n"
    assert main([]) == 2
    printed = capsys.readouterr().err
    # A long name has what it does in a line of its own, and none has more than one.
    texts = dict(re.findall(r"^    (\S+)\s+(\S.*)$", printed, re.MULTILINE))
    assert list(texts) == ["demo", "info", "explain", "explain-load", "inspect"]
    assert texts["explain-load"] == "load a pickle, which RUNS it, and show where that fails"
    assert texts["info"].endswith("test each host")
    assert "exit status: 0" in printed
    assert max(map(len, printed.splitlines())) <= 80
    for arguments in (["bogus"], ["inspect"], ["inspect", "--objects", "-1", "x"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2


def test_a_text_that_is_none_is_damage(path: Path) -> None:
    with pytest.raises(payload.NotAPayload, match="is no text"):
        read(path, b"V\\u12\n.")


def test_a_file_of_joblibs_is_named_even_where_it_ends_as_a_pickle(path: Path) -> None:
    with pytest.raises(payload.NotAPayload, match="joblib"):
        read(path, b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n.")


# --- what seldom stands in a payload ----------------------------------------------------


THING = Thing("it")
#: Payloads that are written otherwise than ours, and what is to be seen in them.
SELDOM: dict[str, tuple[Any, dict[str, dict[str, int]]]] = {
    "data put in by setattr": (
        [THING, Call(setattr, Call(weakref.WeakSet), "data", Call(map, weakref.ref, [THING]))],
        {"WeakSet": {"linked": 1}},
    ),
    "other data put in by setattr": (
        [THING, Call(setattr, Call(weakref.WeakSet), "data", [THING])],
        {"WeakSet": {"empty": 1}},
    ),
    "data that is a set, put in by setattr": (
        [THING, Call(setattr, Call(weakref.WeakSet), "data",
                     Call(set, Call(map, weakref.ref, [THING])))],
        {"WeakSet": {"linked": 1}},
    ),
    "an attribute named data": (Thing(data={1: 2}), {}),
    "entries that are none": (
        [THING, Call(set.update, Call(getattr, Call(weakref.WeakSet), "data"),
                     Call(map, weakref.ref, []))],
        {"WeakSet": {"empty": 1}},
    ),
    "entries that are a text": (
        [Call(set.update, Call(getattr, Call(weakref.WeakSet), "data"), "x")],
        {"WeakSet": {"empty": 1}},
    ),
    "a text that is no bytes": ([Call(codecs.encode, "\N{EURO SIGN}", "latin1")], {}),
    "a finalizer by a partial": (
        [Call(Call(functools.partial, weakref.finalize), THING, print)],
        {"finalize": {"linked": 1}},
    ),
    "another partial": ([Call(Call(functools.partial, print), THING)], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", SELDOM)
def test_what_seldom_stands_in_a_payload(name: str, path: Path) -> None:
    root, expected = SELDOM[name]
    data = pickle._dumps(root, 4)  # type: ignore[attr-defined]
    assert read(path, data).to_dict()["pickles"][0]["weak"] == expected


def test_entries_beyond_a_limit_are_unknown(path: Path) -> None:
    entries = Call(getattr, Call(weakref.WeakSet), "data")
    root = Call(set.update, entries, frozenset(range(1000)))
    data = pickle._dumps(root, 4)  # type: ignore[attr-defined]
    (found,) = read(path, data, 100).to_dict()["pickles"]
    assert found["weak"] == {"WeakSet": {"unknown": 1}}
    assert found["partial"]


def test_entries_that_there_is_no_time_to_count_are_unknown(path: Path) -> None:
    """They are the same for both sets, but not what keeps them."""
    many = [THING] * 500
    sets = [Call(weakref.WeakSet), Call(weakref.WeakSet)]
    root = [
        many,
        *(
            Call(set.update, Call(getattr, one, "data"), Call(map, weakref.ref, many, [number]))
            for number, one in enumerate(sets)
        ),
    ]
    data = pickle._dumps(root, 4)  # type: ignore[attr-defined]
    (whole,) = read(path, data).to_dict()["pickles"]
    assert (whole["weak"], whole["partial"]) == ({"WeakSet": {"linked": 1000}}, False)
    (found,) = read(path, data, 100).to_dict()["pickles"]
    assert found["weak"] == {"WeakSet": {"linked": 500, "unknown": 500}}
    assert found["partial"]


def test_an_empty_list_of_either_opcode_has_no_entries(path: Path) -> None:
    root, expected = SELDOM["entries that are none"]
    data = pickle._dumps(root, 2)  # type: ignore[attr-defined]
    for opcode in (b"]", b"(l"):
        found = read(path, data.replace(b"]", opcode)).to_dict()["pickles"][0]
        assert found["weak"] == expected


def test_a_reference_to_nothing_is_damage(path: Path) -> None:
    with pytest.raises(payload.NotAPayload, match="a weak reference to nothing"):
        read(path, pickle._dumps(Call(weakref.ref), 4))  # type: ignore[attr-defined]


def test_what_is_counted_within_a_limit_is_counted_right(path: Path) -> None:
    """However few objects are kept in mind: what is not known is said to be unknown."""
    several = [[weakref.ref(thing) for thing in KEPT[:10]], everything()]
    roots = [root for root, _ in SELDOM.values()]
    payloads = [pickle._dumps(roots, 4)]  # type: ignore[attr-defined]
    payloads += [weakreduce.dumps(several, host=host) for host in ("cloudpickle", "dill")]
    for data in payloads:
        (whole,) = read(path, data).to_dict()["pickles"]
        assert not whole["partial"]
        partial = 0
        for objects in (*range(1, 120), *range(120, 2000, 37)):
            (found,) = read(path, data, objects).to_dict()["pickles"]
            partial += found["partial"]
            if not found["partial"]:
                assert found == whole
            for kind, states in found["weak"].items():
                for state in set(states) - {"unknown", "empty", "dangling"}:
                    assert states[state] <= whole["weak"][kind].get(state, 0), (objects, kind)
        assert partial > 10


def test_a_stack_without_an_end_is_not_followed(path: Path) -> None:
    (found,) = read(path, b"\x80\x04" + b"N" * 100_000 + b".", 50).to_dict()["pickles"]
    assert found["partial"]
