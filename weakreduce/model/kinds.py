"""Observe: what kind of weak thing an object is, and what it points at.

Rule: nothing here decides or encodes, and no code of a user's class runs: weak
references are opened with `weakref.ref`'s own methods, proxies with `divmod`.
A kind is a row of `KINDS`; what else has a row for each is listed in `docs/contributing.md`.
"""

from __future__ import annotations

import functools
import gc
import operator
import types
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, final

from weakreduce.model.classes import as_it_stands, bases_of, class_attribute, names_of
from weakreduce.model.proxies import proxy_referent

ProxyTypes: Final = (weakref.ProxyType, weakref.CallableProxyType)
_open = weakref.ref.__call__
#: The content of a reference's callback slot, whatever its class overrides.
callback_of: Final[Callable[[Any], Any]] = weakref.ref.__dict__["__callback__"].__get__


@final
@dataclass(frozen=True, slots=True)
class Pin:
    """What the callback slot of a pinned weak thing holds, where there is a user's callback, too.

    Without one the slot holds the referent itself: a strong edge that the garbage collector sees,
    and that is never called, since the referent cannot die before the weak thing. With one (and in
    a WeakMethod) it holds a pair of the referent and the callback or None. In payloads of version
    0.1 the pair was an `operator.itemgetter`.
    """

    referent: Any
    callback: Any


def pin_of(callback: object) -> Pin | None:
    """The pin that a callback slot holds, if it is one of ours."""
    if type(callback) is operator.itemgetter:
        items: tuple[Any, ...] = callback.__reduce__()[1]  # type: ignore[assignment]
        return Pin(items[0], items[1] if len(items) > 1 else None)
    return Pin(*callback) if type(callback) is tuple and len(callback) == 2 else None


@final
@dataclass(slots=True, eq=False)
class Edge:
    """One weak edge: from a weak thing (or one entry of a weak container) to its referent."""

    weak: Any
    referent: Any  # None where it is dead
    callback: Any = None
    pinned: bool = False
    function: Any = None  # a WeakMethod holds its function weakly, too
    key: Any = None  # of a WeakValueDictionary's entry
    value: Any = None  # of a WeakKeyDictionary's entry


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """A row: the name of a weak kind, the standard type behind it, and how to look inside."""

    name: str
    base: type
    edges: Callable[[Any], list[Edge]]
    internals: frozenset[str] = frozenset()  # instance attributes that are not the user's
    step: str = "{weak}"  # into the referent of an edge, for `search.edge_path`
    is_container: bool = False  # with an edge for each entry
    is_proxy: bool = False  # which answers for its referent
    is_finalizer: bool = False  # which arrives detached
    rebuild: Callable[[Any], Any] | None = None  # of registered third-party types
    pin: Callable[[Any], Any] | None = None

    @property
    def can_pin(self) -> bool:
        """Whether a weak thing can be made to keep its own referent alive."""
        return not self.is_finalizer and (self.rebuild is None or self.pin is not None)


def _split(callback: object, referent: object) -> tuple[Any, bool]:
    if callback is referent and referent is not None:
        return None, True
    pin = pin_of(callback)
    if pin is not None and pin.referent is referent and referent is not None:
        return pin.callback, True
    return callback, False


def _ref_edges(weak: Any) -> list[Edge]:
    referent = _open(weak)
    callback, pinned = _split(callback_of(weak), referent)
    return [Edge(weak, referent, callback, pinned)]


def _method_callback(weak: object) -> tuple[Any, bool]:
    """The user's callback of a WeakMethod: a free variable of the callback that it really has."""
    inner = callback_of(weak)
    cells = getattr(inner, "__closure__", None) or ()
    names = getattr(getattr(inner, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, cells, strict=False):
        if name == "callback":
            found = cell.cell_contents
            if type(found) is Holding:
                return found.callback, False
            pin = pin_of(found)
            return (found, False) if pin is None else (pin.callback, True)
    return None, False


@final
@dataclass(frozen=True, slots=True)
class Holding:
    """The callback of a WeakMethod that holds its function, and lets its instance go.

    Where a class travels by value, its original's functions are replaced when that comes home, or
    nothing but the WeakMethod has the copy.
    """

    function: Any
    callback: Any

    def __call__(self, weak: object) -> None:
        """The instance is dead."""
        if self.callback is not None:
            self.callback(weak)


def _method_edges(weak: Any) -> list[Edge]:
    bound = weakref.WeakMethod.__call__(weak)
    if bound is None:
        return [Edge(weak, None)]
    callback, pinned = _method_callback(weak)
    return [Edge(weak, bound.__self__, callback, pinned, bound.__func__)]


def _proxy_edges(weak: object) -> list[Edge]:
    referent = proxy_referent(weak)
    if referent is None:
        return [Edge(weak, None)]
    # The collector visits a proxy's callback and nothing else; attribute access would
    # reach the referent's instead.
    visited = gc.get_referents(weak)
    callback, pinned = _split(visited[0] if visited else None, referent)
    return [Edge(weak, referent, callback, pinned)]


#: How often a container that changes while it is copied is copied again.
_ATTEMPTS: Final = 100


def copied(entries: Callable[[], Iterable[Any]]) -> list[Any]:
    """The entries of a container's data at one moment: the one look that is taken at it.

    Raises:
        Exception: what the collection of a subclass raises, or a `RuntimeError` where other
            threads do not let it be for a moment.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return list(entries())
        except RecursionError:
            raise
        except RuntimeError:
            # Entries were evicted by the collector, or written by a thread, while we copied.
            continue
    return list(entries())


def _set_edges(weak: Any) -> list[Edge]:
    found = ((reference, _open(reference)) for reference in copied(lambda: weak.data))
    return [
        Edge(weak, member, pinned=_split(callback_of(reference), member)[1])
        for reference, member in found
        if member is not None
    ]


def _value_edges(weak: Any) -> list[Edge]:
    items: Iterable[tuple[Any, Any]] = copied(lambda: weak.data.items())
    found = ((key, reference, _open(reference)) for key, reference in items)
    return [
        Edge(weak, value, key=key, pinned=_split(callback_of(reference), value)[1])
        for key, reference, value in found
        if value is not None
    ]


def _key_edges(weak: Any) -> list[Edge]:
    items: Iterable[tuple[Any, Any]] = copied(lambda: weak.data.items())
    found = ((reference, _open(reference), value) for reference, value in items)
    return [
        Edge(weak, key, value=value, pinned=_split(callback_of(reference), key)[1])
        for reference, key, value in found
        if key is not None
    ]


def _finalize_edges(weak: Any) -> list[Edge]:
    peeked: Any = weakref.finalize.peek(weak)
    return [Edge(weak, None if peeked is None else peeked[0], callback=peeked and peeked[1:])]


def _internals(base: Callable[[], Any]) -> frozenset[str]:
    return frozenset(vars(base()))


#: First match wins, so a subtype stands before its supertype.
KINDS: Final[tuple[Kind, ...]] = (
    Kind("WeakMethod", weakref.WeakMethod, _method_edges,
         frozenset({"_func_ref", "_meth_type", "_alive"}), "{weak}().__self__"),
    Kind("ref", weakref.ref, _ref_edges, step="{weak}()"),
    Kind("proxy", weakref.ProxyType, _proxy_edges, is_proxy=True),
    Kind("proxy", weakref.CallableProxyType, _proxy_edges, is_proxy=True),
    Kind("WeakSet", weakref.WeakSet, _set_edges, _internals(weakref.WeakSet), "{weak}[<{type}>]",
         is_container=True),
    Kind("WeakValueDictionary", weakref.WeakValueDictionary, _value_edges,
         _internals(weakref.WeakValueDictionary), "{weak}[{key}]", is_container=True),
    Kind("WeakKeyDictionary", weakref.WeakKeyDictionary, _key_edges,
         _internals(weakref.WeakKeyDictionary), "{weak}[<{type}>]", is_container=True),
    Kind("finalize", weakref.finalize, _finalize_edges, is_finalizer=True),
)  # fmt: skip

_BY_BASE: Final = {kind.base: kind for kind in KINDS}
_BASES: Final = frozenset(_BY_BASE)
#: What makes the kind of each registered type. A `Kind` holds its type, so none is kept here: a
#: type must die with its last user.
_registered: weakref.WeakKeyDictionary[type, Callable[[type], Kind]] = weakref.WeakKeyDictionary()
#: Something, once there was an entry: most processes have none, and each type is looked for there.
_have_registered: list[bool] = []


def register(
    weak_type: type,
    *,
    referent: Callable[[Any], Any],
    rebuild: Callable[[Any], Any],
    pin: Callable[[Any], Any] | None = None,
) -> None:
    """Teach weakreduce a weak type of a third party; subclasses are included.

    Args:
        weak_type: the type.
        referent: gives the referent of a weak thing, or None where it is dead.
        rebuild: makes a weak thing on a referent (or on None: a dead one); it runs on the
            receiver and has to be importable there.
        pin: the same, but the weak thing made keeps its referent alive. Without it an
            outside referent dangles with a `DanglingWarning` where the policy says ``"snapshot"``.

    Raises:
        TypeError: where an argument is not a type or not callable.
    """
    if not isinstance(weak_type, type):
        raise TypeError(f"register() takes a type first, not {weak_type!r}")
    for name, function in (("referent", referent), ("rebuild", rebuild), ("pin", pin)):
        if not callable(function) and not (name == "pin" and function is None):
            raise TypeError(f"register(..., {name}=) takes a callable, not {function!r}")
    _have_registered.append(True)
    _registered[weak_type] = _maker(*(_loosened(f, weak_type) for f in (referent, rebuild, pin)))


def _maker(
    referent: Callable[[type], Any], rebuild: Callable[[type], Any], pin: Callable[[type], Any]
) -> Callable[[type], Kind]:
    def make(weak_type: type) -> Kind:
        open_it = referent(weak_type)
        return Kind(
            weak_type.__name__,
            weak_type,
            lambda weak: [Edge(weak, open_it(weak))],
            rebuild=rebuild(weak_type),
            pin=pin(weak_type),
        )

    return make


def _loosened(function: object, weak_type: type) -> Callable[[type], Any]:
    """What gives `function` for the type, and does not hold the type where the function does.

    As the type itself does, and its class methods.
    """
    if function is weak_type:
        return lambda cls: cls
    if type(function) is types.MethodType and function.__self__ is weak_type:
        return functools.partial(types.MethodType, function.__func__)
    return lambda cls: function


def has_registered() -> bool:
    """Whether any third-party weak type was ever registered."""
    return bool(_have_registered)


#: Where the interpreter would define reducers of its own for weak things, did it have any.
_INTERPRETERS: Final = frozenset({"weakref", "_weakref", "_weakrefset", "copyreg", "pickle"})


def is_interpreters(reducer: object) -> bool:
    """Whether a reducer for a weak type is the interpreter's, and not a user's own."""
    return getattr(reducer, "__module__", None) in _INTERPRETERS


def _own_reduce(weak_type: type, base: type) -> bool:
    return any(
        as_it_stands(weak_type, name) is not getattr(base, name)
        and as_it_stands(weak_type, name) is not getattr(object, name)
        and class_attribute(
            next(cls for cls in bases_of(weak_type) if name in names_of(cls)), "__module__"
        )
        not in _INTERPRETERS
        for name in ("__reduce__", "__reduce_ex__")
    )


def kind_of(weak_type: type) -> Kind | None:
    """The kind of weak thing that instances of a type are, or None.

    A subclass that defines ``__reduce__`` itself is none of ours: its own wins.
    """
    # Not `issubclass`: that asks the abstract classes behind weak dictionaries, which crash the
    # interpreter where a type is not ready and its __mro__ is None (a code's line iterator).
    bases: tuple[type, ...] = bases_of(weak_type) or ()
    if _have_registered:
        for base in bases:
            make = _registered.get(base)
            if make is not None:
                return make(base)
    if _BASES.isdisjoint(bases):
        return None  # as nearly every type
    if weak_type in _BY_BASE:
        return _BY_BASE[weak_type]
    # By identity: a metaclass may have an `__eq__` of its own.
    kind = next(kind for kind in KINDS if any(base is kind.base for base in bases))
    return None if _own_reduce(weak_type, kind.base) else kind
