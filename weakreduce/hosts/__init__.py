"""The hosts: which Pickler classes are ours to extend, now or when they are imported.

Adding a copy of cloudpickle is one row of `HOSTS`. No host is imported here.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final


@final
@dataclass(slots=True)
class Host:
    """A host: the module that defines its Pickler, and the file of ours that extends it."""

    name: str
    module: str
    recipe: str
    default: bool = True
    wanted: bool = False
    patch: Any = field(default=None, repr=False)

    def apply(self) -> None:
        """Extend the host; its module is imported."""
        recipe = importlib.import_module(f"weakreduce.hosts.{self.recipe}")
        if self.patch is None:
            if self.recipe == "standard":
                self.patch = recipe.FunctionPatch()
            else:
                self.patch = recipe.make_patch(sys.modules[self.module])
        self.patch.apply()

    def remove(self) -> None:
        """Put back what was there."""
        self.wanted = False
        if self.patch is not None:
            self.patch.remove()
            self.patch = None

    @property
    def state(self) -> str:
        """``installed``, ``waiting`` for its import, or ``off``."""
        if self.patch is not None and self.patch.applied:
            return "installed"
        return "waiting" if self.wanted else "off"

    @property
    def version(self) -> str | None:
        """The version that is imported, where its top package tells one."""
        top = sys.modules.get(self.module.partition(".")[0])
        version = getattr(top, "__version__", None)
        return version if isinstance(version, str) else None


HOSTS: Final[dict[str, Host]] = {
    host.name: host
    for host in (
        Host("cloudpickle", "cloudpickle.cloudpickle", "cloudpickle"),
        Host("dill", "dill._dill", "dill"),
        Host("ray.cloudpickle", "ray.cloudpickle.cloudpickle", "cloudpickle"),
        Host("pyspark.cloudpickle", "pyspark.cloudpickle.cloudpickle", "cloudpickle"),
        Host(
            "joblib.externals.cloudpickle",
            "joblib.externals.cloudpickle.cloudpickle",
            "cloudpickle",
        ),
        Host("pickle", "pickle", "standard", default=False),
    )
}
_lock = threading.RLock()


@final
class _Finder:
    """Sees a host's import and readies the host after it; finds nothing itself."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """The spec of a waiting host, its loader set to call us when the module is there."""
        waiting = [host for host in HOSTS.values() if host.module == name and host.wanted]
        if not waiting:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            find: Callable[..., Any] | None = getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None and spec.loader is not None:
                _call_after(spec.loader, name, waiting)
                return spec
        return None


def _call_after(loader: Any, name: str, waiting: list[Host]) -> None:
    execute = loader.exec_module

    def exec_module(module: Any) -> None:
        vars(loader).pop("exec_module", None)
        execute(module)
        if module.__name__ == name:
            for host in waiting:
                if host.wanted:
                    host.apply()

    loader.exec_module = exec_module


_finder = _Finder()


def _chosen(names: tuple[str, ...], default: list[Host]) -> list[Host]:
    for name in names:
        if name not in HOSTS:
            raise ValueError(f"no host {name!r}; the hosts are {', '.join(map(repr, HOSTS))}")
    return [HOSTS[name] for name in names] if names else default


def install(*names: str) -> None:
    """Extend hosts by name, or every host but plain ``"pickle"``, which has to be asked for.

    A host that is not imported yet is readied when it is. Installing twice is installing once.

    Raises:
        ValueError: for an unknown host.
    """
    hosts = _chosen(names, [host for host in HOSTS.values() if host.default])
    with _lock:
        for host in hosts:
            host.wanted = True
            if host.module in sys.modules:
                host.apply()
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def uninstall(*names: str) -> None:
    """Put back what was there before `install`, exactly: for hosts by name, or for all.

    Raises:
        ValueError: for an unknown host.
    """
    hosts = _chosen(names, list(HOSTS.values()))
    with _lock:
        for host in hosts:
            host.remove()
        if not any(host.wanted for host in HOSTS.values()) and _finder in sys.meta_path:
            sys.meta_path.remove(_finder)


def state() -> dict[str, dict[str, str | None]]:
    """For each host: its state and version."""
    return {
        name: {"state": host.state, "version": host.version, "module": host.module}
        for name, host in HOSTS.items()
    }
