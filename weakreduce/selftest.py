"""Self-test: does each host send and load a link, a snapshot and a dangling reference here?

Rule: nothing heavy is imported for it. A host that nobody has imported yet is tested only if
its import is light.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import io
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any, Final

from weakreduce import api, registry
from weakreduce.hosts import own
from weakreduce.model.errors import WeakreduceError
from weakreduce.model.in_force import policy as block

#: Hosts that are imported for the test, where they are installed.
_LIGHT: Final = ("cloudpickle", "dill", "pickle", "multiprocessing")
#: The file of ours for a host -> the name of the class that pickles there.
_PICKLERS: Final = {
    "hosts.cloudpickle": "Pickler",
    "hosts.dill": "Pickler",
    "hosts.forking": "ForkingPickler",
    "hosts.standard": "Pickler",
}


#: To bytes and back.
Send = Callable[[Any], Any]


class Subject:
    """What the self-test sends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reference: Any = None


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise WeakreduceError(otherwise)


def _link(send: Send) -> None:
    root = Subject("root")
    root.reference = weakref.ref(root)
    copy = send(root)
    _expect(copy.reference() is copy, "the reference is not on the one copy")
    _expect(not api.is_pinned(copy.reference), "the reference keeps its referent alive")


def _snapshot(send: Send) -> None:
    outside, root = Subject("outside"), Subject("root")
    root.reference = weakref.ref(outside)
    copy = send(root)
    gc.collect()
    referent = copy.reference()
    _expect(referent is not None, "the reference is dead")
    _expect(referent.name == "outside", "the referent is not complete")
    _expect(api.is_pinned(copy.reference), "the reference does not keep its referent alive")


def _dangle(send: Send) -> None:
    outside, root = Subject("outside"), Subject("root")
    root.reference = weakref.ref(outside)
    copy = send(root)
    _expect(type(copy.reference) is weakref.ref, "the type has changed")
    _expect(copy.reference() is None, "the reference is alive")


_CASES: Final = {"link": _link, "snapshot": _snapshot, "dangle": _dangle}


def _dumps(host: registry.Host) -> Callable[[Any], bytes]:
    """How the host itself pickles, with what weakreduce has put into it."""
    part = host.parts[0]
    if part.recipe == "hosts.standard":
        return lambda obj: own.dumps(obj, host="pickle")
    pickler: Any = getattr(importlib.import_module(part.module), _PICKLERS[part.recipe])

    def dumps(obj: object) -> bytes:
        file = io.BytesIO()
        pickler(file, pickle.DEFAULT_PROTOCOL).dump(obj)
        return file.getvalue()

    return dumps


def _result(host: registry.Host) -> str:
    part = host.parts[0]
    standard = part.recipe == "hosts.standard"
    if part.recipe not in _PICKLERS or (host.state == "off" and not standard):
        return "-"
    if part.module not in sys.modules:
        if importlib.util.find_spec(part.module.partition(".")[0]) is None:
            return "not installed"
        if host.name not in _LIGHT:
            return "not imported"
    failed = []
    try:
        dumps = _dumps(host)
    except Exception as error:  # noqa: BLE001 - the answer is to tell what failed
        return f"failed: import: {type(error).__name__}: {error}"
    opener: own.OwnHost = "dill" if host.name == "dill" else "pickle"
    for name, case in _CASES.items():
        try:
            with block("dangle" if name == "dangle" else "snapshot"):
                case(lambda obj: own.loads(dumps(obj), host=opener))
        except Exception as error:  # noqa: BLE001 - as above
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return f"failed: {'; '.join(failed)}" if failed else "passed"


def results() -> dict[str, str]:
    """For each host: ``passed``, ``failed: ...``, or why it was not tested.

    An engine without a pickler of its own has nothing to be tested here: ``-``.
    """
    return {name: _result(host) for name, host in registry.HOSTS.items()}
