"""The semantics on random graphs, against the reference model in `graphs.py`."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import graphs
import pytest
from graphs import Model, Spec
from hypothesis import given
from hypothesis import strategies as st
from specs import SETTINGS, specs

import weakreduce


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
