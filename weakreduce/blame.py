"""Blame: which object made a dump fail, and where it is.

An error of the host's says what kind of object cannot be pickled, but not where that is.
When a dump fails, its strong graph is walked once more; the object that the pickler asked for
last, and which fails by itself as well, is the one. Nothing of this runs while dumps succeed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, final

from weakreduce import observe, paths
from weakreduce.errors import WeakreduceError
from weakreduce.texts import class_name, printable, shortened

#: How many holders of an object are tried, if the object itself is nowhere in the graph.
_HOLDERS = 10
#: Objects met last that are looked for where the recursion went too deep.
_LAST = 50
#: What a note begins with.
_OURS = "weakreduce: "
#: Characters of a path in a note.
_WIDTH = 400


@final
class Culprit(NamedTuple):
    """What cannot be pickled."""

    #: The object; or the nearest holder in the graph of an object that a reduction made.
    obj: Any
    path: str
    #: What it is, and where.
    text: str
    #: It is the recursion that went too deep, and there is no use in looking for more.
    fatal: bool = False


def note(session: Any, root: Any, error: Exception) -> Culprit | None:
    """Add to an error that is not ours where the object is that cannot be pickled.

    The type and the text of the error stay as they are; where nothing is found out, so does
    all of it.
    """
    if isinstance(error, WeakreduceError):
        return None
    found = culprit(session, root, error)
    if found is not None and isinstance(getattr(error, "__notes__", []), list):
        # An error that is raised again has one of an earlier dump, one of a dump inside this
        # has that one's: two paths from two roots would say nothing.
        notes = getattr(error, "__notes__", [])
        notes[:] = [text for text in notes if not _is_ours(text)]
        said = found.text if found.fatal else f"what cannot be pickled is {found.text}"
        BaseException.add_note(error, f"{_OURS}{said}")
    return found


def _is_ours(text: Any) -> bool:
    return type(text) is str and text.startswith(_OURS)


def culprit(session: Any, root: Any, error: Exception) -> Culprit | None:
    """The object that makes the dump of `root` fail, or None where that is not found out."""
    try:
        with observe.watching(False):
            return _culprit(session, root, error)
    except Exception:  # noqa: BLE001 - the user has an error to read already, the host's
        return None


def place(session: Any, walk: Any, subject: Any, met: list[Any]) -> str:
    """Where in a snapshot's referent the object is that made its probe fail, in a few words.

    Args:
        session: the session.
        walk: the first walk that probed the referent.
        subject: the referent, or what else of an edge failed.
        met: what the probe met, from `listen`.
    """
    try:
        with observe.watching(False):
            found = next(_failing(session, walk, met), subject)
            if found is subject:
                return ""
            search = paths.Search(subject, [id(found)], session.engine.by_name)
            path = search.path(found, root="it")
            return "" if path is None else f", at {shortened(path, _WIDTH)}"
    except Exception:  # noqa: BLE001 - the reason is known already, this is its place
        return ""


def _culprit(session: Any, root: Any, error: Exception) -> Culprit | None:
    session.start_over()
    walk = session.first_walk()
    walk.goes_on = True  # no edge is to blame, and what comes after a refused one may be
    met = listen(walk)
    failed, recursion = _probed(session, walk, root)
    if not failed and (walk.queue or walk.waiting):
        failed, recursion = _probed(session, walk, walk.rest())
    if not failed:
        return None
    if recursion or _is_recursion(error):
        last = met[: -_LAST - 1 : -1]
        search = paths.Search(root, map(id, last), session.engine.by_name)
        for obj in last:
            path = search.path(obj)
            if path is not None:
                text = f"the pickler's recursion ended at {shortened(path, _WIDTH)}"
                return Culprit(obj, path, text, fatal=True)
        return None
    failing = _failing(session, walk, met)
    innermost = next(failing, None)
    if innermost is None:
        return None
    path = paths.Search(root, [id(innermost)], session.engine.by_name).path(innermost)
    if path is not None:
        return Culprit(innermost, path, described(path, innermost))
    holders = list(itertools.islice(failing, _HOLDERS))
    search = paths.Search(root, map(id, holders), session.engine.by_name)
    for obj in holders:
        path = search.path(obj)
        if path is not None:
            made = f"{_article(innermost)} that is made to write"
            text = f"{made} {shortened(path, _WIDTH)} ({_article(obj)})"
            return Culprit(obj, path, text)
    return None


def _probed(session: Any, walk: Any, obj: Any) -> tuple[bool, bool]:
    """Whether an object fails, and whether that is because the recursion is too deep."""
    failure = session.probe(walk, obj)
    if failure is None:
        return False, False
    # Its traceback leads to this frame, and so back to itself.
    failure.with_traceback(None)
    return True, _is_recursion(failure)


def listen(walk: Any) -> list[Any]:
    """Every object that the walk is asked for from now on, in order, kept alive."""
    met: list[Any] = []
    ask: Callable[[Any], Any] = walk.override

    def listening(obj: Any) -> Any:
        met.append(obj)
        return ask(obj)

    walk.override = listening
    return met


def _failing(session: Any, walk: Any, met: list[Any]) -> Iterator[Any]:
    """The object that fails, then those that hold it, from the inside out.

    The objects that a pickler is in the middle of are met from the outside in, so the one met
    last that fails by itself is the innermost. What a probe has walked well is not walked again.
    """
    found: list[Any] = []
    for obj in reversed(met.copy()):
        if any(obj is other for other in found):
            continue
        if _probed(session, walk, obj)[0]:
            found.append(obj)
            yield obj


def _is_recursion(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, RecursionError):
            return True
        error = error.__cause__
    return False


def described(path: str, obj: Any) -> str:
    """What an object is, and where."""
    return f"{shortened(path, _WIDTH)} ({_article(obj)})"


def _article(obj: Any) -> str:
    cls = type(obj)
    if cls.__module__ in ("builtins", "__main__"):
        name = class_name(cls)
    else:
        name = f"{printable(str(cls.__module__))}.{class_name(cls)}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
