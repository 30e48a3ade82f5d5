"""A progress bar on a terminal, through tqdm, where that is installed (``weakreduce[progress]``).

Without tqdm, without a terminal, and in the first second, there is none.
"""

from __future__ import annotations

import sys
from typing import Any, final


def _bar(title: str) -> Any:
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(desc=title, unit=" objects", unit_scale=True, delay=1, leave=False, file=stream)


@final
class Progress:
    """Counts what is done; a context manager that takes the bar away at the end.

    Args:
        title: what is being done; None for no bar.
    """

    def __init__(self, title: str | None) -> None:
        self._bar = None if title is None else _bar(title)

    @property
    def shown(self) -> bool:
        """Whether there is anybody to count for."""
        return self._bar is not None

    def tick(self) -> None:
        """One more is done."""
        if self._bar is not None:
            self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
