"""cattrs: a converter's hooks are a ``functools.singledispatch``, whose cache is weak.

``MultiStrategyDispatch`` in ``cattrs/dispatch.py``. It caches in an ``lru_cache`` besides, which
cloudpickle takes for an importable function; dill does not.
"""

from __future__ import annotations

import attrs
import cattrs
import gaps
import journey
import pytest


@attrs.define
class Point:
    x: int
    more: list[int]


def make() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(int, str)
    assert converter.unstructure(Point(1, [2])) == {"x": "1", "more": ["2"]}
    return converter


def works(converter: cattrs.Converter) -> None:
    assert converter.unstructure(Point(1, [2])) == {"x": "1", "more": ["2"]}
    assert converter.structure({"x": "1", "more": ["2"]}, Point) == Point(1, [2])


@pytest.mark.needs(gaps.DILL_BY_VALUE)
def test_a_converter_converts_there() -> None:
    journey.refused(make())
    journey.travels(make, works, ways=("dill",))
