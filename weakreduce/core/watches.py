"""What a watch is: what a dump tells it, and what it may ask of a dump that has ended.

Who watches is found out in `watchers`; the watches themselves live in `weakreduce.report`. Rule:
nothing is done here, and no walk, session or pickler is named: these are the only sides that dumps
and reports know of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, final

from weakreduce.model.decide import Decision
from weakreduce.model.kinds import Edge
from weakreduce.model.policies import Policy

#: Asked of each instance before the walk is: gives a reduction, or `NotImplemented`.
Hook = Callable[[Any], Any]


@final
class Culprit(NamedTuple):
    """What cannot be pickled."""

    #: The object; or the nearest holder in the graph of an object that a reduction made.
    obj: Any
    path: str
    #: What it is, and where.
    text: str
    #: It is the recursion that went too deep, and there is no use in looking for more.
    fatal: bool = False


@final
class Payload(NamedTuple):
    """A payload that is finished, and the memo that names its objects."""

    data: bytes
    #: What writes to the file itself: its place in the payload, its size, and the function.
    deferred: list[tuple[int, int, Callable[[], Any]]]
    #: id -> entry and object.
    memo: dict[int, Any]
    #: How many entries the memo had before.
    entries_before: int


class Dump(Protocol):
    """A dump that has ended, as a watch may ask it."""

    @property
    def policy(self) -> Policy:
        """The policy in force."""

    @property
    def host(self) -> str:
        """The name of the host."""

    def by_name(self, obj: object, /) -> bool:
        """Whether the pickler writes a class, function or module as a name."""

    def size(self) -> int:
        """Bytes that are written."""

    def payload(self) -> Payload:
        """What is written, to be put back after `weigh`."""

    def put_back(self, payload: Payload) -> None:
        """Leave the dump as it was when it gave this payload."""

    def weigh(self, obj: object, limit: float | None, *, with_snapshots: bool) -> int | None:
        """Bytes of the pickle of `obj` by this pickler; None where that is too large, or fails.

        The payload is lost, and `size` is what was written for `obj` alone.

        Args:
            obj: what is weighed.
            limit: bytes; None for no limit.
            with_snapshots: whether they travel; else they dangle.
        """


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

    def hooks(self, reduced: Callable[[Any], Any] | None) -> Sequence[Hook]:
        """What is asked of each instance that the walk meets below the root, in this order.

        It is asked before the walk is, and before the walk looks into `left_out`.

        Args:
            reduced: gives the reduction of an object, or raises what its code raises; None where
                the walk is one that writes snapshots as well.
        """

    def see(self, edge: Edge, decision: Decision) -> None:
        """An edge and its fate."""

    def refused(self, edge: Edge, decision: Decision) -> None:
        """An edge is refused, and the dump goes on."""

    def finish(self, dump: Dump, root: object, dropped: Iterable[tuple[object, str]]) -> None:
        """The payload is complete; `dropped` are callbacks that cannot be pickled, and why."""

    def fail(self, dump: Dump, root: object, error: Exception, culprit: Culprit | None) -> None:
        """The dump raises this error (`culprit` is what `blame` found out), and nothing is sent."""
