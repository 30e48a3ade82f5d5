"""Circles through a construction: what leads, over weak edges, back to what is being made.

The arguments of a construction may lead back to what is constructed: the class of an instance does,
if it is by value and keeps its instances in a registry. So an object that may be in such a circle
is written as ``(arguments, shell)[1]``. What leads back gets the shell, which is constructed there,
from what there is of its arguments by then, as pickle itself does where a strong circle leads back.
The state comes after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from weakreduce.core.encode import dead_single
from weakreduce.core.expressions import Call, Guarded, Reduction, Rest, Standin
from weakreduce.core.held import MISSING, are_same, holds_fresh, items_of
from weakreduce.core.incomplete import can_construct, lacks_hash
from weakreduce.core.needed import needed_for, single_edge
from weakreduce.core.presence import Presence
from weakreduce.core.walk import Walk
from weakreduce.model.classes import NAMEABLE

#: How many objects are looked at for what leads back from the arguments of a construction.
_LOOKED_AT: Final = 100


class Shells(Presence):
    """What is being made where the payload of a walk stands, and what stands for it meanwhile.

    Args:
        walk: the walk.
    """

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        #: By id, objects under construction, each with whether it can be constructed anew.
        self._repeatable: dict[int, tuple[Any, bool]] = {}
        #: Ids of those among `_repeatable` for which lists or dicts are made each time.
        self._made_anew: set[int] = set()
        #: Ids of objects that a weak edge has led to in their own construction, to be written as
        #: stock writes them.
        self.entered: set[int] = set()
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
        """The construction of such an object, where its arguments may lead back to it."""
        standin = guarded.standin
        if id(standin.obj) in self.under_way:  # whose arguments lead here, and are not done yet
            return (max, ((standin,),))
        self._enter(standin)
        expression = standin.after_arguments(*self._afterwards(standin.obj))[:2]
        return (*expression, None, self._when_known(standin.obj, None))

    def of_own_class(self, obj: object) -> Any:
        """The plan of instances of a class by value, until that is complete."""
        if self._is_complete(type(obj)) and id(obj) not in self.under_way:
            if not self.under_way:  # or more of them may be
                self.walk.plans[type(obj)] = None
            return NotImplemented
        return self.shelled(obj, self.adapter.reduction)

    def shelled(self, obj: object, reduction: Callable[[Any], Any]) -> Any:
        """What is written of an object met strongly whose construction may lead back to it."""
        standin = self.under_way.get(id(obj))
        if standin is not None:
            return self._reached_again(standin)
        found = reduction(obj)
        if type(found) is not tuple or self.is_closed_construction(found):
            return NotImplemented if found is None else found
        return self._begin(Standin(obj, found))

    def finished(self, standin: Standin) -> Any:
        """An object that was met weakly before, or weakly alone so far."""
        if (
            issubclass(type(standin.obj), NAMEABLE)
            and self.walk.plan(type(standin.obj)) == self.put_names_off
        ):
            # By value, as all that has a stand-in; from here on it is open.
            standin.parts = (*standin.reduction, *self.put_names_off(standin.obj)[2:])
        kind = self.types[type(standin.obj)].kind
        if kind is not None and kind.is_container and len(standin.parts) == 2:
            standin.parts = (*standin.reduction, *self.walk.weak(kind, standin.obj)[2:])
        if standin.is_made or self.is_closed_construction(standin.reduction):
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
                return self._as_stock(standin)
            if id(obj) in self._made_anew:  # those that were asked for first are incomplete
                standin.parts = (*self._asked_again(obj)[:2], *standin.parts[2:])
        return standin.finish()

    def _as_stock(self, standin: Standin) -> Any:
        """An object written whole in its own construction, of which nothing can be had twice.

        Stock goes on like that until it comes to what is in its memo, or for ever.
        """
        found = self.facts.reductions.ask(standin.obj)
        if type(found) is not tuple:
            return found
        function, arguments, state, items, *others = (*found, None, None)[: max(4, len(found))]
        return (function, arguments, state, self._when_whole(standin, items), *others)

    def enters(self, obj: object) -> bool:
        """Whether an object is written as stock does where a weak edge leads back to it.

        A strong edge would be written like that. Only the first weak one is: others may be among
        the arguments again, without an end.
        """
        standin = self.under_way.get(id(obj))
        if standin is None or standin.is_made or id(obj) in self.entered:
            return False
        if self.is_repeatable(obj) or not can_construct(self.facts, self.walk.met, obj):
            return False
        self.entered.add(id(obj))
        return True

    def _when_whole(self, standin: Standin, items: Any) -> Iterator[Any]:
        # From here on the memo has the object itself, and all that waits for its shell gets it.
        standin.parts = (max, ((standin.obj,),), *standin.parts[2:])
        self.under_way.pop(id(standin.obj), None)
        yield from items or ()

    def _enter(self, standin: Standin) -> None:
        self.under_way[id(standin.obj)] = standin
        self.begun.add(id(standin.obj))

    def _begin(self, standin: Standin) -> Reduction:
        obj = standin.obj
        self._enter(standin)
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
        raise NotImplementedError

    def _afterwards(self, obj: object) -> tuple[Any, ...]:
        """What is to be written when an object is constructed, if anything may be."""
        if not self.facts.postponing:
            return ()
        return (Rest(lambda: (list, (self.afterwards.pop(id(obj), []),))),)

    def put_names_off(self, obj: object) -> Any:
        """The plan of classes and functions: what cannot be there yet is put in at the end.

        A reference in a class's own attributes, or in what its methods hold, may need an instance
        whose construction needs the class, with all its methods.
        """
        found = self.adapter.stock_override(obj)
        if id(obj) not in self.adapter.opened:
            return found  # it is a name
        for names, put_in in self.adapter.namespaces(obj, found):
            early = [name for name in names if self._comes_too_early(names[name])]
            for name in early:
                self.walk.later(put_in(name, names[name]))
                names[name] = _until_then(self.walk, names[name])
        return self.adapter.closing(obj, found)

    # --- what is there, and what leads back ------------------------------------------------

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
        if self.types[type(obj)].by_own_code:
            return self.facts.reductions.ask(obj)
        is_weak = self.types[type(obj)].kind is not None  # then its reduction is ours, and stays
        return self.under_way[id(obj)].parts if is_weak else self.adapter.reduction(obj)

    def _comes_too_early(self, value: object) -> bool:
        """Whether what a class or function holds by a name cannot be made before it."""
        return any(
            self._is_missing(part, referent, None)
            # In a container it may be hashed, as its referent is.
            or (part is not value and lacks_hash(self.facts, self.walk.met, referent))
            for part, referent in self._singles(needed_for(self.facts, value))
        )

    def leads_back_to(self, value: object, holder: object) -> Any:
        """What a reference that a value is made from leads to, if not there yet; else `MISSING`."""
        for part, referent in self._singles(needed_for(self.facts, value)):
            if self._is_missing(part, referent, holder):
                return referent
        return MISSING

    def _singles(self, parts: dict[int, Any]) -> Iterator[tuple[Any, Any]]:
        """The weak things with one edge among parts, each with its referent."""
        for part in parts.values():
            referent = self._referent_of_a_single(part)
            if referent is not None:
                yield part, referent

    def _referent_of_a_single(self, part: object) -> Any:
        """What a weak thing with one edge points at; None for all else."""
        edge = single_edge(self.facts, part)
        return None if edge is None else edge.referent

    def _is_missing(self, weak: object, referent: object, holder: object) -> bool:
        return (
            self.is_circular(weak, referent)
            or id(holder) in self.made_from(referent)
            or self.is_made_on_the_way_back(referent)
            or self._needs_open(weak, referent)
        )

    def _needs_open(self, weak: object, referent: object) -> bool:
        """`needs_open_class`, for a weak thing that does not wait by itself, as containers do."""
        if not self.adapter.has_skeletons:
            return False  # `can_construct` tells
        kind = self.types[type(weak)].kind
        return kind is not None and not kind.is_container and self.needs_open_class(referent)

    def is_made_on_the_way_back(self, obj: object) -> bool:
        """Whether a weak thing among the arguments of a construction leads to what is under way.

        Written here, such a weak thing would have no referent. What the arguments are made from
        counts, too, and what their weak things refer to.
        """
        if not self.under_way:
            return False
        waiting, seen = [obj], {id(obj)}
        while waiting and len(seen) < _LOOKED_AT:
            for part in self.made_from(waiting.pop()).values():
                referent = self._referent_of_a_single(part)
                if referent is not None and self.is_circular(part, referent):
                    return True
                leads_to = part if referent is None else referent
                if id(leads_to) not in seen:
                    seen.add(id(leads_to))
                    waiting.append(leads_to)
        return False


def _until_then(walk: Walk, value: Any) -> Any:
    """What stands in the place of a value that is put in at the end.

    Code of the class may run before that, to make an instance, and look at the name.
    """
    kind = walk.types[type(value)].kind
    if kind is None:
        return None if items_of(value) is None else type(value)()
    function, arguments = dead_single(walk, kind, value)
    return Call(function, *arguments)


# Pickle asks for the items of an object when that is made; here they are none.
def _when_made(standin: Standin) -> Iterator[Any]:
    standin.is_made = True
    return
    yield
