"""States that wait: where what holds a weak thing is among the arguments of its referent.

No shell helps there (`shells`): of such a holder the construction is written alone, and its
state when the referent is there. Which types those are is found out by a walk, which is run again.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from weakreduce.core.encode import user_state
from weakreduce.core.expressions import (
    OURS,
    Reduction,
    Rest,
    same_with,
)
from weakreduce.core.held import ATOMS, MISSING, held, items_of, listed
from weakreduce.core.incomplete import cannot_be_called_yet
from weakreduce.core.needed import needed_for
from weakreduce.core.shells import Shells
from weakreduce.core.type_facts import Types
from weakreduce.model.classes import (
    NAMEABLE,
    class_attribute,
    made_type,
)
from weakreduce.model.decide import CIRCULAR, WAITS, Decision
from weakreduce.model.kinds import Edge

#: How many objects are asked whether they hold a reference that leads back, and how many are looked
#: over for those: between a holder and its state is its class, by value with all its methods.
_LOOKED_AT: Final = 100
_LOOKED_OVER: Final = 10_000


class Construction(Shells):
    """Shells, and the states of what has to wait for what is made from it."""

    #: Whether more is to be postponed than when the walk began: it has to be run again.
    postpones = False

    def items_now(self, obj: object, items: Iterable[Any]) -> Iterable[Any]:
        """All, or those before the first that has to wait."""
        if type(obj) in self.facts.postponing:
            (_, ready, _), _ = self._put_off(obj, (), (None, items))
            return ready or ()
        return items

    def hindrance(self, edge: Edge) -> Decision | None:
        """The decision in the place of a link or a snapshot that cannot be made here.

        `WAITS`, where the walk is run again with the state of the holder postponed.
        """
        referent = edge.referent
        known, identity = self.types[type(referent)], id(referent)
        if (
            (known.by_own_code or known.own_arguments)
            and (identity in self.begun or identity not in self.walk.met)
            and self.circles.has(edge)
        ):
            return CIRCULAR
        if not (self.adapter.opened or self.under_way or self.made_from(referent)):
            return None  # nothing is being made, and what the referent needs is always there
        circular = self.is_circular(edge.weak, referent) or self._needs_open(edge.weak, referent)
        needs_more = not circular and self.is_made_on_the_way_back(referent)
        if not circular and not needs_more and not self.is_made_from_met(referent):
            return None
        holder = self._holder(edge)
        if holder is not None and (
            circular or needs_more or id(holder) in self.made_from(referent)
        ):
            self._postpone_like(holder, edge)
            return WAITS
        return CIRCULAR if circular and not self.enters(referent) else None

    def _holder(self, edge: Edge) -> Any:
        """What was met last that holds a weak thing in its state, and does not wait yet, or None.

        Of that the construction can be written alone, and the state when the referent is there.
        """
        referent = edge.referent
        if id(referent) in self.under_way and not self.is_repeatable(referent):
            return None
        found = self._last_holder(edge, held)
        if found is MISSING:  # it is in something that is constructed itself
            found = self._last_holder(edge, functools.partial(needed_for, self.facts))
        return None if found is MISSING else found

    def _last_holder(self, edge: Edge, parts_of: Callable[[Any], dict[int, Any]]) -> Any:
        """`_holder`, given what is looked at of a state; `MISSING` where none was found."""
        referent = edge.referent
        # The state of the referent itself may wait, too.
        waits_for_class = cannot_be_called_yet(self.facts, self.walk.met, edge.weak, referent)
        asked = 0
        for obj in itertools.islice(reversed(self.walk.met.values()), _LOOKED_OVER):
            if asked == _LOOKED_AT or (obj is referent and not waits_for_class):
                break
            keeps = self._keeps_in_state(obj, edge.weak, parts_of)
            if keeps and type(obj) not in self.facts.postponing:
                return None if self._is_called(obj) else obj
            asked += keeps is not None
        return MISSING

    def _is_called(self, obj: Any) -> bool:
        """Whether what is under construction is made by calling an object, which cannot wait.

        Up to protocol 3 a pickler writes what ``__getnewargs_ex__`` gives as a partial, and dill
        has one of a function of its own for a class's attributes.
        """
        if type(obj) is functools.partial:
            function: Any = obj.func
            host = getattr(function, "__module__", None) or MISSING
            if getattr(function, "__name__", None) == "__new__" or host == self.adapter.host_module:
                return True
        return any(obj is standin.parts[0] for standin in self.under_way.values())

    def _keeps_in_state(
        self, obj: object, weak: object, parts_of: Callable[[Any], dict[int, Any]] = held
    ) -> bool | None:
        """Whether an object's state holds a weak thing; None where it has none, or cannot wait."""
        cls = type(obj)
        if cls in ATOMS or cls in OURS or issubclass(cls, NAMEABLE):
            return None
        kind = self.types[cls].kind
        held_by: list[Any] = []
        if kind is None:
            found = self.facts.reductions.reduced_or_none(obj)
            held_by = [] if found is None else listed(found[2:])
        elif issubclass(cls, weakref.ref):  # what a subclass has beside its edge
            held_by = [user_state(obj, kind.internals)]
        return any(id(weak) in parts_of(part) for part in held_by) if held_by else None

    def _postpone_like(self, holder: object, edge: Edge) -> None:
        """Postpone states like the holder's, and of all that holds the same reference beside it.

        A pickler asks for a reference once: each run of the walk would find one type of these.
        """
        postponing = self.facts.postponing
        postponing.add(type(holder))
        self.postpones = True
        found = self.facts.reductions.reduced_or_none(edge.referent)
        beside = {} if found is None else {type(part): part for part in held(found[1]).values()}
        for cls, obj in beside.items():
            if cls in postponing or items_of(obj) is not None:
                continue
            if self._keeps_in_state(obj, edge.weak):
                postponing.add(cls)

    def postpone(self, obj: object) -> Any:
        """An object whose state may lead to what is not constructed yet: that part comes later."""
        standin = self.standins.pop(id(obj), None)
        if standin is None and self._is_called(obj):
            plan = self.walk.plan(type(obj))
            return NotImplemented if plan is None else plan(obj)
        before = self.under_way.get(id(obj))
        as_stock = before is not None and not before.is_made and not self.is_repeatable(obj)
        if standin is not None:
            made_by = standin.reduction
            found = self.finished(standin)
        else:
            plan = self.walk.plan(type(obj))
            found = NotImplemented if plan is None else plan(obj)
            if found is NotImplemented:
                found = self.facts.reductions.reduced_or_none(obj)
            if type(found) is not tuple:
                return NotImplemented if found is None else found
            made_by = found
        shell = self.under_way.get(id(obj))
        if shell is None or (before is not None and not as_stock):
            made_by = made_by if shell is None else shell.reduction
            first, rest = self._put_off(obj, made_by, found[2:])
            return (*found[:2], *first, *rest)
        # Its items are asked for when it is made.
        state, items, pairs, *setter = (*found[2:], None, None, None)[: max(3, len(found) - 2)]
        if before is None and pairs is not None:
            pairs = [*pairs]  # which are written where it is reached again, if it is
            shell.parts = (*shell.parts[:4], iter(pairs), *shell.parts[5:])
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
        if not any(setter) and _sets_attributes(self.types, type(obj), made_by):
            split = self._split_state(obj, state)
        else:
            split = self._whole_state(obj, state)
        for early, rest in (split, self._split_items(obj, items), self._split_items(obj, pairs)):
            now.append(early)
            late.append(rest)
        if any(part is not None for part in late):
            referent = self.leads_back_to(late, obj)
            standin = self.under_way.get(id(referent))
            if standin is None or standin.is_made:
                self.walk.later(same_with(obj, late[0], *map(_given, late[1:]), *setter))
            else:
                # By then there may be more to wait for.
                def fill() -> Reduction:
                    first, rest = self._put_off(obj, made_by, (*late, *setter))
                    return (max, ((obj,),), *first, *rest)

                self.afterwards.setdefault(id(referent), []).append(Rest(fill))
        return (now[0], *map(_given, now[1:])), setter

    def _split_state(self, obj: object, state: object) -> tuple[Any, Any]:
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
            if self.leads_back_to(value, obj) is not MISSING
        }
        if not late:
            return state, None
        return {name: state[name] for name in state if name not in late} or None, late

    def _whole_state(self, obj: object, state: object) -> tuple[Any, Any]:
        return (state, None) if self.leads_back_to(state, obj) is MISSING else (None, state)

    def _split_items(self, obj: object, items: Any) -> tuple[Any, Any]:
        """The items before the first that cannot be there now, and the others."""
        if items is None:
            return None, None
        known = [*items]
        ready = [*itertools.takewhile(lambda item: self.leads_back_to(item, obj) is MISSING, known)]
        return ready or None, known[len(ready) :] or None


def _given(part: object) -> Any:
    """Items as a reduction has them."""
    return iter(part) if type(part) is list else part


def _sets_attributes(types: Types, cls: type, made_by: object) -> bool:
    """Whether a state of attributes may be put back in two steps."""
    if types[cls].has_setstate and (
        class_attribute(cls, "__setstate__") is not BaseException.__setstate__
    ):
        return False
    return types[cls].constructs_by_default or made_type(made_by) is cls
