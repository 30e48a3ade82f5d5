"""What differs from Python to Python: notes on errors, and interpreters that are not CPython."""

from __future__ import annotations

import gc
import pickle
import warnings
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cloudpickle
import dill
import programs
import pytest
import things

import weakreduce
from weakreduce.core.first_walk import LookedAhead
from weakreduce.core.sink import TooLarge
from weakreduce.core.walk import Refused
from weakreduce.engines.submit import forking_way, pack
from weakreduce.hosts import scout
from weakreduce.model import decide, signals

HOSTS = ("cloudpickle", "dill", "pickle")


# --- notes: Python 3.14 and later ---------------------------------------------------------


class Stuck:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("stuck") if self.error is None else self.error


class Key:
    """A key of a dict whose ``repr`` says how often it was asked for, or fails."""

    asked = 0

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def __repr__(self) -> str:
        Key.asked += 1
        if self.fails:
            raise RuntimeError("no repr")
        return "key"


def notes_of(call: Callable[[], Any]) -> list[str]:
    with pytest.raises(ZeroDivisionError) as caught:
        call()
    return getattr(caught.value, "__notes__", [])


def stock_dumps(obj: Any, host: str) -> bytes:
    weakreduce.uninstall()
    try:
        dumps = {"cloudpickle": cloudpickle.dumps, "dill": dill.dumps, "pickle": pickle.dumps}[host]
        found: bytes = dumps(obj)
    finally:
        weakreduce.install()
    return found


@pytest.mark.parametrize("host", HOSTS)
def test_an_error_of_stocks_has_stocks_notes_and_then_ours(host: str) -> None:
    root = {"a": [things.Thing("thing", part=({1: Stuck()}, 2))]}
    stock = notes_of(lambda: stock_dumps(root, host))
    ours = notes_of(lambda: weakreduce.dumps(root, host=host))
    assert ours[:-1] == stock
    assert ours[-1].startswith("weakreduce: what cannot be pickled is root['a'][0].part[0][1]")
    # With something weak in the payload, and walks of ours that were ended.
    outside = things.Thing("outside")
    for weak in (weakref.ref(outside), weakref.WeakSet([outside])):
        again = notes_of(lambda: weakreduce.dumps({"weak": weak} | root, host=host))  # noqa: B023
        assert again[:-1] == stock
        assert again[-1] == ours[-1]


class Unreduced:
    """Its reduction is none."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def __reduce__(self) -> Any:
        return self.found


@pytest.mark.parametrize("found", [None, 7, (int,), (int,) * 7])
@pytest.mark.parametrize("host", HOSTS)
def test_a_reduction_that_is_none_is_told_in_stocks_words(host: str, found: Any) -> None:
    """Up to Python 3.13 the pure-Python pickler names what gave it."""
    stuck, inside = Unreduced(found), things.Thing("inside")
    with pytest.raises(pickle.PicklingError) as stock:
        stock_dumps(stuck, host)
    for root in (stuck, [weakref.ref(inside), stuck, inside]):
        with pytest.raises(pickle.PicklingError) as ours:
            weakreduce.dumps(root, host=host)
        assert str(ours.value) == str(stock.value)


@pytest.mark.parametrize("host", HOSTS)
def test_no_note_names_what_we_write_in_an_objects_place(host: str) -> None:
    inside = things.Thing("inside")
    listeners, reference = things.Listeners("listeners", [inside]), things.SubRef(inside, 1)
    listeners.more, reference.more = [Stuck()], {"more": Stuck()}
    callback = things.Thing("callback", stuck=Stuck()).method
    roots = (
        [weakref.WeakKeyDictionary({inside: Stuck()}), inside],
        [listeners, inside],
        [listeners],
        [inside, reference],
        [reference, inside],
        [weakref.WeakValueDictionary({(1, Key(fails=False)): inside}), inside, Stuck()],
    )
    with weakreduce.policy(unpicklable="raise"):
        for root in roots:
            with pytest.raises((ZeroDivisionError, weakreduce.WeakrefPicklingError)) as caught:
                weakreduce.dumps(root, host=host)
            notes = getattr(caught.value, "__notes__", [])
            assert not [note for note in notes if "weakreduce." in note], notes
    assert callback


@pytest.mark.parametrize("host", HOSTS)
def test_an_error_raised_twice_has_the_notes_of_one_way(host: str) -> None:
    """Finding the culprit asks it again."""
    root = [things.Thing("thing", stuck=Stuck(ZeroDivisionError("the same each time")))]
    notes = notes_of(lambda: weakreduce.dumps(root, host=host))
    assert len(notes) == len(set(notes))


def test_an_error_of_ours_names_one_path() -> None:
    """A dump inside a dump: its path is told by itself, from its own root."""

    class Nested:
        def __reduce__(self) -> Any:
            return (bytes, (weakreduce.dumps([weakref.ref(outside)], policy="strict"),))

    outside = things.Thing("outside")
    with pytest.raises(weakreduce.WeakrefPicklingError, match=r"root\[0\]") as caught:
        weakreduce.dumps({"a": Nested()})
    assert getattr(caught.value, "__notes__", []) == []


@pytest.mark.parametrize("signal", [
    LookedAhead(), TooLarge(), Refused(None, decide.DEAD),
], ids=lambda signal: type(signal).__name__)  # fmt: skip
def test_signals_take_no_notes(signal: Any) -> None:
    signal.add_note("note")
    BaseException.add_note(signal, "note")
    assert list(signal.__notes__) == []
    assert isinstance(signal, signals.Signal)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("host", HOSTS)
def test_no_repr_of_a_key_gets_in_the_way(host: str, fails: bool) -> None:
    """A walk that ends early ends in the midst of dicts."""
    outside, inside = things.Thing("outside"), things.Thing("inside")
    key = Key(fails)
    nested = {"k": {key: {(key, 1): weakref.ref(outside), "more": weakref.WeakSet([outside])}}}
    found = weakreduce.loads(weakreduce.dumps(nested, host=host))
    assert weakreduce.is_pinned(next(iter(next(iter(found["k"].values())).values())))
    nested = {key: {key: [weakref.ref(inside), {key: inside}]}}
    for protocol in (2, 5):
        weakreduce.loads(weakreduce.dumps(nested, host=host, protocol=protocol))
    big = {key: weakref.ref(things.Thing("x"))}
    holder = things.Big("big", 100_000)
    big[key] = weakref.ref(holder)
    with (
        weakreduce.policy(max_snapshot_bytes=1000),
        pytest.warns(weakreduce.DanglingWarning, match="is larger than"),
    ):
        assert next(iter(weakreduce.loads(weakreduce.dumps(big, host=host)).values()))() is None
    with (
        weakreduce.policy("strict"),
        pytest.raises(weakreduce.WeakrefPicklingError, match="outside"),
    ):
        weakreduce.dumps(nested | {0: {key: {key: weakref.ref(outside)}}}, host=host)


class HashedKey(Key):
    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return type(other) is HashedKey


class Meta(type):
    def __repr__(cls) -> str:
        Key.asked += 1
        return "a class"


class OfMeta(metaclass=Meta):
    """A key that is a class."""


def with_keys(key: Any, held: Any) -> Iterator[Any]:
    """Payloads in which something is held in the midst of dicts with that key."""
    yield {key: held}
    yield {key: [{key: {(key, 1): held, "more": key}}, held, "after"]}
    yield things.Thing("holder", part={key: held, "more": [things.Thing("after")] * 3})
    yield weakref.WeakKeyDictionary({WITH_VALUE: {key: held}}), WITH_VALUE
    yield {key: {"before": things.Thing("before"), key: [held] * 3, "numbers": list(range(9000))}}
    yield [weakref.ref(WITH_VALUE), {key: [held, WITH_VALUE, {key: held}]}]


WITH_VALUE = things.Thing("with a value")
KEYS: dict[str, Any] = {"plain": Key(), "hashed": HashedKey(), "fails": Key(True), "class": OfMeta}


def dumped_by(host: str, root: Any, protocol: int) -> Any:
    if host == "multiprocessing":
        return pickle.loads(ForkingPickler.dumps(root, protocol))
    return weakreduce.loads(weakreduce.dumps(root, host=host, protocol=protocol))


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("host", [*HOSTS, "multiprocessing"])
@pytest.mark.parametrize("kind", KEYS)
def test_no_repr_of_a_key_is_run_where_a_dump_succeeds(kind: str, host: str, protocol: int) -> None:
    key, outside, inside = KEYS[kind], things.Thing("outside"), things.Thing("inside")
    big = things.Thing("big", part={key: [f"item {number}" for number in range(20_000)]})
    members = weakref.WeakSet([inside, outside, things.Thing])
    several = things.Thing("several", all={key: [members, inside]})
    policies: tuple[Any, ...] = (
        "snapshot",
        "dangle",
        weakreduce.Policy(max_snapshot_bytes=100_000, rules=((things.Big, "dangle"),)),
    )
    for policy in policies:
        for held in (
            weakref.ref(outside),
            [weakref.ref(inside), inside],
            [inside, weakref.ref(inside)],
            weakref.proxy(outside),
            members,
            [members, inside, outside],
            weakref.ref(several),
            weakref.WeakValueDictionary({"a": outside, "b": inside}),
            weakref.ref(big),
        ):
            for root in with_keys(key, held):
                with weakreduce.policy(policy), warnings.catch_warnings():
                    warnings.simplefilter("ignore", weakreduce.DanglingWarning)
                    Key.asked = 0
                    dumped_by(host, root, protocol)
                    assert Key.asked == 0


@pytest.mark.parametrize("fails", [False, True])
def test_no_repr_of_a_key_hides_a_weak_thing_from_an_engine(fails: bool) -> None:
    outside = things.Thing("outside")
    task = {Key(fails): {Key(fails): weakref.ref(outside)}}
    with weakreduce.policy("dangle"):
        packed = pack(task, forking_way("multiprocessing"), "a task")
    (inner,) = pickle.loads(packed.data).values()
    assert next(iter(inner.values()))() is None


def test_signals_leave_nothing_behind() -> None:
    """No traceback keeps what was sent."""
    gc.collect()
    gc.disable()
    try:
        for policy in ("dangle", "strict", "snapshot"):
            sent, outside = things.Thing("sent"), things.Thing("outside")
            sent.nested = {Key(fails=True): {Key(fails=True): weakref.ref(outside)}}
            watched = weakref.ref(sent)
            for dumps in (weakreduce.dumps, ForkingPickler.dumps):
                with weakreduce.policy(policy):
                    try:
                        dumps(sent)
                    except weakreduce.WeakrefPicklingError:
                        assert policy == "strict"
            del sent
            assert watched() is None, policy
    finally:
        gc.enable()


@pytest.mark.parametrize("dumps", [weakreduce.dumps, scout.dumps])
def test_a_signal_of_an_earlier_dump_is_none_of_a_second_try_s(dumps: Any) -> None:
    """Dask tries one pickler in the handler of another's error."""
    generator = (item for item in ())
    try:
        scout.dumps(weakref.ref(things.Thing))
    except scout.WeakThingMet:
        with pytest.raises(TypeError, match="generator"):
            dumps([things.Thing(), generator])


def test_a_signal_is_found_behind_what_took_its_place() -> None:
    try:
        try:
            raise LookedAhead
        except LookedAhead:
            raise ValueError("of a repr")
    except ValueError as error:
        assert type(signals.behind(error, LookedAhead)) is LookedAhead
        assert signals.behind(error, TooLarge) is None
    try:
        try:
            raise TooLarge
        except TooLarge:
            raise weakreduce.WeakrefPicklingError("of a dump inside")
    except weakreduce.WeakrefPicklingError as error:
        assert signals.behind(error, TooLarge) is None
    assert signals.behind(LookedAhead(), LookedAhead) is None


# --- interpreters that are not CPython ----------------------------------------------------

#: As on PyPy: the interpreter's name, and a module that is CPython's alone.
PYPY = """
import sys, types
sys.modules["_functools"] = None
sys.implementation = types.SimpleNamespace(**{**vars(sys.implementation), "name": "pypy"})
"""
OTHER = f"""
{PYPY}
import warnings, weakref, pickle
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import weakreduce
said = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
assert len(said) == 1 and "CPython" in said[0] and "pypy" in said[0], said
class Thing: pass
thing = Thing()
import cloudpickle
for call in (
    lambda: weakreduce.dumps(thing),
    lambda: weakreduce.bind(thing),
    lambda: weakreduce.explain(thing),
    lambda: weakreduce.install(),
    lambda: weakreduce.install("dill"),
):
    try:
        call()
    except weakreduce.WeakreduceError as error:
        assert "CPython" in str(error) and "pypy" in str(error), error
    else:
        raise AssertionError("no error")
for host in ("cloudpickle", "dill", "pickle"):
    try:
        weakreduce.dumps([weakref.ref(thing)], host=host)
    except weakreduce.WeakreduceError as error:
        assert "CPython" in str(error)
    else:
        raise AssertionError("no error")
states = [host["state"] for host in weakreduce.info()["hosts"].values()]
assert set(states) == {{"off"}}, states
assert weakreduce.loads(pickle.dumps([1])) == [1]
assert weakreduce.explain_load(pickle.dumps([1])).error is None
assert weakreduce.is_pinned(weakref.ref(thing)) is False
with weakreduce.policy("dangle"):
    assert weakreduce.get_policy().name == "dangle"
try:
    cloudpickle.dumps(weakref.ref(thing))
except TypeError:
    print("stock's error")
"""


def test_another_interpreter_is_told_and_nothing_is_written() -> None:
    assert programs.run(OTHER) == "stock's error\n"


@pytest.mark.parametrize("command", ["demo", "explain collections:OrderedDict"])
def test_a_command_that_would_write_says_so_on_another_interpreter(command: str) -> None:
    code = f"""
{PYPY}
import warnings
warnings.simplefilter("ignore", RuntimeWarning)
import contextlib, io
from weakreduce.__main__ import main
with contextlib.redirect_stderr(io.StringIO()) as said:
    assert main({command.split()!r}) == 2
print(said.getvalue())
"""
    told = programs.run(code)
    assert told.startswith(f"python -m weakreduce {command.split()[0]}: weakreduce writes")
    assert "pypy" in told
