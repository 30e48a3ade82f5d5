"""The second walk: exact. What is inside is known, so every fate is final.

Referents that are met weakly before they are met strongly are written as shells
(`encode.Standin`), snapshots are written after the root, and containers whose members hash by
value are filled last. So nothing depends on the order of edges, and nothing recurses along them.
"""

from __future__ import annotations

import copyreg
import itertools
import operator
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

from weakreduce.core import short_cuts
from weakreduce.core.expressions import (
    NOTHING,
    Call,
    Guarded,
    Reduction,
    Rest,
    Standin,
    Stream,
    bound_method,
    same_with,
)
from weakreduce.core.known import Known
from weakreduce.core.walk import MISSING, Positions, Walk
from weakreduce.model import decide
from weakreduce.model.classes import (
    HEAP_TYPE,
    NAMEABLE,
    bases_of,
    class_attribute,
    constructs_by_default,
    defines,
    has_own_arguments,
    is_leaf,
    made_type,
)
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.kinds import CONTAINERS, Edge, Kind
from weakreduce.model.signals import Signal

#: How deep whole referents may stand in one another.
_ROOM: Final = 8
#: The construction that the default reduction names.
_newobj: Final = copyreg.__newobj__  # type: ignore[attr-defined]
#: What leads nowhere.
_ATOMS: Final = frozenset({int, float, complex, str, bytes, bool, type(None), type(...)})


#: What the encoder puts into payloads.
_OWN: Final = frozenset({Call, Stream, Rest, Standin, Guarded})
#: How many objects are asked whether they hold a reference that leads back, and how many are looked
#: over for those: between a holder and its state is its class, by value with all its methods.
_LOOKED_AT: Final = 100
_LOOKED_OVER: Final = 10_000


def _are_same(one: Any, other: Any) -> bool:
    """Whether two answers hold the same things."""
    if one is other:
        return True
    if type(one) is type(other) and type(one) in (tuple, list):
        return len(one) == len(other) and all(map(_are_same, one, other))
    if type(one) is dict and type(other) is dict:
        return _are_same([*one.items()], [*other.items()])
    if type(one) is types.MethodType and type(other) is types.MethodType:
        return one.__func__ is other.__func__ and one.__self__ is other.__self__
    return type(one) in _ATOMS and type(other) is type(one)


def _items(part: Any) -> Any:
    """What a builtin container holds; None for anything else."""
    if type(part) is dict:
        return [*part, *part.values()]
    return list(part) if type(part) in (list, tuple, set, frozenset) else None


def _holds(value: Any, wanted: Any) -> bool:
    """Whether builtin containers hold an object."""
    return id(wanted) in _held(value)


def _held(value: Any) -> dict[int, Any]:
    """All that builtin containers hold, by id."""
    waiting, seen = [value], {id(value): value}
    while waiting:
        for item in _items(waiting.pop()) or ():
            if id(item) not in seen:
                seen[id(item)] = item
                waiting.append(item)
    return seen


def _listed(parts: Any) -> list[Any]:
    """State and items of a reduction, with what its iterators give."""
    return [[*part] if hasattr(type(part), "__next__") else part for part in parts]


def _given(part: Any) -> Any:
    """Items as a reduction has them."""
    return iter(part) if type(part) is list else part


def _sets_attributes(cls: type, made_by: Any) -> bool:
    """Whether a state of attributes may be put back in two steps."""
    if defines(cls, "__setstate__") and (
        class_attribute(cls, "__setstate__") is not BaseException.__setstate__
    ):
        return False
    return constructs_by_default(cls) or made_type(made_by) is cls


class OrderMatters(Signal):
    """The order in which what is inside is met is needed, and not known: a signal."""


class SecondWalk(Walk):
    """Exact: what is inside is known, referents are written as shells where they are met weakly."""

    def __init__(self, known: Known, root: Any) -> None:
        self.standins: dict[int, Standin] = {}
        #: By id, the shells of objects whose construction may lead back to them, until it is done.
        self.under_construction: dict[int, Standin] = {}
        #: By id, classes and functions that are on the receiver, with all that they hold.
        self.complete: dict[int, Any] = {id(_newobj): _newobj}
        #: By id, objects under construction, each with whether it can be constructed anew.
        self.repeatable: dict[int, tuple[Any, bool]] = {}
        #: By id, what is to be written when an object is constructed.
        self.afterwards: dict[int, list[Any]] = {}
        #: By id, objects that are not there yet, with what is among the arguments of their
        #: construction, by id.
        self.made_from: dict[int, tuple[Any, dict[int, Any]]] = {}
        #: By id, references for which all holders that stand together were looked for.
        self.shared_out: dict[int, Any] = {}
        #: Whether more is `postponed` now than when this walk began: it has to be run again.
        self.postpones = False
        super().__init__(known)
        self.root = root
        self.unfinished: list[Any] = []
        self.fills: list[Call] = []
        #: Referents that a snapshot takes along, with an edge to each.
        self.snapshots: dict[int, Edge] = {}
        #: The same, for refs that a short cut wrote.
        self.taken: list[Any] = []
        #: The same, for containers: with the referents and the keys of that one look at them.
        self.taken_entries: list[tuple[Any, list[Any], list[Any]]] = []
        #: Entries of WeakKeyDictionaries that travel because their key is a snapshot.
        self.entries: list[Edge] = []
        #: Edges that dangle although nobody asked for that.
        self.lost: list[tuple[Edge, str]] = []
        #: How many more referents may be written whole at weak edges, one inside the other.
        self.room = _ROOM
        self.closing = self._close
        # As the strong walk met them: outside the order is that of this walk, which nothing asks.
        self.position = Positions(known.inside, known.written_before)

    def _make_plan(self, obj_type: type) -> Callable[[Any], Any] | None:
        if obj_type is Standin:
            return self._construct
        if obj_type is Guarded:
            return self._construct_guarded
        plan = super()._make_plan(obj_type)
        if plan == self.known.adapter.stock_override:
            return self._put_names_off
        if plan is None and not all(map(self.known.adapter.by_name, bases_of(obj_type))):
            return self._construct_by_class
        return plan

    # --- circles through a construction -----------------------------------------------
    #
    # The arguments of a construction may lead, over weak edges, back to what is constructed: the
    # class of an instance does, if it is by value and keeps its instances in a registry. So an
    # object that may be in such a circle is written as ``(arguments, shell)[1]``. What leads back
    # gets the shell, which is constructed there, from what there is of its arguments by then, as
    # pickle itself does where a strong circle leads back. The state comes after that.

    def _construct(self, standin: Standin) -> Reduction:
        if id(standin.obj) not in self.under_construction:
            standin.is_made = True
            return standin.reduction
        return (*standin.reduction, None, self._when_made(standin))

    def _construct_guarded(self, guarded: Guarded) -> Reduction:
        standin = guarded.standin
        self.under_construction.setdefault(id(standin.obj), standin)
        expression = standin.after_arguments(*self._afterwards(standin.obj))[:2]
        return (*expression, None, self._when_known(standin.obj, None))

    # Pickle asks for the items of an object when that is made; those here are none, or stock's.

    def _when_made(self, standin: Standin) -> Iterator[Any]:
        standin.is_made = True
        return
        yield

    def _when_known(self, obj: Any, items: Any) -> Iterator[Any]:
        self.under_construction.pop(id(obj), None)
        if items is not None and type(obj) in self.known.postponing:
            (_, items, _), _ = self._put_off(obj, (), (None, items))
        if items is not None:
            yield from items

    def _construct_by_class(self, obj: Any) -> Any:
        """The plan of instances of a class by value, until that is complete."""
        if self._is_complete(type(obj)):
            self.plans[type(obj)] = None
            return NotImplemented
        return self._shelled(obj, self.known.adapter.reduction)

    def reduce_once(self, obj: Any) -> Any:
        return self._shelled(obj, self.known.reduction)

    def reduce_with_arguments(self, obj: Any) -> Any:
        return self._shelled(obj, self.known.adapter.reduction)

    def _shelled(self, obj: Any, reduction: Callable[[Any], Any]) -> Any:
        standin = self.under_construction.get(id(obj))
        if standin is not None:
            if not standin.is_made and not self._is_repeatable(obj):
                return self.known.ask(obj)  # as stock, for which this does not end
            return standin.finish()
        found = reduction(obj)
        if type(found) is not tuple or self._is_closed(found[:2]):
            return NotImplemented if found is None else found
        return self._begin(Standin(obj, found))

    def _finished(self, standin: Standin) -> Reduction:
        """An object that was met weakly before, or weakly alone so far."""
        if standin.is_made or self._is_closed(standin.reduction):
            return standin.finish()
        return self._begin(standin)

    def _begin(self, standin: Standin) -> Reduction:
        """The construction of an object whose arguments may lead back to it."""
        obj = standin.obj
        self.under_construction[id(obj)] = standin
        function, arguments, *rest = standin.after_arguments(*self._afterwards(obj))
        state, items, *others = (*rest, None, None)[: max(2, len(rest))]
        return (function, arguments, state, self._when_known(obj, items), *others)

    def _put_names_off(self, obj: Any) -> Any:
        """The plan of classes and functions: what cannot be there yet is put in at the end.

        A reference in a class's own attributes may need an instance whose construction needs the
        class, with all its methods.
        """
        adapter = self.known.adapter
        found = adapter.stock_override(obj)
        for names, put_in in adapter.namespaces(obj, found):
            early = [name for name in names if self._leads_back_to(names[name]) is not MISSING]
            for name in early:
                self.later(put_in(name, names.pop(name)))
        return adapter.closing(obj, found)

    def _leads_back_to(self, value: Any, holder: Any = None) -> Any:
        """What a reference in builtin containers leads to that is not there yet, or `MISSING`."""
        waiting, seen = [value], {id(value)}
        while waiting:
            part = waiting.pop()
            items = _items(part)
            if items is None:
                kind = None if type(part) in _ATOMS else self.kind(type(part))
                if kind is not None and kind.base not in CONTAINERS and kind.name != "finalize":
                    (edge,) = kind.edges(part)
                    if edge.referent is not None and (
                        self._is_circular(edge)
                        or (holder is not None and self._is_made_from(edge.referent, holder))
                    ):
                        return edge.referent
                continue
            for item in items:
                if id(item) not in seen:
                    seen.add(id(item))
                    waiting.append(item)
        return MISSING

    def _is_complete(self, obj: Any) -> bool:
        """Whether a class or function is there, with all that it holds."""
        if id(obj) in self.complete:
            return True
        parts = (*bases_of(obj), type(obj)) if issubclass(type(obj), type) else (obj,)
        found = all(map(self._is_there, parts))
        if found:
            self.complete[id(obj)] = obj
        return found

    def _is_there(self, obj: Any) -> bool:
        if id(obj) in self.met and id(obj) not in self.under_construction:
            return not self._is_open(obj)
        return self.known.adapter.by_name(obj)

    def _is_closed(self, part: Any) -> bool:
        """Whether the arguments of a construction can lead nowhere, from a short look at them."""
        if id(part) in self.complete or type(part) in _ATOMS:
            return True
        if type(part) is tuple:
            return all(map(self._is_closed, part))
        return issubclass(type(part), NAMEABLE) and self._is_complete(part)

    def _is_repeatable(self, obj: Any) -> bool:
        """Whether an object's reduction, asked for again, gives the same things.

        If not, the circle goes through what was made for the reduction alone, and never ends.
        """
        found = self.repeatable.get(id(obj))
        if found is None:
            standin = self.under_construction[id(obj)]
            once = self.known.reduces_once(type(obj))
            again = self.known.ask(obj) if once else self.known.adapter.reduction(obj)
            same = type(again) is tuple and _are_same(standin.parts[:2], again[:2])
            found = self.repeatable[id(obj)] = (obj, same)
        return found[1]

    def _is_circular(self, edge: Edge) -> bool:
        """Whether an edge has no referent yet where this is written, and no shell of it either."""
        referent = edge.referent
        kind = self.kind(type(edge.weak))
        if kind is None or kind.base in CONTAINERS:
            return False  # containers are filled when what they need is there
        if issubclass(type(referent), NAMEABLE) and self.known.adapter.has_skeletons:
            return False  # a class by value is there, empty
        if not super().can_make(referent):
            return True
        standin = self.under_construction.get(id(referent))
        if standin is None or standin.is_made:
            return False
        # A class by value is there, empty: that is enough where all else is closed.
        function, arguments = standin.reduction
        return function is not _newobj or not self._is_closed(arguments[1:])

    def _is_made_from(self, referent: Any, holder: Any) -> bool:
        """Whether a referent that is not there yet is constructed from an object that was met.

        (`MISSING`: from any.) It has to wait for the state of that.
        """
        identity, cls = id(referent), type(referent)
        standin = self.standins.get(identity)
        if (
            identity in self.met
            or identity in self.under_construction
            or (standin is not None and standin.is_made)
            or issubclass(cls, NAMEABLE)
            or not (
                self.known.reduces_once(cls)
                or (cls.__flags__ & HEAP_TYPE and has_own_arguments(cls))
            )
        ):
            return False
        found = self.made_from.get(identity)
        if found is None:
            reduction = self.known.reduced_or_none(referent)
            parts = {} if reduction is None else _held(reduction[1])
            found = self.made_from[identity] = (referent, parts)
        if holder is not MISSING:
            return id(holder) in found[1]
        return not self.met.keys().isdisjoint(found[1])

    def can_make(self, obj: Any) -> bool:
        return super().can_make(obj) and not self._is_made_from(obj, MISSING)

    def _holder(self, edge: Edge) -> Any:
        """What was met last that holds a weak thing in its state; None if that is nothing.

        Of that the construction can be written alone, and the state when the referent is there.
        """
        referent = edge.referent
        if id(referent) in self.under_construction and not self._is_repeatable(referent):
            return None
        asked = 0
        for obj in itertools.islice(reversed(self.met.values()), _LOOKED_OVER):
            if obj is referent or asked == _LOOKED_AT:
                return None
            cls = type(obj)
            if cls in _ATOMS or cls in _OWN or issubclass(cls, NAMEABLE):
                continue
            found = None if self.kind(cls) is not None else self.known.reduced_or_none(obj)
            if found is None:
                continue
            if any(_holds(part, edge.weak) for part in _listed(found[2:])):
                return obj
            asked += 1
        return None

    def _postpone_like(self, holder: Any, edge: Edge) -> None:
        """Postpone states like the holder's, and of all that holds the same reference beside it.

        A pickler asks for a reference once: each run of the walk would find one type of these.
        """
        postponing = self.known.postponing
        postponing.add(type(holder))
        self.postpones = True
        if id(edge.weak) in self.shared_out:
            return
        self.shared_out[id(edge.weak)] = edge.weak
        found = self.known.reduced_or_none(edge.referent)
        beside = {} if found is None else {type(part): part for part in _held(found[1]).values()}
        for cls, obj in beside.items():
            if cls in postponing or cls in _ATOMS or cls in _OWN or issubclass(cls, NAMEABLE):
                continue
            if _items(obj) is None and self.kind(cls) is None:
                found = self.known.reduced_or_none(obj)
                if found is not None and any(_holds(p, edge.weak) for p in _listed(found[2:])):
                    postponing.add(cls)

    def _postpone(self, obj: Any) -> Any:
        """An object whose state may lead to what is not constructed yet: that part comes later."""
        standin = self.standins.pop(id(obj), None)
        if standin is not None:
            made_by = standin.reduction
            found = self._finished(standin)
        else:
            plan = self.plan(type(obj))
            found = NotImplemented if plan is None else plan(obj)
            if found is NotImplemented:
                found = self.known.reduced_or_none(obj)
            if type(found) is not tuple:
                return NotImplemented if found is None else found
            made_by = found
        shell = self.under_construction.get(id(obj))
        if shell is None:
            first, rest = self._put_off(obj, made_by, found[2:])
            return (*found[:2], *first, *rest)
        # Its items are asked for when it is made.
        state, items, pairs, *setter = (*found[2:], None, None, None)[: max(3, len(found) - 2)]
        first, rest = self._put_off(obj, shell.reduction, (state, None, pairs, *setter))
        return (*found[:2], first[0], items, first[2], *rest)

    def _put_off(self, obj: Any, made_by: Any, parts: Any) -> tuple[tuple[Any, ...], Any]:
        """What can be written now of the state and the items of an object; the rest is later.

        What stock writes in one go is written in order, item by item; and attribute by attribute,
        where no code of the object's class sees that.
        """
        state, items, pairs, *setter = (*parts, None, None, None)[: max(3, len(parts))]
        now: list[Any] = []
        late: list[Any] = []
        if not any(setter) and _sets_attributes(type(obj), made_by):
            split = self._split_state(obj, state)
        else:
            split = self._whole_state(obj, state)
        for early, rest in (split, self._split_items(obj, items), self._split_items(obj, pairs)):
            now.append(early)
            late.append(rest)
        if any(part is not None for part in late):
            referent = self._leads_back_to(late, obj)
            standin = self.under_construction.get(id(referent))
            if standin is None or standin.is_made:
                self.later(same_with(obj, late[0], *map(_given, late[1:]), *setter))
            else:
                # By then there may be more to wait for.
                def fill() -> Reduction:
                    first, rest = self._put_off(obj, made_by, (*late, *setter))
                    return (max, ((obj,),), *first, *rest)

                self.afterwards.setdefault(id(referent), []).append(Rest(fill))
        return (now[0], *map(_given, now[1:])), setter

    def _split_state(self, obj: Any, state: Any) -> tuple[Any, Any]:
        """The attributes that can be there now, and those that cannot."""
        if type(state) is tuple and len(state) == 2:
            (early, late), (early_slots, late_slots) = (
                self._split_state(obj, part) for part in state
            )
            return (
                early if early_slots is None else (early, early_slots),
                late if late_slots is None else (late, late_slots),
            )
        if type(state) is not dict:
            return self._whole_state(obj, state)
        late = {
            name: value
            for name, value in state.items()
            if self._leads_back_to(value, obj) is not MISSING
        }
        if not late:
            return state, None
        return {name: state[name] for name in state if name not in late} or None, late

    def _whole_state(self, obj: Any, state: Any) -> tuple[Any, Any]:
        return (state, None) if self._leads_back_to(state, obj) is MISSING else (None, state)

    def _split_items(self, obj: Any, items: Any) -> tuple[Any, Any]:
        """The items before the first that cannot be there now, and the others."""
        if items is None:
            return None, None
        known = [*items]
        ready = [
            *itertools.takewhile(lambda item: self._leads_back_to(item, obj) is MISSING, known)
        ]
        return ready or None, known[len(ready) :] or None

    def _afterwards(self, obj: Any) -> tuple[Any, ...]:
        """What is to be written when an object is constructed, if anything may be."""
        if not self.known.postponing:
            return ()
        return (Rest(lambda: (list, (self.afterwards.pop(id(obj), []),))),)

    def decide(self, edge: Edge) -> Decision:
        decision = super().decide(edge)
        if decision.fate in (Fate.LINK, Fate.SNAPSHOT, Fate.HOME) and self._is_circular(edge):
            holder = self._holder(edge)
            if holder is not None and type(holder) not in self.known.postponing:
                self._postpone_like(holder, edge)
                return decide.CIRCULAR
            if self.policy.unpicklable == "raise":
                return self.refuse(edge, decide.CIRCULAR._replace(fate=Fate.REFUSE))
            self.snapshots.pop(id(edge.referent), None)
            self.lost.append((edge, decide.CIRCULAR.reason))
            return decide.CIRCULAR
        if decision.fate in (Fate.LINK, Fate.SNAPSHOT) and self._is_made_from(
            edge.referent, MISSING
        ):
            holder = self._holder(edge)
            if (
                holder is not None
                and type(holder) not in self.known.postponing
                and self._is_made_from(edge.referent, holder)
            ):
                self._postpone_like(holder, edge)
                return decide.CIRCULAR
        return decision

    # --- the payload --------------------------------------------------------------------

    def _make_override(self) -> Callable[[Any], Any]:
        # As `walk.watch`, and with an eye on what has a stand-in already; in one function,
        # since it runs for every instance in the payload.
        met, plans, standins, make_plan = self.met, self.plans, self.standins, self.plan
        ref, rest, postponing = weakref.ref, Rest, self.known.postponing

        def reducer_override(obj: Any) -> Any:
            obj_type = type(obj)
            if obj_type is rest:
                return obj.fill()
            if obj_type is not ref:
                identity = id(obj)
                met[identity] = obj
                if obj_type in postponing:
                    return self._postpone(obj)
                if identity in standins:
                    return self._finished(standins.pop(identity))
            try:
                plan = plans[obj_type]
            except KeyError:
                plan = make_plan(obj_type)
            if plan is None:
                return NotImplemented
            return plan(obj)

        return reducer_override

    def envelope(self) -> Call:
        """The root, followed in the payload by all that only weak things need."""
        return Call(operator.getitem, self.drained([self.root]), 0)

    def next_item(self) -> Any:
        while self.unfinished:
            referent = self.unfinished.pop()
            if id(referent) not in self.met:
                return referent
        return self.fills.pop() if self.fills else MISSING

    def holds(self, referent: Any) -> bool:
        return id(referent) in self.known.inside

    def short_cut(self, kind: Kind, obj_type: type) -> Callable[[Any], Any] | None:
        return short_cuts.of_second_walk(self, kind, obj_type)

    def snapshot_edges(self) -> list[Edge]:
        """An edge to each referent that a snapshot takes along."""
        edges = [Edge(weak, weak()) for weak in self.taken]
        edges += [
            Edge(weak, referent, key=key)
            for weak, referents, keys in self.taken_entries
            for referent, key in zip(referents, keys, strict=True)
        ]
        for edge in edges:
            if edge.referent is not None:
                self.snapshots.setdefault(id(edge.referent), edge)
        return list(self.snapshots.values())

    def not_inside(self, edge: Edge) -> Decision:
        decision = self.known.outside(edge.weak, edge.referent)
        if decision.fate is Fate.REFUSE:
            return self.refuse(edge, decision)
        if decision.fate is Fate.SNAPSHOT:
            if not self.known.refers(edge.referent):
                return self.unreferable(edge)
            if edge.value is not None:
                self.entries.append(edge)
            self.snapshots.setdefault(id(edge.referent), edge)
            if edge.function is not None and not self._holds(edge.function):
                self.snapshots.setdefault(id(edge.function), edge)
            return self.snapshot(edge, decision)
        if not decision.asked:
            self.lost.append((edge, decision.reason))
        return decision

    def unreferable(self, edge: Edge) -> Decision:
        decision = decide.UNREFERABLE
        if self.policy.unpicklable == "raise":
            return self.refuse(edge, decision._replace(fate=Fate.REFUSE))
        self.lost.append((edge, decision.reason))
        return decision

    def shell(self, referent: Any) -> Any:
        identity = id(referent)
        if identity in self.under_construction:
            return self.under_construction[identity]
        if identity in self.met:
            return referent
        standin = self.standins.get(identity)
        if standin is None:
            if self.known.named(referent):
                return referent
            if self.known.plain[type(referent)] and is_leaf(referent):
                return referent  # whole: it leads nowhere, and nobody sees its state come early
            reduction = self._parts_of(referent)
            if reduction is None:
                return referent
            standin = self.standins[identity] = Standin(referent, reduction)
            self.unfinished.append(referent)
        if standin.is_made or self.plans.get(type(referent), MISSING) is None:
            return standin  # its class is importable, and nothing else is among its arguments
        return standin if self._is_closed(standin.reduction) else Guarded(standin)

    def weak(self, kind: Kind, weak: Any) -> Reduction:
        if kind.base is weakref.ref and type(weak) is weakref.ref and self.room:
            whole = self._whole(kind, weak)
            if whole is not None:
                return whole
        return super().weak(kind, weak)

    def _whole(self, kind: Kind, weak: Any) -> Reduction | None:
        """A ref whose referent is written whole, where nothing can tell when that is done.

        Inside a few others at most: a chain of weak references must not recurse.
        """
        if not self.known.orderless or self.policy.rules or not self.weak_things:
            return None
        referent = weak()
        identity = id(referent)
        if (
            identity not in self.known.inside
            or identity in self.met
            or identity in self.standins
            or weak.__callback__ is not None
            or not self.known.plain[type(referent)]
        ):
            return None
        (edge,) = kind.edges(weak)
        # Not `self.decide`: a watch is told once, here or by the general way.
        decision = super().decide(edge)
        if decision is not decide.INSIDE:
            return None
        if self._watch is not None:
            self._watch.see(edge, decision)
            # Where the referent leads back to its ref, that is not in the memo yet.
            self._told[id(weak)] = weak
        self.room -= 1
        return (weakref.ref, (referent, Rest(self.closing)))

    def _close(self) -> Reduction:
        # What is asked for when the referent is written, and is None on the receiver: a ref's
        # second argument. (Items that the ref does not have would not do: where the referent
        # leads back to the ref, the pickler does not ask for any. And `NoneType` would be no
        # name for dill on a receiver before Python 3.10.)
        self.room += 1
        return (max, ((None,),))

    def _parts_of(self, referent: Any) -> Reduction | None:
        if id(referent) in self.known.left_out:
            return NOTHING
        kind = self.kind(type(referent))
        if kind is not None:
            return None if kind.name == "finalize" else self.weak(kind, referent)
        if not issubclass(type(referent), type) and self.known.reduces_once(type(referent)):
            found = self.known.reduced(referent)
            return found if isinstance(found, tuple) else None
        return self.known.adapter.reduction(referent)

    def strong(self, obj: Any) -> Any:
        if type(obj) is types.MethodType:
            # Its instance may lead back to the weak thing: hand over the shell of that, too.
            return bound_method(obj.__func__, self.shell(obj.__func__), self.shell(obj.__self__))
        return self.shell(obj)

    def ordered(self, edges: list[Edge]) -> list[Edge]:
        if not self.known.ordered and sum(self.holds(edge.referent) for edge in edges) > 1:
            raise OrderMatters
        return super().ordered(edges)

    def later(self, fill: Call) -> None:
        self.fills.append(fill)
