"""Follow the opcodes of a pickle with a stack and a memo, and nodes where an unpickler has objects.

Rule: nothing is imported, called or looked up; what a call means is asked of a `Meaning`.
Whatever the bytes are, the work is in proportion to their number, and what is kept of them has
limits (`Limits`): each opcode takes the time of the objects that it consumes, no node is ever
walked into from here, and past a limit there is `LOST` where a node would be.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, final

#: Characters of a text that is kept: names are short.
LONGEST: Final = 200
#: Nodes of one payload that are kept, unless the reader is told otherwise.
OBJECTS: Final = 300_000
#: Items, memo entries and objects on the stack, for each node that may be kept.
_PER_OBJECT: Final = 7
#: Opcodes between two looks at the length of the stack.
_STRETCH: Final = 50_000
_NEWEST: Final = 5


class Damaged(ValueError):  # noqa: N818 - an answer
    """The bytes are no pickle."""


class CutShort(Damaged):
    """The bytes end before the pickle does."""


class TooLarge(ValueError):  # noqa: N818 - an answer
    """More objects wait on the stack than the reader follows."""


@final
class Limits:
    """What may be kept of one payload: shared with the pickles inside it."""

    def __init__(self, objects: int) -> None:
        self.most = objects
        self.renew()

    def renew(self) -> None:
        """Begin another payload."""
        objects = self.objects = self.most
        self.items = self.memo = self.stack = self.steps = objects * _PER_OBJECT
        self.reached = False


@final
class Node:
    """What stands for an object.

    Attributes:
        kind: ``"list"``, ``"dict"``, ``"tuple"``, ``"set"``, ``"bytes"``, ``"text"``,
            ``"global"`` and others that `meaning` makes.
        word: a name that goes with the kind; of a text, how it is encoded.
        items: of containers; None where there are none yet. Keys and values of a dict alternate.
        held: how often the memo was asked for it.
    """

    __slots__ = ("held", "items", "kind", "word")

    def __init__(self, kind: str, word: str = "", items: Any = None) -> None:
        self.kind = kind
        self.word = word
        self.items = items
        self.held = 0


#: A constant of which no more is known.
OTHER: Final = Node("other")
#: Stands for what is past a limit.
LOST: Final = Node("lost")
#: What is on the stack: texts, small numbers and None stand for themselves.
Value = Node | str | int | None
Source = bytes | mmap.mmap


class Listener(Protocol):
    """Who knows what names, calls and states mean."""

    def name(self, module: str, attribute: str) -> Value:
        """What a name stands for."""

    def call(self, function: Value, arguments: Sequence[Value]) -> Value:
        """What a call gives."""

    def new(self, cls: Value, arguments: Sequence[Value]) -> Value:
        """What ``cls.__new__`` gives."""

    def build(self, obj: Value, state: Value) -> None:
        """An object gets its state."""

    def inside(self, node: Node) -> None:
        """Bytes look like a pickle."""

    def persistent(self) -> None:
        """An object is asked of the receiver's ``persistent_load``."""

    def extension(self, code: int) -> None:
        """An object is named by a code of `copyreg`'s."""

    def buffer(self) -> None:
        """An out-of-band buffer is asked for."""

    def protocol(self, number: int) -> None:
        """The pickle says what protocol it is of."""


@final
class Machine:
    """Follows pickles of one source, which end before `end` at the latest."""

    def __init__(self, data: Source, end: int, listener: Listener, limits: Limits) -> None:
        self.data = data
        self.end = end
        self.position = 0
        self.listener = listener
        self.limits = limits
        self.stack: list[Value] = []
        self.marks = array("Q")
        #: Entries 0, 1, 2, ...; any others are in `far`.
        self.memo: list[Value] = []
        self.far: dict[int, Value] = {}
        #: How many entries the memo would have were there no limit, and the last one left out.
        self.memoized, self.left_out = 0, -1

    def run(self, start: int) -> int:
        """Follow the pickle that begins at `start` to its STOP; the position after it.

        Raises:
            Damaged: where it is none; `position` is where that shows.
            TooLarge: past a limit that cannot be gone beyond.
        """
        data, end, position, steps = self.data, self.end, start, _STEPS
        self.stack.clear()
        if self.marks:
            del self.marks[:]
        if self.memoized:
            self.memo.clear()
            self.far.clear()
            self.memoized, self.left_out = 0, -1
        while True:
            if len(self.stack) > self.limits.stack:
                self.limits.reached = True
                raise TooLarge
            for _ in range(_STRETCH):
                if position >= end:
                    raise CutShort("no STOP at its end")
                self.position = position
                code = data[position]
                if code == _STOP:
                    self.pop()
                    return position + 1
                position = steps[code](self, position + 1)

    # --- for the opcodes --------------------------------------------------------------

    def number(self, position: int, width: int) -> int:
        """An unsigned number of the pickle."""
        if position + width > self.end:
            raise CutShort("a number is expected")
        return int.from_bytes(self.data[position : position + width], "little")

    def line(self, position: int) -> tuple[bytes, int]:
        """The beginning of a line, and the position after it."""
        stop = self.data.find(b"\n", position, self.end)
        if stop < 0:
            raise CutShort("a line is expected")
        return self.data[position : min(stop, position + LONGEST + 1)], stop + 1

    def node(self, kind: str, items: Any = None, word: str = "") -> Node:
        """A new node, as long as there may be one."""
        limits = self.limits
        if limits.objects <= 0:
            limits.reached = True
            return LOST
        limits.objects -= 1
        return Node(kind, word, items)

    def pop(self) -> Value:
        """The object on top."""
        stack = self.stack
        if not stack or (self.marks and len(stack) <= self.marks[-1]):
            raise Damaged("the stack is empty")
        return stack.pop()

    def pop_many(self, count: int) -> list[Value]:
        """The objects on top."""
        stack = self.stack
        if len(stack) - count < (self.marks[-1] if self.marks else 0):
            raise Damaged("the stack is empty")
        taken = stack[-count:]
        del stack[-count:]
        return taken

    def pop_mark(self) -> list[Value]:
        """The objects down to a mark."""
        if not self.marks:
            raise Damaged("a mark is missing")
        depth = self.marks.pop()
        taken = self.stack[depth:]
        del self.stack[depth:]
        return taken

    def top(self) -> Value:
        """The object on top, which stays there."""
        stack = self.stack
        if not stack or (self.marks and len(stack) <= self.marks[-1]):
            raise Damaged("the stack is empty")
        return stack[-1]

    def add(self, items: list[Value]) -> None:
        """Put items into the container on top."""
        obj = self.top()
        if type(obj) is not Node or obj is LOST or obj is OTHER:
            return
        limits = self.limits
        if len(items) > limits.items:
            limits.reached = True
            return
        limits.items -= len(items)
        if obj.items is None:
            obj.items = items
        elif type(obj.items) is list:
            obj.items += items

    def put(self, number: int) -> None:
        """Put the object on top into the memo."""
        value = self.top()
        memo, far = self.memo, self.far
        if number < len(memo):
            memo[number] = value
        elif number in far:
            far[number] = value
        else:
            self.memoized += 1
            if number == len(memo) and number < self.limits.memo:
                memo.append(value)
            elif len(far) < self.limits.memo // _PER_OBJECT:
                far[number] = value
            else:
                self.limits.reached = True
                self.left_out = max(self.left_out, number)

    def get(self, number: int) -> None:
        """Push what the memo has."""
        if number < len(self.memo):
            value = self.memo[number]
        elif number in self.far:
            value = self.far[number]
        elif number <= self.left_out:
            value = LOST
        else:
            raise Damaged("it refers to an object that it does not have")
        if type(value) is Node:
            value.held += 1
        self.stack.append(value)

    def slice(self, position: int, width: int) -> tuple[int, int]:
        """Where the content of a constant begins and ends, given where its length stands."""
        length = self.number(position, width)
        start = position + width
        if start + length > self.end:
            raise CutShort(f"{length:,} bytes are expected")
        return start, start + length


_Step = Callable[[Machine, int], int]


def _unknown(machine: Machine, position: int) -> int:
    code = machine.data[position - 1]
    raise Damaged(f"opcode {bytes([code])!r} is not known")


def _constant(width: int, value: Value = OTHER) -> _Step:
    def step(machine: Machine, position: int) -> int:
        if position + width > machine.end:
            raise CutShort("a constant is expected")
        machine.stack.append(value)
        return position + width

    return step


def _small(machine: Machine, position: int) -> int:
    machine.stack.append(machine.number(position, 1))
    return position + 1


def _long_constant(width: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        end = machine.slice(position, width)[1]
        machine.stack.append(OTHER)
        return end

    return step


def _bytes(width: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        start, end = machine.slice(position, width)
        value: Value = OTHER
        data = machine.data
        if end - start > 1 and data[end - 1] == _STOP:
            # It may be a pickle: nothing else of bytes is of interest.
            value = machine.node("bytes", (data, start, end))
            if data[start] == _PROTO and 2 <= data[start + 1] <= _NEWEST and value is not LOST:
                machine.listener.inside(value)
        machine.stack.append(value)
        return end

    return step


def _old_text(width: int) -> _Step:
    """Python 2's str, which may be a text or bytes."""
    of_bytes = _bytes(width)

    def step(machine: Machine, position: int) -> int:
        after = of_bytes(machine, position)
        text = machine.data[position + width : min(after, position + width + LONGEST + 1)]
        if len(text) <= LONGEST and text.isascii():
            machine.stack[-1] = str(text, "ascii")
        return after

    return step


def _text(width: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        start, end = machine.slice(position, width)
        data = machine.data
        if end - start <= LONGEST:
            try:
                machine.stack.append(str(data[start:end], "utf-8", "surrogatepass"))
            except UnicodeDecodeError as error:
                raise Damaged("a text is not UTF-8") from error
        elif data[end - 1] == _STOP:
            # It may be a pickle: protocols 0 to 2 write bytes as texts.
            machine.stack.append(machine.node("text", (data, start, end), "utf-8"))
        else:
            machine.stack.append(OTHER)
        return end

    return step


def _text_line(machine: Machine, position: int) -> int:
    line, after = machine.line(position)
    if len(line) <= LONGEST:
        try:
            machine.stack.append(str(line, "raw-unicode-escape"))
        except UnicodeDecodeError as error:
            raise Damaged(f"{line[:20]!r} is no text") from error
    elif machine.data[after - 2] == _STOP:
        place = (machine.data, position, after - 1)
        machine.stack.append(machine.node("text", place, "raw-unicode-escape"))
    else:
        machine.stack.append(OTHER)
    return after


def _line_constant(check: Callable[[bytes], Any] | None, keep: bool = False) -> _Step:
    def step(machine: Machine, position: int) -> int:
        line, after = machine.line(position)
        value: Value = OTHER
        if len(line) <= LONGEST and check is not None:
            try:
                found = check(line)
            except ValueError as error:
                raise Damaged(f"{line[:20]!r} is no constant") from error
            value = found if keep else OTHER
        machine.stack.append(value)
        return after

    return step


def _whole_number(line: bytes) -> int:
    return int(line.rstrip(b"L") or b"0")


def _quoted(line: bytes) -> Value:
    line = line.strip()
    if len(line) < 2 or line[:1] not in b"'\"" or line[-1] != line[0]:
        raise ValueError("no quotes")
    return OTHER if b"\\" in line else str(line[1:-1], "latin-1")


def _empty(kind: str) -> _Step:
    def step(machine: Machine, position: int) -> int:
        machine.stack.append(machine.node(kind))
        return position

    return step


def _marked(kind: str) -> _Step:
    def step(machine: Machine, position: int) -> int:
        items = machine.pop_mark()
        if kind == "dict" and len(items) % 2:
            raise Damaged("a key without a value")
        limits = machine.limits
        if len(items) > limits.items:
            limits.reached = True
            machine.stack.append(LOST)
        else:
            limits.items -= len(items)
            machine.stack.append(machine.node(kind, items))
        return position

    return step


def _tuple(count: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        items = machine.pop_many(count)
        machine.stack.append(machine.node("tuple", items))
        return position

    return step


def _mark(machine: Machine, position: int) -> int:
    machine.marks.append(len(machine.stack))
    return position


def _pop(machine: Machine, position: int) -> int:
    if machine.marks and len(machine.stack) == machine.marks[-1]:
        machine.marks.pop()
    else:
        machine.pop()
    return position


def _pop_mark(machine: Machine, position: int) -> int:
    machine.pop_mark()
    return position


def _duplicate(machine: Machine, position: int) -> int:
    value = machine.top()
    if type(value) is Node:
        value.held += 1
    machine.stack.append(value)
    return position


def _add(count: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        machine.add(machine.pop_many(count))
        return position

    return step


def _add_marked(pairs: bool) -> _Step:
    def step(machine: Machine, position: int) -> int:
        items = machine.pop_mark()
        if pairs and len(items) % 2:
            raise Damaged("a key without a value")
        machine.add(items)
        return position

    return step


def _memoize(machine: Machine, position: int) -> int:
    machine.put(machine.memoized)
    return position


def _put(width: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        machine.put(machine.number(position, width))
        return position + width

    return step


def _get(width: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        machine.get(machine.number(position, width))
        return position + width

    return step


def _line_number(machine: Machine, position: int) -> tuple[int, int]:
    line, after = machine.line(position)
    try:
        number = int(line)
    except ValueError as error:
        raise Damaged(f"{line[:20]!r} is no number") from error
    if number < 0:
        raise Damaged("a number of the memo is negative")
    return number, after


def _put_line(machine: Machine, position: int) -> int:
    number, after = _line_number(machine, position)
    machine.put(number)
    return after


def _get_line(machine: Machine, position: int) -> int:
    number, after = _line_number(machine, position)
    machine.get(number)
    return after


def _two_lines(machine: Machine, position: int) -> tuple[Value, int]:
    module, after = machine.line(position)
    attribute, after = machine.line(after)
    try:
        return machine.listener.name(str(module, "utf-8"), str(attribute, "utf-8")), after
    except UnicodeDecodeError as error:
        raise Damaged("a name is not UTF-8") from error


def _global(machine: Machine, position: int) -> int:
    value, after = _two_lines(machine, position)
    machine.stack.append(value)
    return after


def _stack_global(machine: Machine, position: int) -> int:
    module, attribute = machine.pop_many(2)
    if type(module) is str and type(attribute) is str:
        machine.stack.append(machine.listener.name(module, attribute))
    elif LOST in (module, attribute):
        machine.stack.append(LOST)
    elif OTHER in (module, attribute):
        machine.stack.append(OTHER)  # a name of more than 200 characters
    else:
        raise Damaged("a name is not a text")
    return position


def _arguments(value: Value) -> Sequence[Value]:
    if value is LOST:
        return (LOST,)
    return value.items or () if type(value) is Node and value.kind == "tuple" else ()


def _reduce(machine: Machine, position: int) -> int:
    function, arguments = machine.pop_many(2)
    machine.stack.append(machine.listener.call(function, _arguments(arguments)))
    return position


def _new(count: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        cls, arguments = machine.pop_many(count)[:2]
        machine.stack.append(machine.listener.new(cls, _arguments(arguments)))
        return position

    return step


def _object(machine: Machine, position: int) -> int:
    items = machine.pop_mark()
    if not items:
        raise Damaged("the stack is empty")
    machine.stack.append(machine.listener.call(items[0], items[1:]))
    return position


def _instance(machine: Machine, position: int) -> int:
    items = machine.pop_mark()
    cls, after = _two_lines(machine, position)
    machine.stack.append(machine.listener.call(cls, items))
    return after


def _build(machine: Machine, position: int) -> int:
    state = machine.pop()
    machine.listener.build(machine.top(), state)
    return position


def _persistent_line(machine: Machine, position: int) -> int:
    after = machine.line(position)[1]
    machine.listener.persistent()
    machine.stack.append(OTHER)
    return after


def _persistent(machine: Machine, position: int) -> int:
    machine.pop()
    machine.listener.persistent()
    machine.stack.append(OTHER)
    return position


def _extension(width: int) -> _Step:
    def step(machine: Machine, position: int) -> int:
        machine.listener.extension(machine.number(position, width))
        machine.stack.append(OTHER)
        return position + width

    return step


def _buffer(machine: Machine, position: int) -> int:
    machine.listener.buffer()
    machine.stack.append(OTHER)
    return position


def _readonly(machine: Machine, position: int) -> int:
    machine.top()
    return position


def _protocol(machine: Machine, position: int) -> int:
    number = machine.number(position, 1)
    if number > _NEWEST:
        raise Damaged(f"protocol {number} is not known")
    machine.listener.protocol(number)
    return position + 1


def _frame(machine: Machine, position: int) -> int:
    length = machine.number(position, 8)
    if position + 8 + length > machine.end:
        raise CutShort(f"a frame of {length:,} bytes is expected")
    return position + 8


_STOP: Final = 0x2E
_PROTO: Final = 0x80
_OPCODES: Final[dict[bytes, _Step]] = {
    b"I": _line_constant(_whole_number, keep=True), b"L": _line_constant(_whole_number, keep=True),
    b"F": _line_constant(float), b"S": _line_constant(_quoted, keep=True),
    b"V": _text_line,
    b"J": _constant(4), b"K": _small, b"M": _constant(2), b"G": _constant(8),
    b"N": _constant(0, None), b"\x88": _constant(0, True), b"\x89": _constant(0, False),
    b"\x8a": _long_constant(1), b"\x8b": _long_constant(4),
    b"T": _old_text(4), b"U": _old_text(1), b"B": _bytes(4), b"C": _bytes(1), b"\x8e": _bytes(8),
    b"\x96": _bytes(8), b"\x8c": _text(1), b"X": _text(4), b"\x8d": _text(8),
    b"]": _empty("list"), b")": _empty("tuple"), b"}": _empty("dict"), b"\x8f": _empty("set"),
    b"l": _marked("list"), b"t": _marked("tuple"), b"d": _marked("dict"),
    b"\x91": _marked("frozenset"), b"\x85": _tuple(1), b"\x86": _tuple(2), b"\x87": _tuple(3),
    b"a": _add(1), b"s": _add(2), b"e": _add_marked(False), b"u": _add_marked(True),
    b"\x90": _add_marked(False), b"(": _mark, b"0": _pop, b"1": _pop_mark, b"2": _duplicate,
    b"\x94": _memoize, b"p": _put_line, b"q": _put(1), b"r": _put(4),
    b"g": _get_line, b"h": _get(1), b"j": _get(4),
    b"c": _global, b"\x93": _stack_global, b"R": _reduce, b"\x81": _new(2), b"\x92": _new(3),
    b"o": _object, b"i": _instance, b"b": _build, b"P": _persistent_line, b"Q": _persistent,
    b"\x82": _extension(1), b"\x83": _extension(2), b"\x84": _extension(4),
    b"\x97": _buffer, b"\x98": _readonly, b"\x80": _protocol, b"\x95": _frame,
}  # fmt: skip
_STEPS: Final = [_OPCODES.get(bytes([code]), _unknown) for code in range(256)]
