"""Errors that tell of the process: it lacks memory, or stack. What was asked may be as it should.

Code of the user's is asked in many places whether something holds of an object, and an error may
be an answer: it does not. One of these is none, and is raised instead.
"""

from __future__ import annotations

import sys
from typing import Final

#: How the interpreter's texts end of an error that there was no memory for.
LOST: Final = ("without setting an exception", "without exception set")
#: What part of the whole stack is enough for whoever is asked: what needs more than that, and
#: fails, recurses without an end.
_ENOUGH: Final = 3 / 4
#: How many calls by way of C are enough, whose stack has a limit of its own from Python 3.12 on.
_CALLS: Final = 200


def is_too_deep(error: BaseException) -> bool:
    """Whether the recursion went too deep; cloudpickle turns that into a PicklingError."""
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def says_nothing(error: Exception) -> bool:
    """Whether an error may be none, were there more memory, or more of the stack left here.

    An interpreter without memory for the error itself raises a `SystemError` that says so.
    """
    lost = isinstance(error, SystemError) and str(error).endswith(LOST)
    return lost or isinstance(error, MemoryError) or (is_too_deep(error) and not _has_stack())


def _has_stack() -> bool:
    try:
        most = int(_ENOUGH * sys.getrecursionlimit())
        return _descends(most) and _descends_by_c(min(_CALLS, most // 2))
    except RecursionError:
        return False


def _descends(calls: int) -> bool:
    return calls == 0 or _descends(calls - 1)


def _descends_by_c(calls: int) -> bool:
    return calls == 0 or all(map(_descends_by_c, (calls - 1,)))
