"""The weak things of wide graphs: every kind, and a subclass of each, with attributes of its own.

`Weak` says what a weak thing is; here it is made, read, checked by itself and, where it is a proxy,
used. Which of its edges arrive is what `wide.py` says.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

from weakreduce.model.kinds import kind_of


class Callback:
    """A callback that holds a node strongly."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, reference: Any = None) -> None:
        pass


class SubRef(weakref.ref):  # type: ignore[type-arg]
    __slots__ = ("__dict__", "identity", "required")

    def __new__(cls, obj: Any, required: str) -> SubRef:
        return super().__new__(cls, obj)

    def __init__(self, obj: Any, required: str) -> None:
        super().__init__(obj)
        self.required = required
        self.identity = id(obj)

    def __call__(self) -> Any:  # type: ignore[override]
        raise AssertionError("it has a way of its own")


class SubMethod(weakref.WeakMethod):  # type: ignore[type-arg]
    pass


class SubSet(weakref.WeakSet):  # type: ignore[type-arg]
    def __init__(self, required: str, items: Any = ()) -> None:
        super().__init__(items)
        self.required = required


class SubValues(weakref.WeakValueDictionary):  # type: ignore[type-arg]
    def __init__(self, required: str) -> None:
        super().__init__()
        self.required = required


class SubKeys(weakref.WeakKeyDictionary):  # type: ignore[type-arg]
    def __init__(self, required: str) -> None:
        super().__init__()
        self.required = required


class SubFinalize(weakref.finalize):  # type: ignore[type-arg]
    pass


class Dead:
    def method(self) -> None: ...

    def __call__(self) -> None: ...


#: With one edge; the second half has something beside it: a callback, and what that holds.
SINGLE = ("ref", "proxy", "method", "subref", "submethod", "finalize", "subfinalize")
CALLED = ("called", "called_proxy", "called_method")
SETS = ("set", "subset", "refs")
VALUES = ("values", "subvalues", "of_nodes")
KEYS = ("keys", "subkeys")
CONTAINERS = (*SETS, *VALUES, *KEYS)
KINDS = (*SINGLE, *CALLED, *CONTAINERS)
FINALIZERS = ("finalize", "subfinalize")
#: With attributes of their own, one of which holds a node.
WITH_EXTRA = ("subref", "submethod", "subset", "subvalues", "subkeys")
TYPES: dict[str, Any] = {
    "ref": weakref.ref, "called": weakref.ref, "subref": SubRef, "method": weakref.WeakMethod,
    "called_method": weakref.WeakMethod, "submethod": SubMethod, "set": weakref.WeakSet,
    "subset": SubSet, "values": weakref.WeakValueDictionary, "subvalues": SubValues,
    "of_nodes": weakref.WeakValueDictionary, "keys": weakref.WeakKeyDictionary,
    "subkeys": SubKeys, "finalize": weakref.finalize, "subfinalize": SubFinalize, "refs": set,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Weak:
    """One weak thing.

    Attributes:
        kind: one of `KINDS`; "refs" is a builtin set of refs.
        targets: its referents.
        others: what belongs to each: what a callback holds, a value, or (of "of_nodes") a key.
        extra: a node that an attribute of the weak thing holds.
        dead: whether its one referent is dead.
    """

    kind: str
    targets: tuple[int, ...] = ()
    others: tuple[int, ...] = ()
    extra: int | None = None
    dead: bool = False


def make(weak: Weak, nodes: list[Any]) -> Any:
    targets = [Dead()] if weak.dead else [nodes[target] for target in weak.targets]
    others = [nodes[other] for other in weak.others]
    made = _make(weak.kind, targets, others)
    if weak.extra is not None:
        made.extra = nodes[weak.extra]
    return made


def _make(kind: str, targets: list[Any], others: list[Any]) -> Any:
    if kind in ("ref", "called"):
        return weakref.ref(*targets, *map(Callback, others))
    if kind in ("proxy", "called_proxy"):
        return weakref.proxy(*targets, *map(Callback, others))
    if kind in ("method", "called_method"):
        return weakref.WeakMethod(targets[0].method, *map(Callback, others))
    if kind == "submethod":
        return SubMethod(targets[0].method)
    if kind == "subref":
        return SubRef(targets[0], "required")
    if kind in FINALIZERS:
        made = TYPES[kind](targets[0], Callback(*others))
        made.atexit = False
        return made
    if kind == "refs":
        return set(map(weakref.ref, targets))
    if kind == "set":
        return weakref.WeakSet(targets)
    if kind == "subset":
        return SubSet("required", targets)
    found = TYPES[kind]("required") if kind in ("subvalues", "subkeys") else TYPES[kind]()
    if kind == "of_nodes":
        found.update(zip(others, targets, strict=True))
    elif kind in VALUES:
        found.update(enumerate(targets))
    else:
        found.update(zip(targets, others, strict=True))
    return found


def referent_of(kind: str, thing: Any) -> Any:
    """The referent of a weak thing with one edge, or None."""
    (edge,) = kind_of(type(thing)).edges(thing)  # type: ignore[union-attr]
    return edge.referent


def held_by(weak: Weak, thing: Any) -> Any:
    """What the callback of a live weak thing holds."""
    (edge,) = kind_of(type(thing)).edges(thing)  # type: ignore[union-attr]
    return edge.callback.held


def entries(weak: Weak, thing: Any) -> list[tuple[Any, Any]]:
    """The entries of a weak container: (referent, what belongs to it), in any order."""
    if weak.kind == "refs":
        return [(weakref.ref.__call__(reference), None) for reference in thing]
    if weak.kind in SETS:
        return [(member, None) for member in thing]
    return [*((value, key) for key, value in thing.items())] if (
        weak.kind in VALUES) else [*thing.items()]  # fmt: skip


def check_itself(weak: Weak, thing: Any, is_called: bool) -> None:
    """What a weak thing is beside what it refers to."""
    if weak.kind in ("proxy", "called_proxy"):
        wanted = weakref.CallableProxyType if is_called else weakref.ProxyType
    else:
        wanted = TYPES[weak.kind]
    assert type(thing) is wanted, (type(thing), wanted)
    if weak.kind in ("subref", "subset", "subvalues", "subkeys"):
        assert thing.required == "required"
    if weak.kind == "subref" and not weak.dead and (referent := referent_of("", thing)) is not None:
        assert thing.identity == id(referent)
    if weak.dead:
        assert weak.kind in FINALIZERS or referent_of(weak.kind, thing) is None
        if weak.kind not in ("proxy", *FINALIZERS):
            assert thing in {thing: 1}
    if weak.kind in ("set", "subset", "refs"):
        assert all(member in thing for member in list(thing))
    if weak.kind in (*VALUES, *KEYS):
        assert all(thing[key] is value for key, value in list(thing.items()))


def call(x: Any) -> Any:
    return x()


OPERATIONS = (
    lambda x: x + 2, lambda x: 3 - x, lambda x: divmod(x, 4), lambda x: x @ 5, lambda x: x**6,
    lambda x: -x, int, lambda x: x.method(), lambda x: x.key, bool, lambda x: x.itself(),
    lambda x: x == 7, lambda x: x.missing, lambda x: isinstance(x, tuple), lambda x: 3 in x, len,
    call, hash,
)  # fmt: skip


def outcome(operation: Any, operand: Any) -> Any:
    try:
        found = operation(operand)
    except Exception as error:
        return type(error)
    return found


def check_operators(proxy: Any, referent: Any) -> None:
    """A proxy does what its referent does; a dead one raises `ReferenceError`."""
    for operation in OPERATIONS:
        found = outcome(operation, proxy)
        if operation is hash:
            assert found is TypeError
        elif referent is None:
            assert found is ReferenceError or (operation is call and found is TypeError)
        else:
            wanted = outcome(operation, referent)
            made = type(found) is type(referent) or type(found) is referent  # a class was called
            same = found is wanted or found == wanted or (made and type(wanted) is type(found))
            assert same, (operation, found, wanted)
