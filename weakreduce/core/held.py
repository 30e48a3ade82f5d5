"""What builtin containers and functions hold, looked at without a pickler."""

from __future__ import annotations

import gc
import types
from typing import Any, Final

from weakreduce.model.classes import LEAF_ATOMS

#: Stands for what is not there.
MISSING: Final[Any] = object()
#: What leads nowhere.
ATOMS: Final[frozenset[type]] = LEAF_ATOMS | {type(...)}
# No tuples: a class that is looked for in one is compared, by an `__eq__` of its metaclass.
_SEQUENCES: Final = frozenset({tuple, list})
_COMPARED: Final = _SEQUENCES | {dict}
_OF_ITEMS: Final = _SEQUENCES | {set, frozenset}


def items_of(part: Any) -> list[Any] | None:
    """What a builtin container holds; None for anything else."""
    if type(part) is dict:
        return [*part, *part.values()]
    return list(part) if type(part) in _OF_ITEMS else None


def held(value: object) -> dict[int, Any]:
    """By id, all that a value and the builtin containers in it hold."""
    waiting, seen = [value], {id(value): value}
    while waiting:
        for item in items_of(waiting.pop()) or ():
            if id(item) not in seen:
                seen[id(item)] = item
                waiting.append(item)
    return seen


def listed(parts: Any) -> list[Any]:
    """State and items of a reduction, with what its iterators give."""
    return [[*part] if hasattr(type(part), "__next__") else part for part in parts]


def are_same(one: Any, other: Any) -> bool:
    """Whether two answers hold the same things."""
    if one is other:
        return True
    if type(one) is type(other) and type(one) in _SEQUENCES:
        return len(one) == len(other) and all(map(are_same, one, other))
    if type(one) is dict and type(other) is dict:
        return are_same([*one.items()], [*other.items()])
    if type(one) is types.MethodType and type(other) is types.MethodType:
        return one.__func__ is other.__func__ and one.__self__ is other.__self__
    return type(one) in ATOMS and type(other) is type(one)


def holds_fresh(one: Any, other: Any) -> bool:
    """Whether two answers that hold the same things have lists or dicts of their own."""
    if one is other or type(one) not in _COMPARED:
        return False
    return type(one) is not tuple or any(map(holds_fresh, one, other))


def held_by_function(function: types.FunctionType) -> list[Any]:
    """What a function holds, but for the globals that it does not name."""
    parts = [function.__defaults__, function.__kwdefaults__, vars(function)]
    parts += [part for cell in function.__closure__ or () for part in gc.get_referents(cell)]
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [part for part in code.co_consts if type(part) is types.CodeType]
        parts += [function.__globals__.get(name) for name in code.co_names]
    return parts
