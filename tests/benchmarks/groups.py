"""The questions of docs/performance.md, in the order in which a reader asks them.

Each row of a table belongs to one; the page has a table under the heading of each.
"""

from __future__ import annotations

import enum


class Group(enum.Enum):
    """A heading of the page."""

    NOTHING_WEAK = "What does it cost me if I have nothing weak?"
    WEAK = "What does it cost me if I have weak references?"
    SLOW = "When is it slow?"
    ENGINES = "What does it cost through an engine?"
    REPORTS = "What does a report cost?"
    FLOORS = "Where a bar is not reached"
