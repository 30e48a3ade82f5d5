"""The files of the project around the package are well formed, and what they name exists."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_built import ALONE

ROOT = Path(__file__).resolve().parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
#: A command of a workflow or a hook -> what it takes, besides what is checked below.
COMMANDS = (
    r"\.ci/run",
    r"python -m pip install .*",
    r"tox -e .*",
    r"python -m sphinx (-nW|-b linkcheck) docs docs/_build/\w+",
    r"python -X gil=0 -m pytest( tests/\S+\.py)+",
    r"python -m build",
    r"python -m twine check --strict dist/\*",
    r"python tests/run_built\.py dist",
    r"ruff check weakreduce tests docs/conf\.py",
    r"mypy",
)


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_every_file_of_yaml_is_well_formed() -> None:
    files = [*ROOT.glob(".github/**/*.yml"), *ROOT.glob(".*.yaml")]
    assert len(files) == 5
    for file in files:
        assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict), file


def commands_of(job: dict[str, Any]) -> list[str]:
    return [line for step in job["steps"] for line in step.get("run", "").splitlines()]


def test_what_the_workflow_runs_exists() -> None:
    workflow = read(".github/workflows/tests.yml")
    # YAML takes the word `on` for a boolean.
    assert set(workflow[True]) == {"push", "pull_request"}
    commands = [line for job in workflow["jobs"].values() for line in commands_of(job)]
    assert ".ci/run" in commands
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    for command in commands:
        assert any(re.fullmatch(known, command) for known in COMMANDS), command
        for script in re.findall(r"tests/\S+\.py", command):
            assert (ROOT / script).exists()
        for extras in re.findall(r"\.\[([\w,]+)\]", command):
            assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


def test_the_workflow_has_every_python_and_the_lowest_releases() -> None:
    jobs = read(".github/workflows/tests.yml")["jobs"]
    pythons = jobs["pythons"]["strategy"]["matrix"]["python"]
    environments = PYPROJECT["tool"]["tox"]["env_list"]
    assert [*pythons, "lowest"] == environments
    named = [name.rpartition(" ")[2] for name in PROJECT["classifiers"]
             if re.search(r":: 3\.\d+$", name)]  # fmt: skip
    assert pythons == named
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert "tox -e ${{ matrix.python }}" in commands_of(jobs["pythons"])
    assert "tox -e lowest" in commands_of(jobs["lowest"])
    assert "lowest" in PYPROJECT["tool"]["tox"]["env"]


def test_the_workflow_runs_threads_without_a_gil() -> None:
    job = read(".github/workflows/tests.yml")["jobs"]["free-threaded"]
    pythons = job["strategy"]["matrix"]["python"]
    assert pythons == ["3.13t", "3.14t"]
    # No package of an extra has to be there.
    assert job["env"] == {ALONE: "1"}
    text = (ROOT / "docs" / "reference" / "pythons.md").read_text(encoding="utf-8")
    (command,) = (line for line in commands_of(job) if "pytest tests" in line)
    for file in re.findall(r"tests/\S+", command):
        assert f"`{file}`" in text


def test_hooks_run_what_ci_runs() -> None:
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} == {"ruff", "mypy"}
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    words = script.replace("$environment/venv/bin/", "").replace('"', "").splitlines()
    for hook in hooks:
        assert any(re.fullmatch(known, hook["entry"]) for known in COMMANDS)
        assert hook["entry"] in words


def test_the_form_for_issues_asks_for_what_tells_most() -> None:
    form = read(".github/ISSUE_TEMPLATE/bug.yml")
    asked = {field["attributes"]["label"]: field for field in form["body"]
             if field["type"] != "markdown"}  # fmt: skip
    for command in ("info", "explain"):
        field = asked[f"python -m weakreduce {command}"]
        assert field["validations"]["required"]
    assert len({field["id"] for field in asked.values()}) == len(asked)
    text = (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8")
    from weakreduce.__main__ import main

    for command in set(re.findall(r"python -m weakreduce ([\w-]+)", text)):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0


def test_the_site_of_readthedocs_is_ours() -> None:
    settings = read(".readthedocs.yaml")
    assert (ROOT / settings["sphinx"]["configuration"]).exists()
    assert settings["sphinx"]["fail_on_warning"]
    (install,) = settings["python"]["install"]
    assert set(install["extra_requirements"]) <= PROJECT["optional-dependencies"].keys()


def test_the_metadata_are_complete() -> None:
    assert PROJECT["license"] == "MIT"
    assert {"Homepage", "Documentation", "Changelog"} <= PROJECT["urls"].keys()
    assert {"pickle", "weakref", "cloudpickle", "dill"} <= set(PROJECT["keywords"])
    assert "Typing :: Typed" in PROJECT["classifiers"]
    pages = PROJECT["urls"]["Documentation"]
    for url in PROJECT["urls"].values():
        path = url.removeprefix(pages).removeprefix("/en/latest/").removesuffix(".html")
        assert (ROOT / "docs" / f"{path or 'index'}.md").exists(), url


def test_the_readme_begins_with_the_error_and_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "cannot pickle 'weakref.ReferenceType' object" in lines[0]
    assert len(lines) <= 80
