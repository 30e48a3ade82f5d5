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
import functools
import threading
import uuid
from collections.abc import Callable
from typing import Any

from weakreduce.engines.per_policy import Made, PerPolicy
from weakreduce.hosts.patch import AttributePatch
from weakreduce.model.errors import WeakrefPicklingError
from weakreduce.model.in_force import get_policy
from weakreduce.model.seen import seen
from weakreduce.paths import search


class _Exported(threading.local):
    """Whether the last export of this thread held a weak thing."""

    def __init__(self) -> None:
        self.weak = False


_exported = _Exported()


def _unwrapping(stock: Any) -> Any:
    @functools.wraps(stock)
    def unwrapping(*args: Any, **keywords: Any) -> Any:
        # Every caller gives the user's arguments by these two names.
        named = search.arguments(keywords.get("args"), keywords.get("kwargs"))
        try:
            with search.naming(named):
                return stock(*args, **keywords)
        except TypeError as error:
            refusal = error.__cause__
            if isinstance(refusal, WeakrefPicklingError):
                raise refusal from refusal.__cause__
            raise

    return unwrapping


def _make_serialize(stock: Any) -> Any:
    from ray.exceptions import RayTaskError

    @functools.wraps(stock)
    def serialize(context: Any, value: Any) -> Any:
        """What is pickled is a list that the value is in, or the report of an exception."""
        given = value.cause if issubclass(type(value), RayTaskError) else value
        with search.naming((("root", given),)):
            return stock(context, value)

    return serialize


def _make_pickle_dumps(stock: Any) -> Any:
    @functools.wraps(stock)
    def pickle_dumps(*args: Any, **keywords: Any) -> Any:
        before = seen.dumps
        # The function itself, which is none of the arguments that it is called with.
        with search.naming(None):
            data = stock(*args, **keywords)
        _exported.weak = seen.dumps != before
        return data

    return pickle_dumps


def _function_again(function: Any) -> Any:
    again = copy.copy(function)
    # It is bound to the original, which it would keep alive.
    vars(again).pop("remote", None)
    again._uuid = uuid.uuid4()
    again._last_export_cluster_and_job = None
    return again


def _actor_again(actor: Any) -> Any:
    # Its class derives from the user's, whose ``__new__`` and ``__copy__`` are not for this.
    again = object.__new__(type(actor))
    vars(again).update(vars(actor))
    metadata = again.__ray_metadata__ = copy.copy(actor.__ray_metadata__)
    descriptor: Any = type(metadata.actor_creation_function_descriptor)
    metadata.actor_creation_function_descriptor = descriptor.from_class(
        metadata.modified_class.__ray_actor_class__
    )
    metadata.last_export_cluster_and_job = None
    return again


def _make_remote(key_of: Callable[[Any], Any], again: Callable[[Any], Any]) -> Any:
    made_of = PerPolicy()

    def make(stock: Any) -> Any:
        unwrapping = _unwrapping(stock)

        def call(made: Made, function: Any, *args: Any, **keywords: Any) -> Any:
            _exported.weak = False
            try:
                return unwrapping(function, *args, **keywords)
            finally:
                if _exported.weak:
                    _exported.weak = False
                    # None stands for the function itself, which may not be kept alive by this.
                    made.note(get_policy(), None)

        @functools.wraps(stock)
        def _remote(function: Any, *args: Any, **keywords: Any) -> Any:
            made = made_of.of(key_of(function))
            if not made.used:
                # Two threads with two policies may not both be the first.
                with made.lock:
                    if not made.used and not made.things:
                        result = call(made, function, *args, **keywords)
                        made.used = True
                        return result
            if made.things:
                chosen = made.under_the_policy(lambda: again(function))
                if chosen is not None:
                    return unwrapping(chosen, *args, **keywords)
            return call(made, function, *args, **keywords)

        return _remote

    return make


def make_patch(module: Any) -> AttributePatch:
    """The patch of one of Ray's modules."""
    if module.__name__ == "ray.remote_function":
        remote = _make_remote(lambda function: function, _function_again)
        return AttributePatch(
            (module, "pickle_dumps", _make_pickle_dumps),
            (module.RemoteFunction, "_remote", remote),
        )
    if module.__name__ == "ray._private.function_manager":
        return AttributePatch((module, "pickle_dumps", _make_pickle_dumps))
    if module.__name__ == "ray.actor":
        remote = _make_remote(lambda actor: actor.__ray_metadata__, _actor_again)
        return AttributePatch(
            (module.ActorClass, "_remote", remote),
            (module.ActorHandle, "_actor_method_call", _unwrapping),
        )
    if module.__name__ == "ray._private.serialization":
        return AttributePatch((module.SerializationContext, "serialize", _make_serialize))
    return AttributePatch((module.Worker, "put_object", _unwrapping))
