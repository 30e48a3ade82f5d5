"""Files that fail: a write that raises, a short one, a full disk, a closed pipe.

The pickler is afterwards as if the dump had not been: the next one writes the reference. What has
got into the file is the file's affair; of a dump that fails before, nothing has.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pickle
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faults
import pytest
import things

import weakreduce

HOSTS = faults.HOSTS
#: Larger than the frames that stock hands to a file by themselves, and than a pipe holds.
LARGE = 1 << 21


@pytest.fixture(params=HOSTS)
def host(request: Any) -> Any:
    return request.param


class Failing:
    """Raises at its n-th write, or takes a part of it."""

    def __init__(self, at: int, raised: BaseException | None = None, short: int | None = None):
        self.at, self.raised, self.short = at, raised, short
        self.written: list[bytes] = []
        self.calls = 0

    def write(self, data: Any) -> Any:
        self.calls += 1
        if self.calls == self.at and self.raised is not None:
            raise self.raised
        kept = bytes(data)[: self.short if self.calls == self.at else None]
        self.written.append(kept)
        return len(kept)


def roots() -> Iterator[tuple[Any, Any]]:
    """Payloads with weak things and without, small and large."""
    inside, outside = things.Thing("inside"), things.Thing("outside")
    yield [weakref.ref(inside), weakref.ref(outside), inside], outside
    yield [inside, 1], None
    yield ["text", {"of": "opcodes"}, 1.5], None
    yield [weakref.ref(inside), inside, bytes(LARGE)], None
    yield [bytes(LARGE), bytearray(LARGE)], None


#: Made anew for each test: what is raised keeps all that it came by.
ERRORS: dict[str, Callable[[], BaseException]] = {
    "full": lambda: OSError(errno.ENOSPC, "full"),
    "pipe": BrokenPipeError,
    "interrupt": KeyboardInterrupt,
    "value": lambda: ValueError("odd"),
    "memory": MemoryError,
    "later": lambda: BlockingIOError(errno.EAGAIN, "later", 3),
}


@pytest.mark.parametrize("error", ERRORS)
def test_a_write_that_raises(host: str, error: str) -> None:
    """It is raised as it is, and after that the pickler writes as ever."""
    raised = ERRORS[error]()
    for root, _kept in roots():
        expected = faults.reference(host, root)
        for at in (1, 2, 3):
            file = Failing(at, raised)
            pickler = faults.PICKLERS[host](file)
            for _ in range(at - 1):
                pickler.dump(things.function)
            assert file.calls == at - 1  # one for each dump
            before = faults.state(pickler)
            with faults.left_alone(), pytest.raises(type(raised)) as caught:
                pickler.dump(root)
            assert caught.value is raised
            assert faults.state(pickler) == before
            del file.written[:]
            pickler.clear_memo()
            pickler.dump(root)
            assert b"".join(file.written) == expected


@pytest.mark.parametrize("short", [0, 1, 50])
def test_a_short_write(host: str, short: int) -> None:
    """As stock, nobody asks the file how much it took: who wants that wraps it in a buffer."""
    for root, _kept in roots():
        expected = faults.reference(host, root)
        file = Failing(1, short=short)
        pickler = faults.PICKLERS[host](file)
        pickler.dump(root)
        assert len(b"".join(file.written)) <= len(expected)
        del file.written[:]
        pickler.clear_memo()
        pickler.dump(root)
        assert b"".join(file.written) == expected


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_full_disk(host: str, buffering: int) -> None:
    for root, _kept in roots():
        with faults.left_alone():
            file = open("/dev/full", "wb", buffering)  # noqa: SIM115
            pickler = faults.PICKLERS[host](file)
            try:
                with pytest.raises(OSError, match="No space") as caught:
                    pickler.dump(root)
                    file.flush()
                assert caught.value.errno == errno.ENOSPC
            finally:
                with contextlib.suppress(OSError):
                    file.close()


@pytest.mark.parametrize("make", [os.pipe, socket.socketpair])
def test_a_closed_pipe(host: str, make: Callable[[], Any]) -> None:
    for root, _kept in roots():
        expected = faults.reference(host, root)
        ends = make()
        if make is os.pipe:
            reads, writes = (open(end, mode, 0) for end, mode in zip(ends, ("rb", "wb")))
        else:
            reads, writes = ends[0].makefile("rb", 0), ends[1].makefile("wb", 0)
        pickler = faults.PICKLERS[host](writes)
        reads.close()
        if make is socket.socketpair:
            ends[0].close()
        before = faults.state(pickler)
        with faults.left_alone(), pytest.raises((BrokenPipeError, ConnectionResetError)):
            pickler.dump(root)
        assert faults.state(pickler) == before
        assert faults.reference(host, root) == expected
        writes.close()
        for end in ends if make is socket.socketpair else ():
            end.close()


def test_a_pipe_that_holds_less_than_the_payload() -> None:
    code = "import pickle, sys; print(len(pickle.load(sys.stdin.buffer)[2]))"
    environment = os.environ | {"PYTHONPATH": str(Path(things.__file__).parent)}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert child.stdin is not None
    inside = things.Thing("inside")
    weakreduce.dump([weakref.ref(inside), inside, bytes(LARGE)], child.stdin)
    answer, _ = child.communicate(timeout=120)
    assert int(answer) == LARGE


def test_a_closed_file(host: str) -> None:
    for root, _kept in roots():
        file = io.BytesIO()
        pickler = faults.PICKLERS[host](file)
        before = faults.state(pickler)
        file.close()
        with faults.left_alone(), pytest.raises(ValueError, match="closed file"):
            pickler.dump(root)
        assert faults.state(pickler) == before


class Dumps:
    """A file whose write dumps something else."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: Any) -> int:
        self.written.append(bytes(data))
        if len(self.written) == 1:
            weakreduce.dumps([weakref.ref(things.Thing)])
        return len(data)


def test_a_write_that_dumps(host: str) -> None:
    for root, _kept in roots():
        file = Dumps()
        pickler = faults.PICKLERS[host](file)
        pickler.dump(root)
        assert b"".join(file.written) == faults.reference(host, root)


def test_a_file_without_what_a_file_has(host: str) -> None:
    """As stock: it is refused when the pickler is made."""
    for file in (object(), None, 5):
        with pytest.raises((TypeError, AttributeError), match="write"):
            faults.PICKLERS[host](file)


class NoTruth:
    """A file whose write gives what has no truth and no length."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: Any) -> Any:
        self.written += bytes(data)
        return self

    def __bool__(self) -> bool:
        raise ValueError("no truth")

    __len__ = __eq__ = __bool__  # type: ignore[assignment]


def test_an_odd_answer_of_write(host: str) -> None:
    for root, _kept in roots():
        file = NoTruth()
        faults.PICKLERS[host](file).dump(root)
        assert file.written == faults.reference(host, root)
        pickle.loads(file.written)
