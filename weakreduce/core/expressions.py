"""What is put into a payload beside the objects themselves: expressions for the unpickler.

`Call` is one expression. The tricks:

- ``max((x,))`` is ``x``: an expression that is an object we have already, so that its state
  can be written at another place than its construction (`Standin.finish`).
- a reduction whose state setter is `operator.is_` runs the list of calls that is its state.
- ``(x, y)[0]`` is ``x``, once ``y`` is done.
- ``vars(x)["name"]`` is ``x.name``, and ``classmethod.__get__(classmethod(f), None, x)`` is ``f``
  bound to ``x``: in words that no scanner of pickles takes for an attack, as it does ``getattr``,
  `functools.partial` and the getters of `operator`.

Rule: every callable that is written belongs to the standard library. Nothing here knows a weak
kind; what is written for each is in `encode.py`.
"""

from __future__ import annotations

import copy
import copyreg
import importlib
import importlib.util
import operator
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, final

from weakreduce.model.classes import names_of

Reduction = tuple[Any, ...]


#: What is written where an object is left out, by a dump that is not going to be loaded.
NOTHING: Reduction = (int, ())
#: Written for what a second walk will write. (A state can be put on it.)
PLACEHOLDER: Reduction = (list, ())


def write_nothing(obj: object) -> Any:  # pragma: no cover - from Python 3.14 on
    """An override that writes nothing: of a dump that has ended, but for the pickler's part."""
    return NotImplemented if obj is NOTHING[0] else NOTHING


#: Functions of builtin types that are written, by id: each with the dotted name under which a
#: pickler finds it from protocol 4 on. Left alone it would write a call of ``getattr``.
DOTTED: dict[int, tuple[Any, str]] = {
    id(function): (function, name)
    for function, name in (
        (object.__new__, "object.__new__"),
        (object.__setattr__, "object.__setattr__"),
        (weakref.ref.__new__, "ReferenceType.__new__"),
        (weakref.ref.__hash__, "ReferenceType.__hash__"),
        (dict.update, "dict.update"),
        (set.update, "set.update"),
        (classmethod.__get__, "classmethod.__get__"),
    )
}


#: The types of the functions in `DOTTED`.
DOTTED_TYPES = frozenset(type(function) for function, _ in DOTTED.values())


@final
class Call:
    """An expression of the payload: a call whose result the unpickler puts in its place."""

    __slots__ = ("reduction",)

    def __init__(self, function: object, *arguments: Any) -> None:
        self.reduction: Reduction = (function, arguments)

    def __reduce__(self) -> Reduction:
        """For picklers that no walk of ours drives (`lone_walk.py`)."""
        return self.reduction

    def __call__(self) -> None:
        """Never called here: picklers insist that what they will call over there is callable."""
        raise NotImplementedError


def same_with(obj: object, *rest: Any) -> Call:
    """`obj` itself, with a state, items or a state setter applied to it at this place."""
    call = Call(max, (obj,))
    call.reduction += rest
    return call


@final
class Standin:
    """The shell of an object: constructed early, its state written where stock would write it.

    A weak reference needs its referent to exist, not to be complete. Were the referent
    written whole where a weak edge happens to be met first, the order of construction would
    change (hashes, cycles), and a chain of weak edges would recurse.
    """

    __slots__ = ("is_made", "obj", "parts")

    def __init__(self, obj: object, parts: Reduction) -> None:
        self.obj = obj
        self.parts = parts
        #: Whether its construction is written.
        self.is_made = False

    #: Picklers compare the class in a __newobj__ reduction with the object's. (No function, as
    #: they ask for each.)
    __class__: Any = property(operator.attrgetter("obj.__class__"))

    @property
    def reduction(self) -> Reduction:
        """The construction alone."""
        return self.parts[:2]

    def finish(self) -> Reduction:
        """The object that was constructed, and the rest of its reduction."""
        rest = self.parts[2:]
        if self.is_made:
            self.parts = self.parts[:2]  # the pickler's memo keeps a stand-in until the end
        return (max, ((self,),), *rest)

    def after_arguments(self, *afterwards: Any) -> Reduction:
        """The object, and the rest of its reduction, constructed when its arguments are written.

        They may lead back to the object, and then it is constructed there, and not again here.
        `afterwards` is written when it is constructed.
        """
        function, arguments, *rest = self.parts
        first = arguments if function is copyreg.__newobj__ else (function, arguments)  # type: ignore[attr-defined]
        return (operator.getitem, ((first, self, *afterwards), 1), *rest)


@final
class Guarded:
    """A stand-in whose arguments are written before it, where a weak edge meets it first."""

    __slots__ = ("standin",)

    def __init__(self, standin: Standin) -> None:
        self.standin = standin


@final
class Stream:
    """A list in the payload whose items are asked for one by one while it is written."""

    __slots__ = ("reduction",)

    def __init__(self, items: Iterator[Any]) -> None:
        self.reduction: Reduction = (list, (), None, items)


@final
class Rest:
    """A place in the payload whose content is asked for when it is written."""

    __slots__ = ("fill",)

    def __init__(self, fill: Callable[[], Reduction]) -> None:
        self.fill = fill

    @property
    def reduction(self) -> Reduction:
        """Asked for by the walk when the pickler comes here."""
        return self.fill()


#: What of ours a pickler comes to, beside the objects themselves.
OURS = frozenset({Call, Standin, Guarded, Stream, Rest})


def bound_method(function: object, shell: object, instance: object) -> Call:
    """An expression that binds a function (written as `shell`) to an instance."""
    if isinstance(function, types.FunctionType):
        return Call(classmethod.__get__, Call(classmethod, shell), None, instance)
    # A callable of another type (a cache around a function, say), which may not bind itself as a
    # function does. `types.MethodType` is no importable name, which plain pickle insists on.
    method = Call(classmethod.__get__, Call(classmethod, copy.copy), None, instance)
    return Call(Call(type, method), shell, instance)


def bound_from(cls: type, name: str, instance: object) -> Call:
    """An expression that binds a method which the receiver has in a class."""
    method = _attribute(cls, name)
    if type(names_of(cls)[name]) is not classmethod:
        method = Call(classmethod, method)
    return Call(classmethod.__get__, method, None, instance)


def ready_receiver() -> Call:
    """Import weakreduce on the receiver if it is there, and say nothing if it is not."""
    found = Call(filter, importlib.util.find_spec, ["weakreduce"])
    return Call(list, Call(map, importlib.import_module, found))


def _attribute(obj: object, name: str) -> Call:
    """The expression of an instance's attribute."""
    return Call(operator.getitem, Call(vars, obj), name)
