"""`in_front`: a function of ours in front of a stock one. What stands where, `patch.py` is told."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
#: A function or method of a host's or an engine's, as it was before weakreduce.
Stock = Callable[..., Any]


def in_front(ours: Callable[Concatenate[Stock, _P], _R]) -> Callable[[Stock], Callable[_P, _R]]:
    """A maker for `patch.AttributePatch`, of what is called in a stock function's place.

    Args:
        ours: given the stock function first, and then what that would be given.
    """

    def make(stock: Stock) -> Callable[_P, _R]:
        @functools.wraps(stock)
        def called(*args: _P.args, **keywords: _P.kwargs) -> _R:
            return ours(stock, *args, **keywords)

        return called

    return make
