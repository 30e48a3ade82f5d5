"""prompt_toolkit: a menu of completions keeps widths in a WeakKeyDictionary, by state.

``MultiColumnCompletionMenuControl`` in ``prompt_toolkit/layout/menus.py``.
"""

from __future__ import annotations

import journey
from prompt_toolkit.buffer import CompletionState
from prompt_toolkit.completion import Completion
from prompt_toolkit.document import Document
from prompt_toolkit.layout.menus import MultiColumnCompletionMenuControl


def make() -> tuple[CompletionState, MultiColumnCompletionMenuControl]:
    state = CompletionState(Document("he"), [Completion("hello"), Completion("help")])
    menu = MultiColumnCompletionMenuControl()
    menu._get_column_width(state)
    return state, menu


def works(sent: tuple[CompletionState, MultiColumnCompletionMenuControl]) -> None:
    state, menu = sent
    widths = menu._column_width_for_completion_state
    count, width = widths[state]
    assert (count, width) == (2, menu._get_column_width(state))
    other = CompletionState(Document(""), [Completion("longer than the others")])
    assert menu._get_column_width(other) > width
    assert len(widths) == 2
    del other
    assert len(widths) == 1


def test_a_menu_keeps_its_widths() -> None:
    journey.refused(make())
    journey.travels(make, works)
