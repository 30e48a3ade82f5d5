"""Dumps and loads that need no host to be readied: by Pickler classes of our own.

Each is a host's Pickler, or the standard library's, patched as an installed host's is. Which
hosts are installed is not known here.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
from typing import TYPE_CHECKING, Any, Literal

from weakreduce.model.cpython import require_cpython
from weakreduce.model.in_force import policy as block
from weakreduce.model.policies import Policy, PolicyName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed import ReadableBuffer

    from weakreduce.model.files import BufferCallback, Readable, Writable

#: The hosts of `dumps` and its kin.
OwnHost = Literal["cloudpickle", "dill", "pickle"]
_OWN = {"cloudpickle": "cloudpickle", "dill": "dill", "pickle": "standard"}


@functools.cache
def _pickler_class(host: str) -> Any:
    require_cpython()
    recipe = importlib.import_module(f"weakreduce.hosts.{_OWN[host]}")
    return recipe.Pickler if host == "pickle" else recipe.own_class()


def check_host(host: str) -> None:
    """Refuse an unknown host with a `ValueError` that lists the right ones."""
    if not isinstance(host, str) or host not in _OWN:
        raise ValueError(f"host is one of {', '.join(map(repr, _OWN))}, not {host!r}")


def dump(
    obj: object,
    file: Writable,
    *,
    policy: PolicyName | Policy | None = None,
    host: OwnHost = "cloudpickle",
    protocol: int | None = None,
    buffer_callback: BufferCallback | None = None,
) -> None:
    """Write the payload of `obj` to `file`, whether weakreduce is installed or not.

    Args:
        obj: the root.
        file: has a ``write`` method; it is called once, with the whole payload.
        policy: a name or a `Policy`; None for the one in force.
        host: ``"cloudpickle"``, ``"dill"`` or ``"pickle"``.
        protocol: a pickle protocol, 2 to 5; None for the host's default.
        buffer_callback: for out-of-band buffers, as in `pickle.dump`.

    Raises:
        WeakrefPicklingError: where the policy refuses.
        ValueError: for an unknown policy or host.
    """
    check_host(host)
    with block(policy):
        keywords = {} if buffer_callback is None else {"buffer_callback": buffer_callback}
        _pickler_class(host)(file, protocol, **keywords).dump(obj)


def dumps(
    obj: object,
    *,
    policy: PolicyName | Policy | None = None,
    host: OwnHost = "cloudpickle",
    protocol: int | None = None,
    buffer_callback: BufferCallback | None = None,
) -> bytes:
    """The payload of `obj` as bytes; the arguments are those of `dump`."""
    file = io.BytesIO()
    dump(obj, file, policy=policy, host=host, protocol=protocol, buffer_callback=buffer_callback)
    return file.getvalue()


def load(
    file: Readable,
    *,
    host: OwnHost = "cloudpickle",
    buffers: Iterable[ReadableBuffer] | None = None,
) -> Any:
    """Read one payload from `file`."""
    check_host(host)
    if host == "dill":
        import dill

        return dill.load(file) if buffers is None else dill.load(file, buffers=buffers)
    return pickle.load(file, buffers=buffers)


def loads(
    data: ReadableBuffer,
    *,
    host: OwnHost = "cloudpickle",
    buffers: Iterable[ReadableBuffer] | None = None,
) -> Any:
    """The object in a payload."""
    return load(io.BytesIO(data), host=host, buffers=buffers)
