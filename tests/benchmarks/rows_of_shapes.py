"""Rows about classes that people write, and about small messages: part of the tables of `rows`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from finders import Row, ratio
from groups import Group

OURS, STOCK = "weakreduce", "stock"
#: Objects of a payload; and messages, or tasks, of one action.
OBJECTS, MESSAGES, TASKS = 4_000, 1_000, 50
#: Class of `people`, and what a row calls its kind.
KINDS: Final = {
    "Plain": "plain",
    "Stateful": "`__getstate__`",
    "Slotted": "slots and `__getstate__`",
    "Reduced": "`__reduce__`",
}
#: Module of the class, and what a row says of that.
PLACES: Final = {"people": "importable", "__main__": "of `__main__`"}
#: Group, shape, its case, its peer, and the bars for each of `KINDS`.
SHAPES: Final = (
    (
        Group.NOTHING_WEAK,
        "nothing weak / stock",
        "nothing_weak",
        "nothing_weak",
        (0.65, 1.10, 1.10, 1.05),
    ),
    (
        Group.WEAK,
        "references to objects met before / the same held strongly in lists",
        "refs_behind",
        "lists_behind",
        (1.05, 1.30, 1.30, 1.30),
    ),
    (Group.WEAK, "a WeakSet of what is inside / a set", "weak_set", "strong_set", (1.8,)),
    (
        Group.SLOW,
        "references first / lists first",
        "refs_ahead",
        "lists_ahead",
        (2.1, 2.8, 2.8, 2.8),
    ),
    (
        Group.SLOW,
        "references to outside objects / a dict of them",
        "refs_outside",
        "dict_outside",
        (1.4,),
    ),
)
#: The same shapes beside what people do without weakreduce: both are to be no dearer.
PEERS: Final = (
    (Group.WEAK, "references to objects met before", "refs_behind", "watcher_behind"),
    (Group.SLOW, "references first", "refs_ahead", "watcher_ahead"),
)
DILL: Final = (
    (Group.WEAK, "dill, references to objects met before / stock dill", "dill_refs_behind"),
    (Group.SLOW, "dill, references first / stock dill", "dill_refs_ahead"),
)


def _shapes() -> Iterator[Row]:
    for group, shape, ours, other, bars in SHAPES:
        for (name, kind), bar in zip(KINDS.items(), bars, strict=False):
            for module, place in PLACES.items():
                words = f"{name} {module}"
                find = ratio(
                    (OURS, f"shapes.{ours} {words}"), (STOCK, f"shapes.{other} {words}"), OBJECTS
                )
                yield Row(group, f"{shape}: {kind}, {place}", bar, "x", find)


def _peers() -> Iterator[Row]:
    words = "Plain people"
    for group, shape, ours, other in PEERS:
        find = ratio((OURS, f"shapes.{ours} {words}"), (STOCK, f"shapes.{other} {words}"), OBJECTS)
        yield Row(group, f"{shape} / made strong by hand in `__getstate__`", 1.0, "x", find)
    for group, shape, case in DILL:
        find = ratio((OURS, f"shapes.{case} {words}"), (STOCK, f"shapes.{case} {words}"), OBJECTS)
        yield Row(group, shape, 1.0, "x", find)


def _same(name: str, bar: float, case: str, size: int = MESSAGES) -> Row:
    """A row of one case that holds nothing weak, with weakreduce and without."""
    return Row(Group.NOTHING_WEAK, name, bar, "x", ratio((OURS, case), (STOCK, case), size))


def _task(name: str, bar: float, case: str) -> Row:
    find = ratio((OURS, f"messages.{case} weak"), (STOCK, f"messages.{case} strong"), TASKS)
    name = f"a small task with a weak tree, {name} / stock, a strong tree"
    return Row(Group.ENGINES, name, bar, "x", find)


ROWS: Final[tuple[Row, ...]] = (
    *_shapes(),
    *_peers(),
    _same("`ForkingPickler.dumps` of a plain message / stock", 1.5, "messages.plain_message"),
    _same(
        "`ForkingPickler.dumps` of a message with a Fraction / stock",
        1.8,
        "messages.message_with_fraction",
    ),
    _same(
        "`ForkingPickler.dumps` of five instances / stock", 1.8, "messages.message_with_instances"
    ),
    _same("`cloudpickle.dumps([1, 2, 3])` / stock", 1.5, "messages.small_list"),
    _same("`cloudpickle.dumps` of a tiny closure / stock", 1.10, "messages.small_closure"),
    _task("through a ProcessPoolExecutor", 1.3, "to_process_pool"),
    _task("through loky", 1.2, "to_loky"),
    _task("through Dask", 1.1, "to_dask"),
    Row(
        Group.REPORTS,
        "`explain` of 100 snapshots through dill / through cloudpickle",
        3.0,
        "x",
        ratio(
            (OURS, "shapes.explained Plain people dill"),
            (OURS, "shapes.explained Plain people cloudpickle"),
            100,
        ),
    ),
    _same("joblib.hash, nothing weak / stock", 1.02, "shapes.hashed Plain people", OBJECTS),
)
