"""How much of a payload each object takes, from its beginning to its end.

Read off the bytes alone: which opcodes take what from the stack is `pickletools`' knowledge. An
object that is met again is a short reference there, so what is shared counts where it is written.
Rule: nothing is run, and the work is in proportion to the number of opcodes.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, final

#: Widths of arguments that say how long what follows is.
_PREFIXED: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
#: What is left where it is, while an opcode puts into it what it takes.
_FILLED: Final = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
_PUTS: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
#: Opcodes whose argument is more than one line.
_LINES: Final = {"GLOBAL": 2, "INST": 2}
#: No entry of the memo.
_NONE: Final = -1


@final
class _Plan:
    """What an opcode does: how long its argument is, what it takes from the stack and puts there.

    Attributes:
        width: bytes of its argument, or of the number that says how long that is.
        is_long: whether there is such a number.
        lines: how many lines its argument has, where it has lines.
        is_put: whether it puts the object on top into the memo.
        is_marked: whether it takes all that stands above the last mark.
        takes: how many objects it takes else, of which `left` stay.
        pushes: whether it makes an object.
    """

    __slots__ = ("is_long", "is_marked", "is_put", "lines", "name", "pushes", "takes", "width")

    def __init__(self, code: pickletools.OpcodeInfo) -> None:
        size = 0 if code.arg is None else code.arg.n
        self.name = code.name
        self.is_long = size in _PREFIXED
        self.width = _PREFIXED.get(size, max(size, 0))
        self.lines = _LINES.get(code.name, 1) if size == pickletools.UP_TO_NEWLINE else 0
        self.is_put = code.name in _PUTS
        self.is_marked = pickletools.markobject in code.stack_before
        self.takes = 0 if self.is_marked or self.is_put else len(code.stack_before)
        self.pushes = bool(code.stack_after) and not self.is_put and code.name != "MARK"
        if code.name in _FILLED:
            self.takes, self.pushes = max(self.takes - 1, 0), False


_PLANS: Final = {ord(code.code): _Plan(code) for code in pickletools.opcodes}


#: Ways through the reader: a constant; one that says how long it is; MEMOIZE; all others.
_CONSTANT, _LONG, _MEMOIZE, _OTHER = range(4)


def _way(plan: _Plan) -> int:
    if plan.name == "MEMOIZE":
        return _MEMOIZE
    if not plan.pushes or plan.takes or plan.is_marked or plan.lines:
        return _OTHER
    return _LONG if plan.is_long else _CONSTANT


#: Opcode -> its way, and its width with that of its argument.
_WAYS: Final = {code: (_way(plan), 1 + plan.width) for code, plan in _PLANS.items()}


class Extent(NamedTuple):
    """Where an object begins and ends in a payload, and its bytes with what a file gets itself."""

    begin: int
    end: int
    size: int


class Unread(ValueError):  # noqa: N818 - an answer
    """The bytes are no pickle, or one of more opcodes than may be looked at."""


def extents(
    data: bytes, more: Sequence[tuple[int, int, Any]], first: int, most: int = sys.maxsize
) -> dict[int, Extent]:
    """Memo entry -> extent, of each object in a payload that has one.

    Args:
        data: the payload.
        more: what is written at the same time and is not in `data`: its place there and its size.
        first: how many entries the memo had before.
        most: how many opcodes are looked at.

    Raises:
        Unread: where that is not possible.
    """
    try:
        found = _read(data, first, most)
    except (IndexError, KeyError, ValueError) as error:
        raise Unread from error
    return {
        entry: Extent(
            start,
            end,
            end - start + sum(size for place, size, _ in more if start < place <= end),
        )
        for entry, (start, end) in found.items()
    }


def _read(data: bytes, memoized: int, most: int) -> dict[int, tuple[int, int]]:
    """Memo entry -> where the object begins and where it ends."""
    #: Where each object on the stack begins, and its entry in the memo.
    starts: list[int] = []
    entries: list[int] = []
    marks: list[tuple[int, int]] = []
    found: dict[int, tuple[int, int]] = {}
    ways, plans, at = _WAYS, _PLANS, 0
    for _ in range(most):
        code = data[at]
        way, after = ways[code]
        after += at
        # The frequent ones first: constants, and what puts into the memo.
        if way == _LONG:
            after += int.from_bytes(data[at + 1 : after], "little")
        if way <= _LONG:
            starts.append(at)
            entries.append(_NONE)
            at = after
            continue
        if way == _MEMOIZE:
            entries[-1] = memoized
            memoized += 1
            at = after
            continue
        plan = plans[code]
        for _ in range(plan.lines):
            after = data.index(b"\n", after) + 1
        if plan.is_put:
            argument = data[at + 1 : after]
            entries[-1] = int(argument) if plan.lines else int.from_bytes(argument, "little")
            memoized += 1
            at = after
            continue
        start, taken = at, plan.takes
        if plan.is_marked:
            depth, start = marks.pop()
            taken = len(starts) - depth
        elif taken:
            start = starts[-taken]
            if plan.name == "POP" and marks and marks[-1][0] == len(starts):
                marks.pop()
                taken = 0
        end = at
        for _ in range(taken):
            begin, entry = starts.pop(), entries.pop()
            # What is taken from the memo has no entry of its own on the stack.
            if entry != _NONE:
                found[entry] = begin, end
            end = begin
        if plan.pushes:
            starts.append(start)
            entries.append(_NONE)
        elif plan.name == "MARK":
            marks.append((len(starts), at))
        elif plan.name == "STOP":
            return found
        at = after
    raise Unread
