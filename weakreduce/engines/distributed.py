"""Dask's client: tasks with weak things go through the scheduler as bytes that only the task opens.

The scheduler opens the graph that it is sent and pickles each task again. Where a task holds
a weak thing, that would want weakreduce there, and would lose what only the client keeps alive;
a scheduler without weakreduce even hangs. So such a task is pickled here and now, whole.

What we rely on, pinned by the tests: every graph passes ``Client._graph_to_futures(expr, keys)``,
which serializes `expr`, or passes it on if it is ``Serialized`` already; calling a
``dask._task_spec.GraphNode`` with its dependencies' values runs it; tasks may be nested.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import pickle
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from weakreduce.core import watchers
from weakreduce.engines.submit import Refusal, bound_if_weak, looked_at
from weakreduce.hosts.distributed import Stopped, missing, stopping
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.hosts.plain import plain
from weakreduce.model.seen import Since

if TYPE_CHECKING:
    from dask._expr import Expr
    from dask._task_spec import GraphNode
    from distributed import Actor, Client
    from distributed.protocol.serialize import Serialized


def _opaque(key: object, node: GraphNode) -> GraphNode:
    """A task that runs `node`, which is pickled now; or `node` itself where nothing is weak."""
    from dask._task_spec import Alias, Task, Tuple
    from distributed.protocol.pickle import dumps

    since = Since()
    data = dumps(node)
    if not since.met_weak:
        return node
    names = sorted(node.dependencies, key=str)
    values: object = {}
    if names:
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


def _opaque_graph(expr: Expr) -> Expr:
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


def _serialized(expr: Expr) -> Serialized:
    """`expr` as it goes over the wire."""
    from distributed.protocol.serialize import Serialized, serialize, to_serialize

    with Refusal() as refusal:
        return Serialized(*serialize(to_serialize(expr), on_error="raise"))
    raise refusal.found


def _unwrapping(stock: Stock) -> Stock:
    @functools.wraps(stock)
    async def unwrapping(*args: object, **keywords: object) -> object:
        with Refusal() as refusal:
            return await stock(*args, **keywords)
        raise refusal.found

    return unwrapping


def _graph_to_futures(
    stock: Stock, client: Client, expr: Expr, *args: object, **keywords: object
) -> object:
    return stock(client, _sent(expr), *args, **keywords)


def _sent(expr: Expr) -> Serialized:
    """`expr` as it goes over the wire, each task with a weak thing made opaque."""
    since = Since()
    with contextlib.suppress(Stopped), stopping():
        sent = _serialized(expr)
        if not since.met_weak:
            return sent
    try:
        return _serialized(_opaque_graph(expr))
    except Exception as error:  # noqa: BLE001 - raised below
        failure = error
    try:
        _serialized(expr)  # the whole of it says where that is
        raise failure
    finally:
        del failure  # its traceback leads to this frame


def bound(obj: object, description: str) -> object:
    """`obj`, or its payload where it holds a weak thing; for what Dask would pickle later.

    Raises:
        Exception: whatever the pickler raises for an object that holds a weak thing.
    """
    from distributed.protocol.pickle import dumps

    return bound_if_weak(obj, dumps, description) or obj


def _bound_arguments(arguments: Sequence[object]) -> Sequence[object]:
    """An actor's arguments, pickled now if one holds a weak thing: the event loop does it later.

    There an argument that cannot be pickled is lost, and the call waits for ever.
    """
    from distributed.protocol.pickle import dumps

    if all(map(plain, arguments)):
        return arguments
    data, weak = looked_at(arguments, dumps)
    if data is not None:
        watchers.take_back(len(data))
    if not weak:
        return arguments
    return [found if plain(found) else bound(found, "an argument") for found in arguments]


def _actor_getattr(stock: Stock, actor: Actor, key: str) -> object:
    found = stock(actor, key)
    if not callable(getattr(actor._cls, key, None)) or actor._worker is not None:
        return found

    @functools.wraps(found)
    def function(*args: object, **keywords: object) -> Any:
        sent = _bound_arguments([*args, *keywords.values()])
        return found(*sent[: len(args)], **dict(zip(keywords, sent[len(args) :], strict=True)))

    return function


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of ``distributed.client`` or ``distributed.actor``.

    Raises:
        ModuleNotFoundError: where Dask is older than what a task is opened with.
    """
    lacks = missing()
    if lacks is not None:
        raise ModuleNotFoundError(f"No module named {lacks!r}", name=lacks)
    if module.__name__ == "distributed.actor":
        return AttributePatch((module.Actor, "__getattr__", in_front(_actor_getattr)))
    return AttributePatch(
        (module.Client, "_graph_to_futures", in_front(_graph_to_futures)),
        (module.Client, "_scatter", _unwrapping),
        (module.Client, "_publish_dataset", _unwrapping),
    )
