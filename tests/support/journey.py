"""The way of a real library's object: refused by stock, sent with weakreduce, used elsewhere.

A file of ``tests/real`` says how an object is made and how its copy shows that it works. Here it is
sent by every host, and each copy put to work in a fresh interpreter that cannot import weakreduce.
Nothing here knows a library. The fresh interpreter imports this file: it imports weakreduce late.
"""

from __future__ import annotations

import contextlib
import copyreg
import gc
import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

Way = Literal["cloudpickle", "cloudpickle by value", "dill"]
#: By value: as of a script or a notebook, where cloudpickle sends classes and functions themselves.
WAYS: tuple[Way, ...] = ("cloudpickle", "cloudpickle by value", "dill")


@contextlib.contextmanager
def stock() -> Iterator[None]:
    """Cloudpickle, dill and pickle as they are without weakreduce."""
    import weakreduce

    weakreduce.uninstall()
    try:
        yield
    finally:
        weakreduce.install()


@contextlib.contextmanager
def reduced_by(reduce: Callable[[Any], Any], *classes: type) -> Iterator[None]:
    """A recipe: classes whose own way of pickling does not work, and how they are pickled here."""
    for cls in classes:
        copyreg.pickle(cls, reduce)
    try:
        yield
    finally:
        for cls in classes:
            del copyreg.dispatch_table[cls]


def by_hand(obj: Any) -> tuple[Any, ...]:
    """A recipe: an object of a class whose own loading fails, with its state set past that class.

    Pickle puts items in before attributes, and by the class's own methods, which may need these, or
    refuse; and it calls whatever the class answers for ``__setstate__``.
    """
    new, arguments, state, *_ = object.__reduce_ex__(obj, 2)
    items = [base(base.__iter__(obj)) for base in (list, set) if isinstance(obj, base)]
    if isinstance(obj, dict):
        items = [dict(dict.items(obj))]
    return new, arguments, (state, items), None, None, put_together


def put_together(obj: Any, parts: tuple[Any, Any]) -> None:
    """What `by_hand` has done on the receiver."""
    state, items = parts
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    for name, value in {**(attributes or {}), **(slots or {})}.items():
        object.__setattr__(obj, name, value)
    for those in items:
        put_in = list.extend if isinstance(those, list) else type(those).update
        put_in(obj, those)


def refused(obj: Any, *words: str) -> None:
    """See that stock cloudpickle refuses an object for a weak thing's sake, in these words."""
    import cloudpickle

    with stock():
        try:
            cloudpickle.dumps(obj)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            assert "weak" in text.lower(), text
            assert all(word in text for word in words), text
        else:
            raise AssertionError("stock cloudpickle sends it")


def travels(
    make: Callable[[], Any],
    works: Callable[[Any], None],
    *,
    ways: tuple[Way, ...] = WAYS,
    **fields: Any,
) -> int:
    """Send what ``make`` gives by each way, and let ``works`` try each copy there.

    Both are functions of a test's file, which the fresh process imports under the same name.
    ``fields`` are those of the policy. The result is the size in bytes of the largest payload.
    """
    import gaps

    if gaps.lacks(gaps.DILL_BY_VALUE):  # most libraries hold functions that are no names
        ways = tuple(way for way in ways if way != "dill")
    payloads = {way: _dumps(make, way, fields) for way in ways}
    file = sys.modules[works.__module__].__file__
    assert file is not None
    _send(file, works, payloads)
    return max(map(len, payloads.values()))


def _send(file: str, works: Callable[[Any], None], payloads: dict[Way, bytes]) -> None:
    """Load payloads in a fresh process, and let ``works`` try each."""
    request = pickle.dumps((file, works.__module__, works.__qualname__, payloads))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", "import journey; journey._receive()"],
        input=request,
        capture_output=True,
        timeout=240,
        env=environment,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout.decode().split("\n")[-2] == ", ".join(payloads)


def _dumps(make: Callable[[], Any], way: Way, fields: dict[str, Any]) -> bytes:
    import cloudpickle

    import weakreduce

    host: Any = way.partition(" ")[0]
    module = sys.modules[make.__module__]
    if way == "cloudpickle by value":
        cloudpickle.register_pickle_by_value(module)
    try:
        obj = make()
        gc.collect()
        return weakreduce.dumps(obj, policy=weakreduce.Policy(**fields), host=host)
    finally:
        if way == "cloudpickle by value":
            cloudpickle.unregister_pickle_by_value(module)


def _receive() -> None:
    """What the fresh process runs."""
    sys.modules["weakreduce"] = None  # type: ignore[assignment]
    file, name, works, payloads = pickle.loads(sys.stdin.buffer.read())
    # By value first: there a payload has to do without the file that its classes are from.
    for way in sorted(payloads, key=lambda way: not way.endswith("by value")):
        if not way.endswith("by value"):
            _import(file, name)
        try:
            copies = [pickle.loads(payloads[way])]
            gc.collect()
            getattr(_import(file, name), works)(copies.pop())  # which holds it alone
        except BaseException as error:
            error.add_note(f"(sent by {way})")
            raise
    print(", ".join(payloads))


def _import(file: str, name: str) -> Any:
    """A test's file, under the name that it has in the process of the tests."""
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, file)
        assert found is not None
        assert found.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    return sys.modules[name]
