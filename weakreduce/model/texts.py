"""Texts for people: names, paths and errors as they are printed, shortened, and set in lines.

Rule: what comes from a user's object, a payload or a file goes through `printable` (or
`class_name`, or `quoted`) where it enters a text, whatever shows that text: a terminal, a page, a
picture, an error, a warning, a log.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final

#: How many items of a list are in a text.
_LISTED: Final = 50
#: Columns of an item in a list.
_ITEM: Final = 200
_NAME: Any = type.__dict__["__qualname__"]
#: Where a path may be cut so that what is left is still made of steps.
_STEPS: Final = ".[("


def printable(text: str) -> str:
    """A text without what could break a line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def class_name(cls: type) -> str:
    """The qualified name of a class, printable; no code of its metaclass runs."""
    return printable(_NAME.__get__(cls))


def quoted(text: str) -> str:
    """A text in quotes, printable, and not too long to be read."""
    return shortened(printable(repr(text)), _ITEM)


def listed(items: Iterable[str]) -> str:
    """Items with commas between them, printable, as many as one reads."""
    found = list(items)
    shown = [shortened(printable(item), _ITEM) for item in found[:_LISTED]]
    if len(found) > _LISTED:
        shown.append(f"and {len(found) - _LISTED:,} more")
    return ", ".join(shown)


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def _start(text: str, width: int) -> str:
    """The beginning of a text, of at most `width` columns."""
    text = text[: max(width, 0)]
    while columns(text) > width:
        text = text[: -max(1, (columns(text) - width) // 2)]
    return text


def _end(text: str, width: int) -> str:
    """The end of a text, of at most `width` columns."""
    text = text[max(len(text) - width, 0) :] if width > 0 else ""
    while columns(text) > width:
        text = text[max(1, (columns(text) - width) // 2) :]
    return text


def shortened(text: str, width: int) -> str:
    """A text of at most `width` columns, its middle left out where it is longer."""
    if columns(text) <= width:
        return text
    # The end of a path says more than its beginning.
    head = _start(text, max(width - 1, 0) // 3)
    tail = _end(text[len(head) :], max(width - 1, 0) - columns(head))
    return f"{head}…{tail}"[: width or None]


def told_apart(texts: Sequence[str], width: int) -> list[str]:
    """Texts of at most `width` columns each; those that differ still do when they are shortened.

    What is left out is what they have in common.
    """
    found = {text: shortened(text, width) for text in texts}
    todo = [list(found)]
    while todo:
        groups: dict[str, list[str]] = {}
        for text in todo.pop():
            groups.setdefault(found[text], []).append(text)
        for group in groups.values():
            if len(group) > 1 and _tell_apart(group, found, width):
                todo.append(group)
    taken: dict[str, str] = {}
    for text, short in found.items():
        number = 2
        while taken.setdefault(short, text) != text:
            # They differ in more places than there is room for.
            mark = f"…#{number}"
            short = _start(found[text], width - columns(mark)) + mark
            number += 1
        found[text] = short
    return [found[text] for text in texts]


def _tell_apart(group: list[str], found: dict[str, str], width: int) -> bool:
    """Shorten texts around the first place where they differ; whether that helped."""
    low, high = min(group), max(group)
    same = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    # From the beginning of the step, where that leaves room for what differs.
    step = max((low.rfind(c, 0, same) for c in _STEPS), default=-1)
    begin = step if same - step < width // 3 else same
    if begin <= 0:
        return False
    head = _start(low, min(begin, max(width - 2, 0) // 4))
    room = width - columns(head) - 1
    if room < 4:
        return False
    for text in group:
        rest = text[begin:]
        if columns(rest) > room:
            kept = _start(rest, max((room - 1) * 2 // 3, same - begin + 1))
            rest = kept + "…" + _end(rest[len(kept) :], room - 1 - columns(kept))
        found[text] = f"{head}…{rest}"
    return len({found[text] for text in group}) > 1


def sized(number: int) -> str:
    """A number of bytes in three digits and a unit."""
    if number < 1000:
        return f"{number} bytes"
    size, units = number / 1000, ["kB", "MB", "GB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.3g} {units[0]}"


def padded(text: str, width: int) -> str:
    """A text with spaces behind it, to a width in columns."""
    return text + " " * (width - columns(text))


def paragraph(first: str, text: str, width: int) -> list[str]:
    """A text in lines of at most `width` columns, all but the first indented."""
    lines, line, used = [], first, len(first)
    for word in printable(text).split():
        gap = 1 if used > len(first) else 0
        if gap and used + gap + columns(word) > width:
            lines.append(line)
            line, used, gap = " " * len(first), len(first), 0
        while used + gap + columns(word) > width:
            # A word that is longer than a line.
            room = width - used - gap
            cut = len(_start(word, room)) or 1
            lines.append(f"{line}{' ' * gap}{word[:cut]}")
            word, line, used, gap = word[cut:], " " * len(first), len(first), 0
        line += " " * gap + word
        used += gap + columns(word)
    return [*lines, line]
