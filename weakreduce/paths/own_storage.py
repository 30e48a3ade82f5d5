"""Objects that keep what they hold in a storage of their own, neither attributes nor items.

Arrays, frames, Atom's members, and types written in C; each part is given with the expression
that reads it. No library is imported here: one that is not imported yet has no objects. Rule: no
code of the user's is run; what the library itself computes is compared before it is written.
"""

from __future__ import annotations

import copyreg
import gc
import struct
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

from weakreduce.model.classes import (
    COLLECTED,
    LEAF_ATOMS,
    bases_of,
    class_attribute,
    flags_of,
    names_of,
)
from weakreduce.paths import steps

_Parts = Iterator[tuple[str, Any]]
#: Computed attributes that hold nothing of an object's own.
_NOT_HELD: Final = frozenset({"__dict__", "__weakref__", "__class__", "__doc__"})
_POINTER: Final = struct.calcsize("P")
_LABELS: Final = frozenset({str, int})
#: How deep what a reduction gives is looked into.
_DEPTH: Final = 4


def _array(array: Any, path: str) -> _Parts:
    """Of numpy: arrays of objects, of any number of dimensions, also inside of fields."""
    numpy = sys.modules["numpy"]
    if not array.dtype.hasobject:
        return
    if steps.in_python(type(array), "__getitem__"):
        path = f"{path}.__array__()"
    if type(array) is not numpy.ndarray:
        array = array.view(numpy.ndarray)
    yield from _fields(numpy, array, path)


def _fields(numpy: Any, array: Any, path: str) -> _Parts:
    if array.dtype.names is not None:
        for name in array.dtype.names:
            if array.dtype[name].hasobject:
                yield from _fields(numpy, array[name], f"{path}[{name!r}]")
    elif array.dtype == object:
        for index, item in zip(numpy.ndindex(array.shape), array.flat, strict=True):
            yield f"{path}[{', '.join(map(str, index)) or '()'}]", item


def _record(record: Any, path: str) -> _Parts:
    """Of numpy: one item of an array with fields."""
    numpy = sys.modules["numpy"]
    for name in record.dtype.names or ():
        if record.dtype[name].hasobject:
            held = record[name]
            if isinstance(held, numpy.ndarray):
                yield from _fields(numpy, held, f"{path}[{name!r}]")
            elif isinstance(held, numpy.void):
                yield from _record(held, f"{path}[{name!r}]")
            else:
                yield f"{path}[{name!r}]", held


def _frame(frame: Any, path: str) -> _Parts:
    """Of pandas: columns, then both indexes."""
    labels = list(frame.columns)
    asked = getattr(steps.static(type(frame), "__getitem__"), "__module__", "")
    unique = frame.columns.is_unique and asked.startswith("pandas.")
    for number, label in enumerate(labels):
        key = steps.indexed(label) if unique and type(label) in _LABELS else None
        column = f"{path}.iloc[:, {number}]" if key is None else f"{path}[{key}]"
        yield from _column(frame.iloc[:, number], column)
    yield f"{path}.index", frame.index
    yield f"{path}.columns", frame.columns


def _series(series: Any, path: str) -> _Parts:
    yield from _column(series, path)
    yield f"{path}.index", series.index


def _column(series: Any, path: str) -> _Parts:
    if series.dtype == object:
        for number, item in enumerate(series.to_numpy()):
            yield f"{path}.iloc[{number}]", item
    else:
        array = series.array
        if series.array is array:
            yield f"{path}.array", array


def _index(index: Any, path: str) -> _Parts:
    if index.dtype == object and not hasattr(index, "levels"):
        for number, item in enumerate(index.to_numpy()):
            yield f"{path}[{number}]", item


def _variable(variable: Any, path: str) -> _Parts:
    """Of xarray: the values of a variable or of an array with names, where they are in memory."""
    values = getattr(variable, "_variable", variable)._data
    if isinstance(values, sys.modules["numpy"].ndarray) and variable.values is values:
        yield f"{path}.values", values


def _dataset(dataset: Any, path: str) -> _Parts:
    for name, variable in dataset._variables.items():
        key = steps.indexed(name)
        if key is not None:
            yield from _variable(variable, f"{path}[{key}]")


def _atom(atom: Any, path: str) -> _Parts:
    """Of Atom: the members that are set."""
    for name, member in type(atom).__atom_members__.items():
        held = member.get_slot(atom)
        if held is not None and steps.is_identifier(name) and getattr(atom, name) is held:
            yield f"{path}.{name}", held


#: Module and class, and what opens instances of it; a class before its bases.
_ROWS: Final[tuple[tuple[str, str, Callable[[Any, str], _Parts]], ...]] = (
    ("numpy", "ndarray", _array),
    ("numpy", "generic", _record),
    ("pandas", "DataFrame", _frame),
    ("pandas", "Series", _series),
    ("pandas", "Index", _index),
    ("xarray", "DataArray", _variable),
    ("xarray", "Variable", _variable),
    ("xarray", "Dataset", _dataset),
    ("atom.catom", "CAtom", _atom),
)


def _size(cls: type) -> int:
    size: int = class_attribute(cls, "__basicsize__")
    return size


def adds(cls: type) -> bool:
    """Whether instances of a class have more room than its slots need: it is written in C."""
    own = names_of(cls)
    slots = sum(issubclass(type(value), types.MemberDescriptorType) for value in own.values())
    room = slots + ("__dict__" in own) + ("__weakref__" in own)
    base = class_attribute(cls, "__base__")
    return base is not None and _size(cls) - _size(base) > room * _POINTER


def opener(obj_type: type) -> Callable[[Any, str], _Parts] | None:
    """What opens instances of a type of a library that is known here."""
    bases = set(map(id, bases_of(obj_type) or ()))
    for module, name, opens in _ROWS:
        if id(getattr(sys.modules.get(module), name, None)) in bases:
            return opens
    return None


def opened(opens: Callable[[Any, str], _Parts], obj: object, path: str) -> _Parts:
    """What an opener finds, up to the first thing that the library refuses to show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = list(opens(obj, path))
        except Exception:  # noqa: BLE001 - a library's own; other ways lead to the parts, too
            found = []
    yield from found


Computed = list[tuple[str, Any]]


def computed(obj_type: type) -> Computed:
    """Name and descriptor of the attributes that a type written in C computes.

    None of a type that cannot be pickled: nothing that it holds travels, and what computes them in
    C is not always made to be called whenever somebody looks (numba's crashes the interpreter).
    """
    if not _is_reduced(obj_type):
        return []
    return [
        (name, descriptor)
        for cls in bases_of(obj_type) or ()
        for name, descriptor in names_of(cls).items()
        if issubclass(type(descriptor), types.GetSetDescriptorType) and name not in _NOT_HELD
    ]


def _is_reduced(cls: type) -> bool:
    """Whether somebody says how instances of a type written in C are pickled."""
    return cls in copyreg.dispatch_table or any(
        steps.static(cls, name) is not steps.static(object, name) for name in _REDUCTIONS
    )


def parts(obj: Any, path: str, known: set[int], names: Computed) -> _Parts:
    """What else an object of a type written in C holds, beside what is `known` (ids) already.

    By the name of a computed attribute (`names`, from `computed`), or as a part of its
    reduction; what has no expression otherwise is named as the collector sees it.
    """
    obj_type = type(obj)
    if obj_type is types.FrameType:
        # Behind the other parts of a frame is all the rest of the program.
        for name, held in list(obj.f_locals.items()):
            yield f"{path}.f_locals[{steps.written(name)}]", held
        return
    seen = gc.get_referents(obj)
    unnamed = {id(held) for held in seen if held is not obj_type} - known
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not flags_of(obj_type) & COLLECTED:
            found = [pair for pair in _read(obj, path, names) if type(pair[1]) not in LEAF_ATOMS]
            again = dict(_read(obj, path, names)) if found else {}
            found = [pair for pair in found if again.get(pair[0]) is pair[1]]
        elif unnamed:
            found = [*_read(obj, path, names), *_reduced(obj, path)]
            found = [pair for pair in found if id(pair[1]) in unnamed]
        else:
            return
    yield from found
    unnamed.difference_update(id(held) for _, held in found)
    for number, held in enumerate(seen):
        if id(held) in unnamed:
            yield f"gc.get_referents({path})[{number}]", held


def _read(obj: object, path: str, names: Computed) -> _Parts:
    for name, descriptor in names:
        try:
            yield f"{path}.{name}", descriptor.__get__(obj)
        except Exception:  # noqa: BLE001, S112 - it has no value
            continue


def _reduced(obj: Any, path: str) -> _Parts:
    cls = type(obj)
    if any(steps.in_python(cls, name) for name in _REDUCTIONS):
        return  # the user's own, which may not be asked twice
    try:
        reduction = obj.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - it has none
        return
    waiting = [(f"{path}.__reduce_ex__(4)", reduction, 0)]
    for text, part, depth in waiting:
        yield text, part
        if depth == _DEPTH:
            continue
        if type(part) is tuple or type(part) is list:
            waiting += [(f"{text}[{n}]", item, depth + 1) for n, item in enumerate(part)]
        elif type(part) is dict:
            for name, item in part.items():
                key = steps.indexed(name)
                if steps.is_identifier(name) and _has(obj, name, item):
                    yield f"{path}.{name}", item
                elif key is not None:
                    waiting.append((f"{text}[{key}]", item, depth + 1))


def _has(obj: object, name: str, held: object) -> bool:
    try:
        return getattr(obj, name) is held
    except Exception:  # noqa: BLE001 - the state's names are no attributes
        return False


_REDUCTIONS: Final = (
    "__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs_ex__", "__getnewargs__",
)  # fmt: skip
