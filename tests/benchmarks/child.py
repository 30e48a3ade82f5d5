"""One side of a comparison: a process that prepares one case and times it as often as asked.

``python child.py stock|weakreduce CASE SIZE`` (a case is its module and name, ``cases.submit``,
and words for it, if it takes any) answers each line on its standard input with one
line of JSON: the seconds that one run took. The first line that it writes, unasked, tells the
size of the payload. ``python child.py ... --peak`` runs once and tells the peak of the resident
memory.
"""

from __future__ import annotations

import gc
import importlib
import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

#: Seconds that one round takes where an action is short.
_ENOUGH = 0.1


def main() -> None:
    side, name, size, *options = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent))
    if side == "weakreduce":
        import weakreduce  # noqa: F401 - importing it installs it

    name, *words = name.split()
    module, _, name = name.rpartition(".")
    case = getattr(importlib.import_module(module), name)
    warnings.simplefilter("ignore")
    prepared = case(int(size), *words)
    if options:
        prepared.action()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"peak": peak}), flush=True)
        return
    prepared.action()  # warm: caches, lazy imports, the allocator
    gc.collect()  # each side begins with nothing left; the collector runs as it always does
    print(json.dumps({"size": prepared.size}), flush=True)
    # The CPU's time is what the process used, whatever else the machine has to do.
    clock = time.perf_counter if prepared.waits else time.process_time
    start = clock()
    prepared.action()
    # What is short is done several times, and the middle one counts.
    times = max(1, min(20, int(_ENOUGH / max(clock() - start, 1e-6))))
    for _ in sys.stdin:
        found = statistics.median(_seconds(prepared.action, clock) for _ in range(times))
        print(json.dumps(found), flush=True)


def _seconds(action: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    action()
    return clock() - start


if __name__ == "__main__":
    main()
