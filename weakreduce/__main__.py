"""``python -m weakreduce``: `demo`, `info`, `explain`, `explain-load` and `inspect`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from weakreduce.model.release import version
from weakreduce.model.texts import printable
from weakreduce.reading import machine
from weakreduce.report import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from weakreduce.api import OwnHost

    Command = Callable[[argparse.Namespace], int]


class _Stopped(Exception):  # noqa: N818 - an answer: what was asked for cannot be done
    """Ends a command with a message and exit status 2."""


def _print_table(found: dict[str, Any]) -> None:
    print(f"weakreduce {found['weakreduce']}, Python {found['python']}\n")
    fields = dict(found["policy"])
    print(f"policy: {fields.pop('name')}")
    for field, value in fields.items():
        print(f"  {field:<20} {printable(str(value))}")
    print(f"\n{'host':<30} {'state':<10} {'version':<12} self-test")
    for name, host in found["hosts"].items():
        tested = printable(host["self_test"])
        print(f"{name:<30} {host['state']:<10} {host['version'] or '-':<12} {tested}")
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


def _check_interpreter() -> None:
    """For the commands that write: a line, where weakreduce does not write."""
    from weakreduce.model.cpython import require_cpython
    from weakreduce.model.errors import WeakreduceError

    try:
        require_cpython()
    except WeakreduceError as error:
        raise _Stopped(str(error)) from error


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


def _unpickled(path: str, host: OwnHost) -> Any:
    from weakreduce import api

    text = f"loading {printable(path)}, which runs what it says; inspect does not"
    print(text, file=sys.stderr)
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
    from weakreduce.model.in_force import policy
    from weakreduce.report.explaining import explain
    from weakreduce.report.findings import KEEP

    if (chosen.target is None) == (chosen.pickle is None):
        raise _Stopped("explain takes either package.module:object or --pickle FILE")
    _check_interpreter()
    try:
        policy(chosen.policy)
    except ValueError as error:
        raise _Stopped(str(error)) from error
    if chosen.pickle is None:
        obj = _imported(chosen.target)
    else:
        obj = _unpickled(chosen.pickle, chosen.host)
    keep = max(KEEP, chosen.rows)
    report = explain(obj, policy=chosen.policy, host=chosen.host, keep=keep)
    if chosen.html is not None:
        _write(chosen.html, report.to_html())
    if chosen.dot is not None:
        _write(chosen.dot, report.to_dot())
    print(report.to_json() if chosen.json else report.table(rows=chosen.rows))
    return 1 if report.errors else 0


def _inspect(chosen: argparse.Namespace) -> int:
    from weakreduce.reading import payload

    found: list[payload.Contents] = []
    unread = False
    for path in chosen.files:
        try:
            found.append(payload.read(path, chosen.objects))
        except payload.NotAPayload as error:
            unread = _complain(chosen, f"{payload.shown(path)}: {error}")
        except (OSError, ValueError) as error:
            unread = _complain(chosen, f"cannot read {payload.shown(path)}: {error}")
    if chosen.json:
        listed = [contents.to_dict() for contents in found]
        if len(chosen.files) > 1:
            print(json.dumps(listed, indent=2))
        elif listed:
            print(json.dumps(listed[0], indent=2))
    elif found:
        print("\n\n".join(map(str, found)))
    if unread:
        return 2
    return 1 if any(contents.junk for contents in found) else 0


def _bytes_of(path: str) -> bytes:
    with contextlib.ExitStack() as files:
        source = files.enter_context(open(path, "rb")) if path != "-" else sys.stdin.buffer
        data: bytes = source.read()
        return data


def _explain_load(chosen: argparse.Namespace) -> int:
    from weakreduce.reading import loading, payload

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: list[loading.FileReport] = []
    unread = False
    for path in chosen.files:
        name = payload.shown(path)
        try:
            report = loading.of_file(_bytes_of(path), chosen.host)
        except payload.NotAPayload as error:
            unread = _complain(chosen, f"{name}: {error}")
            continue
        except OSError as error:
            unread = _complain(chosen, f"cannot read {name}: {error}")
            continue
        found.append(report)
        if not chosen.json:
            print(report if len(chosen.files) == 1 else f"{name}: {report}")
    if chosen.json:
        listed = [report.to_dict() for report in found]
        if len(chosen.files) > 1 or listed:
            print(json.dumps(listed if len(chosen.files) > 1 else listed[0], indent=2))
    if unread:
        return 2
    return 1 if any(each.report.error is not None for each in found) else 0


def _demo(chosen: argparse.Namespace) -> int:
    from weakreduce import demo

    _check_interpreter()
    demo.main()
    return 0


def _complain(chosen: argparse.Namespace, message: str) -> bool:
    """Say on stderr what cannot be done, in one line."""
    name = f" {chosen.command}" if chosen.command else ""
    print(f"python -m weakreduce{name}: {printable(message)}", file=sys.stderr)
    return True


class _Version(argparse.Action):
    """Prints the version, which is looked up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_rest: object, **_names: object) -> None:
        print(f"weakreduce {version()}")
        parser.exit()


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


_number.__name__ = "number"  # as argparse calls it
_STATUSES = """\
exit status: 0 if all is well; 1 if what was asked about would not be sent, or
does not load, if a self-test failed, or if junk follows a good pickle; 2 if
the command cannot be carried out (no command, a file that is no pickle):
stderr says why.
`python -m weakreduce COMMAND --help` has the options of a command.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m weakreduce",
        description="Weak references that travel.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")

    def command(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    command("demo", _demo, "send weak references to a worker process and back")
    info = command("info", _info, "show hosts, versions and the policy, and test each host")
    info.add_argument("--json", action="store_true", help="print JSON")
    explain = command("explain", _explain, "show what becomes of each weak edge of an object")
    explain.add_argument("target", nargs="?", metavar="package.module:object")
    explain.add_argument("--pickle", metavar="FILE", help="load the object from a pickle (runs it)")
    explain.add_argument("--policy", metavar="NAME", help="snapshot, dangle, strict or forbid")
    explain.add_argument("--host", default="cloudpickle", choices=("cloudpickle", "dill", "pickle"))
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.add_argument(
        "--rows", metavar="N", type=_number, default=table.ROWS,
        help="how many weak edges are shown at most (50)",
    )  # fmt: skip
    explain.add_argument("--html", metavar="FILE", help="write a page")
    explain.add_argument("--dot", metavar="FILE", help="write a picture for Graphviz")
    text = "load a pickle, which RUNS it, and show where that fails"
    load = command("explain-load", _explain_load, text)
    load.add_argument(
        "files", metavar="FILE", nargs="+", help="files (they are run); - is standard input"
    )
    load.add_argument("--host", default="cloudpickle", choices=("cloudpickle", "dill", "pickle"))
    load.add_argument("--json", action="store_true", help="print JSON")
    inspect = command("inspect", _inspect, "show what weak things a pickle holds; runs nothing")
    inspect.add_argument("files", metavar="FILE", nargs="+", help="files; - is standard input")
    inspect.add_argument(
        "--objects", metavar="N", type=_number, default=machine.OBJECTS,
        help="how many objects of each pickle are kept in mind at most (300,000)",
    )  # fmt: skip
    inspect.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command, or list them all where none is given; the exit status.

    0: done. 1: what was asked about would not be sent, or does not load, a self-test failed, or
    junk follows a good pickle. 2: the command cannot be carried out; a message on stderr says why.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command is None:
            parser.print_help(sys.stderr)
            return 2
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
    _complain(chosen, message)
    return 2


if __name__ == "__main__":
    sys.exit(main())
