"""urwid: whoever listens weakly to a signal is held by ``weakref.ref`` (``urwid/signals.py``)."""

from __future__ import annotations

import journey
import urwid


def make() -> urwid.ListBox:
    return urwid.ListBox(urwid.SimpleFocusListWalker([urwid.Text("a"), urwid.Text("b")]))


def works(box: urwid.ListBox) -> None:
    assert [text.text for text in box.body] == ["a", "b"]
    box.body.append(urwid.Text("c"))
    box.set_focus(2)
    assert box.focus.text == "c"
    assert box.render((5, 3)).decoded_text[0].startswith("a")


def test_a_list_box_is_drawn_there() -> None:
    journey.refused(make())
    journey.travels(make, works)
