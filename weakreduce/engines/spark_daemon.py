"""PySpark's daemon, with weakreduce in it: for workers that no weak thing has reached yet.

``spark.python.daemon.module`` names this module; Spark runs it with ``python -m``, which imports
weakreduce first, and so readies the process. Every worker is forked from it.
"""

from __future__ import annotations

from typing import Any


def main() -> None:
    """Run what Spark would run."""
    from pyspark import daemon

    run: Any = daemon.manager
    run()


if __name__ == "__main__":
    main()
