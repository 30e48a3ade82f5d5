"""Subclasses of a host's pickler, its several dumps, and its files, are as ever.

Each test in a process of its own (`harm.py`).
"""

from __future__ import annotations

import collections
import copyreg
import io
import itertools
import json
import pickle
import sys
import threading
import weakref
from typing import Any

import pytest
from harm import (
    Explosive,
    Plain,
    Target,
    answer,
    run,
)


class Handle:
    """What a pickler of somebody else's treats in its own way."""

    def __init__(self, number: int = 0) -> None:
        self.number = number


def made_by_override(number: int) -> Handle:
    return Handle(number + 100)


def made_by_table(number: int) -> Handle:
    return Handle(number + 200)


def made_by_instance(number: int) -> Handle:
    return Handle(number + 300)


def _subclasses(base: Any) -> dict[str, Any]:
    class Override(base):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is Handle:
                return made_by_override, (obj.number,)
            found = getattr(super(), "reducer_override", None)
            return NotImplemented if found is None else found(obj)

    class Table(base):  # type: ignore[misc]
        dispatch_table = collections.ChainMap(
            {Handle: lambda obj: (made_by_table, (obj.number,))},
            getattr(base, "dispatch_table", copyreg.dispatch_table),
        )

    class InstanceTable(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **keywords: Any) -> None:
            self.dispatch_table = {  # the C pickler looks for it in its __init__, once
                **getattr(base, "dispatch_table", copyreg.dispatch_table),
                Handle: lambda obj: (made_by_instance, (obj.number,)),
            }
            super().__init__(*args, **keywords)

    class Persistent(base):  # type: ignore[misc]
        def persistent_id(self, obj: Any) -> Any:
            return obj.number if type(obj) is Handle else None

    class Dumps(base):  # type: ignore[misc]
        dumped = 0

        def dump(self, obj: Any) -> None:
            self.dumped += 1
            super().dump(["in front", obj])

    return {c.__name__: c for c in (Override, Table, InstanceTable, Persistent, Dumps)}


HANDLES = {number: Handle(number) for number in range(10)}


class Unpickler(pickle.Unpickler):
    def persistent_load(self, number: Any) -> Any:
        return HANDLES[number]


def child_subclass(host: str, name: str) -> None:
    """A subclass's own hooks are obeyed, with and without weak things around."""
    module: Any = __import__(host)
    cls = _subclasses(module.Pickler)[name]
    expected = {"Override": 105, "Table": 205, "InstanceTable": 305}.get(name, 5)
    handle = Handle(5)

    def send(root: Any) -> Any:
        file = io.BytesIO()
        cls(file).dump(root)
        found = Unpickler(io.BytesIO(file.getvalue())).load()
        if name == "Dumps":
            assert found[0] == "in front"
            return found[1]
        return found

    strong, again = send([handle, Plain(handle)])
    assert strong.number == expected
    assert again.parts[0] is strong
    for policy, weak_first in itertools.product(("snapshot", "dangle", "strict"), (False, True)):
        _with_weak(send, policy, handle, expected, weak_first, name)
    # Outside: pinned, and made in the subclass's own way.
    (alone,) = send([weakref.ref(handle)])
    assert alone() is not None
    assert alone().number == expected
    if name == "Persistent":
        assert alone() is HANDLES[5]


def _with_weak(
    send: Any, policy: str, handle: Any, expected: int, weak_first: bool, name: str
) -> None:
    import weakreduce

    reference, values = weakref.ref(handle), weakref.WeakValueDictionary(key=handle)
    root = [reference, values, handle] if weak_first else [handle, values, reference]
    with weakreduce.policy(policy):
        found = send(root)
    if weak_first:
        found.reverse()
    strong, values, reference = found
    assert strong.number == expected
    assert reference() is strong
    assert values["key"] is strong
    assert not weakreduce.is_pinned(reference)
    if name == "Persistent":
        assert strong is HANDLES[5]


@pytest.mark.parametrize("name", ["Override", "Table", "InstanceTable", "Persistent", "Dumps"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_subclasses_keep_their_own_hooks(host: str, name: str) -> None:
    run(child_subclass, host, name)


def child_copies_nobody_refers_to(host: str, name: str) -> None:
    """What the copy of a referent is, only the subclass's own hook knows."""
    import weakreduce

    def as_text(obj: Any) -> Any:
        return (str, ("text",)) if type(obj) is Handle else NotImplemented

    module: Any = __import__(host)
    base = module.Pickler

    class Override(base):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            found = as_text(obj)
            return super().reducer_override(obj) if found is NotImplemented else found

    class Table(base):  # type: ignore[misc]
        dispatch_table = collections.ChainMap({Handle: as_text}, base.dispatch_table)

    cls = {"Override": Override, "Table": Table}[name]
    handle = Handle()
    for weak, dead in (
        (weakref.ref(handle), lambda found: found() is None),
        (weakref.WeakSet([handle]), lambda found: not found),
        (weakref.WeakValueDictionary(key=handle), lambda found: not found),
    ):
        for root in ([handle, weak], [weak, handle], [weak]):
            file = io.BytesIO()
            with pytest.warns(weakreduce.DanglingWarning, match="cannot be weakly referenced"):
                cls(file).dump(root)
            copies = pickle.loads(file.getvalue())
            assert dead(copies[root.index(weak)])
            assert copies.count("text") == len(root) - 1


@pytest.mark.parametrize("name", ["Override", "Table"])
def test_a_copy_that_cannot_be_referred_to(name: str) -> None:
    run(child_copies_nobody_refers_to, "cloudpickle", name)


def child_one_pickler(host: str) -> None:
    """Several dumps of one pickler share its memo; one Unpickler loads them all."""
    module: Any = __import__(host)
    file = io.BytesIO()
    pickler = module.Pickler(file, 4)
    first, second = Plain("first"), Plain("second")
    pickler.dump([first, "text"])
    pickler.dump([second, weakref.ref(first), first])
    pickler.dump([weakref.ref(second), weakref.WeakSet([third := Target()]), first])
    pickler.dump([third, weakref.proxy(third), second])
    file.seek(0)
    unpickler = pickle.Unpickler(file)
    (one, _), (two, to_one, one_again) = unpickler.load(), unpickler.load()
    assert one == first
    assert two == second
    assert one_again is one
    assert to_one() is one
    to_two, members, one_again = unpickler.load()
    assert to_two() is two
    assert one_again is one
    assert len(members) == 1
    three, proxy, two_again = unpickler.load()
    assert two_again is two
    assert type(proxy) is weakref.ProxyType
    assert isinstance(three, Target)
    assert unpickler.__class__ is pickle.Unpickler
    assert not file.read()
    pickler.clear_memo()
    size = file.tell()
    pickler.dump(first)
    file.seek(size)
    assert pickle.load(file) == first


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_dumps_of_one_pickler_share_its_memo(host: str) -> None:
    run(child_one_pickler, host)


def child_refused(host: str) -> None:
    """What a refused dump met is not in the file, so a later dump writes it whole."""
    import weakreduce

    module: Any = __import__(host)
    file = io.BytesIO()
    pickler = module.Pickler(file)
    outside, part = Target(), Plain("part")
    with weakreduce.policy("strict"):
        try:
            pickler.dump([part, weakref.ref(outside)])
        except weakreduce.WeakrefPicklingError:
            assert not file.getvalue()
        else:
            raise AssertionError("no error")
    pickler.dump([part, weakref.ref(outside)])
    again, reference = pickle.loads(file.getvalue())
    assert again == part
    assert isinstance(reference(), Target)


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_a_pickler_goes_on_after_a_refusal(host: str) -> None:
    run(child_refused, host)


class OnlyWrite:
    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))


class FullDisk:
    def __init__(self) -> None:
        self.calls = 0

    def write(self, data: Any) -> int:
        self.calls += 1
        raise OSError(28, "No space left on device")


def child_files(host: str) -> None:
    """Files that are odd objects."""
    import weakreduce

    module: Any = __import__(host)
    target = Target()
    for root in ([1], [target, weakref.ref(target)], weakref.ref(target), [b"x" * 200_000]):
        odd = OnlyWrite()
        module.Pickler(odd).dump(root)
        assert b"".join(odd.written) == module.dumps(root)
        full = FullDisk()
        pickler = module.Pickler(full)
        for _ in range(2):
            try:
                pickler.dump(root)
            except OSError as error:
                assert error.errno == 28
            else:
                raise AssertionError("no error")
        assert full.calls
        odd = OnlyWrite()
        for bad in ([root, Explosive()], [b"x" * 200_000, target, Explosive()]):
            try:
                module.Pickler(odd).dump(bad)
            except ZeroDivisionError:
                pass
            else:
                raise AssertionError("no error")
        try:
            with weakreduce.policy("strict"):
                module.Pickler(odd).dump([root, weakref.ref(target.__class__())])
                module.Pickler(OnlyWrite()).dump([b"x" * 200_000, weakref.ref(target)])
        except weakreduce.WeakrefPicklingError:
            odd.written = odd.written[-1:] if root == [1] or len(odd.written) == 1 else odd.written
        assert len(odd.written) <= 1


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_odd_files(host: str) -> None:
    run(child_files, host)


def child_bad_files(host: str) -> None:
    """Print the errors of files that are none, and of bad arguments."""
    module: Any = __import__(host)
    found = []
    for arguments in ((object(),), (None,), (), (io.BytesIO(), 99), (io.BytesIO(), "x")):
        found.append(answer(lambda: module.Pickler(*arguments).dump([1]) or b""))
    found.append(answer(lambda: module.dump([1], object()) or b""))
    found.append(answer(lambda: module.dumps([1], 99)))
    found.append(answer(lambda: module.Pickler(io.BytesIO()).dump() or b""))
    found.append(answer(lambda: module.Pickler(io.StringIO()).dump([1]) or b""))
    print(json.dumps(found))


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_bad_files_and_arguments_fail_as_ever(host: str) -> None:
    ours, stock = (json.loads(run(child_bad_files, host, ours=way)) for way in (True, False))
    assert ours == stock


def child_uninitialised() -> None:
    """A pickler whose ``__init__`` never ran, or ran twice."""
    import cloudpickle

    class Lazy(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            pass

    try:
        Lazy().dump([1])
    except pickle.PicklingError:
        pass
    else:
        raise AssertionError("no error")
    first, second = io.BytesIO(), io.BytesIO()
    pickler = cloudpickle.Pickler(first)
    pickler.dump([1])
    pickler.__init__(second)
    target = Target()
    pickler.dump([target, weakref.ref(target)])
    assert pickle.loads(first.getvalue()) == [1]
    strong, reference = pickle.loads(second.getvalue())
    assert reference() is strong


def test_picklers_not_made_as_usual() -> None:
    run(child_uninitialised)


# --- many dumps, and reducers that come late -------------------------------------------------


class Late:
    """Pickled by a reducer that is registered while another object is pickled."""


class Registers:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __getstate__(self) -> Any:
        copyreg.pickle(Late, lambda _: (str, ("late",)))  # type: ignore[arg-type]
        return vars(self)


def child_registers_late(host: str, weak: bool) -> None:
    """Print what arrives of an object whose reducer is registered during the dump."""
    module: Any = __import__(host)
    kept = Plain(1)
    root: Any = [Registers(Late())]
    if weak:
        root = [weakref.ref(kept), kept, *root, Late()]
    print([found for holder in module.loads(module.dumps(root)) if isinstance(holder, Registers)
           for found in holder.parts])  # fmt: skip


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_a_reducer_that_is_registered_during_a_dump_counts(host: str) -> None:
    stock = run(child_registers_late, host, False, ours=False)
    assert run(child_registers_late, host, False) == stock == "['late']\n"
    assert run(child_registers_late, host, True) == stock


def child_registers_for_what_was_met() -> None:
    """The decisions of a dump and what its pickler writes go by one reducer of a class."""
    import cloudpickle

    kept, late = Plain(1), Late()
    outside = weakref.ref(kept)
    link, registers = weakref.ref(late), Registers()
    for root in ([outside, late, registers, link], [late, link, registers, outside]):
        found = cloudpickle.loads(cloudpickle.dumps(root))
        assert type(found[root.index(late)]) is Late
        assert found[root.index(link)]() is found[root.index(late)]
        del copyreg.dispatch_table[Late]
    copyreg.pickle(Late, lambda _: (str, ("late",)))  # type: ignore[arg-type]
    assert cloudpickle.loads(cloudpickle.dumps([late])) == ["late"]


def test_a_reducer_that_is_registered_for_what_was_met_counts_from_the_next_dump_on() -> None:
    run(child_registers_for_what_was_met)


def child_registers_in_threads() -> None:
    """A table that another thread is renewing is not used before it is whole."""
    import cloudpickle

    wrong = []

    def register(number: int) -> None:
        for turn in range(200):
            cls = type(f"T{number}x{turn}", (), {})
            copyreg.pickle(cls, lambda _: (int, (7,)))  # type: ignore[arg-type]
            if pickle.loads(cloudpickle.dumps(cls())) != 7:
                wrong.append((number, turn))

    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=register, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_reducers_that_are_registered_in_threads_count() -> None:
    run(child_registers_in_threads)


def child_many_dumps(host: str) -> None:
    """One pickler, many dumps: some with weak things, some that are refused or fail."""
    import weakreduce

    module: Any = __import__(host)
    file = io.BytesIO()
    pickler = module.Pickler(file)
    shared, sent = Plain("shared"), []
    for number in range(60):
        held = Plain(number)
        root: Any = [shared, held, (number, f"text {number}")]
        if number % 3 == 1:
            root = [weakref.ref(held), *root, weakref.ref(shared), weakref.ref(Plain.method)]
        if number % 5 == 2:
            root.append(iter_of(root))
        with weakreduce.policy("strict" if number % 7 == 3 else "snapshot"):
            outside = Plain("outside")
            if number % 7 == 3:
                root.append(weakref.ref(outside))
            try:
                pickler.dump(root)
            except (TypeError, weakreduce.WeakrefPicklingError):
                assert number % 5 == 2 or number % 7 == 3
            else:
                assert number % 5 != 2
                assert number % 7 != 3
                sent.append(number)
    file.seek(0)
    unpickler = getattr(module, "Unpickler", pickle.Unpickler)(file)
    first = None
    for number in sent:
        found = unpickler.load()
        weak, found = (found[0], found[1:]) if number % 3 == 1 else (None, found)
        first = found[0] if first is None else first
        assert found[0] is first
        assert found[1].parts == (number,) if hasattr(found[1], "parts") else True
        assert found[2] == (number, f"text {number}")
        if weak is not None:
            assert weak() is found[1]
            assert found[3]() is first
    assert file.read() == b""


def iter_of(items: Any) -> Any:
    return (item for item in items)


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_many_dumps_by_one_pickler(host: str) -> None:
    run(child_many_dumps, host)
