"""`Policy`: what becomes of a weak reference whose referent is not in the payload, as plain data.

Also the policies that have a name, and what a choice (a name, a `Policy`, changes) stands for.
Which policy is in force is `in_force.py`'s concern, which imports this when one is first needed.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypedDict,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

from weakreduce.model.texts import class_name

Match = type | Callable[[Any, Any], bool]

# A field with a choice of values is one line here, one in `Changes` and one in `Policy`.
PolicyName = Literal["snapshot", "dangle", "strict", "forbid"]
Outside = Literal["snapshot", "dangle", "refuse"]
Unpicklable = Literal["dangle", "raise"]
Callbacks = Literal["keep", "drop"]
Finalizers = Literal["detach", "rearm"]
ReadyReceiver = Literal["engines", "always", "never"]
Identity = Literal["copy", "home"]
Live = Literal["allow", "forbid"]
RuleFate = Literal["snapshot", "dangle", "refuse", "sever"]


class Changes(TypedDict, total=False):
    """The fields of a `Policy` as keywords of `policy` and `set_policy`, for type checkers."""

    outside: Outside
    unpicklable: Unpicklable
    max_snapshot_bytes: int | None
    callbacks: Callbacks
    finalizers: Finalizers
    ready_receiver: ReadyReceiver
    identity: Identity
    rules: tuple[tuple[Match, RuleFate], ...]
    live: Live


def listed(values: tuple[str, ...]) -> str:
    """Values, as an error lists them."""
    return ", ".join(repr(value) for value in values)


#: Characters of a value in a text.
_WIDTH = 200


def shown(value: object) -> str:
    """A match or a field's value in words, whatever its own class does when it is asked."""
    try:
        name = getattr(value, "__qualname__", None)
        text = name if type(name) is str else repr(value)
    except Exception:  # noqa: BLE001 - a text about a policy must not make a dump fail
        text = f"a {class_name(type(value))}"
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _shown_rules(rules: tuple[tuple[Match, str], ...]) -> str:
    texts = [f"({shown(match)}, {fate!r})" for match, fate in rules]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def _check_fields(values: Mapping[str, Any]) -> None:
    known = tuple(Policy.__dataclass_fields__)
    for name in values:
        if name not in known:
            raise ValueError(f"Policy has no field {name!r}; its fields are {listed(known)}")


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
        ready_receiver: whose payloads import weakreduce on the receiver, where it is installed
            there, so that weak things can be sent back: those that ``"engines"`` ship and
            `bind` makes, ``"always"`` all, or ``"never"`` any.
        identity: ``"copy"``, or ``"home"``: a snapshot that comes back behind a weak reference
            resolves to the object that was sent, where that still lives.
        rules: pairs ``(match, fate)``, the first match wins, ahead of `outside`. `match`
            is a type (of the weak thing or of the referent) or a predicate
            ``(weak, referent) -> bool``; `fate` is ``"snapshot"``, ``"dangle"``,
            ``"refuse"`` or ``"sever"`` (dangle even where the referent is inside).
        live: ``"allow"``, or ``"forbid"``: any live weak thing refuses, inside or not.

    Raises:
        ValueError: for an unknown value, when the policy is made.
    """

    outside: Outside = "snapshot"
    unpicklable: Unpicklable = "dangle"
    max_snapshot_bytes: int | None = None
    callbacks: Callbacks = "keep"
    finalizers: Finalizers = "detach"
    ready_receiver: ReadyReceiver = "engines"
    identity: Identity = "copy"
    rules: tuple[tuple[Match, RuleFate], ...] = ()
    live: Live = "allow"

    if not TYPE_CHECKING:  # it would hide the fields from a type checker

        def __new__(cls, **values):
            """Refuse unknown fields as `ValueError`, as unknown values are."""
            _check_fields(values)
            return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise ValueError(f"Policy.{name} is one of {listed(allowed)}, not {value!r}")
        limit: Any = self.max_snapshot_bytes
        is_number = isinstance(limit, numbers.Real) and not isinstance(limit, bool)
        if limit is not None and not (is_number and limit >= 0):
            raise ValueError(
                f"Policy.max_snapshot_bytes is None or a number of bytes, 0 or more, not {limit!r}"
            )
        if isinstance(limit, numbers.Integral):  # numpy's, too
            object.__setattr__(self, "max_snapshot_bytes", int(limit))
        try:
            rules = tuple((match, fate) for match, fate in self.rules)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Policy.rules are pairs (match, fate), not {shown(self.rules)}"
            ) from error
        for match, fate in rules:
            if not issubclass(type(match), type) and not callable(match):
                raise ValueError(
                    "a rule's match is a type or a predicate (weak, referent) -> bool, "
                    f"not {shown(match)}"
                )
            if not isinstance(fate, str) or fate not in get_args(RuleFate):
                right = listed(get_args(RuleFate))
                raise ValueError(f"a rule's fate is one of {right}, not {fate!r}")
        object.__setattr__(self, "rules", rules)

    @property
    def name(self) -> str:
        """The name of this policy where it has one, else its changes to the default."""
        for name, named in NAMED.items():
            if named == self:
                return name
        default = Policy()
        changes = (f for f in fields(self) if getattr(self, f.name) != getattr(default, f.name))
        texts = {
            f.name: _shown_rules(self.rules) if f.name == "rules" else repr(getattr(self, f.name))
            for f in changes
        }
        return ", ".join(f"{name}={text}" for name, text in texts.items())


if not TYPE_CHECKING:  # what may be given, and not what `Policy.__new__` looks at
    Policy.__signature__ = inspect.signature(Policy.__init__.__get__(object()))

#: Field -> the values that it may have, of the fields that have a choice.
_CHOICES: dict[str, tuple[str, ...]] = {
    name: get_args(choice)
    for name, choice in get_type_hints(Changes).items()
    if get_origin(choice) is Literal
}
NAMED: dict[str, Policy] = {
    "snapshot": Policy(),
    "dangle": Policy(outside="dangle"),
    "strict": Policy(outside="refuse"),
    "forbid": Policy(outside="refuse", live="forbid"),
}


def resolve(chosen: str | Policy | None, changes: Changes, base: Policy | None) -> Policy:
    """The policy that a name, a `Policy` or None (meaning `base`) stands for, with changes."""
    if chosen is None and base is not None:
        start = base
    elif isinstance(chosen, Policy):
        start = chosen
    elif isinstance(chosen, str) and chosen in NAMED:
        start = NAMED[chosen]
    else:
        raise ValueError(f"a policy is a Policy or one of {listed(tuple(NAMED))}, not {chosen!r}")
    _check_fields(changes)
    return replace(start, **changes) if changes else start
