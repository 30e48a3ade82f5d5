"""The semantics on random graphs, against the reference model in `graphs.py`."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import graphs
import pytest
from graphs import Model, Spec, Weak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import weakreduce

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


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@given(spec=specs(), outside=st.sampled_from(["snapshot", "dangle"]),
       protocol=st.integers(2, 5), data=st.data())  # fmt: skip
@SETTINGS
def test_copies_keep_shape_fates_and_lives(
    host: str, spec: Spec, outside: str, protocol: int, data: Any
) -> None:
    """Isomorphism, fates, and which objects live once strong edges of the copy are cut."""
    model = Model(spec, outside)
    root, nodes = graphs.build(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        payload = weakreduce.dumps(root, policy=outside, host=host, protocol=protocol)
        copied = weakreduce.loads(payload, host=host)
    assert nodes
    gc.collect()
    copies = graphs.check_copy(spec, model, copied, weakreduce.is_pinned)
    edges = [(n, i) for n in sorted(copies) for i in range(len(spec.strong[n]))]
    cut = set(data.draw(st.lists(st.sampled_from(edges), unique=True))) if edges else set()
    keep = data.draw(st.integers(0, len(spec.roots)))
    graphs.check_lives(spec, model, copied, copies, keep, cut)


@pytest.mark.parametrize("host", ["cloudpickle", "dill", "pickle"])
@given(spec=specs(), outside=st.sampled_from(["snapshot", "dangle"]))
@SETTINGS
def test_the_same_graph_gives_the_same_bytes(host: str, spec: Spec, outside: str) -> None:
    """Two builds of one spec, at other addresses, give the same payload."""
    first, keep = graphs.build(spec)
    payload = weakreduce.dumps(first, policy=outside, host=host)
    filler = [object() for _ in range(100)]
    second, keep_too = graphs.build(spec)
    assert payload == weakreduce.dumps(second, policy=outside, host=host)
    assert keep
    assert keep_too
    assert filler
