#!/usr/bin/env python3
"""Set up this clone and run its tools: the one script between `git clone` and a result.

usage: python3 dev.py COMMAND [ARGUMENT ...]

  demo    run the example in examples/demo.py
  test    run the tests; arguments go to pytest, such as `-k name` or `-x`
  check   run all that CI runs; `--no-tests` leaves out the tests
  bench   run the measurements in benchmarks/; arguments go to benchmarks/run.py
  soak    run the long random and crash tests; arguments go to pytest

The first call makes `.venv` (with uv where it is installed, else with venv and pip), which takes about half a
minute; later calls reuse it until what it was made from changes. Only the standard library is needed.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python must be told, not shown a traceback
    sys.exit(f"dev.py: Python 3.11 or newer is needed, this is {sys.version.split()[0]}: {sys.executable}")

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

if sys.platform != "win32":
    import fcntl

ROOT = Path(__file__).resolve().parent
PACKAGE = "statemachine_flow"
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
#: Written last: a `.venv` without it, or with another text in it, is rebuilt.
STAMP = VENV / "dev-stamp"
LOCK = ROOT / ".cache" / "dev.lock"

PYTEST = [str(PYTHON), "-m", "pytest", "-q", "-n", "2"]
#: What each command runs; `check` is more than one command.
COMMANDS = {
    "demo": [str(PYTHON), "examples/demo.py"],
    "test": PYTEST,
    "check": [],
    "bench": [str(PYTHON), "benchmarks/run.py"],
    # Long by nature: what hangs in an ordinary test is at work here.
    "soak": [*PYTEST, "-m", "soak", "--timeout=7200", "-o", "faulthandler_timeout=0"],
}
#: What `check` runs first, one command each.
TOOLS = ("ruff format --check .", "ruff check --output-format=concise .", "mypy", "lint-imports --no-logo")
#: Files that a module of the package prints; `check` compares.
GENERATED = {"dsl/schema/v1.json": "compiler.schema", "dsl/lifecycle.md": "lifecycle_doc"}


def stamp() -> str:
    """Name what `.venv` is made from: the requirements, the Python, and this very folder."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    # The folder counts because a copied `.venv` would test the tree it was copied from.
    made_from = [
        pyproject["build-system"],
        pyproject["project"],
        constraints,
        sys.version_info[:2],
        str(ROOT),
    ]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def is_ready() -> bool:
    """Tell whether `.venv` is whole and made from what the tree asks for."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == stamp()


@contextmanager
def environment() -> Iterator[None]:
    """Make `.venv` if need be, and keep other calls from rebuilding it while this one uses it."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a") as lock:
        _lock(lock.fileno(), alone=False)
        while not is_ready():
            _lock(lock.fileno(), alone=True)
            if not is_ready():  # another call may have built it while this one waited
                _build(lock.fileno())
            _lock(lock.fileno(), alone=False)
        yield


def _lock(fd: int, *, alone: bool) -> None:
    if sys.platform == "win32":
        return  # Python has no such lock there: two first calls must not run at once
    mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("waiting for another dev.py in this folder")
        fcntl.flock(fd, mode)


def _build(lock: int) -> None:
    """Make `.venv` anew. Whatever interrupts this leaves no stamp, so the next call starts over."""
    _say("setting up .venv")
    made_from = stamp()
    for recipe in _recipes():
        STAMP.unlink(missing_ok=True)
        if VENV.exists():
            shutil.rmtree(VENV)
        # The installer holds the lock too: it outlives this script if that is killed, and the next call waits.
        if all(_run(command, lock) == 0 for command in recipe):
            STAMP.write_text(made_from, encoding="utf-8")
            return
    sys.exit("dev.py: the set-up failed, see above")


def _recipes() -> Iterator[tuple[list[str], list[str]]]:
    # Started from inside `.venv`, `sys.executable` is about to be removed.
    python = getattr(sys, "_base_executable", sys.executable)
    install = ["install", "--quiet", "-c", "constraints.txt", "-e", ".[dev]"]
    uv = shutil.which("uv")
    if uv:
        yield (
            [uv, "venv", "--quiet", "--python", python, str(VENV)],
            [uv, "pip", *install, "--python", str(PYTHON)],
        )
        _say("uv did not do it; trying venv and pip")
    if not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
        sys.exit(f"dev.py: {python} lacks venv or ensurepip (Debian: python3.{sys.version_info.minor}-venv)")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
    yield [python, "-m", "venv", str(VENV)], [*pip, *install]


def _environ() -> dict[str, str]:
    """The caller's environment with `.venv` switched on."""
    path = os.pathsep.join(filter(None, [str(BIN), os.environ.get("PATH", os.defpath)]))
    return {**os.environ, "PATH": path, "VIRTUAL_ENV": str(VENV)}


def _run(command: Sequence[str], *keep: int) -> int:
    """Run a command, its output shown and `keep` open in it; return its exit status as a shell counts it."""
    keep = () if os.name == "nt" else keep
    with subprocess.Popen(command, cwd=ROOT, env=_environ(), pass_fds=keep) as child:
        try:
            status = child.wait()
        except KeyboardInterrupt:
            child.wait()  # Ctrl-C reached the child as well: let it end in its own way
            raise
        except SystemExit:
            child.terminate()  # SIGTERM reached this script alone
            raise
    return status if status >= 0 else 128 - status


def _output(command: Sequence[str]) -> tuple[str, str]:
    """Run a command unseen; return what is wrong ("" if it succeeded) and what it printed."""
    how = partial(subprocess.run, cwd=ROOT, env=_environ(), stdin=subprocess.DEVNULL, capture_output=True)
    done = how(command, check=False, encoding="utf-8", errors="replace")
    said = f"{done.stdout}{done.stderr}" or f"exit status {done.returncode}"
    return said if done.returncode else "", done.stdout


def _say(text: str) -> None:
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def _check_tool(line: str) -> str:
    tool, *arguments = line.split()
    return _output([str(BIN / tool), *arguments])[0]


def wheel_problems(names: Sequence[str], needed: Sequence[str]) -> list[str]:
    """Say what keeps a wheel of these files from being one package, its metadata and all that is needed."""
    tops = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    strange = [f"the wheel puts {top!r} into site-packages" for top in sorted(tops - {PACKAGE})]
    return strange + [f"the wheel lacks {name}" for name in sorted(set(needed) - set(names))]


def _check_wheel() -> str:
    needed = [f"{PACKAGE}/__init__.py", f"{PACKAGE}/py.typed"]
    needed += [path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).rglob("*.sql")]
    with tempfile.TemporaryDirectory() as folder:
        wrong, _ = _output([str(PYTHON), "-m", "hatchling", "build", "-t", "wheel", "-d", folder])
        if wrong:
            return wrong
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return "\n".join(wheel_problems(archive.namelist(), needed))


def _check_generated() -> str:
    problems = []
    for name, module in GENERATED.items():
        path, printer = ROOT / name, f"{PACKAGE}.{module}"
        wrong, output = _output([str(PYTHON), "-X", "utf8", "-m", printer])
        if wrong:
            problems.append(f"{name}: {printer} failed: {wrong}")
        elif not path.exists() or path.read_text(encoding="utf-8") != output:
            problems.append(f"{name} is out of date; run: {PYTHON.relative_to(ROOT)} -m {printer} > {name}")
    return "\n".join(problems)


def check(arguments: list[str]) -> int:
    """Run every check, go on after a failure, and name at the end what failed."""
    checks: dict[str, Callable[[], str]] = {line.split(" -")[0]: partial(_check_tool, line) for line in TOOLS}
    checks |= {"wheel": _check_wheel, "generated files": _check_generated}
    if "--no-tests" not in arguments:
        checks["tests"] = lambda: "see above" if _run([*COMMANDS["test"], *arguments]) else ""
    failed = []
    for name, find_wrong in checks.items():
        began = time.monotonic()
        wrong = find_wrong()
        print(f"{'FAILED' if wrong else 'ok':<7} {name:<16} {time.monotonic() - began:6.1f} s", flush=True)
        if wrong:
            failed.append(name)
            print(wrong.rstrip(), flush=True)
    print(f"check: FAILED: {', '.join(failed)}" if failed else f"check: all {len(checks)} passed", flush=True)
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status of this script."""
    name = arguments[0] if arguments else ""
    if name in {"-h", "--help"}:
        print((__doc__ or "").rstrip())
        return 0
    if name not in COMMANDS:
        _say(f"no command {name!r}: there are {', '.join(COMMANDS)}; --help says more")
        return 2
    # Python's own handling of SIGTERM would leave the child running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with environment():
            return check(arguments[1:]) if name == "check" else _run([*COMMANDS[name], *arguments[1:]])
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        sys.exit(f"dev.py: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
