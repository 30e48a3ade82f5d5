"""What holds for all of one dump, whatever its walks have reached so far.

`Facts` remembers what was asked of the policy's predicates and of the user's code, and what has
failed; of types, `type_facts` does. Rule: no walk and no encoding here; what follows from it is
`decide`'s to say.
"""

from __future__ import annotations

import copy
import pickle
import types
from collections.abc import Iterable
from typing import Any

from weakreduce.core import watchers
from weakreduce.core.adapter import Adapter
from weakreduce.core.reductions import Reductions
from weakreduce.core.sink import Limit, TooLarge
from weakreduce.core.type_facts import Types
from weakreduce.model import decide, homes
from weakreduce.model.classes import (
    NAMEABLE,
    bases_of,
    class_attribute,
    made_type,
    names_of,
)
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.in_force import policy as block
from weakreduce.model.kinds import Edge
from weakreduce.model.policies import Policy
from weakreduce.model.scarce import is_too_deep, says_nothing


class Facts:
    """What is known of one dump; it answers what `decide` asks (`decide.Facts`).

    Args:
        adapter: the pickler.
        policy: the one in force.
        written_before: ids of what earlier dumps of the same pickler wrote: it shares their memo.
        ships: whether an engine is known to ship what is written.
    """

    def __init__(
        self,
        adapter: Adapter,
        policy: Policy,
        written_before: Iterable[int] = (),
        *,
        ships: bool = False,
    ) -> None:
        self.adapter = adapter
        self.policy = policy
        self.choice = decide.outside_choice(policy)
        self.written_before = written_before
        self.types = Types(adapter)
        self.reductions = Reductions(adapter, self.types)
        #: Whether the payload is to import weakreduce on the receiver.
        self.readies = policy.ready_receiver == "always" or (
            policy.ready_receiver == "engines" and ships
        )
        #: id(referent) -> the decision that replaces a snapshot which cannot be.
        self.failed: dict[int, Decision] = {}
        #: (id(container), id(key)) -> the same for an entry whose value is the reason.
        self.failed_entries: dict[tuple[int, int], Decision] = {}
        #: id(callback) -> callback, of all that are to travel.
        self.callbacks: dict[int, Any] = {}
        #: id(callback) -> (the callback, why it is dropped).
        self.dropped: dict[int, tuple[Any, str]] = {}
        #: id -> strong objects that a dump which is not going to be loaded leaves out.
        self.left_out: dict[int, Any] = {}
        #: Types of what holds a reference to something that is constructed from it.
        self.postponing: set[type] = set()
        #: By the referent's id, what is written before all else (`core.foremost`).
        self.foremost: dict[int, Edge] = {}
        #: By id, referents of keys that are written whole where they are met, whatever that takes.
        self.whole: dict[int, Any] = {}
        #: How many walks have found more to write before all else.
        self.searches = 0
        #: Ids of weak things with a callback whose referent is constructed from them: that edge
        #: dangles, and what the callback holds does not count.
        self.circular: set[int] = set()
        #: Whether walks began anew since what was inside had left the payload meanwhile.
        self.begun_anew = False
        #: How many surveys there were of what cannot be pickled.
        self.surveys = 0
        #: By id, what is known to lead to nothing weak (`hashing.is_apart`).
        self.apart: dict[int, Any] = {}
        #: By id, what is known to lead to something weak, or to what nobody knows.
        self.not_apart: dict[int, Any] = {}
        #: id(referent) -> (the referent, what may come early of it: `hashing.early_attributes`).
        self.early: dict[int, tuple[object, tuple[dict[str, Any], dict[str, Any]]]] = {}
        #: How many objects and items may still be looked at for `apart`.
        self.looks = 500_000
        #: Whether snapshots travel; not where the dump is run to measure all the rest.
        self.with_snapshots = True
        self._ruled: dict[tuple[int, int], Decision | None] = {}
        self._measured: set[int] = set()
        #: id(referent) -> why it was not measured, of those whose own pickle cannot be.
        self.unmeasured: dict[int, str] = {}
        self._keep: list[Any] = []
        #: The pickler's ``persistent_id``, which may claim any object, if it has one.
        self.persistent_id = adapter.persistent_id()

    def to_measure(self, *, with_snapshots: bool) -> Facts:
        """What is known, for another dump by the same pickler that is run to be measured.

        All that was asked of the user's code is remembered; without snapshots, every edge that
        would be one dangles.
        """
        fresh = copy.copy(self)
        fresh.callbacks = {}
        fresh.foremost = {}
        fresh.with_snapshots = with_snapshots
        return fresh

    def take_apart(self) -> None:
        """Forget all: what was asked leads back here."""
        self.reductions.take_apart()
        vars(self).clear()

    def keep(self, obj: object) -> None:
        """Keep an object for as long as its id is remembered here."""
        self._keep.append(obj)

    def learn_circular(self, weak_things: list[Any]) -> None:
        """Remember weak things that dangle, with a callback that counted until that was known."""
        for weak in weak_things:
            self.circular.add(id(weak))
            self.keep(weak)

    # --- what `decide` asks ---------------------------------------------------------------

    def ruled(self, edge: Edge) -> Decision | None:
        """What a rule of the policy says; the user's predicates are asked once."""
        weak, referent = edge.weak, edge.referent
        key = (id(weak), id(referent))
        if key not in self._ruled:
            self._ruled[key] = decide.rule_for(self.policy, weak, referent)
            self.keep((weak, referent))
        return self._ruled[key]

    def is_named(self, referent: object) -> bool:
        """Whether a referent is written as a name, and so lives on the receiver anyway."""
        if self.persistent_id is not None and self.persistent_id(referent) is not None:
            return True
        if not self.types[type(referent)].nameable:
            return False
        # By the type: isinstance() may ask a property of the user's, which may raise.
        if issubclass(type(referent), NAMEABLE):
            return self.adapter.by_name(referent)
        try:
            name = self.reductions.by_override(referent)
            if name is NotImplemented:
                name = self._own_name(referent)
            return type(name) is str and self.adapter.finds(referent, name)
        except Exception as error:
            if says_nothing(error):
                raise
            return False  # it surfaces, with its cause, when it is pickled

    def stored_in(self, edge: Edge) -> tuple[type, str] | None:
        """The class, written as a name, that has a WeakMethod's function, and under which name.

        The receiver finds a class method, or a private method, there alone: their own names lead
        to a bound method, or nowhere.
        """
        function, bound_to = edge.function, edge.referent
        if type(function) is not types.FunctionType:
            return None
        is_class = issubclass(type(bound_to), type)
        own = function.__name__
        for cls in (*bases_of(type(bound_to)), *(bases_of(bound_to) if is_class else ())):
            # Not what was put into the class later, which the receiver may not have done.
            if function.__qualname__ != f"{cls.__qualname__}.{own}":
                continue
            if function.__module__ != cls.__module__ or not self.is_named(cls):
                continue
            for name in (own, f"_{cls.__name__.lstrip('_')}{own}"):
                found = names_of(cls).get(name)
                if (found.__func__ if type(found) is classmethod else found) is function:
                    return cls, name
        return None

    def _own_name(self, referent: object) -> Any:
        """What an object's own code reduces it to, if that may be a name."""
        cls = type(referent)
        if self.types[cls].reduced_freely:
            return self.reductions.of(referent)
        if not self.types[cls].gives_names:
            return None
        own = getattr(referent, "__qualname__", None) or getattr(referent, "__name__", None)
        return referent.__reduce__() if type(own) is str else None

    def is_referable(self, referent: object) -> bool:
        """Whether the copy of a referent can be weakly referenced, as its reduction tells.

        What a function makes is known on the receiver alone.
        """
        if self.types[type(referent)].referable:
            return True
        if type(referent) is pickle.PickleBuffer:
            return False  # it arrives as bytes
        known = self.reductions.found.get(id(referent))
        try:
            made = made_type(self.reductions.reduced(referent) if known is None else known)
        except Exception as error:
            if says_nothing(error):
                raise
            return True  # it surfaces, with its cause, when it is pickled
        return made is None or class_attribute(made, "__weakrefoffset__") != 0

    def obstacle(self, edge: Edge) -> Decision | None:
        """The decision that takes the place of a snapshot which cannot be."""
        weak, referent = edge.weak, edge.referent
        kind = self.types[type(weak)].kind
        if kind is None or not kind.can_pin:
            return decide.UNPINNABLE
        if not self.with_snapshots:
            return decide.LEFT_OUT
        limit = self.policy.max_snapshot_bytes
        if limit is not None and id(referent) not in self._measured:
            self._measured.add(id(referent))
            self.keep(referent)
            reason = self._excess(referent, limit)
            if reason is not None:
                self.failed[id(referent)] = Decision(Fate.DANGLE, reason, asked=False)
        if not self.failed and not self.failed_entries:
            return None
        entry = self.failed_entries.get((id(weak), id(referent)))
        return self.failed.get(id(referent), entry)

    def _excess(self, referent: object, limit: float) -> str | None:
        """Why a referent's own pickle is not known to be within `max_snapshot_bytes`."""
        # Twice, as the interpreter may tell a lack of memory by another error: that is no measure,
        # and the walk may have memory again.
        for _ in range(2):
            try:
                with block(self.policy, max_snapshot_bytes=None), watchers.watching(False):
                    self.adapter.sibling_dump(referent, Limit(limit))
            except TooLarge:
                return f"its own pickle is larger than max_snapshot_bytes={limit}"
            except MemoryError as error:
                # It says nothing of the referent; and if it struck while a `TooLarge` was on its
                # way, who looks for signals of the dump around this one is not to find that.
                error.__context__ = None
                raise
            except Exception as error:  # noqa: BLE001 - the walk fails, too, nearly always
                # But here the recursion may have fewer frames than in the walk.
                if is_too_deep(error):
                    return f"it is too deep to be measured for max_snapshot_bytes={limit}"
            else:
                return None
        self.unmeasured[id(referent)] = (
            f"it cannot be pickled by itself, to be measured for max_snapshot_bytes={limit}"
        )
        return None

    def learn_unmeasured(self, written: Iterable[Edge]) -> bool:
        """Let snapshots dangle that were written, though nobody knows how large they are.

        Returns:
            Whether there is any.
        """
        found = [id(edge.referent) for edge in written if id(edge.referent) in self.unmeasured]
        for identity in found:
            self.failed[identity] = Decision(Fate.DANGLE, self.unmeasured[identity], asked=False)
        return bool(found)

    def came(self, referent: object) -> bool:
        """Whether a referent is a copy from another process, and the receiver is to know that.

        Where the receiver is readied, it has what is needed to find what was sent.
        """
        return self.readies and bool(homes.came(referent))
