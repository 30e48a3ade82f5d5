"""The steps of a path from a followed object into its parts, each as Python would write it.

Rule: a step is told its holder's path and what tells the part from the others, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from weakreduce.paths import steps
from weakreduce.reading.machine import Node, Value

#: The path of a part, given that of its holder, and what tells the part from the others.
Write = Callable[[str, Any], str]
Part = tuple[Value, Write, Any]

#: A key of so many parts is no expression.
_OF_KEY: Final = 10


def itself(path: str, _: None) -> str:
    """What stands for the object itself, a function that makes it say."""
    return path


def argument(path: str, number: int) -> str:
    """Of a call."""
    return f"{path}.__reduce__()[1][{number}]"


def new_argument(path: str, number: int) -> str:
    """Of a class's `__new__`."""
    return f"{path}.__getnewargs__()[{number}]"


def class_of(path: str, _: None) -> str:
    """What makes an instance."""
    return f"type({path})"


def function_of(path: str, _: None) -> str:
    """What makes all else, where it is no importable function."""
    return f"{path}.__reduce__()[0]"


#: What makes a class, a function, or a part of them by value: for each of its arguments, what it
#: is in what is made.
OF_MAKERS: Final = {
    "_make_skeleton_class": ("type({})", "{}.__name__", "{}.__bases__", "vars({})"),
    "_make_skeleton_enum": ("{}.__bases__", "{}.__name__", "{}.__qualname__", "{}.__members__"),
    "_create_type": ("type({})", "{}.__name__", "{}.__bases__", "vars({})"),
    "_make_function": (
        "{}.__code__", "{}.__globals__", "{}.__name__", "{}.__defaults__", "{}.__closure__",
    ),
    "_make_cell": ("{}.cell_contents",),
    "property": ("{}.fget", "{}.fset", "{}.fdel", "{}.__doc__"),
    # Of a method: its function, no instance, and the instance.
    "__get__": ("{}.__func__", "{}.__func__", "{}.__self__"),
    # The copy of what has its home elsewhere stands for that, as do those beside it.
    "at_home": ("{}",),
    # As attributes of a class they are what they were given.
    "staticmethod": ("{}",),
    "classmethod": ("{}",),
}  # fmt: skip
#: Those of them that make classes.
CLASS_MAKERS: Final = frozenset({"_make_skeleton_class", "_make_skeleton_enum", "_create_type"})


def formatted(path: str, text: str) -> str:
    """A part that one of `OF_MAKERS` tells."""
    return text.format(path)


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
    found: object = key
    if type(key) is Node and key.kind == "tuple" and 0 < len(key.items or ()) < _OF_KEY:
        found = tuple(key.items) if all(type(each) is not Node for each in key.items) else key
    text = None if type(found) is Node else steps.indexed(found)
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
