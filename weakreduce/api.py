"""The functions that a user calls: dumps and loads (which are `hosts.own`'s), bind, pins, info.

Rule: no semantics live here; each function is a few lines over the floors below.
"""

from __future__ import annotations

import platform
import types
import weakref
from typing import Any, Final, TypeVar

from weakreduce import registry
from weakreduce.core.encode import user_state
from weakreduce.hosts.own import OwnHost, check_host, dump, dumps, load, loads
from weakreduce.model.bound import Bound
from weakreduce.model.in_force import get_policy
from weakreduce.model.kinds import Edge, Kind, kind_of
from weakreduce.model.policies import Policy, PolicyName
from weakreduce.model.release import version
from weakreduce.model.shipping import shipping
from weakreduce.model.texts import class_name

_W = TypeVar("_W")


def bind(obj: object, policy: PolicyName | Policy | None = None) -> Bound:
    """`obj`, pickled now, under this policy, to be opened on the receiver as `obj` itself.

    For engines that weakreduce does not know: bind what you submit.
    """
    with shipping():
        return Bound(dumps(obj, policy=policy), class_name(type(obj)))


def _weak_kind(weak: object) -> Kind:
    kind = kind_of(type(weak))
    if kind is None:
        raise TypeError(f"{class_name(type(weak))} is not a weak reference or weak container")
    return kind


def is_pinned(weak: object) -> bool:
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
    if kind.is_container:
        _unpin_container(kind, weak)
        return weak
    (edge,) = kind.edges(weak)
    arguments = () if edge.callback is None else (edge.callback,)
    if kind.is_proxy:
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
    unpin_entry = _UNPIN[kind.name]
    for edge in kind.edges(weak):
        if edge.pinned:
            # Each is replaced as it is now: a thread may have written it since that look.
            unpin_entry(weak, edge, weakref.ref(edge.referent))


def _unpin_member(weak: Any, edge: Edge, found: object) -> None:
    if found in weak.data:
        weak.data.discard(found)
        weak.data.add(weakref.ref(edge.referent, weak._remove))


def _unpin_value(weak: Any, edge: Edge, _found: object) -> None:
    entry = weak.data.get(edge.key)
    if entry is not None and entry() is edge.referent:
        weak.data[edge.key] = weakref.KeyedRef(edge.referent, weak._remove, edge.key)


def _unpin_key(weak: Any, edge: Edge, found: object) -> None:
    if found in weak.data:
        value = weak.data.pop(found)
        weak.data[weakref.ref(edge.referent, weak._remove)] = value


#: By the name of a container's kind, what takes the pin from an entry, given a reference like it.
_UNPIN: Final = {
    "WeakSet": _unpin_member,
    "WeakValueDictionary": _unpin_value,
    "WeakKeyDictionary": _unpin_key,
}


def info() -> dict[str, Any]:
    """Hosts, versions, states and the policy in force, as plain data."""
    policy = get_policy()
    return {
        "weakreduce": version(),
        "python": platform.python_version(),
        "policy": {
            "name": policy.name,
            **{name: getattr(policy, name) for name in policy.__dataclass_fields__},
        },
        "hosts": registry.state(),
    }


__all__ = [
    "OwnHost",
    "bind",
    "check_host",
    "dump",
    "dumps",
    "info",
    "is_pinned",
    "load",
    "loads",
    "unpin",
]
