"""The standard library's pickle: a Pickler of ours, and, where asked for, ``pickle`` itself.

The C type behind ``pickle.Pickler`` cannot be patched. A subclass of it takes its place, and that
is patched, so that what derives from it meanwhile is as stock after `uninstall`. ``dumps``,
``dump`` and ``Pickler`` are replaced in ``pickle`` and in the modules of the standard library that
have taken them from there (``shelve``). Nothing is put into other modules: those that keep a name
from before are listed as ``not_reached``. ``pickle._Pickler`` stays: what derives from it (dill,
joblib) may write to the file by itself.
"""

from __future__ import annotations

import _pickle
import functools
import io
import sys
import types
from collections.abc import Iterator
from typing import Any

from weakreduce.hosts.patch import ARGUMENTS, AttributePatch, PicklerPatch, Stock
from weakreduce.hosts.picklers import PicklerAdapter
from weakreduce.hosts.scout import protocol_of
from weakreduce.model.files import BufferCallback, Writable
from weakreduce.model.kinds import has_registered


def keep_protocol(
    pickler: Any,
    file: object,
    protocol: int | None = None,
    *_arguments: object,
    **_keywords: object,
) -> None:
    """Note the protocol of a C pickler, which does not tell."""
    pickler._weakreduce_protocol = protocol_of(protocol)


class Pickler(_pickle.Pickler):
    """The C pickler, with weak references."""


class Adapter(PicklerAdapter):
    """Drives `Pickler`."""

    def __init__(self, pickler: Any, stock: Any, used: bool) -> None:
        super().__init__(pickler, stock, used, pickler._weakreduce_protocol)

    def plans(self) -> dict[type, Any]:
        """Classes and functions are names, whatever the tables have: short for a look at each."""
        if has_registered() or self.asks_for_all:
            return {}
        return {type: None, types.FunctionType: None}

    def by_name(self, obj: object) -> bool:
        """Stock pickle writes classes, functions and builtins as names, but no modules."""
        if self.override is not None:
            found = self.override(obj)
            if found is not NotImplemented:
                return isinstance(found, str)
        return not isinstance(obj, types.ModuleType) and super().by_name(obj)


PicklerPatch(Pickler, Adapter, ARGUMENTS, keep_protocol).apply()


def dumps(
    obj: object,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: BufferCallback | None = None,
) -> bytes:
    """``pickle.dumps`` with weak references."""
    file = io.BytesIO()
    Pickler(file, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback).dump(obj)
    return file.getvalue()


def dump(
    obj: object,
    file: Writable,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: BufferCallback | None = None,
) -> None:
    """``pickle.dump`` with weak references."""
    Pickler(file, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback).dump(obj)


#: What stands for ``pickle.Pickler`` where that is installed; its name is written as that.
PublicPickler: Any = type(
    "Pickler", (_pickle.Pickler,), {"__module__": "pickle", "__doc__": _pickle.Pickler.__doc__}
)


class _Function:
    """What stands for a builtin function of ``pickle``.

    No Python function: that would be bound where a class has it as an attribute.
    """

    def __init__(self, patch: PicklePatch, stock: Stock, ours: Stock) -> None:
        functools.update_wrapper(self, stock)
        self._patch, self._stock, self._ours = patch, stock, ours

    def __call__(self, *args: object, **keywords: object) -> object:
        """As stock, where it was taken from ``pickle`` and kept longer than that was installed."""
        function = self._ours if self._patch.applied else self._stock
        return function(*args, **keywords)

    def __repr__(self) -> str:
        return f"<function {self.__name__}, extended by weakreduce>"  # type: ignore[attr-defined]

    def __copy__(self) -> _Function:
        """As functions are copied."""
        return self

    def __deepcopy__(self, memo: object) -> _Function:
        """As functions are copied."""
        return self

    def __reduce__(self) -> Any:
        """The receiver has its own."""
        return max, ((self._stock,),)


class PicklePatch(AttributePatch):
    """The patch of ``pickle`` itself, and of the standard library's modules that took its names."""

    def __init__(self, module: types.ModuleType) -> None:
        self.pickler = PicklerPatch(PublicPickler, Adapter, ARGUMENTS, keep_protocol)
        stock: tuple[Any, ...] = (module.Pickler, module.dumps, module.dump)
        ours = (
            PublicPickler,
            _Function(self, module.dumps, dumps),
            _Function(self, module.dump, dump),
        )
        self.stock, self.ours = stock, ours
        super().__init__(
            *(
                (owner, name, functools.partial(_counterpart, stock, ours))
                for owner, name in _holders(stock)
                if _in_library(owner)
            )
        )

    def apply(self) -> None:
        """Put ours in place."""
        super().apply()
        self.pickler.apply()

    def remove(self) -> None:
        """Put back what was there, also where it was taken from ``pickle`` meanwhile."""
        super().remove()
        for owner, name in _holders(self.ours):
            if _in_library(owner):
                setattr(owner, name, _counterpart(self.ours, self.stock, _names_in(owner)[name]))
        self.pickler.remove()

    @property
    def not_reached(self) -> list[str]:
        """The modules that keep a name of ``pickle`` from before."""
        return sorted({_name_of(owner) for owner, _ in _holders(self.stock) if _is_foreign(owner)})


def _counterpart(those: tuple[object, ...], these: tuple[object, ...], found: object) -> object:
    return next(this for that, this in zip(those, these, strict=True) if that is found)


def _holders(wanted: tuple[object, ...]) -> Iterator[tuple[types.ModuleType, str]]:
    """Modules, and names in them, that have one of some objects."""
    identities = set(map(id, wanted))
    # By the type, and without a look-up: lazy modules are not to be woken.
    modules = {id(module): module for module in list(sys.modules.values())
               if issubclass(type(module), types.ModuleType)}  # fmt: skip
    for module in modules.values():
        for name, found in list(_names_in(module).items()):
            if id(found) in identities:
                yield module, name


def _names_in(module: types.ModuleType) -> dict[str, Any]:
    found: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return found


def _name_of(module: types.ModuleType) -> str:
    return str(_names_in(module).get("__name__"))


def _top(module: types.ModuleType) -> str:
    return _name_of(module).partition(".")[0]


def _in_library(module: types.ModuleType) -> bool:
    # Not in the C module, which is where everybody's stock is found.
    return _top(module) in sys.stdlib_module_names and _top(module) != "_pickle"


def _is_foreign(module: types.ModuleType) -> bool:
    return _top(module) not in sys.stdlib_module_names and _top(module) != "weakreduce"


def make_patch(module: types.ModuleType) -> PicklePatch:
    """The patch of ``pickle``."""
    return PicklePatch(module)
