"""Signals: exceptions of ours that end a pickler's dump from the inside, and are no errors.

From Python 3.14 on a pickler adds a note to whatever exception passes through it, and asks the
keys of dicts for their ``repr`` to do so, which may raise an error in the exception's place. A
signal takes no notes, and is found again behind such an error.
"""

from __future__ import annotations

from typing import Any

from weakreduce.model.errors import WeakreduceError


class Signal(BaseException):
    """Base of all signals."""

    #: What notes are appended to, each time another list.
    __notes__: Any = property(lambda self: [])


def reraise(
    error: BaseException, *kinds: type[Signal], handled: BaseException | None = None
) -> None:
    """Raise the signal of some kinds in whose place an error was raised, if there is one.

    Args:
        error: what was raised.
        kinds: whose signals are meant.
        handled: what was being handled when the dump began: a dump of an engine's second try is
            made in the handler of the first.
    """
    signal = behind(error, *kinds, handled=handled)
    try:
        if signal is not None:
            raise signal from signal.__cause__
    finally:
        del signal, error, handled  # their tracebacks lead to this frame, and so back to themselves


def behind(
    error: BaseException, *kinds: type[Signal], handled: BaseException | None = None
) -> Signal | None:
    """The signal of some kinds in whose place an error was raised; None for a signal itself.

    A signal of a dump inside a dump ends there, at the latest as an error of ours. One that was
    being `handled` before is of another dump.
    """
    found: BaseException | None = None if isinstance(error, Signal) else error
    while found is not None and found is not handled and not isinstance(found, WeakreduceError):
        if isinstance(found, kinds):
            return found
        found = found.__context__
    return None
