"""What one dump knows across its walks, and what it has to ask of the pickler.

Rule: no walk and no encoding here. `Known` asks `decide` for what the policy chooses, calls
an object's own ``__reduce_ex__`` once only, and remembers both.
"""

from __future__ import annotations

import copy
import pickle
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from weakreduce.core.expressions import Call, Reduction, Rest, Stream
from weakreduce.model import decide, homes
from weakreduce.model.classes import (
    HEAP_TYPE,
    NAMEABLE,
    class_attribute,
    constructs_by_default,
    defines,
    has_own_arguments,
    hashed_by_value,
    made_type,
    may_give_names,
    may_pretend,
    overrides_reduce,
    reduces_by_default,
)
from weakreduce.model.decide import Decision, Fate
from weakreduce.model.kinds import can_pin, kind_of
from weakreduce.model.policies import Policy


class Adapter(Protocol):
    """What a walk needs to know of a pickler; one for each family, in `weakreduce.hosts`."""

    def stock_override(self, obj: Any) -> Any:
        """What the pickler's own ``reducer_override`` says of a class or function."""

    def wants_override(self, obj_type: type) -> bool:
        """Whether the pickler's own ``reducer_override`` cares for instances of a type."""

    def has_reducer(self, obj_type: type) -> bool:
        """Whether a dispatch table has an entry for the type."""

    def table_reducer(self, obj_type: type) -> Callable[[Any], Any] | None:
        """The entry of a dispatch table, unless it is the host's own."""

    def claims(self, weak_type: type) -> bool:
        """Whether a user registered a reducer of their own for a weak type: theirs wins."""

    def reduction(self, obj: Any) -> Reduction | None:
        """The reduction with which the pickler writes `obj`; None if it uses another way."""

    def check_reduction(self, obj: Any, reducer: Any, found: Any) -> None:
        """Raise what the pickler raises for what is no reduction, if that names who gave it."""

    def persistent(self, obj: Any) -> bool:
        """Whether the pickler's ``persistent_id`` claims the object."""

    @property
    def has_persistent_ids(self) -> bool:
        """Whether it may claim any."""

    def by_name(self, obj: Any) -> bool:
        """Whether the pickler writes a class, function or module as a name."""

    def finds(self, obj: Any, name: str) -> bool:
        """Whether the pickler finds this very object under a name that its reduction gave."""

    #: Writes an object whose copy the unpickler makes and lays aside; None where the pickler
    #: (a C one) has no way to.
    save_apart: Callable[[Any], None] | None

    @property
    def protocol(self) -> int:
        """The pickle protocol."""

    @property
    def ships(self) -> bool:
        """Whether an engine ships what is written."""

    def closing(self, obj: Any, found: Any) -> Any:
        """The reduction of a class or function, so that `is_open` is exact."""

    def namespaces(self, obj: Any, found: Any) -> Iterable[tuple[dict[str, Any], Any]]:
        """The names that a class or function by value holds, given its reduction.

        Each with a function that makes the expression which puts one name in.
        """

    #: Whether a class by value is there, empty, while its attributes are being written.
    has_skeletons: bool

    #: By id, what is written by value and not known to be complete, each in a pair with what the
    #: pickler's memo has when it is.
    opened: dict[int, Any]

    def is_open(self, obj: Any, met: dict[int, Any]) -> bool:
        """Whether a class or function by value is incomplete where the payload stands.

        Its attributes are being written, and lead here. `met` is what was met so far.
        """


#: Tests turn this off, to compare the short cuts with what they are short cuts of.
short_cuts_allowed = True
#: Types of what a payload may hold besides plain instances, and still be orderless: no code of
#: anybody's runs when they are made, and no hash by value is taken.
_ORDERLESS: Final = frozenset(
    {weakref.ref, weakref.ProxyType, weakref.CallableProxyType, weakref.WeakSet,
     weakref.WeakKeyDictionary, weakref.WeakValueDictionary, Call, Stream, Rest, type(None),
     set, frozenset, list, dict, tuple, str, bytes, bytearray, bool, int, float}
)  # fmt: skip
#: Ids of what the encoder writes as names, of types that are not in that list: which of them a
#: first walk met depends on the short cuts that it took.
_WORDS: Final = frozenset(
    map(id, (hash, vars, weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary,
             dict.update, set.update))
)  # fmt: skip
_UNPINNABLE = Decision(
    Fate.DANGLE, "a weak thing of this type cannot keep its referent alive", asked=False
)


class _Answers(dict[type, bool]):
    """What a function says of a type, asked once for each."""

    def __init__(self, ask: Callable[[type], bool]) -> None:
        super().__init__()
        self.ask = ask

    def __missing__(self, obj_type: type) -> bool:
        found = self[obj_type] = self.ask(obj_type)
        return found


class Known:
    """What is known across the walks of one dump."""

    def __init__(
        self,
        adapter: Adapter,
        policy: Policy,
        too_large: Callable[[Any], bool],
        written_before: Iterable[int] = (),
    ) -> None:
        self.adapter = adapter
        self.policy = policy
        #: Pickles a referent by itself, for `max_snapshot_bytes`.
        self.too_large = too_large
        #: ids of what earlier dumps of the same pickler wrote: it shares their memo.
        self.written_before = written_before
        #: Whether the payload is to import weakreduce on the receiver.
        self.readies = policy.ready_receiver == "always" or (
            policy.ready_receiver == "engines" and adapter.ships
        )
        #: id -> object, of everything inside, in the order of the first walk.
        self.inside: dict[int, Any] = {}
        #: Whether nothing in the payload can see in which order its objects are made.
        self.orderless = False
        #: Whether `inside` is in the order in which the strong walk met it.
        self.ordered = True
        #: id -> reduction, of objects that are reduced by code that is not the host's: that
        #: code may work only once, or make other temporaries the next time.
        self.reductions: dict[int, Reduction | str] = {}
        #: id -> (the object, the error and its traceback), where that code raised.
        self.raised: dict[int, tuple[Any, Exception, types.TracebackType | None]] = {}
        #: id(referent) -> the decision that replaces a snapshot which cannot be.
        self.failed: dict[int, Decision] = {}
        #: (id(container), id(key)) -> the same, where the entry's value is the reason.
        self.failed_entries: dict[tuple[int, int], Decision] = {}
        #: id(callback) -> callback, of all that are to travel.
        self.callbacks: dict[int, Any] = {}
        #: id(callback) -> (the callback, why it is dropped).
        self.dropped: dict[int, tuple[Any, str]] = {}
        #: id -> strong objects that a dump which is not going to be loaded leaves out.
        self.left_out: dict[int, Any] = {}
        #: Types of what holds a reference to something that is constructed from it.
        self.postponing: set[type] = set()
        self._with_snapshots = True
        self._chosen: dict[tuple[int, int], Decision] = {}
        self._plain_choice = decide.outside_choice(policy)
        #: `is_plain`, where no table has a reducer for the type either.
        self.plain = _Answers(lambda cls: is_plain(cls) and not adapter.has_reducer(cls))
        #: `may_give_names`, where no table has a reducer for the type.
        self.gives_names = _Answers(
            lambda cls: may_give_names(cls) and not adapter.has_reducer(cls)
        )
        #: Whether instances may be `named`.
        self.nameable = _Answers(
            lambda cls: (
                issubclass(cls, NAMEABLE)
                or adapter.wants_override(cls)
                or _reduces_once(adapter, custom, cls)
                or self.gives_names[cls]
            )
        )
        #: Whether the copy of every instance can be weakly referenced as the original is.
        self.referable = _Answers(lambda cls: _keeps_its_type(adapter, cls))
        #: Whether instances hash by their identity.
        self.hashed_by_identity = _Answers(
            lambda cls: class_attribute(cls, "__hash__") is object.__hash__
        )
        #: `can_pin`.
        self.pinnable = _Answers(can_pin)
        #: `overrides_reduce`.
        self.custom = custom = _Answers(overrides_reduce)
        self._measured: set[int] = set()
        self._keep: list[Any] = []

    def again(self, *, with_snapshots: bool) -> Known:
        """What is known, for another dump by the same pickler that is run to be measured.

        All that was asked of the user's code is remembered; without snapshots, every edge that
        would be one dangles.
        """
        fresh = copy.copy(self)
        fresh.inside, fresh.callbacks = {}, {}
        fresh._with_snapshots = with_snapshots
        return fresh

    def outside(self, weak: Any, referent: Any) -> Decision:
        """The fate of an edge whose referent is outside; asked of the user's predicates once."""
        decision = self._plain_choice
        if self.policy.rules:
            key = (id(weak), id(referent))
            ruled = self._chosen.get(key)
            if ruled is None:
                ruled = decide.outside_fate(self.policy, weak, referent)
                self._chosen[key] = ruled
                self._keep.append((weak, referent))
            decision = ruled
        if decision.fate is not Fate.SNAPSHOT:
            return decision
        if not self.pinnable[type(weak)]:
            return _UNPINNABLE
        if not self._with_snapshots:
            return decide.LEFT_OUT
        limit = self.policy.max_snapshot_bytes
        if limit is not None and id(referent) not in self._measured:
            self._measured.add(id(referent))
            self._keep.append(referent)
            if self.too_large(referent):
                reason = f"its own pickle is larger than max_snapshot_bytes={limit}"
                self.failed[id(referent)] = Decision(Fate.DANGLE, reason, asked=False)
        if self.failed_entries:
            decision = self.failed_entries.get((id(weak), id(referent)), decision)
        return self.failed.get(id(referent), decision)

    def keep(self, obj: Any) -> None:
        """Keep an object for as long as its id is remembered here."""
        self._keep.append(obj)

    @property
    def lets_short_cuts(self) -> bool:
        """Whether the policy chooses one fate for all that is outside, which nothing may change."""
        policy = self.policy
        return (
            short_cuts_allowed
            and self._with_snapshots
            and not policy.rules
            and policy.live == "allow"
            and policy.max_snapshot_bytes is None
            and policy.identity == "copy"
            and not (self.readies and homes.away)
            and not self.failed
            and not self.failed_entries
            and not self.adapter.has_persistent_ids
        )

    def learn_order(self) -> None:
        """Find out whether the payload is `orderless`, when all that is inside is known."""
        met = [obj for obj in self.inside.values() if id(obj) not in _WORDS]
        types_met = set(map(type, met))
        by_name = types_met.intersection(NAMEABLE)
        self.orderless = all(
            obj_type in by_name or obj_type in _ORDERLESS or self.plain[obj_type]
            for obj_type in types_met
        ) and all(self.adapter.by_name(obj) for obj in met if by_name and type(obj) in by_name)

    def reduces_once(self, obj_type: type) -> bool:
        """Whether code that is not the host's reduces instances, and so is to be called once.

        It may count, or hand out what it has only one of, as multiprocessing's does with files.
        """
        return _reduces_once(self.adapter, self.custom, obj_type)

    def named(self, referent: Any) -> bool:
        """Whether a referent is written as a name, and so lives on the receiver anyway."""
        if self.adapter.persistent(referent):
            return True
        # By the type: isinstance() may ask a property of the user's, which may raise.
        if issubclass(type(referent), NAMEABLE):
            return self.adapter.by_name(referent)
        try:
            name = self._by_override(referent)
            if name is NotImplemented:
                name = self._own_name(referent)
            return type(name) is str and self.adapter.finds(referent, name)
        except Exception:  # noqa: BLE001 - it surfaces, with its cause, when it is pickled
            return False

    def _own_name(self, referent: Any) -> Any:
        """What an object's own code reduces it to, if that may be a name."""
        if self.reduces_once(type(referent)):
            return self.reduction(referent)
        if not self.gives_names[type(referent)]:
            return None
        own = getattr(referent, "__qualname__", None) or getattr(referent, "__name__", None)
        return referent.__reduce__() if type(own) is str else None

    def refers(self, referent: Any) -> bool:
        """Whether a copy of the referent can be weakly referenced, as far as its reduction tells.

        What a function makes is known on the receiver alone.
        """
        if self.referable[type(referent)]:
            return True
        if type(referent) is pickle.PickleBuffer:
            return False  # it arrives as bytes
        try:
            made = made_type(self.reduced(referent))
        except Exception:  # noqa: BLE001 - it surfaces, with its cause, when it is pickled
            return True
        return made is None or made.__weakrefoffset__ != 0

    def _by_override(self, obj: Any) -> Any:
        """What the pickler's own override says of an object, where it cares for such."""
        if not self.adapter.wants_override(type(obj)):
            return NotImplemented
        return self.adapter.stock_override(obj)

    def reduced(self, obj: Any) -> Any:
        """The reduction of an object, by whatever code; raises what that raises."""
        found = self._by_override(obj)
        if found is not NotImplemented:
            return found
        if self.reduces_once(type(obj)):
            return self.reduction(obj)
        return self.adapter.reduction(obj)

    def reduced_or_none(self, obj: Any) -> Any:
        """`reduced`, or None where that is no tuple, or raises."""
        try:
            found = self.reduced(obj)
        except Exception:  # noqa: BLE001 - it surfaces, with its cause, when it is pickled
            return None
        return found if type(found) is tuple else None

    def reduction(self, obj: Any) -> Reduction | str:
        """The reduction by the table or by ``__reduce_ex__``, asked for once in the whole dump."""
        found = self.reductions.get(id(obj))
        if found is None:
            if id(obj) in self.raised:
                _, error, traceback = self.raised[id(obj)]
                try:
                    raise error.with_traceback(traceback)
                finally:
                    del error, traceback  # which lead to this frame, and so back to themselves
            try:
                found = self.ask(obj)
            except Exception as error:
                # Of the same depth the next attempt may be another; of an inner dump it is not.
                if not is_too_deep(error) or left_a_dump(error):
                    self.raised[id(obj)] = (obj, error, error.__traceback__)
                raise
            if isinstance(found, tuple) and len(found) >= 4:
                # Iterators of items serve once; a second walk needs them again.
                items = [_Items(part) if _is_iterator(part) else part for part in found[3:5]]
                found = (*found[:3], *items, *found[5:])
            self.reductions[id(obj)] = found
            self._keep.append(obj)
        if isinstance(found, tuple) and len(found) >= 4:
            iterators = [iter(part) if type(part) is _Items else part for part in found[3:5]]
            return (*found[:3], *iterators, *found[5:])
        return found

    def ask(self, obj: Any) -> Reduction | str:
        """The same, asked for once more."""
        reducer = self.adapter.table_reducer(type(obj))
        found: Any = obj.__reduce_ex__(self.adapter.protocol) if reducer is None else reducer(obj)
        self.adapter.check_reduction(obj, reducer, found)
        return found  # type: ignore[no-any-return]


def is_too_deep(error: BaseException) -> bool:
    """Whether the recursion went too deep; cloudpickle turns that into a PicklingError."""
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def left_a_dump(error: BaseException) -> bool:
    """Whether an error comes out of a dump inside this one: of a reducer that dumps something.

    To be asked where the error is caught: that frame may be one of a dump's own.
    """
    caught = error.__traceback__
    traceback = None if caught is None else caught.tb_next
    while traceback is not None:
        frame = traceback.tb_frame
        if (
            frame.f_code.co_name == "run"
            and frame.f_globals.get("__name__") == "weakreduce.core.session"
        ):
            return True
        traceback = traceback.tb_next
    return False


def _keeps_its_type(adapter: Adapter, obj_type: type) -> bool:
    if issubclass(obj_type, NAMEABLE) or kind_of(obj_type) is not None:
        return True
    if obj_type is pickle.PickleBuffer or adapter.has_reducer(obj_type):
        return False
    # What is written in C gives its own type, and may be costly to ask.
    return constructs_by_default(obj_type) or not overrides_reduce(obj_type)


class _Items(list[Any]):
    """What an iterator of a reduction gave."""


def _is_iterator(part: Any) -> bool:
    # What is none is for the pickler to judge.
    return hasattr(type(part), "__next__")


def _reduces_once(adapter: Adapter, custom: dict[type, bool], obj_type: type) -> bool:
    if adapter.has_reducer(obj_type):
        return adapter.table_reducer(obj_type) is not None
    return custom[obj_type]


def is_plain(obj_type: type) -> bool:
    """Whether instances are made bare, hold attributes alone, and none of their code sees that."""
    return (
        class_attribute(obj_type, "__new__") is object.__new__
        and class_attribute(obj_type, "__setattr__") is object.__setattr__
        and not defines(obj_type, "__getnewargs__")
        and not defines(obj_type, "__getnewargs_ex__")
        and reduces_by_default(obj_type)
        and not hashed_by_value(obj_type)
        and kind_of(obj_type) is None
        and not may_pretend(obj_type)
    )


def is_ordinary(obj_type: type) -> bool:
    """Whether instances are no weak things, and have no code of their own that reduces them."""
    return (
        kind_of(obj_type) is None
        and not overrides_reduce(obj_type)
        and (not obj_type.__flags__ & HEAP_TYPE or not has_own_arguments(obj_type))
    )
