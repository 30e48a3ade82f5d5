"""Names for objects that both sides have: `share`, `unshare` and the look-up.

A weak reference to a shared object travels as the name. Nothing here pickles.
"""

from __future__ import annotations

import weakref

from weakreduce.model.locks import new_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _T = TypeVar("_T")

_lock = new_lock()
_by_name: dict[str, weakref.ref[Any]] = {}
#: id(object) -> its names, oldest first; read by the decision for each weak edge.
shared_ids: dict[int, list[str]] = {}


def _forget(name: str, identity: int) -> None:
    names = shared_ids.get(identity, [])
    if name in names:
        names.remove(name)
    if not names:
        shared_ids.pop(identity, None)


def share(name: str, obj: _T) -> _T:
    """Give `obj` a name in this process; it is held weakly, and returned.

    A weak reference to it travels as the name and resolves, on the receiver, to
    whatever is shared there under that name.

    Raises:
        TypeError: where `name` is not a string or `obj` cannot be weakly referenced.
        ValueError: where another living object has the name already, or the name is empty.
    """
    if not isinstance(name, str):
        raise TypeError(f"a shared name is a str, not {name!r}")
    if not name:
        raise ValueError("a shared name is not empty")
    identity = id(obj)

    def gone(dead: weakref.ref[Any]) -> None:
        with _lock:
            if _by_name.get(name) is dead:
                del _by_name[name]
            _forget(name, identity)

    reference = weakref.ref(obj, gone)
    with _lock:
        known = _by_name.get(name)
        other = None if known is None else known()
        if other is obj:
            return obj
        if other is not None:
            # Imported late: a process that only loads, or shares, does without.
            from weakreduce.model.texts import class_name

            raise ValueError(
                f"{name!r} already names a {class_name(type(other))}; unshare({name!r}) first"
            )
        _by_name[name] = reference
        shared_ids.setdefault(identity, []).append(name)
    return obj


def unshare(name: str) -> None:
    """Take the name away.

    Raises:
        KeyError: where nothing has that name.
    """
    with _lock:
        reference = _by_name.pop(name)
        target = reference()
        if target is not None:
            _forget(name, id(target))


def name_of(obj: object) -> str | None:
    """The name under which this very object is shared, if any (the oldest one)."""
    if not shared_ids:
        return None
    names = shared_ids.get(id(obj))
    if not names:
        return None
    name = names[0]
    reference = _by_name.get(name)
    return name if reference is not None and reference() is obj else None


def lookup(name: str) -> Any | None:
    """The object shared under `name`, or None."""
    reference = _by_name.get(name)
    return None if reference is None else reference()
