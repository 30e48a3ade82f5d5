"""How a traceback tells that an error comes out of a dump: a frame that all dumps run in."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

_P = ParamSpec("_P")


def in_a_dump(run: Callable[_P, None], *args: _P.args, **keywords: _P.kwargs) -> None:
    """Run a dump."""
    run(*args, **keywords)


def left_a_dump(error: BaseException) -> bool:
    """Whether an error comes out of a dump inside this one: of a reducer that dumps something.

    To be asked where the error is caught: that frame is not looked at.
    """
    caught = error.__traceback__
    traceback = None if caught is None else caught.tb_next
    while traceback is not None:
        if traceback.tb_frame.f_code is in_a_dump.__code__:
            return True
        traceback = traceback.tb_next
    return False
