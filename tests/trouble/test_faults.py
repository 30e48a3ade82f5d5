"""Code of the user's that raises, answers nonsense, dumps, or changes the graph in mid-dump.

After each the process and the pickler are as before, and the next dumps are the reference.
"""

from __future__ import annotations

import gc
import io
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import bad_hooks
import cloudpickle
import faults
import harm
import pytest
import things
from bad_hooks import Act

import weakreduce


@pytest.fixture(scope="module", params=faults.HOSTS)
def host(request: Any) -> Any:
    return request.param


@pytest.fixture(scope="module")
def healthy(host: str) -> tuple[Any, bytes, Any]:
    """A root, its payload, and what keeps its referents alive."""
    root, kept, *_ = faults.kinds()
    for dumps in (faults.reference, lambda host, root: weakreduce.dumps(root, host=host)):
        dumps(host, root)  # the first fills caches
    return root, faults.reference(host, root), kept


@pytest.fixture(autouse=True)
def _the_process_is_as_before() -> Iterator[None]:
    weakreduce.get_policy()
    for name in faults.HOSTS:  # the first fills caches
        weakreduce.dumps([weakref.ref(bad_hooks.KEPT[0])], host=name)  # type: ignore[arg-type]
    with faults.left_alone():
        yield


def some(number: int, place: str, those: tuple[Any, ...]) -> tuple[Any, ...]:
    """All of those in the places that matter most; in the others two, in turn."""
    if place in ("strong", "inside, met last", "outside", "key"):
        return those
    return (those[number % len(those)], those[(number + 3) % len(those)])


def attempt(bench: faults.Bench, root: Any, does: Callable[[], Any]) -> BaseException | None:
    """Dump while the act is armed; what that raises, or None where it went well."""

    def work(pickler: Any) -> None:
        with Act.arm(does):
            pickler.dump(root)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", weakreduce.DanglingWarning)
        return bench.attempt(work)


# --- methods ------------------------------------------------------------------------------------


def everywhere(
    bench: faults.Bench, hook: str, those: tuple[Any, ...], healthy: Any
) -> Iterator[tuple[str, Any, Any]]:
    """Each place of an object with a hook, and its root, with each of those that are tried there.

    After each place the bench has to be as before.
    """
    thing = bad_hooks.HOOKS[hook]()
    for number, (place, root) in enumerate(bad_hooks.placed(thing).items()):
        for each in some(number, place, those):
            yield place, root, each
        bench.check(*healthy[:2])


@pytest.mark.parametrize("hook", bad_hooks.HOOKS)
def test_a_method_that_raises(host: str, hook: str, healthy: Any) -> None:
    """What is no error of the object's is never lost."""
    bench = faults.Bench(host)
    for place, root, raised in everywhere(bench, hook, bad_hooks.ERRORS, healthy):
        error = attempt(bench, root, bad_hooks.raising(raised))
        if Act.calls and (not isinstance(raised, Exception) or type(raised) is MemoryError):
            assert error is raised, (place, raised, error)


@pytest.mark.parametrize("hook", bad_hooks.HOOKS)
def test_a_method_that_answers_nonsense(host: str, hook: str, healthy: Any) -> None:
    """It raises an error, or writes what is at least a pickle."""
    bench = faults.Bench(host)
    for place, root, answer in everywhere(bench, hook, bad_hooks.NONSENSE, healthy):
        error = attempt(bench, root, lambda answer=answer: answer)
        assert error is None or isinstance(error, Exception), (place, answer)
        assert not type(error).__module__.startswith("weakreduce.core"), (place, answer, error)
        bench.pickler.clear_memo()


@pytest.mark.parametrize("hook", bad_hooks.HOOKS)
def test_a_method_that_dumps(host: str, hook: str, healthy: Any) -> None:
    """Something else by another pickler; the healthy graph; and what is being dumped itself."""
    bench = faults.Bench(host)
    thing = bad_hooks.HOOKS[hook]()
    for place, root in bad_hooks.placed(thing).items():
        written: list[bytes] = []

        def other() -> Any:
            written.append(faults.reference(host, healthy[0]))
            with weakreduce.policy("dangle"):
                weakreduce.dumps([weakref.ref(bad_hooks.KEPT[0])], host=host)  # type: ignore[arg-type]
            return bad_hooks.AS_IT_SHOULD

        error = attempt(bench, root, other)
        assert error is None or type(error).__module__ != "weakreduce", (place, error)
        assert set(written) <= {healthy[1]}
        bench.pickler.clear_memo()

        def same(root: Any = root) -> Any:
            weakreduce.dumps(root, host=host)  # type: ignore[arg-type]
            return bad_hooks.AS_IT_SHOULD

        attempt(bench, root, same)
        bench.check(*healthy[:2])


@pytest.mark.parametrize("place", bad_hooks.placed(things.Thing()))
def test_a_reducer_that_dumps_by_the_same_pickler(place: str) -> None:
    """Its dump gets into the midst of the payload; the next one is right all the same.

    Of a Python pickler: C ones crash the interpreter then, up to Python 3.13, without us as well.
    """
    root, _kept, *_ = faults.kinds()
    healthy = root, faults.reference("dill", root)
    bench = faults.Bench("dill")
    root = bad_hooks.placed(bad_hooks.Reduce())[place]

    def does() -> Any:
        bench.pickler.dump([1, 2])
        return bad_hooks.AS_IT_SHOULD

    attempt(bench, root, does)
    bench.check(*healthy)


# --- the graph changes --------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["Reduce", "ReduceEx", "GetState", "GetNewArguments"])
def test_a_method_that_changes_the_graph(host: str, hook: str, healthy: Any) -> None:
    """A reference arrives on the copy of its referent, or dead where that is gone by the end."""
    bench = faults.Bench(host)
    for at in range(4):
        for change in ("adds", "drops", "replaces", "empties"):
            referents = [things.Thing(str(number)) for number in range(3)]
            kept, added = things.Thing("kept"), things.Thing("added")
            thing = bad_hooks.HOOKS[hook]()
            references = [weakref.ref(one) for one in (*referents, kept, added)]
            members = weakref.WeakSet(referents)
            table = weakref.WeakKeyDictionary({referents[0]: [added]})
            holder: list[Any] = [*referents]
            parts = [references, holder, members, table]
            parts.insert(at, thing)
            del referents

            def does(change: str = change, holder: Any = holder, added: Any = added) -> Any:
                if change == "adds":
                    holder.append(added)
                elif change == "drops":
                    holder.pop()
                elif change == "replaces":
                    holder[:] = [added, *holder[:1]]
                else:
                    holder.clear()
                gc.collect()
                return bad_hooks.AS_IT_SHOULD

            bench.pickler.clear_memo()
            start = bench.file.tell()
            assert attempt(bench, parts, does) is None
            copies = pickle.loads(bench.file.getvalue()[start:])
            del copies[at]
            found, *_ = copies
            names = ("0", "1", "2", "kept", "added")
            for name, reference in zip(names, found, strict=True):
                assert reference() is None or reference().name == name
            assert found[3]().name == "kept"
            assert {member.name for member in copies[2]} <= {"0", "1", "2"}
            bench.check(*healthy[:2])


@pytest.mark.parametrize("way", ["reduce", "predicate", "thread"])
def test_a_referent_that_dies_in_mid_dump(host: str, way: str, healthy: Any) -> None:
    """It is in the payload as it was, or arrives dead; nobody else is harmed."""
    bench = faults.Bench(host)
    for position in range(3):
        lives = [things.Thing("dies")]
        kept = things.Thing("kept")
        thing = bad_hooks.Reduce()
        parts: list[Any] = [weakref.ref(lives[0]), weakref.WeakSet([*lives, kept])]
        parts += [weakref.WeakValueDictionary(dies=lives[0], kept=kept)]
        parts.insert(position, thing)

        def die(lives: list[Any] = lives) -> Any:
            if way == "thread":
                thread = threading.Thread(target=lives.clear)
                thread.start()
                thread.join()
            lives.clear()
            return bad_hooks.AS_IT_SHOULD

        bench.pickler.clear_memo()
        start = bench.file.tell()
        rules: Any = ((lambda weak, referent: bool(die()) and False, "dangle"),)
        with weakreduce.policy(rules=rules if way == "predicate" else ()):
            assert attempt(bench, parts, die) is None
        assert not lives
        copies = pickle.loads(bench.file.getvalue()[start:])
        del copies[position]
        reference, members, values = copies
        assert reference() is None or reference().name == "dies"
        assert "kept" in {member.name for member in members} <= {"dies", "kept"}
        assert values["kept"].name == "kept"
        bench.check(*healthy[:2])


def test_the_collector_runs_at_every_allocation(host: str, healthy: Any) -> None:
    """While garbage lies about that the same containers refer to."""
    before = gc.get_threshold()
    for _ in range(3):
        members, kept = weakref.WeakSet[Any](), things.Thing("kept")
        keys = weakref.WeakKeyDictionary[Any, Any]()
        for number in range(10):
            cycle = things.Thing(str(number))
            cycle.itself = cycle
            members.add(cycle)
            keys[cycle] = cycle
            del cycle
        members.add(kept)
        keys[kept] = 1
        gc.set_threshold(1)
        try:
            written = faults.reference(host, [members, keys, weakref.ref(kept)])
            again = faults.reference(host, healthy[0])
        finally:
            gc.set_threshold(*before)
        assert again == healthy[1]
        found, table, reference = pickle.loads(written)
        assert reference() in found
        assert table[reference()] == 1


# --- hooks of picklers and policies -------------------------------------------------------------


@pytest.mark.parametrize("raised", [None, *bad_hooks.ERRORS], ids=repr)
def test_predicates(host: str, raised: Any, healthy: Any) -> None:
    """What they raise, they raise; a predicate may dump, and answer anything."""
    bench = faults.Bench(host)
    outside, inside = things.Thing(), things.Thing()
    root = [weakref.ref(outside), weakref.WeakSet([outside, inside]), inside]

    def matches(weak: Any, referent: Any) -> Any:
        return act_or_false()

    def act_or_false() -> Any:
        return bad_hooks.act(lambda: False)

    for fate in ("snapshot", "dangle", "refuse", "sever"):
        does = bad_hooks.raising(raised) if raised else lambda: [faults.reference(host, root)]
        with weakreduce.policy(rules=((matches, fate),)):
            error = attempt(bench, root, does)
        if raised is not None:
            # cloudpickle turns a RecursionError into an error of its own.
            assert raised in (error, error.__cause__)  # type: ignore[union-attr]
        else:
            assert (error is None) is (fate != "refuse")
        bench.check(*healthy[:2])


class Truthless:
    def __bool__(self) -> bool:
        raise ValueError("no truth")


@pytest.mark.parametrize("answer", [Truthless(), None, True, 7, "text"], ids=repr)
def test_buffer_callbacks(host: str, answer: Any) -> None:
    """That raise, that have no truth, that dump; each is called once for each buffer."""
    for weak in (False, True):
        calls: list[Any] = []

        def callback(buffer: Any, calls: Any = calls) -> Any:
            calls.append(buffer)
            return bad_hooks.act(lambda: None)

        bench = faults.Bench(host, protocol=5, buffer_callback=callback)
        raw, outside = harm.Raw(b"raw"), things.Thing()
        root = [raw, weakref.ref(raw), weakref.ref(outside)] if weak else [raw]
        expected = faults.reference(host, root, protocol=5, buffer_callback=lambda _: None)
        for does in (*map(bad_hooks.raising, bad_hooks.ERRORS), lambda: answer):
            calls.clear()
            start = bench.file.tell()
            error = attempt(bench, root, does)
            assert len(calls) == 1
            if error is None:
                assert pickle.loads(bench.file.getvalue()[start:], buffers=calls)[0] == raw
            else:
                assert bench.file.tell() == start
            bench.pickler.clear_memo()
        assert bench.written(root, forget=True) == expected


class Persistent(cloudpickle.Pickler):  # type: ignore[misc]
    """All its hooks act."""

    def persistent_id(self, obj: Any) -> Any:
        return bad_hooks.act(lambda: None) if type(obj) in (things.Thing, weakref.ref) else None


class Override(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        return bad_hooks.act(lambda: super(Override, self).reducer_override(obj))


@pytest.mark.parametrize("cls", [Persistent, Override])
def test_hooks_of_a_pickler(cls: Any) -> None:
    outside, inside = things.Thing(), things.Thing()
    root = [weakref.ref(inside), weakref.ref(outside), inside, weakref.WeakSet([outside])]
    cls(io.BytesIO()).dump(root)  # the first fills caches
    clean = io.BytesIO()
    cls(clean).dump(root)
    for does in (
        *map(bad_hooks.raising, bad_hooks.ERRORS),
        *(lambda answer=answer: answer for answer in bad_hooks.NONSENSE),
        lambda: cls(io.BytesIO()).dump([outside]),
    ):
        file = io.BytesIO()
        pickler = cls(file)
        before = faults.state(pickler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", weakreduce.DanglingWarning)
            try:
                with Act.arm(does):
                    pickler.dump(root)
            except BaseException as error:
                assert not type(error).__module__.startswith("weakreduce.core"), error
                assert faults.state(pickler) == before
                assert file.getvalue() == b""
        file.seek(0)
        file.truncate()
        pickler.clear_memo()
        pickler.dump(root)
        assert file.getvalue() == clean.getvalue()
