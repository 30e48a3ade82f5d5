"""An engine's own reducers, for the one dump at the submitting call.

Such a reducer may do more than reduce: joblib's writes a large array to a file, and counts who will
read it. A dump may walk an object more than once; a reducer is asked once all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final


@final
class Asked:
    """Reducers that are asked once for each object, and what they answered.

    Args:
        reducers: a reducer for each type, or None.
    """

    def __init__(self, reducers: Mapping[type, Callable[[Any], Any]] | None) -> None:
        self._answers: dict[int, tuple[Any, Any]] = {}
        self.reducers = {cls: self._once(reducer) for cls, reducer in (reducers or {}).items()}

    def _once(self, reducer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        answers = self._answers

        def ask(obj: Any) -> Any:
            if id(obj) not in answers:
                answer = reducer(obj)
                if isinstance(answer, tuple):
                    # Iterators of items serve once; the next walk needs them again.
                    items = (None if part is None else list(part) for part in answer[3:5])
                    answer = (*answer[:3], *items, *answer[5:])
                answers[id(obj)] = (obj, answer)
            answer = answers[id(obj)][1]
            if isinstance(answer, tuple) and len(answer) > 3:
                iterators = (None if part is None else iter(part) for part in answer[3:5])
                return (*answer[:3], *iterators, *answer[5:])
            return answer

        return ask

    @property
    def answers(self) -> list[Any]:
        """All that was answered."""
        return [answer for _, answer in self._answers.values()]
