"""What is on the receiver, where the payload of a walk stands, with all that it holds.

Asked of classes and functions, and of the arguments of a construction: a short look, for which no
user's code is asked.
"""

from __future__ import annotations

import copyreg
from typing import Any, Final

from weakreduce.core.expressions import Reduction, Standin
from weakreduce.core.held import ATOMS
from weakreduce.core.walk import Walk
from weakreduce.model.classes import NAMEABLE, bases_of

#: The construction that the default reduction names.
NEWOBJ: Final = copyreg.__newobj__  # type: ignore[attr-defined]


class Presence:
    """Which classes and functions are there.

    Args:
        walk: the walk.
    """

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.engine = walk.engine
        #: By id, the shells of objects whose construction may lead back to them, until it is done.
        self.under_way: dict[int, Standin] = {}
        #: By id, classes and functions that are on the receiver, with all that they hold.
        self._complete: dict[int, Any] = {id(NEWOBJ): NEWOBJ}

    def _is_open(self, obj: object) -> bool:
        return self.engine.is_open(obj, self.walk.met)

    def _is_complete(self, obj: Any) -> bool:
        """Whether a class or function is there, with all that it holds."""
        if id(obj) in self._complete:
            return True
        parts = (*bases_of(obj), type(obj)) if issubclass(type(obj), type) else (obj,)
        found = all(map(self._is_there, parts))
        if found:
            self._complete[id(obj)] = obj
        return found

    def _is_there(self, obj: object) -> bool:
        if id(obj) in self.walk.met and id(obj) not in self.under_way:
            return not self._is_open(obj)
        return self.engine.by_name(obj)

    def is_closed_construction(self, reduction: Reduction) -> bool:
        """Whether the arguments of a construction can lead nowhere, from a short look at them."""
        complete = self._complete
        if len(reduction) < 2 or type(reduction[1]) is not tuple:
            return False  # the pickler says why
        for part in (reduction[0], *reduction[1]):
            if type(part) not in ATOMS and id(part) not in complete and not self.is_closed(part):
                return False
        return True

    def is_closed(self, part: object) -> bool:
        """Whether one of them can lead nowhere."""
        if id(part) in self._complete or type(part) in ATOMS:
            return True
        if type(part) is tuple:
            return all(map(self.is_closed, part))
        return issubclass(type(part), NAMEABLE) and self._is_complete(part)
