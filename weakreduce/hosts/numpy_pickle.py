"""joblib's files: ``joblib.dump``, and so the results that ``joblib.Memory`` keeps.

Its pickler writes the bytes of a numpy array between the opcodes, straight into the file, and an
array of objects as a pickle of its own. Here such bytes are put off until the payload is right, so
that large arrays are not copied; and where there is a weak thing, arrays are part of the payload,
as lists are: with one copy of each object, whoever holds it. What is not weak is written as ever.

What we rely on, pinned by the tests: ``NumpyPickler`` is a subclass of the pure-Python pickler,
which dill, imported first, gives its savers; its ``save`` hands arrays alone to
``NumpyArrayWrapper.write_array(array, pickler)``, when the wrapper is written; ``file_handle`` is
used for their bytes only, ``buffered`` says whether it compresses; and ``NumpyUnpickler`` has
replaced the wrapper by the array when the next opcode is read.
"""

from __future__ import annotations

import functools
import pickle
import sys
import types
from typing import TYPE_CHECKING, Any, final

from weakreduce.hosts import scout
from weakreduce.hosts.dill import written_as_name
from weakreduce.hosts.patch import AttributePatch, PicklerPatch, Stock, in_front
from weakreduce.hosts.picklers import PythonAdapter, importable
from weakreduce.model.kinds import kind_of

if TYPE_CHECKING:
    from joblib.numpy_pickle import NumpyArrayWrapper, NumpyPickler
    from numpy import ndarray

from weakreduce.model.files import Writable

_PythonPickler: Any = pickle._Pickler


class _Mixed(BaseException):
    """There are arrays and a weak thing: a signal to begin again, which all code lets pass."""


@final
class _Arrays:
    """How the arrays of one dump are written; kept on the pickler while it runs."""

    def __init__(self) -> None:
        #: Whether an array was written as joblib does.
        self.apart = False
        self.weak_thing = False
        #: Whether arrays are part of the payload; known from the beginning of a dump.
        self.together = False

    def meet(self, *, apart: bool = False, weak_thing: bool = False) -> None:
        """Note an array, or a weak thing.

        Raises:
            _Mixed: where there is the other one, too.
        """
        self.apart |= apart
        self.weak_thing |= weak_thing
        if self.apart and self.weak_thing and not self.together:
            raise _Mixed

    def keep_together(self, pickler: NumpyPickler) -> None:
        """Let arrays be part of the payload from now on."""
        self.together = True
        pickler.save = functools.partial(_save, pickler)


class Adapter(PythonAdapter):
    """Drives ``NumpyPickler``."""

    host_module = "dill._dill"  # its savers, where they are among the pickler's
    hides_parts = True

    def entry(self, obj_type: type) -> Any:
        """Asked of each weak type, when it is first met."""
        found = super().entry(obj_type)
        if kind_of(obj_type) is not None and (found is None or not self.claims(found)):
            self.pickler._weakreduce_arrays.meet(weak_thing=True)
        return found

    def by_name(self, obj: Any) -> bool:
        """As stock pickle, or as dill, decides."""
        saver = self._savers.get(type(obj))
        if getattr(saver, "__module__", None) == self.host_module:
            return written_as_name(sys.modules[self.host_module], self.pickler, obj)
        return not isinstance(obj, types.ModuleType) and importable(obj)


def _init(
    stock: Stock, pickler: NumpyPickler, fp: Writable, *args: object, **keywords: object
) -> None:
    stock(pickler, fp, *args, **keywords)
    from joblib.compressor import BinaryZlibFile

    # Not the place: an array's bytes go to the file, and where they do counts.
    pickler.file_handle = fp
    pickler.buffered = isinstance(fp, BinaryZlibFile)


def _dump(stock: Stock, pickler: NumpyPickler, obj: object) -> None:
    own = vars(pickler)
    place = own.get("_weakreduce")
    if place is None or place.under_way() is not None:
        stock(pickler, obj)
        return
    arrays = pickler._weakreduce_arrays = _Arrays()
    try:
        try:
            stock(pickler, obj)
        except _Mixed:
            arrays.keep_together(pickler)
        else:
            return
        stock(pickler, obj)
    finally:
        own.pop("save", None)
        del pickler._weakreduce_arrays


def _save(pickler: NumpyPickler, obj: Any) -> None:
    """Write an object of a payload that arrays are part of."""
    np = pickler.np
    if type(obj) not in (np.ndarray, np.matrix, np.memmap) or obj.dtype.hasobject:
        _PythonPickler.save(pickler, obj)
        return
    written = pickler.memo.get(id(obj))
    if written is not None:
        pickler.write(pickler.get(written[0]))
        return
    found = pickler.reducer_override(obj)
    if found is NotImplemented:
        type(pickler).save(pickler, obj)
        pickler.memoize(obj)
    else:
        pickler.save_reduce(*found, obj=obj)


def _write_array(
    stock: Stock, wrapper: NumpyArrayWrapper, array: ndarray, pickler: NumpyPickler
) -> None:
    place = vars(pickler).get("_weakreduce")
    if place is None or place.under_way() is None:
        stock(wrapper, array, pickler)
        return
    arrays = pickler._weakreduce_arrays
    arrays.meet(apart=True)
    if array.dtype.hasobject:
        data, weak_thing = b"", False
        try:
            data = scout.dumps(array, 5)  # as joblib would
        except scout.WeakThingMet:
            weak_thing = True
        except Exception:
            # The dump fails: who looks for what is to blame is to see into the array.
            arrays.keep_together(pickler)
            raise
        arrays.meet(weak_thing=weak_thing)
        place.write(data)
    else:
        place.defer(array.nbytes, functools.partial(stock, wrapper, array, pickler))


def make_patch(module: types.ModuleType) -> AttributePatch:
    """The patch of ``joblib.numpy_pickle``."""
    patch = PicklerPatch(module.NumpyPickler, Adapter, ("fp", "protocol"))
    patch.makers = (
        *patch.makers,
        (module.NumpyPickler, "__init__", in_front(_init)),
        (module.NumpyPickler, "dump", in_front(_dump)),
        (module.NumpyArrayWrapper, "write_array", in_front(_write_array)),
    )
    return patch
