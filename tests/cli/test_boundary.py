"""What gets in and out: wrong command lines, hostile data, readers that go away. Named after the adversarial cases."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from statemachine_flow.cli import app
from tests.cli.conftest import Smf

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes and devices")

#: All that could drive a terminal, and a step that says it in every way it can.
HOSTILE = "[/red][link=http://x]\x1b]8;;http://x\x07\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\r\x08\x00\x7f"
SHOUTING = """
import json
TEXT = json.loads({text!r})
def fail():
    raise ValueError(TEXT)
def succeed():
    return TEXT
"""


# --- 36: wrong command lines


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["--no-such-option"],
        ["run"],
        ["run", "good.toml", "--no-such-option"],
        ["run", "good.toml", "more.toml"],
        ["run", "good.toml", "--inputs", "{not json"],
        ["run", "good.toml", "--grace", "soon"],
        ["run", "good.toml", "--lease", "999ms"],
        ["recover", "--lease", "soon"],
        ["resume", "@last", "--max-abandoned", "-1"],
        ["retry", "@last", "--max-abandoned", "some"],
        ["rehearse", "good.toml", "--lease", "30s"],
        ["list", "--limit", "0"],
        ["list", "--limit", "many"],
        ["events", "@last", "--after", "-1"],
        ["cancel", "x", "--timeout", "nan"],
        ["graph", "good.toml", "--format", "png"],
        ["validate"],
    ],
)
def test_case_36_a_wrong_command_line_shows_the_usage_on_stderr(smf: Smf, arguments: list[str]) -> None:
    done = smf(*arguments)

    assert (done.code, done.out) == (2, "")
    assert "Usage: smf" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "1x", "", "10000-01-01", "9" * 400, "-1d", "2026-11-20T25:00"])
def test_a_wrong_time_is_a_usage_error(smf: Smf, text: str) -> None:
    done = smf("list", f"--since={text}")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[usage]: ")


# --- 37: names of runs

COMMANDS_ON_RUNS = ["status", "events", "graph", "resume", "retry", "pause", "cancel"]
#: Those that take more than a run -> the rest of what they take.
TELLING_COMMANDS = {"approve": ["a"], "reject": ["a"], "signal": ["go"], "resolve": ["a", "--as", "failed"]}


@pytest.mark.parametrize("name", [*COMMANDS_ON_RUNS, *TELLING_COMMANDS])
def test_case_37_a_run_that_is_not_there_is_not_found(smf: Smf, run_of: Callable[..., str], name: str) -> None:
    run_of("good.toml")
    for text in ("absent", "' OR 1=1 --", "%", "_", "x" * 10_000, "", "@first", "a\x00b", "..", "*"):
        done = smf(name, text, *TELLING_COMMANDS.get(name, []))

        assert (done.code, done.out) == (4, "")
        assert done.err.startswith("error[run.not_found]: no run ")
        assert len(done.err) < 400


@pytest.mark.parametrize("name", COMMANDS_ON_RUNS)
def test_case_37_paths_and_bytes_name_no_run(smf: Smf, run_of: Callable[..., str], name: str) -> None:
    run_of("good.toml")

    assert smf(name, "../../x").code == (3 if name == "graph" else 4)
    assert smf(name, "x\udcff").code == 2


@pytest.mark.parametrize("name", [*COMMANDS_ON_RUNS, *TELLING_COMMANDS])
def test_case_37_a_prefix_that_several_runs_share_lists_them(smf: Smf, run_of: Callable[..., str], name: str) -> None:
    runs = [run_of("good.toml", "--run-id", run) for run in ("same-1", "same-2")]
    done = smf(name, "same", *TELLING_COMMANDS.get(name, []), "--json")

    assert done.code == 2
    assert done.json["error"]["kind"] == "usage.ambiguous"
    assert all(run in done.json["error"]["message"] for run in runs)
    assert smf("status", "same-1").code == 0


def test_last_is_the_run_that_began_last(smf: Smf, run_of: Callable[..., str]) -> None:
    run_of("good.toml")
    last = run_of("bad.toml")

    assert smf("status", "@last", "--json").json["run"] == last


# --- 38: readers that go away


@posix
def test_case_38_a_reader_that_saw_enough_is_no_error(command: list[str], smf: Smf, folder: Path) -> None:
    steps = "\n".join(f's{n} = {{ run = "true" }}' for n in range(300))
    (folder / "wide.toml").write_text(f'dsl = "1"\nname = "wide"\n[steps]\n{steps}\n')
    smf("run", "wide.toml")
    for arguments in (["events", "@last"], ["events", "@last", "--json"], ["status", "@last"], ["graph", "wide.toml"]):
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            running.stdout.readline()
            running.stdout.close()
            err = running.stderr.read()

        assert (running.returncode, err) == (0, b"")


@posix
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["schema"], ["--version"]])
def test_case_38_nobody_reads_at_all(process: Smf, command: list[str], arguments: list[str]) -> None:
    command[:] = ["sh", "-c", 'sleep 0 | "$@" | true; echo done >&2', "sh", *command]
    done = process(*arguments)

    assert done.err == "done\n"


@posix
@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_case_38_closed_and_full_streams_leave_the_run_alone(
    process: Smf, command: list[str], smf: Smf, redirection: str
) -> None:
    python = list(command)
    command[:] = ["sh", "-c", f'exec "$@" {redirection}', "sh", *python]
    done = process("run", "good.toml", "--run-id", "r1")

    assert done.code == 0
    assert smf("status", "r1", "--json").json["state"] == "completed"


@posix
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_case_38_a_run_ends_as_it_would_whoever_listens(command: list[str], smf: Smf, stream: str) -> None:
    with subprocess.Popen(
        [*command, "run", "bad.toml", "--run-id", "r1", "--json"],
        stdout=subprocess.PIPE if stream == "stdout" else subprocess.DEVNULL,
        stderr=subprocess.PIPE if stream == "stderr" else subprocess.DEVNULL,
    ) as running:
        getattr(running, stream).close()

    assert running.returncode == 1
    assert smf("status", "r1", "--json").json["state"] == "failed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_outputs_that_cannot_be_written_are_an_error(process: Smf, command: list[str]) -> None:
    command[:] = ["sh", "-c", 'exec "$@" > /dev/full', "sh", *command]
    done = process("run", "good.toml")

    assert done.code == 2
    assert "error[usage.output]: cannot write to stdout: No space left on device" in done.err


# --- 39: streams that take little


def test_case_39_a_stream_that_takes_ascii_alone_gets_escapes(process: Smf, folder: Path) -> None:
    (folder / "doc.toml").write_text(
        'dsl = "1"\nname = "d"\n[steps]\na = { run = "true", when = "\'é☃\' != \'\'" }\n'
        'b = { run = "echo ☃; exit 1" }\n'
        'c = { needs = ["a"], run = "true" }\nd = { needs = ["a"], run = "true" }\n',
        encoding="utf-8",
    )
    small = {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    env = {**small, "COLUMNS": "0", "TERM": "dumb"}
    for arguments, code in [
        (["graph", "doc.toml"], 0),
        (["run", "doc.toml", "--run-id", "r1"], 1),
        (["status", "r1"], 0),
        (["list"], 0),
        (["events", "r1"], 0),
        (["status", "☃".encode().decode("ascii", "surrogateescape")], 2),
    ]:
        done = process(*arguments, env=env)

        assert (done.code, (done.out + done.err).isascii()) == (code, True)
        assert "UnicodeEncodeError" not in done.err
    assert "|- c" in process("graph", "doc.toml", env=env).out
    assert "├─ c" in process("graph", "doc.toml", env={"PYTHONIOENCODING": "utf-8"}).out


# --- 40: hostile data


def hostile_document(folder: Path) -> None:
    (folder / "loud.py").write_text(SHOUTING.format(text=json.dumps(HOSTILE)))
    text = json.dumps(HOSTILE.replace("\x00", "").replace("\x7f", "").replace("\x9b", ""))
    (folder / "loud.json").write_text(
        f"""{{"dsl": "1", "name": "loud", "description": {text}, "inputs": {{"s": {{"default": {text}}}}},
        "outputs": {{"o": "${{{{ steps.ok.output }}}}"}},
        "steps": {{"ok": {{"call": "loud:succeed"}}, "opt": {{"call": "loud:fail", "optional": true}},
        "last": {{"needs": ["ok"], "call": "loud:fail", "when": "inputs.s == inputs.s"}}}}}}"""
    )


def test_case_40_nothing_from_a_document_or_a_step_drives_the_terminal(process: Smf, folder: Path) -> None:
    hostile_document(folder)
    texts = []
    for arguments in (
        ["run", "loud.json", "--run-id", "r1"],
        ["list"],
        ["status", "r1"],
        ["events", "r1"],
        ["graph", "r1"],
        ["validate", f"no\x1b[2J{HOSTILE[:40]}.toml"],
        ["status", "\x1b]0;title\x07\u202e"],
        ["run", "loud.json", "--input", "\x1b[2J=1"],
        ["list", "--state", "\x1b[2J"],
        ["\x1b[2J"],
        ["run", "loud.json", "--debug", "--input", "\x1b[2J=1"],
        ["cancel", "r1", "--reason", HOSTILE.replace("\x00", "")],
        ["status", "r1"],
    ):
        done = process(*arguments)
        texts.append(done.out + done.err)

    for text in texts:
        assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) == []
    assert "[/red][link=http://x]\\x1b]8;;http://x\\x07" in texts[0]
    assert "\\u202egnp.exe" in texts[2]


# --- 42, 43: what a state does not allow


@pytest.mark.parametrize(
    ("document", "action", "state"),
    [
        ("good.toml", "resume", "completed"),
        ("good.toml", "retry", "completed"),
        ("good.toml", "pause", "completed"),
        ("good.toml", "cancel", "completed"),
        ("bad.toml", "resume", "failed"),
        ("bad.toml", "pause", "failed"),
        ("bad.toml", "resume", "cancelled"),
        ("bad.toml", "retry", "cancelled"),
        ("bad.toml", "pause", "cancelled"),
    ],
)
def test_case_42_43_what_the_state_does_not_allow_is_a_conflict(
    smf: Smf, run_of: Callable[..., str], document: str, action: str, state: str
) -> None:
    run = run_of(document)
    if state == "cancelled":
        smf("cancel", run)
    before = smf("status", run, "--json").json
    done = smf(action, run, "--json")

    assert (done.code, done.json["error"]["kind"]) == (5, "run.state")
    assert f"the run is {state}" in done.json["error"]["message"]
    assert smf("status", run, "--json").json == before


def test_case_43_cancelling_twice_changes_nothing(smf: Smf, run_of: Callable[..., str]) -> None:
    run = run_of("bad.toml")
    first, second = smf("cancel", run, "--reason", "no"), smf("cancel", run, "--reason", "other")

    assert (first.code, first.err) == (0, f"run {run} is cancelled\n")
    assert (second.code, second.err) == (0, f"run {run} is already cancelled\n")
    assert smf("status", run, "--json").json["reason"] == "no"


# --- 44: filters


def test_case_44_filters_are_values_and_never_more(smf: Smf, run_of: Callable[..., str]) -> None:
    run_of("bad.toml")

    assert smf("list", "--filter", "x') OR '1'='1").code == 2
    assert smf("list", "--sort", "id; DROP TABLE runs").code == 2
    assert smf("list", "--state", "x') OR '1'='1").code == 2
    for text in ("x' OR '1'='1", "%", "ba_", "bad' --", "", "BAD"):
        assert smf("list", "--all", "--workflow", text, "--json").json == {"runs": []}


# --- 45: JSON


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["--json"], 2, "usage"),
        (["no-such", "--json"], 2, "usage"),
        (["run", "--json"], 2, "usage"),
        (["run", "gone.toml", "--json"], 3, "definition.not_a_file"),
        (["run", "good.toml", "--input", "\x1b=1", "--json"], 3, "input.unknown"),
        (["run", "good.toml", "--input", "who\udcff=1", "--json"], 2, "usage"),
        (["run", "good.toml", "--run-id", "a b", "--json"], 2, "usage"),
        (["status", "x\x00\x9b", "--json"], 4, "run.not_found"),
        (["list", "--db", "gone.db", "--json"], 6, "store.io"),
        (["list", "--since", "\x9b", "--json"], 2, "usage"),
        (["graph", "gone.toml", "--json"], 3, "definition.not_a_file"),
    ],
)
def test_case_45_errors_are_one_object_with_the_same_keys(
    smf: Smf, run_of: Callable[..., str], arguments: list[str], code: int, kind: str
) -> None:
    run_of("good.toml")
    done = smf(*arguments)

    assert (done.code, done.err) == (code, "")
    assert list(done.json) == ["error"]
    assert list(done.json["error"]) == ["kind", "message", "path", "run", "step", "hint", "problems"]
    assert done.json["error"]["kind"] == kind
    assert done.out.isascii()


def test_case_45_every_value_of_a_step_is_valid_json(process: Smf, folder: Path) -> None:
    (folder / "odd.py").write_text(
        "import datetime, decimal\n"
        "def f():\n"
        "    return {'nan': float('nan'), 'inf': [float('-inf')], 'big': 10**6000, 'set': {2, 1}, 1: b'\\xff\\x00',\n"
        "            'day': datetime.date(2026, 1, 2), 'dec': decimal.Decimal('1.10'), 'nul': '\\0', 'zero': 0}\n"
    )
    (folder / "odd.toml").write_text(
        'dsl = "1"\nname = "odd"\nsteps.a.call = "odd:f"\noutputs.o = "${{ steps.a.output }}"\n'
    )

    def refuse(word: str) -> None:
        raise AssertionError(word)

    for arguments in (["run", "odd.toml", "--json"], ["status", "@last", "--json"], ["run", "odd.toml"]):
        done = process(*arguments)
        data = json.loads(done.out, parse_constant=refuse)
        value = data.get("outputs", data)["o"]

        assert done.out.isascii()
        assert (value["nan"], value["inf"], value["set"], value["zero"]) == ("nan", ["-inf"], [1, 2], 0)
        assert (value["day"], value["dec"], value["nul"]) == ("2026-01-02", "1.10", "\x00")
    for line in process("events", "@last", "--json").out.splitlines():
        json.loads(line, parse_constant=refuse)
    assert process("status", "@last").code == 0


# --- the last resort


@pytest.fixture
def broken_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with a bug."""

    @click.command("boom")
    @click.option("--json", "as_json", is_flag=True)
    @click.option("--debug", is_flag=True)
    def boom(*, as_json: bool, debug: bool) -> None:
        raise ZeroDivisionError("what\x1b[2J a bug")

    module = types.ModuleType("statemachine_flow.cli.commands.boom")
    module.command = boom  # type: ignore[attr-defined]  # a module made by hand
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(app.COMMANDS, "boom", "Break.")


@pytest.mark.usefixtures("broken_command")
def test_a_bug_is_one_line_with_a_request(smf: Smf) -> None:
    done = smf("boom")

    assert (done.code, done.out) == (70, "")
    assert done.err == (
        "error[internal]: ZeroDivisionError: what\\x1b[2J a bug - "
        "this is a bug: please report it, with what `--debug` shows\n"
    )
    assert smf("boom", "--json").json["error"]["kind"] == "internal"


@pytest.mark.usefixtures("broken_command")
@pytest.mark.parametrize("arguments", [("boom", "--debug"), ("--debug", "boom")])
def test_debug_shows_the_traceback(smf: Smf, arguments: tuple[str, ...]) -> None:
    done = smf(*arguments)

    assert done.code == 70
    assert "Traceback" in done.err
    assert "in boom" in done.err
    assert "\x1b" not in done.err


def test_no_traceback_without_debug(smf: Smf) -> None:
    assert "Traceback" not in smf("status", "gone").err
    assert "Traceback" in smf("status", "gone", "--debug").err


def test_a_store_that_is_something_else_is_left_alone(smf: Smf, folder: Path) -> None:
    (folder / "notes.db").write_text("these are my notes, not yours\n" * 100)
    for arguments in (["list"], ["status", "@last"], ["run", "good.toml"]):
        done = smf(*arguments, "--db", "notes.db")

        assert done.code == 6
        assert done.err.startswith("error[store.not_ours]: ")
    assert (folder / "notes.db").read_text() == "these are my notes, not yours\n" * 100


def test_reading_works_without_the_right_to_write(smf: Smf, run_of: Callable[..., Any], folder: Path) -> None:
    """Reading commands open the store without the means to write."""
    run = run_of("good.toml")
    database = (folder / ".smf" / "runs.db").read_bytes()
    for arguments in (["list", "--all"], ["status", run], ["events", run], ["graph", run]):
        assert smf(*arguments).code == 0
    assert (folder / ".smf" / "runs.db").read_bytes() == database
