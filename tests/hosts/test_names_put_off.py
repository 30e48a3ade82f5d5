"""Names of classes and functions that are put in at the end: code that looks before that runs."""

from __future__ import annotations

import io
import pickle
import types
import weakref
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from programs import run
from things import Thing

import weakreduce  # noqa: F401

#: A script, whose classes look at a name of their own, or of a function's, as they are made.
SCRIPT = """
import sys, weakref
import cloudpickle
import weakreduce

class Singleton:
    last = None
    def __new__(cls):
        found = cls.last and cls.last()
        if found is None:
            found = super().__new__(cls)
            cls.last = weakref.ref(found)
        return found

class Called:
    last = staticmethod(lambda: None)
    def __new__(cls):
        made = super().__new__(cls)
        made.before = cls.last()
        cls.last = weakref.ref(made)
        return made
    def __reduce__(self):
        return Called, ()

class Listed:
    every = []
    def __new__(cls):
        made = super().__new__(cls)
        cls.every.append(weakref.ref(made))
        return made

class Ahead:
    last = None
    def __new__(cls):
        made = super().__new__(cls)
        try:
            made.alive = cls.last is not None and cls.last.alive is not None
        except ReferenceError:
            made.alive = False
        cls.last = weakref.proxy(made)
        return made
    def __reduce__(self):
        return Ahead, ()

class Bound:
    last = None
    def __new__(cls):
        if cls.last is not None:
            assert cls.last() is None
        return super().__new__(cls)
    def method(self):
        return self
    def __reduce__(self):
        return Bound, ()

class Own(weakref.ref):
    pass

def build():
    if current is not None:
        assert current() is None
    return Built()

class Built:
    def __reduce__(self):
        return build, ()

made = {cls.__name__: cls() for cls in (Singleton, Called, Listed, Ahead, Bound, Built)}
current = Own(made["Built"])
Bound.last = weakref.WeakMethod(made["Bound"].method)
name, policy, order, path = sys.argv[1:]
parts = [made[name], [weakref.ref(made[name]), build if name == "Built" else type(made[name])]]
with weakreduce.policy(policy):
    payload = cloudpickle.dumps(parts[:: 1 if order == "first" else -1])
with open(path, "wb") as file:
    file.write(payload)
"""
LOAD = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    one, other = pickle.load(file)
made, (reference, named) = (other, one) if type(one) is list else (one, other)
assert reference() is made
print({})
"""


def arrives(found: str, tmp_path: Path, script: str, *arguments: str, **environment: str) -> None:
    """Let a script write a payload, and see what another process finds in it."""
    payload = str(tmp_path / "payload")
    run(script, *arguments, payload, **environment)
    assert run(LOAD.format(found), payload) == "True\n"


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize(
    ("name", "linked"),
    [
        ("Singleton", "named.last() is made is named()"),
        ("Called", "named.last() is made and named().before is made"),
        ("Listed", "[each() for each in named.every] == [made]"),
        ("Ahead", "named.last.alive is made.alive and bool(named().alive)"),
        ("Bound", "named.last()() is made"),
        ("Built", "named.__globals__['current']() is made"),
    ],
)
def test_code_that_looks_at_a_name_too_early_finds_it_dead(
    tmp_path: Path, name: str, linked: str, policy: str, order: str
) -> None:
    arrives(linked, tmp_path, SCRIPT, name, policy, order)


HASHED = """
import sys, weakref
import cloudpickle
import weakreduce

class Items(list):
    __hash__ = object.__hash__
    every = weakref.WeakSet()
    notes = weakref.WeakKeyDictionary()

class Table(dict):
    __hash__ = object.__hash__
    every = weakref.WeakSet()
    notes = weakref.WeakKeyDictionary()

cls = {"Items": Items, "Table": Table}[sys.argv[1]]
made = cls()
cls.every.add(made)
cls.notes[made] = 1
parts = [made, [weakref.ref(made), cls]]
with weakreduce.policy(sys.argv[2]):
    payload = cloudpickle.dumps(parts[:: 1 if sys.argv[3] == "first" else -1])
with open(sys.argv[4], "wb") as file:
    file.write(payload)
"""


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("policy", ["snapshot", "dangle"])
@pytest.mark.parametrize("name", ["Items", "Table"])
def test_a_class_that_gives_a_hash_back_holds_its_instances(
    tmp_path: Path, name: str, policy: str, order: str
) -> None:
    found = "made in named.every and named.notes[made] == 1"
    arrives(found, tmp_path, HASHED, name, policy, order)


#: Follows a script that has made `parts`.
SEND = """
with open(sys.argv[-1], "wb") as file:
    file.write(cloudpickle.dumps(parts[:: 1 if sys.argv[-2] == "first" else -1]))
"""
HELD = """
import sys, weakref
import cloudpickle
import weakreduce

def build(cls):
    return cls.__new__(cls)

class Built:
    def __reduce__(self):
        return build, (type(self),)

class Called:
    def __reduce__(self):
        return type(self), ()

class Filled:
    def __reduce_ex__(self, protocol):
        return build, (type(self),), vars(self)

def closed_over(held):
    def closure(*ignored):
        return held
    return closure

def default(held):
    return lambda found=held: found

def keyword(held):
    return lambda *ignored, found=held: found

def attribute(held):
    def function(*ignored):
        return function.held
    function.held = held
    return function

def annotation(held):
    def function(*ignored):
        return function.__annotations__["ignored"]
    function.__annotations__["ignored"] = held
    return function

makers = {make.__name__: make for make in (closed_over, default, keyword, attribute, annotation)}
made = {"Built": Built, "Called": Called, "Filled": Filled}[sys.argv[1]]()
method = makers[sys.argv[2]](weakref.ref(made))
type(made).found = staticmethod(method)
type(made).several = [method, (method,)]
parts = [made, [weakref.ref(made), type(made)]]
"""


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("where", ["closed_over", "default", "keyword", "attribute", "annotation"])
@pytest.mark.parametrize("name", ["Built", "Called", "Filled"])
def test_what_a_method_holds_of_an_instance_of_its_class(
    tmp_path: Path, name: str, where: str, order: str
) -> None:
    """Wherever the function has it, for an instance that needs the class complete."""
    script = HELD + SEND + "assert method()() is made"  # as before
    found = "named.found()() is made and named.several[1][0] is named.found"
    arrives(found, tmp_path, script, name, where, order, PYTHONWARNINGS="error")


HASHED_BY_WAY_OF_REFERENCES = """
import sys, weakref
import cloudpickle
import weakreduce

class Items(list):
    __hash__ = object.__hash__

class Table(dict):
    __hash__ = object.__hash__

cls = {"Items": Items, "Table": Table}[sys.argv[1]]
made = cls()
reference = weakref.ref(made)
cls.members = frozenset([reference])
cls.notes = {"notes": {reference: 1}, "more": [{reference}]}
parts = [made, [reference, cls]]
"""


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("name", ["Items", "Table"])
def test_a_class_that_gives_a_hash_back_has_references_as_keys(
    tmp_path: Path, name: str, order: str
) -> None:
    """A reference hashes as its referent does, which cannot before the class is complete."""
    script = HASHED_BY_WAY_OF_REFERENCES + SEND
    table, more = "named.notes['notes']", "named.notes['more'][0]"
    found = f"reference in named.members and {table}[reference] == 1 and reference in {more}"
    arrives(found, tmp_path, script, name, order, PYTHONWARNINGS="error")


#: A reference among what the value of an attribute is made from.
MADE_FROM = """
import enum, functools, sys, typing, weakref
import cloudpickle
import weakreduce

class Base:
    def __init__(self, value): self.value = value
    def __reduce__(self): return type(self), (self.value,)

class Instance(Base): pass

class Group(weakref.WeakSet):
    __hash__ = object.__hash__

class Pair(typing.NamedTuple):
    first: object

class Members(frozenset): pass

class Holder:
    def __init__(self, held): self.held = held
    def __reduce__(self): return Holder, (self.held,)

def identity(*given): return given[0]

def enumeration(held):
    class Kind(enum.Enum):
        ONE = held
    return Kind

made = Instance("value") if sys.argv[1] == "Instance" else Group()
cls, reference = type(made), weakref.ref(made)
cls.found = {
    "named tuple": lambda: Pair(reference),
    "annotated": lambda: typing.Annotated[int, reference],
    "frozenset": lambda: Members([reference]),
    "holder": lambda: [Holder((reference,))],
    "member": lambda: enumeration(reference).ONE,
    "enum": lambda: enumeration(reference),
    "partial": lambda: functools.partial(identity, reference),
    "method": lambda: staticmethod(functools.partial(identity, reference)),
}[sys.argv[2]]()
parts = [made, [reference, cls]]
"""


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("made", ["Instance", "Group"])
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("named tuple", "named.found[0] is reference"),
        ("annotated", "named.found.__metadata__[0] is reference"),
        ("frozenset", "reference in named.found"),
        ("holder", "named.found[0].held[0] is reference"),
        ("member", "named.found.value is reference"),
        ("enum", "named.found.ONE.value is reference"),
        ("partial", "named.found() is reference"),
        ("method", "named.found() is reference"),
    ],
)
def test_what_an_attribute_of_the_class_is_made_from(
    tmp_path: Path, made: str, kind: str, found: str, order: str
) -> None:
    """What is made from its arguments has no state that could wait: its name does."""
    arrives(found, tmp_path, MADE_FROM + SEND, made, kind, order, PYTHONWARNINGS="error")


class WithAWayOfItsOwn(cloudpickle.Pickler):
    """Reduces functions and instances to states of two parts, which are not cloudpickle's."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is types.FunctionType and obj.__name__ == "special":
            state = None, {"__defaults__": obj.__defaults__}
            return types.FunctionType, (obj.__code__, {}), state
        if type(obj) is Thing:
            return Thing.__new__, (Thing,), (vars(obj), {"more": 1})
        return super().reducer_override(obj)


@pytest.mark.parametrize("first", ["function", "reference"])
def test_states_of_two_parts_of_the_users_own(first: str) -> None:
    def special(thing: Any = None) -> Any:
        return thing

    thing = Thing("thing")
    thing.attributes = [vars(thing)]
    root = [thing, special, [weakref.ref(thing), weakref.ref(special)]]
    file = io.BytesIO()
    WithAWayOfItsOwn(file).dump(root if first == "function" else root[::-1])
    copies = pickle.loads(file.getvalue())
    copy, function, (reference, other) = copies if first == "function" else copies[::-1]
    assert reference() is copy
    assert other() is function
    assert function(1) == 1
    assert copy.more == 1
    assert copy.attributes[0]["name"] == "thing"


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_functions_own_attributes_stay_as_they_are(protocol: int) -> None:
    """What is put off is taken out of a copy."""

    class Built:
        __module__ = "__main__"  # so by value

        def __reduce__(self) -> Any:
            return type(self), ()

    made = Built()

    def method() -> Any:
        return method.held  # type: ignore[attr-defined]

    method.__module__ = "__main__"
    method.held = weakref.ref(made)  # type: ignore[attr-defined]
    Built.method = staticmethod(method)  # type: ignore[attr-defined]
    payload = cloudpickle.dumps([made], protocol)
    assert method.held() is made  # type: ignore[attr-defined]
    assert pickle.loads(payload)
