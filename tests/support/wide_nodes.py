"""The nodes of wide graphs: how each is made, filled, read, and cut from what it holds.

Besides instances of the forms, a node may be a class by value, which keeps what it holds in its
attributes; a function by value, with a closure, defaults or attributes; or something that a payload
names. `Node` says which; `wide.py` has the graphs that nodes are parts of.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
from collections.abc import Callable
from typing import Any

from wide_forms import PLAIN, ByKey, Identity
from wide_forms_given import GIVEN, ITEMS

FORMS: dict[str, Callable[[Any], Any]] = {
    form.__name__: form for form in (*PLAIN, *GIVEN, *ITEMS)
}
#: How a form's constructor is given what it holds: "list", "fresh" or "state".
GIVEN_AS = {form.__name__: way for form, way in GIVEN.items()}
IN_ITEMS = {form.__name__ for form in ITEMS}
#: A lock of `functools.cached_property` does not travel before Python 3.12.
BY_VALUE = [name for name in FORMS if name != "cached"]
#: Forms whose construction runs code of the class (a deque calls its class, too), and that whose
#: proxies ask the class.
NEED_CLASS = frozenset(
    {*GIVEN_AS, "with_setter", "with_all_six", "new_arguments", "new_arguments_by_name", "abstract",
     "exception", "text", "own_reduce_ex", "by_copyreg", "own_list_items", "own_dict_items",
     "callable_", "deque_items"}
)  # fmt: skip
#: Forms that are constructed with another key, or get it when their items are there.
LATE_KEYS = ("with_setter", "with_all_six", "own_reduce_ex", "deque_items")
FUNCTIONS = ("by_closure", "by_default", "by_attributes")


@dataclasses.dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        form: a name in `FORMS` or `FUNCTIONS`, "class", "named" or (of an enum) "member".
        strong: the nodes that it holds.
        weak: the weak things that it holds, by their numbers in the graph.
        given: nodes that its constructor takes.
        given_weak: weak things that its constructor takes.
        key: what it hashes by, if not its identity; of "named" and "member", which.
        cls: the node that is its class, if that is by value.
        of: of "class", the form of its instances.
        loose: of "class", whether weak things are attributes by themselves; of other nodes, whether
            their attributes are in another order.
    """

    form: str = "default"
    strong: tuple[int, ...] = ()
    weak: tuple[int, ...] = ()
    given: tuple[int, ...] = ()
    given_weak: tuple[int, ...] = ()
    key: int | None = None
    cls: int | None = None
    of: str = ""
    loose: bool = False

    @property
    def is_instance(self) -> bool:
        return self.form in FORMS

    @property
    def needs_what_it_holds(self) -> bool:
        return (
            self.cls is not None or self.form in GIVEN_AS or self.form in ("class", *FUNCTIONS)
        )

    @property
    def hashes_early(self) -> bool:
        """Whether it may be in a set that is filled before its state is there.

        An exception of a class by value may be made while that has no ``__init__`` yet.
        """
        is_late = self.form in LATE_KEYS or (self.form == "exception" and self.cls is not None)
        return self.key is None or not is_late

    @property
    def is_called(self) -> bool:
        return self.form in ("class", "callable_", *FUNCTIONS) or (
            self.form == "named" and callable(NAMED[self.key or 0])
        )


# --- what there is once --------------------------------------------------------------------------


class Color(enum.Enum):
    RED = [1]  # noqa: RUF012
    GREEN = (2,)


class Singleton(Identity):
    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> str:
        return self.name


ONE, TWO = Singleton("ONE"), Singleton("TWO")
NAMED: tuple[Any, ...] = (ONE, TWO, json.dumps, json.JSONEncoder)
#: Of each there is one in a process, though a payload does not name it: its class is called.
MEMBERS = tuple(Color)


def by_name(name: str, base: type) -> Any:
    """A class of a form that can be imported from here, and what stands in it, too."""
    made = FORMS[name](base)
    made.__module__, made.__qualname__ = __name__, f"{name}_{base.__name__}"
    for attribute in vars(made).values():
        function = getattr(attribute, "__func__", attribute)
        # (Those that frozen dataclasses with slots have from the standard library are everybody's.)
        if isinstance(function, types.FunctionType) and function.__module__ != "dataclasses":
            function.__module__ = __name__
            function.__qualname__ = f"{made.__qualname__}.{function.__name__}"
    globals()[made.__qualname__] = made
    return made


CLASSES = {(name, base): by_name(name, base) for name in FORMS for base in (Identity, ByKey)}


# --- making ---------------------------------------------------------------------------------------


def make(number: int, node: Node, made: list[Any]) -> Any:
    """A node with nothing in it, given those before it."""
    if node.form == "named":
        return NAMED[node.key or 0]
    if node.form == "member":
        return MEMBERS[node.key or 0]
    if node.form in FUNCTIONS:
        return _function(number, node.form)
    base = Identity if node.key is None else ByKey
    if node.form == "class":
        cls = FORMS[node.of](base)
        cls.__module__, cls.__qualname__, cls.label = "__main__", "C", number
        return cls
    cls = CLASSES[node.form, base] if node.cls is None else made[node.cls]
    found = cls(number, node.key)
    if node.loose and hasattr(found, "__dict__"):
        attributes = dict(reversed(vars(found).items()))
        vars(found).clear()
        vars(found).update(attributes)
    if node.form == "cached":
        assert found.half == [number / 2]
    return found


#: A function of each form, given its number and what it holds.
_SOURCES = {
    "by_closure": "def make(n, strong, weak):\n return lambda: (n, strong, weak)",
    "by_default": "def make(n, *parts):\n return lambda parts=parts: (n, *parts)",
    "by_attributes": "def make(n, strong, weak):\n"
    " def function(): return n\n function.strong, function.weak = strong, weak\n return function",
}


def _function(number: int, form: str) -> Any:
    # In a namespace of its own, since dill takes all of that along.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(_SOURCES[form], namespace)
    make = namespace.pop("make")
    return make(number, [], [])


def fill(node: Node, made: Any, strong: list[Any], weak: list[Any], given: list[Any]) -> None:
    """Put into a node what it holds."""
    if node.form in ("named", "member"):
        return
    if node.form == "class":
        made.kept_strong = strong
        if node.loose:
            for position, thing in enumerate(weak):
                setattr(made, f"kept_{position}", thing)
        else:
            made.kept_weak = weak
        return
    if node.form in IN_ITEMS:
        items = [*strong, *weak]
        if isinstance(made, dict):
            made.update(enumerate(items))
        else:
            made.extend(items)
    else:
        own_strong, own_weak, own_given = lists(node, made)
        own_strong += strong
        own_weak += weak
        if own_given is not None:
            own_given += given


# --- reading --------------------------------------------------------------------------------------


def lists(node: Node, made: Any) -> tuple[Any, Any, Any]:
    """The lists that a node which has some keeps what it holds in; None for that of arguments."""
    if node.form == "by_attributes":
        return made.strong, made.weak, None
    if node.form in FUNCTIONS:
        return (*made()[1:], None)
    return made.strong, made.weak, made.given


def held(node: Node, made: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """What a node holds: nodes, weak things, and what its constructor took."""
    if node.form in ("named", "member"):
        return [], [], []
    count = len(node.strong)
    if node.form == "class":
        loose = [getattr(made, f"kept_{position}") for position in range(len(node.weak))] if (
            node.loose) else made.kept_weak  # fmt: skip
        return made.kept_strong, loose, []
    if node.form in IN_ITEMS:
        items = [made[position] for position in range(len(made))]
        return items[:count], items[count:], []
    strong, weak, given = lists(node, made)
    return strong, weak, given or []


def cut(node: Node, made: Any, positions: list[int]) -> None:
    """Let go of some of the nodes that a node holds."""
    where = made
    if node.form == "class":
        where = made.kept_strong
    elif node.form not in IN_ITEMS and positions:
        where = lists(node, made)[0]
    for position in positions:
        where[position] = None


def check_itself(number: int, node: Node, copy: Any, cls: Any) -> None:
    """What a node is beside what it holds."""
    if node.form == "named":
        assert copy is NAMED[node.key or 0]
    elif node.form == "member":
        assert copy is MEMBERS[node.key or 0]
    elif node.form == "class":
        assert copy.label == number
        assert copy.__name__ == "C"
        assert copy is not cls
    elif node.form in FUNCTIONS:
        assert type(copy) is types.FunctionType
        assert (copy() if node.form == "by_attributes" else copy()[0]) == number
    else:
        assert type(copy) is cls, (type(copy), cls)
        assert (copy.name, copy.key) == (number, node.key)
        assert node.form != "cached" or vars(copy)["half"] == [number / 2]
        assert node.form != "with_all_six" or [*copy.items()] == [("six", 6)]
        assert node.form != "text" or str(copy) == str(number)
