"""Which objects a walk answers for, and with what: the dispatch on the type.

A pickler asks a walk's `override` about each instance that it writes out. That notes the instance,
and goes by the *plan* of its type, which is made when the first of the type is met. Most types have
none: their instances are left to the pickler.
"""

from __future__ import annotations

import functools
import operator
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from weakreduce.core.adapter import Override
from weakreduce.core.expressions import (
    DOTTED,
    DOTTED_TYPES,
    NOTHING,
    Call,
    Reduction,
    Rest,
    Stream,
    write_nothing,
)
from weakreduce.core.facts import Facts
from weakreduce.core.held import MISSING
from weakreduce.model import signals
from weakreduce.model.classes import HEAP_TYPE, flags_of
from weakreduce.model.decide import leaves_finalizers
from weakreduce.model.kinds import Kind

#: What is to be done with instances of a type; None: that is left to the pickler.
Plan = Callable[[Any], Any] | None
#: Makes, for a walk, what does fast what `Dispatch.weak` does for exact instances of a type.
ShortCut = Callable[[Any, Kind], Callable[[Any], Any]]
NO_SHORT_CUTS: Final[Mapping[type, ShortCut]] = {}


def noting(
    met: dict[int, Any], plans: dict[type, Plan], make_plan: Callable[[type], Plan]
) -> Override:
    """An override that notes each instance in `met` and goes by the plan of its type."""
    ref = weakref.ref

    def reducer_override(obj: object) -> Any:
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


class Dispatch:
    """The plans of one walk.

    Args:
        facts: what holds for the whole dump.
        met: id -> object, of what the walk meets, in that order.
        plans: what is known of types already.
        short_cuts: the plugs for this kind of walk, by weak type.
    """

    def __init__(
        self,
        facts: Facts,
        met: dict[int, Any],
        plans: dict[type, Plan] | None = None,
        short_cuts: Mapping[type, ShortCut] = NO_SHORT_CUTS,
    ) -> None:
        self.facts = facts
        self.types = facts.types
        self.policy = facts.policy
        self.adapter = facts.adapter
        self.met = met
        self.plans: dict[type, Plan] = {} if plans is None else plans
        self.short_cuts = short_cuts
        #: The plan of what the pickler's own override cares for.
        self.by_override: Override = facts.adapter.stock_override
        self.weak_things = 0
        #: Whether what it writes from now on is nothing, for as long as the pickler goes on.
        self.ended = False

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

    def _leave_out(self, obj: object) -> Any:
        if id(obj) not in self.facts.left_out:
            return NotImplemented
        self.met[id(obj)] = obj
        return NOTHING

    def _ordinary_override(self) -> Override:
        return noting(self.met, self.plans, self.plan)

    def plan(self, obj_type: type) -> Plan:
        """What to do with instances of a type; None: leave them to the pickler."""
        found = self.plans.get(obj_type, MISSING)
        if found is MISSING:
            found = self._make_plan(obj_type)
            if found is None:
                found = self.ordinary_plan(obj_type)
            self.plans[obj_type] = found
        return found  # type: ignore[no-any-return]

    def end(self) -> bool:
        """Write nothing more.

        Returns:
            Whether the pickler has to come to its own end, as a signal would run code of the
            user's; else who calls raises one.
        """
        quietly = signals.would_run_code(self.plans)
        if not self.ended:  # pragma: no branch - what ends goes on from Python 3.14 on
            self.ended, self._plans_before = True, self.plans.copy()
            self.plans.clear()
        return quietly

    def go_on(self) -> bool:
        """Write again what is met from now on; whether nothing was written."""
        if not self.ended:
            return False
        self.ended = False
        self.plans.clear()
        self.plans.update(self._plans_before)
        return True

    def _make_plan(self, obj_type: type) -> Plan:
        if self.ended:  # pragma: no cover - from Python 3.14 on
            # A Python pickler asks about builtins, too, which it writes by others of them.
            is_left = self.adapter.save_apart is not None and not flags_of(obj_type) & HEAP_TYPE
            return None if is_left else write_nothing
        if obj_type in _EXPRESSIONS:
            return _reduction_of
        adapter, known = self.adapter, self.types[obj_type]
        kind = known.kind
        if kind is not known.own_kind:
            return None  # a reducer of the user's own, or the class's __reduce__: theirs wins
        ours: Plan = None
        if kind is not None:
            if kind.is_finalizer and leaves_finalizers(self.policy):
                return self.finalizer_plan(kind)
            make = self.short_cuts.get(obj_type)
            ours = make(self, kind) if make is not None else functools.partial(self.weak, kind)
        elif obj_type in DOTTED_TYPES and adapter.protocol >= 4:
            return self._dotted(obj_type)
        elif issubclass(obj_type, type):
            pass
        elif known.by_own_code:
            ours = self.plan_of_own_code(obj_type)
        elif known.own_arguments or (
            adapter.has_skeletons and issubclass(obj_type, types.ModuleType)
        ):
            ours = self.reduce_with_arguments
        if not known.overridden:
            return ours
        # The pickler's own comes first.
        return self.by_override if ours is None else functools.partial(self._override_or, ours)

    def _override_or(self, otherwise: Override, obj: object) -> Any:
        """What the pickler's own override says, or what is done where it has nothing to say."""
        found = self.adapter.stock_override(obj)
        return otherwise(obj) if found is NotImplemented else found

    def ordinary_plan(self, obj_type: type) -> Plan:
        """The plan of instances that the pickler alone can write."""
        return None

    def plan_of_own_code(self, obj_type: type) -> Plan:
        """The plan of instances that code of their own reduces."""
        raise NotImplementedError

    def reduce_with_arguments(self, obj: object) -> Any:
        """The default reduction of an object, with arguments of its own."""
        raise NotImplementedError

    def _dotted(self, obj_type: type) -> Plan:
        """The plan of functions of builtin types: by name, if the encoder writes them."""
        adapter = self.adapter
        ask: Override
        if self.types[obj_type].overridden:
            ask = adapter.stock_override
        elif self.types[obj_type].has_reducer:
            ask = _leave
        else:  # as the pickler would; a table has to have an answer
            ask = operator.methodcaller("__reduce_ex__", adapter.protocol)

        def name(function: object) -> Any:
            # Not where nothing weak was met: those bytes are stock's.
            found = DOTTED.get(id(function)) if self.weak_things else None
            return ask(function) if found is None else found[1]

        return name

    def weak(self, kind: Kind, weak: object) -> Reduction:
        """The reduction of a weak thing."""
        raise NotImplementedError

    def finalizer_plan(self, kind: Kind) -> Plan:
        """The plan of finalizers that are left to the pickler."""
        raise NotImplementedError


def _hooked(ordinary: Override, hooks: tuple[Override, ...]) -> Override:
    def reducer_override(obj: object) -> Any:
        for hook in hooks:
            found = hook(obj)
            if found is not NotImplemented:
                return found
        return ordinary(obj)

    return reducer_override


def _leave(_obj: object) -> Any:
    """To the pickler."""
    return NotImplemented


#: By hash, and so by identity, as everywhere: a metaclass may have an __eq__ of its own.
_EXPRESSIONS: Final = frozenset({Call, Stream, Rest})
_reduction_of: Final = operator.attrgetter("reduction")
