"""Who watches a dump: the meeting point of `dump` (below) and of reports, records and logs (above).

A dump asks `watch_for` once, when it begins. Nearly always the answer is None, and nothing of
this costs anything. What a watch does with what it sees lives in `weakreduce.report`, which is
imported by the first dump that is watched. Rule: nothing here knows a pickler.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

from weakreduce.model.blocks import Block, Scope
from weakreduce.model.decide import Decision
from weakreduce.model.kinds import Edge


class Watch(Protocol):
    """One dump, as it is watched."""

    #: Refused edges are seen and walked past, instead of raised.
    goes_on: bool
    #: The dump does not warn: what it would say is in the report.
    quiet: bool
    #: Strong objects for which nothing is written, by id. They cannot be pickled.
    left_out: dict[int, Any]

    def begin(self) -> None:
        """A walk begins; what an earlier one saw was not final."""

    def hooks(self, walk: Any) -> Sequence[Callable[[Any], Any]]:
        """What is asked of each instance before the walk is, which is about to begin."""

    def see(self, edge: Edge, decision: Decision) -> None:
        """An edge and its fate."""

    def refused(self, edge: Edge, decision: Decision) -> None:
        """An edge is refused, and the dump goes on."""

    def finish(self, session: Any, root: Any, lost: Any, dropped: Any) -> None:
        """The payload is in the sink."""

    def fail(self, session: Any, root: Any, error: Exception, culprit: Any) -> None:
        """The dump raises this error (`culprit` is what `blame` found out), and nothing is sent."""


@final
class Watched:
    """A file that throws away what is written, for a dump that is run for its watch alone."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def write(self, data: Any) -> int:
        """Forget the data."""
        return len(data)


#: What gets the report of each dump of this process, in whatever thread. A dict, which is changed
#: in one step, instead of a lock, which a forked child might find taken.
receivers: dict[Callable[[Any], None], None] = {}
#: The watch of the dump that is running in this context; False where dumps are not to be seen.
around = Scope("weakreduce_watch")
_logger: Any = None


def add_receiver(receiver: Callable[[Any], None]) -> None:
    """Hand the report of each dump that ends from now on to `receiver`."""
    receivers[receiver] = None


def remove_receiver(receiver: Callable[[Any], None]) -> None:
    """End that."""
    receivers.pop(receiver, None)


def logger() -> Any:
    """The logger ``weakreduce`` where it takes DEBUG messages, else None.

    Where nobody has imported `logging`, nobody listens; so we do not import it.
    """
    global _logger
    if _logger is None:
        logging = sys.modules.get("logging")
        if logging is None:
            return None
        try:
            _logger = logging.getLogger("weakreduce")
        except AttributeError:  # `logging` is being imported in this moment
            return None
    return _logger if _logger.isEnabledFor(10) else None


def watch_for(file: Any) -> Watch | None:
    """Who watches the dump to this file, if anybody does."""
    if type(file) is Watched:
        return file.watch
    if not receivers and logger() is None:
        return None
    if around.get() is False:
        return None
    watch: Watch = importlib.import_module("weakreduce.report.trace").Recording()
    return watch


class watching(Block):  # noqa: N801 - it reads as a verb, as `policy` does
    """Dumps inside the block are part of this watch; with False, they are not seen at all."""

    scope = around

    def __init__(self, watch: Watch | bool) -> None:
        self.watch = watch

    def __enter__(self) -> None:
        self.enter(self.watch)
