"""Cases 80 to 87: commands that misbehave, as steps of whole runs."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow import Engine, Run, load
from tests.cli.conftest import Smf, Start, step_began

if sys.platform == "win32":
    pytest.skip("commands need POSIX process groups", allow_module_level=True)


def perform(folder: Path, run: Any, options: Mapping[str, Any] | None = None, **step: Any) -> Run:
    """A run of one command, as the store has it afterwards."""
    document = {"dsl": "1", "name": "x", "steps": {"a": {"run": run, "timeout": "60s", **step}}}
    with Engine(folder / "runs.db", grace=0.5, **(options or {})) as engine:
        engine.run(load(document), run_id="r")
    with Engine(folder / "runs.db") as engine:
        found = engine.get("r")
        assert all(step.state in ("completed", "failed") for step in found.steps.values())  # none is left running
        return found


def script(folder: Path, text: str, mode: int = 0o755) -> str:
    path = folder / "script"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


UNSTARTABLE: dict[str, Callable[[Path], list[str]]] = {
    "absent": lambda _: ["no-such-program-anywhere"],
    "absent path": lambda folder: [str(folder / "gone")],
    "not executable": lambda folder: [script(folder, "#!/bin/sh\n", 0o644)],
    "no interpreter": lambda folder: [script(folder, "#!/no/such/interpreter\n")],
    "ENOEXEC": lambda folder: [script(folder, "\x01\x02 this is no program")],
    "a folder": lambda folder: [str(folder)],
    "E2BIG": lambda _: ["true", "${{ inputs.big }}"],
    "NUL": lambda _: ["true", "${{ inputs.nul }}"],
}


@pytest.mark.parametrize("what", UNSTARTABLE)
def test_case_80_a_command_that_cannot_start(tmp_path: Path, what: str) -> None:
    document = {
        "dsl": "1",
        "name": "x",
        "inputs": {"big": {"default": ""}, "nul": {"default": ""}},
        "steps": {"a": {"run": UNSTARTABLE[what](tmp_path)}},
    }
    with Engine(tmp_path / "runs.db") as engine:
        run = engine.run(load(document), {"big": "x" * (4 << 20), "nul": "a\x00b"})
    error = run.steps["a"].error

    assert error is not None
    assert (run.state, run.steps["a"].state, error.kind) == ("failed", "failed", "step.spawn")
    assert len(error.message) < 5000


def test_case_80_a_folder_that_is_gone(tmp_path: Path) -> None:
    error = perform(tmp_path, ["true"], cwd=str(tmp_path / "gone")).steps["a"].error

    assert error is not None
    assert error.kind == "step.spawn"
    assert "gone" in error.message


@pytest.mark.parametrize(
    ("text", "status", "word"),
    [
        ("exit 1", 1, "status 1"),
        ("no-such-program-anywhere", 127, "status 127"),
        ("exit 137", 137, "137"),
        ("kill -KILL $$", 137, "SIGKILL"),
        ("kill -SEGV $$", 139, "SIGSEGV"),
        ("kill -ABRT $$", 134, "SIGABRT"),
        ("kill -TERM $$", 143, "SIGTERM"),
    ],
)
def test_case_81_only_0_is_a_success(tmp_path: Path, text: str, status: int, word: str) -> None:
    error = perform(tmp_path, f"ulimit -c 0; printf '%05000d' 7 >&2; {text}").steps["a"].error

    assert error is not None
    assert (error.kind, word in error.message) == ("step.exit", True), error.message
    assert "0000007" in error.message or status == 127  # the very end of it, but for what the shell says itself
    assert len(error.message) < 5000


def test_case_81_a_success_with_words_on_stderr(tmp_path: Path) -> None:
    run = perform(tmp_path, "echo careful >&2")

    assert (run.state, run.steps["a"].output["exit_code"], run.steps["a"].output["stderr"]) == (
        "completed",
        0,
        "careful\n",
    )


@pytest.mark.parametrize(
    "text", ["sleep 600 & echo done", "(trap '' TERM; sleep 600) & echo done", "nohup sleep 600 & echo done"]
)
def test_case_82_a_grandchild_that_holds_the_output(tmp_path: Path, text: str) -> None:
    """The result is there when the command has ended; `sleep` would outlast the test's own timeout."""
    run = perform(tmp_path, text)

    assert run.state == "completed"
    assert run.steps["a"].output["stdout"].startswith("done")


FLOODS = {
    "no line end": "head -c 300000000 /dev/zero | tr '\\0' x",
    "no UTF-8": "head -c 300000000 /dev/zero | tr '\\0' '\\377'",
    "escapes": "yes \"$(printf '\\033[2J')\" | head -c 300000000",
}


@pytest.mark.parametrize("what", FLOODS)
def test_case_83_a_flood(tmp_path: Path, what: str) -> None:
    """Most of 300 MB is counted and dropped: ten times as much would make no difference to memory."""
    (tmp_path / "before").mkdir()
    perform(tmp_path / "before", "head -c 70000000 /dev/zero")
    before = peak()
    output = perform(tmp_path, FLOODS[what]).steps["a"].output

    assert (output["stdout_truncated"], output["stdout_bytes"]) == (True, 300_000_000)
    assert len(output["stdout"].encode()) <= 3 << 20
    assert output.get("lossy", False) == (what == "no UTF-8")
    assert peak() - before < 16 << 20
    stored = sum(path.stat().st_size for path in tmp_path.glob("runs.db.blobs/**/*") if path.is_file())
    assert stored < 80_000_000  # the limit of what is kept of a stream, with what stands for bytes that are no text


def peak() -> int:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


@pytest.mark.parametrize(
    "text",
    ["trap '' TERM; echo up; while :; do sleep 0.1; done", "echo up; kill -STOP $$; sleep 600", "echo up; sleep 600"],
    ids=["deaf", "stopped", "plain"],
)
def test_case_84_a_command_that_does_not_end(tmp_path: Path, text: str) -> None:
    run = perform(tmp_path, text, timeout="500ms")
    error = run.steps["a"].error

    assert error is not None
    assert (run.state, error.kind) == ("failed", "step.timeout")


def test_case_84_a_child_that_left_the_group_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be found, but it still holds the output: that is said."""
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    open('pid', 'w').write(str(os.getpid()))\n"
        "    os.write(1, b'up')\n"
        "    time.sleep(600)\n"
        "while not os.path.exists('pid') or not open('pid').read(): time.sleep(0.01)\n"
    )
    run = perform(tmp_path, [sys.executable, "-c", code], cwd=str(tmp_path))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # which would raise if it were gone

    assert run.state == "completed"
    assert "a process left the step's group and still runs" in caplog.text


def test_case_86_a_command_that_asks(tmp_path: Path) -> None:
    """There is nothing to read and no terminal: it fails, or goes on, at once."""
    text = (
        'if read line; then echo "read <$line>"; else echo "nothing to read"; fi; '
        "if (: </dev/tty) 2>/dev/null; then echo terminal; else echo no terminal; fi; cat; tty || true"
    )
    assert perform(tmp_path, text).steps["a"].output["stdout"] == "nothing to read\nno terminal\nnot a tty\n"


def test_case_86_a_program_that_asks_for_a_password(tmp_path: Path) -> None:
    code = "import getpass, sys; sys.exit(0 if getpass.getpass() else 1)"
    error = perform(tmp_path, [sys.executable, "-W", "ignore", "-c", code]).steps["a"].error

    assert error is not None
    assert "EOF" in error.message


KEYS = {
    "OPENAI_API_KEY": "sk-canary-1",
    "ANTHROPIC_API_KEY": "sk-canary-2",
    "AWS_SECRET_ACCESS_KEY": "canary-3",
    "GITHUB_TOKEN": "canary-4",
    "SMF_TOKEN": "canary-5",
    "SSH_AUTH_SOCK": "/canary-6",
    "LD_PRELOAD_CANARY": "canary-7",
    "SMF_DASHBOARD_COOKIE": "canary-8",
}


def test_case_87_what_a_command_inherits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        run = perform(tmp_path, "env; ls /dev/fd 2>/dev/null | sort -n | head -4 | tr '\\n' ' '; ps -o args= -p $$")
    output = run.steps["a"].output["stdout"]

    assert "canary" not in output
    descriptors = output.split("\n")[-2].split()[:4]
    assert set(descriptors) <= {"0", "1", "2", "3"}, output  # 3 is that of `ls` itself


def test_case_87_what_is_listed_and_what_is_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listed variable is passed on; a secret comes in the environment alone, and a secret argument is refused."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    run = perform(
        tmp_path,
        'test "$GITHUB_TOKEN" = "canary-$((1 + 3))" && test "$SMF_TOKEN" = canary-5 && test -z "$OPENAI_API_KEY" '
        "&& echo yes",
        {"pass_env": ["SMF_TOKEN"]},
        secrets=["GITHUB_TOKEN"],
    )
    assert run.steps["a"].output["stdout"] == "yes\n"


def test_case_87_a_secret_is_no_argument(smf: Smf, folder: Path) -> None:
    for run in (["echo", "${{ secrets.GITHUB_TOKEN }}"], "echo ${{ secrets.GITHUB_TOKEN }}"):
        document = {"dsl": "1", "name": "x", "steps": {"a": {"run": run, "secrets": ["GITHUB_TOKEN"]}}}
        (folder / "case.json").write_text(json.dumps(document))
        done = smf("run", "case.json", "--json")
        assert (done.code, done.json["error"]["kind"]) == (3, "definition.secret")


def test_case_85_a_step_whose_engine_was_killed_is_begun_again(start: Start, folder: Path, process: Smf) -> None:
    """What became of the command itself, and of strangers with its pid, stands in the cases of ownership."""
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    running.kill()
    running.communicate(timeout=60)
    again = start("resume", "r1")
    step_began(folder)
    (folder / "gate").write_text("open")
    again.communicate(timeout=60)
    kinds = [json.loads(line)["kind"] for line in process("events", "r1", "--json").out.splitlines()]

    assert again.returncode == 0
    assert kinds[2:] == ["step.start", "step.interrupt", "step.start", "step.complete", "run.complete"]
