"""Where a weak thing is: its path from the root, as a Python expression wherever one exists.

It is looked for only when an error or a warning is to be written, so it may be slow. Rule: it
reads objects through `object`'s own attribute access and runs no code of the user's.
"""

from __future__ import annotations

import collections
import types
from collections.abc import Iterable, Iterator
from typing import Any

from weakreduce.kinds import kind_of

_LEAVES = (int, float, complex, str, bytes, bytearray, bool, type(None), types.ModuleType)


def _text(key: Any) -> str:
    if isinstance(key, (int, float, str, bytes, bool, type(None))):
        return repr(key) if len(repr(key)) < 60 else repr(key)[:57] + "..."
    return f"<{type(key).__qualname__}>"


def _slots(obj: Any) -> Iterator[tuple[str, Any]]:
    for cls in type(obj).__mro__:
        for name, descriptor in vars(cls).items():
            if isinstance(descriptor, types.MemberDescriptorType):
                try:
                    yield name, descriptor.__get__(obj)
                except (AttributeError, TypeError):
                    continue


def _function_parts(obj: types.FunctionType, path: str) -> Iterator[tuple[str, Any]]:
    for number, cell in enumerate(obj.__closure__ or ()):
        try:
            content = cell.cell_contents
        except ValueError:
            continue
        yield f"{path}.__closure__[{number}].cell_contents", content
    for number, default in enumerate(obj.__defaults__ or ()):
        yield f"{path}.__defaults__[{number}]", default
    for name, default in (obj.__kwdefaults__ or {}).items():
        yield f"{path}.__kwdefaults__[{name!r}]", default
    names: set[str] = set()
    codes = [obj.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    for name in sorted(names & obj.__globals__.keys()):
        yield f"{path}.__globals__[{name!r}]", obj.__globals__[name]
    for name, value in vars(obj).items():
        yield f"{path}.{name}", value


def parts(obj: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What an object holds strongly, each with its path."""
    obj_type = type(obj)
    if issubclass(obj_type, _LEAVES):
        return
    kind = kind_of(obj_type)
    if issubclass(obj_type, dict):
        for key, value in list(dict.items(obj)):
            yield f"{path}[{_text(key)}]", value
            if not isinstance(key, _LEAVES):
                yield f"next(key for key in {path})", key
    elif issubclass(obj_type, (list, tuple)):
        for number, item in enumerate(list(obj)):
            yield f"{path}[{number}]", item
    elif issubclass(obj_type, (set, frozenset, collections.deque)):
        for number, item in enumerate(list(obj)):
            yield f"list({path})[{number}]", item
    elif issubclass(obj_type, types.FunctionType):
        yield from _function_parts(obj, path)
    elif issubclass(obj_type, types.MethodType):
        yield f"{path}.__self__", obj.__self__
        yield f"{path}.__func__", obj.__func__
    elif issubclass(obj_type, types.CellType):
        try:
            yield f"{path}.cell_contents", obj.cell_contents
        except ValueError:
            return
    elif issubclass(obj_type, type):
        for name, value in list(vars(obj).items()):
            if isinstance(value, (staticmethod, classmethod)):
                yield f"{path}.{name}.__func__", value.__func__
            elif isinstance(value, property):
                for accessor in ("fget", "fset", "fdel"):
                    function = getattr(value, accessor)
                    if function is not None:
                        yield f"{path}.{name}.{accessor}", function
            elif not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                yield f"{path}.{name}", value
        return
    if kind is not None and kind.name == "proxy":
        return
    attributes = _attributes(obj)
    if kind is None or kind.name not in ("ref", "WeakMethod"):
        internal = kind.internals if kind else frozenset()
        for name, value in attributes:
            if name not in internal:
                yield f"{path}.{name}", value
    else:
        for name, value in attributes:
            yield f"{path}.{name}", value
    if kind is not None and kind.name == "ref" and obj.__callback__ is not None:
        yield f"{path}.__callback__", obj.__callback__
    if kind is not None and kind.name == "WeakKeyDictionary":
        for edge in kind.edges(obj):
            yield f"{path}[<{type(edge.referent).__qualname__}>]", edge.value
    reduce = getattr(obj, "__reduce_ex__", None)
    if (
        kind is None
        and reduce is not None
        and not attributes
        and not issubclass(
            obj_type, (dict, list, tuple, set, frozenset, types.FunctionType, types.MethodType)
        )
    ):
        import gc

        for number, held in enumerate(gc.get_referents(obj)):
            if held is not obj_type:
                yield f"gc.get_referents({path})[{number}]", held


def _attributes(obj: Any) -> list[tuple[str, Any]]:
    try:
        attributes = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        attributes = {}
    found = list(attributes.items()) if isinstance(attributes, dict) else []
    if not issubclass(type(obj), (types.FunctionType, types.MethodType, type)):
        found += _slots(obj)
    else:
        found = []
    return found


def paths_to(root: Any, wanted: Iterable[Any]) -> dict[int, str]:
    """Id -> the shortest path from `root` to that very object; those not found are left out.

    One search for all of them. Strong edges are followed first, weak ones after them.
    """
    missing = {id(obj): obj for obj in wanted}
    found: dict[int, str] = {}
    seen = {id(root)}
    keep = [root]
    queue: collections.deque[tuple[str, Any]] = collections.deque([("root", root)])
    weak: collections.deque[tuple[str, Any]] = collections.deque()
    while missing and (queue or weak):
        path, obj = queue.popleft() if queue else weak.popleft()
        if missing.pop(id(obj), None) is not None:
            found[id(obj)] = path
        kind = kind_of(type(obj))
        if kind is not None and kind.name != "finalize":
            for edge in kind.edges(obj):
                if edge.referent is not None and id(edge.referent) not in seen:
                    seen.add(id(edge.referent))
                    keep.append(edge.referent)
                    weak.append((edge_path(kind.name, path, edge), edge.referent))
        for part, held in parts(obj, path):
            if id(held) not in seen:
                seen.add(id(held))
                keep.append(held)
                queue.append((part, held))
    return found


def path_to(root: Any, wanted: Any) -> str | None:
    """The shortest path from `root` to this very object, or None where none was found."""
    return paths_to(root, [wanted]).get(id(wanted))


def edge_path(kind: str, path: str, edge: Any) -> str:
    """The path of an edge's weak thing, with the entry where it is one of a container."""
    if kind == "WeakValueDictionary":
        return f"{path}[{_text(edge.key)}]"
    if kind in ("WeakSet", "WeakKeyDictionary"):
        return f"{path}[<{type(edge.referent).__qualname__}>]"
    if kind in ("ref", "WeakMethod"):
        return f"{path}()"
    return path
