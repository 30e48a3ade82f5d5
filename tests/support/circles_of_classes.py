"""Classes of a script that something in them refers to weakly, or to one another; run as a script.

``python circles_of_classes.py HOST FOLDER`` writes payloads as `circles.py` does, at each protocol,
for `test_circles.py`. A warning is an error here, but where a case says that its edge dangles.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

import weakreduce


class Box:
    pass


class Field:
    def __set_name__(self, owner: Any, name: str) -> None:
        self.owner = weakref.ref(owner)


class WithOwnState(Field):
    def __getstate__(self) -> Any:
        return [self.owner]

    def __setstate__(self, state: Any) -> None:
        (self.owner,) = state


class Base:
    one, other = Field(), WithOwnState()


class Derived(Base):
    one = Field()


class KeepsSubclasses:
    box = Box()


class Kept(KeepsSubclasses):
    pass


KeepsSubclasses.box.kept = [weakref.ref(Kept)]  # type: ignore[attr-defined]


class HasClassMethod:
    box = Box()

    @classmethod
    def itself(cls) -> Any:
        return cls


HasClassMethod.box.method = weakref.WeakMethod(HasClassMethod.itself)  # type: ignore[attr-defined]


class Receiver:
    bus = Box()


RECEIVERS = [Receiver(), Receiver(), Receiver()]
Receiver.bus.refs = [weakref.ref(each) for each in RECEIVERS]  # type: ignore[attr-defined]


class ReceiverOfLargeBus:
    #: Between this and its state a pickler meets its class: forty functions.
    bus = type("Large", (), {f"m{n}": eval(f"lambda self: {n}") for n in range(40)})()


LARGE = [ReceiverOfLargeBus(), ReceiverOfLargeBus()]
ReceiverOfLargeBus.bus.refs = [weakref.ref(each) for each in LARGE]


class RefersToItself:
    itself: Any


RefersToItself.itself = weakref.ref(RefersToItself)


class RefersToOther:
    other: Any


class Other:
    other = weakref.ref(RefersToOther)


RefersToOther.other = weakref.ref(Other)


class Registry:
    made = weakref.WeakSet()


class OfRegistry:
    def __init__(self, registry: Any) -> None:
        self.registry = registry

    def __reduce__(self) -> Any:
        return OfRegistry, (self.registry,)


class Registry2:
    made = weakref.WeakSet()


class NewOfRegistry:
    def __new__(cls, registry: Any) -> Any:
        made = super().__new__(cls)
        made.registry = registry  # type: ignore[attr-defined]
        return made

    def __getnewargs__(self) -> Any:
        return (self.registry,)  # type: ignore[attr-defined]


MADE, NEW = OfRegistry(Registry()), NewOfRegistry(Registry2())
Registry.made.add(MADE)
Registry2.made.add(NEW)



def new(cls: Any) -> Any:
    return cls.__new__(cls)


class MadeByPartial:
    def __reduce__(self) -> Any:
        return functools.partial(new, type(self)), (), vars(self)


class MadeByLambda:
    def __reduce__(self) -> Any:
        return (lambda cls: cls.__new__(cls)), (type(self),), vars(self)


PARTIAL, LAMBDA = MadeByPartial(), MadeByLambda()
for instance in (PARTIAL, LAMBDA):
    instance.tag = "tag"  # type: ignore[attr-defined]
    type(instance).kept = [instance]  # type: ignore[attr-defined]
    type(instance).link = weakref.ref(instance)  # type: ignore[attr-defined]


def waits() -> Any:
    """A class whose instances need its ``__setstate__``."""

    class Waits:
        kept: Any

        def __getstate__(self) -> Any:
            return (vars(self),)

        def __setstate__(self, state: Any) -> None:
            vars(self).update(state[0])
            self.is_whole = True

    return Waits


def values_that_lead_back() -> dict[str, Any]:
    """Entries of a class's weak containers, each of which leads strongly to an instance of it."""
    made: dict[str, Any] = {}
    for name in ("functions", "lists", "boxes", "classes", "keys", "shared"):
        cls = waits()
        instance, key = cls(), Box()
        other = (lambda it: lambda: it)(instance)
        value: Any = {"lists": [instance], "classes": type("C", (), {"found": [instance]})}.get(
            name, other
        )
        if name == "boxes":
            value = Box()
            value.found = instance
        if name == "functions":
            key = (lambda it: lambda: it)(instance)  # type: ignore[assignment]
        if name == "keys":
            cls.kept = weakref.WeakValueDictionary({(1, value): key})
        elif name == "shared":
            table = weakref.WeakKeyDictionary({key: value})
            cls.kept = [table, weakref.WeakKeyDictionary({key: [value]}), weakref.ref(value)]
        else:
            cls.kept = weakref.WeakKeyDictionary({key: value})
        made[f"value leads back, {name}"] = cls()
        KEPT_ALIVE.append((instance, key, value))
    return made


def class_that_leads_back() -> Any:
    """A box in a class refers to what brings a class along which holds an instance of the first."""
    cls = waits()
    brought = type("Brought", (), {"found": [cls()]})
    box = Box()
    instance = brought()
    box.link, cls.kept = weakref.ref(instance), box
    return [cls, instance]


def shell_that_is_there() -> Any:
    """The instance is there, without its state, when the last attribute is met."""
    cls = waits()
    instance, key = cls(), Box()
    cls.kept = [weakref.WeakValueDictionary({0: instance}), weakref.ref(instance)]
    cls.table = weakref.WeakKeyDictionary({key: instance})  # type: ignore[attr-defined]
    return [instance, key]


KEPT_ALIVE: list[Any] = []
FOUND = {
    "functions": "[k() is v() and v() for k, v in C.kept.items()]",
    "lists": "list(C.kept.values())[0]",
    "boxes": "[v.found for v in C.kept.values()]",
    "classes": "[v.found[0] for v in C.kept.values()]",
    "keys": "[k[1]() for k in C.kept]",
    "shared": "[v for v in C.kept[0].values() if [v] == list(C.kept[1].values())[0]"
    " and C.kept[2]() is v][0]() and [v() for v in C.kept[0].values()]",
}

#: Roots, the expression that has to be true, and whether an edge dangles with dill, which makes a
#: class from all that it holds.
CASES: dict[str, tuple[Any, str, bool]] = {
    "descriptors": (
        [Derived(), Base],
        "[f.owner() for D in [type(load[0])] for f in (D.one, D.other, load[1].one)]"
        " == [type(load[0]), load[1], load[1]]",
        False,
    ),
    "subclasses": (
        KeepsSubclasses, "load.box.kept[0]().__mro__[1] is load", False,
    ),
    "class method": (HasClassMethod, "load.box.method()() is load", False),
    "receivers": (Receiver, "[type(r()) for r in load.bus.refs] == [load] * 3", False),
    "of a large bus": (
        ReceiverOfLargeBus, "[type(r()) for r in load.bus.refs] == [load] * 2", False,
    ),
    "made of an instance": ([MADE], "list(type(load[0].registry).made) == load", False),
    "made anew of one": ([NEW], "list(type(load[0].registry).made) == load", False),
    **{
        f"{type(made).__name__}, {name}": (
            root,
            "[C.link() is C.kept[0] and C.kept[0].tag == 'tag' for C in map(type, load[-1])]"
            " == [True]",
            False,
        )
        for made in (PARTIAL, LAMBDA)
        for name, root in (
            ("first", [made, type(made), [made]]), ("last", [type(made), made, [made]]),
            ("alone", [[made]]),
        )
    },
    **{
        name: (
            [made],
            f"[type(x) is C and x.is_whole for C in [type(load[0])] for x in "
            f"{FOUND[name.rpartition(' ')[2]]}] == [True]",
            False,
        )
        for name, made in values_that_lead_back().items()
    },
    "value leads back, a class that is brought along": (
        class_that_leads_back(),
        "load[0].kept.link() is load[1] and type(load[1].found[0]) is load[0]"
        " and load[1].found[0].is_whole",
        False,
    ),
    "value leads back, and is there as a shell": (
        shell_that_is_there(),
        "load[0].is_whole and load[0].table[load[1]] is load[0].kept[0][0]"
        " is load[0].kept[1]() is load[0]",
        False,
    ),
    "itself": ([RefersToItself()], "type(load[0]).itself() in (DANGLES, type(load[0]))", True),
    "one another": (
        (RefersToOther, Other),
        "load[0].other() in (DANGLES, load[1]) and load[1].other() in (DANGLES, load[0])"
        " and (load[0].other() or load[1].other()) is not None",
        True,
    ),
}  # fmt: skip


def main(host: Any, folder: str) -> None:
    warnings.simplefilter("error")
    expected: dict[str, Any] = {}
    target = Box()
    for (name, (root, test, dangles)), protocol, is_first in itertools.product(
        CASES.items(), (2, 3, 4, 5), (True, False)
    ):
        if host == "dill" and name.startswith(("MadeBy", "value leads back")):
            continue  # it needs what a class holds before it makes that
        dangles = dangles and host == "dill"
        with warnings.catch_warnings() if dangles else contextlib.nullcontext():
            if dangles:
                warnings.simplefilter("ignore", weakreduce.DanglingWarning)
            # What is a payload's first weak thing may be written in another way than others.
            sent = root if is_first else [weakref.ref(target), target, root]
            data = weakreduce.dumps(sent, host=host, protocol=protocol)
        test = test.replace("DANGLES", "None" if dangles else "0")
        if not is_first:
            name, test = f"{name}, later", f"(lambda load: {test})(load[2])"
        (Path(folder) / f"{len(expected)}.pickle").write_bytes(data)
        expected[f"{name}, protocol {protocol}"] = [len(expected), f"[{test}]"]
    (Path(folder) / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(*sys.argv[1:])
