"""The referent of a proxy, in O(1), without a look at its attributes.

Rule: no code of the referent's class is believed: what its operators answer is checked against what
the proxy itself tells.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final, final

from weakreduce.model.scarce import says_nothing


@final
class _Catcher:
    """Catches the referent that `divmod` takes out of a proxy, without a look at its attributes."""

    __slots__ = ()
    __array_ufunc__ = None  # an array leaves the operation to us

    def __rdivmod__(self, referent: object) -> Any:
        return referent


_catcher = _Catcher()


def _told_address(proxy: object) -> int | None:
    """The id of a proxy's referent, as the proxy's own text ends with it; None if it does not.

    ``<weakproxy at 0x7f00 to Thing at 0x7f80>``: written by the proxy's type in C, without a look
    at the referent. A dead one names None, or (from CPython 3.13 on) nothing.
    """
    try:
        return int(repr(proxy).rpartition(" at ")[2].removesuffix(">"), 16)
    except ValueError:  # pragma: no cover - of a dead one, from Python 3.13 on
        return None


class _Probe:
    pass


_probe = _Probe()


#: Whether that text is what we take it for. (No other way to check a proxy takes O(1).)
_TOLD: Final = _told_address(weakref.proxy(_probe)) == id(_probe)


def _points_at(proxy: object, candidate: object) -> bool:
    if _TOLD:
        return _told_address(proxy) == id(candidate)
    return any(reference is proxy for reference in weakref.getweakrefs(candidate))


def proxy_referent(proxy: object) -> Any:
    """The referent of a proxy in O(1), or None where it is dead.

    `divmod(proxy, catcher)` unwraps the proxy and hands the referent to our
    ``__rdivmod__`` unless the referent's class defines ``__divmod__``. Then another
    operator, or at last a bound method, has it. What a class's own operator answers may be
    any object, so every answer is checked against what the proxy itself tells.
    """
    for unwrap in _UNWRAPS:
        if _TOLD and _told_address(proxy) in (None, id(None)):
            return None
        try:
            candidate = unwrap(proxy)
        except ReferenceError:
            if not _TOLD:
                return None
            # It died this moment, or an operator of its class came upon another dead proxy.
        except Exception as error:
            if says_nothing(error):
                raise
            # The class's own operator refused; the next is tried.
        else:
            if candidate is not None and _points_at(proxy, candidate):
                return candidate
    raise TypeError("cannot find the referent of a proxy, whose class answers every operator")


@final
class _OtherCatcher:
    """The same for operators that arrays of numbers have and their like do not."""

    __slots__ = ()
    __array_ufunc__ = None

    def _catch(self, referent: object) -> Any:
        return referent

    __rmatmul__ = __rpow__ = __rlshift__ = __rrshift__ = __rxor__ = __rfloordiv__ = _catch


_other_catcher = _OtherCatcher()


#: Ways to have a proxy hand its referent over; the last is a method bound to it.
_UNWRAPS: Final[tuple[Callable[[Any], Any], ...]] = (
    lambda proxy: divmod(proxy, _catcher),
    lambda proxy: proxy @ _other_catcher,
    lambda proxy: proxy**_other_catcher,
    lambda proxy: proxy << _other_catcher,
    lambda proxy: proxy >> _other_catcher,
    lambda proxy: proxy ^ _other_catcher,
    lambda proxy: proxy // _other_catcher,
    lambda proxy: proxy.__reduce_ex__.__self__,
)
