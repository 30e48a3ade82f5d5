"""Calls in words: what is called, and what it is given, shortened.

Rule: of what is given no code is run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final

from weakreduce.model.texts import class_name, printable, shortened
from weakreduce.paths import steps

#: Parts of an argument that are shown, and characters of a call.
_SHOWN: Final = 4
_WIDTH: Final = 300
_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})


def named(function: Any) -> str:
    """A class or function as it is imported."""
    try:
        name = function.__qualname__ if not isinstance(function, type) else class_name(function)
        module = function.__module__
        if type(name) is not str:
            raise TypeError
    except Exception:  # noqa: BLE001 - a callable object, or one whose class will not say
        return f"a {class_name(type(function))}"
    plain = module in (None, "builtins", "__main__") or type(module) is not str
    return printable(name if plain else f"{module}.{name}")


def listed(arguments: object) -> tuple[Any, ...]:
    """Arguments, or what stands where they should."""
    return arguments if isinstance(arguments, tuple) else (arguments,)


def called(function: Any, arguments: Iterable[Any]) -> str:
    """A call."""
    return f"{named(function)}{given(tuple(arguments), {})}"


def given(arguments: tuple[Any, ...], keywords: object) -> str:
    """What a call is given, in brackets."""
    pairs = list(dict.items(keywords)) if isinstance(keywords, dict) else []
    texts = [shown(value) for value in _ends(arguments)]
    texts += [f"{_keyword(key)}={shown(value)}" for key, value in _ends(pairs)]
    return shortened(f"({', '.join(texts)})", _WIDTH)


def _ends(items: Sequence[Any]) -> Sequence[Any]:
    """Items without those whose texts would be left out of the call's in any case."""
    return items if len(items) <= _WIDTH else [*items[: _WIDTH // 2], *items[-_WIDTH // 2 :]]


def _keyword(key: Any) -> str:
    """A keyword, which in a payload may be anything."""
    return printable(key[:_WIDTH]) if type(key) is str else shown(key)


def shown(value: Any, depth: int = 0) -> str:
    """What a call is given, in few words; no code of the value's class is run."""
    known: Any = type(value)
    if known in _CONTAINERS and depth < 2:
        pairs = value.items() if known is dict else ((item, None) for item in value)
        parts = []
        for key, held in itertools.islice(pairs, _SHOWN):
            text = shown(key, depth + 1)
            parts.append(f"{text}: {shown(held, depth + 1)}" if known is dict else text)
        text = ", ".join([*parts, "…"] if len(value) > _SHOWN else parts)
        if known is set or known is frozenset:
            return f"{known.__name__}({{{text}}})" if text else f"{known.__name__}()"
        end = "," if known is tuple and len(value) == 1 else ""
        left, right = "{}" if known is dict else "[]" if known is list else "()"
        return f"{left}{text}{end}{right}"
    if issubclass(known, type):  # a dead proxy would raise if it were asked
        return f"<class {printable(class_name(value))}>"
    return printable(steps.named(value))
