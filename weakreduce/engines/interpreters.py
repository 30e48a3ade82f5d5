"""``InterpreterPoolExecutor`` (from Python 3.14 on): tasks go to interpreters of this process.

It hands over each argument and result by itself, many without any pickler, the rest by plain
pickle. So a task with a weak thing has its arguments in one payload, made at the submitting call,
and is opened by `run`, which readies the worker; every other is the executor's own affair.

What we rely on, pinned by the tests: every task enters through ``submit``, is run by the module's
function ``do_call``, which is sent by name, and a function is never sent with others in a tuple.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from weakreduce.core import notes, watchers
from weakreduce.engines.submit import Payload, given, written
from weakreduce.hosts import scout
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.hosts.plain import plain
from weakreduce.model.bound import Bound
from weakreduce.model.shipping import shipping


def _dumps(obj: object) -> Payload:
    asked = scout.Asked()
    found = scout.message(obj, None, {}, asked)
    if found is not None:
        return found
    from weakreduce.hosts.standard import dumps

    with shipping(), asked:
        return dumps(obj)


def _packed(obj: object, description: str) -> Bound | None:
    """The payload of an object that holds a weak thing; None for any other."""
    data, weak = written(obj, _dumps)
    if weak and data is not None:
        return Bound(bytes(data), description)
    if data is not None:
        watchers.take_back(len(data))
    return None


def run(alone: Callable[..., object] | None, packed: tuple[Any, Any, dict[str, Any]]) -> object:
    """Run a task in a worker, where its function or its arguments have been opened already."""
    function, arguments, keywords = packed
    return _carried(function if alone is None else alone, *arguments, **keywords)


def _carried(function: Callable[..., object], /, *args: object, **keywords: object) -> object:
    """Call a function; weak things in what it gives or raises travel."""
    try:
        result = function(*args, **keywords)
    except BaseException as error:
        packed = None if plain(error.args) and not vars(error) else _packed(error, "an error")
        if packed is not None:
            # The worker's own errors are pickled with what they hold: here as one payload.
            error.__reduce_ex__ = packed.__reduce_ex__  # type: ignore[method-assign]
        raise
    return result if plain(result) else _packed(result, "a result") or result


def _submit(
    stock: Stock, executor: Executor, fn: object, /, *args: object, **keywords: object
) -> object:
    if callable(fn) and not plain((fn, args, keywords), True):
        # A function travels without a pickler, too.
        alone = isinstance(fn, types.FunctionType)
        with given([(fn, args, keywords)], notes.OF_TUPLE):
            packed = _packed((None if alone else fn, args, keywords), "a task")
        if packed is not None:
            return stock(executor, run, fn if alone else None, packed)
    return stock(executor, fn, *args, **keywords)


def _do_call(stock: Stock, results: object, func: Stock, args: object, kwargs: object) -> object:
    return stock(results, functools.partial(_carried, func), args, kwargs)


def make_patch(module: types.ModuleType) -> AttributePatch:
    """The patch of ``concurrent.futures.interpreter``."""
    return AttributePatch(
        (module.InterpreterPoolExecutor, "submit", in_front(_submit)),
        (module, "do_call", in_front(_do_call)),
    )
