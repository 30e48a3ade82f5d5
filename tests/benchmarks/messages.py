"""What is measured of small things: messages of multiprocessing, small dumps, small tasks.

As `cases`. An action does `size` of them: one alone is too short to be timed.
"""

from __future__ import annotations

import fractions
import functools
import weakref
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cloudpickle
from cases import Node, Prepared, Small, itself


def _each(size: int, dumps: Callable[[Any], Any], obj: Any) -> Prepared:
    def action() -> int:
        for _ in range(size):
            dumps(obj)
        return size

    return Prepared(action)


def plain_message(size: int) -> Prepared:
    return _each(size, ForkingPickler.dumps, (12, "a name", [1.5, None, True], {"key": "value"}))


def message_with_fraction(size: int) -> Prepared:
    return _each(size, ForkingPickler.dumps, (12, "a name", fractions.Fraction(1, 3)))


def message_with_instances(size: int) -> Prepared:
    return _each(size, ForkingPickler.dumps, [Small(number) for number in range(5)])


def small_list(size: int) -> Prepared:
    return _each(size, cloudpickle.dumps, [1, 2, 3])


def small_closure(size: int) -> Prepared:
    offset = 1
    return _each(size, cloudpickle.dumps, lambda number: number + offset)


# --- small tasks ---------------------------------------------------------------------------------


def _family(wrap: Callable[[Any], Any]) -> Any:
    """A root with 20 children, and what they have instead of it."""
    root = Node(0)
    root.children = [Node(number, wrap(root)) for number in range(1, 21)]
    return root


_FAMILIES: dict[str, Callable[[Any], Any]] = {"weak": weakref.ref, "strong": itself}


def count(root: Any) -> int:
    """The task."""
    return len(root.children)


def _tasks(size: int, submit: Callable[..., Any], links: str) -> Prepared:
    root = _family(_FAMILIES[links])

    def action() -> int:
        return sum(submit(count, root).result() for _ in range(size))

    return Prepared(action)


def to_process_pool(size: int, links: str) -> Prepared:
    """Tasks for a ProcessPoolExecutor, one after another; CPU time of the process that submits."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(1, get_context("forkserver"))
    return _tasks(size, pool.submit, links)


def to_loky(size: int, links: str) -> Prepared:
    from loky import ProcessPoolExecutor

    return _tasks(size, ProcessPoolExecutor(1).submit, links)


def to_dask(size: int, links: str) -> Prepared:
    """Tasks for a Dask cluster in this process, whose scheduler and worker are timed, too."""
    from dask.distributed import Client

    client = Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    return _tasks(size, functools.partial(client.submit, pure=False), links)
