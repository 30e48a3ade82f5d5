"""param: a reactive expression watches its parameters by WeakMethods (``param/reactive.py``).

A method that depends on a parameter of another object is watched by that one. ``__setstate__``
takes such a watcher for a method of its own, so a recipe loads these objects by hand.
"""

from __future__ import annotations

import journey
import param


class Settings(param.Parameterized):
    x = param.Number(2)


class Job:
    def __init__(self) -> None:
        self.settings = Settings()
        self.expression = self.settings.param.x.rx() * 10 + 1


def make() -> Job:
    job = Job()
    assert job.expression.rx.value == 21
    return job


def works(job: Job) -> None:
    assert job.expression.rx.value == 21
    job.settings.x = 5  # the weak watcher tells the expression
    assert job.expression.rx.value == 51


def test_an_expression_is_told_of_changes() -> None:
    journey.refused(make())
    journey.travels(make, works)


class Pair(param.Parameterized):
    settings = param.ClassSelector(class_=Settings)
    sums = param.List([])

    @param.depends("settings.x", watch=True)
    def add(self) -> None:
        self.sums.append(self.settings.x)


def make_pair() -> list[object]:
    pair = Pair(settings=Settings())
    return [pair, pair.settings.param.x.rx() + 1]


def pair_works(made: list[object]) -> None:
    pair, expression = made
    pair.settings.x = 7  # type: ignore[attr-defined]
    assert pair.sums == [7]  # type: ignore[attr-defined]
    assert expression.rx.value == 8  # type: ignore[attr-defined]


def test_a_method_is_told_of_changes_of_another_object() -> None:
    journey.refused(make_pair())
    with journey.reduced_by(journey.by_hand, Pair, Settings):
        journey.travels(make_pair, pair_works)
