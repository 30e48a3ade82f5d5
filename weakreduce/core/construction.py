"""Circles through a construction: what leads, over weak edges, back to what is being made.

The arguments of a construction may lead back to what is constructed: the class of an instance does,
if it is by value and keeps its instances in a registry. So an object that may be in such a circle
is written as ``(arguments, shell)[1]``. What leads back gets the shell, which is constructed there,
from what there is of its arguments by then, as pickle itself does where a strong circle leads back.
The state comes after that.
"""

from __future__ import annotations

import copyreg
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from weakreduce.core.drain import MISSING
from weakreduce.core.expressions import Call, Guarded, Reduction, Rest, Standin
from weakreduce.core.held import ATOMS, are_same, held, holds_fresh, items_of
from weakreduce.core.incomplete import can_make
from weakreduce.core.walk import Walk
from weakreduce.model.classes import HEAP_TYPE, NAMEABLE, bases_of, has_own_arguments

#: The construction that the default reduction names.
_newobj: Final = copyreg.__newobj__  # type: ignore[attr-defined]


class Shells:
    """What is being made where the payload of a walk stands, and what stands for it meanwhile.

    Args:
        walk: the walk.
        later: lets an expression be written when every object of the payload is complete.
    """

    def __init__(self, walk: Walk, later: Callable[[Call], None]) -> None:
        self.walk = walk
        self.facts = walk.facts
        self.engine = walk.engine
        self.later = later
        #: By id, objects that were met weakly before they were met strongly.
        self.standins: dict[int, Standin] = {}
        #: By id, the shells of objects whose construction may lead back to them, until it is done.
        self.under_way: dict[int, Standin] = {}
        #: By id, classes and functions that are on the receiver, with all that they hold.
        self._complete: dict[int, Any] = {id(_newobj): _newobj}
        #: By id, objects under construction, each with whether it can be constructed anew.
        self._repeatable: dict[int, tuple[Any, bool]] = {}
        #: Ids of those among them for which lists or dicts are made each time.
        self._made_anew: set[int] = set()
        #: By id, objects that are not there yet, with what is among the arguments of their
        #: construction, by id.
        self._made_from: dict[int, tuple[Any, dict[int, Any]]] = {}
        #: By id, what is to be written when an object is constructed.
        self.afterwards: dict[int, list[Any]] = {}

    # --- shells -------------------------------------------------------------------------

    def of_standin(self, standin: Standin) -> Reduction:
        """The construction of an object that a weak edge met first."""
        if id(standin.obj) not in self.under_way:
            standin.is_made = True
            return standin.reduction
        return (*standin.reduction, None, _when_made(standin))

    def of_guarded(self, guarded: Guarded) -> Reduction:
        """The same, where its arguments may lead back to it."""
        standin = guarded.standin
        self.under_way.setdefault(id(standin.obj), standin)
        expression = standin.after_arguments(*self._afterwards(standin.obj))[:2]
        return (*expression, None, self._when_known(standin.obj, None))

    def of_own_class(self, obj: object) -> Any:
        """The plan of instances of a class by value, until that is complete."""
        if self._is_complete(type(obj)) and id(obj) not in self.under_way:
            if not self.under_way:  # or more of them may be
                self.walk.plans[type(obj)] = None
            return NotImplemented
        return self.shelled(obj, self.engine.reduction)

    def shelled(self, obj: object, reduction: Callable[[Any], Any]) -> Any:
        """What is written of an object met strongly whose construction may lead back to it."""
        standin = self.under_way.get(id(obj))
        if standin is not None:
            return self._reached_again(standin)
        found = reduction(obj)
        if type(found) is not tuple or self.is_closed(found[:2]):
            return NotImplemented if found is None else found
        return self._begin(Standin(obj, found))

    def finished(self, standin: Standin) -> Any:
        """An object that was met weakly before, or weakly alone so far."""
        if (
            issubclass(type(standin.obj), NAMEABLE)
            and self.walk.plan(type(standin.obj)) == self.put_names_off
        ):
            found = self.put_names_off(standin.obj)
            if type(found) is tuple:  # a class or function by value, which is open from here on
                standin.parts = (*standin.reduction, *found[2:])
        if standin.is_made or self.is_closed(standin.reduction):
            return standin.finish()
        if id(standin.obj) in self.under_way:
            return self._reached_again(standin)
        return self._begin(standin)

    def _reached_again(self, standin: Standin) -> Any:
        """An object that is met in its own construction."""
        obj = standin.obj
        self.walk.met[id(obj)] = self.walk.met.pop(id(obj))  # as met here
        if not standin.is_made:
            if not self.is_repeatable(obj):
                return self.facts.reductions.ask(obj)  # as stock, for which this does not end
            if id(obj) in self._made_anew:  # those that were asked for first are incomplete
                standin.parts = (*self._asked_again(obj)[:2], *standin.parts[2:])
        return standin.finish()

    def _begin(self, standin: Standin) -> Reduction:
        obj = standin.obj
        self.under_way[id(obj)] = standin
        function, arguments, *rest = standin.after_arguments(*self._afterwards(obj))
        state, items, *others = (*rest, None, None)[: max(2, len(rest))]
        return (function, arguments, state, self._when_known(obj, items), *others)

    def _when_known(self, obj: Any, items: Any) -> Iterator[Any]:
        # Pickle asks for the items of an object when that is made.
        self.under_way.pop(id(obj), None)
        if items is not None:
            yield from self.items_now(obj, items)

    def items_now(self, obj: object, items: Iterable[Any]) -> Iterable[Any]:
        """Which of an object's items can be there as soon as it is."""
        return items

    def _afterwards(self, obj: object) -> tuple[Any, ...]:
        """What is to be written when an object is constructed, if anything may be."""
        if not self.facts.postponing:
            return ()
        return (Rest(lambda: (list, (self.afterwards.pop(id(obj), []),))),)

    def put_names_off(self, obj: object) -> Any:
        """The plan of classes and functions: what cannot be there yet is put in at the end.

        A reference in a class's own attributes may need an instance whose construction needs the
        class, with all its methods.
        """
        found = self.engine.stock_override(obj)
        for names, put_in in self.engine.namespaces(obj, found):
            early = [name for name in names if self.leads_back_to(names[name]) is not MISSING]
            for name in early:
                self.later(put_in(name, names.pop(name)))
        return self.engine.closing(obj, found)

    # --- what is there, and what leads back ------------------------------------------------

    def can_make(self, obj: object) -> bool:
        """Whether the receiver can construct an object when it comes to this place."""
        return self._is_made(obj) or (
            can_make(self.facts, self.walk.met, obj)
            and not self.is_made_from(obj, MISSING)
            and not self._may_lead_back(obj)
        )

    def _may_lead_back(self, obj: object) -> bool:
        """Whether an object is under way, or is made from arguments that may lead to what is.

        What holds it would be made whole by then, but for a container, which can wait.
        """
        if issubclass(type(obj), NAMEABLE):
            # Where there are no empty classes, one that is met now is written with all it holds.
            there = self.engine.has_skeletons or id(obj) in self.walk.met
            return not there and not self.engine.by_name(obj)
        if not self.under_way:
            return False
        if id(obj) in self.under_way:
            return self._lacks_arguments(obj)
        cls = type(obj)
        return self.facts.reductions.once[cls] or has_own_arguments(cls)

    def _is_open(self, obj: object) -> bool:
        return self.engine.is_open(obj, self.walk.met)

    def _is_complete(self, obj: Any) -> bool:
        """Whether a class or function is there, with all that it holds."""
        if id(obj) in self._complete:
            return True
        parts = (*bases_of(obj), type(obj)) if issubclass(type(obj), type) else (obj,)
        found = all(map(self._is_there, parts))
        if found:
            self._complete[id(obj)] = obj
        return found

    def _is_there(self, obj: object) -> bool:
        if id(obj) in self.walk.met and id(obj) not in self.under_way:
            return not self._is_open(obj)
        return self.engine.by_name(obj)

    def is_closed(self, part: object) -> bool:
        """Whether the arguments of a construction can lead nowhere, from a short look at them."""
        if id(part) in self._complete or type(part) in ATOMS:
            return True
        if type(part) is tuple:
            return all(map(self.is_closed, part))
        return issubclass(type(part), NAMEABLE) and self._is_complete(part)

    def is_repeatable(self, obj: object) -> bool:
        """Whether an object's reduction, asked for again, gives the same things.

        If not, the circle goes through what was made for the reduction alone, and never ends.
        """
        found = self._repeatable.get(id(obj))
        if found is None:
            standin = self.under_way[id(obj)]
            again = self._asked_again(obj)
            same = type(again) is tuple and are_same(standin.parts[:2], again[:2])
            found = self._repeatable[id(obj)] = (obj, same)
            if same and holds_fresh(standin.parts[:2], again[:2]):
                self._made_anew.add(id(obj))
        return found[1]

    def _asked_again(self, obj: object) -> Any:
        reductions = self.facts.reductions
        return reductions.ask(obj) if reductions.once[type(obj)] else self.engine.reduction(obj)

    def leads_back_to(self, value: object, holder: object = None) -> Any:
        """What a reference in builtin containers leads to that is not there yet, or `MISSING`."""
        waiting, seen = [value], {id(value)}
        while waiting:
            part = waiting.pop()
            items = items_of(part)
            if items is None:
                referent = self._referent_of_a_single(part)
                if referent is not None and self._is_missing(part, referent, holder):
                    return referent
                continue
            for item in items:
                if id(item) not in seen:
                    seen.add(id(item))
                    waiting.append(item)
        return MISSING

    def _referent_of_a_single(self, part: object) -> Any:
        """What a weak thing with one edge points at; None for all else."""
        kind = None if type(part) in ATOMS else self.walk.kind(type(part))
        if kind is None or kind.is_container or kind.is_finalizer:
            return None
        (edge,) = kind.edges(part)
        return edge.referent

    def _is_missing(self, weak: object, referent: object, holder: object) -> bool:
        return self.is_circular(weak, referent) or (
            holder is not None and self.is_made_from(referent, holder)
        )

    def is_circular(self, weak: object, referent: object) -> bool:
        """Whether an edge has no referent yet where this is written, and no shell of it either."""
        kind = self.walk.kind(type(weak))
        if kind is None or kind.is_container:
            return False  # containers are filled when what they need is there
        if issubclass(type(referent), NAMEABLE) and self.engine.has_skeletons:
            return False  # a class by value is there, empty
        if type(weak) is weakref.CallableProxyType and any(
            map(self._is_open, bases_of(type(referent)))
        ):
            return True  # by then nothing says yet that its instances can be called
        if self._is_made(referent):
            return False
        return (
            not can_make(self.facts, self.walk.met, referent)
            or self._lacks_arguments(referent)
            or self._needs_what_is_missing(referent)
        )

    def _needs_what_is_missing(self, obj: object) -> bool:
        """Whether an object is made from what is under way, whose own class is not complete."""
        if not self.under_way or not self.is_made_from(obj, MISSING):
            return False
        return any(
            identity in self.under_way
            and not self._is_made(part)
            and not can_make(self.facts, self.walk.met, part)
            for identity, part in self._made_from[id(obj)][1].items()
        )

    def _is_made(self, obj: object) -> bool:
        """Whether an instance was constructed before this place of the payload."""
        identity = id(obj)
        standin = self.under_way.get(identity) or self.standins.get(identity)
        if standin is not None:
            return standin.is_made
        return identity in self.walk.met and not issubclass(type(obj), NAMEABLE)

    def _lacks_arguments(self, obj: object) -> bool:
        """Whether an object is under way, and not all that it is constructed from is there."""
        standin = self.under_way.get(id(obj))
        if standin is None or standin.is_made:
            return False
        # A class by value is there, empty: that is enough where all else is closed.
        function, arguments = standin.reduction
        return function is not _newobj or not self.is_closed(arguments[1:])

    def is_made_from(self, referent: object, holder: object) -> bool:
        """Whether a referent that is not there yet is constructed from an object that was met.

        (`MISSING`: from any.) It has to wait for the state of that.
        """
        identity, cls = id(referent), type(referent)
        standin = self.standins.get(identity)
        reductions, met = self.facts.reductions, self.walk.met
        if (
            identity in met
            or identity in self.under_way
            or (standin is not None and standin.is_made)
            or issubclass(cls, NAMEABLE)
            or not (reductions.once[cls] or (cls.__flags__ & HEAP_TYPE and has_own_arguments(cls)))
        ):
            return False
        found = self._made_from.get(identity)
        if found is None:
            reduction = reductions.reduced_or_none(referent)
            parts = {} if reduction is None else held(reduction[1])
            # Whether classes and functions are there, `can_make` tells.
            holders = {i: part for i, part in parts.items() if _may_hold(part)}
            found = self._made_from[identity] = (referent, holders)
        if holder is not MISSING:
            return id(holder) in found[1]
        return not met.keys().isdisjoint(found[1])


def _may_hold(part: object) -> bool:
    cls = type(part)
    return cls not in ATOMS and cls is not tuple and not issubclass(cls, NAMEABLE)


# Pickle asks for the items of an object when that is made; here they are none.
def _when_made(standin: Standin) -> Iterator[Any]:
    standin.is_made = True
    return
    yield
