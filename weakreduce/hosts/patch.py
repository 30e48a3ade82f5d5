"""Put attributes of ours in place of a host's or an engine's, and take them away exactly.

`AttributePatch` is for any class or module, and `in_front` makes a function that stands before a
stock one; `PicklerPatch` is for the ``__init__`` and ``dump`` of a
Pickler class.

A pickler of a patched class writes to a `sink.Place`; its ``dump`` is run by `core.session`,
and the user's file has the finished payload or nothing. Instances made before, and dumps inside a
running dump of the same pickler, go to the host's own methods. A dump by a pickler that dumps in
another thread is refused.
"""

from __future__ import annotations

import functools
import importlib
from _thread import get_ident
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from weakreduce.core.sink import Buffers, Claim, Place, UnderWay
from weakreduce.hosts import opcodes_alone

if TYPE_CHECKING:
    from weakreduce.core.adapter import Adapter

_P = ParamSpec("_P")
_R = TypeVar("_R")
#: A function or method of a host's or an engine's, as it was before weakreduce.
Stock = Callable[..., Any]
#: What ``pickle.Pickler`` is given, in this order; classes derived from it may take other things.
ARGUMENTS: Final = ("file", "protocol", "fix_imports", "buffer_callback")
_ABSENT: Any = object()
#: Whether a dump of the host's own is running by a pickler that was made before ours: all of it is
#: as without us, though the host's table has our entries by now (`tables.py`).
as_stock: Final[ContextVar[bool]] = ContextVar("weakreduce_as_stock", default=False)
#: Stock picklers refuse that from Python 3.14 on; those before write nonsense, or crash.
_IN_USE: Final = "this pickler is dumping in another thread; each thread needs a pickler of its own"


@functools.cache
def _run() -> Any:
    # Imported by the first dump, not by `import weakreduce`: a process that only loads does not
    # pay for it.
    return importlib.import_module("weakreduce.core.session").run


def _dump_as_stock(stock: Callable[[Any, Any], None], pickler: Any, obj: object) -> None:
    """Let a pickler that was made before ours dump as it would have then."""
    token = as_stock.set(True)
    try:
        stock(pickler, obj)
    finally:
        as_stock.reset(token)


def in_front(ours: Callable[Concatenate[Stock, _P], _R]) -> Callable[[Stock], Callable[_P, _R]]:
    """A maker for `AttributePatch`, of what is called in a stock function's place.

    Args:
        ours: given the stock function first, and then what that would be given.
    """

    def make(stock: Stock) -> Callable[_P, _R]:
        @functools.wraps(stock)
        def called(*args: _P.args, **keywords: _P.kwargs) -> _R:
            return ours(stock, *args, **keywords)

        return called

    return make


class AttributePatch:
    """Attributes of classes and modules, replaced and put back exactly.

    Args:
        makers: triples of an owner (a class or module), a name, and a function that is given
            the stock attribute (None where there is none) and makes ours.
    """

    def __init__(self, *makers: tuple[Any, str, Callable[[Any], Any]]) -> None:
        self.makers = makers
        self.replaced: list[tuple[Any, str, Any, Any]] = []
        #: Whether ours is in place.
        self.applied = False

    def apply(self) -> None:
        """Put ours in place; nothing where it is there already."""
        if self.applied:
            return
        self.remove()  # an exception may have come in between
        for owner, name, make in self.makers:
            before = vars(owner).get(name, _ABSENT)
            ours = make(getattr(owner, name, None))
            self.replaced.append((owner, name, before, ours))  # first, or it might stay
            setattr(owner, name, ours)
        self.applied = True

    def remove(self) -> None:
        """Put back what was there, unless somebody has patched it since."""
        self.applied = False
        for owner, name, before, ours in reversed(self.replaced):
            if vars(owner).get(name) is ours:
                if before is _ABSENT:
                    delattr(owner, name)
                else:
                    setattr(owner, name, before)
        self.replaced.clear()


class PicklerPatch(AttributePatch):
    """The patch of one Pickler class.

    Args:
        cls: the class.
        make_adapter: makes a `core.adapter.Adapter`, given a pickler, the stock ``dump``, and
            whether the pickler has made a dump before.
        arguments: the names of what the stock ``__init__`` takes, in its order, the file first.
        after_init: called with the pickler and those arguments after the stock ``__init__`` was.
    """

    def __init__(
        self,
        cls: Any,
        make_adapter: Callable[[Any, Any, bool], Adapter],
        arguments: tuple[str, ...],
        after_init: Any = None,
    ) -> None:
        super().__init__((cls, "__init__", self._make_init), (cls, "dump", self._make_dump))
        self.cls = cls
        self.make_adapter = make_adapter
        self.arguments = arguments
        self.after_init = after_init

    def _make_init(self, stock: Any) -> Any:
        after_init, file_name = self.after_init, self.arguments[0]
        try:
            callback_at = self.arguments.index("buffer_callback")
        except ValueError:
            callback_at = len(self.arguments)
        cls = self.cls

        @functools.wraps(stock)
        def __init__(pickler: Any, /, *args: Any, **keywords: Any) -> None:  # noqa: N807
            file = args[0] if args else keywords.get(file_name)
            if len(args) > callback_at:
                callback = args[callback_at]
            else:
                callback = keywords.get("buffer_callback")
            own = pickler.__dict__
            if (
                not hasattr(file, "write")
                or (type(file) is Place and own.get("_weakreduce") is file)
                or not (type(pickler) is cls or isinstance(pickler, cls))
            ):
                # This raises as it always did; or a subclass that is patched as well has made
                # the place already; or it is called for a pickler that is none of ours
                # (`standard.py`).
                stock(pickler, *args, **keywords)
                return
            buffers = None if callback is None else Buffers(callback)
            own["_weakreduce"] = place = Place(file, buffers)
            if buffers is not None:
                if len(args) > callback_at:
                    args = (*args[:callback_at], buffers, *args[callback_at + 1 :])
                else:
                    keywords["buffer_callback"] = buffers
            if args:
                args = args[1:]
            else:
                del keywords[file_name]
            stock(pickler, place, *args, **keywords)
            if after_init is not None:
                after_init(pickler, place, *args, **keywords)

        return __init__

    def _make_dump(self, stock: Any) -> Any:
        make_adapter = self.make_adapter

        @functools.wraps(stock)
        def dump(pickler: Any, obj: Any) -> None:
            place = pickler.__dict__.get("_weakreduce")
            if place is None:
                _dump_as_stock(stock, pickler, obj)
                return
            if place.under_way() is not None:
                if place.thread != get_ident():
                    raise RuntimeError(_IN_USE)
                # Else one of this thread has ended, and another thread, which asks the same, holds
                # for a moment what that left.
                if place.adapter is not None:
                    stock(pickler, obj)
                    return
            if opcodes_alone.needs_no_dump(pickler, place, obj):
                opcodes_alone.dump(pickler, place, obj)
                return
            claims = place.claims
            # A loop of one turn: what it loops over is on the stack of this frame.
            for claim in map(Claim, (UnderWay(),), (claims.discard,)):
                claims.add(claim)
                if len(claims) > 1:
                    raise RuntimeError(_IN_USE)
                place.thread, place.under_way = get_ident(), claim
                place.end()  # a second exception may have struck while this was done
                try:
                    try:
                        place.run(_run(), make_adapter(pickler, stock, place.used), obj)
                    finally:
                        place.end()
                except BaseException:
                    # An exception (a Ctrl-C) may have struck while this was done.
                    place.end()
                    raise

        return dump
