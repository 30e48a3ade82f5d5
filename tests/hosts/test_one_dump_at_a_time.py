"""A pickler that another dump has not left yet, at moments that a thread hits seldom.

Threads that do so for real are in `test_threads.py`, exceptions at every bytecode in
`interrupts.py`, which no coverage sees.
"""

from __future__ import annotations

import io
import pickle
import weakref
from typing import Any

import cloudpickle
import dill
import pytest
from things import Thing

from weakreduce.core.sink import Claim, UnderWay
from weakreduce.hosts import standard

PICKLERS: dict[str, Any] = {
    "cloudpickle": cloudpickle.Pickler,
    "dill": dill.Pickler,
    "pickle": standard.Pickler,
}


@pytest.mark.parametrize("host", PICKLERS)
def test_of_two_threads_that_begin_at_once_one_goes_on_at_most(host: str) -> None:
    """Both have seen that no dump is under way, and then both claim the pickler."""
    file, thing = io.BytesIO(), Thing()
    pickler = PICKLERS[host](file)
    claims = pickler._weakreduce.claims
    other = UnderWay()
    claims.add(Claim(other, claims.discard))
    with pytest.raises(RuntimeError, match="dumping in another thread"):
        pickler.dump([weakref.ref(thing), thing])
    assert file.getvalue() == b""
    assert len(claims) == 1  # what was refused claims nothing any more
    del other
    pickler.dump([weakref.ref(thing), thing])
    copy = pickle.loads(file.getvalue())
    assert copy[0]() is copy[1]


class Looking(Thing):
    """Its reduction keeps what drives the dump."""

    seen: Any = None
    pickler: Any = None

    def __reduce__(self) -> Any:
        Looking.seen = Looking.pickler._weakreduce.adapter
        return Thing, (self.name,)


@pytest.mark.parametrize("host", PICKLERS)
def test_what_a_dump_was_kept_from_putting_back_is_put_back_by_the_next(host: str) -> None:
    """As by one exception while the dump ended, and a second while that was made up for."""
    thing = Thing()
    root = [weakref.ref(thing), thing, Looking()]
    reference = io.BytesIO()
    pickler = Looking.pickler = PICKLERS[host](reference)
    pickler.dump(root)
    # What is left behind: hooks of the dump, and a memo that no file has.
    file = io.BytesIO()
    pickler = Looking.pickler = PICKLERS[host](file)
    with pytest.raises(ZeroDivisionError):
        pickler.dump([Looking(), Failing()])
    pickler._weakreduce.adapter = Looking.seen
    pickler.reducer_override = lambda obj: 1 / 0
    pickler.dump(root)
    assert file.getvalue() == reference.getvalue()
    assert vars(pickler).get("reducer_override") is None


class Failing:
    def __reduce__(self) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize("host", ["dill", "pickle"])
def test_an_override_that_was_set_on_a_pickler_is_asked_and_stays(host: str) -> None:
    file, thing, asked = io.BytesIO(), Thing(), []

    def override(obj: Any) -> Any:
        if type(obj) is Looking:
            asked.append(obj)
            return Thing, ("instead",)
        return NotImplemented

    pickler = PICKLERS[host](file)
    pickler.reducer_override = override
    pickler.dump([weakref.ref(thing), thing, Looking()])
    assert pickler.reducer_override is override
    assert asked
    copy = pickle.loads(file.getvalue())
    assert copy[0]() is copy[1]
    assert copy[2].name == "instead"
