"""toga: a handler is held weakly, by WeakMethod where it is a method.

``WeakrefCallable`` in ``toga/handlers.py``.
"""

from __future__ import annotations

import gc
import weakref

import journey
from toga.handlers import WeakrefCallable


class Form:
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.on_change = WeakrefCallable(self.changed)

    def changed(self, value: int) -> None:
        self.seen.append(value)


def works(form: Form) -> None:
    form.on_change(3)
    assert form.seen == [3]
    handler, gone = form.on_change, weakref.ref(form)
    del form
    gc.collect()
    assert gone() is None
    handler(4)  # which does nothing now


def test_a_handler_is_called_there() -> None:
    journey.refused(Form())
    journey.travels(Form, works)
