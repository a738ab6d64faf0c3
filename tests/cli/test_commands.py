"""What each command does when all goes well, and the errors of its own."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from statemachine_flow.cli.app import COMMANDS, main
from statemachine_flow.cli.exits import MEANINGS, Exit
from statemachine_flow.compiler.schema import json_schema
from statemachine_flow.lifecycle import RunState


def command_of(name: str) -> click.Command:
    found: click.Command = importlib.import_module(f"statemachine_flow.cli.commands.{name}").command
    return found


# --- every command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_debug_an_example_and_the_help_of_the_list(name: str, smf: Any) -> None:
    done = smf(name, "--help")

    assert (done.code, done.err) == (0, "")
    for part in ("--json", "--debug", "Example", f"  smf {name}"):
        assert part in done.out
    assert COMMANDS[name] == (command_of(name).help or "").partition("\n")[0]


def test_every_module_of_commands_is_a_command() -> None:
    folder = Path(importlib.import_module("statemachine_flow.cli.commands").__path__[0])

    assert {path.stem for path in folder.glob("[a-z]*.py")} == set(COMMANDS)


def test_help_lists_every_command_and_every_exit_code(smf: Any) -> None:
    done = smf("--help")

    assert done.code == 0
    for name, text in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", done.out, re.MULTILINE)
    for code, meaning in MEANINGS.items():
        assert re.search(rf"^ +{code:d}  {re.escape(meaning)}$", done.out, re.MULTILINE)
    assert set(MEANINGS) == set(Exit)


def test_version_needs_nothing_that_only_commands_need(process: Any, command: list[str], folder: Path) -> None:
    heavy = ["asyncio", "rich", "msgspec", "attrs", "statemachine_flow.engine", "statemachine_flow.compiler"]
    program = "import sys; from statemachine_flow.cli import main; main(['--version'])"
    command[1:] = ["-c", f"{program}; print([name for name in {heavy} if name in sys.modules])"]
    done = process()

    assert re.fullmatch(r"smf \d+\.\d+\.\d+\S*\n\[\]\n", done.out)


def test_the_shell_can_complete_commands_and_options(monkeypatch: pytest.MonkeyPatch, smf: Any) -> None:
    monkeypatch.setenv("_SMF_COMPLETE", "bash_complete")
    for words, wanted in [
        ("smf re", {"recover", "rehearse", "reject", "rerun", "resolve", "restore", "resume", "retry"}),
        ("smf resume --take", {"--take-over"}),
    ]:
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        done = smf()

        assert {line.partition(",")[2] for line in done.out.splitlines()} == wanted


# --- validate


def test_validate_names_the_workflow_its_steps_and_its_hash(smf: Any) -> None:
    done = smf("validate", "good.toml", "bad.toml")

    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(
        r"ok good \(1 step, hash [0-9a-f]{12}\) good.toml\nok bad \(3 steps, hash .*\) bad.toml\n", done.out
    )


def test_validate_shows_every_problem_with_its_line_a_caret_and_advice(smf: Any, folder: Path) -> None:
    (folder / "wrong.toml").write_text(
        'dsl = "1"\nname = "w"\n[steps]\na = { run = "true", timout = "30s" }\nb = { needs = ["c"], run = "true" }\n'
    )
    done = smf("validate", "wrong.toml", "good.toml")

    assert done.code == 3
    assert done.out.startswith("ok good")
    lines = done.err.splitlines()
    first = next(index for index, line in enumerate(lines) if "timout" in line)
    assert lines[first].startswith("wrong.toml:4:21: error[definition.unknown_field]: ")
    assert lines[first + 1 : first + 4] == [
        '4 | a = { run = "true", timout = "30s" }',
        "  |                     ^",
        "  = did you mean 'timeout'?",
    ]


def test_validate_with_json_is_one_object_about_all_files(smf: Any, folder: Path) -> None:
    (folder / "wrong.toml").write_text('dsl = "1"\nname = "w"\nsteps.a = { run = "true", timout = "30s" }\n')
    done = smf("validate", "good.toml", "wrong.toml", "gone.toml", "--json")
    good, wrong, gone = done.json["files"]

    assert (done.code, done.err, done.json["ok"]) == (3, "", False)
    assert (good["ok"], good["workflow"], good["steps"], good["problems"]) == (True, "good", 1, [])
    assert len(good["hash"]) == 64
    assert (wrong["ok"], wrong["workflow"], wrong["hash"], wrong["steps"]) == (False, None, None, None)
    problem = wrong["problems"][0]
    assert (problem["kind"], problem["file"], problem["line"]) == ("definition.unknown_field", "wrong.toml", 3)
    assert set(problem) == {"kind", "severity", "message", "path", "file", "line", "column", "hint"}
    assert gone["problems"][0]["kind"] == "definition.not_a_file"


def test_validate_imports_nothing(smf: Any, folder: Path) -> None:
    (folder / "trap.py").write_text("raise SystemExit('imported')")
    (folder / "doc.toml").write_text('dsl = "1"\nname = "d"\nsteps.a.call = "trap:f"\n')

    assert smf("validate", "doc.toml").code == 0


# --- run


def test_run_prints_outputs_as_data_and_the_rest_as_talk(smf: Any) -> None:
    done = smf("run", "good.toml", "--input", "who=Ada")
    lines = done.err.splitlines()

    assert (done.code, done.json) == (0, {"text": "hello Ada"})
    assert re.match(r"\d\d:\d\d:\d\d run \S+ of good created$", lines[0])
    assert [line.split(" ", 1)[1] for line in lines[1:2]] == ["greet started"]
    assert re.match(r"\d\d:\d\d:\d\d greet completed in \d+\.\d\d s$", lines[2])
    assert re.match(r"run \S+ completed: 1/1 steps in \d+\.\d\d s$", lines[3])


def test_run_with_json_is_one_object(smf: Any) -> None:
    done = smf("run", "good.toml", "--json", "--run-id", "mine")

    data = done.json
    assert done.code == 0
    assert data["steps"]["greet"].pop("seconds") >= 0
    assert data == {
        "run": "mine",
        "workflow": "good",
        "state": "completed",
        "outputs": {"text": "hello you"},
        "steps": {"greet": {"state": "completed", "attempt": 1, "error": None}},
        "error": None,
        "waiting": [],
    }


def test_a_failed_run_says_why_and_how_to_go_on(smf: Any, folder: Path) -> None:
    done = smf("run", "bad.toml", "--db", "my runs.db", "--run-id", "r1")

    assert (done.code, done.out) == (1, "")
    assert "run r1 failed: 1/3 steps (1 failed, 1 skipped)" in done.err
    assert "step 'breaks' failed" in done.err
    assert done.err.splitlines()[-1] == "go on with: smf retry r1 --db 'my runs.db'"


def test_progress_tells_attempts_backoff_and_skips(smf: Any, folder: Path) -> None:
    retry = '{ max_attempts = 2, delay = "1ms", jitter = "none" }'
    (folder / "again.toml").write_text(
        f'dsl = "1"\nname = "again"\n[steps]\nflaky = {{ run = "exit 1", retry = {retry} }}\n'
        'late = { needs = ["flaky"], run = "true" }\nextra = { run = "exit 1", optional = true }\n'
        'never = { run = "true", when = "1 > 2" }\n'
    )
    done = smf("run", "again.toml")
    lines = [line.partition(" ")[2] for line in done.err.splitlines()]

    assert "flaky started" in lines
    assert "flaky failed: CommandFailed: the shell command ended with status 1; next attempt in 0.00 s" in lines
    assert "flaky started (attempt 2)" in lines
    assert "late skipped: needs 'flaky', which is failed" in lines
    assert "never skipped: its condition is false" in lines
    assert "extra failed: CommandFailed: the shell command ended with status 1; the run goes on without it" in lines


def test_no_save_writes_nothing(smf: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMF_DB", str(folder / "env.db"))
    before = set(folder.iterdir())
    done = smf("run", "good.toml", "--no-save")

    assert (done.code, set(folder.iterdir())) == (0, before)


def test_a_step_finds_modules_beside_the_document_and_in_the_current_directory(process: Any, folder: Path) -> None:
    """And again when the run is retried from elsewhere; what a function prints is talk."""
    (folder / "flows").mkdir()
    (folder / "flows" / "beside.py").write_text("def f(): print('printed'); return open('flag').read()")
    (folder / "here.py").write_text("def g(): return 2")
    (folder / "flows" / "doc.toml").write_text(
        'dsl = "1"\nname = "d"\nsteps.a.call = "beside:f"\nsteps.b.call = "here:g"\n'
        'outputs.x = "${{ steps.a.output }}"\n'
    )
    first = process("run", "flows/doc.toml", "--json")
    (folder / "flag").write_text("up")
    second = process("retry", "@last", "--json")

    assert (first.code, first.json["steps"]["a"]["error"]["name"]) == (1, "FileNotFoundError")
    assert (second.code, second.json["outputs"]) == (0, {"x": "up"})
    assert "printed\n" in second.err


def test_allow_restricts_functions(process: Any, folder: Path) -> None:
    (folder / "kit.py").write_text("def f(): return 1")
    (folder / "doc.toml").write_text('dsl = "1"\nname = "d"\nsteps.a.call = "kit:f"\n')

    assert process("run", "doc.toml", "--allow", "other:*").code == 3
    assert process("run", "doc.toml", "--allow", "other:*", "--allow", "kit:*").code == 0


def test_pass_env_lets_commands_inherit(smf: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_ONE", "1")
    text = 'dsl = "1"\nname = "e"\nsteps.a = { run = "echo [$SECRET_ONE]", outputs = { o = "strip(stdout)" } }\n'
    (folder / "env.toml").write_text(text + 'outputs.o = "${{ steps.a.outputs.o }}"\n')

    assert smf("run", "env.toml").json == {"o": "[]"}
    assert smf("run", "env.toml", "--pass-env", "SECRET_*").json == {"o": "[1]"}


def test_starting_twice_under_one_id_runs_once(smf: Any) -> None:
    first = smf("run", "good.toml", "--run-id", "once", "--json")
    second = smf("run", "good.toml", "--run-id", "once", "--json")
    other = smf("run", "good.toml", "--run-id", "once", "--input", "who=Eve", "--json")

    assert first.json == second.json
    assert (other.code, other.json["error"]["kind"]) == (5, "run.conflict")


# --- inputs

TYPED = """
dsl = "1"
name = "typed"
inputs.s = { type = "string", default = "" }
inputs.i = { type = "integer", default = 0 }
inputs.n = { type = "number", default = 0 }
inputs.b = { type = "boolean", default = false }
inputs.a = { type = "array", default = [] }
inputs.o = { type = "object", default = {} }
steps.x = { run = "true" }
[outputs]
all = "${{ inputs }}"
"""


def test_inputs_are_typed_by_what_the_workflow_declares(smf: Any, folder: Path) -> None:
    (folder / "typed.toml").write_text(TYPED)
    pairs = ["s=5", "i=5", "n=2.5", "b=true", "a=[1]", 'o={"k": null}']
    done = smf("run", "typed.toml", *(part for pair in pairs for part in ("--input", pair)))

    assert done.json["all"] == {"s": "5", "i": 5, "n": 2.5, "b": True, "a": [1], "o": {"k": None}}


@pytest.mark.parametrize("name", ["in.json", "in.toml", "in.yaml"])
def test_inputs_come_from_a_file_or_a_text_and_single_ones_win(smf: Any, folder: Path, name: str) -> None:
    (folder / "typed.toml").write_text(TYPED)
    (folder / name).write_text({"in.json": '{"i": 1, "s": "f"}', "in.toml": 'i = 1\ns = "f"'}.get(name, "i: 1\ns: f"))
    for source in (name, '{"i": 1, "s": "f"}'):
        done = smf("run", "typed.toml", "--inputs", source, "--input", "s=own")

        assert (done.json["all"]["i"], done.json["all"]["s"]) == (1, "own")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--input", "i=x"], 2, "input 'i' takes an integer such as 5, not 'x'"),
        (["--input", "b=yes"], 2, "input 'b' takes true or false"),
        (["--input", "n=NaN"], 2, "input 'n' takes a number"),
        (["--input", "a=" + "[" * 100_000], 2, "input 'a' takes a JSON array"),
        (["--input", "i=" + "9" * 5000], 2, "input 'i' takes an integer"),
        (["--input", "s"], 2, "is not name=value"),
        (["--inputs", '{"i": '], 2, "--inputs"),
        (["--inputs", "gone.json"], 3, "definition.not_a_file"),
        (["--input", "i=1.5"], 3, "input.type"),
        (["--input", "zz=1"], 3, "input.unknown"),
        (["--inputs", '{"i": 1, "i": 2}'], 2, "--inputs"),
    ],
)
def test_a_wrong_input_is_named_and_nothing_runs(
    smf: Any, folder: Path, arguments: list[str], code: int, said: str
) -> None:
    (folder / "typed.toml").write_text(TYPED)
    done = smf("run", "typed.toml", *arguments)

    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert smf("list", "--all", "--json").json == {"runs": []}


# --- resume, retry, pause, cancel


def test_a_paused_run_is_resumed_and_a_failed_one_retried(smf: Any, run_of: Callable[..., str], folder: Path) -> None:
    (folder / "doc.toml").write_text(
        'dsl = "1"\nname = "d"\nsteps.a.run = "true"\nsteps.b = { needs = ["a"], run = "test -e flag" }\n'
    )
    run = run_of("doc.toml")
    (folder / "flag").touch()
    done = smf("retry", run[:30], "--json")

    assert (done.code, done.json["state"]) == (0, "completed")
    assert [done.json["steps"][step]["attempt"] for step in "ab"] == [1, 2]


def test_cancel_of_a_failed_run(smf: Any, run_of: Callable[..., str]) -> None:
    run = run_of("bad.toml")

    assert smf("cancel", run, "--json").json == {"run": run, "state": "cancelled", "already": False, "pending": False}
    assert smf("status", run, "--json").json["state"] == "cancelled"


# --- list, status, events


def test_list_hides_what_is_done_unless_asked(smf: Any, run_of: Callable[..., str]) -> None:
    good, bad, gone = run_of("good.toml"), run_of("bad.toml"), run_of("bad.toml")
    smf("cancel", gone)

    def listed(*arguments: str) -> list[str]:
        return [row["run"] for row in smf("list", "--json", *arguments).json["runs"]]

    assert listed() == [bad]
    assert listed("--all") == [gone, bad, good]
    assert listed("--state", "completed", "--state", "cancelled") == [gone, good]
    assert listed("--all", "--workflow", "good") == [good]
    assert listed("--all", "--limit", "1") == [gone]
    assert listed("--all", "--since", "1h") == [gone, bad, good]
    assert listed("--all", "--since", "2199-01-01") == []


def test_list_shows_columns(smf: Any, run_of: Callable[..., str]) -> None:
    run = run_of("bad.toml")
    header, row = smf("list").out.splitlines()

    assert header.split() == ["ID", "WORKFLOW", "STATE", "PROGRESS", "UPDATED", "MESSAGE"]
    assert re.fullmatch(rf"{run}  bad       failed  3/3       (now|\d s ago) +step 'breaks' failed: .*", row)


def test_list_without_runs(smf: Any, folder: Path) -> None:
    done = smf("list")

    assert (done.code, done.out, done.err) == (0, "", "No runs.\n")
    assert not (folder / ".smf").exists()
    assert smf("list", "--json").json == {"runs": []}


@pytest.mark.parametrize(
    "name",
    [
        "list",
        "status @last",
        "events @last",
        "graph @last",
        "pause @last",
        "cancel @last",
        "resume @last",
        "retry @last",
        "approve @last step",
        "reject @last step",
        "signal @last event",
        "resolve @last step --as failed",
    ],
)
def test_a_store_that_is_named_must_exist(smf: Any, folder: Path, name: str) -> None:
    done = smf(*name.split(), "--db", "gone.db")

    assert (done.code, done.out) == (6, "")
    assert "name an existing store with --db" in done.err
    assert not (folder / "gone.db").exists()


def test_smf_db_names_the_store(smf: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMF_DB", "by-env.db")
    smf("run", "good.toml")

    assert (folder / "by-env.db").exists()
    assert len(smf("list", "--all", "--json").json["runs"]) == 1
    assert smf("list", "--all", "--json", "--db", "gone.db").code == 6


def test_status_shows_the_run_and_its_steps(smf: Any, run_of: Callable[..., str]) -> None:
    run = run_of("good.toml", "--input", "who=" + "x" * 90)
    out = smf("status", "@last").out

    assert re.search(rf"^run +{run}$", out, re.MULTILINE)
    assert re.search(r'^inputs +who = "x{56}\.\.\.$', out, re.MULTILINE)
    assert re.search(r"^greet +completed +1 +0\.\d\d s$", out, re.MULTILINE)


def test_status_with_json_has_everything(smf: Any, run_of: Callable[..., str]) -> None:
    run = run_of("bad.toml")
    data = smf("status", run, "--json").json

    assert (data["run"], data["state"], data["allowed"]) == (run, "failed", ["cancel", "retry", "quarantine"])
    assert (data["owner"], data["steps_done"], data["steps_total"]) == (None, 3, 3)
    assert data["error"]["step"] == "breaks"
    assert data["steps"]["fine"]["output"] == {"stdout": "", "stderr": "", "exit_code": 0}
    assert data["steps"]["after"]["reason"] == "needs 'breaks', which is failed"


def test_events_are_lines_or_json_lines(smf: Any, run_of: Callable[..., str]) -> None:
    run_of("good.toml")
    text = smf("events", "@last").out.splitlines()
    data = [json.loads(line) for line in smf("events", "@last", "--json", "--after", "2").out.splitlines()]

    assert [line.split()[3] for line in text] == [
        "run.create", "run.start", "step.start", "step.complete", "run.complete",
    ]  # fmt: skip
    assert [(event["seq"], event["kind"], event["step"]) for event in data] == [
        (3, "step.start", "greet"),
        (4, "step.complete", "greet"),
        (5, "run.complete", None),
    ]


# --- schema


def test_schema_is_the_published_one(smf: Any) -> None:
    assert smf("schema").json == smf("schema", "--json").json == json_schema()


# --- exit codes


def test_main_takes_arguments_and_returns_the_code(folder: Path) -> None:
    assert main(["validate", "good.toml"]) == 0


def test_every_state_at_rest_has_an_exit_code_of_its_own_meaning() -> None:
    from statemachine_flow.cli.exits import exit_of_state  # noqa: PLC0415 - beside what it tests

    assert {state.value: exit_of_state(state).value for state in RunState} == {
        "pending": 5,
        "running": 5,
        "paused": 8,
        "cancelling": 5,
        "completed": 0,
        "failed": 1,
        "cancelled": 7,
        "quarantined": 1,
    }
