"""One side of a comparison: a process that prepares one case and times it as often as asked.

``python child.py stock|weakreduce CASE SIZE`` answers each line on its standard input with one
line of JSON: the seconds that one run took. The first line that it writes, unasked, tells the
size of the payload. ``python child.py ... --peak`` runs once and tells the peak of the resident
memory.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from pathlib import Path


def main() -> None:
    side, name, size, *options = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parent))
    if side == "weakreduce":
        import weakreduce  # noqa: F401 - importing it installs it
    import cases

    warnings.simplefilter("ignore")
    prepared = getattr(cases, name)(int(size))
    if options:
        prepared.action()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"peak": peak}), flush=True)
        return
    prepared.action()  # warm: caches, lazy imports, the allocator
    cases.settle()
    print(json.dumps({"size": prepared.size}), flush=True)
    # The CPU's time is what the process used, whatever else the machine has to do.
    clock = time.perf_counter if prepared.waits else time.process_time
    for _ in sys.stdin:
        start = clock()
        prepared.action()
        print(json.dumps(clock() - start), flush=True)


if __name__ == "__main__":
    main()
