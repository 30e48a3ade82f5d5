"""What goes to the user's file and buffer_callback: all of it, once, whoever dumps."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import threading
import weakref
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cloudpickle
import dill
import pytest
import things
from other_picklers import buffer, check_buffers

import weakreduce
from weakreduce.model import locks, sharing

WAYS = {
    "cloudpickle by position": lambda f, c: cloudpickle.Pickler(f, 5, c),
    "cloudpickle by name": lambda f, c: cloudpickle.Pickler(file=f, protocol=5, buffer_callback=c),
    "dill": lambda f, c: dill.Pickler(f, 5, buffer_callback=c),
    "forking": lambda f, c: ForkingPickler(f, 5, True, c),
}


@pytest.mark.parametrize("uninstalled", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_every_buffer_goes_out_once(way: str, uninstalled: bool) -> None:
    check_buffers(WAYS[way], uninstalled)


def test_what_can_be_called_is_not_a_callback() -> None:
    class CallableProtocol(int):
        def __call__(self) -> None:
            raise AssertionError("called")

    file = io.BytesIO()
    cloudpickle.Pickler(file, CallableProtocol(5)).dump([1])
    dill.Pickler(file, CallableProtocol(5)).dump([2])
    file.seek(0)
    assert [pickle.load(file), pickle.load(file)] == [[1], [2]]


def test_uninstall_sees_what_copyreg_learns_afterwards() -> None:
    class Learned:
        pass

    picklers = [(file := io.BytesIO(), cloudpickle.Pickler(file)) for _ in range(2)]
    picklers[0][1].dump([1])
    weakreduce.uninstall()
    try:
        copyreg.pickle(Learned, lambda obj: (str, ("learned",)))  # type: ignore[arg-type]
        for file, pickler in picklers:
            start = file.tell()
            pickler.dump(Learned())
            assert pickle.loads(file.getvalue()[start:]) == "learned"
    finally:
        copyreg.dispatch_table.pop(Learned, None)
        weakreduce.install()


def test_installing_beside_dumps_loses_nothing() -> None:
    wrong: list[Any] = []
    done = threading.Event()

    def work(way: str) -> None:
        for _ in range(150):
            buffers: list[Any] = []
            file = io.BytesIO()
            WAYS[way](file, buffers.append).dump([buffer(), things.Thing()])
            if len(buffers) != 1:
                wrong.append(buffers)
            elif bytes(pickle.loads(file.getvalue(), buffers=buffers)[0]) != b"abc":
                wrong.append(file.getvalue())

    def turn() -> None:
        while not done.is_set():
            weakreduce.uninstall("cloudpickle", "dill")
            weakreduce.install("cloudpickle", "dill")

    turning = threading.Thread(target=turn)
    turning.start()
    working = [threading.Thread(target=work, args=[way]) for way in list(WAYS)[:3]]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    done.set()
    turning.join()
    assert not wrong


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@pytest.mark.parametrize("position", [0, 2, 10])
def test_a_failed_dump_leaves_a_file_as_it_was(host: Any, position: int) -> None:
    file = io.BytesIO(b"abc")
    file.seek(position)
    thing = things.Thing()
    for bad in ([weakref.ref(thing), thing, "x" * 100_000, things.Locked()], things.Locked()):
        with pytest.raises(TypeError):
            weakreduce.dump(bad, file, host=host)
        assert (file.getvalue(), file.tell()) == (b"abc", position)
    weakreduce.dump([1], file, host=host)
    file.seek(position)
    assert pickle.load(file) == [1]


class Writes:
    """Writes to the file itself, while it is pickled."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        self.file.write(b"own")
        return str, ("reduced",)


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
@pytest.mark.parametrize("size", [1, 200_000])
def test_what_a_reducer_writes_comes_first(host: Any, size: int) -> None:
    file, thing = io.BytesIO(), things.Thing()
    weakreduce.dump(["x" * size, weakref.ref(thing), Writes(file), thing], file, host=host)
    assert file.getvalue()[:3] == b"own"
    file.seek(3)
    _, reference, reduced, copy = pickle.load(file)
    assert reference() is copy
    assert reduced == "reduced"
    file = io.BytesIO()
    with pytest.raises(TypeError):
        weakreduce.dump([Writes(file), things.Locked()], file, host=host)
    assert file.getvalue() == b"own"


def test_large_payloads_follow_what_is_there() -> None:
    file = io.BytesIO()
    for _ in range(2):
        cloudpickle.dump(b"x" * 200_000, file)
    file.seek(0)
    assert pickle.load(file) == pickle.load(file) == b"x" * 200_000


def child_of_a_fork(work: Any) -> int:
    """The status of a forked child that does `work`, or -1 where it does not end."""
    child = os.fork()
    if child == 0:
        late = threading.Timer(30, os._exit, [1])
        late.daemon = True
        late.start()
        try:
            work()
            os._exit(0)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1]


def test_a_fork_beside_a_thread_that_holds_a_lock() -> None:
    """Every lock of ours is made by `locks`, and a forked child finds it free."""
    thing = things.Thing()
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with sharing._lock:
            held.set()
            go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert child_of_a_fork(lambda: weakreduce.share("name", thing)) == 0
    finally:
        go.set()
        thread.join()
    assert sharing._lock in locks._made
    lock = locks.new_lock()
    with lock:  # of the forking thread: let go of where it was taken
        assert child_of_a_fork(lock.release) == 0


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
def test_buffers_that_stay_in_band_where_nothing_is_weak(host: Any) -> None:
    """What the callback answers is known when the walk is over, which is run again with that."""
    first, second = pickle.PickleBuffer(b"first"), pickle.PickleBuffer(b"second")
    root = [first, {"second": second}]
    for stay in ([True, True], [True, False], [False, True]):
        asked: list[Any] = []

        def callback(buffer: Any, stay: list[bool] = stay, asked: list[Any] = asked) -> bool:
            asked.append(buffer)
            return stay[[first, second].index(buffer)]

        found = weakreduce.dumps(root, host=host, protocol=5, buffer_callback=callback)
        assert asked == [first, second]
        assert found == pickle.dumps(root, 5, buffer_callback=callback)
        out = [buffer for buffer, stays in zip([first, second], stay, strict=True) if not stays]
        copy = weakreduce.loads(found, host=host, buffers=out)
        assert [bytes(copy[0]), bytes(copy[1]["second"])] == [b"first", b"second"]
