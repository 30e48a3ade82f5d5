"""Forms whose construction needs what they hold, as arguments, and forms that hold it as items.

As in `wide_forms.py`; `GIVEN` says how `given` comes to the constructor: as a list that the node
keeps, as arguments made for the reduction, or in the state, which is an argument (as tensors do).
"""

from __future__ import annotations

import collections
from typing import Any

from wide_forms import default, start


def rebuild(cls: Any, state: Any) -> Any:
    made = cls.__new__(cls)
    vars(made).update(state)
    return made


def given_list(base: Any) -> Any:
    class C(base):
        def __init__(self, name: int, key: Any, given: Any = None) -> None:
            start(self, name, key, given)

        def __reduce__(self) -> Any:
            return type(self), (self.name, self.key, self.given), vars(self)

    return C


def given_fresh(base: Any) -> Any:
    class C(base):
        def __init__(self, name: int, key: Any, *given: Any) -> None:
            start(self, name, key, [*given])

        def __reduce__(self) -> Any:
            state = {"strong": self.strong, "weak": self.weak}
            return type(self), (self.name, self.key, *self.given), state

    return C


def given_all(base: Any) -> Any:
    class C(base):
        def __init__(
            self, name: int, key: Any, given: Any = None, strong: Any = None, weak: Any = None
        ) -> None:
            start(self, name, key, given)
            if strong is not None:
                self.strong, self.weak = strong, weak

        def __reduce__(self) -> Any:
            return type(self), (self.name, self.key, self.given, self.strong, self.weak)

    return C


def given_by_method(base: Any) -> Any:
    class C(given_list(base)):
        @classmethod
        def make(cls, *args: Any) -> Any:
            return cls(*args)

        def __reduce__(self) -> Any:
            state = {"strong": self.strong, "weak": self.weak}
            return self.make, (self.name, self.key, self.given), state

    return C


def given_new(base: Any) -> Any:
    class C(base):
        def __new__(cls, name: int, key: Any, given: Any = None) -> Any:
            made = super().__new__(cls)
            start(made, name, key, given)
            return made

        def __getnewargs__(self) -> Any:
            return self.name, self.key, self.given

    return C


def given_new_by_name(base: Any) -> Any:
    class C(base):
        def __new__(cls, name: int, key: Any, *, given: Any = None) -> Any:
            made = super().__new__(cls)
            start(made, name, key, given)
            return made

        def __getnewargs_ex__(self) -> Any:
            return (self.name, self.key), {"given": self.given}

    return C


def given_state(base: Any) -> Any:
    class C(default(base)):
        def __reduce__(self) -> Any:
            return rebuild, (type(self), dict(vars(self)))

    return C


# --- forms that hold it as items -----------------------------------------------------------------


def list_items(base: Any) -> Any:
    class C(base, list):  # type: ignore[type-arg]
        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

    return C


def own_list_items(base: Any) -> Any:
    class C(base, list):  # type: ignore[type-arg]
        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

        def __reduce__(self) -> Any:
            return type(self), (self.name, self.key), None, iter(self)

    return C


def deque_items(base: Any) -> Any:
    class C(base, collections.deque):  # type: ignore[type-arg]
        def __init__(self, name: int = -1, key: Any = None) -> None:
            start(self, name, key)

    return C


def dict_items(base: Any) -> Any:
    class C(base, dict):  # type: ignore[type-arg]
        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

    return C


def own_dict_items(base: Any) -> Any:
    class C(base, dict):  # type: ignore[type-arg]
        def __init__(self, name: int, key: Any) -> None:
            start(self, name, key)

        def __reduce__(self) -> Any:
            return type(self), (self.name, self.key), None, None, iter(self.items())

    return C


GIVEN = {
    given_list: "list", given_fresh: "fresh", given_all: "list", given_by_method: "list",
    given_new: "list", given_new_by_name: "list", given_state: "state",
}  # fmt: skip
ITEMS = (list_items, own_list_items, deque_items, dict_items, own_dict_items)
