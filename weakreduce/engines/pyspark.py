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

import functools
import io
import pickle
import types
from typing import Any, final

from weakreduce.engines.early import bytes_if_weak
from weakreduce.engines.per_policy import PerPolicy
from weakreduce.hosts.patch import AttributePatch
from weakreduce.hosts.scout import WeakThingMet, WithoutWeakThings
from weakreduce.model.errors import WeakrefPicklingError
from weakreduce.model.in_force import get_policy
from weakreduce.model.seen import seen


@final
class _Pickled:
    """A function that is pickled already, and the broadcast variables in it."""

    __slots__ = ("broadcasts", "data")

    def __init__(self, data: bytes, broadcasts: list[Any]) -> None:
        self.data = data
        self.broadcasts = broadcasts

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return pickle.loads(self.data)(*args, **keywords)

    def __reduce__(self) -> tuple[Any, ...]:
        for broadcast in self.broadcasts:
            broadcast._pickle_registry.add(broadcast)
        return pickle.loads, (self.data,)


def _pickled(function: Any, registry: set[Any]) -> Any:
    """`function`, or what is to be sent in its place, if it holds a weak thing."""
    from pyspark import cloudpickle

    waiting = set(registry)
    registry.clear()
    try:
        data = bytes_if_weak(function, cloudpickle.dumps)
        return function if data is None else _Pickled(data, list(registry))
    finally:
        registry.clear()
        registry.update(waiting)


def _make_init(stock: Any) -> Any:
    @functools.wraps(stock)
    def __init__(rdd: Any, prev: Any, func: Any, *args: Any, **keywords: Any) -> None:  # noqa: N807
        registry = prev.ctx._pickled_broadcast_vars._registry
        stock(rdd, prev, _pickled(func, registry), *args, **keywords)

    return __init__


def _make_once(create: str, placeholder: str) -> Any:
    """The property of a UDF that pickles its function; once for each policy, if that matters."""
    made_of = PerPolicy()

    def make(stock: Any) -> Any:
        def get(udf: Any) -> Any:
            made = made_of.of(udf)
            with made.lock:
                if made.things:
                    return made.under_the_policy(lambda: getattr(udf, create)(udf.func))
                if getattr(udf, placeholder) is not None:
                    return stock.fget(udf)
                before = seen.dumps
                found = stock.fget(udf)
                if seen.dumps != before:
                    made.note(get_policy(), found)
                return found

        @functools.wraps(stock.fget)
        def unwrapping(udf: Any) -> Any:
            try:
                return get(udf)
            except Exception as error:
                # A table function says no more than that it could not be pickled.
                refusal = error.__context__
                if isinstance(refusal, WeakrefPicklingError):
                    raise refusal from refusal.__cause__
                raise

        return property(unwrapping, doc=stock.__doc__)

    return make


def _dump(value: Any, file: Any, protocol: int) -> None:
    if not (hasattr(file, "seekable") and file.seekable()):
        # Where Spark encrypts, the file is a socket, and nothing can be taken back.
        complete = io.BytesIO()
        _dump(value, complete, protocol)
        file.write(complete.getbuffer())
        return
    start, before = file.tell(), seen.dumps
    try:
        # As stock does: straight into the file, however large the value is.
        WithoutWeakThings(file, protocol).dump(value)
        return
    except Exception as error:  # noqa: BLE001 - raised below, if not a weak thing is the cause
        failure = error
    try:
        _dump_with_weak_things(value, file, protocol, start)
    finally:
        if seen.dumps == before and not isinstance(failure, WeakThingMet):
            raise failure from None
        del failure  # its traceback leads to this frame, and so back to itself


def _dump_with_weak_things(value: Any, file: Any, protocol: int, start: int) -> None:
    """By Spark's cloudpickle: the classes of weak things are as often the driver's own as not."""
    from pyspark import cloudpickle

    file.seek(start)
    file.truncate()
    cloudpickle.dump(value, file, protocol)


def _pickle_with_weak_things(stock: Any) -> Any:
    """The module ``pickle``, but for ``dump``."""
    module = types.ModuleType("pickle", stock.__doc__)
    vars(module).update(vars(stock), dump=_dump)
    return module


def make_patch(module: Any) -> AttributePatch:
    """The patch of one of PySpark's modules."""
    if module.__name__ == "pyspark.core.rdd":
        return AttributePatch((module.PipelinedRDD, "__init__", _make_init))
    if module.__name__ == "pyspark.core.broadcast":
        return AttributePatch((module, "pickle", _pickle_with_weak_things))
    if module.__name__ == "pyspark.sql.udf":
        once = _make_once("_create_judf", "_judf_placeholder")
        return AttributePatch((module.UserDefinedFunction, "_judf", once))
    once = _make_once("_create_judtf", "_judtf_placeholder")
    return AttributePatch((module.UserDefinedTableFunction, "_judtf", once))
