"""PySpark: what it pickles late, or once, and the one thing that it pickles without cloudpickle.

An RDD's functions are pickled by the action, so one that holds a weak thing is pickled by the
transformation that takes it, instead. A UDF is pickled by its first use, so one that holds a
weak thing is made anew for its use under another policy. Broadcasts are pickled by plain pickle,
which writes classes of the driver's script as names that no worker knows: one that holds a weak
thing is pickled by Spark's cloudpickle, as all else in Spark is.

What we rely on, pinned by the tests: every function of an RDD passes ``PipelinedRDD.__init__``;
``CloudPickleSerializer`` calls ``pyspark.cloudpickle.dumps``; a broadcast variable that is pickled
adds itself to its ``_pickle_registry``, whose set ``_registry`` is emptied into the next function;
``UserDefinedFunction._judf`` and ``UserDefinedTableFunction._judtf`` keep what ``_create_judf`` and
``_create_judtf`` make; ``pyspark.core.broadcast`` uses the name ``pickle`` of its module.
"""

from __future__ import annotations

import io
import types
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, final

from weakreduce.engines.per_policy import PerPolicy
from weakreduce.engines.submit import Refusal, bound_if_weak
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.hosts.scout import WeakThingMet, WithoutWeakThings
from weakreduce.model.bound import Bound
from weakreduce.model.in_force import get_policy
from weakreduce.model.seen import Since

if TYPE_CHECKING:
    from pyspark import RDD, Broadcast
    from pyspark.sql.udf import UserDefinedFunction
    from pyspark.sql.udtf import UserDefinedTableFunction


@final
class _Pickled:
    """A function that is pickled already, and the broadcast variables in it."""

    __slots__ = ("bound", "broadcasts")

    def __init__(self, bound: Bound, broadcasts: list[Broadcast]) -> None:
        self.bound = bound
        self.broadcasts = broadcasts

    def __call__(self, *args: object, **keywords: object) -> object:
        return self.bound(*args, **keywords)

    def __reduce__(self) -> tuple[Any, ...]:
        for broadcast in self.broadcasts:
            broadcast._pickle_registry.add(broadcast)
        return self.bound.__reduce__()


def _pickled(function: object, registry: set[Broadcast]) -> object:
    """`function`, or what is to be sent in its place, if it holds a weak thing."""
    from pyspark import cloudpickle

    waiting = set(registry)
    registry.clear()
    try:
        bound = bound_if_weak(function, cloudpickle.dumps, "a function")
        return function if bound is None else _Pickled(bound, list(registry))
    finally:
        registry.clear()
        registry.update(waiting)


def _init(
    stock: Stock, rdd: RDD, prev: RDD, func: object, *args: object, **keywords: object
) -> None:
    registry = prev.ctx._pickled_broadcast_vars._registry
    stock(rdd, prev, _pickled(func, registry), *args, **keywords)


def _once(create: str, placeholder: str) -> Callable[[property], property]:
    """What makes the property of a UDF that pickles its function: once for each policy.

    Args:
        create: the name of the method that pickles it.
        placeholder: the name of the attribute that keeps what that made.
    """
    made_of = PerPolicy()

    def make(stock: property) -> property:
        stock_get: Stock = stock.fget  # type: ignore[assignment]

        def get(stock: Stock, udf: UserDefinedFunction | UserDefinedTableFunction) -> object:
            made = made_of.of(udf)
            with made.lock:
                if made.things:
                    return made.under_the_policy(lambda: getattr(udf, create)(udf.func))
                if getattr(udf, placeholder) is not None:
                    return stock(udf)
                since = Since()
                found = stock(udf)
                if since.met_weak:
                    made.note(get_policy(), found)
                return found

        def unwrapping(stock: Stock, udf: UserDefinedFunction | UserDefinedTableFunction) -> object:
            # A table function says no more than that it could not be pickled.
            with Refusal(Exception) as refusal:
                return get(stock, udf)
            raise refusal.found

        return property(in_front(unwrapping)(stock_get), doc=stock.__doc__)

    return make


def _dump(value: object, file: IO[bytes], protocol: int) -> None:
    if not (hasattr(file, "seekable") and file.seekable()):
        # Where Spark encrypts, the file is a socket, and nothing can be taken back.
        complete = io.BytesIO()
        _dump(value, complete, protocol)
        file.write(complete.getbuffer())
        return
    start, since = file.tell(), Since()
    try:
        # As stock does: straight into the file, however large the value is.
        WithoutWeakThings(file, protocol).dump(value)
        return
    except Exception as error:  # noqa: BLE001 - raised below, if not a weak thing is the cause
        failure = error
    try:
        _dump_with_weak_things(value, file, protocol, start)
    finally:
        if not since.met_weak and not isinstance(failure, WeakThingMet):
            raise failure from None
        del failure  # its traceback leads to this frame, and so back to itself


def _dump_with_weak_things(value: object, file: IO[bytes], protocol: int, start: int) -> None:
    """By Spark's cloudpickle: the classes of weak things are as often the driver's own as not."""
    from pyspark import cloudpickle

    file.seek(start)
    file.truncate()
    cloudpickle.dump(value, file, protocol)


def _pickle_with_weak_things(stock: types.ModuleType) -> types.ModuleType:
    """The module ``pickle``, but for ``dump``."""
    module = types.ModuleType("pickle", stock.__doc__)
    vars(module).update(vars(stock), dump=_dump)
    return module


def make_patch(module: types.ModuleType) -> AttributePatch:
    """The patch of one of PySpark's modules."""
    if module.__name__ == "pyspark.core.rdd":
        return AttributePatch((module.PipelinedRDD, "__init__", in_front(_init)))
    if module.__name__ == "pyspark.core.broadcast":
        return AttributePatch((module, "pickle", _pickle_with_weak_things))
    if module.__name__ == "pyspark.sql.udf":
        once = _once("_create_judf", "_judf_placeholder")
        return AttributePatch((module.UserDefinedFunction, "_judf", once))
    once = _once("_create_judtf", "_judtf_placeholder")
    return AttributePatch((module.UserDefinedTableFunction, "_judtf", once))
