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

from weakreduce import api, hosts
from weakreduce.errors import WeakreduceError
from weakreduce.policy import policy as block

#: Hosts that are imported for the test, where they are installed.
_LIGHT: Final = ("cloudpickle", "dill", "pickle")


class Subject:
    """What the self-test sends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reference: Any = None


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise WeakreduceError(otherwise)


def _link(send: Callable[[Any], Any]) -> None:
    root = Subject("root")
    root.reference = weakref.ref(root)
    copy = send(root)
    _expect(copy.reference() is copy, "the reference is not on the one copy")
    _expect(not api.is_pinned(copy.reference), "the reference keeps its referent alive")


def _snapshot(send: Callable[[Any], Any]) -> None:
    outside, root = Subject("outside"), Subject("root")
    root.reference = weakref.ref(outside)
    copy = send(root)
    gc.collect()
    referent = copy.reference()
    _expect(referent is not None, "the reference is dead")
    _expect(referent.name == "outside", "the referent is not complete")
    _expect(api.is_pinned(copy.reference), "the reference does not keep its referent alive")


def _dangle(send: Callable[[Any], Any]) -> None:
    outside, root = Subject("outside"), Subject("root")
    root.reference = weakref.ref(outside)
    copy = send(root)
    _expect(type(copy.reference) is weakref.ref, "the type has changed")
    _expect(copy.reference() is None, "the reference is alive")


_CASES: Final = {"link": _link, "snapshot": _snapshot, "dangle": _dangle}


def _dumps(host: hosts.Host) -> Callable[[Any], bytes]:
    """How the host itself pickles, with what weakreduce has put into it."""
    if host.recipe == "standard":
        return lambda obj: api.dumps(obj, host="pickle")
    pickler: Any = importlib.import_module(host.module).Pickler

    def dumps(obj: Any) -> bytes:
        file = io.BytesIO()
        pickler(file, protocol=pickle.DEFAULT_PROTOCOL).dump(obj)
        return file.getvalue()

    return dumps


def _result(host: hosts.Host) -> str:
    if host.recipe != "standard" and host.state == "off":
        return "-"
    if host.module not in sys.modules:
        top = host.module.partition(".")[0]
        if importlib.util.find_spec(top) is None:
            return "not installed"
        if host.name not in _LIGHT:
            return "not imported"
    loads = api.loads
    failed = []
    try:
        dumps = _dumps(host)
    except Exception as error:  # noqa: BLE001 - the answer is to tell what failed
        return f"failed: import: {type(error).__name__}: {error}"
    for name, case in _CASES.items():
        try:
            with block("dangle" if name == "dangle" else "snapshot"):
                case(
                    lambda obj: loads(dumps(obj), host="dill" if host.name == "dill" else "pickle")
                )
        except Exception as error:  # noqa: BLE001 - as above
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return f"failed: {'; '.join(failed)}" if failed else "passed"


def results() -> dict[str, str]:
    """For each host: ``passed``, ``failed: ...``, or why it was not tested."""
    return {name: _result(host) for name, host in hosts.HOSTS.items()}
