"""What a class or function by value holds by names, as cloudpickle writes it in two steps.

First something empty is made, and then its state is put in: `core.shells` may leave names
out of that, and put them in at the end. What we rely on, pinned by `test_names_put_off.py`: the
state of a class is its attributes, that of a function its own attributes and its slots.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import types
from collections.abc import Callable
from typing import Any, Final, final

from weakreduce.core.expressions import Call

#: What a function holds beside its globals, its cells and its own attributes.
_SLOTS: Final = ("__defaults__", "__kwdefaults__", "__annotations__")
#: Values by name, in which others can be put; and what makes the expression that puts one in on the
#: receiver, given its name and the value.
Namespace = tuple[dict[Any, Any], Callable[[Any, Any], Call]]


def namespaces(obj: object, attributes: Any, slots: Any) -> list[Namespace]:
    """The namespaces of a class or function, given the two parts of its state.

    Args:
        obj: the class or function.
        attributes: those of its own.
        slots: of a function, what else it holds.
    """
    if type(attributes) is not dict or type(slots) is not dict:
        return []  # an override of the user's has its own way
    put_attribute = functools.partial(Call, setattr, obj)
    if isinstance(obj, type):
        return [(attributes, put_attribute)]
    own = _Window({name: slots[name] for name in _SLOTS if slots.get(name)}, slots.__setitem__)
    return [
        (attributes, put_attribute),
        (slots.get("__globals__", {}), functools.partial(_put_global, obj)),
        (own, put_attribute),
        (_contents(slots), functools.partial(_put_contents, obj)),
    ]


@final
class _Window(dict[Any, Any]):
    """Some of what the state of a function holds; what is put in here is put there, too."""

    def __init__(self, known: dict[Any, Any], put: Callable[[Any, Any], None]) -> None:
        super().__init__(known)
        self._put = put

    def __setitem__(self, name: Any, value: Any) -> None:
        super().__setitem__(name, value)
        self._put(name, value)


def _contents(slots: dict[str, Any]) -> _Window:
    """The contents of a function's cells, by their number, given its state."""
    cells = slots.get("__closure__") or ()
    known = {}
    for number, cell in enumerate(cells):
        with contextlib.suppress(ValueError):  # of one that is empty
            known[number] = cell.cell_contents

    def put(number: int, value: object) -> None:
        now = list(slots["__closure__"])
        now[number] = types.CellType(value)
        slots["__closure__"] = tuple(now)

    return _Window(known, put)


def _put_global(function: object, name: str, value: object) -> Call:
    return Call(dict.update, Call(getattr, function, "__globals__"), {name: value})


def _put_contents(function: object, number: int, value: object) -> Call:
    cell = Call(operator.getitem, Call(getattr, function, "__closure__"), number)
    return Call(setattr, cell, "cell_contents", value)
