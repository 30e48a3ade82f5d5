"""What an object holds strongly, each part with the expression that reads it.

Attributes, slots, items, cells, what functions and classes consist of, and, through `own_storage`,
what is none of these. Rule: objects are read through their builtin base's own methods, and no code
of the user's is run. Nothing is looked for here: `search` does that.
"""

from __future__ import annotations

import collections
import dis
import functools
import gc
import io
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any, Final, final

from weakreduce.model.classes import HEAP_TYPE, bases_of, class_attribute, flags_of, names_of
from weakreduce.model.kinds import Kind, callback_of, kind_of
from weakreduce.model.texts import class_name
from weakreduce.paths import own_storage, steps
from weakreduce.paths.steps import in_python, static

#: What holds nothing that would be looked for.
LEAVES: Final = (int, float, complex, str, bytes, bytearray, bool, type(None))
#: Builtin types whose instances `parts` opens by themselves, or which hold nothing.
_OPENED: Final = frozenset(
    {object, dict, list, tuple, set, frozenset, collections.deque, types.FunctionType,
     types.MethodType, types.CellType, type}
)  # fmt: skip
#: Types in C whose ``__dict__`` is made when asked for, and whose reduction tells that it was.
_MADE_WHEN_ASKED: Final = (BaseException, functools.partial, io.BytesIO, io.StringIO)
_keywords_of: Final = vars(functools.partial)["keywords"].__get__
_REFS: Final = (weakref.ref, weakref.WeakMethod)
_ORDERED: Final = collections.OrderedDict
_VIEWS: Final[tuple[type, ...]] = (type({}.items()), type({}.keys()), type({}.values()))
#: Opcodes whose names are a function's globals; of the body of a class in it, LOAD_NAME as well.
_GLOBALS: Final = frozenset(
    {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
)
#: Stands for the path of the holder in a step.
HOLDER: Final = "\0"


@final
class Shape:
    """What is the same of all instances of a type."""

    def __init__(self, obj_type: type) -> None:
        self._type = obj_type
        #: name -> the text before and after the holder's path.
        self._steps: dict[Any, list[str]] = {}
        self.slots = [
            (name, descriptor)
            for cls in bases_of(obj_type) or ()
            if cls is not types.FunctionType  # behind all of its globals is the whole program
            for name, descriptor in list(names_of(cls).items())
            if issubclass(type(descriptor), types.MemberDescriptorType)
            and static(obj_type, name) is descriptor  # else another one is read under its name
        ]
        self.opener = own_storage.opener(obj_type)
        self.has_storage = self.opener is None and not _is_opened(obj_type)
        self.computed = own_storage.computed(obj_type) if self.has_storage else []
        self.indexed = not in_python(obj_type, "__getitem__")
        self.iterated = not in_python(obj_type, "__iter__")
        self.with_values = not in_python(obj_type, "values")

    def attribute(self, path: str, name: object) -> str:
        """The expression for what the ``__dict__`` of an instance holds under a name."""
        texts = self._steps.get(name)
        if texts is None:
            texts = self._steps[name] = steps.attribute(HOLDER, self._type, name).split(HOLDER)
        return path.join(texts)


Shapes = dict[type, Shape]


def _slots(obj: object, shape: Shape) -> Iterator[tuple[str, Any]]:
    for name, descriptor in shape.slots:
        try:
            yield name, descriptor.__get__(obj)
        except (AttributeError, TypeError):
            continue


def _global_names(code: types.CodeType, found: dict[str, Any]) -> set[str]:
    """The names of what is found, that code reads or sets as globals."""
    names: set[str] = set()
    codes = [code]
    while codes:
        code = codes.pop()
        # Names of attributes are among those; the opcodes tell, which takes longer.
        if not names.issuperset(found.keys() & code.co_names):
            instructions = dis.get_instructions(code)
            names.update(each.argval for each in instructions if each.opname in _GLOBALS)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return names & found.keys()


def _function_parts(obj: types.FunctionType, path: str) -> Iterator[tuple[str, Any]]:
    for number, cell in enumerate(obj.__closure__ or ()):
        try:
            content = cell.cell_contents
        except ValueError:
            continue
        yield f"{path}.__closure__[{number}].cell_contents", content
    for number, default in enumerate(obj.__defaults__ or ()):
        yield f"{path}.__defaults__[{number}]", default
    for name, default in list((obj.__kwdefaults__ or {}).items()):
        yield f"{path}.__kwdefaults__[{name!r}]", default
    found = obj.__globals__.copy()
    for name in sorted(_global_names(obj.__code__, found)):
        yield f"{path}.__globals__[{name!r}]", found[name]
    for name, annotation in list((obj.__annotations__ or {}).items()):
        yield f"{path}.__annotations__[{steps.written(name)}]", annotation

    yield f"{path}.__code__", obj.__code__
    yield f"{path}.__doc__", obj.__doc__


def _module_parts(obj: types.ModuleType, path: str) -> Iterator[tuple[str, Any]]:
    """Of a module that cannot be imported; behind any other is the whole program."""
    names = object.__getattribute__(obj, "__dict__")
    if sys.modules.get(names.get("__name__")) is not obj:
        for name, held in list(names.items()):
            yield steps.attribute(path, type(obj), name), held


def _class_parts(obj: type, path: str) -> Iterator[tuple[str, Any]]:
    metaclass = type(obj)
    for name, value in list(names_of(obj).items()):
        cls = type(value)  # not isinstance(), which asks a proxy's referent
        if issubclass(cls, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            continue
        step = steps.class_attribute(path, metaclass, name, value)
        if issubclass(cls, staticmethod) and steps.is_identifier(name):
            yield f"{path}.{name}", value.__func__
        elif issubclass(cls, (staticmethod, classmethod)):
            yield f"{step}.__func__", value.__func__
        elif issubclass(cls, property):
            for accessor in ("fget", "fset", "fdel"):
                function = getattr(value, accessor)
                if function is not None:
                    yield f"{step}.{accessor}", function
        else:
            yield step, value
    for number, base in enumerate(class_attribute(obj, "__bases__")):
        if base is not object:
            yield f"{path}.__bases__[{number}]", base
    if _travels_by_value(metaclass):
        yield f"type({path})", metaclass


def _item_parts(obj: Any, path: str, shape: Shape) -> Iterator[tuple[str, Any]]:
    """Items of builtin containers and their subclasses."""
    obj_type = type(obj)
    if issubclass(obj_type, dict):
        base: Any = collections.OrderedDict if issubclass(obj_type, _ORDERED) else dict
        keys = path if shape.iterated else f"dict.keys({path})"
        values = f"{path}.values()" if shape.with_values else f"dict.values({path})"
        for number, (key, value) in enumerate(list(base.items(obj))):
            text = steps.indexed(key)
            if text is None:
                yield f"list({values})[{number}]", value
                yield f"list({keys})[{number}]", key
            else:
                yield (
                    (f"{path}[{text}]" if shape.indexed else f"dict.__getitem__({path}, {text})"),
                    value,
                )
        return
    for base in (list, tuple):
        if issubclass(obj_type, base):
            name = base.__name__
            for number, item in enumerate(list(base.__iter__(obj))):
                yield (
                    (
                        f"{path}[{number}]"
                        if shape.indexed
                        else f"{name}.__getitem__({path}, {number})"
                    ),
                    item,
                )
            return
    for base in (set, frozenset, collections.deque):
        if issubclass(obj_type, base):
            items = path if shape.iterated else f"{base.__name__}.__iter__({path})"
            for number, item in enumerate(list(base.__iter__(obj))):
                yield f"list({items})[{number}]", item
    if issubclass(obj_type, _VIEWS):
        entry = "[1]" if issubclass(obj_type, _VIEWS[0]) else ""
        for number, item in enumerate(list(obj)):
            yield f"list({path})[{number}]{entry}", item[1] if entry else item
    if obj_type is types.MappingProxyType:
        (mapping,) = gc.get_referents(obj)
        yield from _item_parts(mapping, path, shape)


def parts(obj: Any, path: str, shapes: Shapes | None = None) -> Iterator[tuple[str, Any]]:
    """What an object holds strongly, each with its path; `shapes` remembers those of types."""
    obj_type = type(obj)
    if issubclass(obj_type, LEAVES):
        return
    if issubclass(obj_type, type):
        yield from _class_parts(obj, path)
        return
    if issubclass(obj_type, types.ModuleType):
        yield from _module_parts(obj, path)
        return
    kind = kind_of(obj_type)
    if kind is not None and kind.is_proxy:
        # Attributes would be those of its referent.
        for number, held in enumerate(gc.get_referents(obj)):
            yield f"gc.get_referents({path})[{number}]", held
        return
    shape = None if shapes is None else shapes.get(obj_type)
    if shape is None:
        shape = Shape(obj_type)
        if shapes is not None:
            shapes[obj_type] = shape
    known: set[int] = set()
    attributes = _attributes(obj)
    for step, held in _all_parts(obj, path, kind, shape, attributes):
        known.add(id(held))
        yield step, held
    if shape.has_storage and kind is None:
        known.add(id(attributes))
        yield from own_storage.parts(obj, path, known, shape.computed)
    if _travels_by_value(obj_type):
        yield f"type({path})", obj_type


def _all_parts(
    obj: Any, path: str, kind: Kind | None, shape: Shape, attributes: dict[Any, Any]
) -> Iterator[tuple[str, Any]]:
    obj_type = type(obj)
    if shape.opener is not None:
        yield from own_storage.opened(shape.opener, obj, path)
    else:
        yield from _item_parts(obj, path, shape)
    if issubclass(obj_type, types.FunctionType):
        yield from _function_parts(obj, path)
    if issubclass(obj_type, types.MethodType):
        yield from ((f"{path}.__self__", obj.__self__), (f"{path}.__func__", obj.__func__))
        return
    if issubclass(obj_type, types.CellType):
        try:
            yield f"{path}.cell_contents", obj.cell_contents
        except ValueError:
            return
    internal = kind.internals if kind is not None and kind.base not in _REFS else frozenset()
    for name, value in list(dict.items(attributes)):
        if name not in internal:
            yield shape.attribute(path, name), value
    for name, value in _slots(obj, shape):
        if name not in internal:
            yield f"{path}.{name}", value
    if kind is not None:
        yield from _weak_parts(kind, obj, path)


def _travels_by_value(cls: type) -> bool:
    """Whether a class is pickled whole by most hosts."""
    return class_attribute(cls, "__module__") == "__main__" or "<locals>" in class_name(cls)


def finalizer_parts(obj: object, path: str) -> Iterator[tuple[str, Any]]:
    """What a finalizer is to call, and with what: that travels where it is re-armed."""
    kind = kind_of(type(obj))
    if kind is None or not kind.is_finalizer:
        return
    for edge in kind.edges(obj):
        if edge.callback:
            function, args, keywords = edge.callback
            yield f"{path}.peek()[1]", function
            for number, held in enumerate(args):
                yield f"{path}.peek()[2][{number}]", held
            for name, held in keywords.items():
                yield f"{path}.peek()[3][{name!r}]", held


def _weak_parts(kind: Kind, obj: object, path: str) -> Iterator[tuple[str, Any]]:
    if kind.name == "ref" and callback_of(obj) is not None:
        yield f"{path}.__callback__", callback_of(obj)
    if kind.name == "WeakKeyDictionary":
        for number, edge in enumerate(kind.edges(obj)):
            yield f"list({path}.values())[{number}]", edge.value
    if kind.name == "WeakValueDictionary":
        for number, edge in enumerate(kind.edges(obj)):
            yield f"list({path})[{number}]", edge.key


def _is_opened(obj_type: type) -> bool:
    """Whether nothing is left in an instance, once its items and attributes are known."""
    bases = bases_of(obj_type) or ()
    builtin = next((cls for cls in bases if not flags_of(cls) & HEAP_TYPE), None)
    if builtin not in _OPENED or (builtin is object and not flags_of(obj_type) & HEAP_TYPE):
        return False
    return not any(own_storage.adds(cls) for cls in bases if flags_of(cls) & HEAP_TYPE)


def _attributes(obj: object) -> dict[Any, Any]:
    if issubclass(type(obj), _MADE_WHEN_ASKED) and not _has_attributes(obj):
        return {}
    try:
        attributes = object.__getattribute__(obj, "__dict__")
    except Exception:  # noqa: BLE001 - none there, or a property of the class that raises
        return {}
    return attributes if isinstance(attributes, dict) else {}


def _has_attributes(obj: object) -> bool:
    """Whether one of the types above has its ``__dict__`` already, as the collector sees it."""
    dicts = [held for held in gc.get_referents(obj) if type(held) is dict]
    if issubclass(type(obj), functools.partial):
        return any(held is not _keywords_of(obj) for held in dicts)
    return bool(dicts)
