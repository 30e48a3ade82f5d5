"""Measure: run the two sides of a row in processes of their own, one run of each by turns.

The machine's other work then falls on both sides alike; a figure is a median of ratios.
Nothing here knows which rows there are.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

CHILD = Path(__file__).with_name("child.py")


class Side(NamedTuple):
    """A case, its size, and whether the process imports weakreduce."""

    process: str  # "stock" or "weakreduce"
    case: str
    size: int


class Measured(NamedTuple):
    """What was found of one side."""

    rounds: list[float]  # seconds of each round
    size: int

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.rounds)

    def ratio(self, other: Measured) -> float:
        """The median of the ratios of each round: both sides of one see the same machine."""
        return statistics.median(
            one / two for one, two in zip(self.rounds, other.rounds, strict=True)
        )


class _Runner:
    def __init__(self, side: Side) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), side.process, side.case, str(side.size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.size = 0
        self.seconds: list[float] = []

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def ready(self) -> None:
        self.size = self.answer()["size"]

    def run(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(self.answer())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def side_by_side(sides: list[Side], rounds: int) -> list[Measured]:
    """What each side takes in each of `rounds` runs, all sides taking turns."""
    runners: list[_Runner] = []
    try:
        for side in sides:
            runners.append(_Runner(side))
            runners[-1].ready()
        for number in range(rounds):
            # Forwards and backwards by turns: no side is always the one that comes first.
            for runner in runners if number % 2 else reversed(runners):
                runner.run()
    finally:
        for runner in runners:
            runner.close()
    return [Measured(runner.seconds, runner.size) for runner in runners]


def peak_memory(side: Side) -> int:
    """The peak of a process's resident memory, in kilobytes, over one run."""
    done = subprocess.run(
        [sys.executable, str(CHILD), side.process, side.case, str(side.size), "--peak"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(json.loads(done.stdout)["peak"])


def import_milliseconds(statement: str, rounds: int) -> float:
    """The median of what ``-X importtime`` adds up for a statement in an otherwise bare process."""
    found = []
    for _ in range(rounds):
        done = subprocess.run(
            [
                sys.executable,
                "-X",
                "importtime",
                "-c",
                f"import sys; print('-', file=sys.stderr); {statement}",
            ],
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        lines = done.stderr.rpartition("\n-\n")[2].splitlines()
        found.append(sum(int(line.split("|")[0].split(":")[1]) for line in lines) / 1000)
    return statistics.median(found)
