"""How the figure of a row is found: ratios, growth, bytes, memory.

Nothing here knows which rows there are, nor what their cases do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from groups import Group
from measure import Side, import_milliseconds, peak_memory, side_by_side


class Row(NamedTuple):
    """One line of a table."""

    group: Group
    name: str
    bar: float | None  # None where it is the least that could be, not what is aimed at
    unit: str  # "x" for a ratio
    find: Callable[[Settings], float]


class Settings(NamedTuple):
    """How much to do: `scale` shrinks every size, for the smoke run."""

    rounds: int = 15
    scale: float = 1.0

    def size(self, full: int) -> int:
        """A size, scaled."""
        return max(4, int(full * self.scale))


def ratio(
    ours: tuple[str, str], other: tuple[str, str], size: int, rounds: int = 0
) -> Callable[[Settings], float]:
    """Seconds of one side by those of another."""

    def find(settings: Settings) -> float:
        sides = [Side(*ours, settings.size(size)), Side(*other, settings.size(size))]
        one, two = side_by_side(sides, min(rounds or settings.rounds, settings.rounds))
        return one.ratio(two)

    return find


def bytes_of(
    ours: tuple[str, str], other: tuple[str, str], size: int
) -> Callable[[Settings], float]:
    """Bytes of one side by those of another."""

    def find(settings: Settings) -> float:
        sides = [Side(*ours, settings.size(size)), Side(*other, settings.size(size))]
        one, two = side_by_side(sides, 1)
        return one.size / two.size

    return find


def growth(ours: tuple[str, str], size: int) -> Callable[[Settings], float]:
    """Seconds for ten times the size by seconds for the size."""

    def find(settings: Settings) -> float:
        small = Side(*ours, settings.size(size // 10))
        large = Side(*ours, 10 * settings.size(size // 10))
        one, two = side_by_side([small, large], min(5, settings.rounds))
        return two.ratio(one)

    return find


def memory(ours: tuple[str, str], other: tuple[str, str], size: int) -> Callable[[Settings], float]:
    """Peak of resident memory of one side by that of another."""

    def find(settings: Settings) -> float:
        one, two = (peak_memory(Side(*side, settings.size(size))) for side in (ours, other))
        return one / two

    return find


def difference(
    ours: tuple[str, str], other: tuple[str, str], size: int
) -> Callable[[Settings], float]:
    """Seconds of one side more than those of another."""

    def find(settings: Settings) -> float:
        sides = [Side(*ours, settings.size(size)), Side(*other, settings.size(size))]
        one, two = side_by_side(sides, min(7, settings.rounds))
        return one.seconds - two.seconds

    return find


def importing(settings: Settings) -> float:
    """Milliseconds that ``import weakreduce`` takes."""
    return import_milliseconds("import weakreduce", settings.rounds)
