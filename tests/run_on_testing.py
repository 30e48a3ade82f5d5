"""The tests on Python 3.14 and 3.15, in a folder with Debian's testing suite: a script, for root.

    python tests/run_on_testing.py                  # the core's tests on each
    python tests/run_on_testing.py --all            # every test whose packages have a release there
    python tests/run_on_testing.py --python 3.15 -- tests/core/test_table.py -x

On a Debian (or Ubuntu) machine with debootstrap, unshare and network. The folder (``--folder``, 330
MB and what pip installs) is made once and kept: a second run begins with the tests. Everything
runs in namespaces of its own, so mounts and processes end with it, however it ends.

The tests of the core, of paths and of hosts need cloudpickle, dill and what runs them, and nothing
else, but for some of the hosts' that `gaps.py` leaves out. ``--all`` installs the test extra
requirement by requirement, and names those that have no release for that Python. ``--install`` does
that in an environment that is there: for tox, where one pip would install all or nothing.

The exit status is 1 if a test failed. Where no Python is to be had (no root, no network, no time
within ``--limit``) it is 2, or with ``--if-possible`` 0; one line says why.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.14", "3.15")
#: The core's tests, those that a new Python is most likely to fail first.
CORES_TESTS = ("tests/core", "tests/trouble", "tests/paths", "tests/hosts")
#: What they need.
CORE = ("cloudpickle", "dill", "pytest", "hypothesis", "pytest-timeout")
#: Of the system's: what vispy loads, and what the tests of the contributing page run.
SYSTEM = ("libfontconfig1", "libgl1", "libgles2", "git")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
#: What names of a host and of its network's own certificates the folder is given.
COPIED = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
#: Files of pip's that belong to the user.
PIPS = (".config/pip/pip.conf", ".pip/pip.conf")
#: Minutes for which a requirement may be looked for and installed.
PATIENCE = 10


class NotPossibleError(Exception):
    """No new Python is to be had here."""


class Deadline:
    """Until when everything has to be done."""

    def __init__(self, seconds: float | None) -> None:
        self.end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds, or None where there is no end."""
        if self.end is None:
            return None
        return max(self.end - time.monotonic(), 1)


def mirror() -> str:
    """The archive of Debian that apt is set up with."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    sites = [site.rstrip("/") for site in told.stdout.split()]
    found = next((site for site in sites if site.endswith("/debian")), None)
    if found is None:
        raise NotPossibleError("apt names no archive of Debian")
    return found


def isolated(command: list[str]) -> list[str]:
    """A command whose mounts and processes end with it."""
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *command]


def run(what: str, command: list[str], deadline: Deadline, **keywords: object) -> None:
    """Run a command that has to succeed.

    Raises:
        NotPossibleError: where it does not.
    """
    try:
        done = subprocess.run(  # type: ignore[call-overload]
            command, timeout=deadline.left(), capture_output=True, text=True, **keywords
        )
    except subprocess.TimeoutExpired as error:
        raise NotPossibleError(f"there was no time for {what}") from error
    except OSError as error:
        raise NotPossibleError(f"{what}: {error}") from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "ERROR:"))]
        raise NotPossibleError(f"{what} failed ({' '.join((errors or lines or ['?'])[-1:])})")


def make_folder(folder: Path, deadline: Deadline) -> None:
    """Make the folder, unless it is there."""
    if (folder / "usr/bin/python3.14").exists():
        return
    if os.geteuid() != 0:
        raise NotPossibleError("only root may make a folder of Debian's testing suite")
    for tool in ("debootstrap", "unshare", "chroot"):
        if shutil.which(tool) is None:
            raise NotPossibleError(f"{tool} is not installed")
    # Under another name until it is whole: one that was broken off is made from anew.
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    packages = [*(f"python{version}-venv" for version in PYTHONS), "ca-certificates", *SYSTEM]
    keyring = [f"--keyring={KEYRING}"] * os.path.exists(KEYRING)
    run(
        "debootstrap",
        isolated(
            ["debootstrap", "--variant=minbase", *keyring, f"--include={','.join(packages)}",
             "testing", str(partial), mirror()]
        ),
        deadline,
    )  # fmt: skip
    partial.rename(folder)


def prepare(folder: Path) -> None:
    """Give the folder what it takes to reach the same network as this machine."""
    home = Path.home()
    for source in (Path(name) for name in (*COPIED, *(str(home / name) for name in PIPS))):
        if source.exists():
            inside = Path("/root", source.relative_to(home)) if home in source.parents else source
            target = folder / inside.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
    for place in ("repo", "venv"):
        (folder / place).mkdir(exist_ok=True)


def inside(folder: Path, command: str) -> list[str]:
    """A shell's command inside of the folder, with this checkout at ``/repo``."""
    mounts = (
        f'mount -t proc proc "{folder}/proc" && mount --rbind /dev "{folder}/dev" && '
        f'mount --bind "{ROOT}" "{folder}/repo"'
    )
    keep = ("PATH", "TERM", "LANG", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY",
            "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")  # fmt: skip
    kept = [f"{name}={os.environ[name]}" for name in keep if name in os.environ]
    certificates = COPIED[-1]
    environment = [
        *kept, "HOME=/root", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1",
        "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_ROOT_USER_ACTION=ignore",
        f"SSL_CERT_FILE={certificates}", f"PIP_CERT={certificates}",
    ]  # fmt: skip
    chroot = [
        "chroot",
        str(folder),
        "env",
        "-i",
        *environment,
        "sh",
        "-c",
        f"cd /repo && {command}",
    ]
    return isolated(["sh", "-c", f'{mounts} && exec "$@"', "sh", *chroot])


def requirements(all_of_them: bool) -> list[str]:
    """What the tests need, each as pip takes it."""
    if not all_of_them:
        return list(CORE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def needs_of(extra: str) -> Iterator[str]:
        for need in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[(.*)\]", need)
            if own is None:
                yield need
            else:
                for name in own[1].split(","):
                    yield from needs_of(name)

    return list(dict.fromkeys([*CORE, *needs_of("test")]))


def install_here() -> None:
    """Install what there is of the test extra where this script runs; name what there is not."""
    for need in requirements(True):
        command = [sys.executable, "-m", "pip", "install", "-q", "--prefer-binary", need]
        try:
            run(need, command, Deadline(60 * PATIENCE))
        except NotPossibleError as error:
            print(f"without {need}: {error}", flush=True)


def make_environment(folder: Path, version: str, all_of_them: bool, deadline: Deadline) -> str:
    """Make a virtual environment for the tests inside the folder, unless it is there."""
    venv = f"/venv/{'all' if all_of_them else 'core'}-{version}"
    needed = requirements(all_of_them)
    made = folder / venv.lstrip("/") / "made-for"
    if made.exists() and made.read_text() == "\n".join(needed):
        return venv
    what = f"a virtual environment of Python {version}"
    run(what, inside(folder, f"python{version} -m venv --clear {venv}"), deadline)
    pip = f"{venv}/bin/pip install -q --prefer-binary"
    run(what, inside(folder, f"{pip} {' '.join(CORE)} && {pip} --no-deps -e /repo"), deadline)
    for need in needed[len(CORE) :]:
        try:
            short = Deadline(min(60 * PATIENCE, deadline.left() or 60 * PATIENCE))
            run(need, inside(folder, f"{pip} {shlex.quote(need)}"), short)
        except NotPossibleError as error:
            print(f"Python {version}: without {need}: {error}", flush=True)
    made.write_text("\n".join(needed))
    return venv


def on_this_machine(version: str, deadline: Deadline) -> list[str] | None:
    """What runs the core's tests with a new Python that is installed here; None if there is none.

    Raises:
        NotPossibleError: where its environment cannot be made.
    """
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-V"], capture_output=True).returncode:
        return None
    venv = Path.home() / f".cache/weakreduce/core-{version}"
    if not (venv / "made").exists():
        what = f"a virtual environment of Python {version}"
        run(what, [python, "-m", "venv", "--clear", str(venv)], deadline)
        run(what, [str(venv / "bin/pip"), "install", "-q", *CORE], deadline)
        (venv / "made").touch()
    pip = [str(venv / "bin/pip"), "install", "-q", "--no-deps", "-e", str(ROOT)]
    run("installing weakreduce", pip, deadline)
    return [str(venv / "bin/python"), "-m", "pytest", "-p", "no:cacheprovider", "-q"]


def test(version: str, options: argparse.Namespace, deadline: Deadline) -> int:
    """Run the tests on one Python; pytest's exit status."""
    arguments = options.pytest or (["tests"] if options.all else [*CORES_TESTS])
    command = None if options.all else on_this_machine(version, deadline)
    if command is not None:
        command += arguments
    else:
        folder = options.folder.resolve()
        make_folder(folder, deadline)
        prepare(folder)
        venv = make_environment(folder, version, options.all, deadline)
        quoted = shlex.join(arguments)
        command = inside(folder, f"{venv}/bin/python -m pytest -p no:cacheprovider -q {quoted}")
    try:
        return subprocess.run(command, timeout=deadline.left(), cwd=ROOT).returncode
    except subprocess.TimeoutExpired as error:
        raise NotPossibleError("there was no time to finish the tests") from error


def main() -> int:
    """Run the tests on each Python that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=list(PYTHONS))
    parser.add_argument("--newest", action="store_true", help="the newest that can be had alone")
    parser.add_argument("--all", action="store_true", help="the engines' tests, too")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/weakreduce/testing")
    parser.add_argument("--limit", type=float, help="seconds for everything")
    parser.add_argument("--if-possible", action="store_true", help="else say so, and succeed")
    parser.add_argument(
        "--install", action="store_true", help="no tests: into this environment, what there is"
    )
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    options = parser.parse_args()
    if options.install:
        install_here()
        return 0
    deadline = Deadline(options.limit)
    failed = False
    # What is installed here costs no time, so it comes before the folder of a newer one.
    installed = [version for version in reversed(PYTHONS) if shutil.which(f"python{version}")]
    versions = [*installed, PYTHONS[-1]][:1] if options.newest else options.python
    for version in versions:
        print(f"Python {version}:", flush=True)
        try:
            failed |= test(version, options, deadline) != 0
        except NotPossibleError as error:
            print(f"not tested on Python {version}: {error}", flush=True)
            if not options.if_possible:
                return 2
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
