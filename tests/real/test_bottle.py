"""bottle: a route's settings are an overlay of its app's, which holds it by ``weakref.ref``.

``ConfigDict._make_overlay`` in ``bottle.py``. A ConfigDict is a dict whose ``__setitem__`` needs
its attributes, and pickle puts items in before them: the recipe turns that round.
"""

from __future__ import annotations

import bottle
import journey


def hello() -> str:
    return "hello"


def make() -> bottle.Bottle:
    app = bottle.Bottle()
    app.config["colour"] = "red"
    app.route("/", callback=hello)
    return app


def works(app: bottle.Bottle) -> None:
    route = app.routes[0]
    assert route.config["colour"] == "red"
    app.config["colour"] = "blue"
    assert route.config["colour"] == "blue"  # through the weak overlay
    statuses: list[str] = []
    asked = {"PATH_INFO": "/", "REQUEST_METHOD": "GET"}
    body = app(asked, lambda status, headers, error=None: statuses.append(status))
    assert (statuses, b"".join(body)) == (["200 OK"], b"hello")


def test_an_app_answers_there() -> None:
    journey.refused(make())
    with journey.reduced_by(journey.by_hand, bottle.ConfigDict):
        journey.travels(make, works)
