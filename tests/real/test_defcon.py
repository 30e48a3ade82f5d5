"""defcon: each part of a font holds what it is part of, and its observers, by ``weakref.ref``.

See ``defcon/objects/base.py`` and ``defcon/tools/notifications.py``. Kerning, groups and libs are
dicts whose ``__setitem__`` needs their attributes: the recipe sets these first.
"""

from __future__ import annotations

import defcon
import journey
from defcon.objects.base import BaseDictObject


def make() -> defcon.Font:
    font = defcon.Font()
    font.info.familyName = "Real"
    font.lib["maker"] = "me"
    pen = font.newGlyph("A").getPen()
    pen.moveTo((0, 0))
    pen.lineTo((100, 0))
    pen.lineTo((50, 80))
    pen.closePath()
    return font


def works(font: defcon.Font) -> None:
    glyph = font["A"]
    assert glyph.font is font
    assert glyph.bounds == (0, 0, 100, 80)
    assert font.lib["maker"] == "me"
    font.dirty = False
    glyph.width = 130  # posts a notification, which climbs to the font through weak observers
    assert font.dirty


def test_a_font_hears_of_its_glyphs() -> None:
    journey.refused(make())
    dicts = [cls for cls in vars(defcon).values() if isinstance(cls, type)]
    dicts = [cls for cls in dicts if issubclass(cls, BaseDictObject)]
    with journey.reduced_by(journey.by_hand, *dicts):
        journey.travels(make, works)
