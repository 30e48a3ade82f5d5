"""The rules of the house, each a function of a package's folder that gives what breaks it.

``python tests/support/house.py [FOLDER]`` prints the breaches of a package, by default ours, as
`test_house.py` lists them. Nothing is imported of the package: all is read.

What counts as an import: each statement, wherever it stands and whatever it is for (inside of
functions, for a type checker alone), ``import_module`` and ``__import__`` of a text, and, but in
the face, a text that is a module's dotted name, or begins an expression that makes one.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Each room, and the rooms that it may import. A room is a folder; what stands beside the
#: folders is the face, but for ``wire``, whose functions payloads name.
ROOMS: dict[str, frozenset[str]] = {
    "model": frozenset(),
    "wire": frozenset({"model"}),
    "paths": frozenset({"model"}),
    "core": frozenset({"model", "paths", "wire"}),
    "hosts": frozenset({"model", "paths", "core"}),
    "engines": frozenset({"model", "paths", "core", "hosts"}),
    "reading": frozenset({"model", "paths", "core", "hosts"}),
    "report": frozenset({"model", "paths", "core", "hosts"}),
}
FACE = "face"
ANYTHING = "anything"
LINES_OF_A_FILE = 400
LINES_OF_A_CLASS = 250
LINES_OF_A_FUNCTION = 70
FLOORS = 9
SHARE_OF_ANY = 0.1
#: Methods that others call, so that whoever overwrites one changes what they do.
HOOKS = frozenset(
    {"decide", "override", "reducer_override", "persistent_id", "exec_module", "find_spec",
     "save"}
)  # fmt: skip
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass
class Module:
    """One file, and what it imports of its own package."""

    name: str  # dotted, below the package: "core.walk"; a package is its __init__: "core", ""
    path: Path
    lines: list[str]
    tree: ast.Module
    imports: set[str] = field(default_factory=set)

    @property
    def room(self) -> str:
        """The folder it lives in, "face", or "wire"."""
        first = self.name.partition(".")[0]
        return first if first in ROOMS else FACE


@functools.cache
def modules_of(package: Path) -> dict[str, Module]:
    """All modules of a package, by their dotted names below it."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, text.splitlines(), ast.parse(text))
    for module in found.values():
        module.imports = set(_imports(module, package.name, found)) - {module.name}
    return found


# --- imports ------------------------------------------------------------------------------


def _imports(module: Module, package: str, modules: dict[str, Module]) -> Iterator[str]:
    """Modules of the package that one of them imports; `ANYTHING` where that is made at run time.

    The ``__init__`` of a folder is imported with each module of it, so by all who come from
    another folder.
    """
    own = module.name.split(".")
    for named in _named(module, package, modules):
        if named == ANYTHING:
            yield ANYTHING
            continue
        parts = named.split(".")
        while parts and ".".join(parts) not in modules:
            parts.pop()  # what is behind it is a name in a module
        yield ".".join(parts)
        for length in range(1, len(parts)):
            if parts[:length] != own[:length]:
                yield ".".join(parts[:length])


def _named(module: Module, package: str, modules: dict[str, Module]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from _below(package, (alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = _absolute(module, package, node.level, base)
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from _below(package, names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            for argument in node.args[:1]:
                yield from _in_text(argument, module, package, modules, relative=True)
        elif module.room != FACE and isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)):
            yield from _in_text(node, module, package, modules)


def _in_text(
    node: ast.expr, module: Module, package: str, modules: dict[str, Module], relative: bool = False
) -> Iterator[str]:
    """The module that an expression names, if it is a text that begins with the package's name."""
    whole = isinstance(node, ast.Constant)
    while isinstance(node, ast.BinOp):  # "weakreduce." + name, "weakreduce.%s" % name
        node = node.left
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return
    text = node.value
    if relative and text.startswith("."):
        name = text.lstrip(".")
        text = _absolute(module, package, len(text) - len(name), name)
    if whole:
        below = list(_below(package, [text]))
        # A text that is no module's whole name is nothing, or names a function in one.
        yield from (name for name in below if relative or (name and name in modules))
        if not below and "." in text and text in modules:
            yield text
        return
    start, dot, rest = text.partition("%")[0].rpartition(".")
    if dot and not rest:  # the rest of the name is made at run time
        for name in _below(package, [start]):
            if name in modules:
                yield name or ANYTHING


def _below(package: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        first, _, rest = name.partition(".")
        if first == package:
            yield rest


def _absolute(module: Module, package: str, level: int, name: str) -> str:
    parts = [package, *filter(None, module.name.split("."))]
    is_package = module.path.name == "__init__.py"
    kept = parts[: len(parts) - level + is_package]
    return ".".join([*kept, name] if name else kept)


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def rooms(package: Path) -> set[str]:
    """No module imports what its room may not."""
    modules = modules_of(package)
    broken = set()
    for module in modules.values():
        if module.room == FACE:
            continue
        for name in module.imports:
            room = FACE if name == ANYTHING else modules[name].room
            if room != module.room and room not in ROOMS[module.room]:
                broken.add(f"{module.name} -> {name or package.name}")
    return broken


def _graph(package: Path) -> dict[str, set[str]]:
    modules = modules_of(package)
    return {name: module.imports - {ANYTHING} for name, module in modules.items()}


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left += graph[name]
    return reached


def _circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    reached = {name: _reached(graph, name) for name in graph}
    return {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in graph
        if name in reached[name]
    }


def circles(package: Path) -> set[str]:
    """No module imports itself by way of others."""
    return {name or package.name for circle in _circles(_graph(package)) for name in circle}


def count_floors(package: Path) -> int:
    """The longest chain of rooms, each of which imports the next.

    A file beside the folders is a room of its own here, and a circle has as many floors as rooms.
    """
    graph: dict[str, set[str]] = {}
    for name, imports in _graph(package).items():
        room = name.partition(".")[0]
        rooms_below = {other.partition(".")[0] for other in imports} - {room}
        graph.setdefault(room, set()).update(rooms_below)
    place = {room: frozenset({room}) for room in graph}
    for circle in _circles(graph):
        place.update(dict.fromkeys(circle, circle))
    joined: dict[frozenset[str], set[frozenset[str]]] = {}
    for room, below in graph.items():
        joined.setdefault(place[room], set()).update({place[other] for other in below})
        joined[place[room]].discard(place[room])
    height: dict[frozenset[str], int] = {}
    for circle in graphlib.TopologicalSorter(joined).static_order():
        height[circle] = len(circle) + max((height[lower] for lower in joined[circle]), default=0)
    return max(height.values())


def floors(package: Path) -> set[str]:
    """Rooms do not stand too high above one another."""
    return {f"more than {FLOORS} floors"} if count_floors(package) > FLOORS else set()


def foreign(package: Path) -> set[str]:
    """The rooms below the hosts import nothing but the standard library."""
    known = {package.name, "_typeshed", *sys.stdlib_module_names}
    broken = set()
    for module in modules_of(package).values():
        if module.room in ("model", "paths", "core", "wire"):
            named = set(imported(module.tree)) - known
            broken |= {f"{module.name} -> {name}" for name in named}
    return broken


def imported(tree: ast.Module) -> Iterator[str]:
    """The top packages that a module imports, by whatever statement or call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and not argument.value.startswith("."):
                    yield argument.value.partition(".")[0]


# --- names and sizes ----------------------------------------------------------------------


def public_names(package: Path) -> set[str]:
    """No module, and no folder, bears a public name of the package."""
    public: set[str] = set()
    for node in modules_of(package)[""].tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            public.update(ast.literal_eval(node.value))
    assert public, "the package has no __all__"
    return {name for name in modules_of(package) if name.rpartition(".")[2] in public}


def files(package: Path) -> set[str]:
    """No file is too long."""
    modules = modules_of(package).values()
    return {_shown(m, package) for m in modules if len(m.lines) > LINES_OF_A_FILE}


def _definitions(node: ast.AST, outer: str = "") -> Iterator[tuple[str, _Definition]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            name = f"{outer}.{child.name}" if outer else child.name
            yield name, child
            yield from _definitions(child, name)
        else:
            yield from _definitions(child, outer)


def _too_long(package: Path, kinds: type | tuple[type, ...], limit: int) -> set[str]:
    broken = set()
    for module in modules_of(package).values():
        for name, node in _definitions(module.tree):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if isinstance(node, kinds) and (node.end_lineno or first) - first + 1 > limit:
                broken.add(f"{_shown(module, package)}: {name}")
    return broken


def functions(package: Path) -> set[str]:
    """No function is too long, with its decorators, text and what is defined in it."""
    return _too_long(package, (ast.FunctionDef, ast.AsyncFunctionDef), LINES_OF_A_FUNCTION)


def classes(package: Path) -> set[str]:
    """No class is too long."""
    return _too_long(package, ast.ClassDef, LINES_OF_A_CLASS)


def _shown(module: Module, package: Path) -> str:
    return module.path.relative_to(package).as_posix()


# --- hooks and types ----------------------------------------------------------------------


def hooks(package: Path) -> set[str]:
    """Nothing overwrites a method of another object, nor one of its own class.

    That is: no attribute of another object is set to what is a function by the look of it, none
    of `HOOKS` is set there at all, however that is written, and ``self.name`` is not set where
    the class has a method of that name.
    """
    broken = set()
    for module in modules_of(package).values():
        found = [*_overwritten(module.tree, set(), set())]
        found += [line for line in map(_told_of, module.lines) if line]
        broken |= {f"{_shown(module, package)}: {text}" for text in found}
    return broken


#: What locks, or has a lock for all of its kind, as `cached_property` up to Python 3.11.
_LOCKS: Final = {"Lock", "RLock", "allocate_lock", "Condition", "Semaphore", "cached_property"}


def locks(package: Path) -> set[str]:
    """A lock is made by `model/locks.py`: a forked child finds those free."""
    return {
        f"{_shown(module, package)}: {name}"
        for module in modules_of(package).values()
        if _shown(module, package) != "model/locks.py"
        for node in ast.walk(module.tree)
        for name in [getattr(node, "attr", getattr(node, "id", None)), *_names_imported(node)]
        if name in _LOCKS
    }


def _names_imported(node: ast.AST) -> list[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []


def _told_of(line: str) -> str:
    """What a line assigns, where a type checker was told not to mind that it is a method."""
    if "type: ignore[" not in line or "method-assign" not in line:
        return ""
    return line.partition("#")[0].partition(" = ")[0].strip()


def _overwritten(scope: ast.AST, functions: set[str], methods: set[str]) -> Iterator[str]:
    """What the statements of a scope overwrite, given the functions and own methods it sees."""
    inner = [node for node in _own_nodes(scope) if isinstance(node, _Definition)]
    local = {node.id for node in _own_nodes(scope) if isinstance(node, ast.Name) and _set(node)}
    local |= {node.arg for node in _own_nodes(scope) if isinstance(node, ast.arg)}
    defined = {node.name for node in inner if not isinstance(node, ast.ClassDef)}
    if isinstance(scope, ast.ClassDef):
        methods = {node.name for node in inner if not node.decorator_list} & defined
        seen = functions
    else:
        seen = (functions - local) | defined
    for node in _own_nodes(scope):
        if isinstance(node, ast.Call):
            yield from _set_by_call(node)
        for target, value in _assigned(node):
            owner, name = _attribute(target)
            if owner in ("self", "cls"):
                if name in methods:
                    yield f"{owner}.{name}"
            elif owner and (name in HOOKS or _is_function(value, seen)):
                yield f"{owner}.{name}"
    for definition in inner:
        yield from _overwritten(definition, seen, methods)


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """What stands in a scope, with the names of scopes in it, and not what stands in those."""
    left = list(ast.iter_child_nodes(scope))
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, (*_Definition.__args__, ast.Lambda)):
            left += ast.iter_child_nodes(node)


def _set(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Targets of a statement, each with what it is set to."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, (ast.Tuple, ast.List)):
                values: list[ast.expr | None] = [None] * len(target.elts)
                if isinstance(node.value, (ast.Tuple, ast.List)):
                    values = [*node.value.elts]
                yield from zip(target.elts, values, strict=False)
            else:
                yield target, node.value
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        yield node.target, node.value
    elif isinstance(node, ast.Delete):
        yield from ((target, None) for target in node.targets)


def _set_by_call(node: ast.Call) -> Iterator[str]:
    if _called(node) in ("setattr", "__setattr__", "delattr", "__delattr__"):
        arguments = node.args
        if len(arguments) > 1 and isinstance(arguments[1], ast.Constant):
            owner, name = ast.unparse(arguments[0]), arguments[1].value
            if name in HOOKS:
                yield f"{owner}.{name}"


def _attribute(target: ast.expr) -> tuple[str, str]:
    """Whose attribute a target is, and which, however it is written; else empty texts."""
    if isinstance(target, ast.Attribute):
        return ast.unparse(target.value), target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        owner, key = target.value, target.slice.value
        if isinstance(owner, ast.Call) and _called(owner) == "vars" and owner.args:
            return ast.unparse(owner.args[0]), str(key)
        if isinstance(owner, ast.Attribute) and owner.attr == "__dict__":
            return ast.unparse(owner.value), str(key)
    return "", ""


def _is_function(value: ast.expr | None, functions: set[str]) -> bool:
    """Whether a value is a function, as far as one sees."""
    if isinstance(value, ast.Call):
        return _called(value) == "partial"
    return isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in functions)


def share_of_any(package: Path) -> tuple[int, int]:
    """How many annotated parameters there are, and how many of those are `Any`."""
    total = any_ = 0
    for module in modules_of(package).values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.arg) and node.annotation is not None:
                total += 1
                any_ += ast.unparse(node.annotation).rpartition(".")[2] == "Any"
    return any_, total


def types(package: Path) -> set[str]:
    """Few annotated parameters are `Any`."""
    any_, total = share_of_any(package)
    return {f"more than {SHARE_OF_ANY:.0%} of them"} if any_ > SHARE_OF_ANY * total else set()


RULES: dict[str, Callable[[Path], set[str]]] = {
    rule.__name__: rule
    for rule in (
        rooms,
        circles,
        floors,
        foreign,
        public_names,
        files,
        functions,
        classes,
        hooks,
        locks,
        types,
    )
}


def main() -> None:
    """Print the breaches of a package."""
    ours = Path(__file__).parent.parent.parent / "weakreduce"
    package = Path(sys.argv[1]) if sys.argv[1:] else ours
    print("BROKEN: dict[str, set[str]] = {")
    for name, rule in RULES.items():
        broken = sorted(rule(package))
        if broken:
            print(f'    "{name}": {{')
            print(*(f'        "{text}",' for text in broken), sep="\n")
            print("    },")
    print("}")
    any_, total = share_of_any(package)
    print(f"# {any_} of {total} annotated parameters are Any; {count_floors(package)} floors")


if __name__ == "__main__":
    main()
