"""Random graphs for hypothesis: what it draws, and how many examples of it.

``WEAKREDUCE_EXAMPLES=2000 pytest tests/core/test_properties.py`` runs the properties at length.
"""

from __future__ import annotations

from typing import Any

import graphs
from graphs import Spec, Weak
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SETTINGS = settings(
    max_examples=graphs.EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)


@st.composite
def weak_things(draw: Any, size: int, classes: tuple[int, ...]) -> Weak:
    kind = draw(st.sampled_from(graphs.SINGLE + graphs.CONTAINERS))
    index = st.integers(0, size - 1)
    if kind in graphs.SINGLE:
        dead = kind != "called" and draw(st.integers(0, 5)) == 0
        others = (draw(index),) if kind == "called" else ()
        return Weak(kind, (draw(index),), others, dead)
    targets = tuple(draw(st.lists(index, max_size=4, unique=True)))
    others = tuple(draw(index) for _ in targets) if kind == "keys" else ()
    return Weak(kind, targets, others)


@st.composite
def specs(draw: Any) -> Spec:
    size = draw(st.integers(1, 9))
    index = st.integers(0, size - 1)
    classes = tuple(draw(st.integers(0, len(graphs.CLASSES) - 1)) for _ in range(size))
    return Spec(
        classes,
        tuple(tuple(draw(st.lists(index, max_size=2))) for _ in range(size)),
        tuple(tuple(draw(st.lists(weak_things(size, classes), max_size=2))) for _ in range(size)),
        tuple(draw(st.booleans()) for _ in range(size)),
        tuple(draw(st.lists(index, min_size=1, max_size=2))),
    )
