"""echo: methods that are called back are held by ``weakref.ref`` to function and object.

``CallbackContainer._wrap`` in ``echo/callback_container.py``. What a CallbackProperty holds, and
its callbacks, are in WeakKeyDictionaries of the class (``echo/core.py``): they travel with a class
that travels by value, and stay behind where it is a name; there, the object has to carry them.
"""

from __future__ import annotations

from typing import Any

import journey
from echo import CallbackProperty, HasCallbackProperties


class Settings(HasCallbackProperties):
    size = CallbackProperty(1)


class Carrying(HasCallbackProperties):
    """Carries its values, whichever way its class travels."""

    size = CallbackProperty(1)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "values": {name: getattr(self, name) for name in self._names()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        for name, value in state.pop("values").items():
            setattr(self, name, value)
        vars(self).update(state)  # the callbacks among it, which hear of nothing before

    def _names(self) -> list[str]:
        return [name for name, _ in self.iter_callback_properties()]


class View:
    def __init__(self, settings: HasCallbackProperties) -> None:
        self.settings = settings
        self.sizes: list[int] = []
        settings.size = 5  # type: ignore[assignment]
        settings.add_callback("size", self.on_size)
        settings.add_global_callback(self.on_any)

    def on_size(self, size: int) -> None:
        self.sizes.append(size)

    def on_any(self, **values: int) -> None:
        self.sizes.append(-values["size"])


def make() -> View:
    return View(Settings())


def make_carrying() -> View:
    return View(Carrying())


def works(view: View) -> None:
    assert view.settings.size == 5
    view.settings.size = 6  # type: ignore[attr-defined]
    assert sorted(view.sizes) == [-6, 6]


def works_globally(view: View) -> None:
    assert view.settings.size == 5
    view.settings.size = 6  # type: ignore[attr-defined]
    assert view.sizes == [-6]  # the callbacks of one property are in the class


def test_callbacks_are_called_there() -> None:
    journey.refused(make())
    journey.travels(make, works, ways=("cloudpickle by value",))
    journey.travels(make_carrying, works_globally, ways=("cloudpickle", "dill"))
