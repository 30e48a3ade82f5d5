"""What stands in a host's table: entries of ours, and how to look past them.

Our own dumps go before the tables, and to them ours are not there. What the entries do is in
`tables.py`.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from weakreduce.model.kinds import KINDS

#: The weak types that a table can have an entry for: it is asked by the very type.
WEAK_TYPES: Final[tuple[type, ...]] = (weakref.KeyedRef, *(kind.base for kind in KINDS))
#: Whether a dump of the host's own is running by a pickler that was made before ours: all of it is
#: as without us, though the table has our entries by now.
as_stock: Final[ContextVar[bool]] = ContextVar("weakreduce_as_stock", default=False)


class TableEntry:
    """An entry of ours in a host's table for a weak type.

    Args:
        replaced: the entry that was there before, or None.
    """

    def __init__(self, replaced: Any) -> None:
        self.replaced = replaced


def entry_of(table: Mapping[type, Any], obj_type: type) -> Any:
    """A table's entry for a type, as if ours were not there."""
    found = table.get(obj_type)
    return found.replaced if isinstance(found, TableEntry) else found
