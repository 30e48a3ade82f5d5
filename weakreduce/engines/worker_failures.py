"""Executors' workers: an exception with a weak thing in it that cannot be pickled kills no worker.

loky, and joblib's copy of it, guard the way back of results, not that of exceptions. The standard
executor sends what pickling raised instead, which may be no better: where tblib is in use (Dask
asks for it), an exception is pickled with those that it came from. What holds nothing weak fails
as it does without weakreduce, and nothing else of the way back is here.

What we rely on, pinned by the tests: a worker sends a task's exception as a ``_ResultItem`` whose
``exception`` is an ``_ExceptionWithTraceback`` (``exc``, and ``tb``, its traceback as text):
loky's through ``SimpleQueue.put``, which pickles in the calling thread before it sends; the
standard one, and its results, too, through ``_sendback_result``.
"""

from __future__ import annotations

import pickle
import traceback
from types import ModuleType
from typing import TYPE_CHECKING, Any

from weakreduce.engines.submit import holds_weak
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.model.errors import WeakrefPicklingError
from weakreduce.model.seen import Since

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue


def _text(error: BaseException) -> str:
    """An error as a traceback's last line has it; never raises, whatever its class's code does."""
    return "".join(traceback.format_exception_only(error)).strip()


def _report(exception: BaseException | None, failure: BaseException) -> pickle.PicklingError:
    """The exception to be sent in place of one, or of a result, that cannot be."""
    refused = isinstance(failure, WeakrefPicklingError)
    what = "The task's result"
    if exception is not None:
        what = f"the task raised {_text(exception)}\nThis exception"
    return (WeakrefPicklingError if refused else pickle.PicklingError)(
        f"{what} cannot be pickled: {_text(failure)}"
    )


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of a module with an executor's workers."""
    wrapper = module._ExceptionWithTraceback

    def sendback(
        stock: Stock, result_queue: object, work_id: int, result: object = None,
        exception: Any = None, **rest: object,
    ) -> None:  # fmt: skip
        """In front of the standard ``_sendback_result``."""
        since = Since()
        try:
            stock(result_queue, work_id, result, exception, **rest)
        except Exception as failure:
            if not since.met_weak and not holds_weak([result, getattr(exception, "exc", None)]):
                raise
            if exception is None:
                exception = wrapper(_report(None, failure), failure.__traceback__)
            else:
                exception.exc = _report(exception.exc, failure)
            stock(result_queue, work_id, None, exception, **rest)

    def put(stock: Stock, queue: SimpleQueue[object], obj: Any) -> None:
        """In front of loky's ``SimpleQueue.put``."""
        since = Since()
        try:
            stock(queue, obj)
        except Exception as failure:
            exception: Any = obj.exception if type(obj) is module._ResultItem else None
            if type(exception) is not wrapper:
                raise
            if not since.met_weak and not holds_weak(exception.exc):
                raise
            exception.exc = _report(exception.exc, failure)
            stock(queue, obj)

    if module.__name__ == "concurrent.futures.process":
        return AttributePatch((module, "_sendback_result", in_front(sendback)))
    return AttributePatch((module.SimpleQueue, "put", in_front(put)))
