"""Ray: a remote function or actor class that holds a weak thing is exported once for each policy.

Ray pickles arguments in the submitting call, but a function once only, at its first one; later
calls would send what the first call's policy made. And it wraps whatever `TypeError` a pickler
raises, a refusal too, into a page of text: a refusal is unwrapped.

What we rely on, pinned by the tests: ``RemoteFunction._remote`` exports under ``_uuid`` unless
``_last_export_cluster_and_job`` is that of the running cluster, and can be copied;
``ActorClass._remote`` does the same with its ``__ray_metadata__``; both pickle by the name
``pickle_dumps`` in their module; ``ActorHandle._actor_method_call`` and ``Worker.put_object``
pickle all else, by ``SerializationContext.serialize``, each argument for itself.
"""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from weakreduce.engines.per_policy import Made, PerPolicy
from weakreduce.engines.submit import Refusal
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.model.in_force import get_policy
from weakreduce.model.seen import Since
from weakreduce.paths import search, tasks

if TYPE_CHECKING:
    from ray._private.serialization import SerializationContext
    from ray.actor import ActorClass
    from ray.remote_function import RemoteFunction


class _Exported(threading.local):
    """Whether the last export of this thread held a weak thing."""

    def __init__(self) -> None:
        self.weak = False


_exported = _Exported()


def _unwrapping(stock: Stock, *args: object, **keywords: Any) -> object:
    # Every caller gives the user's arguments by these two names.
    given = tasks.arguments(keywords.get("args"), keywords.get("kwargs"))
    with Refusal() as refusal, search.naming(given):
        return stock(*args, **keywords)
    raise refusal.found


def _serialize(stock: Stock, context: SerializationContext, value: Any) -> object:
    """What is pickled is a list that the value is in, or the report of an exception."""
    from ray.exceptions import RayTaskError

    given = value.cause if issubclass(type(value), RayTaskError) else value
    with search.naming((("root", given),)):
        return stock(context, value)


def _pickle_dumps(stock: Stock, *args: object, **keywords: object) -> object:
    since = Since()
    # The function itself, which is none of the arguments that it is called with.
    with search.naming(None):
        data = stock(*args, **keywords)
    _exported.weak = since.met_weak
    return data


def _function_again(function: RemoteFunction) -> RemoteFunction:
    again = copy.copy(function)
    # It is bound to the original, which it would keep alive.
    vars(again).pop("remote", None)
    again._uuid = uuid.uuid4()
    again._last_export_cluster_and_job = None
    return again


def _actor_again(actor: ActorClass) -> ActorClass:
    # Its class derives from the user's, whose ``__new__`` and ``__copy__`` are not for this.
    again = object.__new__(type(actor))
    vars(again).update(vars(actor))
    metadata = again.__ray_metadata__ = copy.copy(actor.__ray_metadata__)
    metadata.actor_creation_function_descriptor = type(
        metadata.actor_creation_function_descriptor
    ).from_class(metadata.modified_class.__ray_actor_class__)
    metadata.last_export_cluster_and_job = None
    return again


def _remote(
    key_of: Callable[[RemoteFunction | ActorClass], object],
    again: Callable[[RemoteFunction | ActorClass], object],
) -> Callable[[Stock], Stock]:
    """What makes ``_remote`` of a remote function or actor class."""
    made_of = PerPolicy()

    def call(
        stock: Stock, made: Made, function: object, *args: object, **keywords: object
    ) -> object:
        _exported.weak = False
        try:
            return _unwrapping(stock, function, *args, **keywords)
        finally:
            if _exported.weak:
                _exported.weak = False
                # None stands for the function itself, which may not be kept alive by this.
                made.note(get_policy(), None)

    def remote(stock: Stock, function: object, *args: object, **keywords: object) -> object:
        made = made_of.of(key_of(function))
        if not made.used:
            # Two threads with two policies may not both be the first.
            with made.lock:
                if not made.used and not made.things:
                    result = call(stock, made, function, *args, **keywords)
                    made.used = True
                    return result
        if made.things:
            chosen = made.under_the_policy(lambda: again(function))
            if chosen is not None:
                return _unwrapping(stock, chosen, *args, **keywords)
        return call(stock, made, function, *args, **keywords)

    return in_front(remote)


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of one of Ray's modules."""
    if module.__name__ == "ray.remote_function":
        return AttributePatch(
            (module, "pickle_dumps", in_front(_pickle_dumps)),
            (module.RemoteFunction, "_remote", _remote(lambda found: found, _function_again)),
        )
    if module.__name__ == "ray._private.function_manager":
        return AttributePatch((module, "pickle_dumps", in_front(_pickle_dumps)))
    if module.__name__ == "ray.actor":
        remote = _remote(lambda actor: actor.__ray_metadata__, _actor_again)
        return AttributePatch(
            (module.ActorClass, "_remote", remote),
            (module.ActorHandle, "_actor_method_call", in_front(_unwrapping)),
        )
    if module.__name__ == "ray._private.serialization":
        return AttributePatch((module.SerializationContext, "serialize", in_front(_serialize)))
    return AttributePatch((module.Worker, "put_object", in_front(_unwrapping)))
