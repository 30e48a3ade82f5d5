"""A value that is in force inside a ``with`` block, and in no case after it.

What a block means is not known here: `in_force.policy` and `watchers.watching` are blocks.

An exception (a Ctrl-C) may strike at any bytecode: when ``__enter__`` has put the value in force
but not returned, or before the first line of ``__exit__``. No ``try`` inside of them reaches
there. So each ``with`` is given a callable of its own to leave by, which is nowhere but on the
stack of the frame that runs the ``with``. It dies with the block, however that ends, and whoever
asks for the value next sees that, and puts things right.
"""

from __future__ import annotations

from contextvars import ContextVar
from weakref import ref

try:  # as `functools` has it, which takes longer to import
    from _functools import partial  # type: ignore[import-not-found]
except ImportError:  # pragma: no cover - other interpreters than CPython keep it there alone
    from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from typing import Any


class _Entry:
    """A block that was entered, and the one around it."""

    __slots__ = ("around", "block", "leave", "token", "value")

    def __init__(self, block: Block, value: Any, leave: Any, around: _Entry | None) -> None:
        self.block = block
        self.value = value
        #: A weak reference to what the ``with`` leaves by; None where it is not known.
        self.leave = leave
        self.around = around
        self.token: Token[_Entry | None] | None = None


class Scope:
    """A value for each context: that of its innermost block of one kind."""

    def __init__(self, name: str) -> None:
        self.entries: ContextVar[_Entry | None] = ContextVar(name, default=None)

    def innermost(self) -> _Entry | None:
        """The innermost block that is open here; those that an exception cut short are left."""
        while (entry := self.entries.get()) is not None:
            if entry.leave is None or entry.leave() is not None:
                break
            if entry.token is None:
                self.entries.set(entry.around)
                continue
            try:
                self.entries.reset(entry.token)
            except (ValueError, RuntimeError):
                # This is a copy of the block's context, a task's: there its value stays in force.
                break
        return entry

    def get(self, default: Any = None) -> Any:
        """The value of the innermost block, or `default`."""
        entry = self.innermost()
        return default if entry is None else entry.value


#: What the ``with`` that is being entered here is going to leave by.
_leaving: ContextVar[ref[Any] | None] = ContextVar("weakreduce_leaving", default=None)


def _leave(block: Block, *_exception: object) -> None:
    """Leave a block, and those inside it that were not left."""
    entries = block.scope.entries
    entry = entries.get()
    while entry is not None and entry.block is not block:
        entry = entry.around
    if entry is None:
        raise RuntimeError("this block was not entered, or is left already")
    entries.set(entry.around)


class _Exit:
    """``__exit__`` of blocks."""

    def __get__(self, block: Block | None, owner: type) -> Any:
        if block is None:
            return _leave  # an ExitStack asks the class
        leave = partial(_leave, block)
        _leaving.set(ref(leave))
        return leave


class Block:
    """A context manager that puts a value in force in its `scope`.

    It may be entered by many threads and tasks, and inside itself.
    """

    scope: Scope

    def enter(self, value: Any) -> None:
        """Put a value in force, for ``__enter__``."""
        leave = _leaving.get()
        if leave is not None:
            _leaving.set(None)
            # Not by a name: an exception from here would keep this frame, and so the callable.
            if getattr(leave(), "args", (None,))[0] is not self:
                leave = None  # of another ``with``
        entry = _Entry(self, value, leave, self.scope.innermost())
        entry.token = self.scope.entries.set(entry)

    if TYPE_CHECKING:

        def __exit__(self, *exception: object) -> None: ...

    else:
        __exit__ = _Exit()
