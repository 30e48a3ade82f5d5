"""The tables: each row is a question's, and has a name, a bar, and how its figure is found.

A figure at or below its bar is reached. Rows use `finders`, and name cases of `cases.py`,
`shapes.py` and `messages.py`.
"""

from __future__ import annotations

import rows_of_shapes
from finders import Row, bytes_of, difference, growth, importing, memory, ratio
from groups import Group

OURS, STOCK = "weakreduce", "stock"
WEAK = (OURS, "cases.dumps_weak_tree")
LOADS_WEAK = (OURS, "cases.loads_weak_tree")
STRONG = (STOCK, "cases.dumps_strong_tree")
DICT = (STOCK, "cases.dumps_plain_dict")
TREE, MANY, LONG = 50_000, 100_000, 1_000_000

_ROWS: tuple[Row, ...] = (
    Row(
        Group.WEAK,
        "dumps, weak parents / stock, strong parents",
        0.90,
        "x",
        ratio(WEAK, STRONG, TREE),
    ),
    Row(
        Group.WEAK,
        "loads, the same",
        1.05,
        "x",
        ratio(LOADS_WEAK, (STOCK, "cases.loads_strong_tree"), TREE),
    ),
    Row(Group.WEAK, "bytes, the same", 1.03, "x", bytes_of(WEAK, STRONG, TREE)),
    Row(
        Group.WEAK,
        "dumps / hand-written `__getstate__`",
        0.75,
        "x",
        ratio(WEAK, (STOCK, "cases.dumps_hand_written_tree"), TREE),
    ),
    Row(
        Group.WEAK,
        "loads / hand-written `__setstate__`",
        0.60,
        "x",
        ratio(LOADS_WEAK, (STOCK, "cases.loads_hand_written_tree"), TREE),
    ),
    Row(
        Group.NOTHING_WEAK,
        "nothing weak, 50,000 instances / stock",
        0.95,
        "x",
        ratio((OURS, "cases.dumps_plain_list"), (STOCK, "cases.dumps_plain_list"), TREE),
    ),
    Row(
        Group.NOTHING_WEAK,
        "nothing weak, one small closure / stock",
        1.03,
        "x",
        ratio((OURS, "cases.dumps_closures"), (STOCK, "cases.dumps_closures"), 1000),
    ),
    Row(
        Group.SLOW,
        "every weak edge met before its strong one / stock, strong",
        2.0,
        "x",
        ratio((OURS, "cases.dumps_weak_first"), (STOCK, "cases.dumps_strong_first"), TREE),
    ),
    Row(
        Group.WEAK,
        "dill, the weak tree / stock dill",
        1.02,
        "x",
        ratio((OURS, "cases.dumps_dill_tree"), (STOCK, "cases.dumps_dill_tree"), TREE // 10),
    ),
    Row(
        Group.WEAK,
        "1,000 proxies among 3,000,000 objects, more than 1,000 refs",
        0.05,
        "s",
        difference((OURS, "cases.dumps_proxies"), (OURS, "cases.dumps_refs"), 3 * LONG),
    ),
    Row(
        Group.WEAK,
        "a referent outside, under dangle / the inside part alone: time",
        1.05,
        "x",
        ratio((OURS, "cases.dumps_dangling"), (OURS, "cases.dumps_inside_alone"), TREE),
    ),
    Row(
        Group.WEAK,
        "the same: bytes",
        1.00,
        "x",
        bytes_of((OURS, "cases.dumps_dangling"), (OURS, "cases.dumps_inside_alone"), TREE),
    ),
    Row(
        Group.SLOW,
        "a list with weak links both ways, time for ten times the items (1,000,000)",
        11.0,
        "x",
        growth((OURS, "cases.dumps_linked_list"), LONG),
    ),
    Row(
        Group.SLOW,
        "the same: peak memory / strong links back",
        2.2,
        "x",
        memory((OURS, "cases.dumps_linked_list"), (STOCK, "cases.dumps_backward_list"), LONG),
    ),
    Row(
        Group.SLOW,
        "100,000 refs outside / stock, a plain dict",
        1.3,
        "x",
        ratio((OURS, "cases.dumps_outside_refs"), DICT, MANY),
    ),
    Row(
        Group.SLOW,
        "the same, time for ten times the refs",
        11.0,
        "x",
        growth((OURS, "cases.dumps_outside_refs"), MANY),
    ),
    Row(
        Group.SLOW,
        "a WeakValueDictionary of 100,000 outside / stock, a plain dict",
        1.3,
        "x",
        ratio((OURS, "cases.dumps_outside_values"), DICT, MANY),
    ),
    Row(
        Group.SLOW,
        "the same, time for ten times the entries",
        11.0,
        "x",
        growth((OURS, "cases.dumps_outside_values"), MANY),
    ),
    Row(Group.NOTHING_WEAK, "`import weakreduce` over a bare interpreter", 10.0, "ms", importing),
    Row(
        Group.ENGINES,
        "submit to a ProcessPoolExecutor / stock",
        1.03,
        "x",
        ratio((OURS, "cases.submit_to_pool"), (STOCK, "cases.submit_to_pool"), 300),
    ),
    Row(
        Group.ENGINES,
        "submit to Dask / stock",
        1.03,
        "x",
        ratio((OURS, "cases.submit_to_dask"), (STOCK, "cases.submit_to_dask"), 100),
    ),
)
#: By the question that each answers; then in the order in which they are written down.
ROWS: tuple[Row, ...] = tuple(
    row for group in Group for row in (*_ROWS, *rows_of_shapes.ROWS) if row.group is group
)

#: The least that could be done, for bars that are not reached: no weakreduce in any of these.
FLOORS: tuple[Row, ...] = (
    Row(
        Group.FLOORS,
        "dumps, weak parents: bare links, and a note of what was met / stock, strong parents",
        None,
        "x",
        ratio((STOCK, "cases.bare_dumps_weak_tree"), STRONG, TREE),
    ),
    Row(
        Group.FLOORS,
        "loads: the tree with no parents at all / hand-written `__setstate__`",
        None,
        "x",
        ratio(
            (STOCK, "cases.loads_tree_without_parents"),
            (STOCK, "cases.loads_hand_written_tree"),
            TREE,
        ),
    ),
    Row(
        Group.FLOORS,
        "100,000 refs outside: bare calls / stock, a plain dict",
        None,
        "x",
        ratio((STOCK, "cases.bare_dumps_outside_refs"), DICT, MANY),
    ),
    Row(
        Group.FLOORS,
        "peak memory of the list of 1,000,000, weak links back alone: bare calls / strong links",
        None,
        "x",
        memory(
            (STOCK, "cases.bare_dumps_backward_list"), (STOCK, "cases.dumps_backward_list"), LONG
        ),
    ),
    Row(
        Group.FLOORS,
        "stock, a plain dict: time for ten times the objects (100,000)",
        None,
        "x",
        growth(DICT, MANY),
    ),
    Row(
        Group.FLOORS,
        "stock, strong links back: time for ten times the items (1,000,000)",
        None,
        "x",
        growth((STOCK, "cases.dumps_backward_list"), LONG),
    ),
)

#: What the plot shows: a label, and the side whose `dumps` it times.
SERIES: dict[str, tuple[str, str]] = {
    "stock cloudpickle, strong parents": STRONG,
    "weakreduce, weak parents": WEAK,
    "weakreduce, weak edges met first": (OURS, "cases.dumps_weak_first"),
    "hand-written __getstate__": (STOCK, "cases.dumps_hand_written_tree"),
    "wrapper with __reduce__": (STOCK, "cases.dumps_wrapper_tree"),
    "stock dill's own weak references": (STOCK, "cases.dumps_dill_tree"),
}
