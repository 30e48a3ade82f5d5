"""What becomes of a weak reference whose referent is not in the payload.

`Policy` is plain data. The policy in force is, in this order, the innermost
`policy(...)` block of the current context, the process's default (`set_policy`),
and the built-in ``"snapshot"``. Nothing here knows a pickler or a weak kind.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, fields, replace
from typing import Any, ParamSpec, TypeVar, cast, final

Match = type | Callable[[Any, Any], bool]
_P = ParamSpec("_P")
_R = TypeVar("_R")

_CHOICES: dict[str, tuple[str, ...]] = {
    "outside": ("snapshot", "dangle", "refuse"),
    "unpicklable": ("dangle", "raise"),
    "callbacks": ("keep", "drop"),
    "finalizers": ("detach", "rearm"),
}
_RULE_FATES = ("snapshot", "dangle", "refuse", "sever")


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(repr(value) for value in values)


def _check_fields(values: dict[str, Any]) -> None:
    known = tuple(Policy.__dataclass_fields__)
    for name in values:
        if name not in known:
            raise ValueError(f"Policy has no field {name!r}; its fields are {_listed(known)}")


@final
@dataclass(frozen=True, kw_only=True)
class Policy:
    """How weak references travel; every field has a default.

    Attributes:
        outside: fate of a live referent that the payload does not hold strongly:
            ``"snapshot"``, ``"dangle"`` or ``"refuse"``.
        unpicklable: what becomes of a snapshot whose referent cannot be pickled:
            ``"dangle"`` (with a `DanglingWarning`) or ``"raise"``.
        max_snapshot_bytes: size in bytes of a referent's own pickle above which it
            dangles with a `DanglingWarning`; None for no limit.
        callbacks: ``"keep"`` or ``"drop"``.
        finalizers: ``"detach"`` or ``"rearm"``.
        rules: pairs ``(match, fate)``, the first match wins, ahead of `outside`. `match`
            is a type (of the weak thing or of the referent) or a predicate
            ``(weak, referent) -> bool``; `fate` is ``"snapshot"``, ``"dangle"``,
            ``"refuse"`` or ``"sever"`` (dangle even where the referent is inside).
        live: ``"allow"``, or ``"forbid"``: any live weak thing refuses, inside or not.

    Raises:
        ValueError: for an unknown value, when the policy is made.
    """

    outside: str = "snapshot"
    unpicklable: str = "dangle"
    max_snapshot_bytes: int | None = None
    callbacks: str = "keep"
    finalizers: str = "detach"
    rules: tuple[tuple[Match, str], ...] = ()
    live: str = "allow"

    def __new__(cls, **values: Any) -> Policy:
        """Refuse unknown fields as `ValueError`, as unknown values are."""
        _check_fields(values)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, allowed in (*_CHOICES.items(), ("live", ("allow", "forbid"))):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise ValueError(f"Policy.{name} is one of {_listed(allowed)}, not {value!r}")
        limit = self.max_snapshot_bytes
        if limit is not None and (
            isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit >= 0
        ):
            raise ValueError(
                f"Policy.max_snapshot_bytes is None or a number of bytes, 0 or more, not {limit!r}"
            )
        try:
            rules = tuple((match, fate) for match, fate in self.rules)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Policy.rules are pairs (match, fate), not {self.rules!r}") from error
        for match, fate in rules:
            if not isinstance(match, type) and not callable(match):
                raise ValueError(
                    "a rule's match is a type or a predicate (weak, referent) -> bool, "
                    f"not {match!r}"
                )
            if not isinstance(fate, str) or fate not in _RULE_FATES:
                raise ValueError(f"a rule's fate is one of {_listed(_RULE_FATES)}, not {fate!r}")
        object.__setattr__(self, "rules", rules)

    @property
    def name(self) -> str:
        """The name of this policy where it has one, else its changes to the default."""
        for name, named in NAMED.items():
            if named == self:
                return name
        default = Policy()
        changes = (f for f in fields(self) if getattr(self, f.name) != getattr(default, f.name))
        return ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in changes)


NAMED: dict[str, Policy] = {
    "snapshot": Policy(),
    "dangle": Policy(outside="dangle"),
    "strict": Policy(outside="refuse"),
    "forbid": Policy(outside="refuse", live="forbid"),
}
_in_block: ContextVar[Policy] = ContextVar("weakreduce_policy")
#: How to leave the blocks that are open in this context, innermost last. Blocks nest, and
#: one block object may be entered by many threads and tasks.
_tokens: ContextVar[tuple[Token[Policy], ...]] = ContextVar("weakreduce_blocks")
_default = NAMED["snapshot"]


def resolve(chosen: str | Policy | None, changes: dict[str, Any], base: Policy) -> Policy:
    """The policy that a name, a `Policy` or None (meaning `base`) stands for, with changes."""
    if chosen is None:
        start = base
    elif isinstance(chosen, Policy):
        start = chosen
    elif isinstance(chosen, str) and chosen in NAMED:
        start = NAMED[chosen]
    else:
        raise ValueError(f"a policy is a Policy or one of {_listed(tuple(NAMED))}, not {chosen!r}")
    _check_fields(changes)
    return replace(start, **changes) if changes else start


def get_policy() -> Policy:
    """The policy in force here: the innermost block's, else the process's default."""
    return _in_block.get(_default)


def set_policy(policy: str | Policy, /, **changes: Any) -> None:
    """Make `policy` (a name or a `Policy`, with changes to it) the process's default.

    Raises:
        ValueError: for an unknown name, field or value.
    """
    global _default
    _default = resolve(policy, changes, _default)


@final
class policy:  # noqa: N801 - it reads as a verb: ``with policy("dangle"):``
    """A block, or a decorator of functions and coroutines, in which a policy is in force.

    Args:
        chosen: a name (``"snapshot"``, ``"dangle"``, ``"strict"``, ``"forbid"``), a
            `Policy`, or None for the policy in force where the block is entered.
        changes: fields of `Policy` to change, as in ``policy(callbacks="drop")``.

    Raises:
        ValueError: for an unknown name, field or value, at once.
    """

    def __init__(self, chosen: str | Policy | None = None, /, **changes: Any) -> None:
        # Refused when given; a block without a name is resolved again where it is entered.
        resolve(chosen, changes, get_policy())
        self._chosen = chosen
        self._changes = changes

    def __enter__(self) -> Policy:
        entered = resolve(self._chosen, self._changes, get_policy())
        token = _in_block.set(entered)
        _tokens.set((*_tokens.get(()), token))
        return entered

    def __exit__(self, *_exception: object) -> None:
        *outer, token = _tokens.get()
        _tokens.set(tuple(outer))
        _in_block.reset(token)

    def _again(self) -> policy:
        return policy(self._chosen, **self._changes)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Run `function` (a function, coroutine function or generator function) in the block."""
        if not callable(function):
            raise TypeError(f"policy(...) decorates a function, not {function!r}")
        wrapped: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapped(*args: Any, **keywords: Any) -> Any:
                with self._again():
                    return await function(*args, **keywords)

        elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                "policy(...) cannot decorate a generator, which runs in its caller's context; "
                "open the block inside it"
            )
        else:

            @functools.wraps(function)
            def wrapped(*args: Any, **keywords: Any) -> Any:
                with self._again():
                    return function(*args, **keywords)

        return cast("Callable[_P, _R]", wrapped)


def read_environment() -> None:
    """Take the process's default from ``WEAKREDUCE_POLICY``, where that is set."""
    name = os.environ.get("WEAKREDUCE_POLICY")
    if name:
        if name not in NAMED:
            raise ValueError(f"WEAKREDUCE_POLICY is one of {_listed(tuple(NAMED))}, not {name!r}")
        set_policy(name)
