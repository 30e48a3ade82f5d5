"""How a class or function is called in a line that somebody pastes: by a name that is found there.

Rule: nothing is imported, and no code of a metaclass or of a module's own ``__getattr__`` is run.
"""

from __future__ import annotations

import builtins
import inspect
import sys
import types
import weakref
from collections.abc import Iterator, Mapping
from typing import Final, cast

Namespace = Mapping[str, object]

_OF_TYPES: Final = [vars(type)[name].__get__ for name in ("__module__", "__qualname__")]
_ATTRIBUTES: Final = vars(type)["__dict__"].__get__
#: Stands for what is no class or function that anybody asks about.
_HIDDEN: Final = object()
#: The standard library's own names for types that say they are from elsewhere: ``function``,
#: ``module``, ``WeakSet``.
_PUBLIC: Final = (weakref, types)


def around(frame: types.FrameType) -> Namespace:
    """The globals where a function runs, but for those that its own names hide.

    What it has alone is nobody's name: it is another with each call. Its values are not looked at,
    as a frame that was asked for them keeps them alive.
    """
    code, known = frame.f_code, frame.f_globals
    if code.co_flags & inspect.CO_OPTIMIZED:
        own = {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
    else:
        own = set() if frame.f_locals is known else {*frame.f_locals}
    return {**known, **dict.fromkeys(own, _HIDDEN)} if own else known


def name_of(match: object, around: Namespace) -> str | None:
    """What a class or function is called where `around` are the names; None: it has no name.

    A bare name is one of those, of the built-ins, or of the script or notebook. A dotted
    one begins with the module that has it, by the name that this has among those, or else to
    be imported.
    """
    module, path = _told(match)
    steps = path.split(".")
    if _found(around, steps) is match:
        return path
    if steps[0] not in around:
        for bare in (vars(builtins), _globals("__main__")):
            if _found(bare, steps) is match:
                return path
    alias = _name_in(around, match)
    if alias is not None:
        return alias
    for public in _PUBLIC:
        name = _name_in(vars(public), match)
        if name is not None:
            return f"{_name_in(around, public) or public.__name__}.{name}"
    for home in _homes(module):
        if _found(_globals(home), steps) is match:
            return f"{_name_in(around, sys.modules[home]) or home}.{path}"
    # It stands there under another name than it says: `_thread.LockType`.
    name = _name_in(_globals(module), match)
    return None if name is None else f"{module}.{name}"


def _told(match: object) -> tuple[str, str]:
    """The module and the qualified name that a class or function says it has."""
    told: list[object] = []
    if issubclass(type(match), type):
        told = [get(cast(type, match)) for get in _OF_TYPES]
    elif isinstance(match, types.FunctionType | types.BuiltinFunctionType):
        told = [match.__module__, match.__qualname__]
    module, path = (text if isinstance(text, str) else "" for text in told or ("", ""))
    return module, path


def _homes(module: str) -> Iterator[str]:
    """Modules that may have what says it is of `module`: the packages around it come first."""
    parts = module.split(".")
    for size in range(1, len(parts)):
        yield ".".join(parts[:size])
    yield module.lstrip("_")
    yield module


def _globals(module: str) -> Namespace:
    found = sys.modules.get(module)
    return vars(found) if isinstance(found, types.ModuleType) else {}


def _found(names: Namespace, steps: list[str]) -> object:
    """What a path of names leads to; the names themselves where it leads nowhere."""
    found = names.get(steps[0], names)
    for step in steps[1:]:
        if not issubclass(type(found), type):
            return names
        found = _ATTRIBUTES(found).get(step, names)
    return found


def _name_in(names: Namespace, match: object) -> str | None:
    """Under which public name something stands among `names`."""
    for name, value in list(names.items()):
        if value is match and name.isidentifier() and not name.startswith("_"):
            return name
    return None
