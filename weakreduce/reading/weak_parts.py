"""What weak things consist of in a payload of weakreduce's, with steps in the words of `explain`.

A container is filled by one call, which is given all entries at once; the copy of what has its home
elsewhere stands inside a call that looks for the original. Rule: only what `core.encode` writes is
known here, and nothing is followed: `whereabouts` does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from weakreduce.reading import into
from weakreduce.reading.machine import Node, Value
from weakreduce.reading.spelling import REFERENCES

#: id -> function and arguments, of calls.
Calls = Mapping[int, tuple[Value, Sequence[Value]]]

#: What fills a container.
_FILLERS: Final = frozenset({"builtins.dict.update", "builtins.set.update"})
_TO_REFERENT: Final = {"ref": "{}()", "WeakMethod": "{}()", "proxy": "{}"}
_TO_CALLBACK: Final = {"proxy": "gc.get_referents({})[0]"}


def of_reference(word: str, arguments: Sequence[Value], calls: Calls) -> Iterator[into.Part]:
    """The referent and the callback of a weak reference; nothing of any other call."""
    kind = REFERENCES.get(word)
    if kind is None or not arguments:
        return
    yield arguments[0], into.formatted, _TO_REFERENT[kind]
    slots = list(arguments[1:2])
    for slot in slots:
        yield slot, into.formatted, _TO_CALLBACK.get(kind, "{}.__callback__")
        # A pin, with the callback; or one of two, by whether the referent is at home.
        if type(slot) is Node and slot.word == "operator.getitem" and len(slots) == 1:
            _, given = calls.get(id(slot), (None, ()))
            for choices in given[:1]:
                slots += _few(choices)
        slots += _few(slot)


def _few(slot: Value) -> Sequence[Value]:
    items = slot.items if type(slot) is Node and slot.kind == "tuple" else None
    return (items or ())[:2]


def of_container(state: Value, calls: Calls, walked: set[int]) -> Iterator[into.Part]:
    """The entries that a weak container is filled with; nothing where a state does not do that."""
    for filler in _unwalked(state, walked):
        if type(filler) is not Node or filler.word not in _FILLERS:
            continue
        _, arguments = calls.get(id(filler), (None, ()))
        for filled in arguments[1:2]:
            yield filler, into.itself, None
            yield filled, into.itself, None
            yield from _entries(filled, calls, walked)


def _entries(filled: Value, calls: Calls, walked: set[int]) -> Iterator[into.Part]:
    """Of a set ``map(ref, referents, ...)``; a dict has that zipped with its keys or values."""
    if type(filled) is not Node:
        return
    _, arguments = calls.get(id(filled), (None, ()))
    if filled.word == "builtins.map":
        for number, referent in enumerate(_referents(filled, calls, walked)):
            yield referent, into.formatted, _named(referent, number, calls)
    elif filled.word == "builtins.zip" and len(arguments) == 2:
        first, second = arguments
        yield first, into.itself, None
        yield second, into.itself, None
        for number, referent in enumerate(_referents(first, calls, walked)):
            yield referent, into.formatted, _named(referent, number, calls)
        referents, keys = _referents(second, calls, walked), _unwalked(first, walked)
        for number, (key, referent) in enumerate(zip(keys, referents, strict=False)):
            yield referent, into.entry, (number, key)
            yield key, into.member, number
        for number, value in enumerate(_unwalked(second, walked)):
            yield value, into.formatted, f"list({{}}.values())[{number}]"


def _referents(mapped: Value, calls: Calls, walked: set[int]) -> Sequence[Value]:
    if type(mapped) is not Node or mapped.word != "builtins.map":
        return ()
    _, arguments = calls.get(id(mapped), (None, ()))
    return _unwalked(arguments[1], walked) if len(arguments) > 1 else ()


def _named(referent: Value, number: int, calls: Calls) -> str:
    """The entry of a referent without a key, as `explain` has it; by its position if need be."""
    if type(referent) is Node and referent.word == "weakreduce.wire.at_home":
        _, arguments = calls.get(id(referent), (None, ()))
        referent = arguments[0] if arguments else None
    cls, _ = calls.get(id(referent), (None, ()))
    name: Value = None
    if type(cls) is Node and cls.kind == "global":
        name = cls.items
    elif type(cls) is Node and cls.word.rpartition(".")[2] in into.CLASS_MAKERS:
        _, arguments = calls.get(id(cls), (None, ()))
        name = arguments[1] if len(arguments) > 1 else None
    if type(name) is not str or "{" in name or "}" in name:
        return f"list({{}})[{number}]"
    return f"{{}}[<{name}>]"


def _unwalked(value: Value, walked: set[int]) -> Sequence[Value]:
    """The items of a list; nothing where many hold the same, and it was walked into."""
    if type(value) is not Node or value.kind != "list" or type(value.items) is not list:
        return ()
    if id(value.items) in walked:
        return ()
    walked.add(id(value.items))
    return value.items
