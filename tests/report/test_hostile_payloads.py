"""Hostile payloads: what reads them answers, what loads them raises or loads, and nothing crashes.

A sample of what `tests/run_fuzzing.py` does at length; the set of hostile files is whole.
"""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzzing
import hostile_pickles
import pytest

import weakreduce
from weakreduce.model.texts import shortened
from weakreduce.paths import steps
from weakreduce.reading import calls, machine, meaning, payload, vocabulary, whereabouts
from weakreduce.reading.facts import Facts

# --- hostile files --------------------------------------------------------------------

READER = """
    import random, resource, signal, sys
    sys.path.insert(0, sys.argv[1])
    import fuzzing, hostile_pickles
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    for name, data in hostile_pickles.hostile(20_000):
        # Of processor time: a minute where there should be some hundredths of a second.
        signal.setitimer(signal.ITIMER_PROF, 60)
        print(name, flush=True)
        print(fuzzing.read(data, random.Random(name)), flush=True)
    # Not ru_maxrss, which begins at what the process had that started this one.
    status = dict(line.split(":") for line in open("/proc/self/status"))
    print(int(status["VmHWM"].split()[0]))
"""


def test_hostile_files_are_answered_for() -> None:
    """In a child with limits, which says what it is at."""
    support = str(Path(fuzzing.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READER), support],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    *answers, kilobytes = done.stdout.splitlines() or [""]
    assert done.returncode == 0, f"{kilobytes}: {done.returncode} {done.stderr}"
    counts = Counter(answers)
    assert min(counts["True"], counts["False"]) > 400
    assert counts["True"] + counts["False"] == len(answers) // 2
    assert int(kilobytes) < 90_000


class Given(list[Any]):
    """Arguments of a call, which count how many of them are looked at."""

    looked = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.looked += 1
            yield item

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.looked += len(found) if isinstance(key, slice) else 1
        return found


@pytest.mark.parametrize("word", vocabulary.CALLS)
def test_no_call_walks_into_its_arguments(word: str) -> None:
    """Many calls may be given the same long tuple."""
    limits = machine.Limits(1000)
    meant = meaning.Meaning(Facts(), limits, vocabulary.CALLS, vocabulary.FRESH)
    for first in (None, 1, "data", machine.Node("tuple", "", [])):
        given = Given([first] * 5000)
        meant.call(meant.name_of(word), given)
        meant.new(meant.name_of(word), given)
        assert given.looked <= 30


def test_what_many_objects_share_is_walked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments and states, on the way to an object that is not found."""
    parts = Counter[str]()
    whole = whereabouts._Places._parts

    def counted(self: Any, *arguments: Any) -> Iterator[Any]:
        for part in whole(self, *arguments):
            parts["looked at"] += 1
            yield part

    monkeypatch.setattr(whereabouts._Places, "_parts", counted)
    checked = 0
    for name, data in hostile_pickles.bombs(20_000):
        if name.startswith("many kept"):
            parts.clear()
            popped = data[:2] + b"]0" + data[2:]  # which is in nothing that follows
            assert whereabouts.path_at(popped, 2) == "root"  # as it was when it was made
            assert 0 < parts["looked at"] < 5 * len(data), name
            checked += 1
    assert checked > 60


def test_a_path_is_written_when_it_is_found() -> None:
    """Not one for each of many objects that are deep inside."""
    deep, wide = 600, 30_000
    data = b"]" * deep + b"](" + b"]" * wide + b"ca\nb\n)Re" + b"a" * deep + b"."
    at = data.index(b"R")
    assert whereabouts.path_at(data, at) == f"root{'[0]' * deep}[{wide}]"
    code = f"""
        import resource
        from weakreduce.reading import whereabouts
        data = b"]" * 1300 + b"](" + b"]" * {wide} + b"e" + b"a" * 1300 + b"."
        resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))
        assert whereabouts.path_at(data, len(data)) is None
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=280)


def test_what_is_not_kept_has_no_place() -> None:
    """Past the limit all calls are one node: whose arguments are whose is not known."""
    many = 200_000
    for name in (b"cbuiltins\nset\n", b"ca\nb\n"):
        names = name + b"p0\n0]K\1ap1\n0]cc\nd\nap2\n0g1\n\x85p3\n0g2\n\x85p4\n0]p5\n0"
        data = names + b"]0" * many + b"cx\ny\n0" + b"g5\n(g0\ng3\nRg0\ng4\nRe."
        # That is where it was when it was made.
        assert whereabouts.path_at(data, data.index(b"cc")) == "root[0]"
        assert machine.LOST.items is None


@pytest.mark.parametrize("many", [1_000_000, 2_000_000])
def test_what_waits_is_followed_however_much_it_is(many: int) -> None:
    data = b"N" * many
    assert whereabouts.path_at(data, len(data)) is None


def test_a_place_in_a_list_may_be_any_number() -> None:
    for number in (b"I-5\n", b"I-99999999999\n", b"I7\n"):
        data = b"coperator\ngetitem\n](K\1K\2e" + number + b"\x86R."
        assert whereabouts.path_at(data, 0) in ("root", "root.__reduce__()[0]")


def test_what_fills_a_container_may_be_anything() -> None:
    for filled in (b"K\5", b"N", b"X\1\0\0\0a", b"]", b"ca\nb\n", b"cbuiltins\nmap\n)R"):
        data = b"(ca\nb\n)R](cbuiltins\nset.update\n(N" + filled + b"tRebcc\nd\nt."
        assert whereabouts.path_at(data, data.index(b"cc")) == "root[1]"


def test_many_containers_of_the_same_entries_are_counted_once(tmp_path: Path) -> None:
    """And each of them is told."""
    one = b"h\0(h\1tR0"
    head = b"\x80\4cweakref\nWeakSet\nq\0(cweakref\nref\n]q\2\x85R"
    data = head + b"h\2" * 100 + b"\x91q\1" + one * 1000 + b"."
    (tmp_path / "x").write_bytes(data)
    (found,) = payload.read(str(tmp_path / "x"), 3000).payloads
    assert not found.partial
    assert found.counts()["WeakSet"].total() == 101_000


# --- calls that are told --------------------------------------------------------------


def test_what_a_call_is_given_is_told_in_few_steps() -> None:
    looked = Counter[str]()

    class Shown(str):
        __slots__ = ()

        def __str__(self) -> str:
            looked["text"] += 1
            return "never"

        __format__ = __repr__ = __str__  # type: ignore[assignment]

    many = tuple(range(100_000))
    text = calls.given(many, {})
    assert text == shortened("(" + ", ".join(map(str, many)) + ")", 300)
    keywords = {f"name{number}": number for number in range(1000)}
    whole = "(" + ", ".join(f"{key}={value}" for key, value in keywords.items()) + ")"
    assert calls.given((), keywords) == shortened(whole, 300)
    odd = calls.given((), {Shown("x"): 1, 5: 2, "a\x1b": 3})
    assert odd.isprintable()
    assert odd.startswith("('x'=1, 5=2, a")
    assert not looked


@pytest.mark.parametrize("atom", ["x" * 100_000, b"\xff" * 100_000])
def test_a_key_of_large_parts_is_not_written_out(atom: Any) -> None:
    """The same text nine times nine times nine times nine times in tuples is one text in memory."""
    key = atom
    for _ in range(4):
        key = (key,) * 9
    text = steps.plain(key)
    assert text is not None
    assert 200 < len(text) < 5000
    assert steps.indexed(key) is None
    assert len(steps.named(key)) == 60
    assert steps.named(key).startswith("((((" + repr(atom)[:50])
    assert steps.indexed(("a" * 150, "b" * 40)) == repr(("a" * 150, "b" * 40))


# --- truncated and changed ones -------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> list[bytes]:
    """Payloads of each kind."""
    root = fuzzing.root()
    return [
        weakreduce.dumps([root[0], each], policy=policy, protocol=protocol, host="pickle")
        for each in root[1:]
        for policy, protocol in (("snapshot", 2), ("dangle", 4))
    ]


def test_truncations(small: list[bytes]) -> None:
    """At every offset: no whole pickle, and the unpickler's own error where it is loaded."""
    for data in small:
        for end in range(1, len(data)):
            cut = data[:end]
            assert not fuzzing.read(cut, random.Random(end)), cut
            with pytest.raises(Exception) as raised:  # noqa: PT011
                pickle.loads(cut)
            error = weakreduce.explain_load(cut, host="pickle").error
            assert error is not None
            assert error.startswith(f"{raised.type.__name__}: "), cut


def test_mutations_are_answered_for() -> None:
    read = Counter[bool]()
    for number in range(3000):
        host = fuzzing.HOSTS[number % 3]
        data = fuzzing.mutation(host, 14, number)
        read[fuzzing.read(data, random.Random(number))] += 1
    assert min(read.values()) > 500, read


@pytest.mark.parametrize("host", fuzzing.HOSTS)
def test_mutations_load_or_raise(host: str) -> None:
    """In a child: an object or an exception, and neither a signal nor an endless loop."""
    (*ended, (_, outcomes, _)) = fuzzing.loaded(host, 14, 0, 1000)
    assert ended == []
    assert "'loads': " in outcomes
    assert "'TypeError': " in outcomes


@pytest.mark.parametrize("given", [b")", b"N", b"(t", b"N\x85", b"]\x85", b"NN\x86"])
@pytest.mark.parametrize("function", [b"c_operator\ngetitem\n", b"cweakreduce.wire\nat_home\n"])
def test_a_reference_is_given_a_call_without_what_ours_has(function: bytes, given: bytes) -> None:
    reference = b"cweakref\nReferenceType\n(cbuiltins\nobject\n)R" + function + given + b"RtR"
    data = b"\x80\x04(" + reference + b"cc\nd\nt."
    assert whereabouts.path_at(data, data.index(b"cc")) == "root[1]"
