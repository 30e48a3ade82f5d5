"""The payloads of `circles.py`, written by one fresh interpreter and loaded by another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: Loads each payload in a forked child, as cloudpickle finds a class that it has loaded before.
RECEIVER = """
import gc, importlib, json, os, sys, weakref
host = importlib.import_module(sys.argv[1])
for label, (number, test) in json.load(open("expected.json")).items():
    child = os.fork()
    if child == 0:
        try:
            load = host.load(open(f"{number}.pickle", "rb"))
            gc.collect()
            found = eval(test, {"load": load, "weakref": weakref})
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found != [True]:
            print(label, found, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def payloads(
    host: str, folder: Path, script: str = "circles.py", warnings: str = "ignore"
) -> dict[str, Any]:
    subprocess.run(
        [sys.executable, "-W", warnings, str(HERE / script), host, str(folder)], check=True
    )
    return json.loads((folder / "expected.json").read_text())  # type: ignore[no-any-return]


def received(host: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RECEIVER, host],
        cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "WEAKREDUCE_INSTALL": "0"},
    )  # fmt: skip
    return done.stdout.splitlines()
