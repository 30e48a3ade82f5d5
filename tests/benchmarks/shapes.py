"""What is measured of the classes that people write: a shape, of a kind of class, from a place.

As `cases`, but that a case takes words besides its size: the name of a class of `people`, and the
module that it is of, ``people`` or ``__main__``.
"""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from typing import Any

import people
from cases import Prepared, dumps_of


def _classes(module: str) -> Any:
    if module == "__main__":
        namespace = vars(sys.modules["__main__"])
        if "Plain" not in namespace:
            path = Path(people.__file__)
            exec(compile(path.read_text(encoding="utf-8"), path, "exec"), namespace)
    return sys.modules[module]


def _objects(size: int, name: str, module: str) -> list[Any]:
    cls = getattr(_classes(module), name)
    return [cls(number) for number in range(size)]


def nothing_weak(size: int, name: str, module: str) -> Prepared:
    return dumps_of(_objects(size, name, module))


# --- references, and what is the same held strongly ------------------------------------------


def refs_behind(size: int, name: str, module: str) -> Prepared:
    """References to objects that were met before."""
    objects = _objects(size, name, module)
    return dumps_of([objects, [weakref.ref(obj) for obj in objects]])


def lists_behind(size: int, name: str, module: str) -> Prepared:
    objects = _objects(size, name, module)
    return dumps_of([objects, [[obj] for obj in objects]])


def watcher_behind(size: int, name: str, module: str) -> Prepared:
    """The same, by hand."""
    objects = _objects(size, name, module)
    return dumps_of([objects, _classes(module).Watcher(objects)])


def dill_refs_behind(size: int, name: str, module: str) -> Prepared:
    import dill

    objects = _objects(size, name, module)
    return dumps_of([objects, [weakref.ref(obj) for obj in objects]], dumps=dill.dumps)


def refs_ahead(size: int, name: str, module: str) -> Prepared:
    """References to objects that are met later."""
    objects = _objects(size, name, module)
    return dumps_of([[weakref.ref(obj) for obj in objects], objects])


def lists_ahead(size: int, name: str, module: str) -> Prepared:
    objects = _objects(size, name, module)
    return dumps_of([[[obj] for obj in objects], objects])


def watcher_ahead(size: int, name: str, module: str) -> Prepared:
    objects = _objects(size, name, module)
    return dumps_of([_classes(module).Watcher(objects), objects])


def dill_refs_ahead(size: int, name: str, module: str) -> Prepared:
    import dill

    objects = _objects(size, name, module)
    return dumps_of([[weakref.ref(obj) for obj in objects], objects], dumps=dill.dumps)


def refs_outside(size: int, name: str, module: str) -> Prepared:
    """References to objects that nothing else in the payload holds."""
    objects = _objects(size, name, module)
    return dumps_of([weakref.ref(obj) for obj in objects], objects)


def dict_outside(size: int, name: str, module: str) -> Prepared:
    return dumps_of(dict(enumerate(_objects(size, name, module))))


def weak_set(size: int, name: str, module: str) -> Prepared:
    """A WeakSet of objects inside."""
    objects = _objects(size, name, module)
    return dumps_of([objects, weakref.WeakSet(objects)])


def strong_set(size: int, name: str, module: str) -> Prepared:
    objects = _objects(size, name, module)
    return dumps_of([objects, set(objects)])


# --- what else walks a payload -----------------------------------------------------------------


def explained(size: int, name: str, module: str, host: Any) -> Prepared:
    """``explain`` of `size` snapshots, through a host."""
    import weakreduce

    outside = _objects(size, name, module)
    root = [weakref.ref(obj) for obj in outside]

    def action() -> Any:
        return weakreduce.explain(root, host=host)

    action.keep = outside  # type: ignore[attr-defined]
    return Prepared(action)


def hashed(size: int, name: str, module: str) -> Prepared:
    import joblib

    objects = _objects(size, name, module)
    return Prepared(lambda: joblib.hash(objects))
