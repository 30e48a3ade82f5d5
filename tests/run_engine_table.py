"""Run every weak kind through every engine, and write down what arrived.

    python tests/run_engine_table.py            # prints the table
    python tests/run_engine_table.py --write    # puts it into the documentation

On Python 3.14, which has every engine and what every engine needs. The tests run the same, and
compare each line with the page.
"""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import cargo
from engines import ENGINES, WAYS, Engine, Submit

import weakreduce

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/engines.md"
START = "<!-- made by tests/run_engine_table.py -->"


def ticket() -> Any:
    """A weak thing that comes along with a task."""
    return weakref.ref(cargo.Target)


def arrived(way: str, engine: Engine, submit: Submit, kind: str, place: str) -> str:
    """Send cargo by one way; what arrived."""
    if way in ("closure", "argument"):
        load, target = cargo.load(kind, place)
        if way == "closure":
            wait = submit(cargo.closure(load, engine.by_value))
        else:
            wait = submit(cargo.look, load)
        # What is submitted is what existed at the submitting call.
        del load, target
        gc.collect()
        return str(wait())
    if way == "result":
        return cargo.look(submit(cargo.give, kind, place, ticket())())
    try:
        submit(cargo.fail, kind, place, ticket())()
    except cargo.CargoError as error:
        load = error.cargo
    except Exception as error:
        if engine.exceptions or "CargoError" not in str(error):
            raise
        return "text"
    else:
        return "no exception"
    # Now the exception is gone: its traceback, if it came along, may hold the unpickler.
    return cargo.look(load)


def row(engine: Engine, submit: Submit, way: str, policy: str) -> dict[tuple[str, str], str]:
    """What arrived of each kind, inside and outside."""
    found = {}
    if way == "exception" and not engine.exceptions:
        # Text looks alike for all: one is enough.
        text = arrived(way, engine, submit, "ref", "inside")
        return {(kind, place): text for kind in cargo.KINDS for place in cargo.PLACES}
    for kind in cargo.KINDS:
        for place in cargo.PLACES:
            with weakreduce.policy(policy):
                found[kind, place] = arrived(way, engine, submit, kind, place)
    return found


def line(engine: Engine, way: str, found: dict[tuple[str, str], str]) -> str:
    """A line of the table."""
    cells = []
    for kind in cargo.KINDS:
        both = [found[kind, place] for place in cargo.PLACES]
        cells.append(" / ".join(dict.fromkeys(both)))
    return f"| {engine.name} | {way} | {' | '.join(cells)} |"


def main() -> None:
    """Run all engines."""
    lines = [
        f"| engine | way | {' | '.join(cargo.KINDS)} |",
        "|---|---|" + "---|" * len(cargo.KINDS),
    ]
    for engine in ENGINES.values():
        with engine.open() as submit:
            for way in WAYS:
                lines.append(line(engine, way, row(engine, submit, way, "snapshot")))
                print(lines[-1], file=sys.stderr)
    table = "\n".join(lines)
    if "--write" not in sys.argv:
        print(table)
        return
    before = PAGE.read_text(encoding="utf-8").partition(START)[0]
    PAGE.write_text(f"{before}{START}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
