"""Frozen payloads: the importable classes in them, and what each has to arrive as.

``python -I -S wired.py [FOLDER ...]`` loads every payload of ``*.zip`` beside it, and says how
many, where there is nothing but the standard library and what is in the folders (dill, for dill's
own). It runs on Python 3.8. `make.py` wrote the payloads.

Rule: what is here is named by bytes that never change, so it may be added to, and not changed.
Nothing here knows weakreduce, but how a version pins: by what the callback slot holds.
"""

from __future__ import annotations

import gc
import json
import operator
import pickle
import sys
import weakref
import zipfile
from pathlib import Path

# --- classes ------------------------------------------------------------------------------


class Node:
    def __init__(self, name, **attributes):
        self.name = name
        self.__dict__.update(attributes)

    def whoami(self):
        return self


class CallableNode(Node):
    def __call__(self):
        return self.name


class Valued(Node):
    """Hashes and compares by its state."""

    def __hash__(self):
        return hash(("valued", self.name))

    def __eq__(self, other):
        return type(other) is Valued and other.name == self.name


class Slotted:
    __slots__ = ("__weakref__", "held", "name", "strong", "weak")

    def __init__(self, name, **attributes):
        self.name = name
        for attribute, value in attributes.items():
            setattr(self, attribute, value)

    def whoami(self):
        return self


class Reduced(Node):
    """Written by a ``__reduce__`` of its own."""

    def __reduce__(self):
        return (Reduced, (self.name,), {k: v for k, v in vars(self).items() if k != "name"})


class Stateful(Node):
    """Has a state of its own making."""

    def __getstate__(self):
        return [self.name, {k: v for k, v in vars(self).items() if k != "name"}]

    def __setstate__(self, state):
        self.name, attributes = state
        self.__dict__.update(attributes)


class Argued(Node):
    """Is constructed with arguments."""

    def __new__(cls, name, *, argument=None, **attributes):
        self = super().__new__(cls)
        self.argument = argument
        return self

    def __getnewargs_ex__(self):
        return (self.name,), {"argument": self.argument}


class Names(list):
    """A list with attributes."""

    name = "names"

    def whoami(self):
        return self


class Table(dict):
    """A dict with attributes."""

    name = "table"

    def whoami(self):
        return self


class Failure(Exception):
    name = "failure"

    def whoami(self):
        return self


class SubRef(weakref.ref):
    """Needs an argument; has a slot and a dict."""

    __slots__ = ("__dict__", "note")

    def __new__(cls, referent, note):
        return super().__new__(cls, referent)

    def __init__(self, referent, note):
        super().__init__(referent)
        self.note = note
        self.more = [note]


class SubMethod(weakref.WeakMethod):
    pass


class SubSet(weakref.WeakSet):
    def __init__(self, required, items=()):
        super().__init__(items)
        self.required = required


class SubValues(weakref.WeakValueDictionary):
    def __init__(self, required, items=()):
        super().__init__(items)
        self.required = required


class SubKeys(weakref.WeakKeyDictionary):
    def __init__(self, required):
        super().__init__()
        self.required = required


class Callback:
    """A callback that holds another object strongly."""

    def __init__(self, held):
        self.held = held

    def __call__(self, reference):
        pass


class Handle:
    """A weak type of a third party's, registered with `register`."""

    def __init__(self, referent):
        self.reference = (lambda: None) if referent is None else weakref.ref(referent)

    def referent(self):
        return self.reference()


class PinnedHandle(Handle):
    def __init__(self, referent):
        super().__init__(referent)
        self.pin = referent


CALLS = []


def function():
    return "function"


def called(reference):
    """A callback."""


def cleaned(*arguments, **keywords):
    CALLS.append((arguments, keywords))


# --- what arrived -------------------------------------------------------------------------


def callback_of(weak, referent):
    """The user's callback of a reference, which a pin may stand around."""
    found = weakref.ref.__dict__["__callback__"].__get__(weak)
    if found is referent:
        return None
    if type(found) is operator.itemgetter:
        items = found.__reduce__()[1]
        return items[1] if len(items) > 1 else None
    if type(found) is tuple:  # since version 0.2
        return found[1]
    return found


PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
#: The same on every Python, which `__name__` is not.
NAMES = {weakref.ref: "ref", weakref.ProxyType: "proxy", weakref.CallableProxyType: "callable"}


class Description:
    """An object graph as plain data: objects are numbered as they are met."""

    def __init__(self):
        self.met = {}
        self.kept = []

    def __call__(self, obj):
        if type(obj) in PROXIES:
            return self.proxy(obj)
        if isinstance(obj, (type, type(called), type(len))):
            return "name " + obj.__module__ + "." + obj.__qualname__
        if isinstance(obj, (int, str, type(None))):
            return obj
        if isinstance(obj, bytes):
            return "bytes " + obj.hex()
        if isinstance(obj, type(json)):
            return "module " + obj.__name__
        if id(obj) in self.met:
            return {"met": self.met[id(obj)]}
        found = self.new(obj)
        if isinstance(obj, weakref.ref):
            self.reference(obj, found)
        elif isinstance(obj, weakref.WeakSet):
            found["members"] = [self(member) for member in sorted(obj, key=by_name)]
        elif isinstance(obj, weakref.WeakValueDictionary):
            found["entries"] = [[self(k), self(v)] for k, v in sorted(obj.items(), key=repr_of_key)]
        elif isinstance(obj, weakref.WeakKeyDictionary):
            items = sorted(obj.items(), key=lambda item: by_name(item[0]))
            found["entries"] = [[self(k), self(v)] for k, v in items]
        elif isinstance(obj, weakref.finalize):
            alive = obj.peek()
            found["to"] = alive and [self(part) for part in alive[:3]] + [len(alive[3])]
        elif isinstance(obj, Handle):
            found.update(type="Handle", to=self(obj.referent()))
        else:
            self.contents(obj, found)
        if isinstance(obj, (SubRef, SubSet, SubValues, SubKeys)):
            names = ("note", "more", "required")
            found["own"] = [self(getattr(obj, name, None)) for name in names]
        return found

    def new(self, obj):
        self.met[id(obj)] = len(self.met)
        self.kept.append(obj)
        return {"type": NAMES.get(type(obj), type(obj).__name__)}

    def proxy(self, obj):
        if id(obj) in self.met:
            return {"met": self.met[id(obj)]}
        found = self.new(obj)
        try:
            found["to"] = self(obj() if "__code__" in dir(obj) else obj.whoami())
        except ReferenceError:
            found["to"] = None
        return found

    def reference(self, obj, found):
        if isinstance(obj, weakref.WeakMethod):
            bound = obj()
            found["to"] = bound and [self(bound.__self__), self(bound.__func__)]
            return
        referent = weakref.ref.__call__(obj)
        found["to"] = self(referent)
        if referent is not None:
            found["callback"] = self(callback_of(obj, referent))
        if isinstance(obj, weakref.KeyedRef):
            found["key"] = self(obj.key)

    def contents(self, obj, found):
        if isinstance(obj, (list, tuple)):
            found["items"] = [self(item) for item in obj]
        elif isinstance(obj, dict):
            found["items"] = [[self(key), self(value)] for key, value in obj.items()]
        elif isinstance(obj, BaseException):
            found["args"] = [self(item) for item in obj.args]
        names = sorted(getattr(obj, "__dict__", {}))
        names += [name for name in getattr(type(obj), "__slots__", ()) if hasattr(obj, name)]
        if hasattr(obj, "whoami") or isinstance(obj, Callback):
            names = [name for name in names if name != "__weakref__"]
            found["attributes"] = [[name, self(getattr(obj, name))] for name in names]


def by_name(obj):
    return getattr(obj, "name", None) or obj.__qualname__


def repr_of_key(item):
    return repr(item[0]) if isinstance(item[0], (int, str)) else by_name(item[0])


def describe(obj):
    """What can be seen of an object graph, as JSON has it."""
    return json.loads(json.dumps(Description()(obj)))


def collect():
    while gc.collect():  # an entry's value is let go only after its key has been collected
        pass


def is_dead(obj):
    return isinstance(obj, weakref.ref) and weakref.ref.__call__(obj) is None


def is_dict(obj):
    return type(obj) is dict


def dead_are_hashable(obj):
    """Every dead reference among the values of a dict is a key, and is like no other."""
    dead = [weak for weak in obj.values()
            if type(weak) not in PROXIES and is_dead(weak)]  # fmt: skip
    assert len({weak: None for weak in dead}) == len({id(weak) for weak in dead})


MINE = (Node, CallableNode, Valued, Slotted, Reduced, Stateful, Argued, Names, Table)


def check_case(load, expected):
    """What arrived is what there was, also without the root's last item, which holds the rest.

    At last all of it dies.
    """
    root = load()
    collect()
    assert describe(root) == expected[0], (describe(root), expected[0])
    for found in filter(is_dict, root):
        dead_are_hashable(found)
        del found
    if len(expected) > 1:
        root.pop()
        collect()
        assert describe(root) == expected[1], (describe(root), expected[1])
    seen = Description()
    seen(root)
    watched = [weakref.ref(obj) for obj in seen.kept if type(obj) in MINE]
    del seen, root
    collect()
    alive = [reference() for reference in watched if reference() is not None]
    assert not alive, alive


# --- random graphs ------------------------------------------------------------------------


def unweak(weak, thing):
    """For each entry of a weak thing of a random graph: its referent and other half."""
    kind, dead, entries = weak
    if kind in ("ref", "called", "subref"):
        referent = weakref.ref.__call__(thing)
        callback = None if referent is None else callback_of(thing, referent)
        return [(referent, callback.held if kind == "called" and callback else None)]
    if kind == "method":
        bound = thing()
        return [(None if bound is None else bound.__self__, None)]
    if kind == "proxy":
        try:
            return [(thing.whoami(), None)]
        except ReferenceError:
            return [(None, None)]
    if kind == "set":
        assert thing.required == "required"
        names = {member.name: member for member in thing}
        return [(names.get(target), None) for target, _, _ in entries]
    if kind == "values":
        return [(thing.get(position), None) for position in range(len(entries))]
    by_name = {key.name: (key, value) for key, value in thing.items()}
    return [by_name.get(target, (None, None)) for target, _, _ in entries]


TYPES = {
    "ref": weakref.ref, "called": weakref.ref, "method": weakref.WeakMethod, "subref": SubRef,
    "set": SubSet, "values": weakref.WeakValueDictionary, "keys": weakref.WeakKeyDictionary,
}  # fmt: skip
CLASSES = (Node, Valued, CallableNode, Slotted)


def check_graph(load, expected):
    """The copy is the graph that was sent; then what lives is what has to, where parts are let go.

    `expected` has ``classes``, ``strong`` and ``weak`` of each node: a weak thing is its kind,
    whether it was dead, and (target, other half, whether it travels) for each entry.
    """
    for keep, cut, least, most in expected["lives"]:
        root = load()
        collect()
        copies = copies_of(root, expected)
        assert sorted(copies) == expected["travels"]
        for number, position in reversed(cut):
            del copies[number].strong[position]
        del root[keep:]
        watched = {number: weakref.ref(copy) for number, copy in copies.items()}
        copies.clear()
        collect()
        alive = {number for number, reference in watched.items() if reference() is not None}
        assert set(least) <= alive <= set(most), (least, alive, most)


def copies_of(root, expected):
    copies = {}
    assert len(root) == len(expected["roots"])
    queue = list(zip(expected["roots"], root))
    while queue:
        number, copy = queue.pop()
        if number in copies:
            assert copies[number] is copy, "it arrived twice"
            continue
        copies[number] = copy
        assert type(copy) is CLASSES[expected["classes"][number]]
        assert copy.name == number
        strong, weak = expected["strong"][number], expected["weak"][number]
        assert (len(strong), len(weak)) == (len(copy.strong), len(copy.weak))
        queue += zip(strong, copy.strong)
        for expected_weak, thing in zip(weak, copy.weak):
            queue += check_weak(expected, expected_weak, thing)
    return copies


def check_weak(expected, weak, thing):
    kind, dead, entries = weak
    if kind == "proxy":
        is_callable = not dead and CLASSES[expected["classes"][entries[0][0]]] is CallableNode
        assert type(thing) is (weakref.CallableProxyType if is_callable else weakref.ProxyType)
    else:
        assert type(thing) is TYPES[kind]
    if kind == "subref":
        assert (thing.note, thing.more) == ("note", ["note"])
    found = unweak(weak, thing)
    if dead:
        assert all(referent is None for referent, _ in found)
        if kind in ("ref", "called", "subref", "method"):
            assert thing in {thing: 1}
        return
    for (target, other, travels), (referent, other_half) in zip(entries, found):
        assert (referent is not None) is travels, (kind, target)
        if travels:
            yield target, referent
            if other is not None:
                yield other, other_half
    if kind in ("set", "values", "keys"):
        assert len(thing) == sum(travels for _, _, travels in entries)


# --- a file of payloads -------------------------------------------------------------------


def payloads(path):
    """(name, what it holds, bytes, what is expected) of each payload of a file."""
    with zipfile.ZipFile(str(path)) as archive:
        index = json.loads(archive.read("index.json").decode())
        gc.collect()
        gc.freeze()  # the collector runs thousands of times: not over all that is expected
        for name, (what, expected) in sorted(index["payloads"].items()):
            yield name, what, archive.read(name), index["expected"][expected]


def check(what, load, expected):
    """Check what one payload arrives as; `load` makes it anew at each call.

    Raises:
        AssertionError: where that is something else.
    """
    (check_graph if what == "graph" else check_case)(load, expected)


def needs_weakreduce(what):
    """Whether a payload names weakreduce: a shared name, or something that may go home."""
    return what == "token" or what.startswith("home")


def check_token(payload):
    """What needs weakreduce says so."""
    try:
        pickle.loads(payload)
    except ImportError as error:
        assert "weakreduce" in str(error)
    else:
        raise AssertionError("it loads")


def check_all(path):
    """Check all payloads of a file; gives their number."""
    count = 0
    for name, what, payload, expected in payloads(path):
        try:
            if needs_weakreduce(what):
                check_token(payload)
            elif b"NoneType" in payload and sys.version_info < (3, 10):
                continue  # dill looks there for a name that `types` does not have yet
            else:
                check(what, lambda payload=payload: pickle.loads(payload), expected)
        except Exception as error:
            raise AssertionError(name) from error
        count += 1
    return count


def main():
    found = sorted(Path(__file__).resolve().parent.glob("*.zip"))
    for path in found:
        print(path.name, check_all(path))
    assert "weakreduce" not in sys.modules


if __name__ == "__main__":
    # The classes in the payloads are this module's, by its name.
    sys.path[:0] = [str(Path(__file__).resolve().parent), *sys.argv[1:]]
    import wired

    wired.main()
