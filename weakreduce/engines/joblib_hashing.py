"""joblib.hash, and so joblib.Memory: what is behind a weak reference counts.

A hash follows weak edges like strong ones, whatever the policy: a cache's key has to be stable. An
object without weak things is hashed by joblib alone, bit for bit as ever. At the first weak thing
that is given up, and the object is hashed again by a `_Following` hasher, which writes

1. the root, each weak thing as a shell: its type, whether it is alive, its callback, its state;
2. then the referents, in the order in which their shells were met; what is met again is
   written as its number, so cycles end, and chains of weak references do not recurse;
3. then the contents of collections without an order (WeakSets, weak dictionaries, and here sets
   and dictionaries with keys that cannot be sorted, too), in the order that `_Order` finds.

What we rely on, pinned by the tests: ``Hasher`` is a subclass of the pure-Python pickler, at
protocol 3; it reads ``dispatch_table`` for what ``dispatch`` does not have; ``hash`` calls ``dump``
once, and then hashes ``stream``; ``_batch_setitems`` and ``dispatch[set]`` write what has no order.
``Hasher.dispatch`` is a copy of the pure-Python pickler's, made when joblib is imported.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

from weakreduce.core import words
from weakreduce.core.encode import user_state
from weakreduce.core.held import ATOMS
from weakreduce.core.identities import with_new_identities, with_new_identity
from weakreduce.hosts.patch import AttributePatch, Stock, in_front
from weakreduce.model import kinds, signals
from weakreduce.model.kinds import Edge, Kind, kind_of
from weakreduce.model.signals import Signal
from weakreduce.model.texts import class_name
from weakreduce.paths import search

if TYPE_CHECKING:
    from joblib.hashing import Hasher

_PythonPickler: Any = pickle._Pickler
_WEAK_BASES: Final = frozenset(kind.base for kind in kinds.KINDS)
#: The parts of an edge that make an entry.
_COLLECTIONS: Final = {
    "WeakSet": ("referent",),
    "WeakKeyDictionary": ("referent", "value"),
    "WeakValueDictionary": ("key", "referent"),
}
_UNPICKLABLE: Final = (pickle.PicklingError, TypeError, AttributeError)

# --- the first weak thing -----------------------------------------------------------------


def _reducer_of(cls: type) -> object:
    """A user's own reducer for a type, or None: the interpreter's, should it have any, is none."""
    found = copyreg.dispatch_table.get(cls)
    return None if kinds.is_interpreters(found) else found


class _Found(Signal):
    """A weak thing was met: a signal, which joblib's and the user's own code let pass."""


def _scouted(cls: type, default: object = None) -> object:
    """What joblib calls: a user's own reducer, what reports a weak thing, or `default`."""
    found = _reducer_of(cls)
    if found is not None:
        return found
    is_weak = (kinds.has_registered() or not _WEAK_BASES.isdisjoint(cls.__mro__)) and kind_of(cls)
    return _report if is_weak else default


def _asking_once() -> Callable[..., object]:
    """`_scouted`, asked once for each type; this is what a hash calls for each instance."""
    known: dict[type, object] = {}

    def get(cls: type, default: object = None) -> object:
        if cls in known:
            found = known[cls]
        else:
            found = known[cls] = _scouted(cls)
        return default if found is None else found

    return get


@final
class _Scout(threading.local):
    """joblib's dispatch table: copyreg's, but that a weak thing is reported. Per thread."""

    def __init__(self) -> None:
        #: Whether the thread looks for weak things, and a `_Found` is for it.
        self.looks = False
        #: The one method of a table that the pickler uses.
        self.get: Callable[..., object] = _scouted

    def begin(self) -> None:
        """From here on the reducers of a type are taken to stay as they are."""
        self.looks, self.get = True, _asking_once()

    def end(self) -> None:
        """Forget what was asked."""
        self.looks, self.get = False, _scouted


def _report(_weak: object) -> NoReturn:
    raise _Found


_scout: Final = _Scout()


def _hash(stock: Stock, hasher: Hasher, obj: object, return_digest: bool = True) -> object:
    if _scout.looks:
        # joblib hashes the members of a set one by one: the outermost begins again.
        return stock(hasher, obj, return_digest)
    before, written, known = hasher._hash.copy(), hasher.stream.tell(), len(hasher.memo)
    _scout.begin()
    try:
        return stock(hasher, obj, return_digest)
    except (_Found, ReferenceError):
        # A dead proxy is no instance of anything, and says so by a ReferenceError.
        pass
    except Exception as error:
        if signals.behind(error, _Found) is None:
            raise
    finally:
        _scout.end()
    hasher.stream.seek(written)
    hasher.stream.truncate()
    _forget(hasher.memo, known)
    hasher._hash = before
    hasher._hash.update(stock(_sibling(hasher), obj).encode())
    return hasher._hash.hexdigest() if return_digest else None


def _forget(memo: dict[int, object], known: int) -> None:
    """Forget what was met since the memo had `known` entries."""
    while len(memo) > known:
        memo.popitem()


# --- following ----------------------------------------------------------------------------

#: What a collection without an order holds: tuples of one object, or of a key and a value.
_Entry = tuple[Any, ...]


class _Following:
    """A hasher that follows weak edges; mixed into joblib's."""

    # Of joblib's Hasher, which is always the other base.
    dispatch: Any
    memo: dict[int, Any]
    save_reduce: Any
    get: Any
    write: Any
    stream: Any
    _hash: Any

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        #: What is to be written next, in this order; contents without an order come last.
        self.targets: deque[object] = deque()
        self.unordered: deque[list[_Entry]] = deque()
        #: Innermost first: what was being written when an error came up.
        self.failing: list[object] = []
        self._kinds: dict[type, Kind | None] = {}
        save_set = type(self)._save_set
        self.dispatch = {**self.dispatch, set: save_set, frozenset: save_set}

    def dump(self, obj: object) -> None:
        """Write all that `obj` reaches."""
        try:
            super().dump(obj)  # type: ignore[misc]
            while self.targets or self.unordered:
                if self.targets:
                    self.save(self.targets.popleft())
                    continue
                for entry in _Order(self).sorted(self.unordered.popleft()):
                    for part in entry:
                        self.save(part)
        except _UNPICKLABLE as error:
            raise self._error(obj, error) from error

    def _error(self, root: object, error: Exception) -> pickle.PicklingError:
        # Not a TypeError: joblib takes that for a dictionary whose keys cannot be sorted.
        found = search.paths_to(root, self.failing)
        failing = next((obj for obj in self.failing if id(obj) in found), None)
        subject = "" if failing is None else f"{found[id(failing)]}: {class_name(type(failing))} "
        return pickle.PicklingError(
            f"{subject}cannot be pickled, so it has no hash ({words.cause(error)})"
        )

    def save(self, obj: object) -> None:
        """Write one object."""
        cls = type(obj)
        kind = self._kinds.get(cls)
        if kind is None and cls not in self._kinds:
            kind = self._kinds[cls] = kind_of(cls) if _reducer_of(cls) is None else None
        try:
            if kind is None:
                super().save(obj)  # type: ignore[misc]
            elif id(obj) in self.memo:
                self.write(self.get(self.memo[id(obj)][0]))
            else:
                self._save_weak(kind, obj)
        except _UNPICKLABLE:
            self.failing.append(obj)
            raise

    def _save_weak(self, kind: Kind, weak: Any) -> None:
        """Write the shell of a weak thing, and put down what is to follow."""
        edges = kind.edges(weak)
        state = None if kind.rebuild or kind.is_proxy else user_state(weak, kind.internals)
        if kind.name in _COLLECTIONS and not kind.rebuild:
            self._shell(weak, (len(edges), state))
            self.unordered.append([_entry(kind, edge) for edge in edges])
            return
        (edge,) = edges
        alive = edge.referent is not None
        state = with_new_identity(state, edge.referent, None)
        more: object = None
        if kind.name == "WeakMethod":
            more = getattr(edge.function, "__qualname__", None)
        elif kind.is_finalizer:
            more = weak.atexit
        self._shell(weak, (alive, edge.callback, state, more))
        if alive:
            self.targets.append(edge.referent)

    def _shell(self, obj: object, state: object) -> None:
        self.save_reduce(type(obj), ())
        # Before the state, which may lead back here. Not joblib's: a dead proxy answers nothing.
        _PythonPickler.memoize(self, obj)
        self.save(state)
        self.write(pickle.BUILD)

    def _save_set(self, obj: set[object]) -> None:
        self._shell(obj, len(obj))
        self.unordered.append([(member,) for member in obj])

    def _batch_setitems(self, items: Iterable[tuple[object, object]], *rest: object) -> None:
        entries: list[_Entry] = list(items)
        if all(_is_atom(key) for key, _ in entries):
            _PythonPickler._batch_setitems(self, iter(sorted(entries, key=_by_atom)), *rest)
        else:
            self.save(len(entries))
            self.unordered.append(entries)


@functools.cache
def _following(cls: Any) -> Callable[..., Any]:
    return cls if issubclass(cls, _Following) else type(cls.__name__, (_Following, cls), {})


def _sibling(hasher: Any) -> Any:
    """A hasher that follows, with the settings of another one."""
    cls: Any = type(hasher)
    settings = {"hash_name": hasher._hash.name}
    if hasattr(hasher, "coerce_mmap"):
        settings["coerce_mmap"] = hasher.coerce_mmap
    return _following(cls)(**settings)


# --- collections without an order ---------------------------------------------------------


def _entry(kind: Kind, edge: Edge) -> _Entry:
    """What an entry is hashed by; a key that is the `id` of its value is a number of no meaning."""
    entry = tuple(getattr(edge, part) for part in _COLLECTIONS[kind.name])
    if kind.name == "WeakValueDictionary":
        return (*with_new_identities(entry[:1], entry[1:], [None]), *entry[1:])
    return entry


def _is_atom(obj: Any) -> bool:
    cls = type(obj)
    return cls in ATOMS or (cls is tuple and all(map(_is_atom, obj)))


def _by_atom(entry: _Entry) -> tuple[str, str]:
    return type(entry[0]).__name__, repr(entry[0])


@final
class _Order:
    """Finds the order of entries that every process agrees on: no address, no order of hashing.

    By what they would write, themselves, and, where that is alike, what is behind their weak edges,
    step by step, up to `_DEPTH` of them. Entries that are alike to there may come in any order.
    """

    def __init__(self, hasher: _Following) -> None:
        self.hasher = hasher
        #: The ids of an entry -> the entry, the digest of what it would write now, all by itself,
        #: and what follows that: the entries behind each weak edge.
        self.alone: dict[tuple[int, ...], tuple[_Entry, str, list[list[_Entry]]]] = {}
        #: A depth, and the ids of an entry -> the digest of all that is up to there.
        self.digests: dict[tuple[int, ...], str] = {}

    def sorted(self, entries: list[_Entry], depth: int = 0) -> list[_Entry]:
        """The entries in order."""
        if len(entries) < 2:
            return entries
        if all(_is_atom(entry[0]) for entry in entries):
            return sorted(entries, key=_by_atom)
        if depth > _DEPTH:
            # The last thing to tell them apart: what other collections hold.
            others = [{id(part) for other in group for part in other}
                      for group in self.hasher.unordered]  # fmt: skip
            return sorted(entries, key=lambda entry: [id(entry[0]) in group for group in others])
        alike: dict[str, list[_Entry]] = {}
        for entry in entries:
            alike.setdefault(self._digest(entry, depth), []).append(entry)
        deeper = 2 * depth or 1
        return [entry for text in sorted(alike) for entry in self.sorted(alike[text], deeper)]

    def _digest(self, entry: _Entry, depth: int) -> str:
        """What stands for an entry and all that is up to `depth` weak edges away from it."""
        _, own, behind = self._alone(entry)
        if not depth or not behind:
            return own
        key = (depth, *map(id, entry))
        if key not in self.digests:
            found = [sorted(self._digest(part, depth - 1) for part in group) for group in behind]
            self.digests[key] = hashlib.sha256(str((own, found)).encode()).hexdigest()
        return self.digests[key]

    def _alone(self, entry: _Entry) -> tuple[_Entry, str, list[list[_Entry]]]:
        key = tuple(map(id, entry))
        found = self.alone.get(key)
        if found is None:
            numbers = self._by_number(entry)
            known = all(map(_is_atom, numbers))
            text, behind = (str(numbers), []) if known else self._written(entry)
            found = self.alone[key] = entry, text, behind
        return found

    def _written(self, entry: _Entry) -> tuple[str, list[list[_Entry]]]:
        memo, known = self.hasher.memo, len(self.hasher.memo)
        alone = _sibling(self.hasher)
        alone.memo = memo
        try:
            for part in entry:
                alone.save(part)
            groups = (*([(target,)] for target in alone.targets), *alone.unordered)
            behind = [[self._by_number(found) for found in group] for group in groups]
        except _UNPICKLABLE:
            self.hasher.failing += alone.failing
            raise
        finally:
            _forget(memo, known)
        alone._hash.update(alone.stream.getvalue())
        return alone._hash.hexdigest(), behind

    def _by_number(self, entry: _Entry) -> _Entry:
        """An entry, with what was met replaced by its number: an entry may lead back to itself."""
        memo = self.hasher.memo
        return tuple(
            part if id(part) not in memo or _is_atom(part) else ("met", memo[id(part)][0])
            for part in entry
        )


#: How many weak edges from an entry are looked at: a power of two.
_DEPTH: Final = 16


def _without_savers_of_others(
    stock: dict[type, Callable[..., object]],
) -> dict[type, Callable[..., object]]:
    """What the hasher saves in ways of its own, but for weak things.

    dill, imported first, adds all its savers to the pure-Python pickler, and joblib copies them.
    Those for weak types leave out what a weak reference holds; the interpreter's own, should it
    have any, refuse.
    """
    return {
        cls: saver
        for cls, saver in stock.items()
        if kind_of(cls) is None
        or not (saver.__module__ == "dill._dill" or kinds.is_interpreters(saver))
    }


def make_patch(module: ModuleType) -> AttributePatch:
    """The patch of ``joblib.hashing``."""
    return AttributePatch(
        (module.Hasher, "hash", in_front(_hash)),
        (module.Hasher, "dispatch_table", lambda _: _scout),
        (module.Hasher, "dispatch", _without_savers_of_others),
    )
