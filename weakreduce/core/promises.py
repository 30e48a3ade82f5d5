"""What the second walk has promised: that the referents of links are strongly in the payload.

The first walk met them there; but it runs code of the user's, which may have taken them out again.
What a `__reduce__` answers is remembered, so walks that begin anew see what the second one saw. (A
`__getstate__` is run in each walk, and may go on.) Nothing here decides or writes.
"""

from __future__ import annotations

import gc
from typing import Any, Final

from weakreduce.core.facts import Facts
from weakreduce.core.held import ATOMS
from weakreduce.core.reach import Reach
from weakreduce.model.classes import NAMEABLE
from weakreduce.paths.parts import parts

#: How many objects more than were met are looked at: behind what does not travel may be all the
#: rest of the program.
_MORE: Final = 10_000


def is_broken(root: object, promised: list[Any], reach: Reach, facts: Facts) -> bool:
    """Whether some of what was inside is no longer there, said once in a dump.

    Args:
        root: of the payload.
        promised: referents that were met weakly before anything else.
        reach: what the first walk has met.
        facts: of the dump.
    """
    if not promised or facts.begun_anew:
        return False
    missing = (set(map(id, promised)) & reach.met.keys()) - facts.callbacks.keys()
    if not missing:
        return False
    facts.begun_anew = _is_gone(root, missing, reach, facts)
    if facts.begun_anew:
        facts.foremost.clear()  # of these, too, some may have left the payload
    return facts.begun_anew


def _is_gone(root: object, missing: set[int], reach: Reach, facts: Facts) -> bool:
    """Whether some of these are not found, as the collector sees what holds what."""
    answers = facts.reductions.found
    seen: dict[int, Any] = {}
    found: list[Any] = [root]
    while found and len(seen) < len(reach.met) + _MORE:
        missing.difference_update(map(id, found))
        if not missing:
            return False
        level = {
            identity: obj
            for obj in found
            if type(obj) not in ATOMS and (identity := id(obj)) not in seen
        }
        seen.update(level)
        found = [answers[identity] for identity in level if identity in answers]
        instances = []
        for identity, obj in level.items():
            if not issubclass(type(obj), NAMEABLE):
                if identity not in answers:
                    instances.append(obj)
            elif not facts.adapter.by_name(obj):
                found += [part for _, part in parts(obj, "")]
        found += gc.get_referents(*instances)
    return not found
