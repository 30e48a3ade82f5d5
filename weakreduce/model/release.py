"""Which release this is."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    """The version that is installed; "unknown" where the package is only on the path."""
    try:
        return importlib.metadata.version("weakreduce")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
