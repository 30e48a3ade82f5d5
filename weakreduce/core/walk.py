"""A walk of a pickler over the graph: what the first and the second walk share.

A walk is the pickler's ``reducer_override``: it sees every object that the pickler
writes out (not builtin containers and atoms), once, where it is met strongly. For a weak
thing it answers with the encoder's reduction, and serves the encoder as its `encode.Writer`.

Rule: a walk asks `decide` for fates and `encode` for reductions; it never writes bytes, and
knows picklers only through `known.Adapter`.
"""

from __future__ import annotations

import copyreg
import functools
import itertools
import operator
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from weakreduce import wire
from weakreduce.core import encode
from weakreduce.core.alike import Alike
from weakreduce.core.expressions import (
    DOTTED,
    DOTTED_TYPES,
    NOTHING,
    Call,
    Reduction,
    Rest,
    Stream,
    ready_receiver,
    same_with,
)
from weakreduce.core.known import Known
from weakreduce.core.watches import Watch
from weakreduce.model import decide, homes, names
from weakreduce.model.classes import (
    HEAP_TYPE,
    NAMEABLE,
    bases_of,
    constructs_by_default,
    has_own_arguments,
    hashed_by_value,
    is_bare,
    reduces_by_default,
)
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.kinds import Edge, Kind, kind_of
from weakreduce.model.signals import Signal

MISSING: Final[Any] = object()
_STOCK_GETSTATE: Final[Any] = object.__getstate__
#: How many parts of a value are looked at.
_LOOKED_AT: Final = 200
_ATOMS = (int, float, complex, str, bytes, bool, type(None), type(...))


class Refused(Signal, Exception):  # noqa: N818 - carries a decision to the place that knows the root
    """An edge was refused; turned into a `WeakrefPicklingError` with the path."""

    def __init__(self, edge: Edge, decision: Decision) -> None:
        super().__init__("an edge is refused")  # why is said where it is shown
        self.edge = edge
        self.decision = decision


def watch(
    met: dict[int, Any],
    plans: dict[type, Callable[[Any], Any] | None],
    make_plan: Callable[[type], Callable[[Any], Any] | None],
) -> Callable[[Any], Any]:
    """A ``reducer_override`` that notes each instance in `met` and goes by the plan of its type."""
    ref = weakref.ref

    def reducer_override(obj: Any) -> Any:
        # The hot path: it runs for every instance in the payload.
        obj_type = type(obj)
        if obj_type is not ref:  # nothing can refer to those weakly: they need no note
            met[id(obj)] = obj
        try:
            plan = plans[obj_type]
        except KeyError:
            plan = make_plan(obj_type)
        if plan is None:
            return NotImplemented
        return plan(obj)

    return reducer_override


class Positions:
    """Where each object was met, found out of the order of `met` when it is first asked for."""

    def __init__(self, met: dict[int, Any], written_before: Iterable[int]) -> None:
        self.met = met
        self.found = dict.fromkeys(written_before, -1)

    def __call__(self, obj: Any) -> float:
        """The position of an object, or infinity."""
        if len(self.found) < len(self.met):
            new = list(itertools.takewhile(lambda i: i not in self.found, reversed(self.met)))
            for identity in reversed(new):
                self.found[identity] = len(self.found)
        return self.found.get(id(obj), float("inf"))


class Walk:
    """What both walks share: dispatch on the type, and the services that encoders ask for."""

    def __init__(
        self,
        known: Known,
        met: dict[int, Any] | None = None,
        plans: dict[type, Any] | None = None,
    ) -> None:
        self.known = known
        self.policy = known.policy
        #: id -> object, of everything that was met strongly in this walk, in that order.
        self.met = dict.fromkeys(known.written_before) if met is None else met
        self.plans: dict[type, Callable[[Any], Any] | None] = {} if plans is None else plans
        self._kinds: dict[type, Kind | None] = {}
        self.weak_things = 0
        #: What payloads may name from now on, if this one is sent.
        self.numbered: list[Any] = []
        self.early: dict[int, Any] = {}
        self._ahead: list[Any] = []
        self._watch: Watch | None = None
        #: id -> ref, of those that the watch knows, and for which the pickler may ask again.
        self._told: dict[int, Any] = {}
        #: Refused edges are walked past, instead of raised.
        self.goes_on = False
        #: Where a referent was met.
        self.position = Positions(self.met, known.written_before)
        self.override = self._make_override()
        if known.left_out:
            self.override = self._leaving_out(self.override)

    # --- dispatch -------------------------------------------------------------------

    def _make_override(self) -> Callable[[Any], Any]:
        return watch(self.met, self.plans, self.plan)

    def _leaving_out(self, ordinary: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What writes nothing for some objects, in a dump that is not going to be loaded."""
        met, left_out = self.met, self.known.left_out

        def reducer_override(obj: Any) -> Any:
            if id(obj) in left_out:
                met[id(obj)] = obj
                return NOTHING
            return ordinary(obj)

        return reducer_override

    def plan(self, obj_type: type) -> Callable[[Any], Any] | None:
        """What to do with instances of a type; None: leave them to the pickler."""
        found = self.plans.get(obj_type, MISSING)
        if found is MISSING:
            found = self.plans[obj_type] = self._make_plan(obj_type)
        return found  # type: ignore[no-any-return]

    def _make_plan(self, obj_type: type) -> Callable[[Any], Any] | None:
        if obj_type in _EXPRESSIONS:
            return _reduction_of
        adapter = self.known.adapter
        kind = self.kind(obj_type)
        if kind is None and kind_of(obj_type) is not None:
            return None  # a reducer of the user's own, or the class's __reduce__: theirs wins
        if kind is not None and not (kind.name == "finalize" and self._leaves_finalizers()):
            weak = self.short_cut(kind, obj_type) or functools.partial(self.weak, kind)
            if not adapter.wants_override(obj_type):
                return weak
            return functools.partial(self._override_or, weak)  # a user's own comes first
        if kind is not None and self._watch is not None:
            return self._watched_finalizer(kind, self._watch)
        if obj_type in DOTTED_TYPES and adapter.protocol >= 4:
            return self._dotted(obj_type)
        otherwise: Callable[[Any], Any] | None
        if issubclass(obj_type, type):
            otherwise = None
        elif self.known.reduces_once(obj_type):
            otherwise = self.reduce_once
        elif obj_type.__flags__ & HEAP_TYPE and has_own_arguments(obj_type):
            otherwise = self.reduce_with_arguments
        else:
            otherwise = None
        if not adapter.wants_override(obj_type):
            return otherwise
        if otherwise is None:
            return adapter.stock_override
        return functools.partial(self._override_or, otherwise)

    def _override_or(self, otherwise: Callable[[Any], Any], obj: Any) -> Any:
        """What the pickler's own override says, or what is done where it has nothing to say."""
        found = self.known.adapter.stock_override(obj)
        return otherwise(obj) if found is NotImplemented else found

    def reduce_once(self, obj: Any) -> Any:
        """The reduction of an object by code of its own."""
        raise NotImplementedError

    def reduce_with_arguments(self, obj: Any) -> Any:
        """The default reduction of an object, with arguments of its own."""
        raise NotImplementedError

    def _dotted(self, obj_type: type) -> Callable[[Any], Any]:
        """The plan of functions of builtin types: by name, if the encoder writes them."""
        adapter = self.known.adapter
        ask: Callable[[Any], Any]
        if adapter.wants_override(obj_type):
            ask = adapter.stock_override
        elif adapter.has_reducer(obj_type):
            ask = _leave
        else:  # as the pickler would; a table has to have an answer
            ask = operator.methodcaller("__reduce_ex__", adapter.protocol)

        def name(function: Any) -> Any:
            # Not where nothing weak was met: those bytes are stock's.
            found = DOTTED.get(id(function)) if self.weak_things else None
            return ask(function) if found is None else found[1]

        return name

    def kind(self, obj_type: type) -> Kind | None:
        """`kind_of`, asked once for each type."""
        found = self._kinds.get(obj_type, MISSING)
        if found is MISSING:
            claimed = self.known.adapter.claims(obj_type)
            found = self._kinds[obj_type] = None if claimed else kind_of(obj_type)
        return found  # type: ignore[no-any-return]

    def short_cut(self, kind: Kind, obj_type: type) -> Callable[[Any], Any] | None:
        """A faster way to do what `weak` does for instances of a type, from `short_cuts`."""
        raise NotImplementedError

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
            return Stream(iter([*head, Rest(self._save_rest)]))
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
            return (list, ()) if found is MISSING else (max, ((found,),))

        if head:
            unwritten += 1
            yield Rest(fill)
        while True:
            if unwritten == 0:
                item = self._next()
                if item is MISSING:
                    return
                self._ahead.append(item)
            unwritten += 1
            yield Rest(fill)

    def _next(self) -> Any:
        return self._ahead.pop() if self._ahead else self.next_item()

    def _save_rest(self) -> Reduction:
        save = self.known.adapter.save_apart
        assert save is not None
        while (item := self.next_item()) is not MISSING:
            save(item)
        return (list, ())

    # --- watches --------------------------------------------------------------------

    @property
    def watched(self) -> bool:
        """Whether somebody sees each decision: then none is taken by a short cut."""
        return self._watch is not None

    def watched_by(self, watch: Watch) -> None:
        """Let `watch` see each final decision; to be called before the walk begins."""
        decide_edge = self.decide

        def watched(edge: Edge) -> Decision:
            decision = told = decide_edge(edge)
            if decision is decide.INSIDE and issubclass(type(edge.referent), NAMEABLE):
                # What a first walk wrote as a name was met by the second.
                told = decide.BY_NAME if self.known.named(edge.referent) else decision
            if decision is not decide.NOT_YET and id(edge.weak) not in self._told:
                watch.see(edge, told)
            return decision

        self._watch = watch
        self.goes_on = watch.goes_on
        self.decide = watched  # type: ignore[method-assign]

    def _watched_finalizer(self, kind: Kind, watch: Watch) -> Callable[[Any], Any]:
        """Leave finalizers to the pickler, which writes dead ones, and tell of them."""

        def tell(weak: Any) -> Any:
            for edge in kind.edges(weak):
                watch.see(edge, decide.DEAD if edge.referent is None else decide.DETACHED)
            return NotImplemented

        return tell

    def refuse(self, edge: Edge, decision: Decision) -> Decision:
        """Raise the refusal of an edge, unless the dump is run only to see them all.

        Raises:
            Refused: nearly always.
        """
        if not self.goes_on:
            raise Refused(edge, decision)
        if self._watch is not None:
            self._watch.refused(edge, decision)
        return decision

    # --- circles through a construction -----------------------------------------------

    def can_make(self, obj: Any) -> bool:
        """Whether the receiver can construct an object when it comes to this place.

        A class or function by value is incomplete while what it holds is written; that may lead
        weakly to what needs it: a registry of the class's own instances does.
        """
        known, adapter, cls = self.known, self.known.adapter, type(obj)
        if not adapter.opened:
            return True
        if issubclass(cls, type):
            return not any(map(self._is_open, itertools.chain(bases_of(cls), bases_of(obj))))
        if issubclass(cls, NAMEABLE):
            return True
        incomplete = any(map(self._is_open, bases_of(cls)))
        if not known.reduces_once(cls):
            return not incomplete or (adapter.has_skeletons and is_bare(cls))
        found = known.reduced_or_none(obj)
        if found is None:
            return True  # the error surfaces, with its cause, when it is pickled
        if found[0] is copyreg.__newobj__ and len(found[1]) == 1:  # type: ignore[attr-defined]
            return not incomplete or (adapter.has_skeletons and is_bare(cls))
        return not any(map(self._is_open, _parts_with_code(found[:2])))

    def _is_open(self, obj: Any) -> bool:
        return self.known.adapter.is_open(obj, self.met)

    # --- services for encoders ------------------------------------------------------

    def decide(self, edge: Edge) -> Decision:
        """The fate of an edge, as far as this walk knows."""
        referent = edge.referent
        if referent is None:
            return decide.DEAD
        if self.policy.live == "forbid":
            return self.refuse(edge, decide.FORBIDDEN)
        if self.policy.rules:
            severed = decide.severed(self.policy, edge.weak, referent)
            if severed is not None:
                return severed
        if names.name_of(referent) is not None:
            return Decision(Fate.TOKEN, "it is shared under a name")
        inside = self.holds(referent) and (edge.function is None or self._holds(edge.function))
        if inside:
            return decide.INSIDE if self.known.refers(referent) else self.unreferable(edge)
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

    def unreferable(self, edge: Edge) -> Decision:
        """The fate of an edge whose referent travels, and whose copy takes no weak reference."""
        raise NotImplementedError

    def target(self, edge: Edge) -> Any:
        """What to write for a referent that travels."""
        name = names.name_of(edge.referent)
        if name is not None:
            needs_callable = type(edge.weak) is not weakref.ProxyType
            return Call(wire.shared, name, needs_callable)
        return self._hashable(edge.referent, self.shell(edge.referent))

    def snapshot(self, edge: Edge, decision: Decision) -> Decision:
        """The decision for a snapshot, which may go home where it comes back, or came from."""
        if self.policy.identity == "home":
            return decide.HOME
        # Where the receiver is readied, it has what is needed to find what was sent.
        return decide.CAME if self.known.readies and homes.came(edge.referent) else decision

    def at_home(self, obj: Any, copy: Any) -> tuple[Any, Any]:
        """What a snapshot's object is on the receiver, and whether it has to be kept alive there.

        Both are expressions, given that of its copy.
        """
        if self._holds(obj):  # of a WeakMethod's two
            return copy, False
        ours = self.policy.identity == "home"
        of = homes.homes_of(obj, ours=ours)
        if not of:
            return copy, True
        if ours:
            self.numbered.append(obj)
        found = Call(wire.at_home, copy, *of)
        return found, Call(wire.is_away, found, *of)

    def holding(self, function: Any, callback: Any) -> Any:
        """What a WeakMethod calls, and holds its function by, where that is made on the way."""
        return Call(wire.holding, function, callback)

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
        if not hashed_by_value(type(referent)):
            return shell
        known = self.early.get(id(referent))
        if known is not None:
            return known
        found = self._early(referent, shell)
        self.early[id(referent)] = found
        return found

    def _early(self, referent: Any, shell: Any) -> Any:
        cls = type(referent)
        if (
            issubclass(cls, NAMEABLE)
            or not constructs_by_default(cls)
            or self.known.adapter.has_reducer(cls)
        ):
            return shell
        # The attributes as they are, also where the class has a __getstate__ of its own.
        state: Any = _STOCK_GETSTATE(referent)
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        early = {
            name: v
            for name, v in list((attributes or {}).items())
            if self._comes_early(v, referent)
        }
        early_slots = {
            name: v for name, v in list((slots or {}).items()) if self._comes_early(v, referent)
        }
        if not early and not early_slots:
            return shell
        if reduces_by_default(cls):
            return same_with(shell, (early or None, early_slots) if early_slots else early)
        steps = [
            Call(object.__setattr__, shell, name, value)
            for name, value in (early | early_slots).items()
        ]
        return same_with(shell, steps, None, None, operator.is_)

    def _comes_early(self, value: Any, referent: Any) -> bool:
        """Whether an attribute may be needed for a hash, and does not lead back to its owner."""
        cls = type(value)
        if issubclass(cls, _ATOMS):
            return True
        return hashed_by_value(cls) and kind_of(cls) is None and self._is_apart(value, referent)

    def _is_apart(self, value: Any, owner: Any) -> bool:
        """Whether a value holds neither its owner nor a weak thing, from a short look at it."""
        waiting, seen = [value], {id(value): value}
        for _ in range(_LOOKED_AT):
            if not waiting:
                return True
            obj = waiting.pop()
            cls = type(obj)
            parts: Any
            if issubclass(cls, NAMEABLE):
                continue
            if kind_of(cls) is not None:
                return False
            if cls in SEQUENCES:
                parts = list(obj)
            elif cls is dict:
                parts = [*obj.keys(), *obj.values()]
            else:
                try:
                    parts = self.known.reduced(obj)
                except Exception:  # noqa: BLE001 - it surfaces, with its cause, when it is pickled
                    return False
                if type(parts) is str:
                    continue
                if type(parts) is not tuple or any(parts[3:]):
                    return False
                parts = parts[1:]
            for part in parts:
                if part is owner:
                    return False
                if id(part) not in seen and not issubclass(type(part), _ATOMS):
                    seen[id(part)] = part
                    waiting.append(part)
        return False

    def callback(self, edge: Edge) -> Any:
        """What to write for the callback of an edge that travels."""
        if edge.callback is None or self.policy.callbacks == "drop":
            return None
        if id(edge.callback) in self.known.dropped:
            return None
        self.known.callbacks[id(edge.callback)] = edge.callback
        return self.strong(edge.callback)

    def strong(self, obj: Any) -> Any:
        """What to write for a strong edge of a weak thing; it is walked at the end."""
        raise NotImplementedError

    def first(self, function: Any) -> Any:
        """`function`; before the payload's first weak thing it may ready the receiver, too."""
        self.weak_things += 1
        if self.weak_things > 1 or not self.known.readies:
            return function
        return Call(operator.getitem, (function, ready_receiver()), 0)

    def later(self, fill: Call) -> None:
        """Write `fill` when every object of the payload is complete."""
        raise NotImplementedError

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        """Entries of a WeakSet in the order in which the strong walk meets them."""
        if len(edges) < 2:
            return edges
        position = self.position
        places: dict[float, list[Edge]] = {}
        for edge in edges:
            places.setdefault(position(edge.referent), []).append(edge)
        alike = Alike()
        return [edge for place in sorted(places) for edge in alike.ordered(places[place])]


def _leave(_obj: Any) -> Any:
    """To the pickler."""
    return NotImplemented


def _parts_with_code(part: Any) -> Iterator[Any]:
    """Classes and functions among the arguments of a construction."""
    if type(part) is tuple:
        for item in part:
            yield from _parts_with_code(item)
    elif issubclass(type(part), type):
        yield from bases_of(part)
    elif type(part) is types.MethodType:
        yield from _parts_with_code((part.__func__, part.__self__))
    elif type(part) is types.FunctionType:
        yield part


#: By hash, and so by identity, as everywhere: a metaclass may have an __eq__ of its own.
_EXPRESSIONS: Final = frozenset({Call, Stream, Rest})
SEQUENCES: Final = frozenset({tuple, list, set, frozenset})
_reduction_of: Final = operator.attrgetter("reduction")
