"""Executors' workers: an exception that cannot be pickled must not kill the worker.

loky, and joblib's copy of it, guard the way back of results, not that of exceptions. The standard
executor sends what pickling raised instead, which may be no better: where tblib is in use (Dask
asks for it), an exception is pickled with those that it came from. Nothing else of the way back is
here.

What we rely on, pinned by the tests: a worker sends a task's exception as a ``_ResultItem`` whose
``exception`` is an ``_ExceptionWithTraceback`` (``exc``, and ``tb``, its traceback as text):
loky's through ``SimpleQueue.put``, which pickles in the calling thread before it sends; the
standard one, and its results, too, through ``_sendback_result``.
"""

from __future__ import annotations

import functools
import pickle
import traceback
from typing import Any

from weakreduce.hosts.patch import AttributePatch
from weakreduce.model.errors import WeakrefPicklingError


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


def make_patch(module: Any) -> AttributePatch:
    """The patch of a module with an executor's workers."""
    if module.__name__ == "concurrent.futures.process":
        return AttributePatch((module, "_sendback_result", _make_sendback(module)))
    return AttributePatch((module.SimpleQueue, "put", _make_put(module)))


def _make_sendback(module: Any) -> Any:
    def make(stock: Any) -> Any:
        @functools.wraps(stock)
        def sendback(
            result_queue: Any, work_id: Any, result: Any = None, exception: Any = None, **rest: Any
        ) -> None:
            try:
                stock(result_queue, work_id, result, exception, **rest)
            except Exception as failure:  # noqa: BLE001 - it is sent to who waits for the result
                if exception is None:
                    report = _report(None, failure)
                    exception = module._ExceptionWithTraceback(report, failure.__traceback__)
                else:
                    exception.exc = _report(exception.exc, failure)
                stock(result_queue, work_id, None, exception, **rest)

        return sendback

    return make


def _make_put(module: Any) -> Any:
    def make(stock: Any) -> Any:
        @functools.wraps(stock)
        def put(queue: Any, obj: Any) -> None:
            try:
                stock(queue, obj)
            except Exception as failure:
                exception: Any = obj.exception if type(obj) is module._ResultItem else None
                if type(exception) is not module._ExceptionWithTraceback:
                    raise
                exception.exc = _report(exception.exc, failure)
                stock(queue, obj)

        return put

    return make
