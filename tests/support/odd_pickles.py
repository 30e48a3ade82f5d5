"""Odd pickles: damaged ones, random ones, and those made to keep a reader busy."""

from __future__ import annotations

import pickle
import random
import struct
from collections.abc import Iterator
from typing import Final

#: A cycle of max() calls, made by appending to a call's arguments.
CYCLE: Final = (
    b"\x80\x04cbuiltins\nmax\n]r\x00\x00\x00\x000(j\x00\x00\x00\x00tRr\x01\x00\x00\x000"
    b"j\x00\x00\x00\x00j\x01\x00\x00\x00a0j\x01\x00\x00\x00)R."
)
_NAMES: Final = [
    "weakref ref", "weakref ReferenceType", "weakref WeakMethod", "weakref proxy",
    "weakref KeyedRef", "_weakrefset WeakSet", "weakref WeakValueDictionary",
    "weakref WeakKeyDictionary", "weakref finalize", "weakref WeakSet.__init__",
    "builtins getattr", "builtins setattr", "builtins max", "builtins map", "builtins zip",
    "builtins list", "builtins set", "builtins dict", "builtins set.update", "builtins int",
    "builtins object.__new__", "operator itemgetter", "operator getitem", "operator ior",
    "functools partial", "types MethodType", "weakreduce.wire shared", "dill._dill _load_type",
    "dill._dill _create_weakref", "_codecs encode", "pickle loads", "importlib import_module",
    "a b", "\x1b[31m \x07",
]  # fmt: skip
_TEXTS: Final = ["data", "_remove", "__get__", "update", "latin1", "ref", "x", "PartialType", ""]


def _text(choose: random.Random) -> bytes:
    text = choose.choice(_TEXTS).encode()
    return b"\x8c" + bytes([len(text)]) + text


def _bytes(choose: random.Random) -> bytes:
    data = choose.choice([b"", b"N.", b"\x80\x04N.", b"\x80\x04]", b"\x80\x04N..", bytes(300)])
    return b"B" + struct.pack("<I", len(data)) + data


def _global(choose: random.Random) -> bytes:
    module, _, name = choose.choice(_NAMES).partition(" ")
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def generated(choose: random.Random, length: int, names: bool = True) -> bytes:
    """A pickle of random opcodes, most of which find what they need."""
    made = [b"\x80" + bytes([choose.choice([2, 4, 4, 5])])]
    depth, marks, memo = 0, [], 0
    for _ in range(length):
        kind = choose.randrange(15 if names else 10)
        room = depth - (marks[-1] if marks else 0)
        if kind < 3 or room == 0:
            made.append(choose.choice([
                b"N", b"]", b")", b"}", b"\x8f", b"K\x00", b"K\x01", b"\x88", _text(choose),
                _bytes(choose), b"I5\n", b"L7L\n", b"F1.5\n", b"Vab\n", b"S'ab'\n", b"J\0\0\0\0",
                b"\x8a\x01\x05", b"G\0\0\0\0\0\0\0\0", b"M\x01\x01", b"U\x02ab",
            ]))  # fmt: skip
            depth += 1
        elif kind == 3:
            made.append(b"\x94")
            memo += 1
        elif kind == 4 and memo:
            made.append(b"h" + bytes([choose.randrange(min(memo, 256))]))
            depth += 1
        elif kind == 5:
            made.append(b"(")
            marks.append(depth)
        elif kind == 6 and marks:
            made.append(choose.choice([b"t", b"l", b"\x91"] + [b"d"] * (room % 2 == 0)))
            depth = marks.pop() + 1
        elif kind == 7 and marks and marks[-1] - (marks[-2] if len(marks) > 1 else 0) > 0:
            made.append(choose.choice([b"e", b"\x90", b"1"] + [b"u"] * (room % 2 == 0)))
            depth = marks.pop()
        elif kind == 8:
            count = choose.randint(1, min(room, 3))
            made.append([b"\x85", b"\x86", b"\x87"][count - 1])
            depth -= count - 1
        elif kind == 9 and room > 1:
            made.append(choose.choice([b"a", b"0"]))
            depth -= 1
        elif kind == 10 and room > 1:
            made.append(choose.choice([b"R", b"R", b"\x81", b"b"]))
            depth -= 1
        elif kind > 10:
            made.append(_global(choose))
            depth += 1
            if memo and choose.random() < 0.6:
                # A call with what is there.
                first = b"h" + bytes([choose.randrange(min(memo, 256))])
                made.append(b"(" + first + _text(choose) + b"tR")
    made += [b"1" * len(marks), b"N."]
    return b"".join(made)


def damaged(choose: random.Random, whole: bytes) -> bytes:
    """A pickle with a few bytes changed, taken out, put in or doubled, or cut."""
    data = bytearray(whole)
    for _ in range(choose.choice([1, 1, 1, 2, 5])):
        at = choose.randrange(len(data) + 1)
        end = min(at + choose.choice([1, 1, 2, 5, 40]), len(data))
        how = choose.randrange(5)
        if how == 0:
            data[at:end] = choose.randbytes(end - at)
        elif how == 1:
            del data[at:end]
        elif how == 2:
            data[at:at] = data[at:end] * choose.choice([1, 2, 50])
        elif how == 3:
            data[at:at] = choose.randbytes(choose.randint(1, 9))
        elif choose.random() < 0.3:
            del data[at:]
    return bytes(data)


def _named(module: str, name: str, number: int) -> bytes:
    return f"c{module}\n{name}\nq".encode() + bytes([number]) + b"0"


def hard(size: int) -> Iterator[tuple[str, bytes]]:
    """Files of about `size` bytes, each of a shape that some way of reading stumbles over."""
    yield "cycle", CYCLE
    head = b"\x80\x04"
    for unit in (
        b"]", b")", b"N", b"(", b"2", b"N0", b"N.", b"].", b"\x80\x04N.", b"]\x94", b"N\x94",
        b"]\x85", b"](", b"(l", b"(d", b"](e", b"]N\x85a", b"K\x01", b"I1\n", b"L1L\n", b"Vabc\n",
        b"\x8c\x05abcde\x94", b"C\x02a.", b"\x82\x01", b"\x97", b"P1\n", b"cos\ngetcwd\n",
        b"\x95\0\0\0\0\0\0\0\0", b"(ios\ngetcwd\n", b"\x80\x04",
    ):  # fmt: skip
        many = unit * (size // len(unit))
        yield f"many {unit!r}", head + b"N" + many + b"0N."
    count = size // 10
    yield "deep list", b"]" * (size // 2) + b"a" * (size // 2 - 1) + b"."
    yield "deep tuple", head + b"N" + b"\x85" * size + b"."
    yield "names", b"".join(b"cm%d\nn\n" % n for n in range(count)) + b"."
    yield "extensions", b"".join(b"\x84" + struct.pack("<i", n) for n in range(1, count)) + b"."
    yield "far memo", b"N" + b"".join(b"r" + struct.pack("<I", 3 * n) for n in range(count)) + b"."
    reference, getter = _named("weakref", "ref", 3), _named("builtins", "getattr", 6)
    yield "references", head + reference + b"]\x94" + b"h\x03]\x85R" * (size // 5) + b"."
    container = _named("weakref", "WeakSet", 1)
    yield "containers", head + container + b"h\x01)R" * (size // 4) + b"."
    one = b"h\x01h\xffh\xff\x86Rq\xff0"
    zips = _named("builtins", "zip", 1) + b"]q\xff0" + one * (size // len(one)) + b"h\xff."
    yield "tree of zip", head + zips
    one = b"\x85\x85q\xff0h\x00h\xffR"
    highest = b"cbuiltins\nmax\nq\x000N" + one * (size // len(one)) + b"."
    yield "chain of max", head + highest
    for start in (b"cos\npath\n", b"]"):
        one = b"h\x06h\xff\x8c\x01x\x86Rq\xff0"
        chain = getter + start + b"q\xff0" + one * (size // len(one)) + b"h\xff."
        yield f"chain of getattr from {start!r}", head + chain
    yield "doubled lists", head + b"]q\xff0" + b"](h\xffh\xffeq\xff0" * (size // 10) + b"h\xff."
    targets = b"]q\x05(" + b"h\x05" * (size // 5) + b"e0"
    known = container + reference + getter + _named("builtins", "map", 2)
    known += _named("builtins", "set.update", 4)
    one = b"h\x01)Rq\x070h\x04h\x06h\x07\x8c\x04data\x86Rh\x02h\x03h\x05h\x05\x87R\x86R0"
    yield "many filled alike", head + targets + known + one * (size // 2 // len(one)) + b"N."
    state = b"}(\x8c\x04data\x8f\x8c\x0a_iterating" + b"N" + b"K\x01N" * (size // 10) + b"uq\x080"
    yield "many built alike", head + known + state + b"h\x01)Rh\x08b0" * (size // 14) + b"N."
    encoder = b"\x80\x02c_codecs\nencode\nq\x010X"
    text = b"\xc2\x80\x04" + b"N" * (size // 2) + b"."
    one = b"h\x01h\x02X\x06\x00\x00\x00latin1\x86R0"
    yield "many encoded", (
        encoder + struct.pack("<I", len(text)) + text + b"q\x020"
        + one * (size // 2 // len(one)) + b"N."
    )  # fmt: skip
    inner = pickle.dumps([1])
    while len(inner) < size // 20:
        inner = pickle.dumps(inner)
    yield "pickle in pickle", inner
    yield "pickles in pickle", pickle.dumps([pickle.dumps(n) for n in range(size // 20)])
    digits = b"9" * size
    numbers = b"I" + digits + b"\n0L" + digits + b"L\n0F" + digits + b"\n0"
    yield "digits", numbers + b"S'" + digits + b"'\n."
    yield "long name", b"c" + b"m" * (size // 2) + b"\n" + b"n" * (size // 2) + b"\n."
    yield "long number", b"\x80\x02\x8b" + struct.pack("<i", size) + b"\xff" * size + b"."
    yield "no number", b"\x80\x02\x8b" + struct.pack("<i", -5) + b"\xff" * 99 + b"."
    yield "long frame", b"\x80\x04\x95" + b"\xff" * 8 + b"N."
    yield "long bytes", b"\x80\x04\x8e" + b"\xff" * 8 + b"N."
    yield "random", random.Random(1).randbytes(size)
    yield "records", pickle.dumps([{"a": n, "b": (n, str(n))} for n in range(size // 25)])
