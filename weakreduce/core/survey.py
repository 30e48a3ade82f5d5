"""Survey: after a second walk has failed, every snapshot and callback that cannot be pickled.

Each is walked by itself, weak edges left aside; what was walked well is not walked again, so this
takes time in proportion to what there is, and to what fails. What is found is put into the dump's
`Facts`, from which the next walk's decisions come; nothing is decided here but what
`Policy.unpicklable` says of a failure.
"""

from __future__ import annotations

from typing import Any, Final

from weakreduce.core import blame, words
from weakreduce.core.facts import Facts
from weakreduce.core.probing import Prober
from weakreduce.core.reach import Reach
from weakreduce.core.walk import Refused
from weakreduce.core.watches import Watch
from weakreduce.model.decide import Decision, Fate, given_up
from weakreduce.model.kinds import Edge

#: For how many failing snapshots of a dump the warnings say which part of them is to blame.
_PLACED: Final = 10
#: How often a dump is tried again. One survey finds all that cannot be pickled: there is more the
#: next time only where the graph changes as it is looked at, and then there may always be.
_SURVEYS: Final = 20


def survey(
    prober: Prober,
    inside: Reach,
    root: object,
    snapshots: list[Edge],
    entries: list[Edge],
    watch: Watch | None,
) -> bool:
    """Find every snapshot and callback that cannot be pickled; False if there is none.

    False, too, where that was done so often that it would go on without end.

    Args:
        prober: probes each.
        inside: what needs no look, as it is in the payload anyway.
        root: probed where the reach is complete: it has weak things that the failed walk had not
            come to yet.
        snapshots: an edge to each referent that a snapshot takes along, as far as it came.
        entries: those of WeakKeyDictionaries that travel because their key is a snapshot.
        watch: who sees the refusals of a dump that goes on after them.

    Raises:
        Refused: where the policy does not let a snapshot dangle.
    """
    facts = prober.facts
    facts.surveys += 1
    if facts.surveys > _SURVEYS:
        return False
    subjects: list[tuple[Edge | None, Any]] = [
        *((None, callback) for callback in facts.callbacks.values()),
        *((entry, entry.value) for entry in entries),
        *((edge, edge.referent) for edge in snapshots),
    ]
    seen = {id(subject): subject for _, subject in subjects}
    if inside.complete:
        prober.probe(root)
        subjects[:0] = _come_upon(prober, inside, seen)
    failures = 0
    while subjects:
        edge, subject = subjects.pop()
        failure = prober.probe(subject)
        try:
            if failure is not None:
                cause = words.cause(failure)
                if failures < _PLACED:
                    cause += blame.place(prober, subject)
                failures += _fail(facts, watch, edge, subject, failure, cause)
        finally:
            del failure  # its traceback leads to this frame, and so back to itself
        subjects += _come_upon(prober, inside, seen)
    return failures > 0


def _come_upon(
    prober: Prober, inside: Reach, seen: dict[int, Any]
) -> list[tuple[Edge | None, Any]]:
    """What a probe came upon that was not `seen`, and is to be probed as well: with its edge."""
    walk = prober.walk
    found: list[tuple[Edge | None, Any]] = []
    for edge in walk.pending:
        for subject in (edge.referent, edge.value):
            if subject is None or id(subject) in seen:
                continue
            # A reach that is not complete may hold what the walk has failed at.
            if not (inside.complete and inside.holds(subject)):
                seen[id(subject)] = subject
                found.append((edge, subject))
    found += ((None, held) for held in walk.callbacks)
    prober.met.clear()
    walk.forget()
    return found


def _fail(
    facts: Facts,
    watch: Watch | None,
    edge: Edge | None,
    subject: object,
    failure: Exception,
    cause: str,
) -> bool:
    """Note a failure; False where it was noted before."""
    if edge is None:
        new = id(subject) not in facts.dropped
        facts.dropped[id(subject)] = (subject, cause)
        return new
    is_referent = subject is edge.referent
    reason = f"{'it' if is_referent else 'its value'} cannot be pickled ({cause})"
    decision = given_up(Decision(Fate.DANGLE, reason, asked=False), facts.policy)
    if decision.fate is Fate.REFUSE:
        if watch is None or not watch.goes_on:
            raise Refused(edge, decision) from failure
        watch.refused(edge, decision)
    if is_referent:
        new = id(subject) not in facts.failed
        facts.failed[id(subject)] = decision
        facts.keep(subject)
        return new
    key = (id(edge.weak), id(edge.referent))
    facts.keep(edge)
    new = key not in facts.failed_entries
    facts.failed_entries[key] = decision
    return new
