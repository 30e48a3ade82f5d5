"""What is on the receiver where the payload of a walk stands, and what can be made there.

The words, each said of one place of the payload:

- *met*: the pickler has come to it strongly (`Walk.met`).
- *under way*: the arguments of its construction are being written.
- *made*: it is constructed; its state may come later.
- *written*: where it was met, its state is written, or is being written.
- *open*, of a class or function by value: what it holds is being written. (By a C pickler it is
  made before that, empty: `Adapter.has_skeletons`.)
- *complete*, of a class or function: it is there with all that it holds.
- *closed*, of arguments: nothing in them can lead to what is under way, or open.
- *made from*: what is among the arguments of the construction of something that is not made.

Rule: nothing here writes; `shells` and `construction` do, by what is told here.
"""

from __future__ import annotations

import copyreg
from typing import Any, Final

from weakreduce.core.expressions import Reduction, Standin
from weakreduce.core.held import ATOMS, held
from weakreduce.core.incomplete import can_construct, cannot_be_called_yet, lacks_hash
from weakreduce.core.needed import Circles
from weakreduce.core.walk import Walk
from weakreduce.model.classes import NAMEABLE, bases_of, names_of
from weakreduce.model.kinds import Edge
from weakreduce.paths.parts import parts

#: The construction that the default reduction names.
NEWOBJ: Final = copyreg.__newobj__  # type: ignore[attr-defined]
#: What a class has that runs when an instance of it is filled.
_FILLING: Final = frozenset(
    {"__setstate__", "__setattr__", "__setitem__", "__hash__", "append", "extend", "update", "add"}
)
#: How many objects behind the arguments of a construction are looked at.
_LOOKED_OVER: Final = 1000


class Presence:
    """Which objects are there, complete or as shells, and which can be constructed.

    Args:
        walk: the walk.
    """

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.facts = walk.facts
        self.types = walk.types
        self.adapter = walk.adapter
        #: Edges to what is made from what holds them, which cannot be made in any order.
        self.circles = Circles(walk.facts, walk.reach)
        #: By id, objects that were met weakly before they were met strongly.
        self.standins: dict[int, Standin] = {}
        #: By id, the shells of objects whose construction may lead back to them, until it is done.
        self.under_way: dict[int, Standin] = {}
        #: Ids of all that ever were under way.
        self.begun: set[int] = set()
        #: By id, classes and functions that are on the receiver, with all that they hold.
        self._complete: dict[int, Any] = {id(NEWOBJ): NEWOBJ}
        #: By id, objects that are not there yet, with what is among the arguments of their
        #: construction, by id.
        self._made_from: dict[int, tuple[Any, dict[int, Any]]] = {}
        #: By id, keys and values of weak containers' entries that need a class which was open.
        self.waiting: dict[int, Any] = {}
        #: A container, and the ids of what was seen behind its entries.
        self._seen_behind: tuple[Any, set[int]] = (None, set())

    def _is_open(self, obj: object) -> bool:
        return self.adapter.is_open(obj, self.walk.met)

    def _is_complete(self, obj: Any) -> bool:
        """Whether a class or function is there, with all that it holds."""
        if id(obj) in self._complete:
            return True
        needed = (*bases_of(obj), type(obj)) if issubclass(type(obj), type) else (obj,)
        found = all(map(self._is_complete_itself, needed))
        if found:
            self._complete[id(obj)] = obj
        return found

    def _is_complete_itself(self, obj: object) -> bool:
        """As `_is_complete`, whatever its bases and its metaclass are."""
        if id(obj) in self.walk.met and id(obj) not in self.under_way:
            return not self._is_open(obj)
        return self.adapter.by_name(obj)

    def is_closed_construction(self, reduction: Reduction) -> bool:
        """Whether the arguments of a construction can lead nowhere, from a short look at them."""
        if len(reduction) < 2 or type(reduction[1]) is not tuple:
            return False  # the pickler says why
        # As `is_closed`, which is asked of nearly nothing then: this runs for every shell.
        complete = self._complete
        for part in (reduction[0], *reduction[1]):
            if type(part) not in ATOMS and id(part) not in complete and not self.is_closed(part):
                return False
        return True

    def is_closed(self, part: object) -> bool:
        """Whether a part of a construction's arguments can lead nowhere."""
        if id(part) in self._complete or type(part) in ATOMS:
            return True
        if type(part) is tuple:
            return all(map(self.is_closed, part))
        return issubclass(type(part), NAMEABLE) and self._is_complete(part)

    # --- what can be made here ---------------------------------------------------------

    def can_make(self, obj: object) -> bool:
        """Whether the receiver can make an object, and hash it, when it comes to this place."""
        if id(obj) in self.waiting or lacks_hash(self.facts, self.walk.met, obj):
            return False
        return self._is_made(obj) or (
            can_construct(self.facts, self.walk.met, obj)
            and not self.is_made_from_met(obj)
            and not self._may_lead_back(obj)
        )

    def _may_lead_back(self, obj: object) -> bool:
        """Whether an object is under way, or is made from arguments that may lead to what is.

        (A weak container asks that of its entries, as it can be filled later. Of other weak things
        `Construction.hindrance` tells.)
        """
        if issubclass(type(obj), NAMEABLE):
            # Where there are no empty classes, one that is met now is written with all it holds.
            there = self.adapter.has_skeletons or id(obj) in self.walk.met
            return not there and not self.adapter.by_name(obj)
        # What an open class needs, with all its methods, may be anywhere behind those arguments.
        opened = self.adapter.has_skeletons and bool(self.adapter.opened)
        if not self.under_way and not opened:
            return False
        if id(obj) in self.under_way:
            return self._lacks_arguments(obj)
        known = self.types[type(obj)]
        return (
            known.by_own_code
            or known.own_arguments
            or (opened and any(map(self._brings_more, bases_of(type(obj)))))
        )

    def _brings_more(self, cls: type) -> bool:
        """Whether a class is written where its first instance is, by value with all it holds."""
        return id(cls) not in self.walk.met and not self.adapter.by_name(cls)

    def needs_open_class(self, obj: object) -> bool:
        """Whether something that code of an open class makes is written before an object is made.

        As far as a look at what is behind the arguments of its construction, and its class, tells.
        """
        # (A class or function that is met weakly is written empty.)
        if issubclass(type(obj), NAMEABLE) or self._is_made(obj):
            return False
        behind = [type(obj), *self.made_from(obj).values()]
        return self._leads_to_open(behind, {id(obj)})

    def look_behind(self, edge: Edge) -> None:
        """Let a container wait, if what an entry holds strongly needs an open class.

        The key or the value is written whole where the container is filled. As far as one look at
        what is behind all those of a container tells.
        """
        if not (self.adapter.has_skeletons and self.adapter.opened):
            return
        holds = [part for part in (edge.key, edge.value) if type(part) not in ATOMS]
        if holds and self._seen_behind[0] is not edge.weak:
            self._seen_behind = (edge.weak, set())
        for part in holds:
            if self._leads_to_open([part], self._seen_behind[1]):
                self.waiting[id(part)] = part

    def _leads_to_open(self, waiting: list[Any], seen: set[int]) -> bool:
        """Whether what makes or fills something behind these is code of an open class."""
        waiting = [part for part in waiting if id(part) not in seen]
        seen.update(map(id, waiting))
        while waiting and len(seen) < _LOOKED_OVER:
            part = waiting.pop()
            kind = self.types[type(part)].kind
            if issubclass(type(part), NAMEABLE):
                if id(part) in self.walk.met or self.adapter.by_name(part):
                    continue
            elif kind is not None or self._is_written(part):
                continue
            elif self._is_filled_by_open(part) or not (
                self._is_made(part) or can_construct(self.facts, self.walk.met, part)
            ):
                return True
            for _, each in parts(part, ""):
                if id(each) not in seen and type(each) not in ATOMS:
                    seen.add(id(each))
                    waiting.append(each)
        return False

    def _is_filled_by_open(self, obj: object) -> bool:
        """Whether an open class has code that puts the state or the items of an object back.

        Or that gives its place in a set. (Where no class is empty, `can_construct` says no.)
        """
        return self.adapter.has_skeletons and any(
            not _FILLING.isdisjoint(names_of(base)) and self._is_open(base)
            for base in bases_of(type(obj))
        )

    def is_circular(self, weak: object, referent: object) -> bool:
        """Whether an edge has no referent yet where this is written, and no shell of it either."""
        kind = self.types[type(weak)].kind
        if kind is None or kind.is_container:
            return False  # containers are filled when what they need is there
        if issubclass(type(referent), NAMEABLE) and self.adapter.has_skeletons:
            return False  # a class by value is there, empty
        if cannot_be_called_yet(self.facts, self.walk.met, weak, referent):
            return True
        if self._is_made(referent):
            return False
        return (
            id(weak) in self.made_from(referent)  # in a list, say, that is met before it
            or not can_construct(self.facts, self.walk.met, referent)
            or self._lacks_arguments(referent)
            or self._needs_what_is_missing(referent)
        )

    def _needs_what_is_missing(self, obj: object) -> bool:
        """Whether an object is made from what is under way, whose own class is not complete."""
        if not self.under_way or not self.is_made_from_met(obj):
            return False
        return any(
            identity in self.under_way
            and not self._is_made(part)
            and not can_construct(self.facts, self.walk.met, part)
            for identity, part in self.made_from(obj).items()
        )

    def _lacks_arguments(self, obj: object) -> bool:
        """Whether an object is under way, and not all that it is constructed from is there."""
        standin = self.under_way.get(id(obj))
        if standin is None or standin.is_made:
            return False
        # A class by value is there, empty: that is enough where all else is closed.
        function, arguments = standin.reduction
        return function is not NEWOBJ or not self.is_closed(arguments[1:])

    def _is_written(self, obj: object) -> bool:
        """Whether the state of an instance is, or is being, written; else that is where it is met.

        A shell may be there long before.
        """
        identity = id(obj)
        shells = identity in self.under_way or identity in self.standins
        return identity in self.walk.met and not shells

    def _is_made(self, obj: object) -> bool:
        """Whether an instance was constructed before this place of the payload."""
        identity = id(obj)
        standin = self.under_way.get(identity) or self.standins.get(identity)
        if standin is not None:
            return standin.is_made
        return identity in self.walk.met and not issubclass(type(obj), NAMEABLE)

    def is_made_from_met(self, referent: object) -> bool:
        """Whether a referent that is not there yet is constructed from an object that was met.

        It has to wait for the state of that.
        """
        return not self.walk.met.keys().isdisjoint(self.made_from(referent))

    def made_from(self, referent: object) -> dict[int, Any]:
        """By id, what an object that is not there yet, nor under way, is constructed from."""
        identity, cls = id(referent), type(referent)
        standin = self.standins.get(identity)
        reductions = self.facts.reductions
        if (
            identity in self.walk.met
            or identity in self.under_way
            or (standin is not None and standin.is_made)
            or issubclass(cls, NAMEABLE)
            or not (self.types[cls].by_own_code or self.types[cls].own_arguments)
        ):
            return {}
        found = self._made_from.get(identity)
        if found is None:
            reduction = reductions.reduced_or_none(referent)
            given = {} if reduction is None else held(reduction[1])
            # Whether classes and functions are there, `can_construct` tells.
            holders = {i: part for i, part in given.items() if _may_hold(part)}
            found = self._made_from[identity] = (referent, holders)
        return found[1]


def _may_hold(part: object) -> bool:
    cls = type(part)
    return cls not in ATOMS and cls is not tuple and not issubclass(cls, NAMEABLE)
