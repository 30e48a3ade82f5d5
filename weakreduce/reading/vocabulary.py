"""The words of payloads, those of ours, of the hosts and of earlier versions, and what each means.

Rule: what is written is decided in `encode`; this is its mirror, and the tests hold the two
together. Every word that is understood is a row of one table, `CALLS`, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from weakreduce.reading.machine import LOST, OTHER, Node, Value
from weakreduce.reading.meaning import Meaning, Word, Words, full_name
from weakreduce.reading.spelling import REFERENCES

#: Names that dill gives to types of the standard library; the others it uses are builtins'.
_DILL_TYPES: Final = {
    "ItemGetterType": "operator.itemgetter",
    "PartialType": "functools.partial",
    "MethodType": "types.MethodType",
    "ReferenceType": "weakref.ReferenceType",
}
_CONTAINERS: Final = ("WeakSet", "WeakKeyDictionary", "WeakValueDictionary")


def _reference(kind: str, first: int = 0) -> Word:
    # No more than it takes: many calls may be given the same long tuple.
    return lambda meaning, arguments: meaning.reference(kind, arguments[first : first + 2])


def _dill_reference(kind: str) -> Word:
    def meant(meaning: Meaning, arguments: Sequence[Value]) -> Value:
        return meaning.reference(kind, arguments[:1])

    return meant


def _new_container(kind: str) -> Word:
    def meant(meaning: Meaning, arguments: Sequence[Value]) -> Value:
        node = meaning.container(meaning.node("object"), kind)
        if arguments and type(arguments[0]) is Node and arguments[0].items and node is not LOST:
            meaning.fills.append((node, arguments[0]))
        return node

    return meant


def _initialized(kind: str) -> Word:
    def meant(meaning: Meaning, arguments: Sequence[Value]) -> Value:
        if arguments and type(arguments[0]) is Node:
            meaning.container(arguments[0], kind)  # a subclass's instance, made bare
        return None

    return meant


def _bare(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if arguments and full_name(arguments[0]) == "weakref.finalize":
        meaning.facts.count("finalize", "dangling")
    return meaning.node("object")


def _update(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if len(arguments) == 2:
        data, entries = arguments
        if type(data) is Node and data.kind == "attribute" and data.word == "data":
            _put(meaning, data.items[0], entries)
    return OTHER


def _put(meaning: Meaning, owner: Value, entries: Value) -> None:
    if type(owner) is Node and owner.kind == "container":
        if type(entries) is Node and entries is not OTHER and entries is not LOST:
            meaning.fills.append((owner, entries))
        elif entries is LOST:
            owner.items = (True,)
            meaning.facts.count(owner.word, "unknown")


def _set_attribute(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if len(arguments) == 3 and arguments[1] == "data":
        entries = arguments[2]
        if type(entries) is Node and entries.kind == "entries":
            _put(meaning, arguments[0], entries)
    return None


def _itself(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    # ``max((x,))`` is x.
    if len(arguments) == 1 and type(arguments[0]) is Node and type(arguments[0].items) is list:
        items = arguments[0].items
        if len(items) == 1:
            found: Value = items[0]
            return found
    return OTHER


def _item(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    # ``getitem([x, ...], 0)`` is x, ``getitem(vars(x), "name")`` is ``x.name``.
    if len(arguments) == 2 and type(arguments[0]) is Node and arguments[0].kind == "one":
        only: Value = arguments[0].items[0]
        return only
    if len(arguments) == 2 and type(arguments[0]) is Node and arguments[0].kind == "attributes":
        return meaning.attribute(arguments[0].items[0], arguments[1])
    if len(arguments) == 2 and type(arguments[0]) is Node and type(arguments[0].items) is list:
        items, number = arguments[0].items, arguments[1]
        if type(number) is int and 0 <= number < len(items) and arguments[0].kind != "dict":
            found: Value = items[number]
            return found
    return meaning.node("object")


def _attributes(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    return meaning.node("attributes", arguments[:1]) if arguments else OTHER


def _attribute(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    return meaning.attribute(*arguments[:2]) if len(arguments) >= 2 else OTHER


def _afresh(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    # ``starmap(set, [()])`` gives an object that nobody else has.
    return meaning.node("fresh" if arguments and full_name(arguments[0]) in FRESH else "object")


def _map(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    last = arguments[-1] if len(arguments) > 1 else None
    if type(last) is Node and last.kind == "fresh":
        made = full_name(arguments[0])
        kind = REFERENCES.get(made.removesuffix(".__new__"))
        if kind is not None:
            # The list that holds it is emptied.
            return meaning.node("one", (meaning.reference(kind, [meaning.node("fresh")]),))
        return meaning.node("fresh" if made == "builtins.classmethod.__get__" else "object")
    if len(arguments) >= 2 and full_name(arguments[0]) in REFERENCES:
        return meaning.node("entries", (arguments[1], arguments[2] if len(arguments) > 2 else None))
    return meaning.node("object")


def _passed_on(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    for value in arguments[:2]:
        if type(value) is Node and value.kind in ("entries", "fresh", "one"):
            return value
    return meaning.node("object")


def _set(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if arguments and type(arguments[0]) is Node:
        if arguments[0].kind == "entries":
            return arguments[0]
        return meaning.node("set", arguments[0].items)
    return meaning.node("set")


def _partial(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if [full_name(value) for value in arguments[:2]] == ["builtins.int"]:
        return meaning.node("fresh")
    return meaning.node("partial", arguments[:2])


def _node(kind: str) -> Word:
    return lambda meaning, arguments: meaning.node(kind)


def _method(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    return meaning.node("bound", arguments[1:2]) if len(arguments) > 1 else OTHER


def _bound(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    return meaning.node("bound", arguments[:1]) if arguments else OTHER


def _bound_class_method(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    # ``classmethod.__get__(classmethod(f), None, x)`` is f, bound to x.
    return meaning.node("bound", arguments[2:]) if len(arguments) == 3 else OTHER


def _type_of(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    # ``type(classmethod.__get__(...))`` is the type of bound methods.
    if len(arguments) == 1 and type(arguments[0]) is Node and arguments[0].kind == "bound":
        return meaning.name_of("types.MethodType")
    return meaning.node("object")


def _armed(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    meaning.facts.count("finalize", "linked")
    return meaning.node("object")


def _shared(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if arguments and type(arguments[0]) is str:
        meaning.facts.remember(meaning.facts.names, arguments[0])
    return meaning.node("shared")


def _at_home(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    return meaning.node("home", arguments[:1])


def _module(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if arguments and type(arguments[0]) is str:
        meaning.imports(arguments[0])
    return meaning.node("object")


def _dill_type(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if arguments and type(arguments[0]) is str:
        known = arguments[0]
        return meaning.name_of(_DILL_TYPES.get(known, f"builtins.{known}"))
    return meaning.node("object")


def _encoded(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    # Bytes, as protocols 0 to 2 write them.
    if len(arguments) != 2 or arguments[1] not in ("latin1", "latin-1"):
        return OTHER
    text = arguments[0]
    if type(text) is Node and text in meaning.encoded:
        return meaning.encoded[text]  # many calls may be given the same long text
    try:
        if type(text) is Node and text.kind == "text":
            source, start, end = text.items
            if not meaning.may(end - start):
                return OTHER
            errors = "surrogatepass" if text.word == "utf-8" else "strict"
            text = str(source[start:end], text.word, errors)
        if type(text) is not str:
            return OTHER
        data = text.encode("latin-1")
    except UnicodeError:
        return OTHER
    node = meaning.node("bytes", (data, 0, len(data)))
    if len(data) > 2 and data[0] == 0x80 and data[-1:] == b"." and node is not LOST:
        meaning.inside(node)
    if type(arguments[0]) is Node:
        meaning.encoded[arguments[0]] = node
    return node


def _opened(meaning: Meaning, arguments: Sequence[Value]) -> Value:
    if arguments and type(arguments[0]) is Node and arguments[0].kind == "bytes":
        meaning.inside(arguments[0])
    return meaning.node("object")


#: What gives an object that nobody else has.
FRESH: Final[Words] = {
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "functools.partial": _partial,
    "builtins.object": _node("object"),
    "collections.deque": _node("fresh"),
    "collections.OrderedDict": _node("fresh"),
    "collections.UserDict": _node("fresh"),
    "collections.UserList": _node("fresh"),
    "types.SimpleNamespace": _node("fresh"),
    "threading.Event": _node("fresh"),
    "contextlib.ContextDecorator": _node("fresh"),
}
#: Every word that is understood. One without a dot is the last part of a name, whatever comes
#: before it.
CALLS: Final[Words] = {
    **{word: _reference(kind) for word, kind in REFERENCES.items()},
    **{f"{word}.__new__": _reference(kind, 1) for word, kind in REFERENCES.items()},
    **{f"weakref.{kind}": _new_container(kind) for kind in _CONTAINERS},
    **{f"weakref.{kind}.__init__": _initialized(kind) for kind in _CONTAINERS},
    **FRESH,
    "dill._dill._create_weakref": _dill_reference("ref"),
    "dill._dill._create_weakproxy": _dill_reference("proxy"),
    "dill._dill._load_type": _dill_type,
    "builtins.object.__new__": _bare,
    "weakref.finalize": _armed,
    "weakreduce.wire.shared": _shared,
    "weakreduce.wire.at_home": _at_home,
    "operator.itemgetter": _node("pin"),
    "types.MethodType": _method,
    "builtins.classmethod.__get__": _bound_class_method,
    "builtins.type": _type_of,
    "builtins.vars": _attributes,
    "builtins.getattr": _attribute,
    "dill._dill._getattr": _attribute,
    "builtins.setattr": _set_attribute,
    "builtins.max": _itself,
    "builtins.min": _itself,
    "operator.getitem": _item,
    "builtins.map": _map,
    "itertools.starmap": _afresh,
    "builtins.zip": _passed_on,
    "builtins.list": _passed_on,
    "builtins.dict": _passed_on,
    "__get__": _bound,
    "update": _update,
    "ior": _update,
    "subimport": _module,
    "_import_module": _module,
    "import_module": _module,
    "_codecs.encode": _encoded,
    "loads": _opened,
}
