"""`record` counts each byte that an engine was sent once, whatever was packed at the call."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import loky
import pytest
from things import Thing

import weakreduce
from weakreduce.engines import submit

SIZE = 200_000


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what this process writes to pipes."""
    sizes: list[int] = []
    stock = multiprocessing.connection.Connection._send_bytes  # type: ignore[attr-defined]

    def counting(connection: Any, data: Any) -> Any:
        sizes.append(len(data))
        return stock(connection, data)

    monkeypatch.setattr(multiprocessing.connection.Connection, "_send_bytes", counting)
    return sizes


def named(thing: Thing) -> str:
    return thing.name


OUTSIDE = Thing(data=bytes(SIZE))


def weak() -> Thing:
    return Thing(data=bytes(SIZE), outside=weakref.ref(OUTSIDE))


def plain() -> Thing:
    return Thing(data=bytes(SIZE))


def checked(run: Callable[[], object], sent: list[int]) -> weakreduce.Report:
    sent.clear()
    with weakreduce.record() as report:
        run()
    assert sum(sent) >= SIZE
    assert report.total_bytes == sum(sent)
    return report


@pytest.fixture(params=["room", "none"])
def room(request: pytest.FixtureRequest) -> Iterator[str]:
    """Whether what is packed at the call may wait in the place of what the engine was given."""
    share = None
    if request.param == "none":
        share = submit.waiting.take(submit.WAITING_LIMIT - submit.waiting.bytes)
        assert share is not None
    yield request.param
    del share


@pytest.mark.parametrize("make", [weak, plain])
def test_of_executors(make: Callable[[], Thing], room: str, sent: list[int]) -> None:
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        pool.submit(len, ()).result(timeout=300)
        report = checked(lambda: pool.submit(named, make()).result(timeout=300), sent)
        assert report.counts == ({"snapshot": 1} if make is weak else {})
        things = [make(), make()]
        checked(lambda: list(pool.map(named, things, timeout=300)), sent)


@pytest.mark.parametrize("make", [weak, plain])
def test_of_pools(make: Callable[[], Thing], room: str, sent: list[int]) -> None:
    with multiprocessing.Pool(1) as pool:
        pool.apply(len, ((),))
        checked(lambda: pool.apply(named, (make(),)), sent)
        checked(lambda: pool.map(named, [make()] * 4), sent)
        checked(lambda: pool.starmap(named, [(make(),), (plain(),)]), sent)


@pytest.mark.parametrize("make", [weak, plain])
def test_of_queues(make: Callable[[], Thing], room: str, sent: list[int]) -> None:
    queue: Any = multiprocessing.Queue()

    def run() -> None:
        queue.put(make())
        queue.get(timeout=300)

    checked(run, sent)
    queue.close()
    queue.join_thread()


@pytest.mark.parametrize("make", [weak, plain])
def test_of_loky(make: Callable[[], Thing], room: str, sent: list[int]) -> None:
    pool = loky.get_reusable_executor(1)
    pool.submit(len, ()).result(timeout=300)
    checked(lambda: pool.submit(named, make()).result(timeout=300), sent)
    pool.shutdown()


def test_what_was_bound_before_is_sent_in_the_block(sent: list[int]) -> None:
    bound = weakreduce.bind(weak())
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        pool.submit(len, ()).result(timeout=300)
        checked(lambda: pool.submit(len, [bound]).result(timeout=300), sent)

        def twice() -> None:
            again = weakreduce.bind(weak())
            for _ in range(2):
                pool.submit(len, [again]).result(timeout=300)

        checked(twice, sent)


def test_blocks_in_blocks_and_dumps_of_their_own() -> None:
    """A block counts what was packed before it began, and two dumps of one thing are two."""
    with weakreduce.record() as outer:
        bound = weakreduce.bind(plain())
        with weakreduce.record() as inner:
            whole = weakreduce.dumps([bound])
    assert inner.total_bytes == outer.total_bytes == len(whole)
    with weakreduce.record() as report:
        payloads = [weakreduce.dumps(plain()) for _ in range(2)]
    assert report.total_bytes == sum(map(len, payloads))


def test_of_joblib(sent: list[int]) -> None:
    with weakreduce.record() as report:
        joblib.Parallel(2)(joblib.delayed(named)(make()) for make in (weak, plain))
    assert report.total_bytes is not None
    assert 3 * SIZE < report.total_bytes < 4 * SIZE
