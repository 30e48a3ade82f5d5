"""Put attributes of ours in place of a host's or an engine's, and take them away exactly.

`AttributePatch` is for any class or module; `PicklerPatch` for the ``__init__`` and ``dump`` of a
Pickler class.

A pickler of a patched class writes where it can be taken back (`sink.py`); its ``dump`` is run by
`weakreduce.session`, and the user's file has the finished payload or nothing. Instances made
before, and dumps inside a running dump of the same pickler, go to the host's own methods.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from weakreduce.sink import Buffers, place_for

_ABSENT: Any = object()


@functools.cache
def _dump() -> Any:
    # Imported by the first dump, not by `import weakreduce`: a process that only loads does not
    # pay for it.
    return importlib.import_module("weakreduce.session").run


class AttributePatch:
    """Attributes of classes and modules, replaced and put back exactly.

    Args:
        makers: triples of an owner (a class or module), a name, and a function that is given
            the stock attribute (None where there is none) and makes ours.
    """

    def __init__(self, *makers: tuple[Any, str, Callable[[Any], Any]]) -> None:
        self.makers = makers
        self.replaced: list[tuple[Any, str, Any, Any]] = []

    def apply(self) -> None:
        """Put ours in place; nothing where it is there already."""
        if self.replaced:
            return
        for owner, name, make in self.makers:
            before = vars(owner).get(name, _ABSENT)
            ours = make(getattr(owner, name, None))
            setattr(owner, name, ours)
            self.replaced.append((owner, name, before, vars(owner)[name]))

    def remove(self) -> None:
        """Put back what was there, unless somebody has patched it since."""
        for owner, name, before, ours in reversed(self.replaced):
            if vars(owner).get(name) is ours:
                if before is _ABSENT:
                    delattr(owner, name)
                else:
                    setattr(owner, name, before)
        self.replaced.clear()

    @property
    def applied(self) -> bool:
        """Whether ours is in place."""
        return bool(self.replaced)


class PicklerPatch(AttributePatch):
    """The patch of one Pickler class.

    Args:
        cls: the class.
        engine: a subclass of `picklers.PicklerEngine`.
        before_init: called with the pickler and the arguments after `file` before the stock
            ``__init__`` is.
        leaves: says of an object that is dumped whether it is for the stock ``dump`` alone.
    """

    def __init__(self, cls: Any, engine: Any, before_init: Any = None, leaves: Any = None) -> None:
        super().__init__((cls, "__init__", self._make_init), (cls, "dump", self._make_dump))
        self.cls = cls
        self.engine = engine
        self.before_init = before_init
        self.leaves = leaves

    def _make_init(self, stock: Any) -> Any:
        cls, before_init = self.cls, self.before_init

        @functools.wraps(stock)
        def __init__(pickler: Any, file: Any, *args: Any, **keywords: Any) -> None:  # noqa: N807
            place = pickler.__dict__.get("_weakreduce")
            if (
                (place is not None and place.busy)
                or not hasattr(file, "write")
                or not isinstance(pickler, cls)
            ):
                # A subclass that is patched as well has made the place already; or this
                # raises as it always did; or it is called for a pickler that is none of ours
                # (`standard.py`).
                stock(pickler, file, *args, **keywords)
                return
            callback = keywords.get("buffer_callback")
            buffers = None
            if callback is not None:
                buffers = keywords["buffer_callback"] = Buffers(callback)
            elif len(args) > 1 and args[-1] is not None and callable(args[-1]):
                buffers = Buffers(args[-1])
                args = (*args[:-1], buffers)
            place = place_for(file, buffers)
            if before_init is not None:
                before_init(pickler, *args, **keywords)
            pickler._weakreduce = place
            place.busy = True
            try:
                stock(pickler, place.target, *args, **keywords)
            finally:
                place.busy = False

        return __init__

    def _make_dump(self, stock: Any) -> Any:
        engine, leaves = self.engine, self.leaves

        @functools.wraps(stock)
        def dump(pickler: Any, obj: Any) -> None:
            place = pickler.__dict__.get("_weakreduce")
            if place is None or place.busy or (leaves is not None and leaves(obj)):
                stock(pickler, obj)
                return
            place.busy = True
            try:
                _dump()(engine, pickler, stock, place, obj)
            finally:
                place.end()
                place.busy = False

        return dump
