"""Flask: an app's JSON provider holds the app by ``weakref.proxy``, its static files by a ref.

See ``flask/json/provider.py``, and ``self_ref`` in ``flask/app.py``. The app's map of addresses has
a lock besides, which dill sends and cloudpickle does not.
"""

from __future__ import annotations

import threading

import flask
import gaps
import journey
import pytest


def hello() -> dict[str, int]:
    return {"answer": 42}


def make() -> flask.Flask:
    app = flask.Flask("real")
    app.add_url_rule("/", view_func=hello)
    return app


def works(app: flask.Flask) -> None:
    assert app.test_client().get("/").json == {"answer": 42}
    assert app.json._app.view_functions is app.view_functions


def new_lock(lock: object) -> tuple[object, tuple[()]]:
    return threading.Lock, ()


@pytest.mark.needs(gaps.DILL_BY_VALUE)
def test_an_app_answers_there() -> None:
    journey.refused(make())
    journey.travels(make, works, ways=("dill",))


def test_with_new_locks_by_cloudpickle_too() -> None:
    with journey.reduced_by(new_lock, type(threading.Lock())):
        journey.travels(make, works, ways=("cloudpickle", "cloudpickle by value"))
