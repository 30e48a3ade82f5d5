"""zope.interface: a registry tells those built upon it of changes through a WeakKeyDictionary.

``AdapterRegistry._v_subregistries`` in ``zope/interface/adapter.py``. Beside it is a look-up
written in C that nobody can pickle; the recipe leaves it out, as persistent registries do, and has
it made again.
"""

from __future__ import annotations

from typing import Any

import journey
from zope.interface import Interface, implementer
from zope.interface.adapter import AdapterRegistry
from zope.interface.registry import Components


class ISource(Interface):
    pass


class ITarget(Interface):
    pass


@implementer(ISource)
class Source:
    pass


class Target:
    def __init__(self, source: Source) -> None:
        self.source = source


def make() -> tuple[Components, Components]:
    base = Components("base")
    base.registerAdapter(Target, (ISource,), ITarget)
    site = Components("site", bases=(base,))
    assert isinstance(site.queryAdapter(Source(), ITarget), Target)
    return base, site


def works(components: tuple[Components, Components]) -> None:
    base, site = components
    assert isinstance(site.queryAdapter(Source(), ITarget), Target)
    base.unregisterAdapter(Target, (ISource,), ITarget)
    assert site.queryAdapter(Source(), ITarget) is None  # the base told the site


def reduce_registry(registry: AdapterRegistry) -> tuple[Any, ...]:
    """A registry without its look-up in C."""
    left_out = {"_v_lookup", *registry._delegated}
    state = {name: value for name, value in vars(registry).items() if name not in left_out}
    return AdapterRegistry, (), state, None, None, restore


def restore(registry: AdapterRegistry, state: dict[str, Any]) -> None:
    vars(registry).update(state)
    registry._createLookup()


def test_a_base_tells_its_site_there() -> None:
    journey.refused(make())
    with journey.reduced_by(reduce_registry, AdapterRegistry):
        # Interfaces travel as names.
        journey.travels(make, works, ways=("cloudpickle", "dill"))
