"""A release of a host that lacks what we rely on is left as it is, and its import does not fail.

The folders that stand for such releases have what counts of them: cloudpickle up to 2 has no
``Pickler`` in its innermost module, as have the copies in PySpark up to 3, and in Ray and joblib of
that time. (Seen with cloudpickle 2.2.1, PySpark 3.5.1, Ray 2.9.3, joblib 1.2.0, distributed
2023.1.0.)
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weakreduce import registry

#: Of each, its modules with their code.
OLD: dict[str, dict[str, str]] = {
    "cloudpickle": {
        "cloudpickle": "from cloudpickle.cloudpickle import dumps",
        "cloudpickle.cloudpickle": "from pickle import dumps",
    },
    "pyspark": {
        "pyspark": "import pyspark.cloudpickle",
        "pyspark.cloudpickle": "from pyspark.cloudpickle.cloudpickle import dumps",
        "pyspark.cloudpickle.cloudpickle": "from pickle import dumps",
        "pyspark.sql": "",
        "pyspark.sql.udf": "class UserDefinedFunction: pass",
    },
    "dask": {
        "dask": "import distributed.client",
        "distributed": "",
        "distributed.client": "class Client:\n    def _graph_to_futures(self): pass",
    },
    "loky": {"loky": "import loky.process_executor", "loky.process_executor": ""},
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with them."""
    for modules in OLD.values():
        for name, code in modules.items():
            is_package = any(other.startswith(f"{name}.") for other in modules)
            at = tmp_path.joinpath(*name.split("."), "__init__" if is_package else "")
            file = at.with_suffix(".py") if is_package else at.parent / f"{at.name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code)
    return tmp_path


def run(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


STATES = "print({n: h['state'] for n, h in weakreduce.info()['hosts'].items() if n[:3] in %r})"


@pytest.mark.parametrize("first", ["import weakreduce; import %s", "import %s; import weakreduce"])
@pytest.mark.parametrize("package", OLD)
def test_it_is_left_alone_with_a_warning(old: Path, package: str, first: str) -> None:
    done = run(old, f"{first % package}; {STATES % [package[:3]]}")
    hosts = [name for name, host in registry.HOSTS.items() if host.package == package]
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(dict.fromkeys(hosts, "off"))
    assert done.stderr.count("RuntimeWarning") == 1
    said = done.stderr
    assert f"{package} " in said and "on which weakreduce relies, so it is left as it is" in said
    assert f"Use {package} {registry.HOSTS[hosts[0]].oldest} or later" in said
    assert f"weakreduce.uninstall({', '.join(map(repr, hosts))})" in said


def test_what_is_missing_is_named(old: Path) -> None:
    assert "has no 'Pickler'," in run(old, "import weakreduce, cloudpickle").stderr


def test_the_rest_of_it_is_left_alone_too(old: Path) -> None:
    code = "import weakreduce, pyspark.sql.udf as udf; print(dict(vars(udf.UserDefinedFunction)))"
    plain = run(old, code.replace("weakreduce, ", ""))
    assert run(old, code).stdout == plain.stdout != ""


def test_the_warning_can_be_turned_off_as_it_says(old: Path) -> None:
    left = "weakreduce.uninstall('pyspark.cloudpickle', 'pyspark')"
    done = run(old, f"import weakreduce; {left}; import pyspark", "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")


def test_other_hosts_are_extended(old: Path) -> None:
    code = "import weakreduce, pyspark, dill; " + STATES % ["dil"]
    assert run(old, code).stdout.strip() == "{'dill': 'installed'}"


def test_the_oldest_releases_are_those_that_are_declared() -> None:
    import tomllib

    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    declared = {
        name: version
        for requirement in (*project["project"]["dependencies"], *sum(extras.values(), []))
        for name, found, version in [requirement.partition(">=")]
        if found
    }
    for host in registry.HOSTS.values():
        assert host.oldest == declared.get(host.package, ""), host.name


def test_a_file_of_ours_that_is_missing_is_said() -> None:
    """That is a mistake of ours, and not of a release."""
    host = registry.Host("toy", ("subprocess", "hosts.missing"))
    host.wanted = True
    with pytest.raises(ModuleNotFoundError, match=r"weakreduce\.hosts\.missing"):
        host.apply()
