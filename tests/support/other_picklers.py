"""What each pickler is asked: the hosts' own by the core's tests, those of engines by theirs."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import weakref
from typing import Any

import things

import weakreduce

#: Prints each payload, or the error, of a list of objects; given a host, and whose dumps.
SENDER = """
import importlib, sys, types, unittest.mock, weakref
host = importlib.import_module(sys.argv[1])
if sys.argv[2] == "ours":
    import weakreduce

class Lazy:
    def __init__(self, target): self.__dict__["target"] = target
    @property
    def __class__(self): return type(self.__dict__["target"])
    def __getattr__(self, name): return getattr(self.__dict__["target"], name)
    def __call__(self, *args): return self.__dict__["target"](*args)
    def __reduce_ex__(self, protocol): raise NotImplementedError("no pickle of a proxy")
class Bare(Lazy):
    __reduce_ex__ = object.__reduce_ex__
class Slots:
    __slots__ = ("target",)
    def __init__(self, target): self.target = target
    def __getattribute__(self, name):
        return getattr(object.__getattribute__(self, "target"), name)
class Raises:
    @property
    def __class__(self): raise RuntimeError("nobody asks for my class")
class HasNone:
    @property
    def __class__(self): raise AttributeError("no class")
class Counts:
    asked = 0
    @property
    def __class__(self): return int
    def __reduce__(self):
        Counts.asked += 1
        return list, ([Counts.asked],)
class FromList(list):
    @property
    def __class__(self): return types.FunctionType
class Sub(Lazy): pass

def plus(x): return x + 1
class K:
    def method(self): return 1
lazy, lazy_class, lazy_module = Lazy(plus), Lazy(K), Lazy(types)
count = Counts()
mock = unittest.mock
for make in (
    lambda: (lambda: lazy(3)), lambda: (lambda: lazy_class()), lambda: [lazy], lambda: lazy_class,
    lambda: lazy_module, lambda: Bare(plus), lambda: [Bare(3), Bare(K)], lambda: Slots(plus),
    lambda: Slots(K), lambda: Sub(plus), lambda: Raises(), lambda: [Raises()], lambda: HasNone(),
    lambda: [Counts(), Counts()], lambda: [count, count], lambda: FromList(),
    lambda: mock.Mock(spec=plus), lambda: mock.Mock(spec=K), lambda: mock.sentinel.name,
    lambda: {"lazy": Lazy(plus), "list": [Lazy(plus), plus]}, lambda: Lazy(len), lambda: Lazy(K()),
    lambda: (lambda: Raises), lambda: Lazy(lambda: 1), lambda: K().method,
):
    try: said = len(host.dumps(make()))
    except Exception as error: said = f"{type(error).__name__}: {error}"
    print(str(said).partition(" at 0x")[0], Counts.asked)
"""


def buffer() -> pickle.PickleBuffer:
    return pickle.PickleBuffer(bytearray(b"abc"))


def check_buffers(make_pickler: Any, uninstalled: bool) -> None:
    """Every buffer goes to the callback once, given how a pickler is made for a file and it."""
    buffers: list[Any] = []
    file = io.BytesIO()
    pickler = make_pickler(file, buffers.append)
    if uninstalled:
        weakreduce.uninstall()
    try:
        for obj in (buffer(), [buffer(), things.Thing()]):
            before = file.tell()
            pickler.dump(obj)
            assert pickle.loads(file.getvalue()[before:], buffers=buffers[-1:])
    finally:
        weakreduce.install()
    assert len(buffers) == 2
    thing = things.Thing()
    pickler.dump([buffer(), weakref.ref(thing), thing])
    assert len(buffers) == 3


def check_nothing_changes(host: str) -> None:
    """What `SENDER` says of a host is the same with weakreduce and without."""
    said = [
        subprocess.run([sys.executable, "-W", "ignore", "-c", SENDER, host, whose],
                       capture_output=True, text=True, check=True).stdout
        for whose in ("stock", "ours")
    ]  # fmt: skip
    assert said[0].splitlines() == said[1].splitlines()
    assert said[0].count("\n") == 25
