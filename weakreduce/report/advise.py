"""Advice: the policies under which a payload would be smaller, or possible at all.

What may help is guessed from the weak edges that a report has seen; then each guess is tried, by
a dump under it that is thrown away. Rule: nothing is advised that was not tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from weakreduce.model import decide, naming
from weakreduce.model.decide import Decision
from weakreduce.model.kinds import Edge, kind_of
from weakreduce.model.naming import Namespace
from weakreduce.model.policies import NAMED, Match, Policy, RuleFate
from weakreduce.model.texts import printable
from weakreduce.report.findings import COPIES, Advice

#: How much advice is given at most, how many guesses are tried, and how many types guessed at.
_MOST: Final = 5
_TRIED: Final = 12
_TYPES: Final = 4
#: Bytes that may be written to try guesses: so many times the payload's size, and so many more.
_TIMES, _MORE = 4, 1 << 26
#: An advice saves at least one in so many bytes.
_WORTH: Final = 100
#: A size that is so many times another is of another kind.
_APART: Final = 4

Seen = tuple[Edge, Decision]


def guesses(
    policy: Policy,
    seen: Mapping[str, Sequence[Seen]],
    refusals: Sequence[Seen],
    sizes: dict[int, int],
) -> list[Policy]:
    """Policies that may help, those that change least first.

    Args:
        policy: the one of the report.
        seen: fate -> edges with that fate.
        refusals: what was refused.
        sizes: id -> bytes of the own pickle of referents of snapshots.
    """
    snapshots = [edge for fate in COPIES for edge, _ in seen.get(fate, ())]
    refused = [*refusals, *seen.get("refuse", ())]
    found = [
        *_against_refusals(policy, refused),
        *_against_snapshots(policy, snapshots, sizes),
    ]
    edges = [edge for each in seen.values() for edge, _ in each]
    if policy.callbacks == "keep" and any(edge.callback is not None for edge in edges):
        found.append(replace(policy, callbacks="drop"))
    if (edges or refused) and policy.outside != "dangle":
        found.append(replace(policy, outside="dangle"))
    distinct = {_identity(each): each for each in found}
    distinct.pop(_identity(policy), None)
    return list(distinct.values())


def without_rules(policy: Policy, found: Iterable[Policy]) -> list[Policy]:
    """Guesses without the rules of the report's policy, and that policy without them."""
    count = len(policy.rules)
    bare = [replace(each, rules=each.rules[: len(each.rules) - count]) for each in found]
    distinct = {_identity(each): each for each in (*bare, replace(policy, rules=()))}
    return list(distinct.values()) if count else []


def _told(rules: Any) -> tuple[tuple[int, str], ...]:
    return tuple((id(match), fate) for match, fate in rules)


def _identity(policy: Policy) -> tuple[Any, ...]:
    """What tells policies apart, without a question to the classes in their rules."""
    names = [each.name for each in fields(policy) if each.name != "rules"]
    return (_told(policy.rules), *(getattr(policy, name) for name in names))


def _ruled(policy: Policy, types: Sequence[type], fate: RuleFate) -> Policy:
    return replace(policy, rules=(*((cls, fate) for cls in types), *policy.rules))


def _against_refusals(policy: Policy, refused: Sequence[Seen]) -> Iterator[Policy]:
    if not refused:
        return
    if policy.live == "forbid":
        allowed = replace(policy, live="allow")
        yield allowed
        yield replace(allowed, outside="snapshot")
        yield replace(allowed, outside="dangle")
    types = {type(edge.referent): None for edge, _ in refused if edge.referent is not None}
    if len(types) <= _TYPES:
        yield _ruled(policy, list(types), "dangle")
        if any(decision.why is decide.UNREFERABLE.why for _, decision in refused):
            yield _ruled(policy, list(types), "sever")
    if policy.unpicklable == "raise":
        yield replace(policy, unpicklable="dangle")
    if policy.outside == "refuse":
        yield replace(policy, outside="snapshot")


def _against_snapshots(
    policy: Policy, snapshots: Sequence[Edge], sizes: dict[int, int]
) -> Iterator[Policy]:
    types: dict[type, int] = {}
    for edge in snapshots:
        size = sizes.get(id(edge.referent), 0)
        types[type(edge.referent)] = max(types.get(type(edge.referent), 0), size)
    heaviest = sorted(types, key=lambda cls: -types[cls])[:_TYPES]
    for cls in heaviest:
        yield _ruled(policy, [cls], "dangle")
    # Where one alone leaves most of it.
    for count in sorted({2, len(heaviest)}):
        if 1 < count <= len(heaviest):
            yield _ruled(policy, heaviest[:count], "dangle")
    holders: dict[type, None] = {}
    for edge in snapshots:
        kind = kind_of(type(edge.weak))
        if kind is not None and kind.is_container:
            holders[type(edge.weak)] = None
    for cls in list(holders)[:_TYPES]:
        yield _ruled(policy, [cls], "dangle")
    if policy.max_snapshot_bytes is None:
        ordered = sorted({sizes[id(e.referent)] for e in snapshots if id(e.referent) in sizes})
        pairs = itertools.pairwise(ordered)
        apart = max(((high / max(low, 1), low, high) for low, high in pairs), default=(0, 0, 0))
        if apart[0] >= _APART:
            yield replace(policy, max_snapshot_bytes=_round_between(apart[1], apart[2]))


def _round_between(low: int, high: int) -> int:
    """The roundest number from `low` to less than `high`."""
    step: int = 10 ** len(str(high))
    while -(-low // step) * step >= high:
        step //= 10  # 1 at the latest
    return -(-low // step) * step


def tried(
    policies: Sequence[Policy],
    payload_under: Callable[[Policy], tuple[int, int]],
    size: int | None,
    line_of: Callable[[Policy], str | None],
) -> tuple[Advice, ...]:
    """What helps, the best first.

    Args:
        policies: what to try.
        payload_under: gives the size of the payload under a policy, and a number that tells it
            from others, or raises what a dump raises.
        size: of the payload under the report's policy; None where nothing would be sent.
        line_of: what is to be pasted for a policy; None where that cannot be said.
    """
    budget = _MORE + _TIMES * (size or 0)
    # Of those that come to the same payload, the narrower, which is guessed first.
    found: dict[tuple[int, int], Advice] = {}
    lines = [(policy, line) for policy in policies if (line := line_of(policy)) is not None]
    for policy, line in lines[:_TRIED]:
        if budget < 0:
            break
        try:
            payload = payload_under(policy)
        except Exception:  # noqa: BLE001 - then it is no advice
            budget -= size or 0
            continue
        smaller, _ = payload
        budget -= smaller
        saves = None if size is None else size - smaller
        if saves is None or (saves > 0 and saves * _WORTH >= (size or 0)):
            found.setdefault(payload, Advice(printable(line), smaller, saves))
    return tuple(sorted(found.values(), key=lambda advice: advice.bytes)[:_MOST])


# --- lines ----------------------------------------------------------------------------


def line(policy: Policy, base: Policy, reported: Policy, around: Namespace) -> str | None:
    """What ``weakreduce.policy(...)`` is to be given for a policy, where `base` is in force.

    Args:
        policy: what is advised.
        base: the policy in force where the line is pasted.
        reported: the policy of the report.
        around: the names there.

    Returns:
        The line; None where it would need a class or function that has no name.
    """
    for name, named in NAMED.items():
        if policy == named:
            return f'"{name}"'
    texts = []
    if reported != base:
        for name, named in NAMED.items():
            if named == reported:
                texts, base = [f'"{name}"'], named
    for field in fields(Policy):
        value, other = getattr(policy, field.name), getattr(base, field.name)
        if field.name == "rules":
            if _told(value) == _told(other):
                continue
            rules = _rules(policy, base, around)
            if rules is None:
                return None
            texts.append(f"rules={rules}")
        elif value != other:
            is_endless = field.name == "max_snapshot_bytes" and value == math.inf
            texts.append(f"{field.name}={None if is_endless else value!r}")
    return ", ".join(texts)


def _rules(policy: Policy, base: Policy, around: Namespace) -> str | None:
    count = len(base.rules)
    is_more = count > 0 and _told(policy.rules[-count:]) == _told(base.rules)
    own, kept = (policy.rules[:-count], base.rules) if is_more else (policy.rules, ())
    texts = [_rule(rule, around) for rule in own]
    kept_texts = [_rule(rule, around) for rule in kept]
    # A lambda, say, has no name, but it is in force.
    texts += ["*weakreduce.get_policy().rules"] if None in kept_texts else kept_texts
    named = [text for text in texts if text is not None]
    if len(named) < len(texts):
        return None
    return f"({', '.join(named)}{',' if len(named) == 1 else ''})"


def _rule(rule: tuple[Match, RuleFate], around: Namespace) -> str | None:
    name = naming.name_of(rule[0], around)
    return None if name is None else f"({name}, {rule[1]!r})"
