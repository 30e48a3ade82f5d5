"""A load, run in Python, that knows at each moment what it is about to do: for `explain_load`.

Rule: what an opcode does here is what it does in the unpickler that is written in C. Where that
one and `pickle._Unpickler` differ (short reads, frames, a mark in the way, lists that extend, sets
that update, states that are no dicts), C's way is taken. Where in the payload an opcode stands is
found elsewhere (`whereabouts`).
"""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import re
import struct
from collections.abc import Callable, Iterable
from sys import intern, maxsize
from typing import Any, Final, final

from weakreduce import api
from weakreduce.core import words
from weakreduce.model.texts import class_name, printable
from weakreduce.reading import whereabouts
from weakreduce.reading.calls import called, given, listed, named, shown
from weakreduce.report.findings import LoadReport

_OCTAL: Final = re.compile(rb"[+-]?0[0-7]+")
_Base: Any = vars(pickle)["_Unpickler"]
#: What opens a pickle inside a pickle, as `bind` and the engines write it.
_LOADS: Final = (pickle.loads, vars(pickle)["_loads"])


def _minds_frames() -> bool:
    """Whether the unpickler in C looks at where a frame ends, as it does from Python 3.14 on."""
    outer, inner = (b"\x95" + struct.pack("<Q", size) for size in (10, 1))
    try:
        pickle.loads(outer + inner + b"N.")
    except pickle.UnpicklingError:
        return True
    return False


_MINDS_FRAMES: Final = _minds_frames()


class Inner(Exception):  # noqa: N818 - a signal
    """A pickle inside the pickle fails: `loader` is where it stands, its cause is the error."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader


def _underflow() -> pickle.UnpicklingError:
    return pickle.UnpicklingError("unpickling stack underflow")


class Loader(_Base):  # type: ignore[misc]
    """Loads one pickle, which executes it.

    Attributes:
        data: the pickle.
        at: where the opcode that is run stands.
        call: what is about to be called with what, in words; None where nothing is.
    """

    def __init__(self, data: bytes, buffers: Iterable[Any] | None = None) -> None:
        self.data = data
        self.at = self.next = 0
        #: Where the current frame ends, for an unpickler that minds; 0 where there is none.
        self.frame_end = 0
        self.call: str | None = None
        # As in C: the first three are the defaults of `pickle.loads`.
        self.fix_imports, self.encoding, self.errors = True, "ASCII", "strict"
        self._buffers = None if buffers is None else iter(buffers)
        self.memo: dict[int, Any] = {}
        self.metastack: list[list[Any]] = []
        self.stack: list[Any] = []
        self.append = self.stack.append
        self.proto = 0

    def load(self) -> Any:
        """The object.

        Raises:
            Exception: what `pickle.loads` raises.
            Inner: for a pickle inside of this one that raises.
        """
        data, run = self.data, _RUN
        while True:
            self.at = self.next
            if self.at >= len(data):
                raise EOFError("Ran out of input")
            code = data[self.at]
            self.next += 1
            if code == 0x2E:
                return self._pop()
            step = run[code]
            if step is None:
                key = chr(code) if 0x20 < code < 0x7F else f"\\x{code:02x}"
                raise pickle.UnpicklingError(f"invalid load key, '{key}'.")
            self.call = None
            try:
                step(self)
            except IndexError:
                if self.call is not None or step in _OURS:
                    raise
                raise _underflow() from None

    # --- reading ----------------------------------------------------------------------

    def read(self, size: int) -> bytes:
        """As many bytes of the pickle."""
        if size > len(self.data) - self.next:
            raise pickle.UnpicklingError("pickle data was truncated")
        if self.next < self.frame_end < self.next + size:
            raise pickle.UnpicklingError("pickle exhausted before end of frame")
        start, self.next = self.next, self.next + size
        return self.data[start : self.next]

    def readinto(self, buffer: bytearray) -> int:
        """Fill a buffer."""
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def readline(self) -> bytes:
        """A line of the pickle, with its end."""
        stop = self.data.find(b"\n", self.next)
        if stop < 0 or (stop == self.next and self.data[self.at] != ord("V")):
            raise pickle.UnpicklingError("pickle data was truncated")
        return self.read(stop + 1 - self.next)

    def _pop(self) -> Any:
        if not self.stack:
            raise _underflow()
        return self.stack.pop()

    def _top(self) -> Any:
        if not self.stack:
            raise _underflow()
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """What stands above the last mark."""
        if not self.metastack:
            raise pickle.UnpicklingError("could not find MARK")
        items: list[Any] = super().pop_mark()
        return items

    # --- what differs from the class in Python ----------------------------------------

    def frame(self) -> None:
        """A frame has to be there whole; what ends in it is looked at by some Pythons alone."""
        (size,) = struct.unpack("<Q", self.read(8))
        if size > maxsize:
            text = f"FRAME length exceeds system's maximum of {maxsize} bytes"
            raise OverflowError(text)
        if _MINDS_FRAMES and self.next < self.frame_end:
            raise pickle.UnpicklingError("beginning of a new frame before end of current frame")
        if size > len(self.data) - self.next:
            raise pickle.UnpicklingError("pickle data was truncated")
        if _MINDS_FRAMES:
            self.frame_end = self.next + size

    def integer(self) -> None:
        """Numbers with a leading zero are octal; what stands behind a zero byte is not read."""
        line = self.readline()[:-1]
        text, end, _ = line.partition(b"\0")
        if line in (b"00", b"01"):
            self.append(line == b"01")
        elif end and not text:
            self.append(0)
        else:
            self.append(int(text, 8) if _OCTAL.fullmatch(text) else int(text, 0))

    def real(self) -> None:
        """Digits without underscores or spaces between them."""
        line = self.readline()[:-1].partition(b"\0")[0]
        if b"_" in line or line.strip() != line:
            raise ValueError("could not convert string to float")
        self.append(float(line))

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for."""
        self.call = f"from {printable(module)} import {printable(name)}"
        return super().find_class(module, name)

    def get_extension(self, code: int) -> None:
        """What a code of `copyreg`'s stands for."""
        self.call = f"copyreg extension {code}"
        super().get_extension(code)

    def persistent_load(self, pid: Any) -> Any:
        """Nobody knows persistent ids here."""
        self.call = f"persistent_load({shown(pid)})"
        raise pickle.UnpicklingError(
            "A load persistent id instruction was encountered, "
            "but no persistent_load function was specified."
        )

    def reduce(self) -> None:
        """A call."""
        arguments, function = self._pop(), self._top()
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
        loader = type(self)(data)
        try:
            return loader.load()
        except Inner:
            raise
        except Exception as error:
            raise Inner(loader) from error

    def new(self) -> None:
        """An instance, bare."""
        self._new(self._pop(), {}, "NEWOBJ")

    def new_with_keywords(self) -> None:
        """The same, with keywords."""
        keywords = self._pop()
        self._new(self._pop(), keywords, "NEWOBJ_EX")

    def _new(self, arguments: Any, keywords: Any, opcode: str) -> None:
        cls = self._pop()
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

    def object(self) -> None:
        """Protocol 1's."""
        items = self.pop_mark()
        if not items:
            raise _underflow()
        cls, *arguments = items
        self.call = called(cls, arguments)
        self._instantiate(cls, arguments)

    def _instantiate(self, cls: Any, arguments: list[Any]) -> None:
        bare = not arguments and isinstance(cls, type) and not hasattr(cls, "__getinitargs__")
        self.append(getattr(cls, "__new__")(cls) if bare else cls(*arguments))  # noqa: B009

    def add(self) -> None:
        """Items of a list, or of what extends as one."""
        self._extend([self._pop()])

    def add_many(self) -> None:
        """The same."""
        items = self.pop_mark()
        self._top()
        if items:
            self._extend(items)

    def _extend(self, items: list[Any]) -> None:
        found = self._top()
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
        items, found = self.pop_mark(), self._top()
        for item in items:
            # One by one, so that it is known which is refused.
            self.call = f"{named(type(found))}.add({shown(item)})"
            if isinstance(found, set):
                set.add(found, item)
            else:
                found.add(item)

    def set_item(self) -> None:
        """An entry of a dict."""
        value = self._pop()
        self._set_items([self._pop(), value], "SETITEM")

    def set_items(self) -> None:
        """Entries of a dict."""
        self._set_items(self.pop_mark(), "SETITEMS")

    def _set_items(self, items: list[Any], opcode: str) -> None:
        found = self._top()
        if len(items) % 2:
            raise pickle.UnpicklingError(f"odd number of items for {opcode}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.call = f"{named(type(found))}.__setitem__({shown(key)}, {shown(value)})"
            found[key] = value

    def build(self) -> None:
        """The state of an object."""
        state, found = self._pop(), self._top()
        cls = named(type(found))
        self.call = f"{cls}.__setstate__({shown(state)})"
        set_state: Any = getattr(found, "__setstate__", self)
        if set_state is not self:
            set_state(state)
            return
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


def explain_load(
    data: Any, *, host: api.OwnHost = "cloudpickle", buffers: Iterable[Any] | None = None
) -> LoadReport:
    """Why `data` cannot be loaded: which call fails, where in the payload, with which error.

    **This loads the payload, and so executes it**, as `loads` does: never give it bytes that you
    do not trust. (``python -m weakreduce inspect`` runs nothing.) What fails in `loads` fails
    here, and all else works.

    Args:
        data: a payload, as bytes or another buffer.
        host: whose names it may use: ``"cloudpickle"``, ``"dill"`` or ``"pickle"``.
        buffers: the out-of-band buffers, as in `pickle.loads`.

    Returns:
        The error, the path and the call; all None where the load works.

    Raises:
        ValueError: for an unknown host.
        TypeError: where `data` is no buffer.
    """
    api.check_host(host)
    loader = (DillLoader if host == "dill" else Loader)(bytes(memoryview(data)), buffers)
    try:
        loader.load()
    except Exception as error:  # noqa: BLE001 - it is the answer
        return _report(loader, error)
    return LoadReport()


def _report(loader: Loader, error: Exception) -> LoadReport:
    path = whereabouts.path_at(loader.data, loader.at)
    if not isinstance(error, Inner):
        return LoadReport(
            words.cause(error), None if path is None else printable(path), loader.call
        )
    cause = error.__cause__
    assert isinstance(cause, Exception)
    inner = _report(error.loader, cause)
    if path is None or inner.path is None:
        return inner
    return dataclasses.replace(inner, path=re.sub(r"\broot\b", lambda _: path, inner.path, count=1))


@final
class DillLoader(Loader):
    """The same, with the names that dill knows."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; its session's own have no module."""
        dill: Any = importlib.import_module("dill._dill")
        if (module, name) == ("__builtin__", "__main__"):
            return dill._main_module.__dict__
        if (module, name) == ("dill.dill", "_get_main_module"):
            module = "dill._dill"
        return super().find_class(module, name)


#: The steps of ours; the others are `pickle._Unpickler`'s.
_STEPS: Final[dict[bytes, Callable[[Any], None]]] = {
    b"\x95": Loader.frame, b"I": Loader.integer, b"F": Loader.real, b"R": Loader.reduce,
    b"\x81": Loader.new, b"\x92": Loader.new_with_keywords, b"i": Loader.instance,
    b"o": Loader.object, b"a": Loader.add, b"e": Loader.add_many, b"\x90": Loader.add_to_set,
    b"s": Loader.set_item, b"u": Loader.set_items, b"b": Loader.build,
}  # fmt: skip
_OURS: Final = frozenset(_STEPS.values())
#: Opcode -> what runs it.
_RUN: Final[list[Callable[[Any], None] | None]] = [
    _STEPS.get(bytes([code]), _Base.dispatch.get(code)) for code in range(256)
]
