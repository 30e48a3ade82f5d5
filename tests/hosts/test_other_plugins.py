"""Other plugins of pickle, and what libraries and the language make: foreign to us, and welcome.

`foreign.py` makes them, in processes of its own. Without a weak thing the host gives the bytes, or
the error, that it gives without weakreduce; with weak things in them, a bare interpreter loads what
it should. What subclasses of a Pickler do is in `test_picklers_of_others.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import foreign
import programs
import pytest
from circles_loaded import received

HOSTS = ["cloudpickle", "dill", "pickle"]
#: Cases in which a class by value holds the weak thing.
OF_CLASSES = {"instances_of_what_is_abstract", "instances_of_what_is_generic",
              "what_an_enum_looks_up", "classes_that_a_metaclass_keeps"}  # fmt: skip
#: Cases that dill itself loses: it writes type variables and enums of a script as names.
NOT_BY_DILL = {
    "in_classes_of_every_sort", "instances_of_what_is_generic", "of_members_of_enums",
    "what_an_enum_looks_up", "classes_that_a_metaclass_keeps", "of_an_alias",
}  # fmt: skip


def written(host: str, whose: str, folder: Path) -> dict[str, Any]:
    """What `foreign.py` wrote: with classes by value, where the host can write those."""
    program = ["-c", "import foreign, sys; foreign.main(*sys.argv[1:])"]
    script = program if host == "pickle" else [str(Path(foreign.__file__))]
    subprocess.run(
        [sys.executable, "-W", "ignore", *script, host, whose, str(folder)],
        check=True, timeout=300, env=programs.environment(WEAKREDUCE_INSTALL="1"),
    )  # fmt: skip
    return json.loads((folder / "expected.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("whose", ["first", "last"])
@pytest.mark.parametrize("host", HOSTS)
def test_what_others_make(host: str, whose: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Whether weakreduce is imported before the other plugins, or after them."""
    stock = written(host, "stock", tmp_path)[""]
    expected = written(host, whose, tmp_path)
    assert expected.pop("") == stock
    assert len(expected) >= 14
    left_out = {"pickle": OF_CLASSES, "dill": NOT_BY_DILL}.get(host, set())
    expected = {case: found for case, found in expected.items() if case not in left_out}
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(programs.FOLDERS))
    assert received(host, tmp_path) == []
