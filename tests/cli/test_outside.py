"""`approve`, `reject`, `signal` and `resolve`: what they take, what they refuse, and what they say."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from statemachine_flow.cli import actor
from tests.cli.conftest import Smf, Start, step_began
from tests.cli.test_boundary import HOSTILE, posix

#: Waits for a decision that not everybody may make, one with choices, and a signal with a key.
WAITING = """
dsl = "1"
name = "waiting"
[steps]
build = { run = ["echo", "1.2.0"] }
ci = { wait = { event = "ci.done", key = "main" } }
[steps.gate]
needs = ["build"]
[steps.gate.approval]
prompt = "Release ${{ strip(steps.build.output.stdout) }}?"
approvers = ["ann", "bob"]
form = { note = "string", copies = { type = "integer" } }
[steps.kind.approval]
prompt = "Which?"
choices = ["small", "big"]
[steps.group.steps]
inner = { needs = [], approval = { prompt = "Inside?" } }
[outputs]
gate = "${{ steps.gate.output }}"
kind = "${{ steps.kind.output.decision }}"
ci = "${{ steps.ci.output }}"
"""
REFUSED = "run.refused"


@pytest.fixture
def waiting(smf: Smf, folder: Path) -> str:
    """A run that nobody works on and that waits."""
    (folder / "waiting.toml").write_text(WAITING)
    assert smf("run", "waiting.toml", "--run-id", "r1").code == 8
    return "r1"


# --- what is refused


@pytest.mark.parametrize(
    ("words", "code", "kind", "said"),
    [
        # The run and the step.
        ("approve gone gate", 4, "run.not_found", "no run 'gone'"),
        ("signal gone ci.done", 4, "run.not_found", "no run 'gone'"),
        ("approve r1 gat", 4, "run.not_found", "the run has no step 'gat'"),
        ("approve r1 group/inne", 4, "run.not_found", "no step 'group/inne'"),
        ("resolve r1 gat --as failed", 4, "run.not_found", "the run has no step 'gat'"),
        ("approve r1 build", 5, REFUSED, "waits for no decision: it is completed"),
        ("approve r1 ci", 5, REFUSED, "waits for no decision"),
        ("approve r1 group", 5, REFUSED, "waits for no decision"),
        ("resolve r1 gate --as failed", 5, REFUSED, "step 'gate' is waiting"),
        ("resolve r1 build --as retry", 5, REFUSED, "step 'build' is completed"),
        # What is decided, and by whom.
        ("approve r1 gate --by eve", 5, REFUSED, "eve may not decide this"),
        ("reject r1 gate --by eve", 5, REFUSED, "eve may not decide this"),
        ("approve r1 gate --by=", 5, REFUSED, "somebody without a name may not decide this"),
        ("approve r1 gate --by ann --choice small", 5, REFUSED, "'small' is no choice here"),
        ("approve r1 kind", 5, REFUSED, "'approve' is no choice here"),
        ("reject r1 kind", 5, REFUSED, "'reject' is no choice here"),
        # The form.
        ("approve r1 gate --by ann", 3, "input.missing", "the field 'copies' (integer) was not filled in"),
        ("approve r1 gate --by ann --form copies=1.5", 3, "input.type", "field 'copies' takes an integer"),
        ("approve r1 gate --by ann --form copies=1 --form x=1", 3, "input.unknown", "the form has no field 'x'"),
        ("reject r1 gate --by ann --form x=1", 3, "input.unknown", "the form has no field 'x'"),
        ("approve r1 gate --by ann --form copies=many", 2, "usage", "field 'copies' takes an integer such as 5"),
        ("approve r1 gate --by ann --form copies", 2, "usage", "'copies' is not name=value"),
        # What a signal carries.
        ("signal r1 ci.done --payload {bad", 2, "usage", "Invalid value for --payload: not valid JSON"),
        ('signal r1 ci.done --payload 1,"x":2', 2, "usage", "it is not one JSON value"),
        ("signal r1 ci.done --payload NaN", 2, "usage", "nan is not a finite number"),
        ("signal r1 ci.done --payload=", 2, "usage", "Invalid value for --payload"),
        (f"signal r1 {'x' * 201}", 2, "usage", "has 1 to 200 characters, not 201"),
        # What became of a step.
        ("resolve r1 gate", 2, "usage", "Missing option '--as'. Choose from: completed, failed, retry"),
        ("resolve r1 gate --as done", 2, "usage", "'done' is not one of"),
        ("resolve r1 gate --as completed --output {bad", 2, "usage", "Invalid value for --output"),
        ("resolve r1 gate --as retry --output 1", 2, "usage", "only a step that completed has an output"),
        ("approve r1", 2, "usage", "Missing argument 'STEP'"),
        ("signal r1", 2, "usage", "Missing argument 'EVENT'"),
    ],
)
@pytest.mark.usefixtures("waiting")
def test_what_is_refused_has_its_code_says_why_and_changes_nothing(
    smf: Smf, words: str, code: int, kind: str, said: str
) -> None:
    before = smf("status", "r1", "--json").json
    text, data = smf(*words.split(" ")), smf(*words.split(" "), "--json")
    resumed = smf("resume", "r1", "--json").json

    assert (text.code, text.out, data.code, data.err) == (code, "", code, "")
    assert said in text.err
    assert data.json["error"]["kind"] == kind
    assert said in data.json["error"]["message"]
    assert "\n\t" not in text.err
    assert resumed["waiting"] == before["waiting"]


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("approve r1 gat", "`smf status r1` shows its steps"),
        ("approve r1 gate --by eve", "approvers: ann, bob"),
        ("approve r1 kind", "choices: small, big"),
        ("approve r1 gate --by ann --form x=1", "fields: note, copies"),
        ("approve r1 gate --by ann --form copies=1.5", "at steps.gate.form"),
    ],
)
@pytest.mark.usefixtures("waiting")
def test_what_is_refused_comes_with_advice(smf: Smf, words: str, advice: str) -> None:
    assert advice in smf(*words.split(" ")).err


def test_a_signal_without_a_name_is_none(smf: Smf, waiting: str) -> None:
    assert smf("signal", waiting, "").code == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("approve r1 kind --choice small", "approve r1 kind --choice small"),
        ("approve r1 kind --choice small", "approve r1 kind --choice big"),
        ("approve r1 gate --by ann --form copies=1", "reject r1 gate --by bob"),
        ("reject r1 gate --by bob", "approve r1 gate --by ann --form copies=1"),
    ],
)
@pytest.mark.usefixtures("waiting")
def test_what_is_decided_is_decided_once_also_before_anybody_goes_on_with_the_run(
    smf: Smf, first: str, second: str
) -> None:
    done, refused = smf(*first.split()), smf(*second.split(), "--json")
    smf("resume", "r1")
    late = smf(*second.split(), "--json")

    assert done.code == 0
    assert (refused.code, refused.json["error"]["kind"]) == (5, REFUSED)
    assert late.code == 5


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("words", ["approve r1 a", "reject r1 a", "signal r1 go", "resolve r1 a --as failed"])
def test_a_run_that_is_at_rest_for_good_hears_nothing_more(
    smf: Smf, run_of: Callable[..., str], state: str, words: str
) -> None:
    run_of("good.toml" if state == "completed" else "bad.toml", "--run-id", "r1")
    if state == "cancelled":
        smf("cancel", "r1")
    done = smf(*words.split(), "--json")

    assert (done.code, done.json["error"]["kind"]) == (5, "run.state")
    assert f"the run is {state}" in done.json["error"]["message"]


# --- what is taken


def test_decisions_and_signals_are_taken_when_the_run_goes_on(smf: Smf, waiting: str) -> None:
    told = [
        smf("approve", waiting, "gate", "--by", "ann", "--form", "copies=2", "--form", "note=a=b", "--reason", "fine"),
        smf("approve", waiting, "kind", "--choice", "big"),
        smf("approve", waiting, "group/inner"),
        smf("signal", waiting, "ci.done", "--key", "main", "--payload", '{"ok": [true, null]}'),
    ]
    done = smf("resume", waiting, "--json")
    outputs = done.json["outputs"]
    gate = outputs.pop("gate")

    assert [(one.code, one.out) for one in told] == [(0, "")] * 4
    assert [one.err for one in told] == [
        "step gate of run r1: approve\ngo on with: smf resume r1\n",
        "step kind of run r1: big\ngo on with: smf resume r1\n",
        "step group/inner of run r1: approve\ngo on with: smf resume r1\n",
        "signal ci.done is kept for run r1\ngo on with: smf resume r1\n",
    ]
    assert (done.code, outputs) == (0, {"kind": "big", "ci": {"ok": [True, None]}})
    assert [gate[name] for name in ("decision", "copies", "note", "by", "reason")] == [
        "approve", 2, "a=b", "ann", "fine",
    ]  # fmt: skip


def test_json_says_whether_a_process_takes_it(smf: Smf, waiting: str) -> None:
    assert smf("signal", waiting, "ci.done", "--json").json == {
        "run": "r1",
        "state": "running",
        "said": "signal ci.done is kept for run r1",
        "owned": False,
    }


@posix
def test_what_is_said_is_confirmed_without_the_secrets_of_the_run(
    smf: Smf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter22-canary")
    text = WAITING.replace('build = { run = ["echo", "1.2.0"] }', 'build = { run = "true", secrets = ["TOKEN"] }')
    (folder / "secret.toml").write_text(text)
    smf("run", "secret.toml", "--run-id", "r1")
    said = [
        smf("signal", "r1", "hunter22-canary", "--payload", '"hunter22-canary"', *options)
        for options in ((), ("--json",))
    ]

    assert [one.code for one in said] == [0, 0]
    assert said[0].err == "signal *** is kept for run r1\ngo on with: smf resume r1\n"
    assert said[1].json["said"] == "signal *** is kept for run r1"
    assert "hunter22" not in said[1].out + said[1].err


def test_the_user_decides_under_their_own_name(smf: Smf, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an approver is named, without anything before it; other commands say that it was the command line."""
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    (folder / "waiting.toml").write_text(WAITING)
    smf("run", "waiting.toml", "--run-id", "r1")
    smf("approve", "r1", "gate", "--form", "copies=1")
    smf("signal", "r1", "ci.done", "--key", "main")
    smf("resume", "r1")
    status, events = smf("status", "r1", "--json").json, smf("events", "r1", "--json").out

    assert status["steps"]["gate"]["output"]["by"] == "ann"
    assert [json.loads(line)["data"]["by"] for line in events.splitlines() if "run.signal" in line] == ["smf:ann"]


def test_a_user_without_a_name_is_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", unknown)

    assert (actor.user(), actor.actor()) == ("smf", "smf")


def test_a_rejection_fails_the_step_and_says_who_and_why(smf: Smf, waiting: str) -> None:
    smf("reject", waiting, "gate", "--by", "bob", "--reason", "the tests are red")
    done = smf("resume", waiting)

    assert done.code == 1
    assert "gate failed: Rejected: the approval was rejected by bob: the tests are red" in done.err


# --- child runs

PARENT = """
dsl = "1"
name = "parent"
[steps.kid]
for_each = { items = ["p", "q"], key = "${{ item }}" }
with = { n = "${{ item }}" }
[steps.kid.workflow]
dsl = "1"
name = "kid"
inputs.n = {}
steps.ask.approval.prompt = "May ${{ inputs.n }}?"
outputs.n = "${{ inputs.n }}"
[outputs]
all = "${{ [one.n for one in steps.kid.output] }}"
"""


def test_what_a_child_run_asks_is_decided_there_and_the_run_above_goes_on(smf: Smf, folder: Path) -> None:
    (folder / "parent.toml").write_text(PARENT)
    smf("run", "parent.toml", "--run-id", "r1")
    wrong = smf("approve", "r1", "kid[p]/ask")
    children = [step["child"] for step in smf("status", "r1", "--json").json["steps"].values() if step["child"]]
    first = smf("approve", children[0], "ask")
    between = smf("resume", "r1")
    second = smf("approve", children[1], "ask")
    done = smf("resume", "r1")

    assert wrong.code == 4
    assert f"'kid[p]' is a run of its own, {children[0]}, with a step 'ask'" in wrong.err
    assert first.err == f"step ask of run {children[0]}: approve\ngo on with: smf resume r1\n"
    assert between.code == 8
    assert second.code == 0
    assert (done.code, done.json) == (0, {"all": ["p", "q"]})
    # What the child did is told under its name, and the run's own steps under theirs.
    lines = [line.partition(" ")[2] for line in done.err.splitlines()]
    assert f"{children[1]}: ask completed" in lines
    assert "kid[q] completed" in lines


def test_last_is_the_run_above_its_child_runs(smf: Smf, folder: Path) -> None:
    (folder / "parent.toml").write_text(PARENT)
    smf("run", "parent.toml", "--run-id", "run.with.dots")

    assert smf("status", "@last", "--json").json["run"] == "run.with.dots"
    smf("run", "good.toml", "--run-id", "later.run")
    assert smf("status", "@last", "--json").json["run"] == "later.run"


# --- steps of which nobody knows


@posix
def test_a_step_that_was_cut_off_is_resolved(start: Start, folder: Path, process: Smf) -> None:
    text = (folder / "blocking.toml").read_text() + 'steps.a.delivery = "at_most_once"\n'
    (folder / "blocking.toml").write_text(text + 'outputs.id = "${{ steps.a.output.id }}"\n')
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    running.kill()
    running.communicate()
    first, again, status = process("resume", "r1"), process("resume", "r1", "--json"), process("status", "r1")
    resolved = process("resolve", "r1", "a", "--as", "completed", "--output", '{"id": 7}')
    twice = process("resolve", "r1", "a", "--as", "failed")
    done = process("resume", "r1")

    assert first.code == 8
    command = "  smf resolve r1 a --as completed"
    assert f"a completed, failed, or is to be tried again; say which:\n{command}\n" in first.err
    assert command in status.out
    assert (again.code, again.json["error"]["kind"]) == (5, "run.uncertain")
    assert resolved.err == "step a of run r1 counts as completed\ngo on with: smf resume r1\n"
    assert twice.code == 5
    assert (done.code, done.json) == (0, {"id": 7})


# --- hostile names and values


def test_case_40_names_and_prompts_do_not_drive_the_terminal(smf: Smf, folder: Path) -> None:
    shout = HOSTILE.replace("\x00", "").replace("\x7f", "").replace("\x9b", "")
    document = {
        "dsl": "1",
        "name": "loud",
        "inputs": {"s": {"default": shout}},
        "steps": {
            "ask": {"approval": {"prompt": shout, "approvers": [shout]}},
            "hear": {"wait": {"event": "${{ inputs.s }}", "key": "${{ inputs.s }}"}},
            "each": {
                "for_each": {"items": ["${{ inputs.s }}"], "key": "${{ item }}"},
                "workflow": {"dsl": "1", "name": "kid", "steps": {"a": {"approval": {"prompt": shout}}}},
            },
        },
    }
    (folder / "loud.json").write_text(json.dumps(document))
    commands = [
        ("run", "loud.json", "--run-id", "r1"),
        ("status", "r1"),
        ("events", "r1"),
        ("list",),
        ("approve", "r1", "ask", "--choice", shout),
        ("approve", "r1", shout),
        ("approve", "r1", "ask", "--by", shout, "--form", f"{shout}=1"),
        ("approve", "r1", "ask", "--by", shout, "--reason", shout),
        ("signal", "r1", shout, "--key", shout, "--payload", json.dumps(shout)),
        ("signal", "r1", shout, "--payload", shout),
        ("resolve", "r1", shout, "--as", shout),
        ("retry", "r1", "--step", shout, "--item", shout),
        ("resume", "r1"),
        ("status", "r1"),
    ]
    done = [smf(*words) for words in commands]

    assert [one.code for one in done] == [8, 0, 0, 0, 5, 4, 3, 0, 0, 2, 2, 5, 8, 0]
    for one in done:
        assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", one.out + one.err) == []
    assert "ask asks: [/red][link=http://x]\\x1b]8;;http://x\\x07" in done[0].err


def test_what_a_run_is_told_is_not_written_anywhere_else(smf: Smf, waiting: str, folder: Path) -> None:
    """A refused decision leaves nothing behind in the store."""
    smf("approve", waiting, "gate", "--by", "eve")
    with sqlite3.connect(folder / ".smf" / "runs.db") as database:
        (count,) = database.execute("SELECT count(*) FROM requests").fetchone()
    database.close()

    assert count == 0
