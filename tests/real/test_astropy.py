"""astropy: a column of a table holds the table by ``weakref.ref``.

``info.parent_table`` of its mixin columns (``astropy/utils/data_info.py``), ``parent_table`` of the
others (``astropy/table/column.py``).
"""

from __future__ import annotations

import astropy.units as u
import journey
from astropy.table import QTable

_alive: list[QTable] = []


class Task:
    def __init__(self, table: QTable) -> None:
        self.magnitudes = table["magnitude"]


def make() -> Task:
    table = QTable({"flux": [1.0] * 10_000 * u.Jy, "magnitude": [5.0, 6.0] * 5_000 * u.mag})
    _alive.append(table)
    return Task(table)


def works(task: Task) -> None:
    assert task.magnitudes[:2].sum() == 11 * u.mag


def test_a_column_travels() -> None:
    journey.refused(make())
    whole = journey.travels(make, works)
    assert journey.travels(make, works, rules=((QTable, "dangle"),)) < whole / 1.8
