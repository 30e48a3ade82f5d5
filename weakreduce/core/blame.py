"""Blame: which object made a dump fail, and where it is.

An error of the host's says what kind of object cannot be pickled, but not where that is.
An object whose own code raised is known already. Else the object that the pickler asked for last,
and which fails by itself as well, is the one. Nothing of this runs while dumps succeed, no code of
the user's that raised is run again, and all of it takes no more work than the dump did.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from weakreduce.core import notes, watchers
from weakreduce.core.expressions import OURS
from weakreduce.core.probing import Enough, Prober
from weakreduce.core.sink import left_a_dump
from weakreduce.core.walk import Walk
from weakreduce.core.watches import Culprit
from weakreduce.model.classes import class_attribute
from weakreduce.model.errors import WeakreduceError
from weakreduce.model.texts import class_name, printable, shortened
from weakreduce.paths import search

#: How many holders of an object are tried, if the object itself is nowhere in the graph.
_HOLDERS = 10
#: Objects met last that are looked for where the recursion went too deep.
_LAST = 50
#: Objects that may be asked for, besides as many as the dump asked for.
_MORE = 1000
#: Objects that may be opened on the way to one, at least: a tenth of a second.
_OPENED = 20_000
#: What a note begins with.
_OURS = "weakreduce: "
#: Characters of a path in a note.
_WIDTH = 400


def note(prober: Prober, ran: Walk, root: object, error: Exception) -> Culprit | None:
    """Add to an error that is not ours where the object is that cannot be pickled.

    The type and the text of the error stay as they are; where nothing is found out, so does
    all of it.

    Args:
        prober: probes what was met.
        ran: the walk that failed.
        root: what was dumped.
        error: what was raised.
    """
    if isinstance(error, WeakreduceError):
        return None
    with notes.as_they_are(error):
        found = culprit(prober, ran, root, error)
    said = notes.of(error)
    if found is not None and isinstance(getattr(error, "__notes__", []), list):
        # An error that is raised again has one of an earlier dump, one of a dump inside this
        # has that one's: two paths from two roots would say nothing.
        said[:] = [text for text in said if not _is_ours(text)]
        text = found.text if found.fatal else f"what cannot be pickled is {found.text}"
        BaseException.add_note(error, f"{_OURS}{text}")
    return found


def _is_ours(text: object) -> bool:
    return type(text) is str and text.startswith(_OURS)


def culprit(prober: Prober, ran: Walk, root: object, error: Exception) -> Culprit | None:
    """The object that makes the dump of `root` fail, or None where that is not found out."""
    traceback = error.__traceback__
    try:
        with watchers.watching(False):
            return _culprit(prober, ran, root, error)
    except (Exception, Enough):  # noqa: BLE001 - the user has an error to read already, the host's
        return None
    finally:
        # The same error may have been raised again on the way.
        error.__traceback__ = traceback


def place(prober: Prober, subject: object) -> str:
    """Where in a snapshot's referent the object is that made its probe fail, in a few words.

    Args:
        prober: has probed it.
        subject: the referent, or what else of an edge failed.
    """
    try:
        with watchers.watching(False):
            found = next(_failing(prober), subject)
            if found is subject:
                return ""
            ways = search.Search(subject, [id(found)], prober.adapter.by_name)
            path = ways.path(found, root="it")
            return "" if path is None else f", at {_short(path)}"
    except (Exception, Enough):  # noqa: BLE001 - the reason is known already, this is its place
        return ""
    finally:
        prober.met.limit = float("inf")


def _culprit(prober: Prober, ran: Walk, root: object, error: Exception) -> Culprit | None:
    causes = _chain(error)
    raised = next(
        (
            obj
            for obj, found, *_ in prober.facts.reductions.raised.values()
            if any(found is cause for cause in causes)
        ),
        None,
    )
    if raised is None and left_a_dump(error):
        return None  # that one has said what is to blame
    before = [] if prober.adapter.hides_parts else _met(ran)
    limit = max(2 * len(before), _OPENED)
    met = prober.met
    if prober.adapter.hides_parts:
        # What was met does not tell what the pickler was in the middle of.
        if prober.probe(root) is None:
            return None
    else:
        met += before
    if any(isinstance(found, RecursionError) for found in causes):
        last = met[: -_LAST - 1 : -1]
        ways = search.Search(root, map(id, last), prober.adapter.by_name, limit)
        for obj in last:
            path = ways.path(obj)
            if path is not None:
                text = f"the pickler's recursion ended at {_short(path)}"
                return Culprit(obj, path, text, fatal=True)
        return None
    failing = _failing(prober)
    innermost = next(failing, None) if raised is None else raised
    if innermost is None:
        return None
    nearest = [innermost, *met[: -_LAST - 1 : -1]]
    ways = search.Search(root, map(id, nearest), prober.adapter.by_name, limit, id(innermost))
    path = ways.path(innermost)
    if path is not None:
        return Culprit(innermost, path, described(path, innermost))
    place = "somewhere below" if len(ways.objects) >= limit else "that is made to write"
    with contextlib.suppress(Enough):
        for holder in itertools.islice(failing, _HOLDERS):
            path = ways.path(holder)
            if path is not None:
                text = f"{_article(innermost)} {place} {described(path, holder)}"
                return Culprit(holder, path, text)
    return None


def _met(walk: Walk) -> list[Any]:
    """What a walk met, in order; but for what is ours, and what earlier dumps wrote."""
    return [obj for obj in walk.met.values() if obj is not None and type(obj) not in OURS]


def _failing(prober: Prober) -> Iterator[Any]:
    """The object that fails, then those that hold it, from the inside out.

    The objects that a pickler is in the middle of are met from the outside in, so the one met
    last that fails by itself is the innermost. What a probe has walked well is not walked again.

    Raises:
        Enough: where that has asked for as many objects as were met.
    """
    met = prober.met
    met.limit = 2 * len(met) + _MORE
    for obj in reversed(met.copy()):
        if prober.probe(obj) is not None:
            yield obj


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and its causes."""
    found: list[BaseException] = []
    while error is not None and len(found) < _LAST:
        found.append(error)
        error = error.__cause__
    return found


def described(path: str, obj: object) -> str:
    """What an object is, and where."""
    return f"{_short(path)} ({_article(obj)})"


def _short(path: str) -> str:
    return shortened(path, _WIDTH)


def _article(obj: object) -> str:
    cls = type(obj)
    module = class_attribute(cls, "__module__")
    if module in ("builtins", "__main__"):
        name = class_name(cls)
    else:
        name = f"{printable(str(module))}.{class_name(cls)}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
