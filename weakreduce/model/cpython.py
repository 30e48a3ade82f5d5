"""The interpreter that payloads are written on. Imported with weakreduce, and light."""

from __future__ import annotations

import sys


def require_cpython() -> None:
    """What is written depends on how CPython keeps weak references, and when it lets objects die.

    Raises:
        WeakreduceError: on any other interpreter.
    """
    if sys.implementation.name != "cpython":
        from weakreduce.model.errors import WeakreduceError

        raise WeakreduceError(
            f"weakreduce writes weak references on CPython alone, and this is "
            f"{sys.implementation.name}; what it wrote on CPython can be loaded here"
        )
