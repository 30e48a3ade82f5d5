"""Signals: exceptions of ours that end a pickler's dump from the inside, and are no errors.

From Python 3.14 on a pickler adds a note to whatever exception passes through it, and asks the
keys of dicts for their ``repr`` to do so, which may raise an error in the exception's place. A
signal takes no notes, and is found again behind such an error. Where a ``repr`` of a user's might
be run, there is none: who would raise it writes no more, and lets the dump run to its end.
"""

from __future__ import annotations

import _pickle
import contextlib
import functools
import io
import sys
import types
from collections.abc import Iterable
from typing import Any

from weakreduce.model.classes import class_attribute
from weakreduce.model.errors import WeakreduceError


class Signal(BaseException):
    """Base of all signals."""

    #: What notes are appended to, each time another list.
    __notes__: Any = property(lambda self: [])


def reraise(error: BaseException, kind: type[Signal], handled: BaseException | None = None) -> None:
    """Raise the signal of a kind in whose place an error was raised, if there is one.

    Args:
        error: what was raised.
        kind: whose signals are meant.
        handled: what was being handled when the dump began: a dump of an engine's second try is
            made in the handler of the first.
    """
    signal = behind(error, kind, handled)
    try:
        if signal is not None:
            raise signal from signal.__cause__
    finally:
        del signal, error, handled  # their tracebacks lead to this frame, and so back to themselves


def behind(
    error: BaseException, kind: type[Signal], handled: BaseException | None = None
) -> Signal | None:
    """The signal of a kind in whose place an error was raised; None for a signal itself.

    A signal of a dump inside a dump ends there, at the latest as an error of ours. One that was
    being `handled` before is of another dump.
    """
    found: BaseException | None = None if isinstance(error, Signal) else error
    while found is not None and found is not handled and not isinstance(found, WeakreduceError):
        if isinstance(found, kind):
            return found
        found = found.__context__
    return None


def would_run_code(met: Iterable[type]) -> bool:
    """Whether notes on an error may run a ``repr`` that is written in Python.

    Args:
        met: the types of all that the pickler has met, and so of the keys of dicts that it is in.
    """
    return _asks_keys() and any(
        type(class_attribute(cls, "__repr__")) is not types.WrapperDescriptorType for cls in met
    )


class _Probe:
    """A key, and what cannot be pickled."""

    asked = False

    def __repr__(self) -> str:  # pragma: no cover - from Python 3.14 on
        _Probe.asked = True
        return ""

    def __reduce__(self) -> Any:
        return _Probe, ()


@functools.cache
def _asks_keys() -> bool:
    """Whether a C pickler asks a key for its ``repr`` on an error, as it does from 3.14 on."""
    with contextlib.suppress(TypeError):
        _pickle.Pickler(io.BytesIO()).dump({_Probe(): sys._getframe()})
    return _Probe.asked
