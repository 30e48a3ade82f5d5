"""streamz: ``Stream.downstreams`` is a set of weak references.

``OrderedWeakrefSet`` in ``streamz/orderedweakset.py``.
"""

from __future__ import annotations

import journey
import streamz


class Pipe:
    def __init__(self) -> None:
        self.out: list[int] = []
        self.source = streamz.Stream()
        self.doubled = self.source.map(lambda x: x * 2)
        self.sink = self.doubled.filter(lambda x: x > 2).sink(self.out.append)


def make() -> Pipe:
    pipe = Pipe()
    pipe.source.emit(2)
    return pipe


def works(pipe: Pipe) -> None:
    assert pipe.out == [4]
    pipe.source.emit(1)
    pipe.source.emit(5)
    assert pipe.out == [4, 10]
    assert next(iter(pipe.source.downstreams)) is pipe.doubled


def test_a_pipeline_flows_there() -> None:
    journey.refused(make())
    journey.travels(make, works)
