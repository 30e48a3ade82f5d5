"""How engines wrap tasks: the names by which a user knows the function and the arguments in one.

What an engine pickles is a wrapping of its own, and it may pickle one in the submitting call, in a
thread, or twice. Paths begin with the same names wherever it does. Wrappings are told by the names
of their types, so no engine is imported here. Rule: no code of the user's is run.
"""

from __future__ import annotations

import functools
import operator
import pickle
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from weakreduce.model.texts import class_name

Named = tuple[str, Any]
Arguments = tuple[Iterable[Any], Mapping[str, Any]]
#: A function, its arguments, its keywords.
Call = tuple[Any, Iterable[Any], Mapping[str, Any]]

#: Where an engine calls the user's function for many items: name of the engine's function ->
#: the user's, and the arguments of each call.
_MANY: Final[dict[str, Callable[..., tuple[Any, list[Any]]]]] = {
    "_process_chunk": lambda function, chunk: (function, list(chunk)),
    "process_chunk": lambda function, chunk: (function, list(chunk)),
    "mapstar": lambda task: (task[0], [(item,) for item in task[1]]),
    "starmapstar": lambda task: (task[0], list(task[1])),
}
_ENGINES: Final = ("concurrent", "loky", "joblib", "pebble", "multiprocessing", "multiprocess")


def _item(item: Any) -> list[Call]:
    return [(item.fn, item.args, item.kwargs)]


def _dask_task(task: Any) -> Call:
    if task.func is operator.call and task.args[0].func is pickle.loads:
        return operator.call, (), {}  # ours, with the payload of what was given
    return task.func, task.args, task.kwargs


def _dask_graph(graph: Any) -> Iterable[Call]:
    """Of Dask: expressions hold others, and at last dicts of tasks."""
    for held in graph.operands:
        tables = [layer.mapping for layer in getattr(held, "layers", {}).values()]
        for table in [held] if type(held) is dict else tables:
            for task in table.values():
                yield from _calls_of(task) or ()
        if not tables:
            yield from _calls_of(held) or ()


#: Package and name of a wrapping's type -> the calls in it.
_WRAPPINGS: Final[dict[tuple[str, str], Callable[[Any], Iterable[Call]]]] = {
    ("concurrent", "_CallItem"): _item,
    ("loky", "_CallItem"): _item,
    ("joblib", "_CallItem"): _item,
    ("joblib", "BatchedCalls"): lambda batch: batch.items,
    ("joblib", "_TracebackCapturingWrapper"): lambda wrapper: [(wrapper.func, (), {})],
    ("pebble", "WorkerTask"): lambda task: [
        (task.payload.function, task.payload.args, task.payload.kwargs)
    ],
    ("dask", "Task"): lambda task: [_dask_task(task)],
    ("dask", "LLGExpr"): lambda graph: _dask_graph(graph),
    ("dask", "HLGExpr"): lambda graph: _dask_graph(graph),
    ("dask", "_HLGExprSequence"): lambda graph: _dask_graph(graph),
    ("dask", "HLGFinalizeCompute"): lambda graph: _dask_graph(graph),
    ("distributed", "_MapExpr"): lambda graph: [
        (graph.func, args, graph.kwargs) for args in zip(*graph.iterables, strict=False)
    ],
}
#: The function of the thread in which a Pool pickles its tasks.
_POOL_THREAD: Final = "_handle_tasks"


def _calls_of(obj: object) -> Iterable[Call] | None:
    """The calls in an engine's wrapping of tasks; None for all else."""
    cls = type(obj)
    package = str(cls.__module__).partition(".")[0]
    calls = _WRAPPINGS.get((package, class_name(cls)))
    if calls is not None:
        return calls(obj)
    # A Pool's has no type of its own: a job, a number in it, a function, arguments, keywords.
    if cls is tuple and isinstance(obj, tuple) and len(obj) == 5:
        target = getattr(threading.current_thread(), "_target", None)
        if getattr(target, "__name__", None) == _POOL_THREAD:
            return [obj[2:]]
    return None


def calls(function: Any, args: Iterable[Any], keywords: Mapping[str, Any]) -> list[Call]:
    """The user's calls in a call that an engine makes."""
    wrapped = _calls_of(function)
    if wrapped is not None:
        return [call for each in wrapped for call in calls(*each)]
    engines, bound = function, args
    if type(function) is functools.partial:
        # An engine's, or the user's own, which is the function that was given.
        engines, bound = function.func, (*function.args, *args)
    if (
        type(engines) is types.FunctionType
        and engines.__name__ in _MANY
        and str(engines.__module__).partition(".")[0] in _ENGINES
    ):
        function, many = _MANY[engines.__name__](*bound)
        return [(function, each, {}) for each in many if isinstance(each, (tuple, list))]
    return [(function, args, keywords)]


def arguments(args: Iterable[Any] | None, keywords: Mapping[str, Any] | None) -> list[Named]:
    """The arguments of a call, by the names that paths are to begin with."""
    return [
        *((f"args[{number}]", held) for number, held in enumerate(args or ())),
        *((f"kwargs[{name!r}]", held) for name, held in (keywords or {}).items()),
    ]


def named(many: Iterable[Call]) -> list[Named]:
    """The functions and the arguments of calls, by these names."""
    found: list[Named] = []
    for function, args, keywords in many:
        found += [("func", function), *arguments(args, keywords)]
    return found


def given_in(root: object) -> tuple[Named, ...]:
    """What an engine was given, where a root is its wrapping of that; nothing for all else."""
    try:
        wrapped = _calls_of(root)
        if wrapped is None:
            return ()
        return tuple(named(call for each in wrapped for call in calls(*each)))
    except Exception:  # noqa: BLE001 - another version's, with other attributes
        return ()
