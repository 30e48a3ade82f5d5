"""Every function of ours whose name may stand in a payload.

Only a shared name (`weakreduce.share`) needs one: all else is written with the standard
library alone. Old payloads call these, so names stay and arguments added later have defaults.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

from weakreduce import names
from weakreduce.errors import DanglingWarning


def shared(name: str, is_callable: bool = True) -> Any:
    """What this process shares under `name`; with a warning, a throw-away object if nothing.

    The throw-away dies with the load, which leaves the weak thing on it dead, as it should be.
    """
    found = names.lookup(name)
    if found is not None:
        return found
    warnings.warn(
        f"nothing is shared as {name!r} in this process, so the weak reference to it arrived dead; "
        f"call weakreduce.share({name!r}, obj) here before loading",
        DanglingWarning,
        stacklevel=2,
    )
    return functools.partial(int) if is_callable else set()
