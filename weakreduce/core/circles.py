"""Which objects lead to one another. Nothing here knows what an object is, or what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def circles(starts: Iterable[Any], parts_of: Callable[[Any], Iterable[Any]]) -> list[list[Any]]:
    """All that some objects lead to; what leads to one another is in one list.

    Source: H. N. Gabow, Path-based depth-first search for strong and biconnected components (2000).
    """
    numbers: dict[int, int] = {}
    done: set[int] = set()
    found: list[list[Any]] = []
    opened: list[Any] = []  # objects whose circle is not known yet
    path: list[int] = []  # numbers of the first of each circle that is not known yet
    steps: list[tuple[int, Any]] = []

    def step_into(obj: Any) -> None:
        numbers[id(obj)] = number = len(numbers)
        opened.append(obj)
        path.append(number)
        steps.append((number, iter(parts_of(obj))))

    for start in starts:
        if id(start) not in numbers:
            step_into(start)
        while steps:
            number, parts = steps[-1]
            for part in parts:
                if id(part) not in numbers:
                    step_into(part)
                    break
                if id(part) not in done:  # it is before this, and leads here
                    while path[-1] > numbers[id(part)]:
                        path.pop()
            else:
                steps.pop()
                if path[-1] == number:
                    path.pop()
                    circle = [opened.pop()]
                    while numbers[id(circle[-1])] != number:
                        circle.append(opened.pop())
                    found.append(circle)
                    done.update(map(id, circle))
    return found
