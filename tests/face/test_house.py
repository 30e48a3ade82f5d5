"""The shape of the package: the rules of `house.py`, on ours and on packages that break them.

``python tests/support/house.py`` prints what breaks a rule.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import house
import pytest

import weakreduce

PACKAGE = Path(weakreduce.__file__).parent

#: What keeps a rule in another way than by its letter, and why. Nothing else may break one.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "hooks": {
        "engines/interpreters.py: error.__reduce_ex__": "an error is pickled by stock, in a thread "
        "of its own, and only what its instance has is asked there",
        "hosts/numpy_pickle.py: pickler.save": "joblib's pickler calls its own save",
        "hosts/picklers.py: self.pickler.reducer_override": "picklers are driven by that hook",
    },
}


@pytest.mark.parametrize("rule", house.RULES)
def test_the_package_keeps_the_rules(rule: str) -> None:
    broken = house.RULES[rule](PACKAGE)
    listed = set(EXCEPTIONS.get(rule, ()))
    assert not broken - listed, f"{house.RULES[rule].__doc__} Newly broken."
    assert not listed - broken, "This is mended, and has to be taken from EXCEPTIONS."


def test_every_rule_that_is_listed_is_one() -> None:
    assert set(EXCEPTIONS) <= set(house.RULES)


def test_the_tests_of_the_core_need_cloudpickle_and_dill_alone() -> None:
    tests = Path(__file__).resolve().parent.parent
    helpers = {path.stem for path in (tests / "support").iterdir()}
    helpers |= {path.stem for path in tests.iterdir()}  # the scripts, which some of them call
    known = {"weakreduce", "cloudpickle", "dill", "pytest", "hypothesis", *helpers}
    for path in (tests / "core").glob("*.py"):
        named = set(house.imported(ast.parse(path.read_text(encoding="utf-8"))))
        assert named <= known | sys.stdlib_module_names, path.name


def made(folder: Path, files: dict[str, str]) -> Path:
    """A package with these files, called weakreduce."""
    package = folder / "weakreduce"
    for name, text in {"__init__.py": "__all__ = ['dump', 'policy']\n", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.parent != package and not (path.parent / "__init__.py").exists():
            (path.parent / "__init__.py").write_text("")
    return package


def long(lines: int, first: str, line: str = "    a = 1") -> str:
    return "\n".join([first, *[line] * (lines - 1)]) + "\n"


#: Files that keep all rules, however near they come to breaking one.
GOOD = {
    "model/kinds.py": "import gc\n",
    "model/plain.py": long(400, "import gc", "import gc"),
    "paths/steps.py": "from weakreduce.model import kinds\nfrom . import search\n",
    "paths/search.py": "from ..model.kinds import anything\n",
    "core/walk.py": (
        "from weakreduce.paths import steps\n"
        "WIRE = 'weakreduce.wire'\n"
        "TEXT = f'weakreduce.share({WIRE}) and no module'\n"
        "HOST = f'{WIRE}.core', 'weakreduce.core.%s' % WIRE\n"
    ),
    "core/long.py": long(70, "def run():") + long(250, "class Session:"),
    "core/hooks.py": (
        "class Walk:\n"
        "    def __init__(self, decide: int, override: str) -> None:\n"
        "        self.decide = decide\n"
        "        self.other.length = 1\n"
        "    def length(self, number: int) -> None:\n"
        "        length = 3\n"
        "        self.walk.number = length\n"
        "        vars(self.walk)['number'] = length\n"
    ),
    "core/types.py": "def run(" + ", ".join(f"a{n}: int" for n in range(8)) + ", *b: Any): ...\n",
    "hosts/dill.py": "import weakreduce.core.walk, dill\n",
    "engines/ray.py": "from weakreduce.hosts import dill\nimport importlib\n"
    "importlib.import_module('ray.remote')\n",
    "report/trace.py": "from weakreduce.core import walk\n",
    "wire.py": "from weakreduce.model import kinds\n",
    "registry.py": "import importlib\nTABLE = ['weakreduce.engines.ray', 'hosts.dill']\n"
    "importlib.import_module(f'weakreduce.{TABLE[0]}')\n",
    "api.py": "from weakreduce import registry, wire\n",
    "__main__.py": "from weakreduce import api\n",
}

LATE = "def late():\n    "
TYPING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
#: By rule: a file that breaks it, its text, and what is said of that; beside the files above.
BAD: list[tuple[str, str, str, str]] = [
    ("rooms", "model/more.py", "import weakreduce.core.walk\n", "model.more -> core.walk"),
    ("rooms", "model/more.py", "from weakreduce.core.walk import W\n", "model.more -> core.walk"),
    ("rooms", "model/more.py", "from weakreduce.core import walk\n", "model.more -> core"),
    ("rooms", "model/more.py", "from ..core import walk\n", "model.more -> core.walk"),
    ("rooms", "model/more.py", "from .. import core\n", "model.more -> core"),
    ("rooms", "model/__init__.py", "from ..core import walk\n", "model -> core.walk"),
    ("rooms", "model/more.py", LATE + "import weakreduce.wire\n", "model.more -> wire"),
    ("rooms", "core/more.py", TYPING + "from weakreduce.report import trace\n",
     "core.more -> report.trace"),
    ("rooms", "core/more.py", LATE + "from weakreduce import share\n", "core.more -> weakreduce"),
    ("rooms", "core/more.py", "import weakreduce\n", "core.more -> weakreduce"),
    ("rooms", "core/more.py", LATE + "import_module('weakreduce.hosts.dill')\n",
     "core.more -> hosts.dill"),
    ("rooms", "core/more.py", LATE + "importlib.import_module('..hosts.dill', __package__)\n",
     "core.more -> hosts.dill"),
    ("rooms", "core/more.py", LATE + "__import__('weakreduce.hosts')\n", "core.more -> hosts"),
    ("rooms", "core/more.py", LATE + "importlib.import_module('weakreduce')\n",
     "core.more -> weakreduce"),
    ("rooms", "core/more.py", LATE + "import_module(f'weakreduce.{name}')\n",
     "core.more -> anything"),
    ("rooms", "core/more.py", LATE + "import_module(f'weakreduce.hosts.{name}')\n",
     "core.more -> hosts"),
    ("rooms", "core/more.py", "NAME = 'weakreduce.hosts.' + name\n", "core.more -> hosts"),
    ("rooms", "core/more.py", "NAME = 'weakreduce.%s' % name\n", "core.more -> anything"),
    ("rooms", "core/more.py", "NAMES = {'dill': 'weakreduce.hosts.dill'}\n",
     "core.more -> hosts.dill"),
    ("rooms", "core/more.py", "NAMES = {'dill': 'hosts.dill'}\n", "core.more -> hosts.dill"),
    ("rooms", "report/more.py", "from weakreduce.engines import ray\n",
     "report.more -> engines.ray"),
    ("rooms", "engines/more.py", "from weakreduce.report import trace\n",
     "engines.more -> report.trace"),
    ("rooms", "hosts/more.py", "from weakreduce import registry\n", "hosts.more -> registry"),
    ("rooms", "wire.py", "from weakreduce.core import walk\n", "wire -> core.walk"),
    ("circles", "paths/search.py", TYPING + "from weakreduce.paths import steps\n",
     "paths.search"),
    ("circles", "paths/search.py", "import importlib\n" + LATE
     + "importlib.import_module('weakreduce.core.walk')\n",
     "core.walk"),
    ("circles", "paths/search.py", "NAME = 'weakreduce.paths.steps'\n",
     "paths.search"),
    ("circles", "core/__init__.py", "from weakreduce.hosts import dill\n",
     "hosts.dill"),
    ("foreign", "core/more.py", LATE + "import dill._dill\n", "core.more -> dill"),
    ("foreign", "paths/more.py", TYPING + "from numpy.core import a\n", "paths.more -> numpy"),
    ("foreign", "wire.py", LATE + "importlib.import_module('ray')\n", "wire -> ray"),
    ("public_names", "dump.py", "", "dump"),
    ("public_names", "core/policy.py", "", "core.policy"),
    ("public_names", "policy/more.py", "", "policy"),
    ("files", "core/more.py", long(401, "import gc", "import gc"), "core/more.py"),
    ("functions", "core/more.py", long(71, "def run():"), "core/more.py: run"),
    ("functions", "core/more.py", "@cache\n" + long(70, "async def run():"), "core/more.py: run"),
    ("functions", "core/more.py", "class A:\n" + long(71, "    def run():", "        a = 1"),
     "core/more.py: A.run"),
    ("classes", "core/more.py", long(251, "class Session:"), "core/more.py: Session"),
    ("hooks", "core/more.py", LATE + "walk.decide = other\n", "core/more.py: walk.decide"),
    ("hooks", "core/more.py", LATE + "a = walk.override = b\n", "core/more.py: walk.override"),
    ("hooks", "core/more.py", LATE + "walk.a, walk.decide = 1, b\n", "core/more.py: walk.decide"),
    ("hooks", "core/more.py", LATE + "def ours(): ...\n    walk.place.end = ours\n",
     "core/more.py: walk.place.end"),
    ("hooks", "core/more.py", "def ours(): ...\n" + LATE + "walk.end = ours\n",
     "core/more.py: walk.end"),
    ("hooks", "core/more.py", LATE + "walk.end = lambda: None\n", "core/more.py: walk.end"),
    ("hooks", "core/more.py", LATE + "walk.end = functools.partial(ours, 1)\n",
     "core/more.py: walk.end"),
    ("hooks", "core/more.py", LATE + "setattr(walk, 'decide', ours)\n",
     "core/more.py: walk.decide"),
    ("hooks", "core/more.py", LATE + "object.__setattr__(walk, 'decide', ours)\n",
     "core/more.py: walk.decide"),
    ("hooks", "core/more.py", LATE + "del loader.exec_module\n",
     "core/more.py: loader.exec_module"),
    ("hooks", "core/more.py", LATE + "vars(walk)['override'] = ours\n",
     "core/more.py: walk.override"),
    ("hooks", "core/more.py", LATE + "walk.__dict__['override'] = ours\n",
     "core/more.py: walk.override"),
    ("hooks", "core/more.py", LATE + "walk.begin = ours  # type: ignore[method-assign]\n",
     "core/more.py: walk.begin"),
    ("hooks", "core/more.py", "class Walk:\n    def see(self): ...\n"
     "    def watch(self, watched):\n        self.see = watched\n", "core/more.py: self.see"),
    ("locks", "core/more.py", "import threading\nturn = threading.RLock()\n",
     "core/more.py: RLock"),
    ("locks", "core/more.py", "from functools import cached_property as once\n",
     "core/more.py: cached_property"),
    ("types", "core/types.py", "def run(a: Any, *b: typing.Any, c: int): ...\n",
     "more than 10% of them"),
]  # fmt: skip


def test_good_packages_are_good(tmp_path: Path) -> None:
    package = made(tmp_path, GOOD)
    assert {name: rule(package) for name, rule in house.RULES.items()} == dict.fromkeys(
        house.RULES, set()
    )


@pytest.mark.parametrize(("rule", "name", "text", "said"), BAD)
def test_each_rule_can_be_broken(
    tmp_path: Path, rule: str, name: str, text: str, said: str
) -> None:
    assert said in house.RULES[rule](made(tmp_path, {**GOOD, name: text}))


def chain(rooms: int, first: str = "") -> dict[str, str]:
    """Files beside the folders, each of which imports the next."""
    files = {f"room{n}.py": f"from weakreduce import room{n + 1}\n" for n in range(1, rooms)}
    return {**files, f"room{rooms}.py": first}


def test_rooms_do_not_stand_too_high(tmp_path: Path) -> None:
    assert house.count_floors(made(tmp_path / "nine", chain(9))) == 9
    assert not house.floors(made(tmp_path / "nine", {}))
    assert house.floors(made(tmp_path / "ten", chain(10))) == {"more than 9 floors"}
    # A file in a folder counts with its folder; a circle is as high as what is in it.
    folder = {"room1/a.py": "from weakreduce.room1 import b\n",
              "room1/b.py": "from weakreduce.room2 import c\n",
              "room2/c.py": ""}  # fmt: skip
    assert house.count_floors(made(tmp_path / "folders", folder)) == 2
    circle = chain(4, LATE + "import weakreduce.room2\n")
    assert house.count_floors(made(tmp_path / "circle", circle)) == 4
    assert house.circles(made(tmp_path / "circle", {})) == {"room2", "room3", "room4"}
