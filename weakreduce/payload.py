"""Read a payload without running it: what weak things it holds, and what a receiver needs.

`pickletools` takes the opcodes apart; a small machine follows them with a stack and a memo like
an unpickler's, but puts descriptions where an unpickler would put objects. Nothing is imported,
called or looked up. Rule: what is written is decided in `encode`; this is its mirror, and the
tests hold the two together. Payloads of stock cloudpickle and pickle are read as well.
"""

from __future__ import annotations

import _compat_pickle
import itertools
import pickletools
import sys
from collections import Counter
from typing import Any, BinaryIO, Final, final

from weakreduce.errors import WeakreduceError

_LONGEST: Final = 200  # characters of a constant that are kept: names are short
_SHOWN: Final = 20  # pickles of one file that the text lists
_STATES: Final = ("linked", "pinned", "named", "dangling")
_PACKED: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
#: One function has several names, by the module that it says it is from.
_ALIASES: Final = {
    "_operator": "operator",
    "_functools": "functools",
    "_weakref": "weakref",
    "_weakrefset": "weakref",
}
#: Names that dill gives to types of the standard library; the others it uses are builtins'.
_DILL_TYPES: Final = {
    "ItemGetterType": "operator.itemgetter",
    "PartialType": "functools.partial",
    "MethodType": "types.MethodType",
    "ReferenceType": "weakref.ReferenceType",
}
_GETATTR: Final = ("builtins.getattr", "dill._dill._getattr")
_NEW_NAMES: Final[dict[tuple[str, str], tuple[str, str]]] = _compat_pickle.NAME_MAPPING
_NEW_MODULES: Final[dict[str, str]] = _compat_pickle.IMPORT_MAPPING
_CONTAINERS: Final = ("WeakSet", "WeakKeyDictionary", "WeakValueDictionary")


class NotAPayload(WeakreduceError):  # noqa: N818 - as the messages say
    """A file is not a pickle, or not a whole one."""


@final
class _Value:
    """What stands for an object: a constant, a global, a call, or a container with its items."""

    __slots__ = ("constant", "function", "items", "name")

    def __init__(
        self,
        name: str = "",
        items: list[Any] | None = None,
        function: Any = None,
        constant: Any = None,
    ) -> None:
        self.name = name
        self.items: list[_Value] = [] if items is None else items
        self.function: _Value | None = function
        self.constant = constant


@final
class Weak:
    """A weak thing of a payload; a container has a state for each of its entries."""

    def __init__(self, kind: str, states: Counter[str]) -> None:
        self.kind = kind
        self.states = states


@final
class Payload:
    """What one pickle holds.

    Attributes:
        size: its bytes.
        protocol: the protocol that it says it is of; 0 for 0 and 1.
        weak: its weak things.
        modules: full names of the modules that a receiver imports.
        buffers: how many out-of-band buffers a receiver has to be given.
        persistent: how many objects a receiver's ``persistent_load`` is asked for.
        extensions: codes of `copyreg`'s extension registry.
    """

    def __init__(self) -> None:
        self.size = 0
        self.protocol = 0
        self.weak: list[Weak] = []
        self.modules: set[str] = set()
        self.buffers = 0
        self.persistent = 0
        self.extensions: set[int] = set()

    def counts(self) -> dict[str, Counter[str]]:
        """Kind -> state -> number of weak edges. An empty container is a state of its own."""
        found: dict[str, Counter[str]] = {}
        for weak in self.weak:
            states = weak.states or Counter({"empty": 1})
            found.setdefault(weak.kind, Counter()).update(states)
        return dict(sorted(found.items()))

    @property
    def needed(self) -> tuple[list[str], list[str]]:
        """Modules that a receiver needs: those to be installed, and the standard library's."""
        own: list[str] = []
        standard: list[str] = []
        for name in sorted(self.modules):
            top = name.partition(".")[0]
            (standard if top in sys.stdlib_module_names else own).append(name)
        return own, standard

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        own, standard = self.needed
        return {
            "bytes": self.size,
            "protocol": self.protocol,
            "weak": {kind: dict(states) for kind, states in self.counts().items()},
            "modules": own,
            "standard_modules": standard,
            "buffers": self.buffers,
            "persistent": self.persistent,
            "extensions": sorted(self.extensions),
        }

    def __str__(self) -> str:
        lines = [f"{self.size:,} bytes, protocol {self.protocol}"]
        counts = self.counts()
        if not counts:
            lines.append("no weak things")
        for kind, states in counts.items():
            listed = ", ".join(
                f"{states[state]:,} {state}" for state in (*_STATES, "empty") if states[state]
            )
            lines.append(f"{kind}: {listed}")
        own, standard = self.needed
        lines.append(f"needs: {', '.join(own) or 'the standard library alone'}")
        if standard:
            lines.append(f"of the standard library: {', '.join(standard)}")
        if self.buffers:
            lines.append(f"needs {self.buffers:,} out-of-band buffers")
        if self.persistent:
            lines.append(f"needs persistent_load for {self.persistent:,} objects")
        if self.extensions:
            codes = ", ".join(map(str, sorted(self.extensions)))
            lines.append(f"needs copyreg's extension codes {codes}")
        return "\n".join(lines)


@final
class Contents:
    """What a file holds: one payload or several, one after the other."""

    def __init__(self, path: str, payloads: list[Payload]) -> None:
        self.path = path
        self.payloads = payloads

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"file": self.path, "pickles": [payload.to_dict() for payload in self.payloads]}

    def __str__(self) -> str:
        if len(self.payloads) == 1:
            return f"{self.path}: {self.payloads[0]}"
        parts = [f"{self.path}: {len(self.payloads):,} pickles"]
        parts += [
            f"pickle {number}: {payload}"
            for number, payload in enumerate(self.payloads[:_SHOWN], 1)
        ]
        if len(self.payloads) > _SHOWN:
            parts.append(f"{len(self.payloads) - _SHOWN:,} more pickles")
        return "\n\n".join(parts)


def read(path: str) -> Contents:
    """What the pickles of a file hold; nothing of them is run.

    Raises:
        NotAPayload: where it is not a pickle, or not a whole one.
        OSError: where it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(8)
        if not head:
            raise NotAPayload("the file is empty")
        for magic, packer in _PACKED.items():
            if head.startswith(magic):
                raise NotAPayload(f"not a pickle, but packed by {packer}; unpack it first")
        file.seek(0)
        payloads: list[Payload] = []
        while True:
            start = file.tell()
            if not file.read(1):
                return Contents(path, payloads)
            file.seek(start)
            try:
                payloads.append(_Machine().run(file))
            except NotAPayload as error:
                raise NotAPayload(f"pickle {len(payloads) + 1}: {error}" if start else str(error)) \
                    from error  # fmt: skip
            payloads[-1].size = file.tell() - start


_MARK: Final = _Value("mark")

_CONSTANTS: Final = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "NONE", "NEWTRUE",
    "NEWFALSE", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT", "BINFLOAT",
})  # fmt: skip
_EMPTY: Final = {"EMPTY_LIST": "list", "EMPTY_TUPLE": "tuple", "EMPTY_DICT": "dict",
                 "EMPTY_SET": "set"}  # fmt: skip
_MARKED: Final = {"LIST": "list", "TUPLE": "tuple", "DICT": "dict", "FROZENSET": "frozenset"}
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ADDS: Final = {"APPEND": 1, "SETITEM": 2}
_ADDS_MARKED: Final = ("APPENDS", "SETITEMS", "ADDITEMS")
_PUTS: Final = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS: Final = ("GET", "BINGET", "LONG_BINGET")


@final
class _Machine:
    """Follows the opcodes of one pickle."""

    def __init__(self) -> None:
        self.payload = Payload()
        self.stack: list[_Value] = []
        self.memo: dict[int, _Value] = {}
        self.weak: dict[int, tuple[_Value, Weak]] = {}
        self.fills: list[tuple[_Value, _Value]] = []
        #: Python 2's names stand in protocols 0 to 2.
        self.old_names = True

    def run(self, file: BinaryIO) -> Payload:
        """The payload that begins where the file stands."""
        position: int | None = 0
        try:
            for opcode, argument, at in pickletools.genops(file):
                position = at
                self._step(opcode.name, argument)
            if len(self.stack) != 1:
                raise ValueError(f"{len(self.stack)} objects are left on the stack")
            self._finish()
        except Exception as error:
            # Whatever the bytes are, they are answered for with a message.
            reason = str(error) or type(error).__name__
            if "exhausted" in reason or "not enough data" in reason or "expected" in reason:
                raise NotAPayload(f"a pickle that is cut short ({reason})") from error
            where = "" if not position else f" at byte {position:,}"
            raise NotAPayload(f"not a pickle, or a damaged one{where} ({reason})") from error
        return self.payload

    # --- opcodes --------------------------------------------------------------------

    def _pop(self, number: int) -> list[_Value]:
        if number == 0:
            return []
        if len(self.stack) < number:
            raise ValueError("the stack is empty")
        taken = self.stack[-number:]
        if any(value is _MARK for value in taken):
            raise ValueError("a mark is where an object should be")
        del self.stack[-number:]
        return taken

    def _pop_mark(self) -> list[_Value]:
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth] is _MARK:
                taken = self.stack[depth + 1 :]
                del self.stack[depth:]
                return taken
        raise ValueError("a mark is missing")

    def _top(self) -> _Value:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("the stack is empty")
        return self.stack[-1]

    def _step(self, name: str, argument: Any) -> None:
        push = self.stack.append
        if name in _CONSTANTS:
            kept = argument if isinstance(argument, (int, str)) else None
            if isinstance(kept, str) and len(kept) > _LONGEST:
                kept = None
            push(_Value("constant", constant=kept))
        elif name in _GETS:
            if int(argument) not in self.memo:
                raise ValueError("it refers to an object that it does not have")
            push(self.memo[int(argument)])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top()
        elif name in _PUTS:
            self.memo[int(argument)] = self._top()
        elif name in _EMPTY:
            push(_Value(_EMPTY[name]))
        elif name in _TUPLES:
            push(_Value("tuple", self._pop(_TUPLES[name])))
        elif name == "MARK":
            push(_MARK)
        elif name in _MARKED:
            push(_Value(_MARKED[name], self._pop_mark()))
        elif name in _ADDS:
            items = self._pop(_ADDS[name])
            self._top().items += items
        elif name in _ADDS_MARKED:
            items = self._pop_mark()
            self._top().items += items
        else:
            self._step_object(name, argument)

    def _step_object(self, name: str, argument: Any) -> None:
        push = self.stack.append
        if name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            push(self._global(module, attribute))
        elif name == "STACK_GLOBAL":
            module, attribute = (value.constant for value in self._pop(2))
            if not isinstance(module, str) or not isinstance(attribute, str):
                raise ValueError("a name is not a text")
            push(self._global(module, attribute))
        elif name == "REDUCE":
            function, arguments = self._pop(2)
            push(self._call(function, arguments.items))
        elif name in ("NEWOBJ", "NEWOBJ_EX"):
            cls, arguments = self._pop(3 if name == "NEWOBJ_EX" else 2)[:2]
            push(self._new(cls, arguments.items))
        elif name == "OBJ":
            cls, *items = self._pop_mark()
            push(self._call(cls, items))
        elif name == "INST":
            items = self._pop_mark()
            module, _, attribute = argument.partition(" ")
            push(self._call(self._global(module, attribute), items))
        elif name == "BUILD":
            self._pop(1)
            self._top()
        elif name == "POP":
            if not self.stack:
                raise ValueError("the stack is empty")
            self.stack.pop()
        elif name == "POP_MARK":
            self._pop_mark()
        elif name == "DUP":
            push(self._top())
        elif name in ("PERSID", "BINPERSID"):
            self._pop(1 if name == "BINPERSID" else 0)
            self.payload.persistent += 1
            push(_Value("persistent"))
        elif name in ("EXT1", "EXT2", "EXT4"):
            self.payload.extensions.add(argument)
            push(_Value("extension"))
        elif name == "NEXT_BUFFER":
            self.payload.buffers += 1
            push(_Value("buffer"))
        elif name == "PROTO":
            self.old_names = argument < 3
            self.payload.protocol = argument
        elif name not in ("FRAME", "STOP", "READONLY_BUFFER"):
            raise ValueError(f"opcode {name} is not known")

    # --- what they mean -------------------------------------------------------------

    def _global(self, module: str, attribute: str) -> _Value:
        if self.old_names:
            module, attribute = _NEW_NAMES.get((module, attribute), (module, attribute))
            module = _NEW_MODULES.get(module, module)
        self.payload.modules.add(module)
        return _Value("global", constant=f"{_ALIASES.get(module, module)}.{attribute}")

    def _new(self, cls: _Value, arguments: list[_Value]) -> _Value:
        value = _Value("call", arguments, cls)
        name = _dotted(cls)
        if name == "weakref.finalize":
            self._found(value, "finalize", Counter(dangling=1))
        return value

    def _call(self, function: _Value, arguments: list[_Value]) -> _Value:
        function = _resolved(function)
        if function.constant == "dill._dill._load_type" and arguments:
            known = str(arguments[0].constant)
            return _Value("global", constant=_DILL_TYPES.get(known, f"builtins.{known}"))
        value = _Value("call", arguments, function)
        name = _dotted(function)
        if name is None:
            self._call_armed(value, function)
        elif name in ("weakref.ReferenceType", "weakref.ref", "weakref.KeyedRef"):
            self._reference(value, "ref", arguments)
        elif name in ("weakref.ReferenceType.__new__", "weakref.ref.__new__"):
            self._reference(value, "ref", arguments[1:])
        elif name == "weakref.WeakMethod":
            self._reference(value, "WeakMethod", arguments)
        elif name == "weakref.WeakMethod.__new__":
            self._reference(value, "WeakMethod", arguments[1:])
        elif name == "weakref.proxy":
            self._reference(value, "proxy", arguments)
        elif name.removeprefix("weakref.") in _CONTAINERS:
            # Stock cloudpickle gives the members of a WeakSet at once.
            members = Counter(linked=len(_resolved(arguments[0]).items)) if arguments else Counter()
            self._found(value, name.removeprefix("weakref."), +members)
        elif name.startswith("weakref.") and name.endswith(".__init__") and arguments:
            # A subclass's instance, made bare.
            self._found(_resolved(arguments[0]), name.split(".")[1], Counter())
        elif name == "builtins.object.__new__" and _dotted(arguments[0]) == "weakref.finalize":
            self._found(value, "finalize", Counter(dangling=1))
        elif name.rpartition(".")[2] in ("update", "ior") and len(arguments) == 2:
            self.fills.append((arguments[0], arguments[1]))
        elif name.rpartition(".")[2] in ("subimport", "_import_module", "import_module"):
            self._imports(arguments)
        return value

    def _call_armed(self, value: _Value, function: _Value) -> None:
        made_by = None if function.function is None else _dotted(function.function)
        items = [_dotted(item) for item in function.items]
        if made_by == "functools.partial" and items == ["weakref.finalize"]:
            self._found(value, "finalize", Counter(linked=1))

    def _imports(self, arguments: list[_Value]) -> None:
        if arguments and isinstance(arguments[0].constant, str):
            self.payload.modules.add(arguments[0].constant)

    def _found(self, value: _Value, kind: str, states: Counter[str]) -> None:
        if id(value) not in self.weak:
            weak = Weak(kind, states)
            self.weak[id(value)] = value, weak
            self.payload.weak.append(weak)

    def _reference(self, value: _Value, kind: str, arguments: list[_Value]) -> None:
        if not arguments:
            raise ValueError("a weak reference to nothing")
        target = _resolved(arguments[0])
        if kind == "WeakMethod" and target.items:
            target = _resolved(target.items[-1])
        pinned = len(arguments) > 1 and _is_pin(arguments[1], arguments[0])
        self._found(value, kind, Counter({_state(target, pinned): 1}))

    def _finish(self) -> None:
        """Put the entries into their containers: all lists are complete now."""
        for data, entries in self.fills:
            data = _resolved(data)
            if data.function is None or _dotted(data.function) not in _GETATTR:
                continue
            known = self.weak.get(id(_resolved(data.items[0])))
            made = _mapped(entries)
            if known is None or made is None:
                continue
            targets = _resolved(made.items[1]).items
            slots = _resolved(made.items[2])
            # Either one slot for each entry, or the eviction callback, repeated.
            each = slots.items if slots.name == "list" else []
            for target, slot in itertools.zip_longest(targets, each):
                pinned = slot is not None and _is_pin(slot, target)
                known[1].states[_state(_resolved(target), pinned)] += 1


def _resolved(value: _Value) -> _Value:
    """The value of an expression that is another one: ``max((x,))``, ``getitem([x, ...], 0)``."""
    while value.name == "call" and value.function is not None:
        name = _dotted(value.function)
        if name == "builtins.max" and len(value.items) == 1 and len(value.items[0].items) == 1:
            value = value.items[0].items[0]
        elif name == "operator.getitem" and len(value.items) == 2 and value.items[0].items:
            if value.items[1].constant != 0:
                return value
            value = value.items[0].items[0]
        else:
            return value
    return value


def _dotted(value: _Value) -> str | None:
    """The full name of a global, also where it is taken out of another by ``getattr``."""
    steps: list[str] = []
    while value.name == "call" and value.function is not None:
        function = value.function
        if function.constant not in _GETATTR or len(value.items) < 2:
            return None
        steps.append(str(value.items[1].constant))
        value = value.items[0]
    if value.name != "global":
        return None
    return ".".join([value.constant, *reversed(steps)])


def _is_pin(slot: _Value, target: _Value) -> bool:
    """Whether a callback slot holds the target, by itself or in an `operator.itemgetter`."""
    value = _resolved(slot)
    if value is _resolved(target):
        return True
    return value.function is not None and _dotted(value.function) == "operator.itemgetter"


def _state(target: _Value, pinned: bool) -> str:
    if pinned:
        return "pinned"
    if target.name == "set" and not target.items:
        return "dangling"
    name = None if target.function is None else _dotted(target.function)
    if name == "functools.partial" and [_dotted(item) for item in target.items] == ["builtins.int"]:
        return "dangling"
    if name == "builtins.set" and not any(item.items for item in target.items):
        return "dangling"
    return "named" if name == "weakreduce.wire.shared" else "linked"


def _mapped(entries: _Value) -> _Value | None:
    """The ``map(ref, targets, slots)`` in the expression of a container's entries."""
    todo = [entries]
    while todo:
        value = _resolved(todo.pop())
        if value.function is None:
            continue
        name = _dotted(value.function)
        if name == "builtins.map" and len(value.items) > 2:
            return value
        if name in ("builtins.zip", "builtins.list"):
            todo += value.items
    return None
