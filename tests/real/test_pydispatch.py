"""PyDispatcher: ``saferef.BoundMethodWeakref`` holds an object and a function by ``weakref.ref``.

See ``pydispatch/saferef.py`` (louie has the same). Its ``__new__`` takes the
method, and a table of its class finds it by ``id``: the recipe sends the method weakly, and has the
reference made there.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import journey
from pydispatch import saferef


class Model:
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.listener = saferef.safeRef(self.see)

    def see(self, number: int) -> None:
        self.seen.append(number)


def works(model: Model) -> None:
    reference = model.listener
    reference()(1)
    assert model.seen == [1]
    assert saferef.safeRef(model.see) is reference
    del model
    gc.collect()
    assert reference() is None


def reduce_reference(reference: saferef.BoundMethodWeakref) -> tuple[Any, ...]:
    method = reference()
    return made_there, (method and weakref.WeakMethod(method),)


def made_there(weak: weakref.WeakMethod[Any] | None) -> Any:
    method = weak and weak()
    return method and saferef.safeRef(method)


def test_a_method_is_called_there() -> None:
    journey.refused(Model())
    with journey.reduced_by(reduce_reference, saferef.BoundMethodWeakref):
        journey.travels(Model, works)
