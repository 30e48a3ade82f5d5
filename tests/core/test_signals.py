"""Signals end a dump from the inside, and are found again behind what was raised in their place."""

from __future__ import annotations

import pytest

import weakreduce
from weakreduce.model.signals import Signal, behind, reraise


class Done(Signal):
    pass


class Other(Signal):
    pass


def in_place_of(signal: BaseException, error: BaseException) -> BaseException:
    """An error that is raised while a signal passes, as by the `repr` of a key for its note."""
    try:
        try:
            raise signal
        except BaseException:
            raise error
    except BaseException as raised:
        return raised


def test_a_signal_takes_no_notes() -> None:
    signal = Done()
    signal.add_note("when serializing list item 0")
    assert signal.__notes__ == []


def test_a_signal_behind_an_error_is_raised_with_its_cause() -> None:
    signal, cause = Done(), ZeroDivisionError()
    signal.__cause__ = cause
    error = in_place_of(signal, in_place_of(ValueError(), KeyError()))
    assert behind(in_place_of(signal, KeyError()), Done) is signal
    assert behind(error, Other) is None
    with pytest.raises(Done) as caught:
        reraise(in_place_of(signal, KeyError()), Done)
    assert caught.value is signal
    assert signal.__cause__ is cause


def test_where_there_is_none_nothing_is_raised() -> None:
    reraise(KeyError(), Done)
    reraise(in_place_of(Other(), KeyError()), Done)
    reraise(Done(), Done)  # the signal itself is on its way


def test_signals_of_another_dump_are_none_of_this_one() -> None:
    handled = in_place_of(Done(), KeyError())
    assert behind(in_place_of(handled, ValueError()), Done, handled=handled) is None
    ours = in_place_of(Done(), weakreduce.WeakreduceError())
    assert behind(in_place_of(ours, ValueError()), Done) is None
