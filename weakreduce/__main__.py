"""``python -m weakreduce``: `demo` and `info`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def _plain_info() -> dict[str, Any]:
    import weakreduce

    found = weakreduce.info()
    rules = [[repr(match), fate] for match, fate in found["policy"]["rules"]]
    return {**found, "policy": {**found["policy"], "rules": rules}}


def _print_table(found: dict[str, Any]) -> None:
    print(f"weakreduce {found['weakreduce']}, Python {found['python']}\n")
    fields = dict(found["policy"])
    print(f"policy: {fields.pop('name')}")
    for field, value in fields.items():
        print(f"  {field:<20} {value}")
    print(f"\n{'host':<30} {'state':<10} version")
    for name, host in found["hosts"].items():
        print(f"{name:<30} {host['state']:<10} {host['version'] or '-'}")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m weakreduce", description="Weak references that travel."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("demo", help="send weak references to a worker process and back")
    info = commands.add_parser("info", help="show hosts, versions, states and the policy in force")
    info.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    if chosen.command == "demo":
        from weakreduce import demo

        demo.main()
    elif chosen.json:
        print(json.dumps(_plain_info(), indent=2))
    else:
        _print_table(_plain_info())
    return 0


if __name__ == "__main__":
    sys.exit(main())
