"""The functions that a user calls: dumps and loads, bind, pins, info.

Rule: no semantics live here; each function is a few lines over the floors below.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import platform
import types
import weakref
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from weakreduce import hosts
from weakreduce.core.encode import user_state
from weakreduce.model.bound import Bound
from weakreduce.model.in_force import get_policy
from weakreduce.model.in_force import policy as block
from weakreduce.model.kinds import CONTAINERS, Kind, kind_of
from weakreduce.model.policies import Policy, PolicyName
from weakreduce.model.shipping import shipping
from weakreduce.model.texts import class_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed import ReadableBuffer

_W = TypeVar("_W")
#: The hosts of `dumps` and its kin.
OwnHost = Literal["cloudpickle", "dill", "pickle"]
_OWN = {"cloudpickle": "cloudpickle", "dill": "dill", "pickle": "standard"}


class Writable(Protocol):
    """A file, open for writing bytes."""

    def write(self, payload: bytes, /) -> object: ...


class Readable(Protocol):
    """A file, open for reading bytes."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


@functools.cache
def _pickler_class(host: str) -> Any:
    hosts.require_cpython()
    recipe = importlib.import_module(f"weakreduce.hosts.{_OWN[host]}")
    return recipe.Pickler if host == "pickle" else recipe.own_class()


def check_host(host: str) -> None:
    """Refuse an unknown host with a `ValueError` that lists the right ones."""
    if host not in _OWN:
        raise ValueError(f"host is one of {', '.join(map(repr, _OWN))}, not {host!r}")


def dump(
    obj: Any,
    file: Writable,
    *,
    policy: PolicyName | Policy | None = None,
    host: OwnHost = "cloudpickle",
    protocol: int | None = None,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
) -> None:
    """Write the payload of `obj` to `file`, whether weakreduce is installed or not.

    Args:
        obj: the root.
        file: has a ``write`` method; it is called once, with the whole payload.
        policy: a name or a `Policy`; None for the one in force.
        host: ``"cloudpickle"``, ``"dill"`` or ``"pickle"``.
        protocol: a pickle protocol, 2 to 5; None for the host's default.
        buffer_callback: for out-of-band buffers, as in `pickle.dump`.

    Raises:
        WeakrefPicklingError: where the policy refuses.
        ValueError: for an unknown policy or host.
    """
    check_host(host)
    with block(policy):
        keywords = {} if buffer_callback is None else {"buffer_callback": buffer_callback}
        _pickler_class(host)(file, protocol, **keywords).dump(obj)


def dumps(
    obj: Any,
    *,
    policy: PolicyName | Policy | None = None,
    host: OwnHost = "cloudpickle",
    protocol: int | None = None,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
) -> bytes:
    """The payload of `obj` as bytes; the arguments are those of `dump`."""
    file = io.BytesIO()
    dump(obj, file, policy=policy, host=host, protocol=protocol, buffer_callback=buffer_callback)
    return file.getvalue()


def load(
    file: Readable, *, host: OwnHost = "cloudpickle", buffers: Iterable[Any] | None = None
) -> Any:
    """Read one payload from `file`."""
    check_host(host)
    if host == "dill":
        import dill

        return dill.load(file) if buffers is None else dill.load(file, buffers=buffers)
    return pickle.load(file, buffers=buffers)


def loads(
    data: ReadableBuffer,
    *,
    host: OwnHost = "cloudpickle",
    buffers: Iterable[Any] | None = None,
) -> Any:
    """The object in a payload."""
    return load(io.BytesIO(data), host=host, buffers=buffers)


def bind(obj: Any, policy: PolicyName | Policy | None = None) -> Bound:
    """`obj`, pickled now, under this policy, to be opened on the receiver as `obj` itself.

    For engines that weakreduce does not know: bind what you submit.
    """
    with shipping():
        return Bound(dumps(obj, policy=policy), class_name(type(obj)))


def _weak_kind(weak: Any) -> Kind:
    kind = kind_of(type(weak))
    if kind is None:
        raise TypeError(f"{class_name(type(weak))} is not a weak reference or weak container")
    return kind


def is_pinned(weak: Any) -> bool:
    """Whether a weak thing (for a container: any entry of it) keeps its own referent alive.

    Raises:
        TypeError: where `weak` is not a weak thing.
    """
    kind = _weak_kind(weak)
    return any(edge.pinned for edge in kind.edges(weak))


def unpin(weak: _W) -> _W:
    """A weak thing of the same type without the pin; a container is unpinned in place.

    The result's referent dies when nothing else holds it. A weak thing that is not pinned is
    returned as it is.

    Raises:
        TypeError: where `weak` is not a weak thing.
    """
    kind = _weak_kind(weak)
    if not is_pinned(weak):
        return weak
    if kind.base in CONTAINERS:
        _unpin_container(kind, weak)
        return weak
    (edge,) = kind.edges(weak)
    arguments = () if edge.callback is None else (edge.callback,)
    if kind.name == "proxy":
        return weakref.proxy(edge.referent, *arguments)  # type: ignore[return-value]
    cls: Any = type(weak)
    if kind.name == "WeakMethod":
        method = types.MethodType(edge.function, edge.referent)
        fresh: Any = weakref.WeakMethod.__new__(cls, method, *arguments)
    else:
        fresh = weakref.ref.__new__(cls, edge.referent, *arguments)
    state = user_state(weak, kind.internals)
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    for name, value in {**(attributes or {}), **(slots or {})}.items():
        setattr(fresh, name, value)
    return fresh  # type: ignore[no-any-return]


def _unpin_container(kind: Kind, weak: Any) -> None:
    for edge in kind.edges(weak):
        if not edge.pinned:
            continue
        # Each entry is replaced as it is now: a thread may have written it since that look.
        found = weakref.ref(edge.referent)
        if kind.base is weakref.WeakSet:
            if found in weak.data:
                weak.data.discard(found)
                weak.data.add(weakref.ref(edge.referent, weak._remove))
        elif kind.base is weakref.WeakValueDictionary:
            entry = weak.data.get(edge.key)
            if entry is not None and entry() is edge.referent:
                weak.data[edge.key] = weakref.KeyedRef(edge.referent, weak._remove, edge.key)
        elif found in weak.data:
            value = weak.data.pop(found)
            weak.data[weakref.ref(edge.referent, weak._remove)] = value


def info() -> dict[str, Any]:
    """Hosts, versions, states and the policy in force, as plain data."""
    policy = get_policy()
    return {
        "weakreduce": version("weakreduce"),
        "python": platform.python_version(),
        "policy": {
            "name": policy.name,
            **{name: getattr(policy, name) for name in policy.__dataclass_fields__},
        },
        "hosts": hosts.state(),
    }


__all__ = ["bind", "dump", "dumps", "info", "is_pinned", "load", "loads", "unpin"]
