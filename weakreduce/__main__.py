"""``python -m weakreduce``: `demo`, `info`, `explain` and `inspect`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
from typing import Any


class _Stopped(Exception):  # noqa: N818 - an answer: what was asked for cannot be done
    """Ends a command with a message and exit status 2."""


def _print_table(found: dict[str, Any]) -> None:
    print(f"weakreduce {found['weakreduce']}, Python {found['python']}\n")
    fields = dict(found["policy"])
    print(f"policy: {fields.pop('name')}")
    for field, value in fields.items():
        print(f"  {field:<20} {value}")
    print(f"\n{'host':<30} {'state':<10} {'version':<12} self-test")
    for name, host in found["hosts"].items():
        print(f"{name:<30} {host['state']:<10} {host['version'] or '-':<12} {host['self_test']}")
    if found["hosts"]["pickle"]["not_reached"]:
        print(f"\nkeep pickle as it was: {', '.join(found['hosts']['pickle']['not_reached'])}")


def _info(chosen: argparse.Namespace) -> int:
    import weakreduce
    from weakreduce import selftest

    results = selftest.results()
    found = weakreduce.info()
    rules = [[repr(match), fate] for match, fate in found["policy"]["rules"]]
    found = {**found, "policy": {**found["policy"], "rules": rules}}
    for name, host in found["hosts"].items():
        host["self_test"] = results[name]
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        _print_table(found)
    return 1 if any(result.startswith("failed") for result in results.values()) else 0


def _imported(target: str) -> Any:
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise _Stopped(f"explain takes package.module:object, not {target!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise _Stopped(f"cannot import {module_name}: {type(error).__name__}: {error}") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise _Stopped(f"{module_name} has no {path}: {error}") from error
        except Exception as error:
            text = f"cannot get {path} of {module_name}: {type(error).__name__}: {error}"
            raise _Stopped(text) from error
    return found


def _unpickled(path: str, host: str) -> Any:
    from weakreduce import api

    print(f"loading {path}, which runs what it says; inspect does not", file=sys.stderr)
    try:
        with open(path, "rb") as file:
            return api.load(file, host=host)
    except Exception as error:
        raise _Stopped(f"cannot load {path}: {type(error).__name__}: {error}") from error


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _Stopped(f"cannot write {path}: {error}") from error


def _explain(chosen: argparse.Namespace) -> int:
    from weakreduce import trace
    from weakreduce.in_force import policy

    if (chosen.target is None) == (chosen.pickle is None):
        raise _Stopped("explain takes either package.module:object or --pickle FILE")
    try:
        policy(chosen.policy)
    except ValueError as error:
        raise _Stopped(str(error)) from error
    if chosen.pickle is None:
        obj = _imported(chosen.target)
    else:
        obj = _unpickled(chosen.pickle, chosen.host)
    report = trace.explain(obj, policy=chosen.policy, host=chosen.host)
    if chosen.html is not None:
        _write(chosen.html, report.to_html())
    if chosen.dot is not None:
        _write(chosen.dot, report.to_dot())
    print(report.to_json() if chosen.json else report)
    return 1 if report.errors else 0


def _inspect(chosen: argparse.Namespace) -> int:
    from weakreduce import payload

    try:
        found = payload.read(chosen.file)
    except payload.NotAPayload as error:
        raise _Stopped(f"{chosen.file}: {error}") from error
    except OSError as error:
        raise _Stopped(f"cannot read {chosen.file}: {error}") from error
    print(json.dumps(found.to_dict(), indent=2) if chosen.json else found)
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    from weakreduce import demo

    demo.main()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m weakreduce", description="Weak references that travel."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    command("demo", _demo, "send weak references to a worker process and back")
    info = command("info", _info, "show hosts, versions, the policy in force, and test each host")
    info.add_argument("--json", action="store_true", help="print JSON")
    explain = command("explain", _explain, "show what becomes of each weak edge of an object")
    explain.add_argument("target", nargs="?", metavar="package.module:object")
    explain.add_argument("--pickle", metavar="FILE", help="load the object from a pickle (runs it)")
    explain.add_argument("--policy", metavar="NAME", help="snapshot, dangle, strict or forbid")
    explain.add_argument("--host", default="cloudpickle", choices=("cloudpickle", "dill", "pickle"))
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.add_argument("--html", metavar="FILE", help="write a page")
    explain.add_argument("--dot", metavar="FILE", help="write a picture for Graphviz")
    inspect = command("inspect", _inspect, "show what weak things a pickle holds; runs nothing")
    inspect.add_argument("file", metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status.

    0: done. 1: what was asked about would not be sent, or a self-test failed. 2: the command
    cannot be carried out; a message on stderr says why.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    chosen = _parser().parse_args(arguments)
    try:
        status = int(chosen.run(chosen))
        sys.stdout.flush()
    except _Stopped as stopped:
        message = str(stopped)
    except OSError as error:
        # What is left in the buffer must not be tried again when the interpreter ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 2  # whoever read it has read enough
        message = f"cannot write: {error}"
    else:
        return status
    print(f"python -m weakreduce {chosen.command}: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
