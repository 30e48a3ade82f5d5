"""The shape of the package: imports between its modules go one way, and no engine is imported."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import weakreduce

PACKAGE = Path(weakreduce.__file__).parent


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("weakreduce")
        ):
            found.add(node.module)
            found.update(
                f"{node.module}.{alias.name}"
                for alias in node.names
                if (
                    PACKAGE.parent / (f"{node.module}.{alias.name}".replace(".", "/") + ".py")
                ).exists()
            )
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def test_imports_go_one_way() -> None:
    graph = {name_of(path): imports_of(path) - {name_of(path)} for path in PACKAGE.rglob("*.py")}
    # A package's name stands for its __init__, which its own modules do not import.
    graph = {name: {i for i in found if i != "weakreduce"} for name, found in graph.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_the_floors_below_the_hosts_know_no_host() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.name in ("api.py", "demo.py", "__main__.py", "__init__.py"):
            continue
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not imported & {"cloudpickle", "dill", "ray", "pyspark", "joblib", "dask"}, path
