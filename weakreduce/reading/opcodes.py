"""What each opcode of a pickle does to the stack and the memo of a `Machine`.

Rule: a step consumes what its opcode consumes and checks what an unpickler would check, no more;
constants of which nothing has to be known are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from weakreduce.reading.machine import (
    LONGEST,
    LOST,
    OTHER,
    STOP,
    CutShort,
    Damaged,
    Machine,
    Node,
    Step,
    Value,
)

_PROTO: Final = 0x80
_NEWEST: Final = 5


def _unknown(machine: Machine, position: int) -> int:
    code = machine.data[position - 1]
    raise Damaged(f"opcode {bytes([code])!r} is not known")


def _constant(width: int, value: Value = OTHER) -> Step:
    def step(machine: Machine, position: int) -> int:
        if position + width > machine.end:
            raise CutShort("a constant is expected")
        machine.stack.append(value)
        return position + width

    return step


def _small(machine: Machine, position: int) -> int:
    machine.stack.append(machine.number(position, 1))
    return position + 1


def _long_constant(width: int) -> Step:
    def step(machine: Machine, position: int) -> int:
        end = machine.slice(position, width)[1]
        machine.stack.append(OTHER)
        return end

    return step


def _bytes(width: int) -> Step:
    def step(machine: Machine, position: int) -> int:
        start, end = machine.slice(position, width)
        value: Value = OTHER
        data = machine.data
        if end - start > 1 and data[end - 1] == STOP:
            # It may be a pickle: nothing else of bytes is of interest.
            value = machine.node("bytes", (data, start, end))
            if data[start] == _PROTO and 2 <= data[start + 1] <= _NEWEST and value is not LOST:
                machine.listener.inside(value)
        machine.stack.append(value)
        return end

    return step


def _old_text(width: int) -> Step:
    """Python 2's str, which may be a text or bytes."""
    of_bytes = _bytes(width)

    def step(machine: Machine, position: int) -> int:
        after = of_bytes(machine, position)
        text = machine.data[position + width : min(after, position + width + LONGEST + 1)]
        if len(text) <= LONGEST and text.isascii():
            machine.stack[-1] = str(text, "ascii")
        return after

    return step


def _text(width: int) -> Step:
    def step(machine: Machine, position: int) -> int:
        start, end = machine.slice(position, width)
        data = machine.data
        if end - start <= LONGEST:
            try:
                machine.stack.append(str(data[start:end], "utf-8", "surrogatepass"))
            except UnicodeDecodeError as error:
                raise Damaged("a text is not UTF-8") from error
        elif data[end - 1] == STOP:
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
    elif machine.data[after - 2] == STOP:
        place = (machine.data, position, after - 1)
        machine.stack.append(machine.node("text", place, "raw-unicode-escape"))
    else:
        machine.stack.append(OTHER)
    return after


def _line_constant(check: Callable[[bytes], Any] | None, keep: bool = False) -> Step:
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


def _empty(kind: str) -> Step:
    def step(machine: Machine, position: int) -> int:
        machine.stack.append(machine.node(kind))
        return position

    return step


def _marked(kind: str) -> Step:
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


def _tuple(count: int) -> Step:
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


def _add(count: int) -> Step:
    def step(machine: Machine, position: int) -> int:
        machine.add(machine.pop_many(count))
        return position

    return step


def _add_marked(pairs: bool) -> Step:
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


def _of_memo(act: Callable[[Machine, int], None], width: int) -> Step:
    def step(machine: Machine, position: int) -> int:
        act(machine, machine.number(position, width))
        return position + width

    return step


def _of_memo_by_line(act: Callable[[Machine, int], None]) -> Step:
    def step(machine: Machine, position: int) -> int:
        line, after = machine.line(position)
        try:
            number = int(line)
        except ValueError as error:
            raise Damaged(f"{line[:20]!r} is no number") from error
        if number < 0:
            raise Damaged("a number of the memo is negative")
        act(machine, number)
        return after

    return step


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


def _new(count: int) -> Step:
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


def _extension(width: int) -> Step:
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


_OPCODES: Final[dict[bytes, Step]] = {
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
    b"\x94": _memoize, b"p": _of_memo_by_line(Machine.put), b"q": _of_memo(Machine.put, 1),
    b"r": _of_memo(Machine.put, 4), b"g": _of_memo_by_line(Machine.get),
    b"h": _of_memo(Machine.get, 1), b"j": _of_memo(Machine.get, 4),
    b"c": _global, b"\x93": _stack_global, b"R": _reduce, b"\x81": _new(2), b"\x92": _new(3),
    b"o": _object, b"i": _instance, b"b": _build, b"P": _persistent_line, b"Q": _persistent,
    b"\x82": _extension(1), b"\x83": _extension(2), b"\x84": _extension(4),
    b"\x97": _buffer, b"\x98": _readonly, b"\x80": _protocol, b"\x95": _frame,
}  # fmt: skip
#: What each opcode does.
STEPS: Final[list[Step]] = [_OPCODES.get(bytes([code]), _unknown) for code in range(256)]
