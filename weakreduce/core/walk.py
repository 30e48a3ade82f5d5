"""A walk of a pickler over the graph: what all walks share.

A walk is the pickler's ``reducer_override``: it sees every object that the pickler writes out (not
builtin containers and atoms), once, where it is met strongly. For a weak thing it answers with the
encoder's reduction, and serves the encoder as its `encode.Writer`.

Rule: a walk asks `decide` for fates and `encode` for reductions, and remembers what follows; it
never writes bytes, and knows picklers only as an `Engine`.
"""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from weakreduce import wire
from weakreduce.core import encode
from weakreduce.core.alike import Alike
from weakreduce.core.engine import Engine, Override
from weakreduce.core.expressions import (
    DOTTED,
    DOTTED_TYPES,
    NOTHING,
    Call,
    Reduction,
    Rest,
    Stream,
    ready_receiver,
)
from weakreduce.core.facts import Facts
from weakreduce.core.hashing import hashable
from weakreduce.core.incomplete import can_make
from weakreduce.core.reach import Reach
from weakreduce.core.watches import Watch
from weakreduce.model import decide, homes, names, signals
from weakreduce.model.classes import HEAP_TYPE, NAMEABLE, has_own_arguments, hashed_by_value
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.kinds import Edge, Kind, kind_of
from weakreduce.model.signals import Signal

MISSING: Final[Any] = object()
#: What is to be done with instances of a type; None: that is left to the pickler.
Plan = Callable[[Any], Any] | None
#: A fast way to do what `Walk.weak` does for exact instances of a type, if there is one.
ShortCut = Callable[[Any, Kind, type], Plan]


class Refused(Signal, Exception):  # noqa: N818 - carries a decision to the place that knows the root
    """An edge was refused; turned into a `WeakrefPicklingError` with the path."""

    def __init__(self, edge: Edge, decision: Decision) -> None:
        super().__init__("an edge is refused")  # why is said where it is shown
        self.edge = edge
        self.decision = decision


def noting(
    met: dict[int, Any], plans: dict[type, Plan], make_plan: Callable[[type], Plan]
) -> Override:
    """An override that notes each instance in `met` and goes by the plan of its type."""
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


def watched_run(engine: Engine, override: Override, obj: Any) -> None:
    """Let the pickler run with an override; a signal that it lost on the way is raised again.

    Raises:
        Signal: what ended the walk from the inside.
        Exception: what the pickler raises.
    """
    try:
        engine.drive(override, obj)
    except Exception as error:
        signals.reraise(error, Signal)
        raise


class Walk:
    """Dispatch on the type, and the services that encoders ask for.

    Args:
        facts: what holds for the whole dump.
        reach: what is inside, as far as is known.
        met: id -> object, of what this walk meets, in that order.
        plans: what is known of types already.
        short_cut: the plug of `short_cuts` for this kind of walk, if it is to have one.
        watch: who sees each decision; then no short cut is taken.
        goes_on: whether refused edges are walked past; a watch says that itself.
    """

    def __init__(
        self,
        facts: Facts,
        reach: Reach,
        *,
        met: dict[int, Any],
        plans: dict[type, Plan] | None = None,
        short_cut: ShortCut | None = None,
        watch: Watch | None = None,
        goes_on: bool = False,
    ) -> None:
        self.facts = facts
        self.policy = facts.policy
        self.engine = facts.engine
        self.reach = reach
        self.met = met
        self.plans: dict[type, Plan] = {} if plans is None else plans
        self.weak_things = 0
        #: What payloads may name from now on, if this one is sent.
        self.numbered: list[Any] = []
        self._short_cut = None if watch is not None else short_cut
        self.watch = watch
        self.goes_on = goes_on if watch is None else watch.goes_on
        #: id -> ref, of those that the watch knows, and for which the pickler may ask again.
        self._told: dict[int, Any] = {}
        self._kinds: dict[type, Kind | None] = {}
        #: id(referent) -> what is written for those whose hash may need some attributes early.
        self._early: dict[int, Any] = {}
        #: What is written after the root, taken from `next_item` and not written yet.
        self._ahead: list[Any] = []

    def override(self, hooks: Sequence[Override] = ()) -> Override:
        """What the pickler is to ask of each instance.

        Args:
            hooks: are asked before, one after the other; what one of them gives, other than
                `NotImplemented`, is written. After them comes what writes nothing for
                `Facts.left_out`, whatever this walk is for.
        """
        ordinary = self._ordinary_override()
        if self.facts.left_out:
            hooks = (*hooks, self._leave_out)
        return _hooked(ordinary, tuple(hooks)) if hooks else ordinary

    def _leave_out(self, obj: Any) -> Any:
        if id(obj) not in self.facts.left_out:
            return NotImplemented
        self.met[id(obj)] = obj
        return NOTHING

    def _ordinary_override(self) -> Override:
        return noting(self.met, self.plans, self.plan)

    def take_apart(self) -> None:
        """Forget all: what was walked must die with its last user, and plans lead back here."""
        vars(self).clear()

    # --- dispatch -------------------------------------------------------------------

    def plan(self, obj_type: type) -> Plan:
        """What to do with instances of a type; None: leave them to the pickler."""
        found = self.plans.get(obj_type, MISSING)
        if found is MISSING:
            found = self.plans[obj_type] = self._make_plan(obj_type)
        return found  # type: ignore[no-any-return]

    def _make_plan(self, obj_type: type) -> Plan:
        if obj_type in _EXPRESSIONS:
            return _reduction_of
        engine = self.engine
        kind = self.kind(obj_type)
        if kind is None and kind_of(obj_type) is not None:
            return None  # a reducer of the user's own, or the class's __reduce__: theirs wins
        if kind is not None and not (kind.name == "finalize" and self.leaves_finalizers()):
            found = None if self._short_cut is None else self._short_cut(self, kind, obj_type)
            weak = found or functools.partial(self.weak, kind)
            if not engine.wants_override(obj_type):
                return weak
            return functools.partial(self._override_or, weak)  # a user's own comes first
        if kind is not None and self.watch is not None:
            return functools.partial(self._tell_detached, kind)
        if obj_type in DOTTED_TYPES and engine.protocol >= 4:
            return self._dotted(obj_type)
        otherwise: Plan = None
        if not issubclass(obj_type, type):
            if self.facts.reductions.once[obj_type]:
                otherwise = self.reduce_once
            elif obj_type.__flags__ & HEAP_TYPE and has_own_arguments(obj_type):
                otherwise = self.reduce_with_arguments
        if not engine.wants_override(obj_type):
            return otherwise
        if otherwise is None:
            return engine.stock_override
        return functools.partial(self._override_or, otherwise)

    def _override_or(self, otherwise: Override, obj: Any) -> Any:
        """What the pickler's own override says, or what is done where it has nothing to say."""
        found = self.engine.stock_override(obj)
        return otherwise(obj) if found is NotImplemented else found

    def reduce_once(self, obj: Any) -> Any:
        """The reduction of an object by code of its own."""
        raise NotImplementedError

    def reduce_with_arguments(self, obj: Any) -> Any:
        """The default reduction of an object, with arguments of its own."""
        raise NotImplementedError

    def _dotted(self, obj_type: type) -> Plan:
        """The plan of functions of builtin types: by name, if the encoder writes them."""
        engine = self.engine
        ask: Override
        if engine.wants_override(obj_type):
            ask = engine.stock_override
        elif engine.has_reducer(obj_type):
            ask = _leave
        else:  # as the pickler would; a table has to have an answer
            ask = operator.methodcaller("__reduce_ex__", engine.protocol)

        def name(function: Any) -> Any:
            # Not where nothing weak was met: those bytes are stock's.
            found = DOTTED.get(id(function)) if self.weak_things else None
            return ask(function) if found is None else found[1]

        return name

    def kind(self, obj_type: type) -> Kind | None:
        """`kind_of`, asked once for each type."""
        found = self._kinds.get(obj_type, MISSING)
        if found is MISSING:
            claimed = self.engine.claims(obj_type)
            found = self._kinds[obj_type] = None if claimed else kind_of(obj_type)
        return found  # type: ignore[no-any-return]

    def leaves_finalizers(self) -> bool:
        """Whether finalizers are the pickler's: stock writes dead ones, as "detach" wants."""
        return self.policy.finalizers == "detach" and self.policy.live == "allow"

    def weak(self, kind: Kind, weak: Any) -> Reduction:
        """The reduction of a weak thing."""
        return encode.encode(self, kind, weak)

    # --- decisions ------------------------------------------------------------------

    def holds(self, obj: Any) -> bool | None:
        """Whether an object is inside; None where that is not known yet."""
        return self.reach.holds(obj)

    def hindrance(self, edge: Edge) -> Decision | None:
        """The decision in the place of a link or a snapshot that cannot be made here."""
        return None

    def decide(self, edge: Edge) -> Decision:
        """The fate of an edge, as far as this walk knows."""
        decision = decide.decide(edge, self.facts, self)
        if decision.fate is Fate.REFUSE:
            self.refuse(edge, decision)
        self.note(edge, decision)
        if self.watch is not None:
            self._tell(self.watch, edge, decision)
        return decision

    def note(self, edge: Edge, decision: Decision) -> None:
        """Remember what follows from a decision."""
        raise NotImplementedError

    def refuse(self, edge: Edge, decision: Decision) -> None:
        """Raise the refusal of an edge, unless the dump is run only to see them all.

        Raises:
            Refused: nearly always.
        """
        if not self.goes_on:
            raise Refused(edge, decision)
        if self.watch is not None:
            self.watch.refused(edge, decision)

    def _tell(self, watch: Watch, edge: Edge, decision: Decision) -> None:
        if decision is decide.OPEN or id(edge.weak) in self._told:
            return
        if decision is decide.INSIDE and issubclass(type(edge.referent), NAMEABLE):
            # What a first walk wrote as a name was met by the second.
            decision = decide.BY_NAME if self.facts.is_named(edge.referent) else decision
        watch.see(edge, decision)

    def _tell_detached(self, kind: Kind, weak: Any) -> Any:
        """Leave finalizers to the pickler, which writes dead ones, and tell of them."""
        for edge in kind.edges(weak):
            assert self.watch is not None
            self.watch.see(edge, decide.DEAD if edge.referent is None else decide.DETACHED)
        return NotImplemented

    # --- services for encoders ------------------------------------------------------

    def target(self, edge: Edge) -> Any:
        """What to write for a referent that travels."""
        referent = edge.referent
        name = names.name_of(referent)
        if name is not None:
            needs_callable = type(edge.weak) is not weakref.ProxyType
            return Call(wire.shared, name, needs_callable)
        shell = self.shell(referent)
        if not hashed_by_value(type(referent)):
            return shell
        found = self._early.get(id(referent))
        if found is None:
            found = self._early[id(referent)] = hashable(self.facts, referent, shell)
        return found

    def at_home(self, obj: Any, copy: Any) -> tuple[Any, Any]:
        """What a snapshot's object is on the receiver, and whether it has to be kept alive there.

        Both are expressions, given that of its copy.
        """
        if self.is_there(obj):  # of a WeakMethod's two
            return copy, False
        ours = self.policy.identity == "home"
        of = homes.homes_of(obj, ours=ours)
        if not of:
            return copy, True
        if ours:
            self.numbered.append(obj)
        found = Call(wire.at_home, copy, *of)
        return found, Call(wire.is_away, found, *of)

    def is_there(self, obj: Any) -> bool:
        """Whether an object is known to be inside or written as a name."""
        return bool(self.holds(obj)) or self.facts.is_named(obj)

    def holding(self, function: Any, callback: Any) -> Any:
        """What a WeakMethod calls, and holds its function by, where that is made on the way."""
        return Call(wire.holding, function, callback)

    def function(self, edge: Edge) -> Any:
        """What to write for the function of a WeakMethod."""
        return self.shell(edge.function)

    def shell(self, referent: Any) -> Any:
        """The referent, or its stand-in where it is too early to write it whole."""
        return referent

    def can_make(self, obj: Any) -> bool:
        """Whether the receiver can construct an object when it comes to this place."""
        return can_make(self.facts, self.met, obj)

    def callback(self, edge: Edge) -> Any:
        """What to write for the callback of an edge that travels."""
        callback = edge.callback
        if callback is None or self.policy.callbacks == "drop":
            return None
        if id(callback) in self.facts.dropped:
            return None
        self.facts.callbacks[id(callback)] = callback
        return self.strong(callback)

    def strong(self, obj: Any) -> Any:
        """What to write for a strong edge of a weak thing; it is walked at the end."""
        raise NotImplementedError

    def first(self, function: Any) -> Any:
        """`function`; before the payload's first weak thing it may ready the receiver, too."""
        self.weak_things += 1
        if self.weak_things > 1 or not self.facts.readies:
            return function
        return Call(operator.getitem, (function, ready_receiver()), 0)

    def later(self, fill: Call) -> None:
        """Write `fill` when every object of the payload is complete."""
        raise NotImplementedError

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        """Entries of a WeakSet in the order in which the strong walk meets them."""
        if len(edges) < 2:
            return edges
        places: dict[float, list[Edge]] = {}
        for edge in edges:
            places.setdefault(self.reach.position(edge.referent), []).append(edge)
        alike = Alike()
        return [edge for place in sorted(places) for edge in alike.ordered(places[place])]

    # --- what is written after the root ---------------------------------------------

    def next_item(self) -> Any:
        """The next object to be written after the root, as far as is known now."""
        raise NotImplementedError

    def drained(self, head: list[Any]) -> Stream:
        """A list of `head` and of all that `next_item` gives, also while that is being written."""
        if self.engine.save_apart is not None:
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
        save = self.engine.save_apart
        assert save is not None
        while (item := self.next_item()) is not MISSING:
            save(item)
        return (list, ())


def _hooked(ordinary: Override, hooks: tuple[Override, ...]) -> Override:
    def reducer_override(obj: Any) -> Any:
        for hook in hooks:
            found = hook(obj)
            if found is not NotImplemented:
                return found
        return ordinary(obj)

    return reducer_override


def _leave(_obj: Any) -> Any:
    """To the pickler."""
    return NotImplemented


#: By hash, and so by identity, as everywhere: a metaclass may have an __eq__ of its own.
_EXPRESSIONS: Final = frozenset({Call, Stream, Rest})
_reduction_of: Final = operator.attrgetter("reduction")
