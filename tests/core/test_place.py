"""Where a dump under way is written: nothing reaches the file, or the callback, before its end."""

from __future__ import annotations

import contextlib
import io
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakreduce.core.sink import Buffers, Limit, Place, TooLarge, UnderWay

#: More than it is worth to copy.
LARGE = 1 << 17


class Recorded:
    """A file that remembers what was written by each call."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> str:
        self.written.append(bytes(data))
        return "written"


class Unchanged:
    """An adapter of a pickler that needs nothing to be put back."""

    def put_back(self, *, delivered: bool) -> None:
        pass


@contextlib.contextmanager
def dump(place: Place) -> Iterator[None]:
    """A dump of ours is under way at a place."""
    dump_under_way = UnderWay()
    place.under_way = weakref.ref(dump_under_way)
    place.run(lambda *_: None, Unchanged(), None)  # type: ignore[arg-type]
    yield
    place.end()


def test_without_a_dump_all_goes_straight_through() -> None:
    file = Recorded()
    place = Place(file, None)
    assert place.write(b"one") == "written"  # type: ignore[comparison-overlap]
    with dump(place):
        place.write(b"two")
    assert place.under_way() is None
    assert place.write(b"three") == "written"  # type: ignore[comparison-overlap]
    assert file.written == [b"one", b"three"]


def test_nothing_is_written_before_the_end_and_then_all_at_once() -> None:
    file = Recorded()
    place = Place(file, None)
    with dump(place):
        assert place.write(b"one") == 3
        assert place.write(bytearray(b"two")) == 3
        assert place.write(memoryview(b"three")) == 5
        assert file.written == []
        assert not place.delivered
        assert place.size() == place.tell() == 11
        place.deliver()
        assert place.delivered
    assert file.written == [b"onetwothree"]


def test_a_dump_that_is_not_delivered_leaves_nothing() -> None:
    file = Recorded()
    place = Place(file, None)
    with dump(place):
        place.write(b"one")
        place.defer(1, lambda: file.write(b"never"))
    with dump(place):
        assert place.size() == 0
        place.write(b"two")
        place.deliver()
    assert file.written == [b"two"]


def test_what_memory_lacked_for_is_written_anew() -> None:
    """Where an allocation fails, a BytesIO is closed from then on."""
    file = Recorded()
    place = Place(file, None)
    with dump(place):
        place.write(b"one")
        place.kept.close()
        place.clear()
        place.write(b"two")
        place.deliver()
    assert file.written == [b"two"]


def test_what_was_written_may_change_afterwards() -> None:
    file = Recorded()
    place = Place(file, None)
    with dump(place):
        data = bytearray(b"one")
        place.write(data)
        data[:] = b"two"
        place.deliver()
    assert file.written == [b"one"]


@pytest.mark.parametrize("size", [3, LARGE])
@pytest.mark.parametrize("before", [b"", b"before"])
@pytest.mark.parametrize("at_start", [False, True])
def test_the_payload_goes_to_where_the_file_stands(
    size: int, before: bytes, at_start: bool
) -> None:
    file = io.BytesIO()
    file.write(before)
    if at_start:
        file.seek(0)
    stock = io.BytesIO(before)
    stock.seek(file.tell())
    payload = b"p" * size
    stock.write(payload)
    place = Place(file, None)
    with dump(place):
        place.write(payload)
        place.deliver()
    assert file.getvalue() == stock.getvalue()
    assert file.tell() == stock.tell()
    file.write(b"after")
    stock.write(b"after")
    assert file.getvalue() == stock.getvalue()


@pytest.mark.parametrize("size", [3, LARGE])
def test_what_a_reducer_writes_to_the_file_comes_before(size: int) -> None:
    file = io.BytesIO()
    place = Place(file, None)
    with dump(place):
        place.write(b"p" * size)
        file.write(b"reducer's")
        place.deliver()
    assert file.getvalue() == b"reducer's" + b"p" * size


def test_large_payloads_go_to_an_own_kind_of_file_by_its_write() -> None:
    class Own(io.BytesIO):
        calls = 0

        def write(self, data: Any) -> int:
            self.calls += 1
            return super().write(data)

    file = Own()
    place = Place(file, None)
    with dump(place):
        place.write(b"p" * LARGE)
        place.deliver()
    assert file.calls == 1
    assert file.getvalue() == b"p" * LARGE


def test_a_file_that_fails_got_nothing() -> None:
    file = io.BytesIO()
    place = Place(file, None)
    file.close()
    with pytest.raises(ValueError, match="closed"), dump(place):
        place.write(b"one")
        place.deliver()
    assert not place.delivered


def test_the_next_dump_begins_undelivered() -> None:
    place = Place(io.BytesIO(), None)
    assert not place.used
    with dump(place):
        place.deliver()
    with dump(place):
        assert place.used
        assert not place.delivered


# --- put off, cut, put back ---------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=3)),
    st.tuples(st.just("put off"), st.binary(min_size=1, max_size=3)),
    st.tuples(st.just("mark"), st.none()),
    st.tuples(st.just("cut"), st.integers(0, 3)),
    st.tuples(st.just("keep"), st.none()),
    st.tuples(st.just("put back"), st.integers(0, 3)),
    st.tuples(st.just("clear"), st.none()),
)


@given(steps=st.lists(STEPS, max_size=15))
@settings(deadline=None, database=None)
def test_every_order_of_steps(steps: list[tuple[str, Any]]) -> None:
    """Against a list of pieces, each bytes and whether it was put off."""
    file = Recorded()
    place = Place(file, None)
    pieces: list[tuple[bytes, bool]] = []
    marks: list[tuple[Any, int]] = []  # those that are still there: no cut went behind them
    kept: list[tuple[Any, list[tuple[bytes, bool]]]] = []
    with dump(place):
        for step, given_ in steps:
            if step == "write":
                place.write(given_)
                pieces.append((given_, False))
            elif step == "put off":
                place.defer(len(given_), lambda data=given_: file.write(data))
                pieces.append((given_, True))
            elif step == "mark":
                marks.append((place.mark(), len(pieces)))
            elif step == "cut" and given_ < len(marks):
                mark, length = marks[given_]
                place.cut(mark)
                del pieces[length:], marks[given_ + 1 :]
            elif step == "keep":
                kept.append((place.keep(), pieces.copy()))
            elif step == "put back" and given_ < len(kept):
                dump_then, pieces_then = kept[given_]
                place.restore(dump_then)
                pieces, marks = pieces_then.copy(), []
            elif step == "clear":
                place.clear()
                pieces, marks = [], []
            assert place.size() == sum(len(data) for data, _ in pieces)
        assert file.written == []
        place.deliver()
    assert b"".join(file.written) == b"".join(data for data, _ in pieces)
    put_off = [data for data, later in pieces if later]
    # What was put off is written by its own function; all in between in one piece.
    assert len(file.written) == 2 * len(put_off) + 1
    assert file.written[1::2] == put_off


# --- limits -------------------------------------------------------------------------------


def test_a_limit_takes_so_much_and_no_more() -> None:
    place = Place(Limit(5), None)
    with dump(place):
        place.write(b"12345")
        with pytest.raises(TooLarge):
            place.write(b"6")
        place.clear()
        place.defer(5, lambda: None)
        with pytest.raises(TooLarge):
            place.defer(1, lambda: None)
        place.clear()
        place.write(b"12345")
        place.deliver()
    assert place.delivered == [5]


def test_a_limit_stands_where_every_alignment_is_right() -> None:
    limit = Limit(5)
    assert limit.write(b"123") == 3
    assert limit.tell() == 0


def test_a_limit_that_a_file_of_the_users_names_is_none() -> None:
    class Named(Recorded):
        limit = 1

    file = Named()
    place = Place(file, None)
    with dump(place):
        place.write(b"12345")
        place.deliver()
    assert file.written == [b"12345"]


def test_a_limit_may_come_and_go() -> None:
    place = Place(Recorded(), None)
    with dump(place):
        place.write(b"123")
        place.limit = 3
        with pytest.raises(TooLarge):
            place.write(b"4")
        place.limit = None
        place.write(b"5")
        assert place.size() == 5


# --- buffers ------------------------------------------------------------------------------


def test_buffers_go_to_the_callback_once_in_order_and_at_the_end() -> None:
    given_: list[str] = []
    buffers = Buffers(given_.append)
    with dump(Place(Recorded(), buffers)):
        assert [buffers("one"), buffers("two")] == [False, False]
        buffers.met.clear()  # another walk
        assert [buffers("one"), buffers("two"), buffers("three")] == [False] * 3
        assert given_ == []
        assert buffers.settle()
    assert given_ == ["one", "two", "three"]


def test_where_some_are_wanted_in_band_the_walk_is_run_again_with_the_answers() -> None:
    asked: list[str] = []

    def in_band(buffer: str) -> bool:
        asked.append(buffer)
        return buffer == "two"

    buffers = Buffers(in_band)
    with dump(Place(Recorded(), buffers)):
        assert not buffers("one")
        assert not buffers("two")
        assert not buffers.settle()
        buffers.met.clear()
        assert [buffers("one"), buffers("two")] == [False, True]
        assert buffers.settle()
    assert asked == ["one", "two"]


def test_the_next_dump_asks_anew() -> None:
    asked: list[str] = []
    buffers = Buffers(asked.append)
    buffers.callback = lambda buffer: asked.append(buffer) or True
    place = Place(Recorded(), buffers)
    for _ in range(2):
        with dump(place):
            buffers("one")
            assert not buffers.settle()
    assert asked == ["one", "one"]


def test_without_a_dump_the_callback_is_asked_at_once() -> None:
    asked: list[str] = []
    buffers = Buffers(lambda buffer: asked.append(buffer) or True)
    place = Place(Recorded(), buffers)
    assert buffers("one")
    with dump(place):
        assert not buffers("two")
    assert buffers("three")
    assert asked == ["one", "three"]
