"""Dask's client: tasks with weak things go through the scheduler as bytes that only the task opens.

The scheduler opens the graph that it is sent and pickles each task again. Where a task holds
a weak thing, that would want weakreduce there, and would lose what only the client keeps alive;
a scheduler without weakreduce even hangs. So such a task is pickled here and now, whole.

What we rely on, pinned by the tests: every graph passes ``Client._graph_to_futures(expr, keys)``,
which serializes `expr`, or passes it on if it is ``Serialized`` already; calling a
``dask._task_spec.GraphNode`` with its dependencies' values runs it; tasks may be nested.
"""

from __future__ import annotations

import functools
import operator
import pickle
from collections.abc import Callable
from typing import Any

from weakreduce.engines.early import holds_weak, interrupts, is_left
from weakreduce.hosts.patch import AttributePatch
from weakreduce.hosts.plain import plain
from weakreduce.model.bound import Bound
from weakreduce.model.errors import WeakrefPicklingError
from weakreduce.model.seen import seen


def _opaque(key: Any, node: Any) -> Any:
    """A task that runs `node`, which is pickled now; or `node` itself where nothing is weak."""
    from dask._task_spec import Alias, Task, Tuple
    from distributed.protocol.pickle import dumps

    before = seen.dumps
    data = dumps(node)
    if seen.dumps == before:
        return node
    names = sorted(node.dependencies, key=str)
    values = Task(None, dict, Task(None, zip, names, Tuple(*map(Alias, names))))
    task = Task(
        key,
        operator.call,
        Task(None, pickle.loads, data),
        values,
        _data_producer=node.data_producer,
    )
    task._is_coro = node.is_coro
    return task


def _opaque_graph(expr: Any) -> Any:
    """`expr`, each task with a weak thing made opaque."""
    from dask._expr import HLGExpr, LLGExpr
    from dask._task_spec import convert_legacy_graph
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    graph = convert_legacy_graph(expr.__dask_graph__())
    graph = {key: _opaque(key, node) for key, node in graph.items()}
    annotations = {kind: found for kind, found in expr.__dask_annotations__().items() if found}
    if not annotations:
        return LLGExpr(graph)
    # Only layers carry annotations: one for each set of tasks that are annotated alike.
    layers: dict[tuple[str, ...], dict[Any, Any]] = {}
    for key, node in graph.items():
        kinds = tuple(kind for kind, found in annotations.items() if key in found)
        layers.setdefault(kinds, {})[key] = node
    return HLGExpr(
        HighLevelGraph(
            {
                str(kinds): MaterializedLayer(
                    part, annotations={kind: annotations[kind].get for kind in kinds}
                )
                for kinds, part in layers.items()
            },
            {str(kinds): {str(other) for other in layers if other != kinds} for kinds in layers},
        )
    )


def _serialized(expr: Any) -> Any:
    """`expr` as it goes over the wire."""
    from distributed.protocol.serialize import Serialized, serialize, to_serialize

    try:
        return Serialized(*serialize(to_serialize(expr), on_error="raise"))
    except TypeError as error:
        refused = _refusal(error)
        if refused is None:
            raise
    # Not in the handler, which would make Dask's error the context of its own cause.
    raise refused


def _refusal(error: BaseException | None) -> WeakrefPicklingError | None:
    """Ours in a chain of errors: Dask wraps it, and may fail again while it logs it."""
    while error is not None and not isinstance(error, WeakrefPicklingError):
        error = error.__cause__ or error.__context__
    return error


def _unwrapping(stock: Callable[..., Any]) -> Any:
    @functools.wraps(stock)
    async def unwrapping(*args: Any, **keywords: Any) -> Any:
        try:
            return await stock(*args, **keywords)
        except TypeError as error:
            refused = _refusal(error)
            if refused is None:
                raise
        raise refused

    return unwrapping


def _make_graph_to_futures(stock: Callable[..., Any]) -> Any:
    @functools.wraps(stock)
    def _graph_to_futures(client: Any, expr: Any, *args: Any, **keywords: Any) -> Any:
        before = seen.dumps
        sent = _serialized(expr)
        if seen.dumps != before:
            sent = _serialized(_opaque_graph(expr))
        return stock(client, sent, *args, **keywords)

    return _graph_to_futures


def bound(obj: Any, description: str) -> Any:
    """`obj`, or its payload where it holds a weak thing; for what Dask would pickle later.

    Raises:
        Exception: whatever the pickler raises for an object that holds a weak thing.
    """
    from distributed.protocol.pickle import dumps

    before = seen.dumps
    try:
        # Buffers go out of band here, so that large arrays are not copied to find out.
        dumps(obj, buffer_callback=[].append)
    except BaseException as error:
        if is_left(error, seen.dumps != before or holds_weak(obj)):
            return obj
        raise
    return obj if seen.dumps == before else Bound(dumps(obj), description)


def _bound_arguments(arguments: list[Any]) -> list[Any]:
    """An actor's arguments, pickled now if one holds a weak thing: the event loop does it later.

    There an argument that cannot be pickled is lost, and the call waits for ever.
    """
    from distributed.protocol.pickle import dumps

    found, failure, weak = [], None, False
    for argument in arguments:
        sent = argument
        if not plain(argument):
            before = seen.dumps
            try:
                # Buffers go out of band here, so that large arrays are not copied to find out.
                dumps(argument, buffer_callback=[].append)
            except BaseException as error:
                if interrupts(error):
                    raise
                if isinstance(error, Exception):  # raised below, if there is a weak thing
                    failure = error
                    weak = weak or seen.dumps != before or holds_weak(argument)
            else:
                if seen.dumps != before:
                    weak = True
                    sent = Bound(dumps(argument), "an argument")
        found.append(sent)
    if failure is not None and weak:
        raise failure
    return found


def _make_actor_getattr(stock: Callable[..., Any]) -> Any:
    @functools.wraps(stock)
    def __getattr__(actor: Any, key: str) -> Any:  # noqa: N807
        found = stock(actor, key)
        if not callable(getattr(actor._cls, key, None)) or actor._worker is not None:
            return found

        @functools.wraps(found)
        def function(*args: Any, **keywords: Any) -> Any:
            bound = _bound_arguments([*args, *keywords.values()])
            return found(
                *bound[: len(args)], **dict(zip(keywords, bound[len(args) :], strict=True))
            )

        return function

    return __getattr__


def make_patch(module: Any) -> AttributePatch:
    """The patch of ``distributed.client`` or ``distributed.actor``."""
    if module.__name__ == "distributed.actor":
        return AttributePatch((module.Actor, "__getattr__", _make_actor_getattr))
    return AttributePatch(
        (module.Client, "_graph_to_futures", _make_graph_to_futures),
        (module.Client, "_scatter", _unwrapping),
        (module.Client, "_publish_dataset", _unwrapping),
    )
