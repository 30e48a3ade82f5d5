"""The steps of a path from a followed object into its parts, each as Python would write it.

Rule: a step is told its holder's path and what tells the part from the others, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from weakreduce.paths import steps
from weakreduce.reading.machine import Node, Value

#: The path of a part, given that of its holder, and what tells the part from the others.
Write = Callable[[str, Any], str]
Part = tuple[Value, Write, Any]


def itself(path: str, _: None) -> str:
    """What stands for the object itself, a function that makes it say."""
    return path


def referent(path: str, _: int) -> str:
    """Of a weak reference."""
    return f"{path}()"


def argument(path: str, number: int) -> str:
    """Of a call."""
    return f"{path}.__reduce__()[1][{number}]"


def new_argument(path: str, number: int) -> str:
    """Of a class's `__new__`."""
    return f"{path}.__getnewargs__()[{number}]"


def named(path: str, name: str) -> str:
    """What an attribute that has a name holds."""
    return f"{path}.{name}"


def attributes(path: str, _: None) -> str:
    """All attributes."""
    return f"vars({path})"


def whole_state(path: str, _: None) -> str:
    """A state that is no attributes."""
    return f"{path}.__getstate__()"


def attribute(path: str, told: tuple[int, Value]) -> str:
    """One of the attributes."""
    name = told[1]
    return f"{path}.{name}" if steps.is_identifier(name) else entry(f"vars({path})", told)


def entry(path: str, told: tuple[int, Value]) -> str:
    """The value of a dict's entry."""
    number, key = told
    text = None if type(key) is Node else steps.indexed(key)
    return f"list({path}.values())[{number}]" if text is None else f"{path}[{text}]"


def item(path: str, number: int) -> str:
    """Of a list or tuple."""
    return f"{path}[{number}]"


def member(path: str, number: int) -> str:
    """Of a set, or a key."""
    return f"list({path})[{number}]"


def items(obj: Node) -> Iterator[Part]:
    """The items of a list, tuple or set, with the steps to them."""
    step = member if obj.kind in ("set", "frozenset") else item
    for number, held in enumerate(obj.items):
        yield held, step, number


def entries(obj: Node, step: Write) -> Iterator[Part]:
    """The keys and values of a dict, with the steps to them."""
    both = obj.items or []
    for number, (key, held) in enumerate(zip(both[::2], both[1::2], strict=False)):
        yield held, step, (number, key)
        yield key, member, number
