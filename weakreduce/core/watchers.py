"""Who watches a dump: the meeting point of dumps (below) and of reports, records and logs (above).

A dump asks `watch_for` once, when it begins. Nearly always the answer is None, and nothing of
this costs anything. What a watch is told stands in `watches`. What it does with that lives in
`weakreduce.report`, which is imported by the first dump that is watched: the face hands over what
makes a watch. Rule: nothing here knows a pickler; and as this is imported with weakreduce, it has
to be light.
"""

from __future__ import annotations

import sys

from weakreduce.model.blocks import Block, Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any

    from weakreduce.core.watches import Watch


class Watched:
    """A file that throws away what is written, for a dump that is run for its watch alone."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def write(self, data: bytes) -> int:
        """Forget the data."""
        return len(data)


#: What gets the report of each dump of this process, in whatever thread, and the sizes of payloads
#: that were not sent after all. A dict, which is changed in one step, instead of a lock, which a
#: forked child might find taken.
receivers: dict[Callable[[Any], None], None] = {}
#: The watch of the dump that is running in this context; False where dumps are not to be seen.
around = Scope("weakreduce_watch")
_make_watch: Callable[[], Watch] | None = None
_logger: logging.Logger | None = None


def make_watches_by(make_watch: Callable[[], Watch]) -> None:
    """Let `make_watch` make the watch of each dump that is recorded or logged from now on."""
    global _make_watch
    _make_watch = make_watch


def add_receiver(receiver: Callable[[Any], None]) -> None:
    """Hand the report of each dump that ends from now on to `receiver`."""
    receivers[receiver] = None


def remove_receiver(receiver: Callable[[Any], None]) -> None:
    """Hand no more reports to `receiver`."""
    receivers.pop(receiver, None)


def take_back(size: int) -> None:
    """Say that a payload of so many bytes was not sent: what is sent is pickled once more."""
    for receive in list(receivers):
        receive(size)


def logger() -> logging.Logger | None:
    """The logger ``weakreduce`` where it takes DEBUG messages, else None.

    Where nobody has imported `logging`, nobody listens; so we do not import it.
    """
    global _logger
    if _logger is None:
        module = sys.modules.get("logging")
        if module is None:
            return None
        try:
            _logger = module.getLogger("weakreduce")
        except AttributeError:  # `logging` is being imported in this moment
            return None
    return _logger if _logger is not None and _logger.isEnabledFor(10) else None


def watch_for(file: object) -> Watch | None:
    """Who watches the dump to this file, if anybody does."""
    if type(file) is Watched:
        return file.watch
    if not receivers and logger() is None:
        return None
    if around.get() is False or _make_watch is None:
        return None
    return _make_watch()


class watching(Block):  # noqa: N801 - it reads as a verb, as `policy` does
    """Dumps inside the block are part of this watch; with False, they are not seen at all."""

    scope = around

    def __init__(self, watch: Watch | bool) -> None:
        self.watch = watch

    def __enter__(self) -> None:
        self.enter(self.watch)
