"""What pickle makes of the instances of a class, as far as the class alone tells.

Rule: a metaclass is not asked, which may raise or lie, and nothing here knows a weak kind.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any, Final

#: An attribute of a class, its bases, its own names, and its flags: a metaclass is not asked, which
#: may raise or lie.
class_attribute: Final[Callable[[type, str], Any]] = type.__getattribute__


bases_of: Final[Callable[[type], Any]] = type.__dict__["__mro__"].__get__


names_of: Final[Callable[[type], Any]] = type.__dict__["__dict__"].__get__


flags_of: Final[Callable[[type], int]] = type.__dict__["__flags__"].__get__


#: What picklers may write as a name.
NAMEABLE: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


#: The flag of types that are made at run time, in Python or in C; others cannot change.
HEAP_TYPE: Final = 1 << 9
#: The flag of types whose instances tell the collector all that they hold.
COLLECTED: Final = 1 << 14


#: Functions of reductions that make an instance of the class that is their first argument. (Of the
#: object's own class: `copyreg.__newobj__`, with which picklers insist on that.)
_CONSTRUCT: Final = frozenset({"_reconstructor", "__new__"})


def made_type(reduction: object) -> type | None:
    """The type of what a reduction's call makes, where that is known before it is called."""
    if type(reduction) is not tuple or len(reduction) < 2 or type(reduction[1]) is not tuple:
        return None
    made, arguments = reduction[:2]
    if not issubclass(type(made), type):
        if getattr(made, "__name__", "") not in _CONSTRUCT or not arguments:
            return None
        made = arguments[0]
    elif type(made) is not type:
        return None  # a metaclass may make anything
    # So may a class with a __new__ in Python.
    known = issubclass(type(made), type) and type(made.__new__) is types.BuiltinFunctionType
    return made if known and made is not type else None


#: Types whose instances are made with all that they hold.
VALUES: Final = (tuple, str, bytes, int, float, complex, frozenset)


def is_bare(obj_type: type) -> bool:
    """Whether instances can be constructed when the attributes of their class are not there yet."""
    own = ("__init__", "__new__") if issubclass(obj_type, BaseException) else ("__new__",)
    if any(names_of(base).get("__abstractmethods__") for base in bases_of(obj_type)):
        return False  # a method that is there makes it a class that has instances
    return not any(
        issubclass(type(class_attribute(obj_type, name)), types.FunctionType) for name in own
    )


#: What stands in a class for methods that are written in C, or for none.
_OF_C: Final = frozenset(
    {
        types.MethodDescriptorType,
        types.WrapperDescriptorType,
        types.ClassMethodDescriptorType,
        types.BuiltinFunctionType,
        type(None),
    }
)
_ABSENT: Final = object()
_BY_PROTOCOL: Final[Any] = object.__reduce_ex__
_REDUCE: Final[Any] = object.__reduce__
#: The state that the default reduction takes, whatever the class has in place of this method.
stock_getstate: Final[Any] = object.__getstate__
_has_dict: Final[Callable[[type], int]] = type.__dict__["__dictoffset__"].__get__
_SEEN_AS: Final = frozenset({"__class__", "__getattribute__"})
_ARGUMENTS: Final = frozenset({"__getnewargs__", "__getnewargs_ex__"})
#: Of these it counts what a class has, other than from `object`.
_ASKED_FOR: Final = (
    frozenset({"__reduce_ex__", "__reduce__", "__getstate__", "__setstate__", "__hash__"})
    | {"__new__", "__setattr__", "__getattr__", "__slots__", "__name__"}
    | _SEEN_AS
    | _ARGUMENTS
)


class ClassFacts:
    """What pickle makes of the instances of one class.

    All of it is read at once, in each dump anew: a class may change between two. It is taken as it
    stands in the class, as a descriptor's code may have effects (a mock's has), or raise.

    Args:
        cls: the class.
    """

    def __init__(self, cls: type) -> None:
        is_heap_type = bool(flags_of(cls) & HEAP_TYPE)
        has: dict[str, Any] = {}
        #: Whether `isinstance` may take an instance for one of a class that is not its type: as it
        #: does proxies, mocks and lazy objects, whose ``__class__`` is that of another object.
        self.may_pretend = False
        for base in bases_of(cls) or ():
            own = names_of(base)
            if base is object or own.keys().isdisjoint(_ASKED_FOR):
                continue
            asked = own.keys() & _ASKED_FOR
            for name in asked:
                found = own.get(name, _ABSENT)
                if found is not _ABSENT:  # another thread may have taken it away
                    has.setdefault(name, found)
            # Most builtin types have a __getattribute__: object's, under another name.
            if not asked.isdisjoint(_SEEN_AS) and (
                flags_of(base) & HEAP_TYPE
                or base.__module__.partition(".")[0] not in sys.stdlib_module_names
            ):
                self.may_pretend = True
        by_protocol = has.get("__reduce_ex__", _BY_PROTOCOL)
        reduce = has.get("__reduce__", _REDUCE)
        state = has.get("__getstate__", stock_getstate)
        hashed = has.get("__hash__", object.__hash__)

        #: Whether a class written in Python reduces its instances by code of its own.
        self.overrides_reduce = is_heap_type and (
            _is_code(by_protocol) or _is_code(reduce) or _is_code(state)
        )
        #: Whether instances are constructed bare, and their state is put back after that.
        self.constructs_by_default = by_protocol is _BY_PROTOCOL and reduce is _REDUCE
        self.has_setstate = "__setstate__" in has
        #: Whether, besides, the state is put back attribute by attribute.
        self.reduces_by_default = (
            self.constructs_by_default and state is stock_getstate and not self.has_setstate
        )
        #: Whether its default reduction has arguments of its own: an exception's, or what a
        #: ``__getnewargs__`` gives; but not a named tuple's, whose items exist before it does.
        self.own_arguments = is_heap_type and (
            issubclass(cls, BaseException)
            or (
                not _ARGUMENTS.isdisjoint(has)
                and not issubclass(cls, VALUES)
                and any(_is_code(has.get(name)) for name in _ARGUMENTS)
            )
        )
        #: Whether they are made bare, hold attributes alone, and no code of the class sees that.
        self.holds_attributes_alone = (
            self.reduces_by_default
            and has.get("__new__", object.__new__) is object.__new__
            and has.get("__setattr__", object.__setattr__) is object.__setattr__
            and _ARGUMENTS.isdisjoint(has)
        )
        #: Whether code of the class may have a say when an instance is asked for its attributes.
        look = has.get("__getattribute__", object.__getattribute__)
        self.has_own_look = look is not object.__getattribute__ or "__getattr__" in has
        self.has_slots = "__slots__" in has
        self.has_dict = _has_dict(cls) != 0
        #: Whether a hash of an instance runs code of its class, which may need its state.
        self.hashed_by_value = hashed is not None and hashed is not object.__hash__
        self.hashed_by_identity = hashed is object.__hash__
        #: Whether code written in C reduces instances, and may tell a name to find each by, as of
        #: functions in a cache, and type variables. (Arrays, whose reduction is work, have none.)
        self.may_give_names = (
            by_protocol is _BY_PROTOCOL
            and reduce is not _REDUCE
            and not self.overrides_reduce
            and (self.has_dict or "__name__" in has)
        )


def overrides_reduce(cls: type) -> bool:
    """`ClassFacts.overrides_reduce` alone, for those who ask nothing else, of each message."""
    settled: tuple[str, ...] = ()
    for base in (bases_of(cls) or ()) if flags_of(cls) & HEAP_TYPE else ():
        if base is object:
            break
        own = names_of(base)
        for name in ("__reduce_ex__", "__reduce__", "__getstate__"):
            found = own.get(name, _ABSENT)
            if found is not _ABSENT and name not in settled:
                if _is_code(found):
                    return True
                settled = (*settled, name)
    return False


def _is_code(found: object) -> bool:
    """Whether what stands in a class for a method is no method of C: a function, a descriptor."""
    return type(found) not in _OF_C


def as_it_stands(cls: type, name: str) -> Any:
    """What a class or the nearest of its bases has under a name: no descriptor's code is run."""
    for base in bases_of(cls) or ():
        found = names_of(base).get(name, _ABSENT)
        if found is not _ABSENT:
            return found
    return None


def defines(obj_type: type, name: str) -> bool:
    """Whether a class or one of its bases has an attribute."""
    for base in bases_of(obj_type) or ():  # noqa: SIM110 - a generator takes twice as long
        if name in names_of(base):
            return True
    return False


#: What a leaf's attributes may hold: no identity of theirs matters, and none of them is written
#: by a reduction.
LEAF_ATOMS: Final[frozenset[type]] = frozenset({int, float, complex, str, bytes, bool, type(None)})


def is_leaf(obj: object) -> bool:
    """Whether a plain instance holds atoms alone: written whole, it leads nowhere."""
    return leads_nowhere(stock_getstate(obj))


def leads_nowhere(state: Any) -> bool:
    """Whether a state holds atoms alone: attributes, those in slots, or a list of values."""
    if type(state) is dict:
        return holds_atoms(state)
    if type(state) is not tuple and type(state) is not list:
        return state is None
    return all(
        type(part) in LEAF_ATOMS or (type(part) is dict and holds_atoms(part))
        for part in tuple(state)
    )


def holds_atoms(attributes: dict[Any, Any]) -> bool:
    """Whether all attributes are atoms, and all their names text."""
    entries = attributes.copy()  # in one step: other threads may write to it
    # Loops, which for the few attributes that most objects have are faster than any set.
    for value in entries.values():
        if type(value) not in LEAF_ATOMS:
            return False
    for name in entries:  # noqa: SIM110 - a generator takes twice as long
        if type(name) is not str:  # somebody may have put anything there
            return False
    return True
