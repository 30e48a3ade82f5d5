"""Bokeh: what manages a Document's models and callbacks holds the document by ``weakref.ref``.

See ``bokeh/document/callbacks.py``, ``models.py`` and ``modules.py``. Values of properties are
dicts, lists and sets that tell their owners of each change, also when a pickle fills them, before
they have any (``bokeh/core/property/wrappers.py``): a recipe sets their attributes first. Also, a
document has a template of Jinja2's, with the recipe of ``test_jinja2.py``.
"""

from __future__ import annotations

from typing import Any

import jinja2
import journey
from bokeh.core.property import wrappers
from bokeh.document import Document
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure


def make() -> Document:
    plot = figure(title="old")
    plot.line("x", "y", source=ColumnDataSource({"x": [1, 2], "y": [3, 4]}))
    document = Document()
    document.add_root(plot)
    return document


def works(document: Document) -> None:
    (plot,) = document.roots
    assert plot.document is document
    assert document.get_model_by_id(plot.id) is plot
    changes: list[object] = []
    document.on_change(changes.append)
    plot.title.text = "new"
    plot.renderers[0].data_source.data["x"] = [5, 6]
    assert len(changes) == 2
    assert "new" in str(document.to_json())


def reduce_template(template: jinja2.Template) -> tuple[Any, ...]:
    return bare, (type(template),), vars(template)


def bare(cls: type) -> Any:
    return object.__new__(cls)


def test_a_document_hears_of_its_models() -> None:
    journey.refused(make())
    values = wrappers.PropertyValueContainer.__subclasses__()
    values += [cls for value in values for cls in value.__subclasses__()]
    with (
        journey.reduced_by(journey.by_hand, *values),
        journey.reduced_by(reduce_template, jinja2.Template),
    ):
        journey.travels(make, works)
