"""Weak references that travel: a plugin for cloudpickle and dill.

``import weakreduce`` extends both (and the copies of cloudpickle inside Ray, PySpark and
joblib). Importing it imports no host and nothing heavy: what a dump needs is imported by the first.
"""

from __future__ import annotations

import os
import sys

from weakreduce.core import watchers
from weakreduce.model.in_force import get_policy, policy, read_environment, set_policy
from weakreduce.model.sharing import share, unshare
from weakreduce.registry import install, uninstall

# Not from `typing`, which takes longer to import than all that is imported here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from weakreduce.api import bind, dump, dumps, info, is_pinned, load, loads, unpin
    from weakreduce.core.watches import Watch
    from weakreduce.model.errors import DanglingWarning, WeakreduceError, WeakrefPicklingError
    from weakreduce.model.kinds import register
    from weakreduce.model.policies import Policy
    from weakreduce.reading.loading import explain_load
    from weakreduce.report.explaining import explain
    from weakreduce.report.findings import Finding
    from weakreduce.report.recording import record
    from weakreduce.report.reports import Report

    __version__: str

__all__ = [
    "DanglingWarning",
    "Finding",
    "Policy",
    "Report",
    "WeakreduceError",
    "WeakrefPicklingError",
    "bind",
    "dump",
    "dumps",
    "explain",
    "explain_load",
    "get_policy",
    "info",
    "install",
    "is_pinned",
    "load",
    "loads",
    "policy",
    "record",
    "register",
    "set_policy",
    "share",
    "uninstall",
    "unpin",
    "unshare",
]

_LATE = {
    **dict.fromkeys(
        ("bind", "dump", "dumps", "info", "is_pinned", "load", "loads", "unpin"), "weakreduce.api"
    ),
    **dict.fromkeys(("Finding", "Weight", "Advice"), "weakreduce.report.findings"),
    **dict.fromkeys(
        ("DanglingWarning", "WeakreduceError", "WeakrefPicklingError"), "weakreduce.model.errors"
    ),
    "Policy": "weakreduce.model.policies",
    "Report": "weakreduce.report.reports",
    "explain": "weakreduce.report.explaining",
    "record": "weakreduce.report.recording",
    **dict.fromkeys(("LoadReport", "explain_load"), "weakreduce.reading.loading"),
    "register": "weakreduce.model.kinds",
}


if not TYPE_CHECKING:  # to a type checker it would make every name a good one

    def __getattr__(name):
        import importlib

        if name == "__version__":
            return importlib.import_module("weakreduce.model.release").version()
        module = _LATE.get(name)
        if module is None:
            raise AttributeError(f"module 'weakreduce' has no attribute {name!r}")
        value = getattr(importlib.import_module(module), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _recording() -> Watch:
    """The watch of a dump that is recorded or logged."""
    from weakreduce.report.recording import Recording

    return Recording()


watchers.make_watches_by(_recording)
read_environment()
if os.environ.get("WEAKREDUCE_INSTALL", "1") != "0":
    if sys.implementation.name == "cpython":
        install()
    else:  # no error: a worker there may import it, and only load
        import warnings

        warnings.warn(
            f"weakreduce is not installed in any pickler: it needs CPython, and this is "
            f"{sys.implementation.name}",
            RuntimeWarning,
            stacklevel=2,
        )
