"""Hostile pickles: files made so that a reader runs out of time, memory or stack.

What `odd_pickles.hard` has repeats one thing as often as a file has room; here each file does much
by few bytes: it claims what is not there, or hands one large object to many small opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import odd_pickles

_HEAD = b"\x80\x04"


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _long_text(length: int) -> bytes:
    return b"X" + struct.pack("<I", length) + b"m" * length


def _name(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"


def _many(count: int, unit: bytes, size: int) -> bytes:
    return unit * max(count, size // len(unit))


def _kept(what: bytes, number: int) -> bytes:
    """Something that the memo has, and the stack does not."""
    return what + b"q" + bytes([number]) + b"0"


def claims() -> Iterator[tuple[str, bytes]]:
    """Lengths, indexes and lines of what is not there: small files."""
    most = b"\xff" * 8
    for code in (b"\x8e", b"\x8d", b"\x96", b"\x95"):
        for length in (
            most,
            b"\xff" * 7 + b"\x7f",
            b"\0" * 5 + b"\1\0\0",
            b"\0\0\0\x40" + bytes(4),
        ):
            yield f"{code!r} of {length!r}", _HEAD + code + length + b"N."
    for code in (b"X", b"B", b"T", b"\x8b"):
        for length in (b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80"):
            yield f"{code!r} of {length!r}", _HEAD + code + length + b"N."
    for code in (b"r", b"j", b"\x84"):
        yield f"{code!r} of much", _HEAD + b"N" + code + b"\xff" * 4 + b"."
        yield f"{code!r} of half", _HEAD + b"N" + code + b"\xff\xff\xff\x7f."
    for number in (b"9" * 19, b"9" * 400, b"-1", b"0x7", b"", b"1_0", b" 7 "):
        yield f"put {number!r}", b"Np" + number + b"\n."
        yield f"get {number!r}", b"Ng" + number + b"\n."
        yield f"both {number!r}", b"Np" + number + b"\n0g" + number + b"\n."
    for code in b"ILFSVPgpci":
        yield f"{chr(code)} without an end", b"N" + bytes([code]) + b"1" * 50
        yield f"{chr(code)} with a zero byte", b"N" + bytes([code]) + b"1\0\n1\0\n."
        yield f"{chr(code)} of bytes", b"N" + bytes([code]) + b"\xff\xfe\n\xff\n."
    for code in range(256):
        one = bytes([code])
        yield f"{one!r} alone", one
        yield f"{one!r} on nothing", one + b"."
        yield f"{one!r} on a mark", b"(" + one + b"."
        yield f"{one!r} of nothing", _HEAD + b"N" + one + b"\0" * 9 + b"."
        yield f"{one!r} on numbers", _HEAD + b"(K\1K\2K\3" + one + b"."
        yield f"{one!r} on empty things", _HEAD + b"]})\x8f" + one + b"."


def deep(size: int) -> Iterator[tuple[str, bytes]]:
    """Things in things in things."""
    for name, opened, closed in (
        ("lists", b"]", b"a"), ("marked lists", b"(", b"l"), ("tuples", b"(", b"t"),
        ("sets", b"\x8f(", b"\x90"), ("frozensets", b"(", b"\x91"), ("dicts", b"}K\1", b"s"),
        ("marked dicts", b"(K\1", b"d"),
    ):  # fmt: skip
        count = size // (len(opened) + len(closed))
        yield f"deep {name}", _HEAD + opened * count + b"N" + closed * count + b"."
    for name, unit in (
        ("calls", b"\x85h\0\x8c\1x\x86R"), ("instances", b"\x85h\0N\x86\x81"),
        ("states", b"\x85h\1\x8c\1x\x85Rh\2b"), ("maximums", b"\x85\x85q\xffh\1h\xffR"),
    ):  # fmt: skip
        known = _kept(_name("a", "b"), 0) + _kept(_name("builtins", "max"), 1) + _kept(b"}", 2)
        yield f"deep {name}", _HEAD + known + b"N" + _many(1, unit, size) + b"."
    yield "deep extensions", _HEAD + b"N" + b"\x85\x82\1\x86" * (size // 4) + b"."
    yield "deep persistent ids", b"N" + b"Q" * size + b"."
    wide = b"](" + b"]" * (size // 3) + b"e"
    yield "wide under deep", _HEAD + b"]" * 1500 + wide + b"a" * 1500 + b"."


def bombs(size: int) -> Iterator[tuple[str, bytes]]:
    """Few bytes that mean much: what is large is made once, and used often."""
    half = size // 2
    for name, pair in (
        ("tuples", b"\x86"),
        ("lists", b"\x86q\xff0](h\xffe"),
        ("sets", b"\x86\x85"),
    ):
        unit = b"q\xfe0h\xfeh\xfe" + pair
        yield f"laughs of {name}", _HEAD + b"N" + _many(1, unit, size) + b"."
    yield "laughs of the memo", _HEAD + b"N\x94" + b"".join(
        b"j" + struct.pack("<I", n) + b"2\x86\x94" for n in range(size // 8)
    ) + b"."  # fmt: skip
    arguments = b"(" + b"N" * half + b"t"
    listed = b"(" + b"N" * half + b"l"
    state = (
        b"}("
        + b"".join(b"M" + struct.pack("<H", n % 65536) + b"N" for n in range(half // 4))
        + b"u"
    )
    for module, name in (
        ("weakref", "ref"), ("weakref", "ref.__new__"), ("weakref", "WeakMethod"),
        ("weakref", "WeakSet"), ("weakref", "WeakSet.__init__"), ("weakref", "finalize"),
        ("builtins", "set"), ("builtins", "frozenset"), ("builtins", "list"), ("builtins", "max"),
        ("builtins", "map"), ("builtins", "zip"), ("builtins", "getattr"), ("builtins", "type"),
        ("builtins", "object.__new__"), ("functools", "partial"), ("types", "MethodType"),
        ("collections", "deque"), ("operator", "getitem"), ("_codecs", "encode"),
        ("dill._dill", "_create_weakref"), ("weakreduce.wire", "shared"),
        ("weakreduce.wire", "at_home"), ("weakreduce.wire", "holding"),
        ("builtins", "classmethod.__get__"), ("a", "b"), ("a", "update"), ("pickle", "loads"),
    ):  # fmt: skip
        known = _kept(_name(module, name), 0) + _kept(arguments, 1) + _kept(listed, 2)
        known = _HEAD + known + _kept(b"h\2\x85", 3)
        for how, unit in (
            ("call", b"h\0h\1R0"), ("call with a list", b"h\0h\3R0"), ("instance", b"h\0h\1\x810"),
            ("instance with keywords", b"h\0h\1}\x920"),
        ):  # fmt: skip
            yield f"many times {module}.{name}: {how}", known + _many(1, unit, half) + b"N."
        # The last is in what is built, and so are all that it consists of.
        kept = b"](" + _many(1, b"h\0h\1R", half) + b"e."
        yield f"many kept {module}.{name}", known + kept
        kept = b"](" + _many(1, b"h\0h\3R", half) + b"e."
        yield f"many kept {module}.{name} of a list", known + kept
        kept = b"](" + _many(1, b"h\0)Rh\4b", half) + b"e."
        yield f"many kept {module}.{name} with one state", known + _kept(state, 4) + kept
    # What a weak container is filled with: many have the same fillers, or fillers with the same.
    update = _HEAD + _kept(_name("a", "b"), 0) + _kept(_name("weakref", "ref"), 1)
    update += _kept(listed, 2) + _name("builtins", "set.update")
    update += _kept(b"N" + _name("builtins", "map") + b"h\1h\2\x86R\x86R", 3)
    fillers = _kept(b"(" + b"h\3" * half + b"l", 4)
    kept = b"](" + _many(0, b"h\0)Rh\4b", half) + b"e."
    yield "many kept with the same fillers", update + fillers + kept
    kept = b"](" + _many(0, b"h\0)R]h\3ab", half) + b"e."
    yield "many kept with fillers of the same", update + kept
    # Of the same targets, ever other slots; of the same slots, ever other targets.
    map_ = _HEAD + _kept(_name("builtins", "map"), 0) + _kept(_name("weakref", "ref"), 1)
    map_ += _kept(_name("weakref", "WeakSet"), 2) + _kept(listed, 3)
    for how, lists in (("targets", b"h\3](K\1e"), ("slots", b"](Nh\0eh\3")):
        one = b"h\2h\0h\1" + lists + b"\x87R\x85R0"
        yield f"maps of the same {how}", map_ + _many(1, one, half) + b"N."
    references = _HEAD + _kept(_name("weakref", "ref"), 1) + _kept(_name("weakref", "WeakSet"), 2)
    members = b"(" + b"h\1]\x85R" * (half // 6) + b"\x91"
    one = b"h\2h\3\x85R"
    yield "sets of one set", references + _kept(members, 3) + _many(1, one, half) + b"."
    encode = b"\x80\2" + _kept(b"c_codecs\nencode\n", 1) + _kept(_text("latin1"), 2)
    for inner in (b"]N\x85a", b"cm\nn\n", b"(l", b"N.", b"\x80\2N."):
        text = "\x80\2".encode() + b"]" + inner * (half // len(inner)) + b"."
        pair = _kept(b"X" + struct.pack("<I", len(text)) + text, 3)
        calls = b"h\1h\3h\2\x86R0" * (half // 9)
        yield f"encoded many times {inner!r}", encode + pair + calls + b"N."
        ours = b"".join(
            b"h\1X" + struct.pack("<I", len(text)) + text + b"h\2\x86R0"
            for text in [b"\xc2\x80\2]" + inner * (900 // len(inner)) + b"."] * (size // 920)
        )
        yield f"many encoded {inner!r}", encode + ours + b"N."


def inner(size: int) -> Iterator[tuple[str, bytes]]:
    """Pickles in pickles."""
    modules = b"".join(b"cm%d\nn\n0" % n for n in range(1000))
    chain = b"\x80\4" + modules + b"N."
    for depth in range(19):
        part = b"".join(b"cm%d_%d\nn\n0" % (depth, n) for n in range(200))
        chain = b"\x80\4" + part + b"B" + struct.pack("<I", len(chain)) + chain + b"."
    block = b"B" + struct.pack("<I", len(chain)) + chain + b"0"
    yield "chains of modules", b"\x80\4" + block * max(1, size // len(block)) + b"N."
    tip = b"\x80\4" + modules + b"N."
    for _ in range(19):
        tip = b"\x80\4B" + struct.pack("<I", len(tip)) + tip + b"."
    block = b"B" + struct.pack("<I", len(tip)) + tip + b"0"
    yield "chains to modules", b"\x80\4" + block * max(1, size // len(block)) + b"N."
    for body in (b"]N\x85a" * (size // 5), b"I1", b"](" * (size // 3), b"c" * 60):
        whole = b"\x80\4]" + body + b"."
        for _ in range(25):
            whole = b"\x80\4B" + struct.pack("<I", len(whole)) + whole + b"."
        yield f"deep around {body[:4]!r}", whole
    small = b"C\4\x80\4N."
    yield "many small", b"\x80\4" + small * (size // len(small)) + b"."
    quoted = b"C\7\x80\4cm\nn."
    yield "many small that are cut", b"\x80\4" + quoted * (size // len(quoted)) + b"."


def floods(size: int) -> Iterator[tuple[str, bytes]]:
    """One thing very often, or one very long thing."""
    yield "marks and pops", _HEAD + b"N" + b"(1" * (size // 2) + b"."
    yield "marks", _HEAD + b"N" + b"(" * size + b"."
    yield "marks that are closed", _HEAD + b"N" + b"(" * (size // 2) + b"1" * (size // 2) + b"."
    yield "tuples of marks", _HEAD + b"(" * (size // 2) + b"t" * (size // 2) + b"."
    yield "copies", _HEAD + b"]" + b"2" * size + b"."
    yield (
        "copies that are appended",
        _HEAD + b"](" + b"2" * (size // 2) + b"N" * (size // 2) + b"e.",
    )
    yield "a list in itself", _HEAD + b"]q\0" + b"h\0a" * (size // 3) + b"."
    yield "a list in itself, many times", _HEAD + b"]q\0(" + b"h\0" * (size // 2) + b"e."
    yield "a dict in itself", _HEAD + b"}q\0(" + b"h\0" * (size // 4 * 2) + b"u."
    yield (
        "a state of itself",
        _HEAD + _kept(_name("a", "b"), 1) + b"h\1)Rq\0" + b"h\0b" * (size // 3) + b".",
    )
    long = _long_text(size // 2)
    yield "long names", _HEAD + long + long + b"\x93."
    names = _kept(_long_text(size // 2), 0) + b"h\0h\0\x930" * (size // 12)
    yield "long names, many times", _HEAD + names + b"N."
    yield "texts of 200", _HEAD + b"".join(
        b"\x8c\xc8" + b"%0200d" % n + b"\x94" for n in range(size // 203)
    ) + b"."  # fmt: skip
    wide = ("\N{SNOWMAN}" * 66).encode()
    yield "wide texts", _HEAD + (b"\x8c" + bytes([len(wide)]) + wide) * (size // 200) + b"."
    yield "wide names", b"".join(
        b"c%dm" % n + wide[:150] + b"\n" + wide[:150] + b"\n" for n in range(size // 310)
    ) + b"."  # fmt: skip
    yield "names of steps", _HEAD + b"".join(
        _text(f"m{n}") + _text("a." * 90 + "b") + b"\x93" for n in range(size // 190)
    ) + b"."  # fmt: skip
    for digits in (b"9", b"0", b"1_", b"\x00", b" ", b"'", b"\\x41", b"L"):
        many = digits * (size // len(digits))
        for code in (b"I", b"L", b"F", b"S", b"V", b"P", b"p", b"g"):
            yield f"{code!r} of {digits!r}", b"N" + code + many + b"\n."
            yield f"{code!r} of {digits!r} without an end", b"N" + code + many
    yield "a long number", b"\x80\2\x8b" + struct.pack("<i", size) + b"\x7f" * size + b"."
    yield "bytes and buffers", _HEAD + b"".join(
        b"\x96" + struct.pack("<Q", 2) + b"N." + b"\x97\x98" for _ in range(size // 13)
    ) + b"."  # fmt: skip
    yield "buffers", b"\x80\5" + b"\x97\x98" * (size // 2) + b"."
    yield "protocols", b"\x80\2\x80\4" * (size // 4) + b"N."
    yield "far puts", b"N" + b"".join(
        b"p" + b"9" * 150 + b"%d\n" % n for n in range(size // 160)
    ) + b"."  # fmt: skip
    yield "puts and gets", b"N" + b"r\xff\xff\xff\xffj\xff\xff\xff\xff0" * (size // 11) + b"."
    yield "ids", b"".join(b"Pid%d\n" % n for n in range(size // 10)) + b"."
    yield "frames in frames", b"\x80\4" + b"".join(
        b"\x95" + struct.pack("<Q", size // 9 * 9 - n * 9 - 7) for n in range(size // 9 - 1)
    ) + b"N."  # fmt: skip


def hostile(size: int) -> Iterator[tuple[str, bytes]]:
    """All of them: files of at most about `size` bytes."""
    yield from claims()
    for make in (deep, bombs, inner, floods):
        yield from make(size)
    yield from odd_pickles.hard(size)
