"""Kill a code review in the middle, resume it, and show that nothing which had finished ran twice.

    python3 examples/demo.py

Takes about ten seconds, needs git and no network, and leaves nothing behind.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import statemachine_flow as smf

ROOT: Final = Path(__file__).resolve().parent.parent
WORKFLOW: Final = "examples/code_review.toml"
RUN_ID: Final = "demo"
#: The kill comes once so many steps have finished, at which moment checks are under way.
FINISHED: Final = 6
#: Checks rest after each file, so that each takes at least so many seconds, on however fast a machine.
LEAST_SECONDS: Final = 1.0
REPORT_LINES: Final = 25
AT_REST: Final = ("completed", "failed", "skipped")


def main() -> int:
    """Show it; return 0 if it went as it should."""
    if shutil.which("git") is None:
        sys.exit("demo: git is needed, and not on the PATH")
    with tempfile.TemporaryDirectory(prefix="smf-demo-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        repo = own_repository() or sample_repository(place / "repository")
        return show(place, repo)


def show(place: Path, repo: Path) -> int:
    """The demonstration, with its store and report in `place`."""
    store, report = place / "runs.db", place / "code-review.md"
    files = git(repo, "ls-tree", "-r", "-z", "HEAD").count("\0")
    inputs = {"repo": repo, "all_files": "true", "report": report, "pace": LEAST_SECONDS / files}
    start = ["run", WORKFLOW, "--run-id", RUN_ID, "--db", str(store)]
    start += [word for name, value in inputs.items() for word in ("--input", f"{name}={value}")]

    with smf.Engine(store) as engine:
        say(f"1. Review the {files} files of {repo}, and kill the process with SIGKILL in the middle.")
        ended = carry(start, lambda: is_far_enough(engine))
        if ended is not None:
            sys.exit(f"demo: the review ended with status {ended} before it could be killed")
        killed = Snapshot(engine)
        say(f"killed. The journal, at record {killed.run.seq}:")
        for state, steps in killed.by_state.items():
            print(f"   {state:<10} {', '.join(steps)}")

        say("2. Resume it in a new process. What had finished is kept; what was under way begins again.")
        ended = carry(["resume", RUN_ID, "--db", str(store)])
        resumed = Snapshot(engine)

    say("3. What the journal says about each step:")
    twice = compare(killed, resumed)
    run = resumed.run
    if ended or not run.ok or twice:
        say(f"This is not as it should be: exit status {ended}, run {run.state}, ran again: {twice or 'nothing'}.")
        return 1
    say("No step that had finished ran again.")

    say(f"4. The first {REPORT_LINES} lines of the report:")
    for line in report.read_text(encoding="utf-8").splitlines()[:REPORT_LINES]:
        print(f"   {line}".rstrip())
    say(f"Your own turn: smf run {WORKFLOW} --input repo=PATH; see examples/README.md")
    return 0


# --- the process that is killed


def carry(arguments: Sequence[str], is_time: Callable[[], bool] = lambda: False) -> int | None:
    """Run `smf` in a process of its own, showing what it says; kill it as soon as it is time.

    Returns:
        Its exit status; None if it was killed.
    """
    print(f"   $ {shlex.join(['smf', *arguments])}", flush=True)
    command = [sys.executable, "-m", "statemachine_flow", *arguments]
    environ = {**os.environ, "PYTHONUTF8": "1", "NO_COLOR": "1"}
    options: dict[str, Any] = {"cwd": ROOT, "env": environ, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options) as child:
        killed = False
        for line in child.stderr or ():  # a line comes after its record is safe in the journal
            print(f"   | {line}", end="", flush=True)
            if not killed and is_time():
                child.kill()
                killed = True
    return None if killed else child.returncode


def is_far_enough(engine: smf.Engine) -> bool:
    """Whether it is time for the kill."""
    try:
        return len(Snapshot(engine).by_state.get("completed", ())) >= FINISHED
    except smf.errors.NotFoundError:  # what was said came before the run began
        return False


# --- what the journal says


class Snapshot:
    """What the journal says at one moment."""

    def __init__(self, engine: smf.Engine) -> None:
        self.run = engine.get(RUN_ID)
        #: Step -> how many attempts have begun.
        self.attempts = Counter(event.step for event in engine.events(RUN_ID) if event.kind == "step.start")

    @property
    def by_state(self) -> dict[str, list[str]]:
        """State -> the steps that are in it."""
        found: dict[str, list[str]] = {}
        for step in self.run.steps.values():
            found.setdefault(str(step.state), []).append(step.id)
        return found


def compare(killed: Snapshot, resumed: Snapshot) -> list[str]:
    """Print a line per step; return those that had finished at the kill and ran again all the same."""
    twice = []
    print(
        f"   {'step':<14}{'at the kill':<13}{'in the end':<12}{'attempts before + after':<25}ran after it had finished?"
    )
    for name, step in killed.run.steps.items():
        before = killed.attempts[name]
        after = resumed.attempts[name] - before
        answer = "" if step.state not in AT_REST else "YES" if after else "no"
        if answer == "YES":
            twice.append(name)
        end = resumed.run.steps[name].state
        print(f"   {name:<14}{step.state!s:<13}{end!s:<12}{f'{before} + {after}':<25}{answer}".rstrip())
    return twice


# --- what is reviewed


def own_repository() -> Path | None:
    """This project's repository; None if this is no clone of it, such as an unpacked archive."""
    try:
        top = git(ROOT, "rev-parse", "--show-toplevel").strip()
        git(ROOT, "rev-parse", "--verify", "HEAD^{commit}")
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().splitlines()[0]
        say(f"{ROOT} cannot be reviewed as a git repository ({why}).")
        return None
    if not Path(top).samefile(ROOT):
        say(f"{ROOT} is not a repository of its own, but a part of {top}.")
        return None
    return ROOT


def sample_repository(path: Path) -> Path:
    """A small repository: the library as it is installed, in one commit."""
    say("A small one is made in a temporary folder: the library's own files, in one commit.")
    package = Path(smf.__file__).parent
    shutil.copytree(package, path / package.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    git(path, "init", "--quiet")
    git(path, "add", "--all")
    identity = ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgSign=false"]
    git(path, *identity, "commit", "--quiet", "--no-verify", "--message=The library's files")
    return path


def git(repo: Path, *arguments: str) -> str:
    """What a git command prints."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    options: dict[str, Any] = {"env": environ, "capture_output": True, "encoding": "utf-8", "errors": "replace"}
    return str(subprocess.run(["git", "-C", str(repo), *arguments], check=True, **options).stdout)


def say(text: str) -> None:
    """Talk to whoever watches."""
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal or a pipe, not a buffer
    sys.exit(main())
