"""pint: a context keeps what transforms by it in a WeakValueDictionary.

``Context.relation_to_context`` and its chain, ``pint/facets/context/objects.py``; so no registry of
units can be pickled.
"""

from __future__ import annotations

import journey
import pint


def make() -> pint.UnitRegistry:
    units = pint.UnitRegistry()
    units.define("parrot = 38 * centimeter")
    return units


def works(units: pint.UnitRegistry) -> None:
    assert abs((3 * units.parrot).to("cm").magnitude - 114) < 1e-9
    with units.context("sp"):
        assert abs((500 * units.nm).to("THz").magnitude - 599.58) < 0.1
    assert units.Quantity(3, "m")._REGISTRY is units


def test_a_registry_converts_there() -> None:
    journey.refused(make())
    journey.travels(make, works)
