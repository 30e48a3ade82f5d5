"""multiprocessing's ForkingPickler: pipes, queues, pools, Process arguments, Managers.

What we rely on, pinned by the tests: it is a subclass of the C pickler with a dispatch table of its
own for each instance, and everything that multiprocessing sends goes through it.
"""

from __future__ import annotations

from typing import Any

from weakreduce.hosts.patch import PicklerPatch
from weakreduce.hosts.standard import patch_of


def make_patch(module: Any) -> PicklerPatch:
    """The patch of ``multiprocessing.reduction``."""
    return patch_of(module.ForkingPickler)
