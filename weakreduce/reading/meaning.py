"""What the names and calls of a payload mean: which are weak things, and what becomes of them.

Which words there are stands in `vocabulary`. Meanings are found when a call is met, as an
unpickler would make the object then; only what is not known before the end waits for `finish`.
Rule: no word is compared here but those of weak references.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

from weakreduce.reading import spelling
from weakreduce.reading.facts import MOST, Facts
from weakreduce.reading.machine import LONGEST, LOST, OTHER, Damaged, Limits, Node, Value

#: How many different full names are told apart; these are kept whatever else there is.
_WORDS: Final = 10_000
#: Attributes of a weak container, beside its entries: they tell a subclass's.
_OF_CONTAINERS: Final = frozenset({"_pending_removals", "_iterating", "_remove"})


#: What a call of a name gives.
Word = Callable[["Meaning", Sequence[Value]], Value]
Words = dict[str, Word]


@final
class Meaning:
    """Listens to a `Machine`, and makes facts of what it meets.

    Nodes that it makes, by kind: ``"global"`` (its word is the full name), ``"attributes"`` and
    ``"attribute"`` (of `items[0]`), ``"weak"`` (a reference: its word is the kind, its items are
    the referent and whether it is pinned), ``"container"``, ``"entries"`` (a map of references:
    referents and callbacks), ``"fresh"`` (nothing but its holders keeps it), ``"bound"`` (a method
    of `items[0]`), ``"shared"``, ``"home"``, ``"partial"``, ``"pin"``, ``"object"``.
    """

    def __init__(self, facts: Facts, limits: Limits, words: Words, fresh: Words) -> None:
        self.words = words
        self.fresh = fresh
        self.facts = facts
        self.limits = limits
        #: Python 2's names stand in protocols 0 to 2.
        self.old_names = True
        self.globals: dict[str, Node] = {}
        self.references: list[Node] = []
        self.containers: list[Node] = []
        #: Containers, and what is put into them.
        self.fills: list[tuple[Node, Node]] = []
        #: Bytes that are pickles, or look like some.
        self.bytes: dict[tuple[int, int, int], Node] = {}
        #: Texts, and the bytes that they stand for.
        self.encoded: dict[Node, Node] = {}

    def clear(self) -> None:
        """Begin another pickle."""
        self.old_names = True
        self.facts.protocol = 0
        if self.globals or self.bytes:
            for known in (self.globals, self.references, self.containers, self.fills, self.bytes,
                          self.encoded):  # fmt: skip
                known.clear()

    # --- for the machine --------------------------------------------------------------

    def name(self, module: str, attribute: str) -> Value:
        """What a name stands for."""
        if self.old_names:
            module, attribute = spelling.of_python_3(module, attribute)
        self.imports(module)
        return self.name_of(spelling.full(module, attribute))

    def call(self, function: Value, arguments: Sequence[Value]) -> Value:
        """What a call gives."""
        if type(function) is Node:
            if function.kind == "global":
                meant = self.word_of(function)
                if meant is not None:
                    return meant(self, arguments)
            elif function.kind == "attribute":
                meant = self.words.get(function.word) if function.word == "__get__" else None
                if meant is not None:
                    return meant(self, arguments)
            elif function.kind == "partial":
                return self._armed(function)
        return self.node("object")

    def new(self, cls: Value, arguments: Sequence[Value]) -> Value:
        """What ``cls.__new__`` gives."""
        word = full_name(cls)
        if word in self.fresh:
            return self.fresh[word](self, arguments)
        if word == "weakref.finalize":
            self.facts.count("finalize", "dangling")
        elif word in spelling.REFERENCES:
            return self.reference(spelling.REFERENCES[word], arguments)
        return self.node("object")

    def build(self, obj: Value, state: Value) -> None:
        """An object gets its state: that of a weak container may have its entries."""
        if type(obj) is not Node or obj.kind not in ("container", "object"):
            return
        if type(state) is Node and state.kind == "tuple" and state.items:
            state = state.items[0]
        if type(state) is not Node or state.kind != "dict" or not state.items:
            return
        if not self.may(len(state.items)):
            return
        attributes = dict(zip(map(_text, state.items[::2]), state.items[1::2], strict=False))
        data = attributes.get("data")
        if type(data) is not Node or data.kind not in ("set", "dict", "entries"):
            return
        if obj.kind == "object":
            if _OF_CONTAINERS.isdisjoint(attributes):
                return
            self.container(obj, _kind_by_shape(data))
        self.fills.append((obj, data))

    def inside(self, node: Node) -> None:
        """Bytes look like a pickle."""
        source, start, end = node.items
        if len(self.bytes) < MOST:
            self.bytes[id(source), start, end] = node
        else:
            self.facts.partial = True

    def persistent(self) -> None:
        """An object is asked of the receiver's ``persistent_load``."""
        self.facts.persistent += 1

    def extension(self, code: int) -> None:
        """An object is named by a code of `copyreg`'s."""
        self.facts.remember(self.facts.extensions, code)

    def buffer(self) -> None:
        """An out-of-band buffer is asked for."""
        self.facts.buffers += 1

    def protocol(self, number: int) -> None:
        """The pickle says what protocol it is of."""
        self.old_names = number < 3
        self.facts.protocol = number

    def finish(self) -> None:
        """Count what could not be counted before: all containers are complete now."""
        if self.limits.reached:
            self.facts.partial = True
        if not self.globals:
            return  # no name, and so no weak thing
        filled = _Entries(self)
        for container, entries in self.fills:
            filled.fill(container, entries)
        for node in self.references:
            if node.kind == "weak":
                self.facts.count(node.word, _state(*node.items))
        for container in self.containers:
            if container.items is None:
                self.facts.count(container.word, "empty")
        self.facts.partial = self.facts.partial or self.limits.reached

    # --- for the words ----------------------------------------------------------------

    def word_of(self, function: Node) -> Word | None:
        """What a name means, by the whole of it or its last part."""
        return self.words.get(function.word) or self.words.get(function.word.rpartition(".")[2])

    def node(self, kind: str, items: Any = None, word: str = "") -> Node:
        """A new node, as long as there may be one."""
        if self.limits.objects <= 0:
            self.limits.reached = True
            return LOST
        self.limits.objects -= 1
        return Node(kind, word, items)

    def may(self, steps: int) -> bool:
        """Whether there is time for so many steps more."""
        if steps > self.limits.steps:
            self.limits.reached = True
            return False
        self.limits.steps -= steps
        return True

    def imports(self, module: str) -> None:
        """A receiver imports a module."""
        self.facts.remember(self.facts.modules, module[:LONGEST])

    def name_of(self, word: str) -> Node:
        """The node of a full name."""
        found = self.globals.get(word)
        if found is None:
            if len(self.globals) >= _WORDS:
                self.limits.reached = True
                return LOST
            found = self.globals[word] = Node("global", word[: 2 * LONGEST])
        return found

    def attribute(self, obj: Value, name: Value) -> Value:
        """What ``getattr`` gives."""
        if type(obj) is not Node or type(name) is not str:
            return OTHER
        if obj.kind == "global":
            # A name of a thousand parts is nobody's.
            word = f"{obj.word}.{name}"
            return self.name_of(word) if len(word) <= 2 * LONGEST else OTHER
        return self.node("attribute", (obj,), name)

    def reference(self, kind: str, arguments: Sequence[Value]) -> Value:
        """A weak reference."""
        if not arguments and not self.limits.reached:
            raise Damaged("a weak reference to nothing")
        target = arguments[0] if arguments else LOST  # what it is given was not kept
        slot = arguments[1] if len(arguments) > 1 else None
        pinned = is_pin(slot, target)
        if type(target) is Node and target.kind == "bound":
            target = target.items[0]
            pinned = pinned or (slot is target and target is not None)
        node = self.node("weak", (target, pinned), kind)
        if node is LOST:
            self.facts.count(kind, "unknown")
        else:
            self.references.append(node)
        return node

    def container(self, node: Node, kind: str) -> Node:
        """A node is a weak container."""
        if node is LOST or node is OTHER:
            self.facts.count(kind, "unknown")
        elif node.kind == "object":
            node.kind, node.word = "container", kind
            self.containers.append(node)
        return node

    def _armed(self, function: Node) -> Value:
        if [full_name(item) for item in function.items] == ["weakref.finalize"]:
            self.facts.count("finalize", "linked")
        return self.node("object")


@final
class _Entries:
    """Counts the entries of weak containers, at the end of a pickle."""

    def __init__(self, meaning: Meaning) -> None:
        self._facts, self._may = meaning.facts, meaning.may
        #: States, by ids of lists of entries: many containers may have the same.
        self._counted: dict[tuple[int, int], Counter[str]] = {}

    def fill(self, container: Node, entries: Node) -> None:
        """Count what a container is filled with."""
        kind, count = container.word, self._facts.count
        if entries.kind == "entries":
            targets, slots = entries.items
        elif entries.kind in ("list", "tuple", "frozenset") or not entries.items:
            targets, slots = entries, None  # stock cloudpickle gives members at once
        else:
            container.items = (True,)
            self._fill_with_state(kind, entries)
            return
        items = targets.items if type(targets) is Node else None
        if type(items) is not list:
            if targets is LOST:
                container.items = (True,)
                count(kind, "unknown")
            return
        if items:
            container.items = (True,)
        # Either one slot for each entry, or the eviction callback, repeated.
        each = slots.items if type(slots) is Node and slots.kind == "list" else None
        pins = itertools.chain(map(is_pin, each or (), items), itertools.repeat(False))
        self._count(kind, (id(items), id(each)), len(items), map(_state, items, pins))

    def _fill_with_state(self, kind: str, data: Node) -> None:
        """The entries of a container are the references in its data; or else its members."""
        of_values = kind == "WeakValueDictionary"
        is_dict = data.kind == "dict"
        items, key = data.items, (id(data.items), 2 * is_dict + of_values)
        if is_dict and key not in self._counted:
            items = items[1::2] if of_values else items[::2]
        self._count(kind, key, len(items), map(_state_of_entry, items))

    def _count(self, kind: str, key: tuple[int, int], many: int, states: Iterable[str]) -> None:
        """Count entries, those of one key once."""
        found = self._counted.get(key)
        if found is None:
            if not self._may(many):
                self._facts.count(kind, "unknown", many)
                return
            found = self._counted[key] = Counter(states)
        for state, number in found.items():
            self._facts.count(kind, state, number)


def full_name(value: Value) -> str:
    """The full name that a node stands for, if it does."""
    return value.word if type(value) is Node and value.kind == "global" else ""


def is_pin(slot: Value, target: Value) -> bool:
    """Whether a callback slot holds the target: itself, or with the callback."""
    if type(slot) is not Node or slot is LOST:
        return False
    if slot.kind == "tuple":
        return bool(slot.items) and slot.items[0] is target
    return slot is target or slot.kind == "pin"


def _text(value: Value) -> str:
    return value if type(value) is str else ""


def _kind_by_shape(data: Node) -> str:
    """The kind of a subclass's instance, by its data."""
    if data.kind != "dict":
        return "WeakSet"
    keys = data.items[:1] if data.items else []
    of_keys = bool(keys) and type(keys[0]) is Node and keys[0].kind in ("weak", "entry")
    return "WeakKeyDictionary" if of_keys else "WeakValueDictionary"


def _state_of_entry(item: Value) -> str:
    if type(item) is Node and item.kind in ("weak", "entry"):
        item.kind = "entry"  # no weak thing of its own
        return _state(*item.items)
    return _state(item, False)


def _state(target: Value, pinned: bool) -> str:
    if pinned:
        return "pinned"
    if type(target) is not Node:
        return "dangling"
    if target is LOST:
        return "unknown"
    if target.kind == "shared":
        return "named"
    if target.kind == "home":
        return "home"
    # Nobody else has it: it dies with the load.
    fresh = target.kind in ("fresh", "set") and not target.items
    return "dangling" if fresh and target.held == 0 else "linked"
