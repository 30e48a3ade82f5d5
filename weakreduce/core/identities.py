"""Numbers that are the `id` of a referent become those of the copy's: what keeps them looks it up.

In the state of a subclass of `ref`, and among the keys of a container. Nowhere else: what is any
other number to its owner, nobody can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weakreduce.core.expressions import Call


def with_new_identity(state: object, referent: object, target: object) -> Any:
    """The state of a ref, in which the `id` of its referent becomes that of the copy's.

    Subclasses keep it to hash by, where their referents cannot be hashed.
    """
    if type(state) is tuple:
        return tuple(with_new_identity(part, referent, target) for part in state)
    if type(state) is not dict or not any(
        type(value) is int and value == id(referent) for value in list(state.values())
    ):
        return state
    new = Call(id, target)
    return {
        name: new if type(value) is int and value == id(referent) else value
        for name, value in list(state.items())
    }


def with_new_identities(
    keys: Sequence[Any], referents: Sequence[Any], targets: Sequence[Any]
) -> list[Any]:
    """The keys of a container (a WeakSet has none); the `id` of a value becomes that of the copy's.

    Sets of objects that cannot be hashed are kept so, and caches by identity.
    """
    return [
        Call(id, target) if type(key) is int and key == id(referent) else key
        for key, referent, target in zip(keys, referents, targets, strict=False)
    ]
