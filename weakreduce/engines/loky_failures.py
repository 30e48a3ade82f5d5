"""loky's workers, also joblib's: an exception that cannot be pickled must not kill the worker.

loky guards the way back of results, not that of exceptions. Nothing else of a result's way is here.

What we rely on, pinned by the tests: a worker sends a task's exception as a ``_ResultItem`` whose
``exception`` is an ``_ExceptionWithTraceback`` (``exc``, and ``tb``, its traceback as text),
through ``SimpleQueue.put``, which pickles in the calling thread before it sends.
"""

from __future__ import annotations

import functools
import pickle
import traceback
from typing import Any

from weakreduce.errors import WeakrefPicklingError
from weakreduce.hosts.patch import AttributePatch


def _text(error: BaseException) -> str:
    """An error as a traceback's last line has it; never raises, whatever its class's code does."""
    return "".join(traceback.format_exception_only(error)).strip()


def _report(exception: BaseException, failure: BaseException) -> pickle.PicklingError:
    """The exception to be sent in place of one that cannot be."""
    refused = isinstance(failure, WeakrefPicklingError)
    return (WeakrefPicklingError if refused else pickle.PicklingError)(
        f"the task raised {_text(exception)}\nThis exception cannot be pickled: {_text(failure)}"
    )


def make_patch(module: Any) -> AttributePatch:
    """The patch of ``process_executor``, loky's or joblib's copy of it."""

    def make_put(stock: Any) -> Any:
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

    return AttributePatch((module.SimpleQueue, "put", make_put))
