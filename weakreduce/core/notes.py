"""Notes that a pickler adds to an error, from Python 3.14 on, and that are about us.

They tell the way from the object that cannot be pickled to the root. What we write in an object's
place is on that way as well, and means nothing to the user.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from weakreduce.core import expressions
from weakreduce.model.errors import WeakreduceError

_PYTHONS = "when serializing "
_OURS = f"{_PYTHONS}{expressions.__name__}."
#: What our objects hold their arguments in, from the outside in.
_ARGUMENTS = tuple(f"{_PYTHONS}{kind} item " for kind in ("tuple", "tuple", "list"))

#: What a pickler says, from the inside out, of a `functools.partial` with a part of it, and of a
#: tuple.
OF_PARTIAL: Final = ("tuple item ", "functools.partial ", "functools.partial object")
OF_TUPLE: Final = ("tuple item ",)


def of(error: BaseException) -> list[Any]:
    """The list of an error's notes; one of its own where there is none."""
    found = getattr(error, "__notes__", None)
    return found if isinstance(found, list) else []


def clean(error: BaseException) -> None:
    """Take away what a pickler says of our own objects; of an error of ours, all that it says.

    (An error of ours names the path from the root of its own dump. Where that dump was run inside
    another, two paths from two roots would say nothing.)
    """
    notes = of(error)
    if isinstance(error, WeakreduceError):
        notes[:] = [note for note in notes if not _begins(note, _PYTHONS)]
        return
    kept: list[Any] = []
    for note in notes:  # from the inside out
        if not _begins(note, _OURS):
            kept.append(note)
        elif note.endswith(" reconstructor arguments"):
            for place in _ARGUMENTS:
                if kept and _begins(kept[-1], place):
                    kept.pop()
    notes[:] = kept


def cut(error: BaseException, wrapping: tuple[str, ...]) -> None:
    """Take away what a pickler says of a wrapping around what the user gave, at the way's end.

    Args:
        error: what was raised.
        wrapping: `OF_PARTIAL` or `OF_TUPLE`.
    """
    notes = of(error)
    end = len(notes)
    while end and not _begins(notes[end - 1], _PYTHONS):
        end -= 1  # the note of ours
    start = end - len(wrapping)
    if start >= 0 and all(
        _begins(note, _PYTHONS + step)
        for note, step in zip(notes[start:end], wrapping, strict=True)
    ):
        del notes[start:end]


@contextlib.contextmanager
def as_they_are(error: BaseException) -> Iterator[None]:
    """The block leaves an error's notes as they are, though it may raise that again."""
    before = of(error).copy()
    try:
        yield
    finally:
        put_back(error, before)


def put_back(error: BaseException, before: list[Any]) -> None:
    """Let an error's notes be what they were."""
    of(error)[:] = before


def _begins(note: object, text: str) -> bool:
    return type(note) is str and note.startswith(text)
