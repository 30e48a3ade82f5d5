"""param: a reactive expression watches its parameters by WeakMethods (``param/reactive.py``)."""

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
