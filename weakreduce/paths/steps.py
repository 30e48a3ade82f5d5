"""One step of a path: how a key, an attribute or an item of an object is written as an expression.

What is written here reads the very object that it is written for, also where a class of the
user's answers otherwise (a property over an attribute, a ``__getitem__`` of its own). Rule: no
code of the user's is run, and nothing is looked for.
"""

from __future__ import annotations

import keyword
import types
from typing import Any, Final, TypeGuard

from weakreduce.model.classes import bases_of, names_of
from weakreduce.model.texts import class_name

_KEYS = (bool, int, float, complex, str, bytes, type(None))
#: Characters of a key that an expression shows; the position of its entry is shorter then.
_LONGEST_KEY: Final = 200
#: Characters of a key in the name of an entry, which is for reading alone.
_LONGEST_NAME: Final = 60


def static(cls: type, name: str) -> Any:
    """What a class or a base of it defines under a name, taken as it is; None where none does."""
    for base in bases_of(cls) or ():
        if name in names_of(base):
            return names_of(base)[name]
    return None


def in_python(cls: type, name: str) -> bool:
    """Whether a method of a class is code of a user's, or may be."""
    # By the type, as everywhere here: isinstance() asks a proxy's referent, which may be dead.
    return issubclass(type(static(cls, name)), types.FunctionType)


def plain(key: Any, depth: int = 0) -> str | None:
    """A key as an expression; None where it is not made of builtin atoms, or too large for one.

    What is longer than `_LONGEST_KEY` is not read to its end: it is no expression then, but long.
    """
    key_type = type(key)
    for base in _KEYS:
        if issubclass(key_type, base):
            if in_python(key_type, "__hash__") or in_python(key_type, "__eq__"):
                return None  # an equal atom may not find it
            if base in (str, bytes) and base.__len__(key) > _LONGEST_KEY:
                key = base.__getitem__(key, slice(_LONGEST_KEY + 1))
            try:
                text: str = base.__repr__(key)  # type: ignore[call-arg]
            except ValueError:  # an int of more digits than Python writes
                return None
            # The names of these are no builtins, and nan is not even found as a key.
            return None if base in (float, complex) and ("n" in text) else text
    if key_type is tuple and len(key) < 10 and depth < 4:
        found: list[str] = []
        length = 0
        for item in key:
            part = plain(item, depth + 1)
            if part is None:
                return None
            found.append(part)
            length += len(part)
            if length > _LONGEST_KEY:
                break  # the same large part may be in it thousands of times
        return f"({', '.join(found)}{',' if len(found) == 1 else ''})"
    return None


def named(key: object) -> str:
    """A key as the name of an entry, for reading."""
    text = plain(key)
    if text is None:
        return f"<{class_name(type(key))}>"
    return text if len(text) < _LONGEST_NAME else text[: _LONGEST_NAME - 3] + "..."


def indexed(key: object) -> str | None:
    """A key in brackets; None where the position of its entry has to do."""
    text = plain(key)
    return None if text is None or len(text) > _LONGEST_KEY else text


def is_identifier(name: object) -> TypeGuard[str]:
    """Whether a name can stand behind a dot."""
    return (
        type(name) is str
        and name.isidentifier()
        and name.isascii()  # Python reads others in a normal form of theirs
        and not keyword.iskeyword(name)
    )


def is_data_descriptor(value: object) -> bool:
    """Whether a class's attribute goes before that of an instance."""
    return static(type(value), "__set__") is not None or (
        static(type(value), "__delete__") is not None
    )


def attribute(path: str, obj_type: type, name: object) -> str:
    """What an instance's ``__dict__`` holds under a name."""
    if in_python(obj_type, "__getattribute__"):
        return f"object.__getattribute__({path}, '__dict__')[{written(name)}]"
    if is_identifier(name) and not is_data_descriptor(static(obj_type, name)):
        return f"{path}.{name}"
    return f"vars({path})[{written(name)}]"


def class_attribute(path: str, metaclass: type, name: object, value: object) -> str:
    """What a class's ``__dict__`` holds under a name."""
    bound = static(type(value), "__get__") is not None and not issubclass(
        type(value), (types.FunctionType, property)
    )
    if bound or not is_identifier(name) or is_data_descriptor(static(metaclass, name)):
        return f"vars({path})[{written(name)}]"
    return f"{path}.{name}"


def written(name: object) -> str:
    """A name as a key, whatever it is."""
    return indexed(name) or named(name)
