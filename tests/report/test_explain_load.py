"""`explain_load`: what fails in `loads` fails there, and it says where."""

from __future__ import annotations

import copyreg
import enum
import functools
import io
import json
import pickle
import random
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import cloudpickle
import fuzzing
import pytest
import things

import weakreduce
from weakreduce.core.expressions import Call
from weakreduce.reading.loader import DillLoader, Inner, Loader
from weakreduce.reading.loading import LoadReport, of_file

HOSTS = ["cloudpickle", "dill", "pickle"]
PROTOCOLS = [2, 3, 4, 5]


class Failing(things.Thing):
    """Loads as long as it may."""

    may = True

    def __setstate__(self, state: Any) -> None:
        if not self.may:
            raise ValueError("not here")
        vars(self).update(state)


class Closed(dict[Any, Any]):
    may = True

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.may:
            raise TypeError("Cannot modify ReadOnlyDict")
        super().__setitem__(key, value)


class Hollow:
    """Answers every question with None, as OpenMDAO's problems do."""

    def __getattr__(self, name: str) -> None:
        return None


class Extending(list[Any]):
    def extend(self, items: Any) -> None:
        super().extend(items)


class Slots:
    __slots__ = ("first", "second")


def never(*_arguments: Any) -> Any:
    raise RuntimeError("never")


class Calling:
    def __reduce__(self) -> Any:
        return never, (1, "two", [3])


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Payloads made before it was called do not load after that."""

    def refuse() -> None:
        for cls in (Failing, Closed):
            monkeypatch.setattr(cls, "may", False)

    return refuse


def test_a_load_that_works() -> None:
    report = weakreduce.explain_load(weakreduce.dumps([things.Thing(), {1: (2,)}]))
    assert report == LoadReport(None, None, None)
    assert str(report) == "it loads"
    assert "explain_load" in weakreduce.__all__


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("host", HOSTS)
def test_the_place_of_a_failing_state(host: Any, protocol: int, refusing: Any) -> None:
    obj = things.Thing(jobs=[0, {"last": (1, Failing(size=3))}])
    obj.me = weakref.ref(obj)
    data = weakreduce.dumps({"it": obj}, host=host, protocol=protocol)
    assert weakreduce.explain_load(data, host=host) == LoadReport()
    refusing()
    report = weakreduce.explain_load(data, host=host)
    assert report.error == "ValueError: not here"
    assert report.path == "root['it'].jobs[1]['last'][1]"
    assert report.call is not None
    assert report.call.endswith("Failing.__setstate__({'name': 'thing', 'size': 3})")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_dict_that_refuses_items(protocol: int, refusing: Any) -> None:
    data = pickle.dumps([things.Thing(mesh=Closed({"at": things.Thing()}))], protocol)
    refusing()
    report = weakreduce.explain_load(data)
    assert (report.error, report.path) == ("TypeError: Cannot modify ReadOnlyDict", "root[0].mesh")
    assert report.call is not None and report.call.endswith("Closed.__setitem__('at', <Thing>)")


def test_what_answers_none_to_every_question() -> None:
    hollow = Hollow()
    hollow.size = 3
    report = weakreduce.explain_load(pickle.dumps({"problem": hollow}, 5))
    assert report.error == "TypeError: 'NoneType' object is not callable"
    assert report.path == "root['problem']"
    assert report.call is not None and "Hollow.__setstate__({'size': 3})" in report.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_calls_and_names(protocol: int) -> None:
    data = pickle.dumps({"a": {Calling()}}, protocol)
    report = weakreduce.explain_load(data)
    assert report.error == "RuntimeError: never"
    assert report.path == "list(root['a'])[0]"
    assert report.call is not None and report.call.endswith("never(1, 'two', [3])")
    data = pickle.dumps([things.Thing()], protocol).replace(b"Thing", b"Thong")
    report = weakreduce.explain_load(data)
    assert report.error is not None and "Thong" in report.error
    assert (report.path, report.call) == ("root[0]", "from things import Thong")


def test_paths_where_weak_things_rearrange_the_payload(refusing: Any) -> None:
    """A snapshot's copy is finished after the root, which is then an item of a list."""
    outer = Failing(held=[Closed(a=1)])
    root = [1, things.Thing(outer=weakref.ref(outer))]
    data = weakreduce.dumps(root, host="pickle")
    Closed.may = True
    refusing()
    report = weakreduce.explain_load(data)
    assert report.error is not None
    assert report.path is not None and report.path.startswith("root[1].outer()")


@pytest.mark.parametrize("bound", [False, True])
def test_pickles_inside_pickles(bound: bool, refusing: Any) -> None:
    held = {"task": [Failing()]}
    inner = weakreduce.bind(held) if bound else held
    data = cloudpickle.dumps(("first", inner))
    refusing()
    report = weakreduce.explain_load(data)
    assert (report.error, report.path) == ("ValueError: not here", "root[1]['task'][0]")


def test_what_is_cut_short() -> None:
    data = pickle.dumps({"first": 1, "rest": [1, 2, {"deep": "text"}]}, 3)
    for end in range(len(data)):
        report = weakreduce.explain_load(data[:end])
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            pickle.loads(data[:end])
        assert report.error is not None and report.error.startswith(("EOFError", "Unpickling"))
    end = data.index(b"text")
    assert weakreduce.explain_load(data[:end]).path == "root['rest'][2]['deep']"


def test_persistent_ids_buffers_and_extensions() -> None:
    class Persistent(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return "it" if type(obj) is things.Thing else None

    file = io.BytesIO()
    Persistent(file).dump({"far": things.Thing()})
    report = weakreduce.explain_load(file.getvalue())
    assert report.error is not None and "persistent" in report.error
    assert (report.path, report.call) == ("root['far']", "persistent_load('it')")
    buffers: list[Any] = []
    data = pickle.dumps([pickle.PickleBuffer(b"out of band")], 5, buffer_callback=buffers.append)
    report = weakreduce.explain_load(data)
    assert (report.path, report.error is None) == ("root[0]", False)
    assert weakreduce.explain_load(data, buffers=[]).error is not None
    assert weakreduce.explain_load(data, buffers=buffers) == LoadReport()
    copyreg.add_extension("things", "Thing", 0x7654)
    try:
        data = pickle.dumps([1, things.Thing()], 2)
        assert weakreduce.explain_load(data) == LoadReport()
    finally:
        copyreg.remove_extension("things", "Thing", 0x7654)
        vars(copyreg)["_extension_cache"].clear()
    report = weakreduce.explain_load(data)
    assert report.error == "ValueError: unregistered extension code 30292"
    assert (report.path, report.call) == ("root[1]", "copyreg extension 30292")


def test_what_is_used_up_on_the_way() -> None:
    """An object that is popped, and not in what is built."""
    data = b"]" + b"c" + __name__.encode() + b"\nnever\n)R0."
    report = weakreduce.explain_load(data)
    assert (report.error, report.path) == ("RuntimeError: never", "root[0]")


def put_in(obj: Any, state: Any) -> None:
    if state == "refused":
        raise ValueError("not here")
    vars(obj).update(state=state)


class PutIn(things.Thing):
    """Has its state put in by a function, as what cloudpickle writes by value has."""

    def __reduce__(self) -> Any:
        return things.Thing, (), self.size, None, None, put_in


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_state_that_a_function_puts_in(protocol: int) -> None:
    refused = PutIn(size="refused")
    for obj, path in (
        (refused, "root"),
        ([1, {"a": refused}], "root[1]['a']"),
        ((refused, 2), "root[0]"),
        ([0, PutIn(size=[1, refused])], "root[1].__getstate__()[1]"),
    ):
        report = weakreduce.explain_load(pickle.dumps(obj, protocol))
        assert (report.error, report.path) == ("ValueError: not here", path)
        assert report.call is not None and report.call.endswith("put_in(<Thing>, 'refused')")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_function_by_value_holds(protocol: int) -> None:
    names = {"held": things.Thing()}
    source = "def default(it=held): pass\ndef uses(): return held\ndef has(): pass"
    exec(source, names)
    names["has"].it = [names["held"]]
    for name, path in (
        ("default", "root['task'][0].__defaults__[0]"),
        ("uses", "root['task'][0].__globals__['held']"),
        ("has", "root['task'][0].it[0]"),
    ):
        data = cloudpickle.dumps({"task": [names[name]]}, protocol=protocol)
        report = weakreduce.explain_load(data.replace(b"things", b"thongs"))
        assert report.error == "ModuleNotFoundError: No module named 'thongs'"
        assert report.path == path
    data = cloudpickle.dumps({"task": [names["uses"]]}, protocol=protocol)
    assert weakreduce.explain_load(data) == LoadReport()


def classes_by_value() -> Iterator[tuple[Any, str]]:
    """What holds a `Failing`, and the path to that."""
    held = Failing()

    class Meta(type):
        pass

    class Base:
        pass

    class Made(Base, metaclass=Meta):
        def method(self, it: Any = held) -> None: ...

        @staticmethod
        def static(it: Any = held) -> None: ...

        @property
        def computed(self, it: Any = held) -> None: ...

        def keyword(self, *, it: Any = held) -> None: ...

        def closing(self) -> Any:
            return held

    class Choice(enum.Enum):
        ONE = 1

    methods = {
        "method": "__defaults__[0]", "static": "__defaults__[0]",
        "computed": "fget.__defaults__[0]", "keyword": "__kwdefaults__['it']",
        "closing": "__closure__[0].cell_contents",
    }  # fmt: skip
    functions = {name: vars(Made)[name] for name in methods}
    for name in methods:
        delattr(Made, name)
    yield from holding(Made, "it", held, Made(), "")
    yield from holding(Base, "it", held, Made(), ".__bases__[0]")
    yield from holding(Choice, "it", held, Choice.ONE, "")
    Meta.it = held  # type: ignore[attr-defined]
    yield [Made()], "type(type(root[0])).it"
    del Meta.it  # type: ignore[attr-defined]
    for name, rest in methods.items():
        setattr(Made, name, functions[name])
        yield [Made()], f"type(root[0]).{name}.{rest}"
        delattr(Made, name)
    weak = Made()
    Made.weak, Made.it = weakref.WeakSet([weak]), held  # type: ignore[attr-defined]
    yield [weak], "type(root[0]).it"
    yield [weakref.ref(weak)], "type(root[0]()).it"


def holding(cls: Any, name: str, held: Any, one: Any, rest: str) -> Iterator[tuple[Any, str]]:
    """An attribute of a class, as it is and inside a list, by an instance and the class itself."""
    for value, inside in ((held, ""), ([1, held], "[1]")):
        setattr(cls, name, value)
        yield {"one": one}, f"type(root['one']){rest}.{name}{inside}"
        yield [type(one)], f"root[0]{rest}.{name}{inside}"
        delattr(cls, name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_class_by_value_holds(protocol: int, refusing: Any) -> None:
    """Its instances do not: a reader can evaluate the path, and finds the very object."""
    count = 0
    for obj, path in classes_by_value():
        assert isinstance(eval(path, {"root": obj}), Failing), path
        data = cloudpickle.dumps(obj, protocol=protocol)
        Failing.may = False
        assert weakreduce.explain_load(data).path == path
        Failing.may = True
        count += 1
    assert count == 20


class Pair(NamedTuple):
    first: Any
    second: Any


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_paths_into_arguments_are_of_the_object(protocol: int, refusing: Any) -> None:
    for obj, path in (
        (Pair(1, [Failing()]), "root.__getnewargs__()[1][0]"),
        (functools.partial(print, 1, Failing()), "root.args[1]"),
        (functools.partial(print, end=Failing()), "root.keywords['end']"),
        (ValueError(1, Failing()), "root.__reduce__()[1][1]"),
    ):
        assert isinstance(eval(path, {"root": obj}), Failing)
        data = pickle.dumps(obj, protocol)
        Failing.may = False
        assert weakreduce.explain_load(data).path == path
        Failing.may = True


class Leaving:
    def __reduce__(self) -> Any:
        return sys.exit, (0,)


def test_a_payload_that_leaves_the_interpreter(tmp_path: Any) -> None:
    data = pickle.dumps([1, Leaving()])
    found = LoadReport("SystemExit: 0", "root[1]", "sys.exit(0)")
    assert weakreduce.explain_load(data) == found
    inside = weakreduce.explain_load(cloudpickle.dumps([weakreduce.bind([1, Leaving()])]))
    assert (inside.error, inside.call) == (found.error, found.call)
    data = b"csys\nexit\n(I0\ntR."
    (tmp_path / "leaving.pkl").write_bytes(data)
    done = run("explain-load", "leaving.pkl", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, b"SystemExit: 0")


@pytest.mark.parametrize("how", ["GeneratorExit", "type('Own', (BaseException,), {})"])
def test_a_payload_that_raises_what_is_no_exception(how: str, tmp_path: Any) -> None:
    data = f"cbuiltins\nexec\n(S'raise {how}'\ntR.".replace("S'", 'S"').replace("'\nt", '"\nt')
    found = weakreduce.explain_load(data.encode())
    assert found.error is not None
    assert found.error.split(":")[0] in ("GeneratorExit", "Own")
    assert found.path == "root"
    (tmp_path / "raising.pkl").write_bytes(data.encode())
    done = run("explain-load", "raising.pkl", cwd=tmp_path)
    assert (done.returncode, b"Traceback" in done.stdout + done.stderr) == (1, False)


def test_an_interrupt_is_no_answer() -> None:
    data = b"cbuiltins\nexec\n(S'raise KeyboardInterrupt'\ntR."
    with pytest.raises(KeyboardInterrupt):
        weakreduce.explain_load(data)
    inside = b"cpickle\nloads\n(" + pickle.dumps(data, 3)[2:-1] + b"tR."
    with pytest.raises(KeyboardInterrupt):
        weakreduce.explain_load(b"\x80\x03" + inside)


def test_encodings() -> None:
    report = weakreduce.explain_load(b"]U\x01\xffa.")
    assert report.error is not None and report.error.startswith("UnicodeDecodeError")
    assert report.path is None or report.path == "root[0]"


def test_what_is_no_payload() -> None:
    with pytest.raises(ValueError, match="host is one of"):
        weakreduce.explain_load(b"N.", host="other")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        weakreduce.explain_load("N.")
    assert weakreduce.explain_load(bytearray(b"N.")) == LoadReport()
    assert weakreduce.explain_load(memoryview(b"N.")) == LoadReport()
    assert weakreduce.explain_load(b"").error == "EOFError: Ran out of input"


def seeds() -> list[bytes]:
    slots = Slots()
    slots.first, slots.second = 1, [slots]
    objects: list[Any] = [
        [1, 2.5, -3, 10**30, True, None, "é", b"xy"],
        Closed(a=1),
        Extending([1, (2,)]),
        slots,
        {1: {2: (3, 4, 5, 6)}},
        {7, 8},
        frozenset([9]),
        [things.Thing(), slots, slots],
    ]
    made = [pickle.dumps(obj, protocol) for obj in objects for protocol in PROTOCOLS]
    slots_class = b"\x80\x02c" + __name__.encode() + b"\nSlots\n"
    by_hand = [
        b"I1\x00x\n.", b"I\x00\n.", b"I+\x00\n.", b"F1\x00x\n.", b"F\x00\n.",
        b"I010\n.", b"F1_0\n.", b"F 1\n.", b"I\n.", b"V\n.", b"S'a'\n.", b"S'a\n.",
        b"U\x01\xff.", b"}]b.", b"]]b.", b"N(b.", b"]K\x01a.", b"(]K\x01a.", b"]((K\x01e.",
        b"}(K\x01u.", b"}K\x01\x85K\x02s.", b"}]K\x02s.", b"\x8f(]\x90.", b"]]R.", b"0.",
        b"(0N.", b"N2.", b"1.", b"(K\x01d.", b"(K\x01K\x02d.", b"\x80\x06N.", b"h\x05.",
        b"g5\n.", b"p-1\n.", b"\x8b\xff\xff\xff\xff.",
        b"\x95\x02\x00\x00\x00\x00\x00\x00\x00K\x01K\x02.",
        b"\x95\x09\x00\x00\x00\x00\x00\x00\x00N.",
        b"\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x01\x00\x00\x00\x00\x00\x00\x00N.",
        b"\x95\x03\x00\x00\x00\x00\x00\x00\x00N\x95\x01\x00\x00\x00\x00\x00\x00\x00.NN",
        b"\x95\x01\x00\x00\x00\x00\x00\x00\x00N\x95\x01\x00\x00\x00\x00\x00\x00\x00.",
        b"\x95\x02\x00\x00\x00\x00\x00\x00\x00I1\n.", b"\x95\x01\x00\x00\x00\x00\x00\x00\x00K\x01.",
        b"\x95\x04\x00\x00\x00\x00\x00\x00\x00X\x02\x00\x00\x00ab.",
        slots_class + b")\x81}]\x86b.", slots_class + b")\x81NN\x86b.",
        slots_class + b")\x81N}\x86b.", slots_class + b"]\x81.", slots_class + b")}\x92.",
        slots_class + b"))\x92.", b")N\x81.", slots_class + b")\x81]b.",
        slots_class + b")\x81}b.", b"(iweakref\nref\n.", b"(cthings\nThing\no.", b"(o.",
        b"cthings\n\n.", b"c\nThing\n.", b"\x82\x01.", b"\x84\x00\x00\x00\x00.", b"\x97.",
        b"\x98.", b"P1\n.", b"K\x01Q.", b"\x93.", b"K\x01K\x02\x93.", b"\xff.", b"C\x05ab.",
        b"X\x05\x00\x00\x00ab.",
    ]  # fmt: skip
    return made + by_hand


def outcome(load: Any) -> bool:
    try:
        load()
    except (Exception, Inner):
        return False
    return True


def test_it_fails_where_the_unpickler_in_c_fails() -> None:
    """Also for what no pickler writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = seeds()
        chance = random.Random(15)
        tried = list(known)
        while len(tried) < 1500:
            data = bytearray(chance.choice(known))
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(data) or 1)
                way = chance.randrange(3)
                if way == 0:
                    data[at : at + 1] = chance.choice(
                        b"()]}0125NKabesu\x85\x86\x90\x91\x94R\x81"
                    ).to_bytes()
                elif way == 1:
                    del data[at : at + chance.randint(1, 3)]
                else:
                    data[at:at] = data[at : at + chance.randint(1, 5)]
            tried.append(bytes(data))
        works = 0
        for data in tried:
            if _needs_gigabytes(data):
                continue
            expected = outcome(lambda data=data: pickle.loads(data))
            assert outcome(lambda data=data: Loader(data).load()) == expected, data
            report = weakreduce.explain_load(data)
            assert (report.error is None) == expected, data
            works += expected
        assert 100 < works < 1200


def _needs_gigabytes(data: bytes) -> bool:
    """Whether the C unpickler may make a memo as long as a number in the payload says."""
    return any(
        part[:1] == b"r" and int.from_bytes(part[1:5], "little") > 1_000_000
        for part in fuzzing.opcodes(data)
    )


def test_an_error_is_that_of_the_unpickler_in_c() -> None:
    for data in (b"", b"K", b"]((K\x01e.", b"\xff.", b"h\x05.", b"P1\n.", b"}]b.", b"N)R.",
                 b"F1e999\n.", b"F-1e999\n."):  # fmt: skip
        with pytest.raises(Exception) as raised:  # noqa: PT011
            pickle.loads(data)
        error = weakreduce.explain_load(data).error
        assert error is not None and error.startswith(f"{raised.type.__name__}: "), data
    for data in (b"Finf\n.", b"F-Infinity\n.", b"F1e308\n."):
        assert weakreduce.explain_load(data).error is None
        assert pickle.loads(data) == Loader(data).load()


def run(*arguments: str, **keywords: Any) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "weakreduce", *arguments],
        capture_output=True,
        timeout=120,
        **keywords,
    )


def test_the_command(tmp_path: Any) -> None:
    (tmp_path / "shelf.py").write_text(
        "class Book:\n    def __setstate__(self, state):\n        raise KeyError('no page')\n"
    )
    source = (
        "import pickle, shelf; book = shelf.Book(); book.page = 1\n"
        "pickle.dump({'books': [book]}, open('failing.pkl', 'wb'))\n"
        "pickle.dump({'books': []}, open('good.pkl', 'wb'))\n"
    )
    subprocess.run([sys.executable, "-c", source], cwd=tmp_path, check=True, timeout=120)
    done = run("explain-load", "failing.pkl", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "KeyError: 'no page'"
    assert lines[1:] == ["  at root['books'][0]", "  in shelf.Book.__setstate__({'page': 1})"]
    data = (tmp_path / "failing.pkl").read_bytes()
    done = run("explain-load", "--json", "-", input=data, cwd=tmp_path)
    assert json.loads(done.stdout)["path"] == "root['books'][0]"
    done = run("explain-load", "good.pkl", cwd=tmp_path)
    assert (done.returncode, done.stdout.decode().strip()) == (0, "it loads")
    for arguments in (["nowhere.pkl"], ["--json", "nowhere.pkl"]):
        done = run("explain-load", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"python -m weakreduce explain-load: cannot read nowhere.pkl")
    assert b"RUNS" in run("explain-load", "--help", cwd=tmp_path).stdout
    assert "executes it" in (weakreduce.explain_load.__doc__ or "")


class Growing:
    """Takes items one by one, and not more than it may; it has no ``extend``."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)

    def append(self, item: Any) -> None:
        if len(self.items) == 2:
            raise ValueError("it is full")
        self.items.append(item)

    def __reduce__(self) -> Any:
        return Growing, (), None, iter(self.items)


def test_items_that_are_taken_one_by_one() -> None:
    growing = Growing("a", "b")
    assert weakreduce.explain_load(pickle.dumps([growing])).error is None
    growing.items.append("c")
    report = weakreduce.explain_load(pickle.dumps([growing]))
    assert (report.error, report.path) == ("ValueError: it is full", "root[0]")
    assert report.call is not None and report.call.endswith("Growing.append('c')")


def test_a_pickle_inside_that_loads_is_not_to_blame(refusing: Any) -> None:
    data = cloudpickle.dumps([weakreduce.bind([things.Thing()]), {"last": Failing()}])
    refusing()
    report = weakreduce.explain_load(data)
    assert (report.error, report.path) == ("ValueError: not here", "root[1]['last']")


def test_a_pickle_inside_that_fails_too_deep_for_a_path() -> None:
    deep = 1400
    inner = b"\x80\x04" + b"]" * deep + b"cbuiltins\nint\n(\x8c\x01xtR" + b"a" * deep + b"."
    alone = weakreduce.explain_load(inner)
    assert alone.error == "ValueError: invalid literal for int() with base 10: 'x'"
    assert alone.path is None
    assert weakreduce.explain_load(pickle.dumps([Call(pickle.loads, inner)])) == alone


def test_pickles_inside_pickles_inside_pickles(refusing: Any) -> None:
    inner = weakreduce.bind([1, weakreduce.bind({"task": Failing()})])
    data = cloudpickle.dumps(("first", inner))
    refusing()
    report = weakreduce.explain_load(data)
    assert report.error == "ValueError: not here"
    assert report.call is not None and "Failing.__setstate__" in report.call


class Odd:
    """Can be called, and its name is none."""

    def __call__(self, *arguments: Any) -> Any:
        raise RuntimeError("never")


class CallingOdd:
    def __reduce__(self) -> Any:
        odd: Any = Odd()
        odd.__qualname__ = 3
        return odd, (1,)


def test_what_is_called_may_have_a_name_that_is_none() -> None:
    report = weakreduce.explain_load(pickle.dumps([CallingOdd()]))
    assert report.error == "RuntimeError: never"
    assert report.call is not None and report.call.endswith("Odd(1)")


def test_names_of_dills_own() -> None:
    """Of its session, and of versions before it was a package: no other loader knows them."""
    for name in ("__builtin__\n__main__", "__builtin__\nNoneType", "dill.dill\n_create_type"):
        data = b"c" + name.encode() + b"\n."
        assert weakreduce.explain_load(data, host="dill") == LoadReport()
        assert DillLoader(data).load() is weakreduce.loads(data, host="dill")
        assert weakreduce.explain_load(data).error is not None


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"](e.", []), (b"I01\n.", True), (b"I00\n.", False), (b"I1\n.", 1), (b"c\xff", None)],
)
def test_what_seldom_stands_in_a_payload(data: bytes, expected: Any) -> None:
    try:
        stock, error = pickle.loads(data), None
    except Exception as raised:
        stock, error = None, f"{type(raised).__name__}: {raised}"
    assert stock == expected
    report = weakreduce.explain_load(data)
    assert report.error == error
    if error is None:
        found = Loader(data).load()
        assert (found, type(found)) == (expected, type(expected))


def test_a_report_says_what_it_knows() -> None:
    assert str(LoadReport("TypeError: x", None, "f(1)")) == "TypeError: x\n  in f(1)"
    assert str(LoadReport("TypeError: x", "root", None)) == "TypeError: x\n  at root"


def test_a_file_that_cannot_be_unpacked() -> None:
    report = of_file(b"\x1f\x8b\x08" + bytes(20), "cloudpickle")
    assert (report.number, report.count) == (1, 1)
    assert report.report.error is not None
    assert report.report.error.startswith("UnpicklingError: ")
    assert str(report) == str(report.report)


class Refusing:
    """Its state is not taken."""

    def __init__(self, number: int = 1) -> None:
        self.number = number

    def __setstate__(self, state: Any) -> None:
        raise ValueError("not here")

    def method(self, *_reference: object) -> None: ...


def weak_things(one: Refusing, kept: things.Thing) -> Iterator[tuple[str, Any, str]]:
    """Each kind of them, and the path to what it leads to, as `explain` has it."""
    yield "ref", weakref.ref(one), "{}()"
    yield "proxy", weakref.proxy(one), "{}"
    yield "WeakMethod", weakref.WeakMethod(one.method), "{}().__self__"
    values = weakref.WeakValueDictionary({"first": kept, "key": one, "last": kept})
    yield "WeakValueDictionary", values, "{}['key']"
    yield "WeakKeyDictionary", weakref.WeakKeyDictionary({kept: 1, one: 2}), "{}[<Refusing>]"
    yield "WeakSet", weakref.WeakSet([kept, one]), "{}[<Refusing>]"
    yield "callback", weakref.ref(kept, one.method), "{}.__callback__.__self__"
    yield "callback of a proxy", weakref.proxy(kept, one.method), "gc.get_referents({})[0].__self__"
    yield "value", weakref.WeakKeyDictionary({kept: [one]}), "list({}.values())[0][0]"
    yield "class", weakref.ref(type(kept), one.method), "{}.__callback__.__self__"


@pytest.mark.parametrize("identity", ["copy", "home"])
@pytest.mark.parametrize("host", ["pickle", "cloudpickle", "dill"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_weak_things_lead_to(identity: Any, host: Any, protocol: int) -> None:
    one, kept = Refusing(), things.Thing()
    for name, weak, step in weak_things(one, kept):
        root = {"it": things.Thing(weak=[weak])}
        path = step.format("root['it'].weak[0]")
        with weakreduce.policy(identity=identity):
            data = weakreduce.dumps(root, host=host, protocol=protocol)
            [finding] = [
                each
                for each in weakreduce.explain(root, host=host)
                if each.referent == "Refusing" or name in ("value", "class") or "callback" in name
            ]
        report = weakreduce.explain_load(data)
        assert (report.error, report.path) == ("ValueError: not here", path), name
        if name.startswith("Weak") and name != "WeakMethod":
            assert finding.path == path


def test_weak_things_of_classes_by_value() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("class Local:\n def __setstate__(self, state): raise ValueError('not here')", names)
    one = names["Local"]()
    one.number = 1
    for weak, step in (
        (weakref.WeakSet([one]), "[<Local>]"),
        (weakref.WeakKeyDictionary({one: 1}), "[<Local>]"),
        (weakref.WeakValueDictionary({(1, "a"): one}), "[(1, 'a')]"),
        (weakref.WeakValueDictionary({things.Thing(): one}), None),
    ):
        report = weakreduce.explain_load(cloudpickle.dumps([weak]))
        assert report.path == (f"root[0]{step}" if step else "list(root[0].values())[0]")


def test_names_of_classes_are_text() -> None:
    """A class may be called as it likes."""
    cls = type("{0.__class__}", (Refusing,), {"__module__": "__main__"})
    one = cls()
    report = weakreduce.explain_load(cloudpickle.dumps([weakref.WeakSet([one])]))
    assert report.path == "list(root[0])[0]"
