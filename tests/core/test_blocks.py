"""Blocks that are entered and left by hand, out of order, or cut short, and what is in force then.

Exceptions at every bytecode are in `interrupts.py`, whose processes no coverage sees.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import pytest

import weakreduce
from weakreduce.model import blocks, in_force


def outside() -> str:
    return weakreduce.get_policy().outside


def test_an_exit_stack_enters_and_leaves_blocks() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(weakreduce.policy("dangle"))
        stack.enter_context(weakreduce.policy("strict"))
        assert outside() == "refuse"
    assert outside() == "snapshot"


def test_who_leaves_a_block_leaves_those_inside_it() -> None:
    outer, inner = weakreduce.policy("dangle"), weakreduce.policy("strict")
    outer.__enter__()
    inner.__enter__()
    assert outside() == "refuse"
    outer.__exit__(None, None, None)
    assert outside() == "snapshot"
    with pytest.raises(RuntimeError, match="left already"):
        inner.__exit__(None, None, None)
    assert outside() == "snapshot"


def test_a_block_that_was_not_entered_cannot_be_left() -> None:
    with weakreduce.policy("dangle"):
        with pytest.raises(RuntimeError, match="was not entered"):
            weakreduce.policy("strict").__exit__(None, None, None)
        assert outside() == "dangle"


def test_a_block_that_is_entered_by_hand_does_not_end_with_the_exit_of_another() -> None:
    """Who asks a block for its ``__exit__`` need not enter that block next."""
    asked, entered = weakreduce.policy("strict"), weakreduce.policy("dangle")
    leave = asked.__exit__
    entered.__enter__()
    del leave
    assert outside() == "dangle"
    entered.__exit__(None, None, None)
    assert outside() == "snapshot"


def test_what_was_cut_short_before_its_token_was_kept_is_not_in_force() -> None:
    """An exception between the two halves of the line that puts a value in force and keeps that."""

    def leave() -> None:
        pass

    entries = in_force._blocks.entries
    with weakreduce.policy("dangle"):
        strict: Any = weakreduce.Policy(outside="refuse")
        block = weakreduce.policy("strict")
        entries.set(blocks._Entry(block, strict, weakref.ref(leave), entries.get()))
        assert outside() == "refuse"
        del leave  # as the frame of the ``with`` lets it go
        assert outside() == "dangle"
    assert outside() == "snapshot"
