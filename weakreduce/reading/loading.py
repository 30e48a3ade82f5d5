"""`explain_load`: why a payload cannot be loaded, found out by loading it.

How a load is followed stands in `loader`, where in the payload an opcode stands in `whereabouts`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, final

from weakreduce.core import words
from weakreduce.hosts.own import OwnHost, check_host
from weakreduce.model.texts import printable
from weakreduce.reading import whereabouts
from weakreduce.reading.loader import DillLoader, Inner, Loader

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@final
@dataclasses.dataclass(frozen=True, slots=True)
class LoadReport:
    """Why a load fails; all three are None where it works.

    Attributes:
        error: the error in one line.
        path: where in the payload that is, as an expression of ``root``; None where the payload
            does not tell.
        call: what was called with what, or what else was about to be done.
    """

    error: str | None = None
    path: str | None = None
    call: str | None = None

    def __str__(self) -> str:
        if self.error is None:
            return "it loads"
        lines = [self.error]
        if self.path is not None:
            lines.append(f"  at {self.path}")
        if self.call is not None:
            lines.append(f"  in {self.call}")
        return "\n".join(lines)


def explain_load(
    data: ReadableBuffer, *, host: OwnHost = "cloudpickle", buffers: Iterable[object] | None = None
) -> LoadReport:
    """Why `data` cannot be loaded: which call fails, where in the payload, with which error.

    **This loads the payload, and so executes it**, as `loads` does: never give it bytes that you
    do not trust. (``python -m weakreduce inspect`` runs nothing.) What fails in `loads` fails
    here, and all else works.

    Args:
        data: a payload, as bytes or another buffer.
        host: whose names it may use: ``"cloudpickle"``, ``"dill"`` or ``"pickle"``.
        buffers: the out-of-band buffers, as in `pickle.loads`.

    Returns:
        The error, the path and the call; all None where the load works.

    Raises:
        ValueError: for an unknown host.
        TypeError: where `data` is no buffer.
    """
    check_host(host)
    loader = (DillLoader if host == "dill" else Loader)(bytes(memoryview(data)), buffers)
    try:
        loader.load()
    except Exception as error:  # noqa: BLE001 - it is the answer
        return _report(loader, error)
    return LoadReport()


def _report(loader: Loader, error: Exception) -> LoadReport:
    path = whereabouts.path_at(loader.data, loader.at)
    if not isinstance(error, Inner):
        return LoadReport(
            words.cause(error), None if path is None else printable(path), loader.call
        )
    cause = error.__cause__
    assert isinstance(cause, Exception)
    inner = _report(error.loader, cause)
    if path is None or inner.path is None:
        return inner
    return dataclasses.replace(inner, path=re.sub(r"\broot\b", lambda _: path, inner.path, count=1))
