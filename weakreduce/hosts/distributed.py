"""Dask: how it pickles objects, splits collections into frames, and makes tokens.

Dask tries plain pickle first, which is fast and knows no class of ``__main__``; a weak thing is
written by the last attempt, cloudpickle's, which knows both.

What we rely on, pinned by the tests: ``distributed.protocol.pickle.dumps`` tries ``pickle.dumps``,
then ``_DaskPickler``, then cloudpickle, through the names in its module; ``dask.tokenize`` uses
the names ``pickle`` and ``_normalize_pickle`` of its module;
``distributed.protocol.serialize.serialize`` calls itself by its module's name, and has
``iterate_collection``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, final

from weakreduce.core import watchers
from weakreduce.hosts import own, scout
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.model.seen import Since
from weakreduce.model.shipping import shipping
from weakreduce.model.signals import Signal

if TYPE_CHECKING:
    from distributed.protocol.pickle import _DaskPickler


def _pickle_by(dumps: Callable[..., bytes]) -> Callable[[types.ModuleType], types.ModuleType]:
    """What makes the module ``pickle``, but for ``dumps``."""

    def make(stock: types.ModuleType) -> types.ModuleType:
        module = types.ModuleType("pickle", pickle.__doc__)
        vars(module).update(vars(stock), dumps=dumps)
        return module

    return make


#: Whether a dump is of use only where it meets no weak thing.
_stopping: Final[ContextVar[bool]] = ContextVar("weakreduce_stopping", default=False)


@final
class Stopped(Signal):
    """Ends what Dask serializes at its first weak thing, past all its handlers."""


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """In the block Dask serializes nothing with a weak thing in it, if a scout meets that.

    Raises:
        Stopped: where one does.
    """
    token = _stopping.set(True)
    try:
        yield
    finally:
        _stopping.reset(token)


#: Bytes of what a record has counted last, while Dask may still choose cloudpickle instead: it
#: does for what names ``__main__``.
_counted: Final[ContextVar[int | None]] = ContextVar("weakreduce_counted", default=None)


def _sent(obj: object, protocol: int | None = None, **settings: Any) -> bytes:
    _counted.set(None)
    asked = scout.Asked()
    try:
        data = scout.dumps(obj, protocol, **settings, asked=asked)
    except scout.WeakThingMet:
        if _stopping.get():
            raise Stopped from None
        raise
    if watchers.watch_for(None) is not None:
        # Nobody watches a scout: the same once more, for who records what is sent.
        callback = None if settings.get("buffer_callback") is None else _out_of_band
        file = io.BytesIO()
        with contextlib.suppress(Exception), asked:
            own.dump(obj, file, host="pickle", protocol=protocol, buffer_callback=callback)
            _counted.set(file.tell())
    return data


def _out_of_band(_buffer: object) -> None:
    """What a buffer is given to, of which no record counts the bytes."""


def _met_by_a_scout() -> scout.WeakThingMet | None:
    """What a scout has stopped at, in whose handler Dask tries another pickler now."""
    error = sys.exception()
    return error if isinstance(error, scout.WeakThingMet) else None


def _shipping_cloudpickle(stock: types.ModuleType) -> types.ModuleType:
    """The module ``cloudpickle``, whose ``dumps`` knows that Dask ships what it writes."""
    module = types.ModuleType("cloudpickle", stock.__doc__)
    vars(module).update(vars(stock), dumps=in_front(_ship)(stock.dumps))
    return module


def _ship(stock: Stock, /, *args: object, **keywords: object) -> object:
    met, asked, counted = _met_by_a_scout(), None, _counted.get()
    if counted is not None:
        _counted.set(None)
        watchers.take_back(counted)
    if met is not None:
        asked, met.asked = met.asked, None
    with shipping(), asked or contextlib.nullcontext():
        return stock(*args, **keywords)


def _reducer_override(stock: Stock, pickler: _DaskPickler, obj: object) -> object:
    met = _met_by_a_scout()
    if met is not None:
        raise met  # cloudpickle's turn
    scout.check_type(type(obj))
    return stock(pickler, obj)


def _serialize(stock: Stock, x: object, *args: object, **keywords: object) -> object:
    since = Since()
    found = stock(x, *args, **keywords)
    if since.met_weak and found[0].get("is-collection"):
        # The items were pickled one by one, which parts a weak reference in one of
        # them from its referent in another.
        keywords["iterate_collection"] = False
        return stock(getattr(x, "data", x), *args[:3], **keywords)
    return found


def _normalize_pickle(stock: Stock, obj: object) -> object:
    """A token is part of a key, not of a payload: what may not be sent has one, too."""
    policy = get_policy()
    rules = tuple((match, "snapshot" if fate == "refuse" else fate) for match, fate in policy.rules)
    outside = "snapshot" if policy.outside == "refuse" else policy.outside
    changes: dict[str, Any] = {"outside": outside, "live": "allow", "unpicklable": "dangle"}
    # Neither process nor receiver plays a part.
    changes |= {"rules": rules, "identity": "copy", "ready_receiver": "never"}
    with block(policy, **changes), watchers.watching(False):
        return stock(obj)


def missing() -> str | None:
    """The module that engines rely on and this release of Dask lacks; None where all are there.

    It would be imported by a task, and then not before that fails.
    """
    relied_on = ("dask._expr", "dask._task_spec")
    return next((name for name in relied_on if importlib.util.find_spec(name) is None), None)


def make_patch(module: types.ModuleType) -> AttributePatch:
    """The patch of one of the three modules."""
    if module.__name__ == "distributed.protocol.serialize":
        return AttributePatch((module, "serialize", in_front(_serialize)))
    sends = module.__name__ == "distributed.protocol.pickle"
    makers: list[Any] = [(module, "pickle", _pickle_by(_sent if sends else scout.dumps))]
    if sends:
        makers.append((module._DaskPickler, "reducer_override", in_front(_reducer_override)))
        makers.append((module, "cloudpickle", _shipping_cloudpickle))
    else:
        makers.append((module, "_normalize_pickle", in_front(_normalize_pickle)))
    return AttributePatch(*makers)
