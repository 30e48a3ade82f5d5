"""Where in a payload an opcode stands: the path, from the root, of the object that it works on.

The payload is followed without being run (`machine`), so the way from the root is known even
where the load never comes to its end. Rule: nothing here knows what weak things are (`weak_parts`
does); of calls, only those that give one of their arguments back are understood.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence, Sequence
from itertools import repeat
from typing import Final, final

from weakreduce.reading import into, weak_parts
from weakreduce.reading.machine import (
    LOST,
    OTHER,
    Damaged,
    Limits,
    Machine,
    Node,
    Step,
    Value,
)
from weakreduce.reading.opcodes import STEPS
from weakreduce.reading.spelling import REFERENCES, full, of_python_3

#: What gives an attribute of its first argument, by name.
_ATTRIBUTES: Final = frozenset({"builtins.getattr", "dill._dill._getattr"})
#: What makes a container of the items of its argument: the container's kind.
_COLLECTIONS: Final = {
    "builtins.set": "set", "builtins.frozenset": "set", "builtins.list": "list",
    "collections.deque": "list",
}  # fmt: skip
#: A path of more characters than this has lost its use.
_LONGEST: Final = 4000
#: Nodes of one payload that are kept; of a large payload one for each few bytes.
_OBJECTS: Final = 200_000
_PER_OBJECT: Final = 4
_FRAME: Final = 0x95
_POP: Final = ord("0")
#: The word of an instance, and what the state of a `functools.partial` consists of.
_NEW: Final = "__new__"
_OF_PARTIAL: Final = ("func", "args", "keywords", "__dict__")


def path_at(data: bytes, position: int) -> str | None:
    """The path of what the opcode at a position makes or fills; None where that is not known."""
    found, after = _path(data, position, len(data))
    if found is None and after < len(data):
        # It is used up on the way: then where it was when it was made.
        found, _ = _path(data, position, after)
    return found


def _path(data: bytes, position: int, end: int) -> tuple[str | None, int]:
    places = _Places(data, position, end)
    try:
        places.machine.run(0)
    except Damaged:
        try:
            places.close()
        except Damaged:
            return None, places.after
    else:
        places.root = places.machine.result
    if places.root is None or places.target is None:
        return None, places.after
    return places.path(), places.after


class _Unheeded:
    """What a machine tells that does not matter here."""

    def inside(self, node: Node) -> None:
        """Bytes are bytes here."""

    def persistent(self) -> None:
        """What that is nobody knows."""

    def extension(self, code: int) -> None:
        """Nor that."""

    def buffer(self) -> None:
        """Nor that."""

    def protocol(self, number: int) -> None:
        """It does not matter."""


@final
class _Places(_Unheeded):
    """Listens to a machine, and keeps what calls and states consist of."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        #: What the opcode works on, and the last object that was complete.
        self.target: Node | None = None
        self.root: Value = None
        #: Where the next opcode stands.
        self.after = len(data)
        #: id -> function and arguments, of calls; id -> state; ids of what holds entries.
        self._calls: dict[int, tuple[Value, Sequence[Value]]] = {}
        self._states: dict[int, Value] = {}
        self._paired: set[int] = set()
        self._kept: list[Node] = []
        found = list(STEPS)
        for code in b"su":
            found[code] = self._pairing(found[code])
        found[_POP] = self._putting_in(found[_POP])
        if position < len(data):
            found[data[position]] = self._watching(found[data[position]], position)
        # (The stack is never longer than these let it be: each opcode puts one object there.)
        limits = Limits(max(_OBJECTS, len(data) // _PER_OBJECT))
        if end < len(data):
            found[_FRAME] = _unframed
        self.machine = Machine(data, end, self, limits, found)

    # --- steps ------------------------------------------------------------------------

    def _pairing(self, step: Step) -> Step:
        def paired(machine: Machine, position: int) -> int:
            after = step(machine, position)
            self._paired.add(id(machine.stack[-1]))
            return after

        return paired

    def _putting_in(self, step: Step) -> Step:
        def put_in(machine: Machine, position: int) -> int:
            made = machine.stack[-1] if machine.stack else None
            after = step(machine, position)
            # What a call gives is thrown away: it puts the state into its first argument.
            _, arguments = self._calls.get(id(made), (None, ()))
            if len(arguments) == 2 and type(arguments[0]) is Node:
                self._states.setdefault(id(arguments[0]), arguments[1])
            return after

        return put_in

    def _watching(self, step: Step, wanted: int) -> Step:
        def watched(machine: Machine, position: int) -> int:
            after = step(machine, position)
            if position == wanted + 1 and machine.stack:
                found = machine.stack[-1]
                if type(found) is not Node or found is OTHER or found is LOST:
                    found = machine.stack[-1] = self._unlimited("other")
                if machine.data[after : after + 1] == b"0":
                    # What a call gives is thrown away: it puts the state into its first argument.
                    _, arguments = self._calls.get(id(found), (None, ()))
                    if arguments and type(arguments[0]) is Node:
                        found = arguments[0]
                self.target, self.after = found, after
            return after

        return watched

    def _node(self, kind: str, word: str = "") -> Node:
        node = self.machine.node(kind, None, word)
        self._kept.append(node)  # or its id might be another's
        return node

    def _unlimited(self, kind: str) -> Node:
        node = Node(kind)
        self._kept.append(node)
        return node

    # --- what the machine tells -------------------------------------------------------

    def name(self, module: str, attribute: str) -> Value:
        """A class or function; its items are its name in the module."""
        return self._named(full(*of_python_3(module, attribute)), attribute)

    def _named(self, word: str, name: str) -> Value:
        node = self._node("global", word)
        if node is not LOST:
            node.items = name
        return node

    def call(self, function: Value, arguments: Sequence[Value]) -> Value:
        """An object, or the argument that the function gives back."""
        word = function.word if type(function) is Node and function.kind == "global" else ""
        first = arguments[0] if arguments else None
        held = first.items if type(first) is Node and type(first.items) is list else ()
        if word in ("builtins.max", "builtins.min") and len(arguments) == len(held) == 1:
            return held[0]  # type: ignore[no-any-return]
        if word == "operator.getitem" and len(arguments) == 2:
            number = arguments[1]
            if type(number) is int and 0 <= number < len(held) and not self._is_paired(first):
                return held[number]  # type: ignore[no-any-return]
        named = _named_by(word, arguments)
        if named is not None:
            return self._named(*named)
        limits = self.machine.limits
        if word in _COLLECTIONS and len(arguments) == 1 and 0 < len(held) <= limits.items:
            limits.items -= len(held)
            node = self._node(_COLLECTIONS[word])
            if node is not LOST:
                node.items = list(held)
            return node
        return self._called(function, arguments, word)

    def _called(self, function: Value, arguments: Sequence[Value], word: str = "") -> Node:
        node = self._node("call", word)
        if node is not LOST:
            self._calls[id(node)] = function, arguments
        return node

    def new(self, cls: Value, arguments: Sequence[Value]) -> Value:
        """An instance."""
        return self._called(cls, arguments, _NEW)

    def build(self, obj: Value, state: Value) -> None:
        """Its state."""
        if type(obj) is Node and obj is not LOST and obj is not OTHER:
            self._states[id(obj)] = state

    # --- a payload that ends too early ------------------------------------------------

    def close(self) -> None:
        """Take what is on the stack for parts of what it was put there for."""
        machine = self.machine
        stack, marks = machine.stack, machine.marks
        hole = self._unlimited("other")
        if self.target is None:
            self.target = hole
            stack.append(hole)
        _leave_out_setters(stack, marks)
        while True:
            depth = marks.pop() if marks else 0
            self._fold(stack, depth)
            if not depth:
                break
            items = stack[depth:]
            del stack[depth:]
            top = stack[-1]
            if type(top) is not Node:
                return
            if top.kind == "global":
                stack[-1] = self.call(top, items)
            elif top.kind == "dict" and len(items) % 2:
                machine.add([*items, hole])
            else:
                machine.add(items)
        self.root = stack[0] if stack else None

    def _fold(self, stack: list[Value], depth: int) -> None:
        """States and arguments that stand beside what they belong to."""
        while len(stack) - depth > 1:
            before, last = stack[-2:]
            owner = stack[-3] if len(stack) - depth > 2 else None
            if type(owner) is Node and owner.kind == "dict" and not owner.items:
                # An only entry has no mark.
                owner.items = stack[-2:]
                del stack[-2:]
                continue
            if type(before) is not Node or before is OTHER or before is LOST:
                return
            if before.kind == "call" and id(before) not in self._states:
                self._states[id(before)] = last
            elif before.kind == "dict" and type(owner) is Node and owner.kind == "call":
                # Attributes and slots, which are to be a tuple.
                pair = stack[-2] = self._unlimited("tuple")
                pair.items = [before, last]
            elif before.kind == "global":
                arguments = last.items if type(last) is Node and last.kind == "tuple" else [last]
                stack[-2] = self.call(before, arguments or ())
            elif before.kind == "list" and not before.items:
                before.items = [last]
            else:
                return
            stack.pop()

    # --- paths ------------------------------------------------------------------------

    def path(self) -> str | None:
        """The shortest path from the root to the target."""
        if type(self.root) is not Node:
            return None
        # Ids of nodes -> who holds them first; what many hold alike is walked into once.
        holders: dict[int, Node | None] = {id(self.root): None}
        todo, walked = [self.root], set[int]()
        for obj in todo:
            if obj is self.target:
                return self._written(obj, holders)
            for part, _, _ in self._parts(obj, walked):
                if type(part) is Node and id(part) not in holders:
                    holders[id(part)] = obj
                    todo.append(part)
        return None

    def _written(self, obj: Node, holders: dict[int, Node | None]) -> str | None:
        way = [obj]
        while (holder := holders[id(way[-1])]) is not None:
            way.append(holder)
        path = "root"
        while len(way) > 1:
            holder = way.pop()
            steps = self._parts(holder, set())
            found = (step(path, detail) for part, step, detail in steps if part is way[-1])
            path = next(found, path)
            if len(path) > _LONGEST:
                return None
        return path

    def _parts(self, obj: Node, walked: set[int]) -> Iterator[into.Part]:
        """What an object consists of, but for what is walked already, and the steps to that."""
        state = self._states.get(id(obj))
        if obj.word == "functools.partial" and type(state) is Node and state.kind == "tuple":
            yield from zip(state.items or (), repeat(into.named), _OF_PARTIAL)
        elif state is not None:
            yield from weak_parts.of_container(state, self._calls, walked)
            yield from _state_parts(state, walked)
        if type(obj.items) is list:
            yield from into.entries(obj, into.entry) if self._is_paired(obj) else into.items(obj)
        function, arguments = self._calls.get(id(obj), (None, ()))
        yield function, _step_to_maker(obj, function), None
        if id(arguments) in walked:
            return
        walked.add(id(arguments))
        yield from weak_parts.of_reference(obj.word, arguments, self._calls)
        made = into.OF_MAKERS.get(obj.word.rpartition(".")[2], ())
        step = into.new_argument if obj.word == _NEW else into.argument
        for number, held in enumerate(arguments):
            if number < len(made):
                yield held, into.formatted, made[number]
            elif obj.word not in REFERENCES:
                yield held, step, number

    def _is_paired(self, obj: Value) -> bool:
        return type(obj) is Node and (obj.kind == "dict" or id(obj) in self._paired)


def _named_by(word: str, arguments: Sequence[Value]) -> tuple[str, str] | None:
    """The name that a call stands for, in protocols without names that have dots, and in dill's."""
    if word == "dill._dill._load_type" and len(arguments) == 1 and type(arguments[0]) is str:
        return f"builtins.{arguments[0][:_LONGEST]}", arguments[0]
    if word in _ATTRIBUTES and len(arguments) > 1:
        cls, name = arguments[:2]
        if type(cls) is Node and _is_global(cls) and type(name) is str and len(cls.word) < _LONGEST:
            return f"{cls.word}.{name}", f"{cls.items}.{name}"
    return None


def _step_to_maker(obj: Node, function: Value) -> into.Write:
    """An importable class or function stands for what it makes."""
    if type(function) is not Node or function.kind != "call":
        return into.itself
    is_class = function.word.rpartition(".")[2] in into.CLASS_MAKERS
    return into.class_of if is_class or obj.word == _NEW else into.function_of


def _state_parts(state: Value, walked: set[int]) -> Iterator[into.Part]:
    dicts = [state]
    if type(state) is Node and state.kind == "tuple" and len(state.items or ()) == 2:
        slots = state.items[1]
        if type(slots) is Node and slots.kind == "dict":
            dicts = state.items
    for each in dicts:
        if type(each) is Node and each.kind == "dict":
            yield each, into.attributes, None
            if id(each) not in walked:
                walked.add(id(each))
                yield from into.entries(each, into.attribute)
        elif each is state:
            yield each, into.whole_state, None


def _is_global(value: Value) -> bool:
    return type(value) is Node and value.kind == "global"


def _leave_out_setters(stack: list[Value], marks: MutableSequence[int]) -> None:
    """Functions that put in a state stand between the object and the object, then its state."""
    kept: list[Value] = []
    depths: list[int] = []
    for value in stack:
        depths.append(len(kept))
        is_again = len(kept) > 1 and value is kept[-2] and _is_global(kept[-1])
        if is_again and type(value) is Node and value is not OTHER and value is not LOST:
            kept.pop()
        else:
            kept.append(value)
    depths.append(len(kept))
    stack[:] = kept
    for number, mark in enumerate(marks):
        marks[number] = min(depths[mark], len(kept))


def _unframed(_: Machine, position: int) -> int:
    """A frame that need not be there whole."""
    return position + 8
