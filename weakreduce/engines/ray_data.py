"""Ray Data: the functions of a Dataset are pickled by the call that takes them.

Ray Data is lazy: a thread of its executor pickles ``map``'s function when the Dataset is consumed,
under the process's default policy. So a function that holds a weak thing, or has one among its
arguments, is pickled when the Dataset is made, together with these, and each is replaced by what
opens there as its own part of that payload. All others are left as they are.

What we rely on, pinned by the tests: every such call makes a ``Dataset`` whose
``_logical_plan.dag`` is the new operator; the operator has the function and its arguments as
attributes (with an underscore in older versions), and a thread pickles them together, later;
a callable class is asked for nothing but instances, and those for nothing but ``__call__``. An
``ObjectRef`` that is pickled outside Ray's own serialization would be kept for ever.
"""

from __future__ import annotations

import inspect
import operator
import pickle
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from weakreduce.engines.submit import bound_if_weak
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.hosts.plain import plain
from weakreduce.model.bound import Bound
from weakreduce.paths import search

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.data import Dataset

_M = TypeVar("_M")
_FUNCTION: Final = "fn"
_ARGUMENTS: Final = ("fn_args", "fn_constructor_args")
_KEYWORDS: Final = ("fn_kwargs", "fn_constructor_kwargs")


@final
class _Payload:
    """A payload, and the object refs in it, which have to live as long as it does."""

    __slots__ = ("bound", "refs")

    def __init__(self, bound: Bound, refs: list[ObjectRef]) -> None:
        self.bound = bound
        self.refs = refs

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.getitem, ((self.bound, self.refs), 0)


@final
class _Part:
    """A part of a payload; it opens as that part, in one copy of the payload for all parts."""

    __slots__ = ("number", "payload")

    #: Ray would make a key of a class's arguments, here, for use there.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, payload: _Payload, number: int) -> None:
        self.payload = payload
        self.number = number

    def __call__(self, *args: object, **keywords: object) -> Any:
        return pickle.loads(self.payload.bound.data)[self.number](*args, **keywords)

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.getitem, (self.payload, self.number)


def _named(made: _M, like: object) -> _M:
    """`made` under the name of what it stands for: Ray Data's reports name it."""
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(like, attribute):
            setattr(made, attribute, getattr(like, attribute))
    return made


def _function(part: _Part, like: object) -> object:
    # No parameter has a name, or the user's keywords could not have it.
    def opened(*args: object, **keywords: object) -> object:
        return part(*args, **keywords)

    return _named(opened, like)


def _class(part: _Part, like: type) -> object:
    """A class in place of one that holds a weak thing: cloudpickle asks no class how to pickle."""
    call = getattr(like, "__call__", None)  # noqa: B004 - what kind of function it is

    class Opened:
        def __init__(self, *args: object, **keywords: object) -> None:
            self._opened = part(*args, **keywords)

        def __repr__(self) -> str:
            return repr(self._opened)

        if inspect.iscoroutinefunction(call):

            async def __call__(self, *args: object, **keywords: object) -> Any:
                return await self._opened(*args, **keywords)

        elif inspect.isasyncgenfunction(call):

            async def __call__(self, *args: object, **keywords: object) -> Any:  # type: ignore[misc]
                async for item in self._opened(*args, **keywords):
                    yield item

        else:

            def __call__(self, *args: object, **keywords: object) -> Any:  # type: ignore[misc]
                return self._opened(*args, **keywords)

    return _named(Opened, like)


def _pickled(parts: list[object], names: list[str]) -> _Payload | None:
    """The payload of a function and its arguments; None where no weak thing is in it."""
    from ray import cloudpickle
    from ray._private.worker import global_worker

    context = global_worker.get_serialization_context()
    context.set_in_band_serialization()
    try:
        with search.naming(zip(names, parts, strict=True)):
            bound = bound_if_weak(parts, cloudpickle.dumps, "a function and its arguments")
        refs = list(context.get_and_clear_contained_object_refs())
        return None if bound is None else _Payload(bound, refs)
    finally:
        context.set_out_of_band_serialization()
        context.get_and_clear_contained_object_refs()


def _pack(operation: object) -> None:
    """Replace what an operator has of a function by its payload, if it holds a weak thing."""
    underscore = "" if hasattr(operation, _FUNCTION) else "_"

    def get(name: str) -> Any:
        return getattr(operation, underscore + name, None)

    function = get(_FUNCTION)
    if function is None:
        return
    parts, names = [function], ["fn"]
    for name in _ARGUMENTS:
        if isinstance(get(name), (tuple, list)):
            parts += get(name)
            names += [f"{name}[{number}]" for number in range(len(get(name)))]
    for name in _KEYWORDS:
        if isinstance(get(name), dict):
            parts += get(name).values()
            names += [f"{name}[{key!r}]" for key in get(name)]
    if all(plain(part) for part in parts):
        return
    payload = _pickled(parts, names)
    if payload is None:
        return
    opened = (_Part(payload, number) for number in range(len(parts)))
    make = _class if isinstance(function, type) else _function

    def put(name: str, value: object) -> None:
        object.__setattr__(operation, underscore + name, value)  # it is frozen

    put(_FUNCTION, make(next(opened), function))
    for name in _ARGUMENTS:
        if isinstance(get(name), (tuple, list)):
            put(name, tuple(_kept(part, next(opened)) for part in get(name)))
    for name in _KEYWORDS:
        if isinstance(get(name), dict):
            put(name, {key: _kept(part, next(opened)) for key, part in get(name).items()})


def _kept(given: object, part: _Part) -> object:
    """An argument as it was given, where it says by itself that nothing weak is in it."""
    from ray import ObjectRef

    return given if isinstance(given, ObjectRef) or plain(given) else part


def _init(stock: Stock, dataset: Dataset, *args: object, **keywords: object) -> None:
    stock(dataset, *args, **keywords)
    _pack(dataset._logical_plan.dag)


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of ``ray.data.dataset``."""
    return AttributePatch((module.Dataset, "__init__", in_front(_init)))
