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

import copyreg
import functools
import io
import operator
import pickle
import types
from typing import Any

from weakreduce.hosts.patch import AttributePatch
from weakreduce.kinds import kind_of
from weakreduce.policy import get_policy
from weakreduce.policy import policy as block
from weakreduce.seen import seen


class _Table(dict[type, Any]):
    """A dispatch table that refuses weak things, and is asked once for each type.

    As the pickler itself would, it reduces by copyreg, or by ``__reduce_ex__``.
    """

    def __init__(self, protocol: int) -> None:
        super().__init__()
        self.default = operator.methodcaller("__reduce_ex__", protocol)

    def __missing__(self, cls: type) -> Any:
        _check_type(cls)
        reducer = copyreg.dispatch_table.get(cls)
        if reducer is None:
            if issubclass(cls, type):
                raise KeyError(cls)  # classes are written as names
            reducer = self.default
        self[cls] = reducer
        return reducer


class WithoutWeakThings(pickle.Pickler):
    """The C pickler, up to the first weak thing: what comes after is for another to write.

    Stock would stop at a ref, too, but copy a proxy's referent, and turn a WeakSet into a list.
    """

    def __init__(
        self, file: Any, protocol: int | None = None, *, buffer_callback: Any = None
    ) -> None:
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        chosen = pickle.DEFAULT_PROTOCOL if protocol is None else protocol
        self.dispatch_table = _Table(pickle.HIGHEST_PROTOCOL if chosen < 0 else chosen)


def _check_type(cls: type) -> None:
    kind = kind_of(cls)
    if kind is not None:
        raise pickle.PicklingError(f"a weak thing ({kind.name}): left to cloudpickle")


def _dumps(obj: Any, protocol: int | None = None, *, buffer_callback: Any = None) -> bytes:
    file = io.BytesIO()
    WithoutWeakThings(file, protocol, buffer_callback=buffer_callback).dump(obj)
    return file.getvalue()


def _pickle_without_weak_things(stock: Any) -> Any:
    """The module ``pickle``, but for ``dumps``."""
    module = types.ModuleType("pickle", pickle.__doc__)
    vars(module).update(vars(stock), dumps=_dumps)
    return module


def _make_override(stock: Any) -> Any:
    @functools.wraps(stock)
    def reducer_override(pickler: Any, obj: Any) -> Any:
        _check_type(type(obj))
        return stock(pickler, obj)

    return reducer_override


def _make_serialize(stock: Any) -> Any:
    @functools.wraps(stock)
    def serialize(x: Any, *args: Any, **keywords: Any) -> Any:
        before = seen.dumps
        found = stock(x, *args, **keywords)
        if seen.dumps != before and found[0].get("is-collection"):
            # The items were pickled one by one, which parts a weak reference in one of
            # them from its referent in another.
            keywords["iterate_collection"] = False
            return stock(getattr(x, "data", x), *args[:3], **keywords)
        return found

    return serialize


def _make_normalize(stock: Any) -> Any:
    @functools.wraps(stock)
    def _normalize_pickle(obj: Any) -> Any:
        """A token is part of a key, not of a payload: what may not be sent has one, too."""
        policy = get_policy()
        rules = tuple(
            (match, "snapshot" if fate == "refuse" else fate) for match, fate in policy.rules
        )
        outside = "snapshot" if policy.outside == "refuse" else policy.outside
        with block(policy, outside=outside, live="allow", unpicklable="dangle", rules=rules):
            return stock(obj)

    return _normalize_pickle


def make_patch(module: Any) -> AttributePatch:
    """The patch of one of the three modules."""
    if module.__name__ == "distributed.protocol.serialize":
        return AttributePatch((module, "serialize", _make_serialize))
    makers: list[Any] = [(module, "pickle", _pickle_without_weak_things)]
    if module.__name__ == "distributed.protocol.pickle":
        makers.append((module._DaskPickler, "reducer_override", _make_override))
    else:
        makers.append((module, "_normalize_pickle", _make_normalize))
    return AttributePatch(*makers)
