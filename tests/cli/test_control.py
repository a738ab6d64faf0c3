"""Control of a run that another process works on, from a shell; and new runs of old ones."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, Smf, Start

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="FIFOs and process groups")

#: Words of a command -> its exit code, and what it says, while another process works on the run.
ELSEWHERE = {
    ("resume", "r"): (5, "the run is running, and process"),
    ("retry", "r"): (5, "the run is running, and process"),
    ("checkpoint", "r", "--label", "here"): (0, "is marked here"),
    ("pause", "r", "--no-wait"): (0, "was asked and will bring it to paused"),
    ("pause", "r", "--interrupt", "--by", "ann"): (0, "run r is paused"),
    ("cancel", "r", "--reason", "wrong"): (0, "run r is cancelled"),
    ("quarantine", "r", "--reason", "odd"): (0, "run r is quarantined"),
}


@POSIX
@pytest.mark.parametrize("words", ELSEWHERE, ids="-".join)
def test_a_run_of_another_process_is_controlled_from_a_shell(
    words: tuple[str, ...], start: Start, folder: Path, process: Smf
) -> None:
    running = start("run", "sleeping.toml", "--run-id", "r", "--grace", "2s")
    with (folder / "began").open() as step:
        step.readline()
        done = process(*words)
        code, said = ELSEWHERE[words]
        assert (done.code, said in done.err) == (code, True), done.err
        if code:
            assert str(running.pid) in done.err
        if words[0] in ("cancel", "quarantine") or "--interrupt" in words:
            step.read()  # which ends once nothing of the step is left
            running.communicate(timeout=60)


@POSIX
def test_a_mark_is_told_to_whoever_watches_the_run(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "sleeping.toml", "--run-id", "r", "--grace", "300ms")
    with (folder / "began").open() as step:
        step.readline()
        assert process("checkpoint", "r", "--label", "here").code == 0
        process("pause", "r", "--no-wait")
        while process("status", "r", "--json").json["state"] != "paused":
            pass
        late = process("pause", "r", "--timeout", "100ms")  # the step goes on, so it is not done yet
        assert (late.code, "lets what is under way come to its end" in late.err) == (5, True), late.err
        assert process("cancel", "r").code == 0
        step.read()
    said = running.communicate(timeout=60)[1]
    assert ("marked here" in said, "Traceback" in said) == (True, False), said


@POSIX
def test_g10_a_command_that_traps_term_is_killed_and_its_run_cancelled(
    start: Start, folder: Path, process: Smf
) -> None:
    text = "trap '' TERM; exec 3> began; echo up >&3; while :; do sleep 600; done"
    (folder / "deaf.toml").write_text(f'dsl = "1"\nname = "deaf"\nsteps.a.run = "{text}"\n')
    running = start("run", "deaf.toml", "--run-id", "r", "--grace", "300ms")
    with (folder / "began").open() as step:
        step.readline()
        done = process("cancel", "r")
        step.read()
    running.communicate(timeout=60)

    assert (done.code, done.err) == (0, "run r is cancelled\n")
    assert running.returncode == 7
    for again in ("cancel", "pause"):
        done = process(again, "r", "--json")
        assert (again, done.code) == (again, 0 if again == "cancel" else 5)
    assert process("cancel", "r").err == "run r is already cancelled\n"


@POSIX
def test_a_run_that_another_process_is_pausing_is_asked_to_go_on_there(
    start: Start, folder: Path, process: Smf
) -> None:
    text = "exec 3> began; echo up >&3; cat gate; true"
    (folder / "held.toml").write_text(f'dsl = "1"\nname = "held"\nsteps.a.run = "{text}"\nsteps.b.run = "true"\n')
    running = start("run", "held.toml", "--run-id", "r")
    with (folder / "began").open() as step:
        step.readline()
        while process("status", "r", "--json").json["state"] != "paused":
            process("pause", "r", "--no-wait")
        assert "resume" in process("status", "r", "--json").json["allowed"]
        asked = process("resume", "r", "--no-wait")
        assert (asked.code, f"process {running.pid} on" in asked.err, "will go on" in asked.err) == (0, True, True)
        while process("status", "r", "--json").json["state"] != "running":
            pass
        refused = process("resume", "r")  # now that it is simply running there
        assert (refused.code, str(running.pid) in refused.err) == (5, True)
    (folder / "gate").write_text("")
    assert running.wait(60) == 0


@POSIX
def test_what_became_of_a_step_is_heard_by_the_process_that_is_still_pausing_its_run(
    start: Start, folder: Path, process: Smf
) -> None:
    stubborn = "test -e go && exit 0; trap : TERM; exec 3> began; echo up >&3; exec 3>&-; "
    stubborn += "until test -e go; do sleep 0.05; done"
    (folder / "once.toml").write_text(
        f'dsl = "1"\nname = "once"\nsteps.busy.run = "{stubborn}"\n'
        'steps.pay = { run = "test -e go || sleep 600", delivery = "at_most_once" }\n'
    )
    running = start("run", "once.toml", "--run-id", "r", "--grace", "60s")
    with (folder / "began").open() as step:
        step.readline()
    while process("status", "r", "--json").json["steps"]["pay"]["state"] != "running":
        pass
    assert process("pause", "r", "--interrupt", "--no-wait").code == 0
    while process("status", "r", "--json").json["steps"]["pay"]["state"] != "interrupted":
        pass
    done = process("resolve", "r", "pay", "--as", "retry", "--reason", "seen")
    assert (done.code, done.err) == (0, "step pay of run r counts as retry\n")
    status = process("status", "r", "--json").json
    assert (status["state"], status["owner"]["pid"], status["steps"]["pay"]["state"]) == (
        "paused",
        running.pid,
        "pending",
    )
    (folder / "go").touch()
    assert running.wait(60) == 8
    assert process("resume", "r").code == 0


#: Its end says that it began, and goes on for long the first time.
LONG = """
dsl = "1"
name = "long"
finally.end.run = "test -e second && exit 0; touch second; exec 3> began; echo up >&3; sleep 600; true"
steps.gate.approval = { prompt = "?" }
"""


@pytest.fixture
def waiting(start: Start, folder: Path, process: Smf) -> Smf:
    (folder / "long.toml").write_text(LONG)
    assert process("run", "long.toml", "--run-id", "r").code == 8
    return process


def is_left(done: Done, process: Smf) -> None:
    """The run's end is left to whoever takes it up, which is said; and that ends it."""
    assert "run r is cancelling: what its end asks for is left to whoever takes it up" in done.err
    assert "go on with: smf cancel r" in done.err
    status = process("status", "r", "--json").json
    assert (status["state"], status["owner"], status["allowed"]) == ("cancelling", None, ["resume", "cancel"])
    ended = process("cancel", "r")
    assert (ended.code, ended.err) == (0, "run r is cancelled\n")
    assert process("status", "r", "--json").json["steps"]["@finally/end"]["state"] == "completed"


@POSIX
def test_a_cancel_that_nobody_waits_for_leaves_the_handlers_to_others(folder: Path, waiting: Smf) -> None:
    done = waiting("cancel", "r", "--no-wait")
    assert done.code == 0
    assert not (folder / "second").exists()
    (folder / "second").touch()
    is_left(done, waiting)


@POSIX
@pytest.mark.parametrize("how", ["timeout", "signal"])
def test_a_cancel_that_takes_too_long_or_is_interrupted_can_be_gone_on_with(
    how: str, start: Start, folder: Path, waiting: Smf
) -> None:
    cancelling = start("cancel", "r", "--grace", "300ms", *(("--timeout", "1s") if how == "timeout" else ()))
    with (folder / "began").open() as step:
        step.readline()
        if how == "signal":
            cancelling.send_signal(signal.SIGINT)
        step.read()  # which ends once nothing of the handler is left
    said = cancelling.communicate(timeout=60)[1]
    assert cancelling.returncode == (5 if how == "timeout" else 130), said
    is_left(Done(cancelling.returncode, "", said), waiting)


#: Words of a command about a run that completed -> its exit code and what it says.
AT_REST = {
    ("pause", "r"): (5, "error[run.state]: the run is completed: it cannot pause"),
    ("cancel", "r"): (5, "error[run.state]: the run is completed: it cannot cancel"),
    ("quarantine", "r", "--reason", "x"): (5, "error[run.state]: the run is completed: it cannot quarantine"),
    ("quarantine", "r"): (2, "Missing option '--reason'"),
    ("quarantine", "r", "--reason", " "): (2, "for a reason"),
    ("checkpoint", "r", "--label", "x"): (5, "error[run.state]: the run is completed"),
    ("checkpoint", "r", "--label", "1"): (2, "cannot be a label"),
    ("fork", "r", "--at", "99"): (4, "has no record 99"),
    ("fork", "r", "--at", "1"): (2, "the nearest points are 2"),
    ("fork", "r", "--set", "nothing"): (2, "is not path=value"),
    ("fork", "r", "--set", "inputs.x=1"): (2, "error[usage.edit]: there is no 'inputs.x' to be set"),
    ("fork", "r", "--run-id", "r"): (5, "error[run.conflict]"),
    ("fork", "r", "--run-id", "a/b"): (2, "cannot name a run"),
    ("rerun", "r"): (2, "Missing option '--from'"),
    ("rerun", "r", "--from", "nobody"): (4, "has no step 'nobody'"),
    ("restore", "r"): (2, "names no checkpoint"),
    ("restore", "r@nothing"): (4, "has no checkpoint 'nothing'"),
    ("checkpoints", "nobody"): (4, "no run 'nobody'"),
}


@pytest.fixture
def kept(smf: Smf) -> Smf:
    assert smf("run", "good.toml", "--run-id", "r").code == 0
    return smf


@pytest.mark.parametrize("words", AT_REST, ids=lambda words: "-".join(words).replace("/", "-"))
def test_what_cannot_be_done_is_refused_and_changes_nothing(words: tuple[str, ...], kept: Smf) -> None:
    before = kept("events", "r", "--json").out
    done = kept(*words)
    code, said = AT_REST[words]
    assert (done.code, done.out, said in " ".join(done.err.split())) == (code, "", True), done.err
    assert kept("events", "r", "--json").out == before
    assert len(kept("list", "--all", "--json").json["runs"]) == 1


def test_new_runs_are_made_of_old_ones(kept: Smf) -> None:
    points = kept("checkpoints", "r", "--json").json["checkpoints"]
    assert [(point["step"], point["done"], point["steps"]) for point in points] == [(None, 0, 1), ("greet", 1, 1)]
    assert "r@2" in kept("checkpoints", "r").out

    forked = kept("fork", "r", "--at", "2", "--set", "inputs.who=5", "--run-id", "f", "--by", "ann", "--reason", "look")
    assert (forked.code, '"hello 5"' in forked.out) == (0, True)
    note = [line for line in kept("events", "f").out.splitlines() if "run.note" in line]
    assert "forked from r@2; set inputs.who: look" in note[0]
    assert 'by="ann"' in note[0]

    rerun = kept("rerun", "r", "--from", "greet", "--json").json
    assert (rerun["state"], rerun["outputs"]) == ("completed", {"text": "hello you"})

    made = kept("restore", "r@2", "--run-id", "later", "--no-start")
    assert (made.code, made.out) == (0, "")
    assert "go on with: smf resume later" in made.err
    assert kept("checkpoint", "later", "--label", "here", "--json").json["label"] == "here"
    assert kept("restore", "later@here", "--json", "--no-start").json["state"] == "running"
    assert kept("resume", "later").code == 0
    assert kept("quarantine", "@last", "--reason", "odd", "--json").json["state"] == "quarantined"
    assert kept("fork", "@last").code == 0


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ('{"a": [1]}', {"a": [1]}), ("five", "five"), ("", ""), ('5, "b": 1', '5, "b": 1')]
)
def test_a_value_to_be_set_is_json_or_else_text(text: str, value: Any, kept: Smf) -> None:
    code = kept("fork", "r", "--at", "4", "--set", f"steps.greet.outputs.text={text}", "--run-id", "f", "--json")
    assert code.json["outputs"] == {"text": value}


@POSIX
def test_a_cancel_from_elsewhere_has_what_the_end_of_the_run_needs(process: Smf, folder: Path) -> None:
    """Its folder to import from, its agents, and the environment that commands inherit."""
    (folder / "kit.py").write_text(
        "def bye():\n    print('from bye')\n    return 'bye'\n\n\ndef ask(request):\n    return 'asked'\n"
    )
    (folder / "ends.toml").write_text(
        'dsl = "1"\nname = "ends"\nsteps.w.wait.event = "go"\n[finally]\nbye = { call = "kit:bye" }\n'
        'ag = { agent = "someone", prompt = "?" }\ne = { run = ["sh", "-c", "echo $FOO"] }\n'
        'odd = { run = ["false"] }\n'
    )
    (folder / "away").mkdir()
    options = ["--agent", "someone=kit:ask", "--pass-env", "FOO", "--db", str(folder / "runs.db")]
    env = {"FOO": "bar", "PYTHONPATH": str(Path(__file__).parents[2])}
    assert process("run", "ends.toml", "--run-id", "r", *options, env=env).code == 8
    done = process("cancel", "r", *options, env=env, cwd=folder / "away")

    assert (done.code, done.out) == (0, "")
    assert "step '@finally/odd' failed" in done.err
    steps = process("status", "r", "--json", "--db", str(folder / "runs.db")).json["steps"]
    outputs = {path: step["output"] for path, step in steps.items() if path.startswith("@finally/")}
    assert (outputs["@finally/bye"], outputs["@finally/ag"]) == ("bye", "asked")
    assert outputs["@finally/e"]["stdout"] == "bar\n"


def test_a_fork_of_a_cancelled_run_begins_before_that_unless_it_is_told_otherwise(smf: Smf, folder: Path) -> None:
    (folder / "waits.toml").write_text('dsl = "1"\nname = "waits"\nsteps.w.wait.event = "go"\n')
    assert smf("run", "waits.toml", "--run-id", "r").code == 8
    assert smf("cancel", "r").code == 0
    assert smf("fork", "r", "--run-id", "again").code == 8  # it waits, as that one did
