"""What a dump needs of a pickler: the questions of the walks, and the moves of a session.

There is one `Adapter` for each dump. `weakreduce.hosts` has one class for each family of picklers;
nothing in `core` knows another thing of picklers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from weakreduce.core.expressions import Reduction

#: What a pickler asks of each instance: it gives a reduction, or `NotImplemented`.
Override = Callable[[Any], Any]


class Adapter(Protocol):
    """A pickler in one dump, which it remembers as it was when this was made."""

    pickler: Any
    #: The pickle protocol.
    protocol: int
    #: Whether the pickler's own ``reducer_override``, if it has one, may care for any type.
    asks_for_all: bool
    #: Whether it cares for classes, and for all that `isinstance` takes for a function.
    asks_for_functions: bool
    #: Types whose instances the pickler alone writes, as long as its tables stay as they are.
    ordinary: dict[type, None]
    #: The module whose reducers in the tables are the host's own.
    host_module: str
    #: Whether a class by value is there, empty, while its attributes are being written.
    has_skeletons: bool
    #: Whether parts are pickled by themselves until a dump fails: a walk does not meet them.
    hides_parts: bool
    #: By id, classes and functions by value that are not known to be complete, each in a pair with
    #: what the pickler's memo has when it is. A pickler that does not tell what it writes by value
    #: (a Python one) always has an entry here, so that `is_open` is asked.
    opened: dict[int, Any]
    #: Objects and what their own code has answered, or raised, to another pickler in this dump.
    answers: Iterable[tuple[Any, Any]]
    errors: Iterable[tuple[Any, Exception, list[Any]]]

    # --- one dump -----------------------------------------------------------------------

    def plans(self) -> dict[type, Override | None]:
        """What is to be done with types that are known before anything is met."""

    def drive(self, override: Override, obj: object) -> None:
        """Run the host's own dump, with an override that is asked of every instance.

        Raises:
            Signal: what ended the walk from the inside, though the pickler has lost it on the way.
            Exception: what the pickler raises.
        """

    def memo(self) -> dict[int, Any]:
        """A copy of the memo, which keeps all that it names alive."""

    def memo_before(self) -> dict[int, Any]:
        """The memo as it was when the dump began."""

    def reset(self, memo: dict[int, Any]) -> None:
        """Put an earlier memo back."""

    def put_back(self, *, delivered: bool) -> None:
        """Leave the pickler as the dump found it, but for the memo of what is `delivered`."""

    def sibling_dump(self, obj: object, file: object) -> None:
        """Dump `obj` by itself, with a pickler of the same kind and settings."""

    @property
    def save_apart(self) -> Callable[[Any], None] | None:
        """Writes an object whose copy the unpickler makes and lays aside.

        None where the pickler (a C one) has no way to.
        """

    # --- what the pickler makes of a type -------------------------------------------------

    def entry(self, obj_type: type) -> Override | None:
        """A dispatch table's entry for a type, as registered now; the pickler takes that, too."""

    def is_own(self, obj_type: type, entry: Override) -> bool:
        """Whether an entry is the host's own, or as harmless: it may be asked twice."""

    def claims(self, entry: Override) -> bool:
        """Whether an entry for a weak type is a user's own: theirs wins."""

    def stock_override(self, obj: object) -> Any:
        """What the pickler's own override says of an object."""

    # --- what the pickler makes of an object ----------------------------------------------

    def reduction(self, obj: object) -> Reduction | None:
        """The reduction with which the pickler writes `obj`; None if it uses another way."""

    def check_reduction(self, obj: object, reducer: object, found: object) -> None:
        """Raise what the pickler raises for what is no reduction, if that names who gave it."""

    def persistent_id(self) -> Override | None:
        """The pickler's ``persistent_id``, which may claim any object, if it has one."""

    def by_name(self, obj: object) -> bool:
        """Whether the pickler writes a class, function or module as a name."""

    def finds(self, obj: object, name: str) -> bool:
        """Whether the pickler finds this very object under a name that its reduction gave."""

    # --- what is written by value, and whether it is complete -------------------------------

    def is_open(self, obj: object, met: dict[int, Any]) -> bool:
        """Whether a class or function by value is incomplete where the payload stands.

        Its attributes are being written, and lead here. `met` is what was met so far.
        """

    def closing(self, obj: object, found: object) -> Any:
        """The reduction of a class or function, so that `is_open` is exact."""

    def in_steps(self, found: Any) -> Any:
        """A reduction of the host's own that hands over all attributes at once: one after it."""

    def namespaces(self, obj: object, found: object) -> Iterable[tuple[dict[Any, Any], Any]]:
        """The names that a class or function by value holds, given its reduction.

        Each with a function that makes the expression which puts one name in.
        """
