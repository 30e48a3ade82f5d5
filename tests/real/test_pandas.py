"""pandas: ``DataFrame.flags`` holds its frame by ``weakref.ref`` (``pandas/core/flags.py``)."""

from __future__ import annotations

import journey
import pandas as pd


class Task:
    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame, self.flags = frame, frame.flags


def make() -> Task:
    return Task(pd.DataFrame({"a": [1, 2]}).set_flags(allows_duplicate_labels=False))


def works(task: Task) -> None:
    assert list(task.frame["a"]) == [1, 2]
    assert task.flags.allows_duplicate_labels is False
    assert task.flags._obj() is task.frame
    task.flags.allows_duplicate_labels = True  # an error where the frame is gone


def test_flags_stay_those_of_their_frame() -> None:
    journey.refused(make(), "cannot pickle 'weakref.ReferenceType' object")
    journey.travels(make, works)
