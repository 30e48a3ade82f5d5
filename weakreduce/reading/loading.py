"""`explain_load`: why a payload cannot be loaded, found out by loading it.

How a load is followed stands in `loader`, where in the payload an opcode stands in `whereabouts`,
how it is unpacked in `packed`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, final

from weakreduce.core import words
from weakreduce.hosts.own import OwnHost, check_host
from weakreduce.model.texts import class_name, printable
from weakreduce.reading import packed, payload, whereabouts
from weakreduce.reading.loader import DillLoader, Inner, Loader

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@final
@dataclasses.dataclass(frozen=True, slots=True)
class LoadReport:
    """Why a load fails; the first three are None where it works.

    Attributes:
        error: the error in one line.
        path: where in the payload that is, as an expression of ``root``; None where the payload
            does not tell.
        call: what was called with what, or what else was about to be done.
        packed: who packed the payload (``"gzip"``, ``"zlib"``, ...), so that it was unpacked
            first, as `pickle.loads` does not; None where nobody did.
    """

    error: str | None = None
    path: str | None = None
    call: str | None = None
    packed: str | None = dataclasses.field(default=None, compare=False)

    def __str__(self) -> str:
        if self.error is None:
            return "it loads" if self.packed is None else f"it loads, unpacked by {self.packed}"
        lines = [self.error]
        if self.path is not None:
            lines.append(f"  at {self.path}")
        if self.call is not None:
            lines.append(f"  in {self.call}")
        if self.packed is not None:
            lines.append(f"  unpacked by {self.packed}")
        return "\n".join(lines)


def explain_load(
    data: ReadableBuffer, *, host: OwnHost = "cloudpickle", buffers: Iterable[object] | None = None
) -> LoadReport:
    """Why `data` cannot be loaded: which call fails, where in the payload, with which error.

    **This loads the payload, and so executes it**, as `loads` does: never give it bytes that you
    do not trust. (``python -m weakreduce inspect`` runs nothing.) What fails in `loads` fails
    here, and all else works.

    Files that something else loads are followed, too: of ``joblib.dump``, with their arrays, and
    those that gzip, bz2, lzma or zlib packed. Of several pickles in a row it is the first, as for
    `loads`; ``python -m weakreduce explain-load`` goes through all of a file's.

    Args:
        data: a payload, as bytes or another buffer.
        host: whose names it may use: ``"cloudpickle"``, ``"dill"`` or ``"pickle"``.
        buffers: the out-of-band buffers, as in `pickle.loads`.

    Returns:
        The error, the path and the call; all None where the load works. A payload that leaves
        the interpreter (`SystemExit`) is one that fails.

    Raises:
        ValueError: for an unknown host.
        TypeError: where `data` is no buffer, but the name of a file, say, or a file.
    """
    check_host(host)
    if isinstance(data, str | os.PathLike) or hasattr(data, "read"):
        raise TypeError(
            f"explain_load takes the bytes of a payload, not a {class_name(type(data))}: read the"
            " file, or run `python -m weakreduce explain-load FILE`"
        )
    packer, found = _unpacked(bytes(memoryview(data)))
    if isinstance(found, LoadReport):
        return found  # it cannot be unpacked
    report, _ = _explained(found, 0, host, buffers)
    return dataclasses.replace(report, packed=packer)


@final
@dataclasses.dataclass(frozen=True, slots=True)
class FileReport:
    """Why a file of one pickle, or of several in a row, cannot be loaded.

    Attributes:
        report: of the first that fails, or of the last.
        number: which one that is, counted from 1.
        count: how many there are; None where that is not known.
        at: where it begins, in bytes that are unpacked.
    """

    report: LoadReport
    number: int = 1
    count: int | None = 1
    at: int = 0

    def __str__(self) -> str:
        text = str(self.report)
        if self.number == 1 and self.count in (1, None):
            return text
        if self.report.error is None:
            return f"{self.number:,} pickles: {text}"
        of = "" if self.count is None else f" of {self.count:,}"
        return f"pickle {self.number:,}{of}, at byte {self.at:,}: {text}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = dataclasses.asdict(self.report)
        return {**found, "pickle": self.number, "pickles": self.count, "at": self.at}


def of_file(data: bytes, host: OwnHost) -> FileReport:
    """Why a file cannot be loaded; all of its pickles are loaded, up to one that fails.

    Args:
        data: what is in the file.
        host: whose names it may use.

    Raises:
        NotAPayload: where it is no pickle; nothing is run then.
    """
    packer, found = _unpacked(data)
    if isinstance(found, LoadReport):
        return FileReport(found)
    payload.check(found)
    number, start = 1, 0
    while True:
        report, end = _explained(found, start, host, None)
        if report.error is not None or end >= len(found):
            break
        number, start = number + 1, end
    report = dataclasses.replace(report, packed=packer)
    if report.error is None:
        return FileReport(report, number, number, start)
    more = payload.count(found, start)
    return FileReport(report, number, number - 1 + more if more else None, start)


def _unpacked(data: bytes) -> tuple[str | None, bytes | LoadReport]:
    """Who packed a payload, and what is in it, or why that cannot be told."""
    packer = packed.packer_of(data)
    if packer is None:
        return None, data
    try:
        return packer, packed.unpacked(data, packer)
    except packed.NotUnpacked as error:
        return packer, LoadReport(f"UnpicklingError: {error}")


def _explained(
    data: bytes, start: int, host: OwnHost, buffers: Iterable[object] | None
) -> tuple[LoadReport, int]:
    """Why the pickle that begins at a position cannot be loaded; and where it ends."""
    loader = (DillLoader if host == "dill" else Loader)(data, buffers, start)
    try:
        loader.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - it is the answer
        return _report(loader, error), loader.next
    return LoadReport(), loader.next


def _report(loader: Loader, error: BaseException) -> LoadReport:
    path = whereabouts.path_at(*loader.opcodes())
    if not isinstance(error, Inner):
        return LoadReport(
            words.cause(error), None if path is None else printable(path), loader.call
        )
    cause = error.__cause__
    assert cause is not None
    inner = _report(error.loader, cause)
    if path is None or inner.path is None:
        return inner
    return dataclasses.replace(inner, path=re.sub(r"\broot\b", lambda _: path, inner.path, count=1))
