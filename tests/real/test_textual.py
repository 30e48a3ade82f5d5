"""textual: a widget is held by ``weakref.ref``: by its styles and by the list of its children.

See ``RenderStyles`` in ``textual/css/styles.py``, ``textual/message_pump.py`` and
``textual/_node_list.py``.
"""

from __future__ import annotations

import journey
from textual.widgets import Label


def make() -> Label:
    return Label("hello", id="greeting")


def works(label: Label) -> None:
    assert label.id == "greeting"
    assert str(label.render()) == "hello"
    label.styles.width = 20
    assert label.styles.width.value == 20


def test_a_widget_is_rendered_there() -> None:
    journey.refused(make())
    journey.travels(make, works)
