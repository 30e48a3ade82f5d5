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
from collections.abc import Iterable
from typing import Any, Final, final

from weakreduce.core import words
from weakreduce.core.encode import user_state
from weakreduce.hosts.patch import AttributePatch
from weakreduce.model import kinds, signals
from weakreduce.model.kinds import Kind, kind_of
from weakreduce.model.signals import Signal
from weakreduce.model.texts import class_name
from weakreduce.paths import search

_PythonPickler: Any = pickle._Pickler
_WEAK_BASES: Final = frozenset(kind.base for kind in kinds.KINDS)
_ATOMS: Final = frozenset({int, float, complex, str, bytes, bool, type(None), type(...)})
#: The parts of an edge that make an entry.
_COLLECTIONS: Final = {
    "WeakSet": ("referent",),
    "WeakKeyDictionary": ("referent", "value"),
    "WeakValueDictionary": ("key", "referent"),
}
_UNPICKLABLE: Final = (pickle.PicklingError, TypeError, AttributeError)


class _Found(Signal):
    """A weak thing was met: a signal, which joblib's and the user's own code let pass."""


@final
class _Scout:
    """joblib's dispatch table: copyreg's, but that a weak thing is reported."""

    def get(self, cls: type, default: Any = None) -> Any:
        """The reducer for a type. Called for every instance that is hashed."""
        found = copyreg.dispatch_table.get(cls)
        if found is not None and not kinds.is_interpreters(found):
            return found
        if (kinds._registered or not _WEAK_BASES.isdisjoint(cls.__mro__)) and kind_of(cls):
            return _report
        return default


def _report(_weak: Any) -> Any:
    raise _Found


@final
class _Scouting(threading.local):
    """Whether this thread is looking for weak things, and so whom a `_Found` is for."""

    def __init__(self) -> None:
        self.now = False


_scouting: Final = _Scouting()


def _make_hash(stock: Any) -> Any:
    @functools.wraps(stock)
    def hash(hasher: Any, obj: Any, return_digest: bool = True) -> Any:  # noqa: A001
        if _scouting.now:
            # joblib hashes the members of a set one by one: the outermost begins again.
            return stock(hasher, obj, return_digest)
        before, written, known = hasher._hash.copy(), hasher.stream.tell(), len(hasher.memo)
        _scouting.now = True
        try:
            return stock(hasher, obj, return_digest)
        except (_Found, ReferenceError):
            # A dead proxy is no instance of anything, and says so by a ReferenceError.
            pass
        except Exception as error:
            if signals.behind(error, _Found) is None:
                raise
        finally:
            _scouting.now = False
        hasher.stream.seek(written)
        hasher.stream.truncate()
        _forget(hasher.memo, known)
        hasher._hash = before
        following = _sibling(hasher)
        try:
            hasher._hash.update(stock(following, obj).encode())
        finally:
            following.take_apart()
        return hasher._hash.hexdigest() if return_digest else None

    return hash


def _forget(memo: dict[int, Any], known: int) -> None:
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

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        #: What is to be written next, in this order; contents without an order come last.
        self.targets: deque[Any] = deque()
        self.unordered: deque[list[_Entry]] = deque()
        #: Innermost first: what was being written when an error came up.
        self.failing: list[Any] = []
        self._kinds: dict[type, Kind | None] = {}
        self.dispatch = {
            **self.dispatch,
            set: type(self).save_unordered,
            frozenset: type(self).save_unordered,
        }

    def take_apart(self) -> None:
        """Nothing of what was hashed outlives the hash."""
        self.failing.clear()
        self.memo.clear()
        vars(self).clear()

    def dump(self, obj: Any) -> None:
        """Write all that `obj` reaches."""
        try:
            super().dump(obj)  # type: ignore[misc]
            self.drain()
        except _UNPICKLABLE as error:
            raise self._error(obj, error) from error

    def _error(self, root: Any, error: Exception) -> pickle.PicklingError:
        # Not a TypeError: joblib takes that for a dictionary whose keys cannot be sorted.
        found = search.paths_to(root, self.failing)
        for failing in self.failing:
            path = found.get(id(failing))
            if path is not None:
                name = class_name(type(failing))
                return pickle.PicklingError(
                    f"{path}: {name} cannot be pickled, so it has no hash ({words.cause(error)})"
                )
        return pickle.PicklingError(f"cannot be pickled, so it has no hash: {words.cause(error)}")

    def save(self, obj: Any) -> None:
        """Write one object."""
        cls = type(obj)
        kind = self._kinds.get(cls)
        if kind is None and cls not in self._kinds:
            kind = self._kinds[cls] = None if cls in copyreg.dispatch_table else kind_of(cls)
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
        state = None if kind.rebuild or kind.name == "proxy" else user_state(weak, kind.internals)
        if kind.name in _COLLECTIONS and not kind.rebuild:
            self._shell(weak, (len(edges), state))
            self.unordered.append(
                [tuple(getattr(edge, part) for part in _COLLECTIONS[kind.name]) for edge in edges]
            )
            return
        (edge,) = edges
        alive = edge.referent is not None
        more: Any = None
        if kind.name == "WeakMethod":
            more = getattr(edge.function, "__qualname__", None)
        elif kind.name == "finalize":
            more = weak.atexit
        self._shell(weak, (alive, edge.callback, state, more))
        if alive:
            self.targets.append(edge.referent)

    def _shell(self, obj: Any, state: Any) -> None:
        self.save_reduce(type(obj), ())
        # Before the state, which may lead back here. Not joblib's: a dead proxy answers nothing.
        _PythonPickler.memoize(self, obj)
        self.save(state)
        self.write(pickle.BUILD)

    def save_unordered(self, obj: Any) -> None:
        """Write a set."""
        self._shell(obj, len(obj))
        self.unordered.append([(member,) for member in obj])

    def _batch_setitems(self, items: Iterable[tuple[Any, Any]], *rest: Any) -> None:
        entries = list(items)
        if all(_is_atom(key) for key, _ in entries):
            entries.sort(key=lambda entry: _atom_key(entry[0]))
            _PythonPickler._batch_setitems(self, iter(entries), *rest)
        else:
            self.save(len(entries))
            self.unordered.append(entries)

    def drain(self) -> None:
        """Write what is to follow, and what follows from that."""
        while self.targets or self.unordered:
            if self.targets:
                self.save(self.targets.popleft())
            else:
                for entry in _Order(self).sorted(self.unordered.popleft()):
                    for part in entry:
                        self.save(part)


@functools.lru_cache(maxsize=8)
def _following(cls: Any) -> Any:
    return type(f"Following{cls.__name__}", (_Following, cls), {})


def _sibling(hasher: Any) -> Any:
    """A hasher that follows, with the settings of another one."""
    cls: Any = type(hasher)
    keywords = {"hash_name": hasher._hash.name}
    if hasattr(hasher, "coerce_mmap"):
        keywords["coerce_mmap"] = hasher.coerce_mmap
    following = cls if issubclass(cls, _Following) else _following(cls)
    return following(**keywords)


# --- collections without an order ---------------------------------------------------------


def _is_atom(obj: Any) -> bool:
    cls = type(obj)
    return cls in _ATOMS or (cls is tuple and all(map(_is_atom, obj)))


def _atom_key(obj: Any) -> tuple[str, str]:
    return type(obj).__name__, repr(obj)


@final
class _Record:
    """What an entry would write now, all by itself, and where its weak edges lead."""

    def __init__(self, hasher: Any, entry: _Entry) -> None:
        known = len(hasher.memo)
        alone = _sibling(hasher)
        alone.memo = hasher.memo
        try:
            for part in entry:
                alone.save(part)
            alone._hash.update(alone.stream.getvalue())
            self.digest: str = alone._hash.hexdigest()
            groups = [*([(target,)] for target in alone.targets), *alone.unordered]
            #: For each weak edge or collection that follows: what was met, as its number; the rest
            #: as entries.
            self.groups = [
                [(None if _is_new(hasher, part) else _number(hasher, part), part) for part in entry]
                for group in groups
                for entry in group
            ]
            self.sizes = [len(group) for group in groups]
        except _UNPICKLABLE:
            hasher.failing += alone.failing
            raise
        finally:
            _forget(hasher.memo, known)
            alone.memo = {}
            alone.take_apart()


def _is_new(hasher: Any, obj: Any) -> bool:
    return not _is_atom(obj) and id(obj) not in hasher.memo


def _number(hasher: Any, obj: Any) -> str:
    if _is_atom(obj):
        return repr(_atom_key(obj))
    return str(hasher.memo[id(obj)][0])


@final
class _Order:
    """Finds the order of entries that every process agrees on: no address, no order of hashing.

    First atoms; then those whose key was written before, by its number; then the rest, by what they
    would write, themselves and, where that is alike, what is behind their weak edges, as far
    as it takes to tell them apart. Entries that are alike to the end may come in any order.
    """

    def __init__(self, hasher: Any) -> None:
        self.hasher = hasher
        self.records: dict[int, _Record] = {}
        self.kept: list[Any] = []  # what the ids in `records` name

    def sorted(self, entries: list[_Entry]) -> list[_Entry]:
        """The entries in order."""
        memo = self.hasher.memo
        atoms: list[_Entry] = []
        met: list[_Entry] = []
        new: list[_Entry] = []
        for entry in entries:
            key = entry[0]
            (atoms if _is_atom(key) else met if id(key) in memo else new).append(entry)
        atoms.sort(key=lambda entry: _atom_key(entry[0]))
        met.sort(key=lambda entry: memo[id(entry[0])][0])
        return [*atoms, *met, *(self._by_content(new) if len(new) > 1 else new)]

    def _by_content(self, entries: list[_Entry]) -> list[_Entry]:
        colours = {id(entry): _Record(self.hasher, entry).digest for entry in entries}
        if len(set(colours.values())) < len(entries):
            self._refine(entries, colours)
            pending = [
                {id(part) for other in group for part in other} for group in self.hasher.unordered
            ]
            for entry in entries:
                colours[id(entry)] += str([id(entry[0]) in group for group in pending])
        return sorted(entries, key=lambda entry: colours[id(entry)])

    def _refine(self, entries: list[_Entry], colours: dict[int, str]) -> None:
        """Tell apart entries that are alike in themselves by what is behind their weak edges."""
        roots = {id(entry): _Record(self.hasher, entry) for entry in entries}
        queue = list(roots.values())
        while queue:
            for group in queue.pop().groups:
                for number, part in group:
                    if number is None and id(part) not in self.records:
                        self.kept.append(part)
                        self.records[id(part)] = _Record(self.hasher, (part,))
                        queue.append(self.records[id(part)])
        inner = {identity: record.digest for identity, record in self.records.items()}
        told_apart = -1
        while told_apart < len(set(inner.values())):
            told_apart = len(set(inner.values()))
            inner = {
                identity: self._colour(record, inner) for identity, record in self.records.items()
            }
        for identity, record in roots.items():
            colours[identity] = self._colour(record, inner)

    def _colour(self, record: _Record, inner: dict[int, str]) -> str:
        groups, written = iter(record.groups), [record.digest]
        for size in record.sizes:
            entries = [
                [inner[id(part)] if number is None else number for number, part in next(groups)]
                for _ in range(size)
            ]
            written.append(str(sorted(entries)))
        return hashlib.sha256("\n".join(written).encode()).hexdigest()


def _without_savers_of_dill(stock: dict[type, Any]) -> dict[type, Any]:
    """What the hasher saves in ways of its own, but for weak things.

    dill, imported first, adds all its savers to the pure-Python pickler, and joblib copies them.
    Those for weak types leave out what a weak reference holds.
    """
    return {
        cls: saver
        for cls, saver in stock.items()
        if saver.__module__ != "dill._dill" or kind_of(cls) is None
    }


def make_patch(module: Any) -> AttributePatch:
    """The patch of ``joblib.hashing``."""
    return AttributePatch(
        (module.Hasher, "hash", _make_hash),
        (module.Hasher, "dispatch_table", lambda _: _Scout()),
        (module.Hasher, "dispatch", _without_savers_of_dill),
    )
