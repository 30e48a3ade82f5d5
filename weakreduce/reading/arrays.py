"""Arrays in files of joblib: their bytes stand in the file, behind the wrapper that tells of them.

So such a file is no pickle as a whole: ``joblib.load`` reads it. Rule: arrays of objects, which are
pickles of their own there, are not read here (`loader` does that).

What we rely on, pinned by the tests: ``joblib.numpy_pickle.NumpyArrayWrapper`` gets its state last
of all, then ``read(unpickler, ...)`` takes the bytes from ``unpickler.file_handle``.
"""

from __future__ import annotations

import importlib
import inspect
import io
from typing import Any, Final

#: The full name of the wrapper, as a pickle has it.
WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"


def is_wrapper(obj: object) -> bool:
    """Whether the bytes of an array follow."""
    known = type(obj)
    return f"{known.__module__}.{known.__qualname__}" == WRAPPER


def read(wrapper: Any, data: bytes, start: int) -> tuple[Any, int]:
    """The array that follows at a position, and the position behind it.

    Raises:
        Exception: what ``joblib.load`` raises.
    """
    file = io.BytesIO(data)
    file.seek(start)
    #: The second, of new releases, is whether numbers are to be in this machine's order.
    arguments = (_Unpickler(file), True)
    array = wrapper.read(*arguments[: len(inspect.signature(wrapper.read).parameters)])
    return array, file.tell()


class _Unpickler:
    """What a wrapper asks an unpickler for."""

    filename = ""
    mmap_mode = None

    def __init__(self, file: io.BytesIO) -> None:
        self.file_handle = file
        self.np = importlib.import_module("numpy")
