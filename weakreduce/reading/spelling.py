"""Names as pickles spell them, and as they are called today.

Protocols 0 to 2 have Python 2's names; and one function has several, by the module that it says
it is from. Rule: nothing is imported or looked up.
"""

from __future__ import annotations

import _compat_pickle
from typing import Final

_NEW_NAMES: Final[dict[tuple[str, str], tuple[str, str]]] = _compat_pickle.NAME_MAPPING
_NEW_MODULES: Final[dict[str, str]] = _compat_pickle.IMPORT_MAPPING
_ALIASES: Final = {
    "_operator": "operator",
    "_functools": "functools",
    "_weakref": "weakref",
    "_weakrefset": "weakref",
    "_pickle": "pickle",
}
#: What makes a weak reference: the kind of it.
REFERENCES: Final = {
    "weakref.ref": "ref",
    "weakref.ReferenceType": "ref",
    "weakref.KeyedRef": "ref",
    "weakref.WeakMethod": "WeakMethod",
    "weakref.proxy": "proxy",
}


def of_python_3(module: str, name: str) -> tuple[str, str]:
    """What an unpickler takes a name of protocols 0 to 2 for."""
    module, name = _NEW_NAMES.get((module, name), (module, name))
    return _NEW_MODULES.get(module, module), name


def full(module: str, name: str) -> str:
    """The one full name by which something is known here."""
    return f"{_ALIASES.get(module, module)}.{name}"
