"""The table: each row is a name, a bar, and how its figure is found.

A figure at or below its bar is reached. Rows use `measure`, and name cases of `cases.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from measure import Side, import_milliseconds, peak_memory, side_by_side


class Row(NamedTuple):
    """One line of the table."""

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


def _ratio(
    ours: tuple[str, str], other: tuple[str, str], size: int, rounds: int = 0
) -> Callable[[Settings], float]:
    """Seconds of one side by those of another."""

    def find(settings: Settings) -> float:
        sides = [Side(*ours, settings.size(size)), Side(*other, settings.size(size))]
        one, two = side_by_side(sides, min(rounds or settings.rounds, settings.rounds))
        return one.ratio(two)

    return find


def _bytes(ours: tuple[str, str], other: tuple[str, str], size: int) -> Callable[[Settings], float]:
    """Bytes of one side by those of another."""

    def find(settings: Settings) -> float:
        sides = [Side(*ours, settings.size(size)), Side(*other, settings.size(size))]
        one, two = side_by_side(sides, 1)
        return one.size / two.size

    return find


def _growth(ours: tuple[str, str], size: int) -> Callable[[Settings], float]:
    """Seconds for ten times the size by seconds for the size."""

    def find(settings: Settings) -> float:
        small = Side(*ours, settings.size(size // 10))
        large = Side(*ours, 10 * settings.size(size // 10))
        one, two = side_by_side([small, large], min(5, settings.rounds))
        return two.ratio(one)

    return find


def _memory(
    ours: tuple[str, str], other: tuple[str, str], size: int
) -> Callable[[Settings], float]:
    """Peak of resident memory of one side by that of another."""

    def find(settings: Settings) -> float:
        one, two = (peak_memory(Side(*side, settings.size(size))) for side in (ours, other))
        return one / two

    return find


def _difference(
    ours: tuple[str, str], other: tuple[str, str], size: int
) -> Callable[[Settings], float]:
    """Seconds of one side more than those of another."""

    def find(settings: Settings) -> float:
        sides = [Side(*ours, settings.size(size)), Side(*other, settings.size(size))]
        one, two = side_by_side(sides, min(7, settings.rounds))
        return one.seconds - two.seconds

    return find


def _import(settings: Settings) -> float:
    return import_milliseconds("import weakreduce", settings.rounds)


OURS, STOCK = "weakreduce", "stock"
WEAK = (OURS, "dumps_weak_tree")
LOADS_WEAK = (OURS, "loads_weak_tree")
STRONG = (STOCK, "dumps_strong_tree")
DICT = (STOCK, "dumps_plain_dict")
TREE, MANY, LONG = 50_000, 100_000, 1_000_000

ROWS: tuple[Row, ...] = (
    Row("dumps, weak parents / stock, strong parents", 0.90, "x", _ratio(WEAK, STRONG, TREE)),
    Row(
        "loads, the same", 1.05, "x", _ratio(LOADS_WEAK, (STOCK, "loads_strong_tree"), TREE)
    ),
    Row("bytes, the same", 1.03, "x", _bytes(WEAK, STRONG, TREE)),
    Row(
        "dumps / hand-written `__getstate__`",
        0.75,
        "x",
        _ratio(WEAK, (STOCK, "dumps_hand_written_tree"), TREE),
    ),
    Row(
        "loads / hand-written `__setstate__`",
        0.60,
        "x",
        _ratio(LOADS_WEAK, (STOCK, "loads_hand_written_tree"), TREE),
    ),
    Row(
        "nothing weak, 50,000 instances / stock",
        0.95,
        "x",
        _ratio((OURS, "dumps_plain_list"), (STOCK, "dumps_plain_list"), TREE),
    ),
    Row(
        "nothing weak, one small closure / stock",
        1.03,
        "x",
        _ratio((OURS, "dumps_closures"), (STOCK, "dumps_closures"), 1000),
    ),
    Row(
        "every weak edge met before its strong one / stock, strong",
        2.0,
        "x",
        _ratio((OURS, "dumps_weak_first"), (STOCK, "dumps_strong_first"), TREE),
    ),
    Row(
        "dill, the weak tree / stock dill",
        1.02,
        "x",
        _ratio((OURS, "dumps_dill_tree"), (STOCK, "dumps_dill_tree"), TREE // 10),
    ),
    Row(
        "1,000 proxies among 3,000,000 objects, more than 1,000 refs",
        0.05,
        "s",
        _difference((OURS, "dumps_proxies"), (OURS, "dumps_refs"), 3 * LONG),
    ),
    Row(
        "a referent outside, under dangle / the inside part alone: time",
        1.05,
        "x",
        _ratio((OURS, "dumps_dangling"), (OURS, "dumps_inside_alone"), TREE),
    ),
    Row(
        "the same: bytes",
        1.00,
        "x",
        _bytes((OURS, "dumps_dangling"), (OURS, "dumps_inside_alone"), TREE),
    ),
    Row(
        "a list with weak links both ways, time for ten times the items (1,000,000)",
        11.0,
        "x",
        _growth((OURS, "dumps_linked_list"), LONG),
    ),
    Row(
        "the same: peak memory / strong links back",
        1.5,
        "x",
        _memory((OURS, "dumps_linked_list"), (STOCK, "dumps_backward_list"), LONG),
    ),
    Row(
        "100,000 refs outside / stock, a plain dict",
        1.3,
        "x",
        _ratio((OURS, "dumps_outside_refs"), DICT, MANY),
    ),
    Row(
        "the same, time for ten times the refs", 11.0, "x",
        _growth((OURS, "dumps_outside_refs"), MANY),
    ),
    Row(
        "a WeakValueDictionary of 100,000 outside / stock, a plain dict",
        1.3,
        "x",
        _ratio((OURS, "dumps_outside_values"), DICT, MANY),
    ),
    Row(
        "the same, time for ten times the entries", 11.0, "x",
        _growth((OURS, "dumps_outside_values"), MANY),
    ),
    Row("`import weakreduce` over a bare interpreter", 10.0, "ms", _import),
    Row(
        "submit to a ProcessPoolExecutor / stock",
        1.03,
        "x",
        _ratio((OURS, "submit_to_pool"), (STOCK, "submit_to_pool"), 300),
    ),
    Row(
        "submit to Dask / stock",
        1.03,
        "x",
        _ratio((OURS, "submit_to_dask"), (STOCK, "submit_to_dask"), 100),
    ),
)  # fmt: skip

#: The least that could be done, for bars that are not reached: no weakreduce in any of these.
FLOORS: tuple[Row, ...] = (
    Row(
        "dumps, weak parents: bare links, and a note of what was met / stock, strong parents",
        None,
        "x",
        _ratio((STOCK, "bare_dumps_weak_tree"), STRONG, TREE),
    ),
    Row(
        "loads: the tree with no parents at all / hand-written `__setstate__`",
        None,
        "x",
        _ratio((STOCK, "loads_tree_without_parents"), (STOCK, "loads_hand_written_tree"), TREE),
    ),
    Row(
        "100,000 refs outside: bare calls / stock, a plain dict",
        None,
        "x",
        _ratio((STOCK, "bare_dumps_outside_refs"), DICT, MANY),
    ),
    Row(
        "peak memory of the list of 1,000,000, weak links back alone: bare calls / strong links",
        None,
        "x",
        _memory((STOCK, "bare_dumps_backward_list"), (STOCK, "dumps_backward_list"), LONG),
    ),
    Row(
        "stock, a plain dict: time for ten times the objects (100,000)",
        None,
        "x",
        _growth(DICT, MANY),
    ),
    Row(
        "stock, strong links back: time for ten times the items (1,000,000)",
        None,
        "x",
        _growth((STOCK, "dumps_backward_list"), LONG),
    ),
)

#: What the plot shows: a label, and the side whose `dumps` it times.
SERIES: dict[str, tuple[str, str]] = {
    "stock cloudpickle, strong parents": STRONG,
    "weakreduce, weak parents": WEAK,
    "weakreduce, weak edges met first": (OURS, "dumps_weak_first"),
    "hand-written __getstate__": (STOCK, "dumps_hand_written_tree"),
    "wrapper with __reduce__": (STOCK, "dumps_wrapper_tree"),
    "stock dill's own weak references": (STOCK, "dumps_dill_tree"),
}
