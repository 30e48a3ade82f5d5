"""The table of the hosts and the engines: what is ours to extend, now or when it is imported.

A copy of cloudpickle is one row of `HOSTS`; an engine, a row and one small file; what else there is
to do for a host or an engine is listed in `docs/contributing.md`.
None of them is imported here, nor is a file of ours for one before it is.
"""

from __future__ import annotations

import importlib
import sys

from weakreduce.model.cpython import require_cpython
from weakreduce.model.locks import new_lock

# Imported with weakreduce, so without `typing` and `dataclasses`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Final, Literal, Protocol

    #: The keys of `HOSTS`.
    HostName = Literal[
        "cloudpickle",
        "dill",
        "ray.cloudpickle",
        "pyspark.cloudpickle",
        "joblib.externals.cloudpickle",
        "pickle",
        "multiprocessing",
        "concurrent.futures",
        "multiprocess",
        "loky",
        "pebble",
        "dask",
        "ray",
        "pyspark",
        "joblib",
    ]

    class Patch(Protocol):
        """What the recipe of a part makes: ours, to be put in place and taken away exactly."""

        @property
        def applied(self) -> bool:
            """Whether ours is in place."""

        def apply(self) -> None:
            """Put ours in place; nothing where it is there already."""

        def remove(self) -> None:
            """Put back what was there."""


class Part:
    """One module to be extended, and the file of ours that knows how."""

    def __init__(self, module: str, recipe: str) -> None:
        self.module = module
        self.recipe = recipe
        self.patch: Patch | None = None

    def apply(self) -> None:
        """Extend the module, which is imported."""
        patch = self.patch
        if patch is None:
            recipe = importlib.import_module(f"weakreduce.{self.recipe}")
            patch = self.patch = recipe.make_patch(sys.modules[self.module])
        patch.apply()

    def remove(self) -> None:
        """Put back what was there."""
        if self.patch is not None:
            self.patch.remove()
            self.patch = None


class Host:
    """A host or an engine: the modules of it that we extend.

    Args:
        name: the name that users call it by.
        parts: its modules, each with the file of ours that extends it.
        default: whether `install` extends it unless it is asked for others.
        oldest: the oldest release that is tested; "" of what comes with Python.
    """

    def __init__(
        self, name: str, *parts: tuple[str, str], default: bool = True, oldest: str = ""
    ) -> None:
        self.name = name
        self.oldest = oldest
        self.parts = [Part(module, recipe) for module, recipe in parts]
        self.default = default
        self.wanted = False

    def apply(self) -> None:
        """Extend what is imported of it, if it is wanted."""
        for part in self.parts:
            if self.wanted and _is_imported(part.module):
                self.ready(part)

    def ready(self, part: Part) -> None:
        """Extend one of its modules, which is imported.

        A release that lacks what that needs is left as it is, with all that is of it, and a
        warning: the program that imports it is not to fail for that.
        """
        try:
            part.apply()
        except (AttributeError, ImportError, KeyError) as error:
            if (getattr(error, "name", None) or "").startswith("weakreduce"):
                raise  # a file of ours is not there
            left = [host for host in HOSTS.values() if host.wanted and host.package == self.package]
            for host in left:
                host.remove()
            _tell_of_another_release(left, error)

    def remove(self) -> None:
        """Put back what was there."""
        self.wanted = False
        for part in reversed(self.parts):
            part.remove()

    @property
    def state(self) -> str:
        """``installed``, ``waiting`` for its import, or ``off``."""
        if any(part.patch is not None and part.patch.applied for part in self.parts):
            return "installed"
        return "waiting" if self.wanted else "off"

    @property
    def package(self) -> str:
        """The top package of its modules, and the name of the distribution."""
        return self.parts[0].module.partition(".")[0]

    @property
    def version(self) -> str | None:
        """The version that is imported, where its top package tells one."""
        top = sys.modules.get(self.package)
        version = getattr(top, "__version__", None)
        return version if isinstance(version, str) else None


def _is_imported(name: str) -> bool:
    """Whether a module is there, and not half-way: its loader calls us when it is done."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return name in sys.modules and not getattr(spec, "_initializing", False)


def _tell_of_another_release(left: list[Host], error: Exception) -> None:
    """Warn that hosts of one package, of a release that cannot be extended, are left alone."""
    import importlib.metadata
    import warnings

    package, oldest = left[0].package, left[0].oldest
    try:
        release = f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        release = f"{package} of this Python" if not oldest else f"this {package}"
    missing = getattr(error, "name", None) or error
    names = ", ".join(repr(host.name) for host in left)
    use = f"Use {package} {oldest} or later" if oldest else "Use a later weakreduce"
    warnings.warn(
        f"{release} has no {missing}, on which weakreduce relies, so it is left as it is: no weak "
        f"reference travels by it ({names}). {use}, or call weakreduce.uninstall({names}) before "
        "it is imported.",
        RuntimeWarning,
        stacklevel=4,
    )


def _copy_of_cloudpickle(root: str, oldest: str) -> Host:
    name = f"{root}.cloudpickle" if root else "cloudpickle"
    module = f"{name}.cloudpickle"
    return Host(name, (module, "hosts.cloudpickle"), (module, "hosts.tables"), oldest=oldest)


HOSTS: Final[dict[str, Host]] = {
    host.name: host
    for host in (
        _copy_of_cloudpickle("", "3.0"),
        # The package extends pickle's own table by that of its module, and not by ours.
        Host("dill", ("dill._dill", "hosts.dill"), ("dill", "hosts.tables"), oldest="0.3.8"),
        _copy_of_cloudpickle("ray", "2.40"),
        _copy_of_cloudpickle("pyspark", "4.0"),
        _copy_of_cloudpickle("joblib.externals", "1.5"),
        Host("pickle", ("pickle", "hosts.standard"), default=False),
        Host(
            "multiprocessing",
            ("multiprocessing.reduction", "hosts.forking"),
            ("multiprocessing.pool", "engines.pools"),
            ("multiprocessing.queues", "engines.queues"),
        ),
        Host(
            "concurrent.futures",
            ("concurrent.futures.process", "engines.executors"),
            ("concurrent.futures.process", "engines.worker_failures"),
            ("concurrent.futures.interpreter", "engines.interpreters"),
        ),
        Host(
            "multiprocess",
            ("multiprocess.pool", "engines.pools"),
            ("multiprocess.queues", "engines.queues"),
            oldest="0.70.16",
        ),
        Host(
            "loky",
            ("loky.process_executor", "engines.executors"),
            ("loky.process_executor", "engines.worker_failures"),
            oldest="3.4",
        ),
        Host("pebble", ("pebble.pool.process", "engines.pebble"), oldest="5.1"),
        Host(
            "dask",
            ("dask.tokenize", "hosts.distributed"),
            ("distributed.protocol.pickle", "hosts.distributed"),
            ("distributed.protocol.serialize", "hosts.distributed"),
            ("distributed.client", "engines.distributed"),
            ("distributed.actor", "engines.distributed"),
            oldest="2025.4",
        ),
        Host(
            "ray",
            ("ray.remote_function", "engines.ray"),
            ("ray.actor", "engines.ray"),
            ("ray._private.function_manager", "engines.ray"),
            ("ray._private.worker", "engines.ray"),
            ("ray._private.serialization", "engines.ray"),
            ("ray.util.multiprocessing.pool", "engines.ray_pool"),
            ("ray.data.dataset", "engines.ray_data"),
            oldest="2.40",
        ),
        Host(
            "pyspark",
            ("pyspark.core.rdd", "engines.pyspark"),
            ("pyspark.core.broadcast", "engines.pyspark"),
            ("pyspark.sql.udf", "engines.pyspark"),
            ("pyspark.sql.udtf", "engines.pyspark"),
            oldest="4.0",
        ),
        Host(
            "joblib",
            ("joblib.externals.loky.process_executor", "engines.executors"),
            ("joblib.externals.loky.process_executor", "engines.worker_failures"),
            ("joblib.externals.loky.backend.queues", "engines.joblib_parallel"),
            ("joblib.executor", "engines.joblib_parallel"),
            ("joblib.pool", "engines.joblib_parallel"),
            ("joblib._parallel_backends", "engines.joblib_parallel"),
            ("joblib._dask", "engines.joblib_parallel"),
            ("joblib.parallel", "engines.joblib_parallel"),
            ("joblib.hashing", "engines.joblib_hashing"),
            ("joblib.numpy_pickle", "hosts.numpy_pickle"),
            oldest="1.5",
        ),
    )
}
_lock = new_lock()


class _Finder:
    """Sees a host's import and readies the host after it; finds nothing itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a waiting host, with a loader that readies the host after the module."""
        if not _waiting_for(name):
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            find: Callable[..., ModuleSpec | None] | None = getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None and spec.loader is not None:
                if hasattr(spec.loader, "exec_module"):
                    wrapped: Any = _Loader(spec.loader)
                    spec.loader = wrapped
                return spec
        return None


def _waiting_for(name: str) -> list[tuple[Host, Part]]:
    """The parts of hosts that wait for the import of a module, each with its host."""
    return [
        (host, part)
        for host in HOSTS.values()
        if host.wanted
        for part in host.parts
        if part.module == name
    ]


class _Loader:
    """The loader of a host's module: that of another finder, and the host is readied after it.

    It is gone when the module's own code begins: that, and whoever reads the module's spec later,
    find the loader that is there without weakreduce.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of a spec needs no copy of ours."""
        return max, ((self._loader,),)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, and then ready what waits for it."""
        for owner, name in ((module, "__loader__"), (module.__spec__, "loader")):
            if getattr(owner, name, None) is self:
                setattr(owner, name, self._loader)
        self._loader.exec_module(module)
        if module.__name__ in sys.modules:
            for host, part in _waiting_for(module.__name__):
                if host.wanted:  # it may have been left alone since
                    part.remove()  # from what was there before the module was reloaded
                    host.ready(part)


_finder = _Finder()


def _chosen(names: tuple[str, ...], default: list[Host]) -> list[Host]:
    for name in names:
        if not isinstance(name, str) or name not in HOSTS:
            raise ValueError(f"no host {name!r}; the hosts are {', '.join(map(repr, HOSTS))}")
    return [HOSTS[name] for name in names] if names else default


def install(*names: HostName) -> None:
    """Extend hosts by name, or every host but plain ``"pickle"``, which has to be asked for.

    A host that is not imported yet is readied when it is. Installing twice is installing once.

    Raises:
        ValueError: for an unknown host.
        WeakreduceError: on another interpreter than CPython.
    """
    require_cpython()
    hosts = _chosen(names, [host for host in HOSTS.values() if host.default])
    with _lock:
        for host in hosts:
            host.wanted = True
        for host in hosts:
            host.apply()
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def uninstall(*names: HostName) -> None:
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


def state() -> dict[str, dict[str, Any]]:
    """For each host: its state and version; for ``"pickle"``, modules that keep stock's names."""
    found: dict[str, dict[str, Any]] = {
        name: {"state": host.state, "version": host.version, "module": host.parts[0].module}
        for name, host in HOSTS.items()
    }
    patch: Any = HOSTS["pickle"].parts[0].patch
    found["pickle"]["not_reached"] = [] if patch is None else patch.not_reached
    return found
