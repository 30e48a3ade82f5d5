"""Which policy is in force: the innermost `policy(...)` block, or the process's default.

What a policy is stands in `policies.py`, which is imported when one is first needed: importing
weakreduce makes none. So `typing`, `inspect` and `functools` stay out of here, too. Nothing here
knows a pickler or a weak kind.
"""

from __future__ import annotations

import os
import sys

from weakreduce.model.blocks import Block, Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar, Unpack

    from weakreduce.model.policies import Changes, Policy, PolicyName

    _P = ParamSpec("_P")
    _R = TypeVar("_R")

_blocks = Scope("weakreduce_policy")
#: The process's default; None until it is set, which means "snapshot".
_default: Policy | None = None


def get_policy() -> Policy:
    """The policy in force here: the innermost block's, else the process's default."""
    global _default
    entry = _blocks.innermost()
    found: Policy | None = _default if entry is None else entry.value
    if found is None:
        from weakreduce.model.policies import NAMED

        found = _default = _default or NAMED["snapshot"]  # another thread may have set one
    return found


def set_policy(policy: PolicyName | Policy, /, **changes: Unpack[Changes]) -> None:
    """Make `policy` (a name or a `Policy`, with changes to it) the process's default.

    Raises:
        ValueError: for an unknown name, field or value.
    """
    global _default
    from weakreduce.model.policies import resolve

    _default = resolve(policy, changes, None)


class policy(Block):  # noqa: N801 - it reads as a verb: ``with policy("dangle"):``
    """A block, or a decorator of functions and coroutines, in which a policy is in force.

    Args:
        chosen: a name (``"snapshot"``, ``"dangle"``, ``"strict"``, ``"forbid"``), a
            `Policy`, or None for the policy in force where the block is entered.
        changes: fields of `Policy` to change, as in ``policy(callbacks="drop")``.

    Raises:
        ValueError: for an unknown name, field or value, at once.
    """

    scope = _blocks

    def __init__(
        self, chosen: PolicyName | Policy | None = None, /, **changes: Unpack[Changes]
    ) -> None:
        from weakreduce.model.policies import resolve

        # Refused when given; a block without a name is resolved again where it is entered.
        resolve(chosen, changes, get_policy())
        self._chosen = chosen
        self._changes = changes

    def __enter__(self) -> Policy:
        from weakreduce.model.policies import resolve

        entered = resolve(self._chosen, self._changes, get_policy())
        self.enter(entered)
        return entered

    def _again(self) -> policy:
        return policy(self._chosen, **self._changes)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Run `function` (a function or a coroutine function) in the block.

        Raises:
            TypeError: for a class and for a generator function.
        """
        import functools
        import inspect

        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self(function.__func__))
        if isinstance(function, type):
            raise TypeError(
                f"policy(...) decorates a function, not the class {function.__qualname__}, which "
                "would be none any more; decorate its methods, or the function that sends"
            )
        if not callable(function):
            raise TypeError(f"policy(...) decorates a function, not {function!r}")
        # Of an object that can be called, its method says what a call gives.
        plain = inspect.isroutine(function) or isinstance(function, functools.partial)
        called: Any = function if plain else type(function).__call__
        run: Any = function
        wrapped: Any
        if inspect.iscoroutinefunction(called):

            @functools.wraps(function)
            async def wrapped(*args: Any, **keywords: Any) -> Any:
                with self._again():
                    return await run(*args, **keywords)

        elif inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise TypeError(
                "policy(...) cannot decorate a generator, which runs in its caller's context; "
                "open the block inside it"
            )
        else:

            @functools.wraps(function)
            def wrapped(*args: Any, **keywords: Any) -> Any:
                with self._again():
                    return function(*args, **keywords)

        return wrapped  # type: ignore[no-any-return]


def read_environment() -> None:
    """Take the process's default from ``WEAKREDUCE_POLICY``, where that is set."""
    name = os.environ.get("WEAKREDUCE_POLICY")
    if name:
        from weakreduce.model.policies import NAMED, listed

        if name not in NAMED:
            text = f"WEAKREDUCE_POLICY is one of {listed(tuple(NAMED))}, not {name!r}"
            if sys.argv[:1] == ["-m"] and sys.orig_argv[1:3] == ["-m", "weakreduce"]:
                # The command line, which answers with a message: nobody could catch an error.
                print(f"python -m weakreduce: {text}", file=sys.stderr)
                sys.exit(2)
            raise ValueError(text)
        set_policy(NAMED[name])
