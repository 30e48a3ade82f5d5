"""One walk of a pickler over the graph: `FirstWalk` learns what is inside, `SecondWalk` knows.

A walk is the pickler's ``reducer_override``: it sees every object that the pickler
writes out (not builtin containers and atoms), once, where it is met strongly.

The first walk is optimistic. A weak edge whose referent was met before is a link; any other
is written as if it dangled, and remembered. If at the end none of those is inside, and the
policy lets all of them dangle, the bytes are right as they are. Otherwise what is inside is
now known, and the second walk writes them from anew.

Rule: a walk asks `decide` for fates and `encode` for reductions; it never writes bytes, and
knows picklers only through `Adapter`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from weakreduce import decide, encode, names
from weakreduce.decide import Decision, Fate
from weakreduce.encode import Call, Reduction, Standin, Stream
from weakreduce.kinds import Edge, Kind, kind_of
from weakreduce.policy import Policy

_MISSING: Any = object()
_NAMEABLE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
_ATOMS = (int, float, complex, str, bytes, bool, type(None), type(...))


class Adapter(Protocol):
    """What a walk needs to know of a pickler; one for each family, in `weakreduce.hosts`."""

    def stock_override(self, obj: Any) -> Any:
        """What the pickler's own ``reducer_override`` says of a class or function."""

    def wants_override(self, obj_type: type) -> bool:
        """Whether the pickler's own ``reducer_override`` cares for instances of a type."""

    def has_reducer(self, obj_type: type) -> bool:
        """Whether a dispatch table has an entry for the type."""

    def reduction(self, obj: Any) -> Reduction | None:
        """The reduction with which the pickler would write `obj`; None if it writes it otherwise."""

    def by_name(self, obj: Any) -> bool:
        """Whether the pickler writes a class, function or module as a name."""

    #: Writes an object whose copy the unpickler makes and lays aside; None where the pickler
    #: (a C one) has no way to.
    save_apart: Callable[[Any], None] | None

    @property
    def protocol(self) -> int:
        """The pickle protocol."""


class Known:
    """What is known across the walks of one dump."""

    def __init__(self, adapter: Adapter, policy: Policy, too_large: Callable[[Any], bool]) -> None:
        self.adapter = adapter
        self.policy = policy
        #: Pickles a referent by itself, for `max_snapshot_bytes`.
        self.too_large = too_large
        #: id -> position in the first walk, of everything inside.
        self.inside: dict[int, int] = {}
        #: id -> reduction, of objects whose class reduces them by code of its own: that
        #: code may work only once, or make other temporaries the next time.
        self.reductions: dict[int, Reduction | str] = {}
        #: id(referent) -> why it dangles although the policy would take it along.
        self.failed: dict[int, str] = {}
        #: id(callback) -> (the callback, why it is dropped).
        self.dropped: dict[int, tuple[Any, str]] = {}
        self._chosen: dict[tuple[int, int], Decision] = {}
        self._measured: set[int] = set()
        self._keep: list[Any] = []

    def outside(self, weak: Any, referent: Any) -> Decision:
        """The fate of an edge whose referent is outside; asked of the user's predicates once."""
        key = (id(weak), id(referent))
        decision = self._chosen.get(key)
        if decision is None:
            decision = decide.outside_fate(self.policy, weak, referent)
            if self.policy.rules:
                self._chosen[key] = decision
                self._keep.append((weak, referent))
        if decision.fate is Fate.SNAPSHOT:
            identity = id(referent)
            limit = self.policy.max_snapshot_bytes
            if limit is not None and identity not in self._measured:
                self._measured.add(identity)
                self._keep.append(referent)
                if self.too_large(referent):
                    self.failed[identity] = (
                        f"its own pickle is larger than max_snapshot_bytes={limit}"
                    )
            if identity in self.failed:
                return Decision(Fate.DANGLE, self.failed[identity])
        return decision

    def named(self, referent: Any) -> bool:
        """Whether a referent is written as a name, and so lives on the receiver anyway."""
        if isinstance(referent, _NAMEABLE) and not isinstance(referent, encode.Standin):
            return self.adapter.by_name(referent)
        plan = _overrides_reduce(type(referent))
        if not plan:
            return False
        try:
            return isinstance(self.reduction(referent), str)
        except Exception:  # noqa: BLE001 - it surfaces, with its cause, when it is pickled
            return False

    def reduction(self, obj: Any) -> Reduction | str:
        """``obj.__reduce_ex__(protocol)``, called once in the whole dump."""
        found = self.reductions.get(id(obj))
        if found is None:
            found = obj.__reduce_ex__(self.adapter.protocol)
            if isinstance(found, tuple) and len(found) >= 4:
                # Iterators of items serve once; a second walk needs them again.
                items = [None if part is None else list(part) for part in found[3:5]]
                found = (*found[:3], *items, *found[5:])
            self.reductions[id(obj)] = found
            self._keep.append(obj)
        if isinstance(found, tuple) and len(found) >= 4:
            iterators = [None if part is None else iter(part) for part in found[3:5]]
            return (*found[:3], *iterators, *found[5:])
        return found


_OBJECT_REDUCERS = (object.__reduce_ex__, object.__reduce__, object.__getstate__)


def _overrides_reduce(obj_type: type) -> bool:
    """Whether a class written in Python reduces its instances by code of its own."""
    found = (
        obj_type.__reduce_ex__,
        obj_type.__reduce__,
        getattr(obj_type, "__getstate__", object.__getstate__),
    )
    return any(
        isinstance(method, types.FunctionType)
        for method, stock in zip(found, _OBJECT_REDUCERS, strict=True)
        if method is not stock
    )


class Walk:
    """What both walks share: dispatch on the type, and the services that encoders ask for."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.policy = known.policy
        #: id -> position, of everything that was met strongly in this walk.
        self.met: dict[int, int] = {}
        self.weak_things = 0
        self.early: dict[int, Any] = {}
        self._ahead: list[Any] = []
        self.override = self._make_override()

    # --- dispatch -------------------------------------------------------------------

    def _make_override(self) -> Callable[[Any], Any]:
        met = self.met
        plans: dict[type, Callable[[Any], Any] | None] = {}
        find = plans.get
        make = self.plan

        def reducer_override(obj: Any) -> Any:
            # The hot path: it runs for every instance in the payload.
            met[id(obj)] = len(met)
            obj_type = type(obj)
            plan = find(obj_type, _MISSING)
            if plan is None:
                return NotImplemented
            if plan is _MISSING:
                plan = plans[obj_type] = make(obj_type)
                if plan is None:
                    return NotImplemented
            return plan(obj)

        return reducer_override

    def plan(self, obj_type: type) -> Callable[[Any], Any] | None:
        """What to do with instances of a type; None: leave them to the pickler."""
        if obj_type in (Call, Standin, Stream, _Rest):
            return _reduction
        adapter = self.known.adapter
        kind = kind_of(obj_type)
        if kind is not None and not (kind.name == "finalize" and self._leaves_finalizers()):
            found = kind
            return lambda weak: self.weak(found, weak)
        if adapter.wants_override(obj_type):
            return adapter.stock_override
        if (
            _overrides_reduce(obj_type)
            and not issubclass(obj_type, type)
            and not adapter.has_reducer(obj_type)
        ):
            return self.known.reduction
        return None

    def _leaves_finalizers(self) -> bool:
        # Stock pickles a finalizer as a dead one, which is what "detach" means.
        return self.policy.finalizers == "detach" and self.policy.live == "allow"

    def weak(self, kind: Kind, weak: Any) -> Reduction:
        """The reduction of a weak thing."""
        return encode.encode(self, kind, weak)

    # --- what is written after the root ---------------------------------------------

    def next_item(self) -> Any:
        """The next object to be written after the root, as far as is known now."""
        raise NotImplementedError

    def drained(self, head: list[Any]) -> Stream:
        """A list of `head` and of all that `next_item` gives, also while that is being written."""
        if self.known.adapter.save_apart is not None:
            return Stream(iter([*head, _Rest(self._save_rest)]))
        return Stream(self._slots(head))

    def _slots(self, head: list[Any]) -> Iterator[Any]:
        # A C pickler asks for one item more than it has written, so what it is given is a
        # slot, to be filled when it is written.
        yield from head
        unwritten = 0
        item: Any = None

        def fill() -> Reduction:
            nonlocal unwritten
            unwritten -= 1
            found = self._next()
            return (list, ()) if found is _MISSING else (max, ((found,),))

        if head:
            unwritten += 1
            yield _Rest(fill)
        while True:
            if unwritten == 0:
                item = self._next()
                if item is _MISSING:
                    return
                self._ahead.append(item)
            unwritten += 1
            yield _Rest(fill)

    def _next(self) -> Any:
        return self._ahead.pop() if self._ahead else self.next_item()

    def _save_rest(self) -> Reduction:
        save = self.known.adapter.save_apart
        assert save is not None
        while (item := self.next_item()) is not _MISSING:
            save(item)
        return (list, ())

    # --- services for encoders ------------------------------------------------------

    def decide(self, edge: Edge) -> Decision:
        """The fate of an edge, as far as this walk knows."""
        referent = edge.referent
        if referent is None:
            return decide.DEAD
        if self.policy.live == "forbid":
            raise Refused(edge, decide.FORBIDDEN)
        if self.policy.rules:
            severed = decide.severed(self.policy, edge.weak, referent)
            if severed is not None:
                return severed
        if names.name_of(referent) is not None:
            return Decision(Fate.TOKEN, "it is shared under a name")
        inside = self.holds(referent) and (edge.function is None or self._holds(edge.function))
        if inside:
            return decide.INSIDE
        if self.known.named(referent) and (edge.function is None or self._holds(edge.function)):
            return decide.BY_NAME
        return self.not_inside(edge)

    def _holds(self, referent: Any) -> bool:
        return self.holds(referent) or self.known.named(referent)

    def holds(self, referent: Any) -> bool:
        """Whether a referent is known to be inside."""
        raise NotImplementedError

    def not_inside(self, edge: Edge) -> Decision:
        """The fate of an edge whose referent is not known to be inside."""
        raise NotImplementedError

    def target(self, edge: Edge) -> Any:
        """What to write for a referent that travels."""
        name = names.name_of(edge.referent)
        if name is not None:
            from weakreduce import wire

            return Call(wire.shared, name, callable(edge.referent))
        return self._hashable(edge.referent, self.shell(edge.referent))

    def function(self, edge: Edge) -> Any:
        """What to write for the function of a WeakMethod."""
        return self.shell(edge.function)

    def shell(self, referent: Any) -> Any:
        """The referent, or its stand-in where it is too early to write it whole."""
        return referent

    def _hashable(self, referent: Any, shell: Any) -> Any:
        """`shell`, preceded by the attributes that the referent's hash may need.

        The weak reference may be a key of a dict that is part of the referent's own state.
        """
        referent_type = type(referent)
        if referent_type.__hash__ is object.__hash__ or referent_type.__hash__ is None:
            return shell
        known = self.early.get(id(referent))
        if known is not None:
            return known
        state = self._early_state(referent)
        found = encode.same_with(shell, state) if state else shell
        self.early[id(referent)] = found
        return found

    def _early_state(self, referent: Any) -> Any:
        referent_type = type(referent)
        if (
            isinstance(referent, _NAMEABLE)
            or hasattr(referent_type, "__setstate__")
            or referent_type.__reduce_ex__ is not object.__reduce_ex__
            or referent_type.__reduce__ is not object.__reduce__
            or self.known.adapter.has_reducer(referent_type)
            or referent_type.__getstate__ is not object.__getstate__
        ):
            return None
        state = referent.__getstate__()
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        early = {name: v for name, v in (attributes or {}).items() if self._plain(v)}
        early_slots = {name: v for name, v in (slots or {}).items() if self._plain(v)}
        if early_slots:
            return (early or None, early_slots)
        return early or None

    def _plain(self, value: Any, depth: int = 0) -> bool:
        if isinstance(value, _ATOMS):
            return True
        if isinstance(value, (tuple, frozenset)):
            return depth < 8 and all(self._plain(item, depth + 1) for item in value)
        value_type = type(value)
        return (
            value_type.__hash__ is not object.__hash__
            and value_type.__hash__ is not None
            and kind_of(value_type) is None
        )

    def callback(self, edge: Edge) -> Any:
        """What to write for the callback of an edge that travels."""
        if edge.callback is None or self.policy.callbacks == "drop":
            return None
        if id(edge.callback) in self.known.dropped:
            return None
        return self.strong(edge.callback)

    def strong(self, obj: Any) -> Any:
        """What to write for a strong edge of a weak thing; it is walked at the end."""
        raise NotImplementedError

    def first(self, function: Any) -> Any:
        """`function`, preceded in the payload's first weak thing by the readying of the receiver."""
        self.weak_things += 1
        if self.weak_things > 1:
            return function
        return Call(encode.operator.getitem, (function, encode.ready_receiver()), 0)

    def later(self, fill: Call) -> None:
        """Write `fill` when every object of the payload is complete."""
        raise NotImplementedError

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        """Entries of a WeakSet in the order in which the strong walk meets them."""
        if len(edges) < 2:
            return edges
        position = self.position
        return sorted(edges, key=lambda edge: (position(edge.referent), _resemblance(edge.referent)))

    def position(self, referent: Any) -> float:
        """Where a referent was met."""
        raise NotImplementedError


class _Rest:
    """A place in the payload whose content is asked for when it is written."""

    __slots__ = ("fill",)

    def __init__(self, fill: Callable[[], Reduction]) -> None:
        self.fill = fill

    @property
    def reduction(self) -> Reduction:
        return self.fill()


def _reduction(expression: Any) -> Reduction:
    return expression.reduction  # type: ignore[no-any-return]


def _resemblance(obj: Any) -> tuple[str, str]:
    """A sort key for members of a WeakSet that are outside: no address, no order of hashing."""
    attributes = getattr(obj, "__dict__", None)
    if not isinstance(attributes, dict):
        attributes = {}
    plain = sorted(
        (name, repr(value)) for name, value in attributes.items() if isinstance(value, _ATOMS)
    )
    named = getattr(obj, "__qualname__", "") if isinstance(obj, _NAMEABLE) else ""
    return f"{type(obj).__module__}.{type(obj).__qualname__}", f"{named}{plain}"


class Refused(Exception):  # noqa: N818 - carries a decision to the place that knows the root
    """An edge was refused; turned into a `WeakrefPicklingError` with the path."""

    def __init__(self, edge: Edge, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.edge = edge
        self.decision = decision


class FirstWalk(Walk):
    """Optimistic: right at once where no weak edge needed what only the end can tell."""

    def __init__(self, known: Known) -> None:
        super().__init__(known)
        #: Edges whose referent was not known to be inside when they were met.
        self.pending: list[Edge] = []
        #: Strong edges of weak things, to be walked before all that is inside is known.
        self.queue: list[Any] = []
        #: id(referent) -> strong edges that count once the referent is inside (ephemerons).
        self.waiting: dict[int, list[Any]] = {}
        self.again = False

    def holds(self, referent: Any) -> bool:
        return id(referent) in self.met

    def not_inside(self, edge: Edge) -> Decision:
        self.pending.append(edge)
        decision = self.known.outside(edge.weak, edge.referent)
        unconditional: list[Any] = []
        conditional: list[Any] = []
        callback = edge.callback
        if (
            callback is not None
            and self.policy.callbacks == "keep"
            and id(callback) not in self.known.dropped
        ):
            (unconditional if decision.fate is Fate.SNAPSHOT else conditional).append(callback)
        if edge.key is not None:
            (unconditional if decision.fate is Fate.SNAPSHOT else conditional).append(edge.key)
        if edge.value is not None:
            conditional.append(edge.value)
        self.queue += unconditional
        if conditional:
            self.waiting.setdefault(id(edge.referent), []).extend(conditional)
        if unconditional or decision.fate is Fate.SNAPSHOT:
            self.again = True
        return Decision(Fate.DANGLE, "not known yet")

    def strong(self, obj: Any) -> Any:
        # A callback may lead back to its own weak thing, which is not there yet.
        self.again = True
        self.queue.append(obj)

    def later(self, fill: Call) -> None:
        self.again = True

    def position(self, referent: Any) -> float:
        return self.met.get(id(referent), float("inf"))

    def rest(self, memoized: Callable[[], Any]) -> Stream:
        """What is strong beyond the root's own graph, until nothing more is inside."""
        self._memoized = memoized
        return self.drained([])

    def next_item(self) -> Any:
        waiting = self.waiting
        if self.queue:
            return self.queue.pop()
        if not waiting:
            return _MISSING
        # Builtin sets pass the override by; the pickler's memo knows them.
        if any(type(edge.referent) in (set, frozenset) for edge in self.pending):
            for identity in self._memoized():
                self.met.setdefault(identity, len(self.met))
        for identity in [identity for identity in waiting if identity in self.met]:
            self.queue += waiting.pop(identity)
        return self.queue.pop() if self.queue else _MISSING


class SecondWalk(Walk):
    """Exact: what is inside is known, referents are written as shells where they are met weakly."""

    def __init__(self, known: Known, root: Any) -> None:
        super().__init__(known)
        self.root = root
        self.standins: dict[int, Standin] = {}
        self.unfinished: list[Any] = []
        self.fills: list[Call] = []
        #: Referents that a snapshot takes along, with an edge to each.
        self.snapshots: dict[int, Edge] = {}
        #: Edges that dangle although nobody asked for that.
        self.lost: list[tuple[Edge, str]] = []

    def _make_override(self) -> Callable[[Any], Any]:
        ordinary = super()._make_override()
        met = self.met

        def reducer_override(obj: Any) -> Any:
            standin = self.standins.get(id(obj))
            if standin is not None:
                met[id(obj)] = len(met)
                return standin.finish()
            return ordinary(obj)

        return reducer_override

    def envelope(self) -> Call:
        """The root, followed in the payload by all that only weak things need."""
        return Call(encode.operator.getitem, self.drained([self.root]), 0)

    def next_item(self) -> Any:
        while self.unfinished:
            referent = self.unfinished.pop()
            if id(referent) not in self.met:
                return referent
        return self.fills.pop() if self.fills else _MISSING

    def holds(self, referent: Any) -> bool:
        return id(referent) in self.known.inside

    def not_inside(self, edge: Edge) -> Decision:
        decision = self.known.outside(edge.weak, edge.referent)
        if decision.fate is Fate.REFUSE:
            raise Refused(edge, decision)
        if decision.fate is Fate.SNAPSHOT:
            self.snapshots.setdefault(id(edge.referent), edge)
            if edge.function is not None and not self._holds(edge.function):
                self.snapshots.setdefault(id(edge.function), edge)
        elif id(edge.referent) in self.known.failed:
            self.lost.append((edge, self.known.failed[id(edge.referent)]))
        return decision

    def shell(self, referent: Any) -> Any:
        identity = id(referent)
        if identity in self.met:
            return referent
        standin = self.standins.get(identity)
        if standin is None:
            if self.known.named(referent):
                return referent
            reduction = self._parts_of(referent)
            if reduction is None:
                return referent
            standin = self.standins[identity] = Standin(referent, reduction)
            self.unfinished.append(referent)
        return standin

    def _parts_of(self, referent: Any) -> Reduction | None:
        kind = kind_of(type(referent))
        if kind is not None:
            return None if kind.name == "finalize" else self.weak(kind, referent)
        plan = self.plan(type(referent))
        if plan == self.known.reduction:
            found = self.known.reduction(referent)
            return found if isinstance(found, tuple) else None
        return self.known.adapter.reduction(referent)

    def strong(self, obj: Any) -> Any:
        if isinstance(obj, types.MethodType):
            # Its instance may lead back to the weak thing: hand over the shell of that, too.
            return encode.bound_method(
                obj.__func__, self.shell(obj.__func__), self.shell(obj.__self__)
            )
        return self.shell(obj)

    def later(self, fill: Call) -> None:
        self.fills.append(fill)

    def position(self, referent: Any) -> float:
        return self.known.inside.get(id(referent), float("inf"))
