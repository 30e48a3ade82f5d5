"""Jinja2: the cache of an Environment has ``weakref.ref(loader)`` in its keys.

``Environment._load_template`` in ``jinja2/environment.py``: from the first template on, nobody can
pickle it. ``Template.__new__`` takes the source, so the recipe goes past it.
"""

from __future__ import annotations

from typing import Any

import jinja2
import journey


def make() -> jinja2.Environment:
    pages = {"page": "Hello {{ name|upper }}{% include 'end' %}", "end": "!"}
    environment = jinja2.Environment(loader=jinja2.DictLoader(pages))
    assert environment.get_template("page").render(name="you") == "Hello YOU!"
    return environment


def works(environment: jinja2.Environment) -> None:
    assert len(environment.cache) == 2
    cached = next(template for template in environment.cache.values() if template.name == "page")
    assert environment.get_template("page") is cached  # its key is the loader that came along
    assert cached.render(name="me") == "Hello ME!"


def reduce_template(template: jinja2.Template) -> tuple[Any, ...]:
    return bare, (type(template),), vars(template)


def bare(cls: type) -> Any:
    return object.__new__(cls)


def test_compiled_templates_stay_in_the_cache() -> None:
    journey.refused(make())
    with journey.reduced_by(reduce_template, jinja2.Template):
        journey.travels(make, works)
