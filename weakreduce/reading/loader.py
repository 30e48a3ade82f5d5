"""A load that knows at each moment what it is about to call, with what: for `explain_load`.

Rule: what an opcode does here is what it does in the unpickler that is written in C. Where that
one and `pickle._Unpickler` differ (lists that extend, sets that update, states that are no dicts),
C's way is taken.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterable
from sys import intern
from typing import Any, ClassVar, Final, final

from weakreduce.model.texts import class_name, printable
from weakreduce.reading import arrays
from weakreduce.reading.calls import called, given, listed, named, shown
from weakreduce.reading.unpickler import Step, Unpickler, run_by, underflow

#: What opens a pickle inside a pickle, as `bind` and the engines write it.
_LOADS: Final = (pickle.loads, vars(pickle)["_loads"])


class Inner(Exception):  # noqa: N818 - a signal
    """A pickle inside the pickle fails: `loader` is where it stands, its cause is the error."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader


class Loader(Unpickler):
    """Loads one pickle, which executes it; what a call of it is given is told in `call`.

    Attributes:
        apart: where bytes of arrays stand that are no opcodes, as beginnings and ends.

    Raises:
        Inner: from `load`, for a pickle inside of this one that raises.
    """

    def __init__(
        self, data: bytes, buffers: Iterable[object] | None = None, start: int = 0
    ) -> None:
        super().__init__(data, buffers, start)
        self.apart: list[tuple[int, int]] = []

    def opcodes(self) -> tuple[bytes, int]:
        """The pickle without what stands apart, and where the opcode that is run stands in it."""
        pieces, begin, at = [], self.start, self.at - self.start
        for first, end in self.apart:
            pieces.append(self.data[begin:first])
            begin = end
            at -= end - first if end <= self.at else 0
        return b"".join([*pieces, self.data[begin:]]), at

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for."""
        self.call = f"from {printable(module)} import {printable(name)}"
        return super().find_class(module, name)

    def get_extension(self, code: int) -> None:
        """What a code of `copyreg`'s stands for."""
        self.call = f"copyreg extension {code}"
        super().get_extension(code)

    def persistent_load(self, pid: object) -> Any:
        """Nobody knows persistent ids here."""
        self.call = f"persistent_load({shown(pid)})"
        raise pickle.UnpicklingError(
            "A load persistent id instruction was encountered, "
            "but no persistent_load function was specified."
        )

    def reduce(self) -> None:
        """A call."""
        arguments, function = self.pop(), self.top()
        if not isinstance(arguments, tuple):
            self.call = called(function, (arguments,))
            raise TypeError("argument list must be a tuple")
        if (
            any(function is each for each in _LOADS)
            and len(arguments) == 1
            and type(arguments[0]) is bytes
        ):
            self.stack[-1] = self._inner(arguments[0])
            return
        self.call = called(function, arguments)
        self.stack[-1] = function(*arguments)

    def _inner(self, data: bytes) -> Any:
        return self._loaded(type(self)(data))

    def _loaded(self, loader: Loader) -> Any:
        try:
            return loader.load()
        except (Inner, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise Inner(loader) from error

    def new(self) -> None:
        """An instance, bare."""
        self._new(self.pop(), {}, "NEWOBJ")

    def new_with_keywords(self) -> None:
        """The same, with keywords."""
        keywords = self.pop()
        self._new(self.pop(), keywords, "NEWOBJ_EX")

    def _new(self, arguments: Any, keywords: Any, opcode: str) -> None:
        cls = self.pop()
        self.call = f"{named(cls)}.__new__{given((cls, *listed(arguments)), keywords)}"
        make: Any = cls
        for value, right, what in (
            (cls, type, "class argument must be a type"),
            (arguments, tuple, "expected an arg tuple"),
            (keywords, dict, "expected a kwargs dict"),
        ):
            if not isinstance(value, right):
                name = class_name(type(value))
                raise pickle.UnpicklingError(f"{opcode} {what}, not {name}")
        self.append(make.__new__(make, *arguments, **keywords))

    def instance(self) -> None:
        """Protocol 0's instance of a class."""
        module, name = str(self.readline()[:-1], "ascii"), str(self.readline()[:-1], "ascii")
        cls = self.find_class(module, name)
        arguments = self.pop_mark()
        self.call = called(cls, arguments)
        self._instantiate(cls, arguments)

    def old_object(self) -> None:
        """Protocol 1's."""
        items = self.pop_mark()
        if not items:
            raise underflow()
        cls, *arguments = items
        self.call = called(cls, arguments)
        self._instantiate(cls, arguments)

    def _instantiate(self, cls: Any, arguments: list[Any]) -> None:
        bare = not arguments and isinstance(cls, type) and not hasattr(cls, "__getinitargs__")
        self.append(getattr(cls, "__new__")(cls) if bare else cls(*arguments))  # noqa: B009

    def add(self) -> None:
        """Items of a list, or of what extends as one."""
        self._extend([self.pop()])

    def add_many(self) -> None:
        """The same."""
        items = self.pop_mark()
        self.top()
        if items:
            self._extend(items)

    def _extend(self, items: list[Any]) -> None:
        found = self.top()
        if type(found) is list:
            found.extend(items)
            return
        extend = getattr(found, "extend", None)
        if extend is not None:
            self.call = f"{named(type(found))}.extend({shown(items)})"
            extend(items)
            return
        add = found.append
        for item in items:
            self.call = f"{named(type(found))}.append({shown(item)})"
            add(item)

    def add_to_set(self) -> None:
        """Members of a set, or of what adds as one."""
        items, found = self.pop_mark(), self.top()
        for item in items:
            # One by one, so that it is known which is refused.
            self.call = f"{named(type(found))}.add({shown(item)})"
            if isinstance(found, set):
                set.add(found, item)
            else:
                found.add(item)

    def set_item(self) -> None:
        """An entry of a dict."""
        value = self.pop()
        self._set_items([self.pop(), value], "SETITEM")

    def set_items(self) -> None:
        """Entries of a dict."""
        self._set_items(self.pop_mark(), "SETITEMS")

    def _set_items(self, items: list[Any], opcode: str) -> None:
        found = self.top()
        if len(items) % 2:
            raise pickle.UnpicklingError(f"odd number of items for {opcode}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.call = f"{named(type(found))}.__setitem__({shown(key)}, {shown(value)})"
            found[key] = value

    def build(self) -> None:
        """The state of an object."""
        state, found = self.pop(), self.top()
        cls = named(type(found))
        self.call = f"{cls}.__setstate__({shown(state)})"
        set_state: Any = getattr(found, "__setstate__", self)
        if set_state is not self:
            set_state(state)
            return
        self._set_attributes(found, cls, state)
        if arrays.is_wrapper(found):
            self._read_array(found)

    def _read_array(self, wrapper: Any) -> None:
        """An array of a file of joblib's: what follows is not of this pickle."""
        self.call = f"joblib reads an array of shape {shown(wrapper.shape)}"
        start = self.next
        self.apart.append((start, len(self.data)))
        if wrapper.dtype.hasobject:
            loader = type(self)(self.data, start=start)
            self.stack[-1] = self._loaded(loader)
            self.next = loader.next
        else:
            self.stack[-1], self.next = arrays.read(wrapper, self.data, start)
        self.apart[-1] = start, self.next

    def _set_attributes(self, found: Any, cls: str, state: Any) -> None:
        slots, has_slots = None, False
        if isinstance(state, tuple) and len(state) == 2:
            state, slots = state
            has_slots = True
        if state is not None:
            if not isinstance(state, dict):
                raise pickle.UnpicklingError("state is not a dictionary")
            self.call = f"vars({cls} object).update({shown(state)})"
            attributes = found.__dict__
            for key, value in state.items():
                self.call = f"vars({cls} object)[{shown(key)}] = {shown(value)}"
                attributes[intern(key) if type(key) is str else key] = value
        if not has_slots:
            return
        if not isinstance(slots, dict):
            raise pickle.UnpicklingError("slot state is not a dictionary")
        for key, value in slots.items():
            self.call = f"setattr({cls} object, {shown(key)}, {shown(value)})"
            setattr(found, key, value)

    steps: ClassVar[dict[bytes, Step]] = {
        **Unpickler.steps, b"R": reduce, b"\x81": new, b"\x92": new_with_keywords, b"i": instance,
        b"o": old_object, b"a": add, b"e": add_many, b"\x90": add_to_set, b"s": set_item,
        b"u": set_items, b"b": build,
    }  # fmt: skip
    run = run_by(steps)


@final
class DillLoader(Loader):
    """The same, with the names that dill knows."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; its session's own have no module, nor has the type of None."""
        dill: Any = importlib.import_module("dill._dill")
        if (module, name) == ("__builtin__", "__main__"):
            return dill._main_module.__dict__
        if (module, name) == ("__builtin__", "NoneType"):
            return type(None)
        if module == "dill.dill":  # of versions that had it there
            module = "dill._dill"
        return super().find_class(module, name)
