"""Cases 36 to 45: the command line, in processes of its own where that matters."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.cli.app import COMMANDS
from tests.adversarial.walk import HOSTILE, commands, controls, prepare
from tests.cli.conftest import Done, Smf, Start, step_began

if sys.platform != "win32":
    import fcntl
    import pty
    import struct
    import termios

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes, signals and terminals")

#: Commands about a run -> what else they take.
ON_RUNS: dict[str, list[str]] = {
    "status": [],
    "events": [],
    "graph": [],
    "resume": [],
    "retry": [],
    "pause": [],
    "cancel": [],
    "approve": ["a"],
    "reject": ["a"],
    "signal": ["go"],
    "resolve": ["a", "--as", "failed"],
    "explain": ["a"],
}


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["--no-such-option"],
        *([name, "--no-such-option"] for name in COMMANDS),
        ["run", "good.toml", "--inputs", "{not json"],
        ["run", "good.toml", "--input", "novalue"],
        ["run", "good.toml", "--max-records", "0"],
        ["signal", "x", "go", "--payload", "{not json"],
        ["resolve", "x", "a", "--as", "completed", "--output", "{"],
    ],
    ids=" ".join,
)
def test_case_36_a_wrong_command_line(smf: Smf, run_of: Callable[..., str], arguments: list[str]) -> None:
    run_of("good.toml")
    done = smf(*arguments)

    assert (done.code, done.out) == (2, "")
    assert "error[usage" in done.err
    assert "Traceback" not in done.err


ODD_RUNS = ["absent", "' OR 1=1 --", "%", "_", "x" * 10_000, "", "a\x00b", "..", "*", "\x1b[2J", "NULL", "1"]


@pytest.mark.parametrize("name", ON_RUNS)
def test_case_37_a_run_that_is_not_there(smf: Smf, run_of: Callable[..., str], name: str) -> None:
    run_of("good.toml")
    before = smf("list", "--all", "--json").json
    for text in ODD_RUNS:
        done = smf(name, text, *ON_RUNS[name], "--json")
        assert (done.code, done.json["error"]["kind"]) == (4, "run.not_found"), text
        assert len(done.out) < 2000
    assert smf(name, "../../x", *ON_RUNS[name]).code == (3 if name == "graph" else 4)
    assert smf("list", "--all", "--json").json == before


@pytest.mark.parametrize("name", ON_RUNS)
def test_case_37_a_prefix_of_several(smf: Smf, run_of: Callable[..., str], name: str) -> None:
    runs = [run_of("good.toml", "--run-id", run) for run in ("same-1", "same-2")]
    done = smf(name, "same", *ON_RUNS[name], "--json")

    assert (done.code, done.json["error"]["kind"]) == (2, "usage.ambiguous")
    assert all(run in done.json["error"]["message"] for run in runs)


@posix
@pytest.mark.parametrize("arguments", [["run", "loud.toml"], ["events", "@last"], ["explain"], ["schema"], ["--help"]])
def test_case_38_a_reader_that_saw_enough(command: list[str], folder: Path, smf: Smf, arguments: list[str]) -> None:
    (folder / "loud.toml").write_text(
        'dsl = "1"\nname = "loud"\nsteps.a.run = ["seq", "20000"]\noutputs.o = "${{ steps.a.output.stdout }}"\n'
    )
    smf("run", "loud.toml")
    pipe = " ".join([*command, *arguments]) + ' | head -c1 > /dev/null; echo "${PIPESTATUS[0]}"'
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=60, check=True)

    assert int(done.stdout) in (0, 141)
    assert "Broken" not in done.stderr
    assert "Traceback" not in done.stderr
    assert smf("status", "@last", "--json").json["state"] == "completed"


#: Calls `smf` once per line of arguments, all in one process, for starting fifty takes a while.
WALK = """
import json, sys
from statemachine_flow.cli import main
codes = []
for arguments in json.loads(open(sys.argv[1]).read()):
    print("<<<next>>>", flush=True)
    codes.append(main(arguments))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
open(sys.argv[2], "w").write(json.dumps(codes))
"""


ODD_TERMINALS = [
    {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"COLUMNS": "0", "LINES": "0"},
    {"COLUMNS": "1", "FORCE_COLOR": "1"},
    {"COLUMNS": "-5", "TERM": ""},
    {"COLUMNS": "many", "TERM": "no-such-terminal"},
]


@posix
@pytest.mark.parametrize("env", ODD_TERMINALS, ids=lambda env: " ".join(f"{name}={env[name]}" for name in env))
def test_case_39_a_terminal_that_can_do_little(folder: Path, env: dict[str, str]) -> None:
    (folder / "odd.toml").write_text(
        'dsl = "1"\nname = "odd"\ndescription = "Größe 😀"\n'
        'steps.a = { run = ["printf", "😀 größer"], outputs = { o = "stdout" } }\n'
        'steps.b = { needs = ["a"], run = ["sh", "-c", "printf größer >&2; exit 3"] }\n'
    )
    lines = [["run", "odd.toml", "--run-id", "r"], ["status", "r"], ["events", "r"], ["list"], ["graph", "r"]]
    lines += [["plan", "odd.toml"], ["explain", "r", "b"]]
    (folder / "lines.json").write_text(json.dumps(lines))
    arguments = [sys.executable, "-c", WALK, "lines.json", "codes.json"]
    done = subprocess.run(arguments, env={**os.environ, **env}, capture_output=True, check=True, timeout=60)

    assert json.loads((folder / "codes.json").read_text()) == [1, 0, 0, 0, 0, 0, 0]
    assert b"Encod" not in done.stderr
    if "COLUMNS" not in env:
        assert (done.stdout + done.stderr).isascii()


@posix
def test_case_39_a_terminal_of_no_width(folder: Path, command: list[str]) -> None:
    """A pseudo-terminal that says it has no columns and no rows."""
    shown, code = at_terminal([*command, "run", "good.toml"], columns=0, rows=0)

    assert (code, "Traceback" in shown) == (0, False)
    assert "completed" in shown


def at_terminal(arguments: list[str], *, columns: int = 100, rows: int = 40) -> tuple[str, int]:
    """What a process shows at a terminal, and its exit code."""
    keys, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True) as it:
        os.close(theirs)
        shown = bytearray()
        while True:
            try:
                data = os.read(keys, 65536)
            except OSError:  # Linux says so when the other end is closed
                data = b""
            if not data:
                break
            shown += data
        os.close(keys)
        return shown.decode(errors="backslashreplace"), it.wait(timeout=60)


@posix
def test_case_40_every_command_at_a_terminal(folder: Path) -> None:
    """Hostile documents, names, outputs, paths and arguments: no control character of theirs reaches the terminal."""
    pytest.importorskip("rich")
    lines = commands(prepare(folder))
    (folder / "lines.json").write_text(json.dumps(lines))
    shown, code = at_terminal([sys.executable, "-c", WALK, "lines.json", "codes.json"])
    texts = shown.split("<<<next>>>")[1:]
    codes = json.loads((folder / "codes.json").read_text())
    said = dict(zip(map(" ".join, lines), texts, strict=True))

    assert (code, len(codes), 70 in codes) == (0, len(lines), False)
    assert {words: controls(text) for words, text in said.items() if controls(text)} == {}
    assert [words for words, text in said.items() if "Traceback" in text and "--debug" not in words] == []
    assert {arguments[0] for arguments in lines} >= set(COMMANDS)
    assert sum(r"\x1b]8;;" in text for text in texts) > 15  # it was there, and is shown as what it is


def test_case_40_every_command_in_a_pipe(folder: Path, smf: Smf) -> None:
    found = {}
    for arguments in commands(prepare(folder)):
        done = smf(*arguments)
        is_document = arguments[0] == "convert" or arguments[:2] == ["fmt", "-"]  # which stays as it is
        found[" ".join(arguments)] = controls(done.err if is_document else done.out + done.err)

    assert {words: hits for words, hits in found.items() if hits} == {}


def test_case_40_a_document_is_exact_in_a_pipe(process: Smf, folder: Path) -> None:
    text = 'dsl = "1"\nname = "x"\n\n# \u202e \x9b31m\n[steps.a]\nrun = ["true"]\n'
    (folder / "exact.toml").write_text(text)
    made = process("convert", "exact.toml", "-", "--to", "toml")

    assert "\u202e \x9b31m" in made.out


CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


@posix
@pytest.mark.parametrize("name", CODES)
def test_case_41_one_signal_pauses(start: Start, folder: Path, process: Smf, name: str) -> None:
    running = start("run", "sleeping.toml", "--run-id", "r1", "--grace", "50ms")
    with (folder / "began").open() as step:
        step.readline()
        running.send_signal(signal.Signals[name])
        out, err = running.communicate(timeout=60)
        step.read()  # which ends once nothing of the step is left
    status = process("status", "r1", "--json").json

    assert (running.returncode, out) == (CODES[name], "")
    assert err.endswith("go on with: smf resume r1\n")
    assert (status["state"], status["reason"], status["owner"]) == ("paused", f"stopped by {name}", None)


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_case_41_a_second_signal_leaves_at_once(start: Start, folder: Path, process: Smf, name: str) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1", "--grace", "1h")
    step_began(folder)
    running.send_signal(signal.Signals[name])
    assert running.stderr is not None
    while "once more to leave at once" not in running.stderr.readline():
        pass
    running.send_signal(signal.Signals[name])

    assert running.wait(timeout=60) == CODES[name]
    again = start("resume", "r1")
    step_began(folder)
    (folder / "gate").write_text("open")
    again.communicate(timeout=60)
    assert (again.returncode, process("status", "r1", "--json").json["state"]) == (0, "completed")


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_case_42_a_run_that_is_over_is_not_resumed(smf: Smf, run_of: Callable[..., str], state: str) -> None:
    run = run_of("good.toml" if state == "completed" else "bad.toml")
    if state == "cancelled":
        smf("cancel", run)
    before = smf("events", run, "--json").out
    done = smf("resume", run, "--json")

    assert (done.code, done.json["error"]["kind"]) == (5, "run.state")
    assert f"the run is {state}" in done.json["error"]["message"]
    assert smf("events", run, "--json").out == before


@posix
def test_case_42_a_run_that_runs_elsewhere_is_not_resumed(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    before = process("events", "r1", "--json").out
    done = process("resume", "r1", "--json")

    assert (done.code, done.json["error"]["kind"]) == (5, "run.owned")
    assert f"process {running.pid} on " in done.json["error"]["message"]
    assert process("events", "r1", "--json").out == before
    (folder / "gate").write_text("open")
    running.communicate(timeout=60)


@posix
def test_case_43_twice_is_once(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "sleeping.toml", "--run-id", "r1", "--grace", "50ms")
    with (folder / "began").open() as step:
        step.readline()
        first = process("pause", "r1", "--interrupt")
        running.communicate(timeout=60)
    again = process("pause", "r1")
    cancelled, already = process("cancel", "r1"), process("cancel", "r1")

    assert (first.code, again.code, cancelled.code, already.code) == (0, 0, 0, 0)
    assert "already paused" in again.err
    assert "already cancelled" in already.err


@pytest.mark.parametrize(
    ("document", "action"),
    [("good.toml", "pause"), ("good.toml", "cancel"), ("good.toml", "retry"), ("bad.toml", "pause")],
)
def test_case_43_what_the_state_does_not_allow(
    smf: Smf, run_of: Callable[..., str], document: str, action: str
) -> None:
    run = run_of(document)
    before = smf("events", run, "--json").out
    done = smf(action, run, "--json")

    assert (done.code, done.json["error"]["kind"]) == (5, "run.state")
    assert smf("events", run, "--json").out == before


INJECTED = ["x') OR '1'='1", "x' OR '1'='1", "%", "ba_", "bad' --", "", "BAD", "bad\x00", "bad; DROP TABLE runs"]


def test_case_44_filters(smf: Smf, run_of: Callable[..., str]) -> None:
    run_of("bad.toml")
    for text in INJECTED:
        assert smf("list", "--all", "--workflow", text, "--json").json == {"runs": []}
        for option in ("--state", "--limit", "--since"):
            assert smf("list", option, text or "x").code == 2
        for option in ("--filter", "--sort", "--order-by"):
            assert smf("list", option, text).code == 2
    assert len(smf("list", "--all", "--workflow", "bad", "--json").json["runs"]) == 1


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def test_case_45_every_command_in_json(folder: Path, smf: Smf) -> None:
    """One object, or for `events` one a line; errors included, which have the same keys always. ASCII, always."""
    place = prepare(folder)
    for arguments in commands(place):
        if arguments == ["--help"] or "--format" in arguments:
            continue
        done: Done = smf(*arguments, "--json")
        lines = done.out.splitlines() if arguments[0] == "events" else [done.out]
        assert done.out.isascii()
        for line in lines:
            data: Any = json.loads(line, parse_constant=refuse)
            assert isinstance(data, dict)
            if list(data) == ["error"]:
                assert list(data["error"]) == ["kind", "message", "path", "run", "step", "hint", "problems"]
        if "--debug" not in arguments and arguments[0] not in ("run", "resume", "retry"):
            assert controls(done.err) == []


@pytest.mark.parametrize("name", ["a\ud800", "a\x00", "\udcff", HOSTILE])
def test_case_45_names_that_are_no_text(smf: Smf, run_of: Callable[..., str], name: str) -> None:
    run_of("good.toml")
    for arguments in (
        ["status", name],
        ["run", name],
        ["run", "good.toml", "--input", f"{name}=1"],
        ["run", "good.toml", "--run-id", name],
        [name],
        ["list", f"--{name}"],
    ):
        done = smf(*arguments, "--json")
        assert done.out.isascii()
        assert re.fullmatch("[a-z_.]+", json.loads(done.out)["error"]["kind"])
        assert done.code in (2, 3, 4)
