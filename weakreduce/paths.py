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
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, final

from weakreduce.kinds import callback_of, kind_of
from weakreduce.known import HEAP_TYPE, NAMEABLE

_LEAVES = (int, float, complex, str, bytes, bytearray, bool, type(None), types.ModuleType)
_PLAIN_KEYS = (bool, int, float, complex, str, bytes, type(None))
#: Builtin types whose instances `parts` opens by themselves, or which hold nothing.
_OPENED = (
    object, dict, list, tuple, set, frozenset, collections.deque, types.FunctionType,
    types.MethodType, types.CellType, type,
)  # fmt: skip
_REFS = (weakref.ref, weakref.WeakMethod)
#: Stands for the path of the holder in a step.
HOLDER: Final = "\0"
#: The step to the root itself.
_ROOT: Final = ""
#: A path of more steps than this has lost its beginning: nobody reads an expression that long.
LONGEST: Final = 500


def _text(key: Any) -> str:
    """A key as it stands in an expression, written by its builtin base alone."""
    text = _plain(key)
    if text is None:
        return f"<{type(key).__qualname__}>"
    return text if len(text) < 60 else text[:57] + "..."


def _plain(key: Any, depth: int = 0) -> str | None:
    """A key as an expression; None where it is not made of builtin atoms, or too large for one."""
    for base in _PLAIN_KEYS:
        if issubclass(type(key), base):
            try:
                text: str = base.__repr__(key)  # type: ignore[call-arg]
            except ValueError:  # an int of more digits than Python writes
                return None
            # The names of these are no builtins, and nan is not even found as a key.
            return None if base in (float, complex) and ("n" in text) else text
    if type(key) is tuple and len(key) < 10 and depth < 4:
        items = [_plain(item, depth + 1) for item in key]
        found = [item for item in items if item is not None]
        if len(found) == len(items):
            return f"({', '.join(found)}{',' if len(found) == 1 else ''})"
    return None


def _attribute(path: str, name: Any) -> str:
    if type(name) is str and name.isidentifier():
        return f"{path}.{name}"
    return f"vars({path})[{_text(name)}]"


Named = tuple[str, Any]
#: What an engine was given, each with the name that its user knows it by, where the engine pickles
#: a wrapping of its own: paths begin at those, not at the wrapping.
given: ContextVar[tuple[Named, ...]] = ContextVar("weakreduce_given", default=())

_Slots = dict[type, list[tuple[str, Any]]]


def _slots(obj: Any, known: _Slots) -> Iterator[tuple[str, Any]]:
    slots = known.get(type(obj))
    if slots is None:
        slots = known[type(obj)] = [
            (name, descriptor)
            for cls in type(obj).__mro__ or ()
            for name, descriptor in vars(cls).items()
            if isinstance(descriptor, types.MemberDescriptorType)
        ]
    for name, descriptor in slots:
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
        yield _attribute(path, name), value


def _class_parts(obj: type, path: str) -> Iterator[tuple[str, Any]]:
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


def _item_parts(obj: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Items of builtin containers and their subclasses."""
    obj_type = type(obj)
    if issubclass(obj_type, dict):
        for number, (key, value) in enumerate(list(dict.items(obj))):
            if _plain(key) is None:
                yield f"list({path}.values())[{number}]", value
                yield f"list({path})[{number}]", key
            else:
                yield f"{path}[{_text(key)}]", value
    for base in (list, tuple):
        if issubclass(obj_type, base):
            for number, item in enumerate(list(base.__iter__(obj))):
                yield f"{path}[{number}]", item
    for other in (set, frozenset, collections.deque):
        if issubclass(obj_type, other):
            for number, item in enumerate(list(other.__iter__(obj))):
                yield f"list({path})[{number}]", item


def parts(obj: Any, path: str, slots: _Slots | None = None) -> Iterator[tuple[str, Any]]:
    """What an object holds strongly, each with its path; `slots` remembers those of types."""
    obj_type = type(obj)
    if issubclass(obj_type, _LEAVES):
        return
    if issubclass(obj_type, type):
        yield from _class_parts(obj, path)
        return
    kind = kind_of(obj_type)
    if kind is not None and kind.name == "proxy":
        return
    yield from _item_parts(obj, path)
    if issubclass(obj_type, types.FunctionType):
        yield from _function_parts(obj, path)
        return
    if issubclass(obj_type, types.MethodType):
        yield f"{path}.__self__", obj.__self__
        yield f"{path}.__func__", obj.__func__
        return
    if issubclass(obj_type, types.CellType):
        try:
            yield f"{path}.cell_contents", obj.cell_contents
        except ValueError:
            return
    attributes = _attributes(obj, {} if slots is None else slots)
    internal = kind.internals if kind is not None and kind.base not in _REFS else frozenset()
    for name, value in attributes:
        if name not in internal:
            yield _attribute(path, name), value
    if issubclass(obj_type, BaseException):
        yield f"{path}.args", BaseException.__dict__["args"].__get__(obj)
    if kind is not None:
        yield from _weak_parts(kind, obj, path)
    elif not _is_opened(obj_type):
        named = {id(value) for _, value in attributes}
        for number, held in enumerate(gc.get_referents(obj)):
            if held is not obj_type and id(held) not in named:
                yield f"gc.get_referents({path})[{number}]", held
    if obj_type.__module__ == "__main__" or "<locals>" in obj_type.__qualname__:
        # Such a class is pickled whole by most hosts.
        yield f"type({path})", obj_type


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
    bases = obj_type.__mro__ or ()
    builtin = next((cls for cls in bases if not cls.__flags__ & HEAP_TYPE), None)
    return builtin in _OPENED and (builtin is not object or obj_type.__flags__ & HEAP_TYPE != 0)


def _attributes(obj: Any, slots: _Slots) -> list[tuple[str, Any]]:
    try:
        attributes = object.__getattribute__(obj, "__dict__")
    except Exception:  # noqa: BLE001 - none there, or a property of the class that raises
        attributes = {}
    found = list(dict.items(attributes)) if isinstance(attributes, dict) else []
    return [*found, *_slots(obj, slots)]


@final
class Search:
    """One search from a root, breadth first, for all the objects that are wanted.

    Strong edges are followed first, weak ones after them. It stops when everything is found.

    Args:
        root: where paths begin.
        wanted: ids of the objects to be found. They need not be alive.
        by_name: whether a class, function or module is written as a name. Such a one is not
            opened, as a pickler does not open it: behind it is all the rest of the program.
    """

    def __init__(
        self, root: Any, wanted: Iterable[int], by_name: Callable[[Any], bool] | None = None
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
        self._slots: _Slots = {}
        self._from_given: dict[int, str] | None = None
        self._run(set(wanted))

    def _run(self, missing: set[int]) -> None:
        objects, places = self.objects, self.places
        seen = {id(objects[0])}
        weak: collections.deque[tuple[int, str, Any]] = collections.deque()
        place = 0
        if id(objects[0]) in missing:
            missing.discard(id(objects[0]))
            places[id(objects[0])] = 0
        while missing:
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
            if self._is_closed(obj):
                place += 1
                continue
            kind = kind_of(type(obj))
            if kind is not None and kind.name != "finalize":
                for edge in kind.edges(obj):
                    if edge.referent is not None and id(edge.referent) not in seen:
                        weak.append((place, edge_path(kind.name, HOLDER, edge), edge.referent))
            for step, held in parts(obj, HOLDER, self._slots):
                identity = id(held)
                if identity not in seen:
                    if issubclass(type(held), _LEAVES) and identity not in missing:
                        continue
                    seen.add(identity)
                    self._visit(place, step, held, missing)
            place += 1

    def _is_closed(self, obj: Any) -> bool:
        if self._by_name is None or not issubclass(type(obj), NAMEABLE):
            return False
        try:
            return self._by_name(obj)
        except Exception:  # noqa: BLE001 - one that the pickler never met, and that is odd
            return True

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
        known = given.get()
        if self._from_given is None:
            self._from_given = {}
            if known:
                names = {id(held): name for name, held in reversed(known)}
                search = Search([held for _, held in known], self.places, self._by_name)
                for identity, place in search.places.items():
                    _, (top, _), *rest = search.trail(place)
                    name = names[id(search.objects[top])]
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


@contextmanager
def naming(named: Iterable[Named] | None) -> Iterator[None]:
    """What is pickled inside was given by these names, or by those of a block around this one.

    None: it is none of what was given.
    """
    token = given.set(() if named is None else (*given.get(), *named))
    try:
        yield
    finally:
        given.reset(token)


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
        return f"{path}[{_text(edge.key)}]"
    if kind in ("WeakSet", "WeakKeyDictionary"):
        return f"{path}[<{type(edge.referent).__qualname__}>]"
    if kind == "ref":
        return f"{path}()"
    if kind == "WeakMethod":
        return f"{path}().__self__"
    return path
