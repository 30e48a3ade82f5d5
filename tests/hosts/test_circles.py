"""Circles through a construction: what is constructed from something that holds it weakly.

`circles.py` writes payloads of classes of a script, of many shapes; a fresh interpreter loads them.
"""

from __future__ import annotations

import collections
import functools
import gc
import weakref
from pathlib import Path
from typing import Any

import circles
import gaps
import programs
import pytest
from circles_loaded import payloads, received

import weakreduce
from weakreduce.core import short_cuts

HOSTS = ["cloudpickle", "dill", "pickle"]


def test_classes_of_a_script_that_keep_their_instances(tmp_path: Path) -> None:
    expected = payloads("cloudpickle", tmp_path)
    assert len(expected) > 1000
    refused = {label: text for label, (number, text) in expected.items() if number is None}
    assert not refused
    assert received("cloudpickle", tmp_path) == []


@pytest.mark.needs(gaps.DILL_BY_VALUE)
def test_containers_in_classes_of_a_script_through_dill(tmp_path: Path) -> None:
    """dill makes a class from all that it holds, so a reference in it to an instance dangles."""
    expected = payloads("dill", tmp_path)
    refused = {label: text for label, (number, text) in expected.items() if number is None}
    assert not refused
    # dill by itself loses a __hash__ of another class, and what a script has by name.
    wrong = [
        line
        for line in received("dill", tmp_path)
        if line.split()[1] in ("WithSet", "WithValues", "WithKeys", "WithItself")
        and not line.startswith(("subclass_of_list", "generic"))
    ]
    assert wrong == []


class Target:
    """Of a reference that is a payload's first weak thing, which is written as others are."""


@pytest.mark.parametrize("before", ["nothing", "a link", "a snapshot"])
def test_plugs_make_no_difference_where_a_class_is_open(
    before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a plug writes while a class by value is written is what would be written without it."""
    target = Target()
    first = {"nothing": [], "a link": [target, weakref.ref(target)],
             "a snapshot": [weakref.ref(target)]}[before]  # fmt: skip
    differ = []
    for shape, registry, name, x in circles.instances():
        root = [*first, circles.ROOTS[name][0](x)]
        weakreduce.dumps(root)  # which leaves a note of its own in a class
        with_plugs = weakreduce.dumps(root)
        with monkeypatch.context() as patch:
            patch.setattr(short_cuts, "of_first_walk", lambda _: {})
            patch.setattr(short_cuts, "of_second_walk", lambda _: {})
            without = weakreduce.dumps(root)
        if with_plugs != without:
            differ.append((shape.__name__, registry.__name__, name))
    assert differ == []


@pytest.mark.parametrize("host", gaps.BY_VALUE)
def test_classes_of_a_script_that_are_referred_to_from_inside(host: str, tmp_path: Path) -> None:
    """Whole where what holds the reference has a state of its own; else dill's dangle, and warn."""
    count = 72 if host == "dill" else 184
    assert len(payloads(host, tmp_path, "circles_of_classes.py", "default")) == count
    assert received(host, tmp_path) == []


class Child:
    def __init__(self, number: int) -> None:
        self.number = number


class Keeps:
    def __init__(self, children: Any) -> None:
        self.children = children

    def __reduce__(self) -> Any:
        return type(self), (self.children,)


class Copies(Keeps):
    def __init__(self, children: Any) -> None:
        self.children = list(children)


class FreshTuple(Copies):
    def __reduce__(self) -> Any:
        return type(self), (tuple(self.children),)


class FreshList(Copies):
    def __reduce__(self) -> Any:
        return type(self), (list(self.children),)


class FreshDict(Keeps):
    def __init__(self, children: Any) -> None:
        self.children = list(children.values()) if isinstance(children, dict) else children

    def __reduce__(self) -> Any:
        return type(self), (dict(enumerate(self.children)),)


class NewArguments:
    children: Any

    def __new__(cls, children: Any) -> Any:
        made = super().__new__(cls)
        made.children = list(children)
        return made

    def __getnewargs__(self) -> Any:
        return (self.children,)


class Registers(Copies):
    """Its constructor takes the children over."""

    def __init__(self, children: Any) -> None:
        super().__init__(children)
        for child in children:
            child.parent = weakref.ref(self)


class Reads(Copies):
    """Its constructor needs the children's own attributes."""

    def __init__(self, children: Any) -> None:
        super().__init__(children)
        self.numbers = [child.number for child in children]


PARENTS = [Keeps, Copies, FreshTuple, FreshList, FreshDict, NewArguments, Registers, Reads]


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("parent_class", PARENTS)
def test_parents_that_are_constructed_from_their_children(
    parent_class: Any, host: Any, protocol: int
) -> None:
    children: list[Any] = [Child(number) for number in range(3)]
    parent = parent_class(children)
    for child in children:
        child.parent, child.sibling = weakref.ref(parent), children[0]
    reference = weakref.ref(parent)
    for root, found in (
        (parent, lambda x: x),
        ([children[0], parent], lambda x: x[1]),
        ([parent, children], lambda x: x[0]),
        ([children, parent], lambda x: x[1]),
        ([reference, parent], lambda x: x[1]),
        (reference, lambda x: x()),
        (children[0], lambda x: x.parent()),
    ):
        for policy in ("snapshot", "dangle"):
            if policy == "dangle" and root in (reference, children[0]):
                continue
            data = weakreduce.dumps(root, host=host, protocol=protocol, policy=policy)
            copy = weakreduce.loads(data, host=host)
            gc.collect()
            made = found(copy)
            assert [child.number for child in made.children] == [0, 1, 2]
            assert all(child.parent() is made for child in made.children)
            assert all(child.sibling is made.children[0] for child in made.children)


class InnerChild(Child):
    def __init__(self, number: int, inner: Any) -> None:
        super().__init__(number)
        self.inner = inner


@pytest.mark.parametrize("host", HOSTS)
def test_two_constructions_that_one_child_waits_for(host: Any) -> None:
    child = Child(1)
    inner = Reads([child])
    outer = Reads([InnerChild(2, inner)])
    child.both = [weakref.ref(inner), weakref.ref(outer)]  # type: ignore[attr-defined]
    copy = weakreduce.loads(weakreduce.dumps(outer, host=host), host=host)
    found = copy.children[0].inner
    assert [reference() for reference in found.children[0].both] == [found, copy]


@pytest.mark.parametrize("host", HOSTS)
def test_items_that_wait_for_what_is_constructed_from_their_container(host: Any) -> None:
    queue: Any = collections.deque()
    table: Any = collections.OrderedDict(first=1)
    keeper = Keeps((queue, table))
    queue += [1, weakref.ref(keeper), 2]
    table["keeper"], table["last"] = weakref.ref(keeper), 3
    copy = weakreduce.loads(weakreduce.dumps(keeper, host=host), host=host)
    queue, table = copy.children
    assert (queue[0], queue[1](), queue[2]) == (1, copy, 2)
    assert list(table) == ["first", "keeper", "last"]
    assert table["keeper"]() is copy


class Extra:
    owner: Any


class WithExtra:
    """Constructed from what leads back to it; and met weakly before it is met strongly."""

    group: Any

    def __init__(self, extra: Any) -> None:
        self.extra = extra

    def __reduce__(self) -> Any:
        return WithExtra, (self.extra,), dict(vars(self))


def test_what_is_constructed_from_what_leads_back_is_constructed_once() -> None:
    one, two = WithExtra(Extra()), WithExtra(Extra())
    one.extra.owner, two.extra.owner = weakref.ref(one), weakref.ref(two)
    keeper = Keeps([one, two])
    one.group = two.group = weakref.WeakSet([keeper, one])
    copy = weakreduce.loads(weakreduce.dumps([two, keeper]))
    gc.collect()
    assert set(copy[0].group) == {copy[1], copy[1].children[0]}
    assert copy[1].children[0].extra.owner() is copy[1].children[0]


class Part:
    """Made for a reduction alone."""

    def __init__(self, owner: Any, number: int) -> None:
        self.owner, self.number = owner, number


class FromParts:
    def __init__(self, part: Any) -> None:
        self.number = part.number

    def __reduce__(self) -> Any:
        return FromParts, (Part(weakref.ref(self), self.number),)


class InItself(Exception):
    pass


def itself_in_arguments() -> Any:
    error = InItself()
    error.args = ("text", weakref.ref(error))
    return error


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("raises", [False, True])
def test_an_edge_that_no_receiver_could_make_dangles(host: Any, raises: bool) -> None:
    for root, test in (
        (FromParts_of(3), lambda x: x.number == 3),
        (itself_in_arguments(), lambda x: x.args[0] == "text" and x.args[1]() is None),
    ):
        if raises:
            with pytest.raises(weakreduce.WeakrefPicklingError, match="constructed from"):
                weakreduce.dumps([root], host=host, policy=weakreduce.Policy(unpicklable="raise"))
        else:
            with pytest.warns(weakreduce.DanglingWarning, match="constructed from") as caught:
                data = weakreduce.dumps([root], host=host)
            assert len(caught) == 1
            (copy,) = weakreduce.loads(data, host=host)
            assert test(copy)


def FromParts_of(number: int) -> Any:
    made = object.__new__(FromParts)
    made.number = number
    return made


@pytest.mark.parametrize("host", HOSTS)
def test_a_strong_circle_beside_a_weak_thing_is_stocks_concern(host: Any) -> None:
    """It works where stock's does: by way of what stays the same when it is asked for again."""
    child = Child(1)
    parent = Keeps([child])
    child.parent = parent  # type: ignore[attr-defined]
    other = Child(2)
    data = weakreduce.dumps([other, weakref.ref(other), parent, weakref.ref(Child)], host=host)
    copy = weakreduce.loads(data, host=host)
    assert copy[2].children[0].parent is copy[2]
    assert copy[1]() is copy[0]


class Afresh:
    """Its reduction has a function that is made for it, so nothing of it can be had twice."""

    tag = "none"

    def __init__(self, given: Any) -> None:
        self.given = given

    def __reduce__(self) -> Any:
        return functools.partial(Afresh, self.given), (), {"tag": self.tag}


class AfreshByCallable(Afresh):
    def __reduce__(self) -> Any:
        return Caller(AfreshByCallable), (self.given,), {"tag": self.tag}


class AfreshByArgument(Afresh):
    def __init__(self, caller: Any, given: Any = ()) -> None:
        super().__init__(given or caller.given)

    def __reduce__(self) -> Any:
        return AfreshByArgument, (Caller(self.given), self.given), {"tag": self.tag}


class Caller:
    def __init__(self, given: Any) -> None:
        self.given = given

    def __call__(self, *arguments: Any) -> Any:
        return self.given(*arguments)


def afresh(cls: Any) -> Any:
    made = cls.__new__(cls)
    made.tag = "tag"
    return made


AFRESH = pytest.mark.parametrize("cls", [Afresh, AfreshByCallable, AfreshByArgument])


@AFRESH
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("host", HOSTS)
def test_what_leads_back_to_what_cannot_be_had_twice(host: Any, protocol: int, cls: Any) -> None:
    """A snapshot is complete, and one object, as stock's is where the root is strong."""
    made, middle = afresh(cls), Child(1)
    for made.given in ([made], [middle], {"made": made}):
        middle.made = made  # type: ignore[attr-defined]
        sent = [weakref.ref(made), weakref.WeakSet([made]), weakref.proxy(made)]
        for root in (sent, sent[::-1], [*sent, made], [made, *sent], sent[:1]):
            data = weakreduce.dumps(root, host=host, protocol=protocol)
            copies = weakreduce.loads(data, host=host)
            gc.collect()
            (found,) = {id(copy): copy for each in copies for copy in _referents(each)}.values()
            assert found.tag == "tag"
            (inner,) = found.given.values() if type(found.given) is dict else found.given
            assert (inner.made if type(inner) is Child else inner) is found


def _referents(copy: Any) -> list[Any]:
    if type(copy) is weakref.ProxyType:
        return [copy.__repr__.__self__]
    if type(copy) is weakref.ref:
        return [copy()]
    return list(copy) if type(copy) is weakref.WeakSet else [copy]


@AFRESH
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("host", HOSTS)
def test_a_link_among_arguments_that_a_strong_edge_leads_back_from(
    host: Any, protocol: int, cls: Any
) -> None:
    """Whichever of the two attributes comes first."""
    for names in (("link", "strong"), ("strong", "link"), ("link", "second", "strong")):
        made, holder = afresh(cls), Child(1)
        made.given = [holder]
        for name in names:
            setattr(holder, name, [made] if name == "strong" else weakref.ref(made))
        for root in ([made, holder], [holder, made], [made], [holder], [weakref.ref(holder)]):
            data = weakreduce.dumps(root, host=host, protocol=protocol)
            copy = weakreduce.loads(data, host=host)[0]
            copy = copy() if type(copy) is weakref.ref else copy
            found = copy if type(copy) is Child else copy.given[0]
            gc.collect()
            assert (found.strong[0].tag, found.strong[0].given) == ("tag", [found])
            assert all(getattr(found, each)() is found.strong[0] for each in names[:-1] if (
                each != "strong"))  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_link_in_the_list_that_its_referent_is_made_from(host: Any) -> None:
    made = afresh(Afresh)
    made.given = [weakref.ref(made), weakref.ref(made, print)]
    copy = weakreduce.loads(weakreduce.dumps(made, host=host), host=host)
    assert [each() for each in copy.given] == [copy, copy]


JOBS = """
import base64, subprocess, sys, weakref
import cloudpickle, weakreduce
class Job:
    live = []
    def __init__(self):
        self.number = 1
        Job.live.append(weakref.ref(self))
    def __setstate__(self, state):
        self.ready = True
class Other:
    pass
job, other = Job(), Other()
ref = Job.live[0]
later = weakref.ref(other)  # than another weak thing
for name, root in {"job": job, "[0]": [job, ref], "[1]": [ref, job], "[-1]": [Job, job],
                   "[2]": [other, later, job], "[3]": [other, later, Job, job]}.items():
    data = base64.b64encode(cloudpickle.dumps(root))
    code = f"import pickle, base64; found = pickle.loads(base64.b64decode({data!r})); "
    code += "print(hasattr(found" + ("" if name == "job" else name) + ", 'ready'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    print(done.stdout, end="")
"""


def test_a_state_is_put_in_by_the_class_s_own_code_in_every_order() -> None:
    """The class is by value, holds its instance weakly, and is met by way of that."""
    assert programs.run(JOBS).split() == ["True"] * 6
