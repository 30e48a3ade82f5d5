"""Dumps that begin where hardly any stack is left: the payload is the reference, or an error is.

Code of the user's is asked whether something holds; that it has no stack for its answer is none.
"""

from __future__ import annotations

import pickle
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from things import Thing

import weakreduce

HOSTS = ["cloudpickle", "dill", "pickle"]
#: How far from the limit dumps begin. None of these graphs takes more than that.
FRAMES = 220


def _deep(calls: int, answer: Any) -> Any:
    return _deep(calls - 1, answer) if calls else answer


def _with_left(left: int, ask: Callable[[], Any]) -> Any:
    """An answer, asked for where so many frames of the stack are left."""
    calls = 0
    frame: Any = sys._getframe()
    while frame is not None:
        frame, calls = frame.f_back, calls + 1

    def begun(calls: int) -> Any:
        return begun(calls - 1) if calls else ask()

    return begun(sys.getrecursionlimit() - calls - left)


class Asking(type):
    """Whose instances are those of a rule's match, as code of the user's tells."""

    def __instancecheck__(cls, obj: object) -> bool:
        return bool(_deep(15, hasattr(obj, "secret")))


class Secret(metaclass=Asking):
    pass


class Global:
    def __reduce__(self) -> Any:
        return _deep(20, "GLOBAL")


GLOBAL = Global()


class Hashed:
    """Hashes by what leads to something weak, with calls of its own."""

    def __init__(self, *parts: Any) -> None:
        self.parts = list(parts)
        self.me: Any = weakref.ref(self)

    def __hash__(self) -> int:
        return int(_deep(10, hash(tuple(self.parts))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and other.parts == self.parts


class Ordered:
    """One of the members of a WeakSet, which are put in order by what they hold."""

    def __init__(self, number: int) -> None:
        self.number = number


class Operated:
    """Answers the operators that look for what is behind a proxy."""

    def __divmod__(self, other: object) -> Any:
        return _deep(15, NotImplemented)


class Reduced:
    def __init__(self, part: Any) -> None:
        self.part = part

    def __reduce__(self) -> Any:
        return _deep(12, (Reduced, (self.part,)))


def _secret(fate: str) -> Any:
    rules = ((Secret, fate),)
    return [weakref.ref(KEPT[0])], weakreduce.Policy(rules=rules)


KEPT: list[Any] = [
    Thing("secret", secret=1),
    Hashed(1, 2),
    Ordered(1),
    Ordered(2),
    Ordered(3),
    Operated(),
    Reduced(1),
]
ROOTS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "refused": lambda: _secret("refuse"),
    "severed": lambda: ([*_secret("sever")[0], KEPT[0]], _secret("sever")[1]),
    "dangling": lambda: _secret("dangle"),
    "by name": lambda: ([weakref.ref(GLOBAL)], "snapshot"),
    "by name, dangle": lambda: ([weakref.ref(GLOBAL)], "dangle"),
    "by name, strict": lambda: ([weakref.ref(GLOBAL)], "strict"),
    "keys": lambda: ([{weakref.ref(KEPT[1]): 1}, KEPT[1]], "snapshot"),
    "weak keys": lambda: ([weakref.WeakKeyDictionary({KEPT[1]: 1})], "snapshot"),
    "members": lambda: ([weakref.WeakSet(KEPT[2:5])], "snapshot"),
    "proxy": lambda: ([weakref.proxy(KEPT[5])], "snapshot"),
    "reduced": lambda: ([weakref.ref(KEPT[6]), 1], "snapshot"),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("what", ROOTS)
def test_the_payload_is_as_ever_or_an_error_is_raised(what: str, host: Any) -> None:
    root, policy = ROOTS[what]()

    def outcome() -> bytes | str:
        try:
            return weakreduce.dumps(root, host=host, policy=policy)
        except weakreduce.WeakrefPicklingError as error:
            if isinstance(error.__cause__, RecursionError):
                raise error.__cause__ from None
            return "refused"

    reference = outcome()
    succeeded = failed = 0
    for left in range(FRAMES, 0, -1):
        with warnings.catch_warnings():
            # What is too deep to be pickled by itself dangles, and that is said.
            warnings.simplefilter("error", weakreduce.DanglingWarning)
            try:
                found = _with_left(left, outcome)
            except (RecursionError, pickle.PicklingError, weakreduce.DanglingWarning):
                failed += 1
                continue
        assert found == reference, left
        succeeded += 1
    assert succeeded
    assert failed


class Endless:
    def __reduce__(self) -> Any:
        return self.__reduce__()


@pytest.mark.parametrize("host", HOSTS)
def test_code_that_recurses_without_an_end_says_something_of_its_object(host: Any) -> None:
    """It cannot be pickled; where it does not travel, that is no matter."""
    endless = Endless()
    payload = weakreduce.dumps([weakref.ref(endless)], host=host, policy="dangle")
    assert weakreduce.loads(payload, host=host)[0]() is None
    with pytest.raises(weakreduce.WeakrefPicklingError):
        weakreduce.dumps([weakref.ref(endless)], host=host, policy="strict")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("left", [600, 400, 300])
def test_code_that_needs_most_of_the_stack_is_not_guessed_at(left: int, host: Any) -> None:
    """There is some, but not enough for the answer: it is not taken for a recursion without end."""

    class Needy(type):
        def __instancecheck__(cls, obj: object) -> bool:
            return bool(_deep(620, hasattr(obj, "secret")))

    class Match(metaclass=Needy):
        pass

    policy = weakreduce.Policy(rules=((Match, "refuse"),))

    root = [weakref.ref(KEPT[0])]
    with weakreduce.policy(policy), pytest.raises((RecursionError, pickle.PicklingError)):
        _with_left(left, lambda: weakreduce.dumps(root, host=host))
