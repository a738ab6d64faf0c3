"""Runs that wait for the world: exit code 8, what is said, and that what is said to be copied can be copied."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Smf, Start, step_began
from tests.cli.test_boundary import posix
from tests.cli.test_outside import PARENT, WAITING


@pytest.fixture(autouse=True)
def somebody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user, who is no approver."""
    monkeypatch.setattr("getpass.getuser", lambda: "me")


def document(folder: Path, *steps: str, head: str = "") -> str:
    (folder / "doc.toml").write_text("\n".join(['dsl = "1"', 'name = "d"', head, "[steps]", *steps, ""]))
    return "doc.toml"


def commands_in(text: str) -> list[list[str]]:
    """The arguments of the commands that a text shows to be copied."""
    lines = [line.strip() for line in text.splitlines()]
    return [
        shlex.split(line.removeprefix("go on with: "))[1:] for line in lines if re.match("(go on with: )?smf ", line)
    ]


# --- what is said


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            'a.approval.prompt = "Go?"',
            ["a asks: Go?", "  smf approve r1 a --db 'my x.db'", "  smf reject r1 a --db 'my x.db'"],
        ),
        (
            'a.approval = { prompt = "Go?", approvers = ["ann", "bob"] }',
            [
                "a asks: Go?",
                "  approvers: ann, bob",
                "  smf approve r1 a --by ann --db 'my x.db'",
                "  smf reject r1 a --by ann --db 'my x.db'",
            ],
        ),
        (
            'a.approval = { prompt = "Go?", approvers = ["ann", "me"] }',
            [
                "a asks: Go?",
                "  approvers: ann, me",
                "  smf approve r1 a --db 'my x.db'",
                "  smf reject r1 a --db 'my x.db'",
            ],
        ),
        (
            'a.approval = { prompt = "Go?", form = { n = { type = "integer" }, s = "string" } }',
            [
                "a asks: Go?",
                "  form: n (integer, required), s (string)",
                "  smf approve r1 a --form n=VALUE --db 'my x.db'",
                "  smf reject r1 a --db 'my x.db'",
            ],
        ),
        (
            'a.approval = { prompt = "Go?", choices = ["approve", "edit"] }',
            ["a asks: Go?", "  smf approve r1 a --db 'my x.db'", "  smf approve r1 a --choice edit --db 'my x.db'"],
        ),
        (
            'a.wait = { event = "ci done" }',
            ["a waits for the signal ci done", "  smf signal r1 'ci done' --db 'my x.db'"],
        ),
        (
            'a.wait = { event = "ci", key = "a b" }',
            ["a waits for the signal ci with the key a b", "  smf signal r1 ci --key 'a b' --db 'my x.db'"],
        ),
        (
            'a.steps.b.approval.prompt = "Go?"',
            ["a/b asks: Go?", "  smf approve r1 a/b --db 'my x.db'", "  smf reject r1 a/b --db 'my x.db'"],
        ),
        (
            'a = { for_each = { items = ["x/[1]"], key = "${{ item }}" }, approval = { prompt = "Go?" } }',
            [
                "a[x/%5B1%5D] asks: Go?",
                "  smf approve r1 'a[x/%5B1%5D]' --db 'my x.db'",
                "  smf reject r1 'a[x/%5B1%5D]' --db 'my x.db'",
            ],
        ),
    ],
)
def test_a_run_that_waits_says_for_what_and_what_can_be_said(
    smf: Smf, folder: Path, step: str, said: list[str]
) -> None:
    """By `run`, by `resume` and by `status` alike; each of the commands works as it is printed."""
    done = smf("run", document(folder, step), "--run-id", "r1", "--db", "my x.db")
    lines = done.err.splitlines()
    resumed, status = smf("resume", "r1", "--db", "my x.db"), smf("status", "r1", "--db", "my x.db")

    assert (done.code, done.out) == (8, "")
    summary = next(index for index, line in enumerate(lines) if line.startswith("run r1 waiting: 0/1 steps"))
    assert lines[summary + 1 :] == [*said, "go on with: smf resume r1 --db 'my x.db'"]
    assert (resumed.code, resumed.err.splitlines()[1:]) == (8, lines[summary + 1 :])
    assert "\n".join(f"{'waits' * (number == 0):<9} {line}" for number, line in enumerate(said)) in status.out
    for words in commands_in(done.err):
        assert smf(*(word.replace("n=VALUE", "n=1") for word in words)).code in (0, 5)  # 5: decided a line above
    assert smf("status", "r1", "--db", "my x.db", "--json").json["state"] == "completed"


def test_a_deadline_is_shown(smf: Smf, folder: Path) -> None:
    steps = 'a.approval = { prompt = "Go?", deadline = { after = "1h" } }', 'b.wait = { event = "e", timeout = "1h" }'
    done = smf("run", document(folder, *steps))

    assert done.code == 8
    assert re.search(r"^a asks: Go\? \(until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\)$", done.err, re.MULTILINE)
    assert re.search(r"^b waits for the signal e \(until .*\)$", done.err, re.MULTILINE)


def test_of_many_waits_some_are_shown(smf: Smf, folder: Path) -> None:
    done = smf("run", document(folder, "a = { for_each = { items = '${{ range(30) }}' }, wait = { event = 'e' } }"))

    assert done.err.count("waits for the signal e\n") == 10
    assert "\nand 20 more\n" in done.err


def test_a_long_question_is_cut(smf: Smf, folder: Path) -> None:
    done = smf("run", document(folder, f'a.approval.prompt = "{"x" * 500}"'))

    assert f"a asks: {'x' * 200}...\n" in done.err


def test_what_child_runs_wait_for_is_said_as_well(smf: Smf, folder: Path) -> None:
    (folder / "parent.toml").write_text(PARENT)
    done = smf("run", "parent.toml", "--run-id", "r1")
    data = smf("status", "r1", "--json").json
    children = [step["child"] for step in data["steps"].values() if step["child"]]
    status, child = smf("status", "r1").out, smf("status", children[0])

    assert done.code == 8
    assert len(children) == 2
    for run, name in zip(children, "pq", strict=True):
        assert f"{run}: ask asks: May {name}?\n  smf approve {run} ask\n" in done.err
        assert f"{run}: ask asks: May {name}?\n" in status
        assert re.search(rf"^kid\[{name}\] +waiting +1 +- +for its run {re.escape(run)}$", status, re.MULTILINE)
    assert re.search(r"^parent +run r1, step kid\[p\]$", child.out, re.MULTILINE)
    assert smf("status", children[0], "--json").json["parent"] == {"run": "r1", "step": "kid[p]"}


def test_json_has_what_a_run_waits_for(smf: Smf, folder: Path) -> None:
    (folder / "waiting.toml").write_text(WAITING)
    done = smf("run", "waiting.toml", "--json")
    waiting = {one.pop("step"): one for one in done.json["waiting"]}

    assert (done.code, done.json["state"]) == (8, "running")
    assert waiting["ci"] == {"on": "event", "event": "ci.done", "key": "main", "question": None, "due": None}
    assert waiting["kind"]["question"].pop("digest")
    assert waiting["kind"] == {
        "on": "approval",
        "event": None,
        "key": None,
        "question": {"prompt": "Which?", "choices": ["small", "big"], "approvers": [], "form": {}},
        "due": None,
    }
    assert smf("status", "@last", "--json").json["waiting"] == done.json["waiting"]


def test_a_run_that_is_not_saved_shows_no_command_that_cannot_work(smf: Smf, folder: Path) -> None:
    done = smf("run", document(folder, 'a.approval.prompt = "Go?"'), "--no-save")

    assert done.code == 8
    assert commands_in(done.err) == []
    assert done.err.endswith("it cannot go on: it was run with --no-save\n")


def test_list_tells_a_run_that_waits_from_one_whose_owner_is_gone(smf: Smf, folder: Path) -> None:
    smf("run", document(folder, 'a.approval.prompt = "Go?"'), "--run-id", "r1")

    assert re.search(r"^r1  d  +running \(waiting\)  0/1 ", smf("list").out, re.MULTILINE)
    assert [row["owner"] for row in smf("list", "--json").json["runs"]] == [None]
    assert smf("status", "r1", "--json").json["allowed"] == ["resume", "pause", "cancel", "quarantine"]


def test_pausing_and_cancelling_a_run_that_waits(smf: Smf, folder: Path) -> None:
    smf("run", document(folder, 'a.approval.prompt = "Go?"'), "--run-id", "r1")
    codes = [smf(command, "r1").code for command in ("pause", "resume", "cancel", "resume")]

    assert codes == [0, 8, 0, 5]


# --- progress, status and events of steps inside others

NESTED = """
dsl = "1"
name = "nested"
finally.clean = { run = ["true"] }
[steps.draft]
repeat = { until = "round >= 2" }
run = ["true"]
[steps.nap]
wait.for = "1ms"
[steps.group.steps.each]
for_each = { items = ["x", "y"], key = "${{ item }}" }
run = ["true"]
"""


def test_every_sort_of_event_is_told_in_words(smf: Smf, folder: Path) -> None:
    (folder / "nested.toml").write_text(NESTED)
    done = smf("run", "nested.toml", "--run-id", "r1")
    lines = [line.partition(" ")[2] for line in done.err.splitlines()]

    assert done.code == 0
    for line in (
        "draft begins again: round 2: `until` is not true yet",
        "draft started (attempt 2)",
        "nap waiting for 0.00 s",
        "group waiting for its steps",
        "group/each waiting for its 2 items",
        "group/each[x] started",
        "the steps are at rest; what is left before it is completed: its handlers",
        "@finally/clean started",
    ):
        assert line in lines
    assert any(re.fullmatch(r"group/each\[y\] completed in \d\.\d\d s", line) for line in lines)
    assert re.search(r"^run r1 completed: 3/3 steps in ", done.err, re.MULTILINE)


def test_status_shows_paths_attempts_and_generations(smf: Smf, folder: Path) -> None:
    (folder / "nested.toml").write_text(NESTED)
    smf("run", "nested.toml")
    table = [line.split()[:4] for line in smf("status", "@last").out.partition("\n\n")[2].splitlines()]
    steps = smf("status", "@last", "--json").json["steps"]

    assert table == [
        ["STEP", "STATE", "ATTEMPT", "GENERATION"],
        ["draft", "completed", "2", "2"],
        ["nap", "completed", "1", "1"],
        ["group", "completed", "1", "1"],
        ["group/each", "completed", "1", "1"],
        ["group/each[x]", "completed", "1", "1"],
        ["group/each[y]", "completed", "1", "1"],
        ["@finally/clean", "completed", "1", "1"],
    ]
    assert [steps["draft"][name] for name in ("generation", "attempt", "on", "child")] == [2, 2, None, None]


@pytest.mark.parametrize(
    ("step", "on", "why"),
    [
        ('a.approval.prompt = "Go?"', "approval", "for an approval"),
        ('a.wait = { event = "e", key = "k" }', "event", "for the signal e with the key k"),
        ('a.steps.b.wait.event = "e"', "steps", "for its steps"),
        ('a = { for_each = { items = [1] }, wait = { event = "e" } }', "items", "for its items"),
    ],
)
def test_status_says_what_a_step_waits_for(smf: Smf, folder: Path, step: str, on: str, why: str) -> None:
    smf("run", document(folder, step))

    assert re.search(rf"^a +waiting +1 +- +{why}$", smf("status", "@last").out, re.MULTILINE)
    assert smf("status", "@last", "--json").json["steps"]["a"]["on"] == on


def test_events_show_the_records_of_the_whole_language(smf: Smf, folder: Path) -> None:
    (folder / "nested.toml").write_text(NESTED)
    smf("run", "nested.toml", "--run-id", "r1")
    smf("run", document(folder, 'a.wait.event = "e"'), "--run-id", "r2")
    smf("signal", "r2", "e", "--payload", "5")
    smf("resume", "r2")
    text = smf("events", "r1").out + smf("events", "r2").out

    for words in (
        r'step.wait +nap +on="timer" due=\d+',
        r"step.reset +draft +reason=.* generation=2 round=2",
        r'step.wait +group/each +on="items" keys=\["x", "y"\]',
        r'run.unwind +- +outcome="completed"',
        r'run.signal +- +event="e" payload=5 by=',
    ):
        assert re.search(words, text)


# --- retry of a part


def test_one_item_of_one_step_is_retried(smf: Smf, folder: Path) -> None:
    step = 'a = { for_each = { items = ["x", "y"], key = "${{ item }}" }, run = "test -e ${{ item }}" }'
    other = 'b = { run = "false" }'
    assert smf("run", document(folder, step, other), "--run-id", "r1").code == 1
    for name in "xy":
        (folder / name).touch()
    done = smf("retry", "r1", "--step", "a", "--item", "y", "--json")
    attempts = {path: step["attempt"] for path, step in done.json["steps"].items()}

    assert done.code == 1
    assert (attempts["a[x]"], attempts["a[y]"], attempts["b"]) == (1, 2, 1)
    assert done.json["steps"]["a[y]"]["state"] == "completed"


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["--item", "x"], 2, "usage"),
        (["--step", "gone"], 4, "run.not_found"),
        (["--step", "breaks", "--item", "x"], 4, "run.not_found"),
        (["--step", "fine"], 5, "run.state"),
    ],
)
def test_a_wrong_part_is_not_retried(
    smf: Smf, run_of: Callable[..., str], words: list[str], code: int, kind: str
) -> None:
    run = run_of("bad.toml")
    before = smf("events", run, "--json").out
    done = smf("retry", run, *words, "--json")

    assert (done.code, done.json["error"]["kind"]) == (code, kind)
    assert smf("events", run, "--json").out == before


# --- agents and workflows by name

KIT = """
async def quick(request): return f"quick: {request.prompt}"
def slow(request): return {"slow": request.prompt}
def bad(request): raise ValueError("no")
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--agent", "who=kit:quick"], 0, '"quick: hi"'),
        (["--agent", "who=kit:slow"], 0, '"slow": "hi"'),
        (["--agent", "who=kit:bad"], 1, "ValueError: no"),
        (["--agent", "who=kit:gone"], 1, "definition.callable"),
        (["--agent", "who=kit:quick", "--allow", "other:*"], 1, "definition.callable"),
        (["--agent", "other=kit:quick"], 3, "definition.agent"),
        ([], 3, "definition.agent"),
        (["--agent", "kit:quick"], 2, "is not name=value"),
        (["--agent", "who="], 2, "is not name=value"),
    ],
)
def test_agents_are_functions_by_name(process: Smf, folder: Path, words: list[str], code: int, said: str) -> None:
    (folder / "kit.py").write_text(KIT)
    step = 'a = { agent = "who", prompt = "hi" }'
    done = process("run", document(folder, step, head='outputs.x = "${{ steps.a.output }}"'), *words)

    assert done.code == code
    assert said in done.out + done.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--workflow", "kid=good.toml"], 0),
        (["--workflow", "kid=bad.toml"], 1),
        (["--workflow", "kid=gone.toml"], 3),
        (["--workflow", "other=good.toml"], 3),
        ([], 3),
        (["--workflow", "good.toml"], 2),
    ],
)
def test_workflows_are_files_by_name(smf: Smf, folder: Path, words: list[str], code: int) -> None:
    assert smf("run", document(folder, 'a.workflow = "kid"'), *words).code == code


# --- several processes


@posix
def test_the_process_that_works_on_a_run_takes_what_another_one_says(start: Start, folder: Path, process: Smf) -> None:
    """While a step of it is under way: the decision reaches the run within moments, that of its child as well."""
    (folder / "blocking.toml").write_text(
        'dsl = "1"\nname = "blocking"\n[steps]\na.call = "deaf:block"\nask.approval.prompt = "Go?"\n'
        'then = { needs = ["ask"], run = "exec 3> decided" }\nhear.wait.event = "e"\n'
        'heard = { needs = ["hear"], run = "exec 3> heard" }\n'
        '[steps.kid.workflow]\ndsl = "1"\nname = "kid"\nsteps.ask.approval.prompt = "And?"\n'
        'steps.then = { needs = ["ask"], run = "exec 3> kid" }\n'
    )
    for name in ("decided", "heard", "kid"):
        os.mkfifo(folder / name)
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    told = []
    for words, fifo in (
        (["approve", "r1", "ask"], "decided"),
        (["signal", "r1", "e"], "heard"),
        (["approve", "r1.kid", "ask"], "kid"),
    ):
        told.append(process(*words))
        (folder / fifo).open().close()  # which opens when the step that follows has begun
    status = process("status", "r1", "--json").json
    twice = process("approve", "r1", "ask", "--json")
    (folder / "gate").write_text("open")
    running.communicate(timeout=60)

    assert [one.code for one in told] == [0, 0, 0]
    assert [one.err.count("\n") for one in told] == [1, 1, 1]  # nobody has to go on with it
    assert (status["state"], status["steps"]["a"]["state"]) == ("running", "running")
    assert (twice.code, twice.json["error"]["kind"]) == (5, "run.refused")
    assert running.returncode == 0


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_case_41_a_signal_pauses_a_run_that_waits(name: str, start: Start, folder: Path, smf: Smf) -> None:
    steps = 'g.steps.a.call = "deaf:block"', 'nap.wait.for = "1h"', 'e.wait = { event = "e", timeout = "1h" }'
    running = start("run", document(folder, *steps), "--run-id", "r1", "--grace", "50ms")
    step_began(folder)
    running.send_signal(signal.Signals[name])
    _, err = running.communicate(timeout=60)
    status = smf("status", "r1", "--json").json

    assert running.returncode == 128 + signal.Signals[name]
    assert "\n  smf signal r1 e\n" in err
    assert status["state"] == "paused"
    states = {path: step["state"] for path, step in status["steps"].items()}
    assert states == {"g": "waiting", "g/a": "interrupted", "nap": "waiting", "e": "waiting"}


@posix
def test_a_run_whose_process_died_while_it_waited_goes_on(start: Start, folder: Path, process: Smf) -> None:
    steps = 'g.steps.a.call = "deaf:block"', 'ask.approval.prompt = "Go?"', 'e.wait = { event = "e", timeout = "1h" }'
    running = start("run", document(folder, *steps), "--run-id", "r1")
    step_began(folder)
    running.kill()
    running.communicate()
    before: Any = process("status", "r1", "--json").json
    listed, approved, told = process("list").out, process("approve", "r1", "ask"), process("signal", "r1", "e")
    (folder / "deaf.py").write_text("def block():\n    return 1\n")
    done = process("resume", "r1", "--json")

    assert (before["owner"]["alive"], [one["step"] for one in before["waiting"]]) == (False, ["ask", "e"])
    assert "running (owner gone)" in listed
    assert approved.err == "step ask of run r1: approve\ngo on with: smf resume r1\n"
    assert told.code == 0
    assert (done.code, {step["state"] for step in done.json["steps"].values()}) == (0, {"completed"})
