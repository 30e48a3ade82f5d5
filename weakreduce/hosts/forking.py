"""multiprocessing's ForkingPickler: pipes, queues, pools, Process arguments, Managers.

What we rely on, pinned by the tests: it is a subclass of the C pickler with a dispatch table of its
own for each instance, and everything that multiprocessing sends goes through it.
"""

from __future__ import annotations

from types import ModuleType

from weakreduce.core import observe
from weakreduce.hosts.patch import ARGUMENTS, PicklerPatch
from weakreduce.hosts.plain import plain
from weakreduce.hosts.standard import Engine, keep_protocol


def _is_plain(message: object) -> bool:
    """Whether a message is nothing but numbers, text, names and the like, and nobody watches."""
    # Most are: to find that out takes a fraction of what a dump by us takes.
    return plain(message, names=True) and observe.watch_for(None) is None


def make_patch(module: ModuleType) -> PicklerPatch:
    """The patch of ``multiprocessing.reduction``."""
    return PicklerPatch(module.ForkingPickler, Engine, ARGUMENTS, keep_protocol, _is_plain)
