"""What pickle makes of the instances of a class, as far as the class alone tells.

Rule: a metaclass is not asked, which may raise or lie, and nothing here knows a weak kind.
"""

from __future__ import annotations

import abc
import operator
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


def has_own_arguments(obj_type: type) -> bool:
    """Whether the class is written in Python, and its default reduction has arguments of its own.

    Those of an exception, or what its ``__getnewargs__`` gives; but not those of a named tuple, and
    the like, whose items exist before it does.
    """
    if not flags_of(obj_type) & HEAP_TYPE:
        return False
    if issubclass(obj_type, BaseException):
        return True
    if issubclass(obj_type, VALUES):
        return False
    for name in ("__getnewargs__", "__getnewargs_ex__"):
        if defines(obj_type, name):
            found = class_attribute(obj_type, name)
            if issubclass(type(found), types.FunctionType):
                return True
    return False


def is_bare(obj_type: type) -> bool:
    """Whether instances can be constructed when the attributes of their class are not there yet."""
    own = ("__init__", "__new__") if issubclass(obj_type, BaseException) else ("__new__",)
    if any(names_of(base).get("__abstractmethods__") for base in bases_of(obj_type)):
        return False  # a method that is there makes it a class that has instances
    return not any(
        issubclass(type(class_attribute(obj_type, name)), types.FunctionType) for name in own
    )


#: What reduces the instances of a class whose metaclass is known: asked in one call.
_reducing: Final[Callable[[type], Any]] = operator.attrgetter(
    "__reduce_ex__", "__reduce__", "__getstate__"
)
_BY_PROTOCOL: Final[Any] = object.__reduce_ex__
_REDUCE: Final[Any] = object.__reduce__
#: The state that the default reduction takes, whatever the class has in place of this method.
stock_getstate: Final[Any] = object.__getstate__


def overrides_reduce(obj_type: type) -> bool:
    """Whether a class written in Python reduces its instances by code of its own."""
    cls: Any = obj_type
    if not flags_of(cls) & HEAP_TYPE:
        return False  # nothing of it is written in Python
    if type(cls) is type or type(cls) is abc.ABCMeta:
        by_protocol, reduce, state = _reducing(cls)
    else:
        by_protocol = class_attribute(cls, "__reduce_ex__")
        reduce = class_attribute(cls, "__reduce__")
        state = class_attribute(cls, "__getstate__")
    # Asked of each class in each dump, so nearly always with the answer no.
    return (
        (by_protocol is not _BY_PROTOCOL and issubclass(type(by_protocol), types.FunctionType))
        or (reduce is not _REDUCE and issubclass(type(reduce), types.FunctionType))
        or (state is not stock_getstate and issubclass(type(state), types.FunctionType))
    )


def may_give_names(obj_type: type) -> bool:
    """Whether code written in C reduces instances, and may tell a name to find each by.

    It does for functions in a cache, and for type variables. Instances that have a name say so;
    arrays and the like, whose reduction is work, have none.
    """
    return (
        class_attribute(obj_type, "__reduce_ex__") is _BY_PROTOCOL
        and class_attribute(obj_type, "__reduce__") is not _REDUCE
        and not overrides_reduce(obj_type)
        and (class_attribute(obj_type, "__dictoffset__") != 0 or defines(obj_type, "__name__"))
    )


def may_pretend(obj_type: type) -> bool:
    """Whether `isinstance` may take an instance for one of a class that is not its type.

    As it does proxies, mocks and lazy objects, whose ``__class__`` is that of another object.
    """
    for cls in bases_of(obj_type) or ():
        own = names_of(cls)
        if cls is object or ("__class__" not in own and "__getattribute__" not in own):
            continue
        # Most builtin types have a __getattribute__, which is object's under another name.
        module = cls.__module__.partition(".")[0]
        if flags_of(cls) & HEAP_TYPE or module not in sys.stdlib_module_names:
            return True
    return False


def constructs_by_default(obj_type: type) -> bool:
    """Whether instances are constructed bare, and their state is put back after that."""
    return (
        class_attribute(obj_type, "__reduce_ex__") is _BY_PROTOCOL
        and class_attribute(obj_type, "__reduce__") is _REDUCE
    )


def reduces_by_default(obj_type: type) -> bool:
    """Whether, besides, the state is put back attribute by attribute."""
    own_state = class_attribute(obj_type, "__getstate__") is not stock_getstate
    return (
        not own_state and not defines(obj_type, "__setstate__") and constructs_by_default(obj_type)
    )


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


def hashed_by_value(obj_type: type) -> bool:
    """Whether a hash of an instance runs code of its class, which may need its state."""
    own = class_attribute(obj_type, "__hash__")
    return own is not None and own is not object.__hash__
