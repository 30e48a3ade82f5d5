"""Code of the user's that raises or answers nonsense, where nothing is weak: all is as stock.

(Our own Pickler of the standard library's is never uninstalled: see `test_same_bytes.py`.)
"""

from __future__ import annotations

import io
from typing import Any

import bad_hooks
import faults
import pytest
from bad_hooks import Act

import weakreduce


@pytest.mark.parametrize("host", ["cloudpickle", "dill"])
@pytest.mark.parametrize("hook", bad_hooks.HOOKS)
def test_without_a_weak_thing_all_is_as_stock(host: str, hook: str) -> None:
    thing = bad_hooks.HOOKS[hook]()
    ends: list[list[Any]] = []
    for install in (weakreduce.uninstall, weakreduce.install):
        install()
        ends.append([])
        for does in (
            *map(bad_hooks.raising, bad_hooks.ERRORS),
            *(lambda answer=answer: answer for answer in bad_hooks.NONSENSE),
        ):
            file = io.BytesIO()
            pickler = faults.PICKLERS[host](file)
            try:
                with Act.arm(does):
                    pickler.dump([thing])
            except BaseException as error:
                # cloudpickle turns a RecursionError into an error of its own.
                found = error.__cause__ if isinstance(error.__cause__, RecursionError) else error
                ends[-1].append((type(found), str(found), Act.calls > 0))
            else:
                ends[-1].append(file.getvalue())
    stock, ours = ends
    assert ours == stock
