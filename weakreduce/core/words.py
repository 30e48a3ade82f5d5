"""Words: the texts of refusals and warnings, which name the path, the type, why, and the cure."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Final

from weakreduce.model import decide, naming
from weakreduce.model.decide import Decision
from weakreduce.model.errors import DanglingWarning, WeakrefPicklingError
from weakreduce.model.kinds import Edge, kind_of
from weakreduce.model.policies import Policy
from weakreduce.model.texts import class_name, printable
from weakreduce.paths import search


def cause(error: BaseException) -> str:
    """An error in one line."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the error's own class cannot say it
        text = "(its text cannot be made)"
    return printable(f"{type(error).__name__}: {text}")


def _paths(root: object, wanted: Iterable[object]) -> dict[int, str]:
    """Id -> path. A text about a dump must never make it fail, whatever is in the graph."""
    try:
        return search.paths_to(root, wanted)
    except Exception:  # noqa: BLE001 - the text is without a path then
        return {}


def where(path: str | None, edge: Edge) -> str:
    """The place of an edge, given its weak thing's path: with the entry, where it is one's."""
    kind = kind_of(type(edge.weak))
    if path is None:
        return f"a {class_name(type(edge.weak))} below root"
    if kind is None or not kind.is_container:
        return path
    return search.edge_path(kind, path, edge)


def _rules(edge: Edge, fate: str) -> str:
    """What to write for the referents of an edge's type, where the call is that pickles it.

    A class that has no name there (a local one, one of a script that another process runs) is told
    by the name that it says it has.
    """
    cls = type(edge.referent)
    match = naming.name_of(cls, naming.around(sys._getframe(_caller() - 1)))
    if match is None:
        match = f"lambda weak, referent: type(referent).__qualname__ == {class_name(cls)!r}"
    return f"rules=(({match}, {fate!r}),)"


def refusal(policy: Policy, root: object, edge: Edge, decision: Decision) -> WeakrefPicklingError:
    """The error for an edge that the policy refuses."""
    referent = class_name(type(edge.referent))
    rule = f"{_rules(edge, 'dangle')} for this type alone"
    outside = policy.live != "forbid" and decision.why is not decide.UNREFERABLE.why
    place = "outside; " if outside else ""
    if policy.live == "forbid":
        cure = "drop the reference before pickling, or choose another policy"
    elif not outside:
        cure = (
            "let its __reduce__ make an object that can be weakly referenced, or write "
            'policy(unpicklable="dangle") to send the reference dead, or '
            f"{_rules(edge, 'sever')} for this type alone"
        )
    elif not decision.asked:
        cure = (
            'make the referent picklable, or write policy(unpicklable="dangle") to send the '
            f"reference dead, or {rule}"
        )
    else:
        cure = (
            "put the referent into the payload, or write "
            'weakreduce.policy("snapshot") to send a copy that the reference keeps alive, '
            f'weakreduce.policy("dangle") to send the reference dead, or {rule}'
        )
    path = where(_paths(root, [edge.weak]).get(id(edge.weak)), edge)
    return WeakrefPicklingError(
        f"{path}: {referent} ({place}{printable(decision.reason)}). To send it: {cure}."
    )


def warn(root: object, lost: list[tuple[Edge, str]], dropped: list[tuple[object, str]]) -> None:
    """Warn of each edge that dangles, and each callback that is dropped, unasked."""
    texts = []
    wanted = (*(edge.weak for edge, _ in lost), *(callback for callback, _ in dropped))
    found = _paths(root, wanted)
    for edge, reason in lost:
        referent = class_name(type(edge.referent))
        path = where(found.get(id(edge.weak)), edge)
        place, fate, cure = " (outside)", "dangle", 'weakreduce.policy("dangle"), or '
        if reason in (decide.UNREFERABLE.why, decide.CIRCULAR.why):
            place, fate, cure = "", "sever", ""  # it may be inside
        texts.append(
            f"{path}: {referent}{place} arrives dead: {printable(reason)}. "
            f"Write {cure}{_rules(edge, fate)}, to say so."
        )
    for callback, reason in dropped:
        place = found.get(id(callback)) or "a weak reference below root"
        texts.append(
            f"{place}: the callback {class_name(type(callback))} was dropped because it cannot be "
            f"pickled ({printable(reason)}). "
            'Write weakreduce.policy(callbacks="drop") to say so, or make the callback picklable.'
        )
    for text in dict.fromkeys(texts):
        warnings.warn(text, DanglingWarning, stacklevel=_caller())


#: The picklers and engines between a user's call and us.
_BETWEEN: Final = frozenset(
    [
        "weakreduce",
        "cloudpickle",
        "dill",
        "pickle",
        "multiprocessing",
        "concurrent",
        "multiprocess",
        "pathos",
        "loky",
        "joblib",
        "dask",
        "distributed",
        "tornado",
        "ray",
        "pyspark",
        "pebble",
        "executorlib",
        "submitit",
        "parsl",
        "ipyparallel",
        "functools",
    ]
)


def _caller() -> int:
    """The stack level, as seen from the caller of this, of the first frame that is a user's."""
    level = 1
    frame = sys._getframe(1)
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN
    ):
        frame = frame.f_back
        level += 1
    return level
