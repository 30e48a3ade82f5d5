"""Follow a pickle with a stack and a memo, and nodes where an unpickler has objects.

What each opcode does stands in `opcodes`; what names and calls mean is asked of a `Listener`
(`meaning`). Rule: nothing is imported, called or looked up. Whatever the bytes are, the work is
in proportion to their number, and what is kept of them has limits (`Limits`): each opcode takes
the time of the objects that it consumes, no node is ever walked into from here, and past a limit
there is `LOST` where a node would be.
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
#: The opcode that ends a pickle.
STOP: Final = 0x2E


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
#: What an opcode does, given the position behind it: the position of the next one.
Step = Callable[["Machine", int], int]


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

    def __init__(
        self, data: Source, end: int, listener: Listener, limits: Limits, steps: Sequence[Step]
    ) -> None:
        self.steps = steps
        self.data = data
        self.end = end
        self.position = 0
        self.listener = listener
        self.limits = limits
        self.stack: list[Value] = []
        #: What the pickle gives that was followed last.
        self.result: Value = None
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
        data, end, position, steps = self.data, self.end, start, self.steps
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
                if code == STOP:
                    self.result = self.pop()
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
