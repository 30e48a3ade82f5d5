"""Dumps and loads by the hundred thousand, and what grows meanwhile: a script.

``python tests/run_leaks.py [KIND ...] [--hosts HOST ...] [--ways WAY ...] [--count 100000]``

Each line tells, for a host, a way and a weak kind, what there is more of after all dumps than after
a tenth of them: objects by type, references to what payloads name, and KiB of memory that are
resident. It exits with 1 where objects or references have grown. `hosts/test_growth.py` does the
same with small counts.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

import cargo
import growth


def main() -> int:
    parser = argparse.ArgumentParser(description="Dump and load, and count what is left.")
    parser.add_argument("kinds", nargs="*", default=list(cargo.KINDS))
    parser.add_argument("--hosts", nargs="*", default=["cloudpickle", "dill", "pickle"])
    parser.add_argument("--ways", nargs="*", default=list(growth.WAYS))
    parser.add_argument("--count", type=int, default=100_000)
    chosen = parser.parse_args()
    growth.growth(growth.size(), growth.size())  # the first fills caches
    failed = 0
    for host, way, kind in itertools.product(chosen.hosts, chosen.ways, chosen.kinds):
        start = time.perf_counter()
        growth.many(host, way, kind, chosen.count // 10)
        before = growth.size()
        before = growth.size()  # which counts the first one
        growth.many(host, way, kind, chosen.count - chosen.count // 10)
        found = growth.growth(before, growth.size())
        failed += any(more > 0 for more in (*found.objects.values(), found.references))
        print(
            f"{host}, {way}, {kind}: {chosen.count} in {time.perf_counter() - start:.0f} s: "
            f"objects {found.objects or 0}, references {found.references}, "
            f"{found.resident // 1024} KiB",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
