"""Payloads that are packed, by gzip say, or by `joblib.dump`: told by their first bytes, unpacked.

Rule: by the standard library alone, and nothing of what is unpacked is looked at here.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import IO, Any, Final, cast

from weakreduce.reading.machine import Source

#: How the first bytes look, who packs so. No pickle begins like one of these.
_BEGINNINGS: Final = [
    (re.compile(pattern, re.DOTALL), packer)
    for pattern, packer in (
        (rb"\x1f\x8b", "gzip"),
        (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "bzip2"),
        (rb"\xfd7zXZ\0", "xz"),
        (rb"\x5d\0\0", "lzma"),
        (rb"\x78[\x01\x5e\x9c\xda]", "zlib"),
        (rb"\x28\xb5\x2f\xfd", "zstandard"),
        (rb"\x04\x22\x4d\x18", "lz4"),
        (rb"PK\x03\x04", "zip"),
    )
]
#: Characters of the beginning that are looked at.
_LOOKED_AT: Final = 16


class NotUnpacked(ValueError):  # noqa: N818 - an answer
    """What is packed cannot be unpacked: damaged, larger than wanted, or by what is not known."""


def packer_of(data: Source) -> str | None:
    """Who packed it; None where nobody did."""
    beginning = data[:_LOOKED_AT]
    return next((packer for begins, packer in _BEGINNINGS if begins.match(beginning)), None)


def unpacked(data: Source, packer: str, most: int | None = None) -> bytes:
    """What is in it.

    Args:
        data: what is packed.
        packer: who packed it.
        most: how many bytes may come of it; None for any number.

    Raises:
        NotUnpacked: where that cannot be told, or is more.
    """
    unpack = _UNPACKERS.get(packer)
    if unpack is None:
        raise NotUnpacked(f"not a pickle, but packed by {packer}; unpack it first")
    try:
        found = unpack(data, -1 if most is None else most + 1)
    except ImportError as error:
        text = f"packed by {packer}, which this Python cannot read; unpack it first"
        raise NotUnpacked(text) from error
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise NotUnpacked(f"packed by {packer}, and damaged: {error}") from error
    if most is not None and len(found) > most:
        text = f"packed by {packer}, and unpacked more than {most:,} bytes; unpack it to a file"
        raise NotUnpacked(text)
    return found


def _opened_by(open_it: Callable[[io.BytesIO], IO[bytes]]) -> Callable[[Source, int], bytes]:
    def read(data: Source, most: int) -> bytes:
        with open_it(io.BytesIO(data)) as file:
            return file.read(most)

    return read


def _zlib(data: Source, most: int) -> bytes:
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(data, max(most, 0))
    if not unpacker.eof and not (0 < most <= len(found)):
        raise EOFError("it ends too early")
    return found


def _zstandard(data: Source, most: int) -> bytes:  # pragma: no cover - from Python 3.14 on
    module: Any = importlib.import_module("compression.zstd")
    try:
        return _opened_by(module.ZstdFile)(data, most)
    except module.ZstdError as error:
        raise ValueError(error) from error


_UNPACKERS: Final[dict[str, Callable[[Source, int], bytes]]] = {
    "gzip": _opened_by(lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file))),
    "bzip2": _opened_by(bz2.BZ2File),
    "xz": _opened_by(lzma.LZMAFile),
    "lzma": _opened_by(lzma.LZMAFile),
    "zlib": _zlib,
    "zstandard": _zstandard,
}
