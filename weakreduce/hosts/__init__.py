"""The hosts and the engines: what is ours to extend, now or when it is imported.

Adding a copy of cloudpickle is one row of `HOSTS`; adding an engine is a row and one small file.
None of them is imported here.
"""

from __future__ import annotations

import importlib
import sys

from weakreduce.model.locks import new_lock

# Imported with weakreduce, so without `typing` and `dataclasses`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final, Literal

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


class Part:
    """One module to be extended, and the file of ours that knows how."""

    def __init__(self, module: str, recipe: str) -> None:
        self.module = module
        self.recipe = recipe
        self.patch: Any = None

    def apply(self) -> None:
        """Extend the module, which is imported."""
        if self.patch is None:
            recipe = importlib.import_module(f"weakreduce.{self.recipe}")
            self.patch = recipe.make_patch(sys.modules[self.module])
        self.patch.apply()

    def remove(self) -> None:
        """Put back what was there."""
        if self.patch is not None:
            self.patch.remove()
            self.patch = None


class Host:
    """A host or an engine: the modules of it that we extend."""

    def __init__(self, name: str, *parts: tuple[str, str], default: bool = True) -> None:
        self.name = name
        self.parts = [Part(module, recipe) for module, recipe in parts]
        self.default = default
        self.wanted = False

    def apply(self) -> None:
        """Extend what is imported of it."""
        for part in self.parts:
            if _is_imported(part.module):
                part.apply()

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
    def version(self) -> str | None:
        """The version that is imported, where its top package tells one."""
        top = sys.modules.get(self.parts[0].module.partition(".")[0])
        version = getattr(top, "__version__", None)
        return version if isinstance(version, str) else None


def _is_imported(name: str) -> bool:
    """Whether a module is there, and not half-way: its loader calls us when it is done."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return name in sys.modules and not getattr(spec, "_initializing", False)


def _copy_of_cloudpickle(root: str) -> Host:
    name = f"{root}.cloudpickle" if root else "cloudpickle"
    module = f"{name}.cloudpickle"
    return Host(name, (module, "hosts.cloudpickle"), (module, "hosts.tables"))


HOSTS: Final[dict[str, Host]] = {
    host.name: host
    for host in (
        _copy_of_cloudpickle(""),
        # The package extends pickle's own table by that of its module, and not by ours.
        Host("dill", ("dill._dill", "hosts.dill"), ("dill", "hosts.tables")),
        _copy_of_cloudpickle("ray"),
        _copy_of_cloudpickle("pyspark"),
        _copy_of_cloudpickle("joblib.externals"),
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
        ),
        Host(
            "loky",
            ("loky.process_executor", "engines.executors"),
            ("loky.process_executor", "engines.worker_failures"),
        ),
        Host("pebble", ("pebble.pool.process", "engines.pebble")),
        Host(
            "dask",
            ("dask.tokenize", "hosts.distributed"),
            ("distributed.protocol.pickle", "hosts.distributed"),
            ("distributed.protocol.serialize", "hosts.distributed"),
            ("distributed.client", "engines.distributed"),
            ("distributed.actor", "engines.distributed"),
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
        ),
        Host(
            "pyspark",
            ("pyspark.core.rdd", "engines.pyspark"),
            ("pyspark.core.broadcast", "engines.pyspark"),
            ("pyspark.sql.udf", "engines.pyspark"),
            ("pyspark.sql.udtf", "engines.pyspark"),
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
        ),
    )
}
_lock = new_lock()


def _waits_for(host: Host, name: str) -> bool:
    return any(part.module == name for part in host.parts)


class _Finder:
    """Sees a host's import and readies the host after it; finds nothing itself."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """The spec of a waiting host, its loader set to call us when the module is there."""
        waiting = [host for host in HOSTS.values() if host.wanted and _waits_for(host, name)]
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
                    for part in host.parts:
                        if part.module == name:
                            part.apply()

    loader.exec_module = exec_module


_finder = _Finder()


def _chosen(names: tuple[str, ...], default: list[Host]) -> list[Host]:
    for name in names:
        if name not in HOSTS:
            raise ValueError(f"no host {name!r}; the hosts are {', '.join(map(repr, HOSTS))}")
    return [HOSTS[name] for name in names] if names else default


def require_cpython() -> None:
    """What is written depends on how CPython keeps weak references, and when it lets objects die.

    Raises:
        WeakreduceError: on any other interpreter.
    """
    if sys.implementation.name != "cpython":
        from weakreduce.model.errors import WeakreduceError

        raise WeakreduceError(
            f"weakreduce writes weak references on CPython alone, and this is "
            f"{sys.implementation.name}; what it wrote on CPython can be loaded here"
        )


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
    patch = HOSTS["pickle"].parts[0].patch
    found["pickle"]["not_reached"] = [] if patch is None else patch.not_reached
    return found
