"""Other plugins of pickle, and what libraries and the language make: foreign to us, and welcome.

`foreign.py` makes them, in processes of its own. Without a weak thing the host gives the bytes, or
the error, that it gives without weakreduce; with weak things in them, a bare interpreter loads what
it should. What subclasses of a Pickler do is in `test_picklers_of_others.py`.
"""

from __future__ import annotations

import copyreg
import io
import json
import os
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import foreign
import gaps
import numpy as np
import programs
import pytest
from circles_loaded import received
from foreign import IS_ABOUT, Thing, about

import weakreduce

#: Cases in which a class by value holds the weak thing.
OF_CLASSES = {"instances_of_what_is_abstract", "instances_of_what_is_generic",
              "what_an_enum_looks_up", "classes_that_a_metaclass_keeps"}  # fmt: skip
#: Cases that dill itself loses: it writes type variables and enums of a script as names.
NOT_BY_DILL = {
    "in_classes_of_every_sort", "instances_of_what_is_generic", "of_members_of_enums",
    "what_an_enum_looks_up", "classes_that_a_metaclass_keeps", "of_an_alias",
}  # fmt: skip


def written(host: str, whose: str, folder: Path) -> dict[str, Any]:
    """What `foreign.py` wrote: with classes by value, where the host can write those."""
    program = ["-c", "import foreign, sys; foreign.main(*sys.argv[1:])"]
    script = program if host == "pickle" else [str(Path(foreign.__file__))]
    # From 3.13 on a class has a tuple of names that are in the order of their hashes.
    environment = programs.environment(WEAKREDUCE_INSTALL="1", PYTHONHASHSEED="1")
    subprocess.run(
        [sys.executable, "-W", "ignore", *script, host, whose, str(folder)],
        check=True, timeout=300, env=environment,
    )  # fmt: skip
    return json.loads((folder / "expected.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.needs("tblib")
@pytest.mark.parametrize("whose", ["first", "last"])
@pytest.mark.parametrize("host", [*gaps.BY_VALUE, "pickle"])
def test_what_others_make(host: str, whose: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Whether weakreduce is imported before the other plugins, or after them."""
    stock = written(host, "stock", tmp_path)[""]
    expected = written(host, whose, tmp_path)
    assert expected.pop("") == stock
    assert len(expected) >= 14
    left_out = {"pickle": OF_CLASSES, "dill": NOT_BY_DILL}.get(host, set())
    expected = {case: found for case, found in expected.items() if case not in left_out}
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(programs.FOLDERS))
    assert received(host, tmp_path) == []


class Handle(Thing):
    """What hooks reduce, to something that holds weak things."""


def made(held: Any) -> Handle:
    return Handle(about=held)


def reduced(handle: Any) -> Any:
    return made, (handle.about,)


def with_hook(base: Any, hook: str) -> Any:
    table = {**getattr(base, "dispatch_table", copyreg.dispatch_table), Handle: reduced}
    if hook == "reducer_override":

        class Pickler(base):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                if type(obj) is Handle:
                    return reduced(obj)
                found = getattr(super(), "reducer_override", None)
                return NotImplemented if found is None else found(obj)

    elif hook == "dispatch_table of the class":

        class Pickler(base):  # type: ignore[misc,no-redef]
            dispatch_table = table

    elif hook == "dispatch_table of the pickler":

        class Pickler(base):  # type: ignore[misc,no-redef]
            def __init__(self, *given: Any) -> None:
                self.dispatch_table = table  # a C pickler looks for it in its __init__
                super().__init__(*given)

    else:

        class Pickler(base):  # type: ignore[misc,no-redef]
            def persistent_id(self, obj: Any) -> Any:
                return "handle" if type(obj) is Handle else None

    return Pickler


HANDLE = Handle()


class Unpickler(pickle.Unpickler):
    def persistent_load(self, name: Any) -> Any:
        return HANDLE


HOOKS = ["reducer_override", "dispatch_table of the class", "dispatch_table of the pickler"]


@pytest.mark.parametrize("hook", [*HOOKS, "persistent_id"])
@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
def test_what_hooks_give(host: str, hook: str) -> None:
    """Weak things in what a hook gives, and in another order; without them, the stock's bytes."""
    cls = with_hook(__import__(host).Pickler, hook)

    def sent(root: Any) -> bytes:
        file = io.BytesIO()
        cls(file, 4).dump(root)
        return file.getvalue()

    thing = Thing()
    handle = Handle(about=about(thing))
    if hook == "persistent_id":
        loads = [Unpickler(io.BytesIO(sent([w, handle]))).load() for w in [about(handle)]]
        pairs = [(x, w) for w, x in loads]
        assert pairs[0][0] is HANDLE
    else:
        orders = ([thing, handle], [handle, thing], [handle.about, handle, thing])
        loads = [pickle.loads(sent(root)) for root in orders]
        pairs = [(load[0], load[1].about) for load in loads[:1]]
        pairs += [(load[-1], load[-2].about) for load in loads[1:]]
    for x, w in pairs:
        assert eval(IS_ABOUT, {"x": x, "w": w})
    plain = [Handle(about=[1, "text"]), Thing(part=Thing())]
    ours = sent(plain)
    weakreduce.uninstall()
    try:
        assert sent(plain) == ours
    finally:
        weakreduce.install()


@pytest.mark.parametrize("host", ["cloudpickle", "pickle"])  # dill writes arrays in its own way
def test_arrays_out_of_band(host: str) -> None:
    """A buffer for each array that travels, in the order of the payload."""
    inside, outside = np.arange(1000.0), np.ones(500)
    root = [weakref.ref(inside), weakref.WeakValueDictionary(a=inside, b=outside), inside]
    for policy, lengths in (("snapshot", {8000, 4000}), ("dangle", {8000})):
        buffers: list[Any] = []
        data = weakreduce.dumps(
            root, host=host, policy=policy, protocol=5, buffer_callback=buffers.append
        )
        assert {len(buffer.raw()) for buffer in buffers} == lengths
        assert len(buffers) == len(lengths)
        reference, values, array = weakreduce.loads(data, host=host, buffers=buffers)
        assert reference() is array is values["a"]
        assert not array.flags.owndata
        assert [*values] == ["a", "b"][: len(lengths)]
        assert all(np.array_equal(value, root[1][key]) for key, value in values.items())


@pytest.mark.parametrize("host", ["cloudpickle", "pickle"])
def test_arrays_alone(host: str) -> None:
    """Bytes and buffers of arrays are those of the host."""
    module: Any = __import__(host)

    def sent() -> Any:
        buffers: list[Any] = []
        data = module.dumps(
            [np.arange(3), Thing(a=np.zeros((2, 2), order="F")), np.array(["text", None])],
            protocol=5, buffer_callback=buffers.append,
        )  # fmt: skip
        return data, [bytes(buffer.raw()) for buffer in buffers]

    ours = sent()
    weakreduce.uninstall()
    try:
        assert sent() == ours
    finally:
        weakreduce.install()


def test_a_policy_takes_numbers_of_numpy() -> None:
    plain = weakreduce.Policy(max_snapshot_bytes=5)
    for limit in (np.int64(5), np.uint8(5)):
        policy = weakreduce.Policy(max_snapshot_bytes=limit)  # type: ignore[arg-type]
        assert policy == plain
        assert repr(policy) == repr(plain)


def test_modules_by_value(tmp_path: Path) -> None:
    """`cloudpickle.register_pickle_by_value`: a registry travels with the module's class."""
    (tmp_path / "by_value.py").write_text(
        "import weakref\n"
        "class Part:\n"
        "    parts = weakref.WeakValueDictionary()\n"
        "    def __init__(self, name):\n"
        "        self.name = name\n"
        "        Part.parts[name] = self\n"
        "def find(name): return Part.parts.get(name)\n"
    )
    sender = """
import sys, cloudpickle, weakreduce
sys.path.insert(0, sys.argv[1])
import by_value
parts = [by_value.Part("one"), by_value.Part("two")]
by_name = cloudpickle.dumps([parts[0], by_value.find])
assert b"WeakValueDictionary" not in by_name
cloudpickle.register_pickle_by_value(by_value)
with open(f"{sys.argv[1]}/payload", "wb") as file:
    cloudpickle.dump([parts[0], by_value.find], file)
cloudpickle.unregister_pickle_by_value(by_value)
assert cloudpickle.dumps([parts[0], by_value.find]) == by_name
"""
    receiver = """
import pickle, sys
part, find = pickle.load(open(f"{sys.argv[1]}/payload", "rb"))
assert find("one") is part
assert find("two").name == "two"
assert type(part).parts.get("one") is part
assert not {"weakreduce", "by_value"} & set(sys.modules)
"""
    programs.run(sender, str(tmp_path))
    programs.run(receiver, str(tmp_path), WEAKREDUCE_INSTALL="0")
