"""vispy: emitters hold their source, and whoever listens, by ``weakref.ref``.

See ``EventEmitter.source`` and ``_normalize_cb`` in ``vispy/util/event.py``; every transform, node
and visual has one.
"""

from __future__ import annotations

import journey
from vispy.util.event import Event
from vispy.visuals.transforms import STTransform


class View:
    def __init__(self) -> None:
        self.seen: list[object] = []
        self.zoom = STTransform(scale=(2, 2))
        self.zoom.changed.connect(self.on_zoom)

    def on_zoom(self, event: Event) -> None:
        self.seen.append(event.source)


def works(view: View) -> None:
    assert view.zoom.map([1, 1])[0] == 2
    view.zoom.scale = (3, 3)
    assert view.seen == [view.zoom]
    assert view.zoom.map([1, 1])[0] == 3


def test_a_transform_tells_of_changes() -> None:
    journey.refused(View())
    journey.travels(View, works)
