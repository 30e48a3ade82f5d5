"""jsonmodels: what a field holds is in a WeakKeyDictionary of the class, by object.

``BaseField.memory`` in ``jsonmodels/fields.py``. It travels with a class that travels by value;
where the class is a name, the object has to carry it.
"""

from __future__ import annotations

from typing import Any

import journey
from jsonmodels.fields import IntField, StringField
from jsonmodels.models import Base


class Person(Base):
    name = StringField(required=True)
    age = IntField()


class Carrying(Base):
    """Carries its values, whichever way its class travels."""

    name = StringField(required=True)
    age = IntField()

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name, _ in self}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def make() -> Person:
    return Person(name="Ada", age=36)


def make_carrying() -> Carrying:
    return Carrying(name="Ada", age=36)


def works(person: Any) -> None:
    assert person.to_struct() == {"name": "Ada", "age": 36}
    person.age += 1
    person.validate()
    assert person.age == 37


def test_a_model_has_its_values() -> None:
    journey.travels(make, works, ways=("cloudpickle by value",))
    journey.travels(make_carrying, works, ways=("cloudpickle", "dill"))
