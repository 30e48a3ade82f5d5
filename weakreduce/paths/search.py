"""Where an object is: its path from the root, as a Python expression wherever one exists.

It is looked for only when an error, a warning or a report is to be written, so it may be slow,
but takes time in proportion to the graph. Rule: it reads objects through their builtin base's
own methods and runs no code of the user's.
"""

from __future__ import annotations

import collections
import gc
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, final

from weakreduce.model.blocks import Block, Scope
from weakreduce.model.classes import (
    HEAP_TYPE,
    NAMEABLE,
    bases_of,
    class_attribute,
    flags_of,
    names_of,
)
from weakreduce.model.kinds import callback_of, kind_of
from weakreduce.model.texts import class_name
from weakreduce.paths import own_storage, steps
from weakreduce.paths.steps import in_python, named, static

#: What holds nothing that would be looked for.
LEAVES: Final = (int, float, complex, str, bytes, bytearray, bool, type(None), types.ModuleType)
#: Builtin types whose instances `parts` opens by themselves, or which hold nothing.
_OPENED = frozenset(
    {object, dict, list, tuple, set, frozenset, collections.deque, types.FunctionType,
     types.MethodType, types.CellType, type}
)  # fmt: skip
_REFS = (weakref.ref, weakref.WeakMethod)
_ORDERED = collections.OrderedDict
_VIEWS: Final[tuple[type, ...]] = (type({}.items()), type({}.keys()), type({}.values()))
#: Stands for the path of the holder in a step.
HOLDER: Final = "\0"
#: The step to the root itself.
_ROOT: Final = ""
#: A path of more steps than this has lost its beginning: nobody reads an expression that long.
LONGEST: Final = 500
#: Objects that are looked at to count who holds a weak reference.
_COUNTED: Final = 100_000

Named = tuple[str, Any]
#: What an engine was given, each with the name that its user knows it by, where the engine pickles
#: a wrapping of its own: paths begin at those, not at the wrapping.
given: Final = Scope("weakreduce_given")


@final
class _Shape:
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
            if isinstance(descriptor, types.MemberDescriptorType)
            and static(obj_type, name) is descriptor  # else another one is read under its name
        ]
        self.opener = own_storage.opener(obj_type)
        self.has_storage = self.opener is None and not _is_opened(obj_type)
        self.computed = own_storage.computed(obj_type) if self.has_storage else []
        self.indexed = not in_python(obj_type, "__getitem__")
        self.iterated = not in_python(obj_type, "__iter__")
        self.with_values = not in_python(obj_type, "values")

    def attribute(self, path: str, name: Any) -> str:
        """The expression for what the ``__dict__`` of an instance holds under a name."""
        texts = self._steps.get(name)
        if texts is None:
            texts = self._steps[name] = steps.attribute(HOLDER, self._type, name).split(HOLDER)
        return path.join(texts)


_Shapes = dict[type, _Shape]


def _slots(obj: Any, shape: _Shape) -> Iterator[tuple[str, Any]]:
    for name, descriptor in shape.slots:
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
    for name, default in list((obj.__kwdefaults__ or {}).items()):
        yield f"{path}.__kwdefaults__[{name!r}]", default
    names: set[str] = set()
    codes = [obj.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    found = obj.__globals__.copy()
    for name in sorted(names & found.keys()):
        yield f"{path}.__globals__[{name!r}]", found[name]
    for name, annotation in list((obj.__annotations__ or {}).items()):
        yield f"{path}.__annotations__[{steps.written(name)}]", annotation


def _class_parts(obj: type, path: str) -> Iterator[tuple[str, Any]]:
    metaclass = type(obj)
    for name, value in list(names_of(obj).items()):
        if isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            continue
        step = steps.class_attribute(path, metaclass, name, value)
        if isinstance(value, staticmethod) and steps.is_identifier(name):
            yield f"{path}.{name}", value.__func__
        elif isinstance(value, (staticmethod, classmethod)):
            yield f"{step}.__func__", value.__func__
        elif isinstance(value, property):
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


def _item_parts(obj: Any, path: str, shape: _Shape) -> Iterator[tuple[str, Any]]:
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


def parts(obj: Any, path: str, shapes: _Shapes | None = None) -> Iterator[tuple[str, Any]]:
    """What an object holds strongly, each with its path; `shapes` remembers those of types."""
    obj_type = type(obj)
    if issubclass(obj_type, LEAVES):
        return
    if issubclass(obj_type, type):
        yield from _class_parts(obj, path)
        return
    kind = kind_of(obj_type)
    if kind is not None and kind.name == "proxy":
        return
    shape = None if shapes is None else shapes.get(obj_type)
    if shape is None:
        shape = _Shape(obj_type)
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
    obj: Any, path: str, kind: Any, shape: _Shape, attributes: dict[Any, Any]
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


def _weak_parts(kind: Any, obj: Any, path: str) -> Iterator[tuple[str, Any]]:
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


def _attributes(obj: Any) -> dict[Any, Any]:
    try:
        attributes = object.__getattribute__(obj, "__dict__")
    except Exception:  # noqa: BLE001 - none there, or a property of the class that raises
        return {}
    return attributes if isinstance(attributes, dict) else {}


def is_closed(obj: Any, by_name: Callable[[Any], bool] | None) -> bool:
    """Whether an object is written as a name, so that nothing behind it travels."""
    if by_name is None or not issubclass(type(obj), NAMEABLE):
        return False
    try:
        return by_name(obj)
    except Exception:  # noqa: BLE001 - one that the pickler never met, and that is odd
        return True


def held_times(
    root: Any,
    wanted: Iterable[int],
    taken_along: Iterable[int],
    by_name: Callable[[Any], bool] | None = None,
) -> dict[int, int]:
    """How many places below `root` hold each object that is wanted.

    Args:
        root: where to look.
        wanted: ids of the objects.
        taken_along: ids of the referents that weak edges are followed to.
        by_name: as of `Search`.

    Returns:
        Id -> number; nothing at all where there is too much below `root` to be looked at.
    """
    times = dict.fromkeys(wanted, 0)
    travelling = set(taken_along)
    shapes: _Shapes = {}
    objects, seen = [root], {id(root)}
    place = 0
    while place < len(objects):
        if place > _COUNTED:
            return {}
        obj = objects[place]
        place += 1
        if is_closed(obj, by_name):
            continue
        held = [each for _, each in parts(obj, HOLDER, shapes)]
        kind = kind_of(type(obj))
        if kind is not None and kind.name != "finalize" and travelling:
            referents = [edge.referent for edge in kind.edges(obj)]
            held += [each for each in referents if id(each) in travelling and id(each) not in seen]
        for each in held:
            identity = id(each)
            if identity in times:
                times[identity] += 1
            if identity not in seen and not issubclass(type(each), LEAVES):
                seen.add(identity)
                objects.append(each)
    return times


@final
class Search:
    """One search from a root, breadth first, for all the objects that are wanted.

    Strong edges are followed first, weak ones after them. It stops when everything is found.

    Args:
        root: where paths begin.
        wanted: ids of the objects to be found. They need not be alive.
        by_name: whether a class, function or module is written as a name. Such a one is not
            opened, as a pickler does not open it: behind it is all the rest of the program.
        limit: how many objects are opened at most.
        until: the id of the object that is enough, if there is one.
    """

    def __init__(
        self,
        root: Any,
        wanted: Iterable[int],
        by_name: Callable[[Any], bool] | None = None,
        limit: float = float("inf"),
        until: int | None = None,
    ) -> None:
        #: Everything visited, in order of distance; the places of a trail are positions here.
        self.objects: list[Any] = [root]
        #: id -> place, of what was wanted and found.
        self.places: dict[int, int] = {}
        #: Places that are reached over a weak edge only.
        self.weakly: set[int] = set()
        self._holders = [-1]
        self._steps = [_ROOT]
        self._by_name = by_name
        self._limit = limit
        self._shapes: _Shapes = {}
        self._from_given: dict[int, str] | None = None
        self._run(set(wanted), limit, until)

    def _run(self, missing: set[int], limit: float, until: int | None) -> None:
        objects, places = self.objects, self.places
        seen = {id(objects[0])}
        weak: collections.deque[tuple[int, str, Any]] = collections.deque()
        place = 0
        if id(objects[0]) in missing:
            missing.discard(id(objects[0]))
            places[id(objects[0])] = 0
        while missing and place < limit and until not in places:
            if place == len(objects):
                if not weak:
                    return
                holder, step, referent = weak.popleft()
                if id(referent) not in seen:
                    seen.add(id(referent))
                    self.weakly.add(len(objects))
                    self._visit(holder, step, referent, missing)
                continue
            obj = objects[place]
            if is_closed(obj, self._by_name):
                place += 1
                continue
            kind = kind_of(type(obj))
            if kind is not None and kind.name != "finalize":
                for edge in kind.edges(obj):
                    if edge.referent is not None and id(edge.referent) not in seen:
                        weak.append((place, edge_path(kind.name, HOLDER, edge), edge.referent))
            for step, held in parts(obj, HOLDER, self._shapes):
                identity = id(held)
                if identity not in seen:
                    if issubclass(type(held), LEAVES) and identity not in missing:
                        continue
                    seen.add(identity)
                    self._visit(place, step, held, missing)
            place += 1

    def _visit(self, holder: int, step: str, obj: Any, missing: set[int]) -> None:
        if id(obj) in missing:
            missing.discard(id(obj))
            self.places[id(obj)] = len(self.objects)
        self.objects.append(obj)
        self._holders.append(holder)
        self._steps.append(step)

    def trail(self, place: int) -> list[tuple[int, str]]:
        """The way from the root to a place: each place on it, and the step that leads there."""
        found: list[tuple[int, str]] = []
        while place >= 0 and len(found) <= LONGEST:
            found.append((place, self._steps[place]))
            place = self._holders[place]
        return found[::-1]

    def path(self, obj: Any, root: str = "root") -> str | None:
        """The shortest path to this very object; None where it was not found."""
        place = self.places.get(id(obj))
        if place is None:
            return None
        named = self._paths_from_given().get(id(obj)) if root == "root" else None
        return named or joined([step for _, step in self.trail(place)], root)

    def _paths_from_given(self) -> dict[int, str]:
        """Id -> path, of what was found, and is in what was `given` as well."""
        known: tuple[Named, ...] = given.get(())
        if self._from_given is None:
            self._from_given = {}
            if known:
                names = {id(held): name for name, held in reversed(known)}
                search = Search(
                    [held for _, held in known], self.places, self._by_name, self._limit
                )
                for identity, place in search.places.items():
                    _, (top, _), *rest = search.trail(place)
                    name = names.get(id(search.objects[top]))
                    if name is not None:  # else the way is so long that its beginning is lost
                        self._from_given[identity] = joined([_ROOT, *(s for _, s in rest)], name)
        return self._from_given


def joined(steps: list[str], root: str) -> str:
    """The expression that steps make, one applied to what the other gave."""
    path = root if steps[0] == _ROOT else f"{root}…"
    for step in steps:
        if step != _ROOT:
            path = step.replace(HOLDER, path, 1)
    return path


def arguments(args: Iterable[Any] | None, keywords: Mapping[str, Any] | None) -> list[Named]:
    """The arguments of a call, with the names that they have in `given`."""
    return [
        *((f"args[{number}]", held) for number, held in enumerate(args or ())),
        *((f"kwargs[{name!r}]", held) for name, held in (keywords or {}).items()),
    ]


class naming(Block):  # noqa: N801 - it reads as a verb, as `policy` does
    """What is pickled inside was given by these names, or by those of a block around this one.

    None: it is none of what was given.
    """

    scope = given

    def __init__(self, named: Iterable[Named] | None) -> None:
        self._named = None if named is None else tuple(named)

    def __enter__(self) -> None:
        self.enter(() if self._named is None else (*given.get(()), *self._named))


def paths_to(root: Any, wanted: Iterable[Any]) -> dict[int, str]:
    """Id -> the shortest path from `root` to that very object; those not found are left out.

    One search for all of them. Strong edges are followed first, weak ones after them.
    """
    objects = list(wanted)
    search = Search(root, map(id, objects))
    found = ((id(obj), search.path(obj)) for obj in objects)
    return {identity: path for identity, path in found if path is not None}


def path_to(root: Any, wanted: Any) -> str | None:
    """The shortest path from `root` to this very object, or None where none was found."""
    return paths_to(root, [wanted]).get(id(wanted))


def edge_path(kind: str, path: str, edge: Any) -> str:
    """The path of an edge's weak thing, with the entry where it is one of a container."""
    if kind == "WeakValueDictionary":
        return f"{path}[{named(edge.key)}]"
    if kind in ("WeakSet", "WeakKeyDictionary"):
        return f"{path}[<{class_name(type(edge.referent))}>]"
    if kind == "ref":
        return f"{path}()"
    if kind == "WeakMethod":
        return f"{path}().__self__"
    return path
