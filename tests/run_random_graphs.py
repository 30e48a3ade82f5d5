"""Random graphs against the model, at length and fast: a script.

``python tests/run_random_graphs.py [HOST ...] [--graphs 2000] [--seed 0]
[--plain | --explain | --orders]``

Graphs are wide (`support/wide.py`): every way of reduction, classes and functions by value, every
weak kind and its subclasses. What fails is made smaller and printed as a program to paste.
``--orders`` sends each in several orders: what is lost in one is lost in all. ``--plain`` takes the
graphs of `test_properties.py`, which hypothesis shrinks, and ``--explain`` compares `explain` on
those with what `dumps` does. These three print the seed of each graph that fails.
The same seed is the same graph in every process. Exits with 1 where a graph failed.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

import graphs
import shrinking
import wide_checks
import wide_random
from graphs import Model, Spec, Weak

import weakreduce


def random_weak(choose: random.Random, size: int) -> Weak:
    kind = choose.choice(graphs.SINGLE + graphs.CONTAINERS)
    if kind in graphs.SINGLE:
        dead = kind != "called" and choose.random() < 0.17
        others = (choose.randrange(size),) if kind == "called" else ()
        return Weak(kind, (choose.randrange(size),), others, dead)
    targets = tuple(choose.sample(range(size), choose.randint(0, min(4, size))))
    others = tuple(choose.randrange(size) for _ in targets) if kind == "keys" else ()
    return Weak(kind, targets, others)


def random_spec(choose: random.Random) -> Spec:
    size = choose.randint(1, 9)
    upto = choose.randint
    return Spec(
        tuple(choose.randrange(len(graphs.CLASSES)) for _ in range(size)),
        tuple(tuple(choose.randrange(size) for _ in range(upto(0, 2))) for _ in range(size)),
        tuple(tuple(random_weak(choose, size) for _ in range(upto(0, 2))) for _ in range(size)),
        tuple(choose.random() < 0.5 for _ in range(size)),
        tuple(choose.randrange(size) for _ in range(upto(1, 2))),
    )


def check(seed: int, host: str) -> None:
    choose = random.Random(seed)
    spec = random_spec(choose)
    outside, protocol = choose.choice(["snapshot", "dangle"]), choose.randint(2, 5)
    model = Model(spec, outside)
    root, nodes = graphs.build(spec)
    payload = weakreduce.dumps(root, policy=outside, host=host, protocol=protocol)
    copied = weakreduce.loads(payload, host=host)
    assert nodes
    gc.collect()
    copies = graphs.check_copy(spec, model, copied, weakreduce.is_pinned)
    edges = [(n, i) for n in sorted(copies) for i in range(len(spec.strong[n]))]
    cut = set(choose.sample(edges, choose.randint(0, len(edges))))
    keep = choose.randint(0, len(spec.roots))
    graphs.check_lives(spec, model, copied, copies, keep, cut)


def check_explained(seed: int, host: str) -> None:
    """What `explain` says is what the model says, and what `dumps` then does."""
    choose = random.Random(seed)
    spec = random_spec(choose)
    outside = choose.choice(["snapshot", "dangle"])
    model = Model(spec, outside)
    root, nodes = graphs.build(spec)
    report = weakreduce.explain(root, policy=outside, host=host)
    payload = weakreduce.dumps(root, policy=outside, host=host)
    assert report.total_bytes == len(payload)

    def size(obj: object) -> int:
        return len(weakreduce.dumps(obj, policy=outside, host=host))

    graphs.check_report(spec, model, root, nodes, report, size)
    copied = weakreduce.loads(payload, host=host)
    gc.collect()
    graphs.check_copy(spec, model, copied, weakreduce.is_pinned)
    graphs.check_outcome(root, choose.choice(list(graphs.policies().values())), host)


def check_wide(seed: int, host: str) -> str | None:
    """What is wrong with a graph as it arrives, as a program; None where nothing is."""
    choose = random.Random(seed)
    graph, case = wide_random.random_graph(choose, host), wide_random.random_case(choose, host)
    failure = shrinking.failure(graph, case)
    if failure is None:
        return None
    small = shrinking.shrunk_like(graph, case, failure)
    return f"{shrinking.program(small, case)}\n# {shrinking.failure(small, case)}"


def check_orders(seed: int, host: str) -> str | None:
    """What is wrong with a wide graph whose root is in several orders, as `check_wide`."""
    choose = random.Random(seed)
    graph, case = wide_random.random_graph(choose, host), wide_random.random_case(choose, host)
    try:
        wide_checks.check_orders(graph, case)
    except AssertionError as error:
        return f"{graph}\n{case}\n# {error}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description="Check random graphs against the model.")
    parser.add_argument("hosts", nargs="*", default=["cloudpickle", "dill", "pickle"])
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="graphs of few forms")
    parser.add_argument("--explain", action="store_true", help="check explain against dumps")
    parser.add_argument("--orders", action="store_true", help="check that nothing is lost by order")
    chosen = parser.parse_args()
    run: Any = check_explained if chosen.explain else check if chosen.plain else check_wide
    if chosen.orders:
        run = check_orders
    elif run is not check_wide:
        warnings.simplefilter("error")
    gc.collect()
    gc.freeze()
    failed = 0
    for host in chosen.hosts:
        for seed in range(chosen.seed, chosen.seed + chosen.graphs):
            try:
                found = run(seed, host)
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            if found is not None:
                failed += 1
                print(f"{host}, seed {seed}: {found}", flush=True)
            # One whose arguments lead to its referent keeps both until the interpreter ends.
            for finalizer in [*weakref.finalize._registry]:  # type: ignore[attr-defined]
                finalizer.detach()
        print(f"{host}: {chosen.graphs} graphs, {failed} failed so far", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
