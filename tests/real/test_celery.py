"""celery: ``ResultSet.on_ready`` holds a proxy and a WeakMethod of its own set.

See ``ResultSet.__init__`` in ``celery/result.py``, and ``vine.promise(weak=True)``.
"""

from __future__ import annotations

import celery
import journey
from celery.result import ResultSet


def make() -> ResultSet:
    app = celery.Celery("real", broker="memory://", backend="cache+memory://", set_as_current=False)
    return ResultSet([app.AsyncResult("one"), app.AsyncResult("two")], app=app)


def works(results: ResultSet) -> None:
    assert [result.id for result in results.results] == ["one", "two"]
    results.add(results.app.AsyncResult("three"))
    assert len(results) == 3
    assert results.on_ready.args[0].results is results.results


def test_a_set_of_results_travels() -> None:
    journey.refused(make())
    journey.travels(make, works)
