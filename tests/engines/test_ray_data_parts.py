"""What Ray Data is given in the place of a function or class that holds a weak thing, by itself.

That it travels and runs there: `test_ray_data.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import types
import weakref
from typing import Any

import cloudpickle
import pytest
from things import Thing

import weakreduce
from weakreduce.engines import ray_data
from weakreduce.model.bound import Bound

pytestmark = pytest.mark.needs("ray")


def standing_for(cls: Any) -> Any:
    """What stands for a class, whose payload is made now."""
    bound = Bound(cloudpickle.dumps([cls]), "a class")
    payload = ray_data._Payload(bound, [])
    return ray_data._class(ray_data._Part(payload, 0), cls)


def test_an_instance_says_what_it_is() -> None:
    class Looking:
        def __repr__(self) -> str:
            return "Looking for it"

        def __call__(self, row: Any) -> Any:
            return row

    opened = standing_for(Looking)
    assert opened.__name__ == "Looking"
    assert repr(opened()) == "Looking for it"
    assert opened()(3) == 3


def test_coroutines_stay_coroutines() -> None:
    thing = Thing("it")
    weak = weakref.ref(thing)

    class Awaiting:
        async def __call__(self, row: Any) -> Any:
            await asyncio.sleep(0)
            return row, weak().name  # type: ignore[union-attr]

    class Generating:
        async def __call__(self, row: Any) -> Any:
            yield row
            yield weak().name  # type: ignore[union-attr]

    awaiting, generating = standing_for(Awaiting), standing_for(Generating)
    del thing
    assert inspect.iscoroutinefunction(awaiting.__call__)
    assert asyncio.run(awaiting()(1)) == (1, "it")

    async def listed() -> list[Any]:
        return [item async for item in generating()(1)]

    assert asyncio.run(listed()) == [1, "it"]


def test_what_says_by_itself_that_nothing_weak_is_in_it_is_not_pickled() -> None:
    operation = types.SimpleNamespace(fn=json.loads, fn_args=(1, "a"), fn_kwargs={"key": [2.5]})
    before = vars(operation).copy()
    with weakreduce.policy("forbid"):
        ray_data._pack(operation)
    assert vars(operation) == before
    assert pickle.loads(pickle.dumps(operation)) == operation
