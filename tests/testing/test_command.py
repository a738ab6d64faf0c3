"""`smf rehearse`: exit codes, JSON, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.cli import main
from statemachine_flow.executors.group import is_alive

PAY = """
dsl = "1"
name = "pay"
inputs.amount = { type = "integer", default = 3 }
[steps]
count = { run = "echo x >> charged; wc -l < charged", outputs = { n = "int(strip(stdout))" } }
gate = { needs = ["count"], approval = { prompt = "Pay ${{ inputs.amount }}?" } }
pay = { needs = ["gate"], run = ["false"], delivery = "at_most_once" }
"""
SCRIPT = """
[steps]
gate = { decide = "approve", takes = "2h" }
pay = { stdout = "paid" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "pay.toml").write_text(PAY)
    (tmp_path / "script.toml").write_text(SCRIPT)
    return tmp_path


def test_a_difference_is_exit_1_with_the_command_that_finds_it_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The count differs from one run to the next: it is kept in a file."""
    assert main(["rehearse", "pay.toml", "--script", "script.toml", "--rows", "0", "--seed", "7"]) == 1

    out = capsys.readouterr().out
    assert "even undisturbed it does not end twice alike" in out
    assert 'count: outputs is {"n": 2}, not {"n": 1}' in out
    assert "again: smf rehearse pay.toml --script script.toml --rows 0 --seed 7 --point 0" in out
    assert not (folder / ".smf").exists()


def test_what_a_module_remembers_dies_with_its_process(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "remembering.py").write_text(
        "pages = {}\ndef fetch():\n    pages['a'] = 1\ndef count():\n    return len(pages)\n"
    )
    (folder / "scraper.toml").write_text(
        'dsl = "1"\nname = "scraper"\n[steps]\nfetch = { call = "remembering:fetch" }\n'
        'count = { needs = ["fetch"], call = "remembering:count" }\n'
    )
    assert main(["rehearse", "scraper.toml", "--rows", "0"]) == 1

    out = capsys.readouterr().out
    assert "count: output is 0, not 1" in out
    assert "point 0" not in out


def test_no_difference_is_exit_0_and_json_says_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "script.toml").open("a") as file:
        file.write("count = { stdout = '1' }\n")
    arguments = ["rehearse", "pay.toml", "--script", "script.toml", "-i", '{"amount": 5}', "--json"]

    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["state"], found["differences"], found["asked"]) == (True, "completed", [], ["pay"])
    assert [one["step"] for one in found["repeats"]] == ["count"]
    assert not (folder / "charged").exists()
    assert main([*arguments, "--strict"]) == 1
    assert main([*arguments, "--sqlite", "--point", "3"]) == 0


def test_what_the_report_prints_repeats_the_point(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With everything that was said: the script, inputs with blanks, the options of the engine."""
    (folder / "counting.py").write_text(
        "import pathlib\ndef count(note):\n    with open('calls', 'a') as file:\n        file.write(note[0])\n"
        "    return len(pathlib.Path('calls').read_text())\n"
    )
    (folder / "count.toml").write_text(
        'dsl = "1"\nname = "count"\ninputs.note = {}\n[steps]\ngate = { approval = { prompt = "Go?" } }\n'
        'count = { needs = ["gate"], call = "counting:count", with = { note = "${{ inputs.note }}" } }\n'
        'pay = { needs = ["count"], run = ["false"] }\n'
    )
    options = ["--reset", "rm -f calls", "--input", "note=a b", "--allow", "counting:*", "--grace", "1s", "--strict"]
    given = ["rehearse", "count.toml", "--script", "script.toml", *options, "--rows", "0", "--json"]

    assert main(given) == 1
    found = json.loads(capsys.readouterr().out)
    again = shlex.split(found["differences"][0]["again"])
    assert again[:3] == ["smf", "rehearse", "count.toml"]
    assert "--json" not in again

    assert main([*again[1:], "--json"]) == 1
    repeated = json.loads(capsys.readouterr().out)
    number = found["differences"][0]["point"]
    assert repeated["differences"] == [one for one in found["differences"] if one["point"] == number]
    assert repeated["points"] == 1


@pytest.mark.parametrize("given", [["--input", "token=hunter2"], ["-i", '{"token": "hunter2"}']])
def test_a_secret_is_never_printed(folder: Path, capsys: pytest.CaptureFixture[str], given: list[str]) -> None:
    (folder / "secret.toml").write_text(
        'dsl = "1"\nname = "secret"\ninputs.token = { secret = true }\n[steps]\n'
        'count = { run = "echo x >> calls; wc -l < calls" }\n'
    )

    assert main(["rehearse", "secret.toml", *given, "--rows", "0"]) == 1
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "token" in out.partition("again:")[2]
    assert "***" in out.partition("again:")[2]


def test_files_are_put_back_before_each_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then what differs is what a death does, and nothing else."""
    arguments = ["rehearse", "pay.toml", "--script", "script.toml", "--rows", "0", "--reset", "rm -f charged"]

    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "even undisturbed" not in out
    assert "of them ends otherwise than the undisturbed run" in out
    assert 'count: outputs is {"n": 2}, not {"n": 1}' in out


@pytest.mark.parametrize(
    ("reset", "said"),
    [
        ("false", "the command of --reset ended with status 1"),
        ("./nothing here", "the command of --reset cannot be started"),
        ("'", "No closing quotation"),
        (" ", "it names no program"),
    ],
)
def test_a_reset_that_fails_is_an_error_of_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], reset: str, said: str
) -> None:
    assert main(["rehearse", "pay.toml", "--script", "script.toml", "--reset", reset]) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "charged").exists()


def test_what_bodies_and_the_reset_print_is_no_data(folder: Path) -> None:
    (folder / "talking.py").write_text("def talk():\n    print('blah')\n")
    (folder / "talk.toml").write_text('dsl = "1"\nname = "talk"\nsteps.a.call = "talking:talk"\n')
    arguments = ["talk.toml", "--reset", "echo reset", "--point", "1", "--json"]
    command = [sys.executable, "-m", "statemachine_flow", "rehearse", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["ok"] is True
    assert done.stderr.split() == ["reset", "blah"] * 3
    assert "points" not in done.stderr


def test_modules_of_python_itself_are_not_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though the folder that the command is called in is above them."""
    (folder / "colours.py").write_text("import colorsys\ndef f():\n    return colorsys.__name__\n")
    (folder / "colour.toml").write_text('dsl = "1"\nname = "colour"\nsteps.a.call = "colours:f"\n')
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.chdir(Path(sysconfig.get_path("stdlib")).parent)

    assert main(["rehearse", str(folder / "colour.toml"), "--rows", "0"]) == 0
    assert capsys.readouterr().out
    assert "colorsys" in sys.modules
    assert "colours" not in sys.modules


def test_a_missing_agent_is_told_in_the_words_of_the_command_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ask.toml").write_text('dsl = "1"\nname = "ask"\nsteps.a = { agent = "planner", prompt = "Plan." }\n')

    assert main(["rehearse", "ask.toml"]) == 3
    err = capsys.readouterr().err
    assert "`--agent NAME=MODULE:FUNCTION`" in err
    assert "Engine(" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["pay.toml", "--script", "script.toml", "--point", "99"], 2, "usage"),
        (["pay.toml", "--poison-after", "3"], 2, "usage"),
        (["pay.toml"], 3, "definition.missing_field"),
        (["nothing.toml"], 3, "definition.not_a_file"),
        (["pay.toml", "--script", "nothing.toml"], 3, "definition.not_a_file"),
        (["pay.toml", "--script", "bad.toml"], 3, "definition.unknown_step"),
        (["pay.toml", "--script", "script.toml", "--input", "amont=3"], 3, "input.unknown"),
        (["pay.toml", "--script", "silent.toml"], 3, "definition.missing_field"),
        (["pay.toml", "--point", "-1"], 2, "usage"),
        (["pay.toml", "--seed", "x"], 2, "usage"),
    ],
)
def test_what_cannot_be_rehearsed_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, kind: str
) -> None:
    (folder / "bad.toml").write_text("steps.ftch = { return = 1 }\n")
    (folder / "silent.toml").write_text("steps.pay = { exit = 0 }\n")

    assert main(["rehearse", *arguments, "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] == kind


def test_steps_that_are_at_most_once_are_never_carried_out_for_real(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "once.toml").write_text(
        'dsl = "1"\nname = "once"\n[steps]\npay = { run = "echo x >> paid", delivery = "at_most_once" }\n'
    )

    assert main(["rehearse", "once.toml"]) == 3
    assert "a rehearsal would carry it out many times" in capsys.readouterr().err
    assert not (folder / "paid").exists()


@pytest.mark.skipif(os.name == "nt", reason="commands need POSIX")
def test_a_rehearsal_that_is_killed_leaves_nothing_behind(folder: Path) -> None:
    """Nothing of its own: neither a store, nor files in the temporary folder."""
    temporary = folder / "tmp"
    temporary.mkdir()
    os.mkfifo(folder / "began")
    (folder / "slow.toml").write_text(
        'dsl = "1"\nname = "slow"\n[steps]\nfirst = { run = ["true"] }\n'
        'slow = { needs = ["first"], run = "exec 3> began; echo up >&3" }\n'
        'last = { needs = ["slow"], run = ["true"] }\n'
    )
    before = {path.name for path in folder.iterdir()}
    command = [sys.executable, "-m", "statemachine_flow", "rehearse", "slow.toml"]
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "TMPDIR": str(temporary)}) as process:
        for _ in range(3):
            (folder / "began").open().close()
        process.send_signal(signal.SIGKILL)

    assert process.returncode == -signal.SIGKILL
    assert {path.name for path in folder.iterdir()} == before
    assert list(temporary.iterdir()) == []


def interrupted(folder: Path, steps: str, *command: str) -> subprocess.Popen[str]:
    """A process that gets one Ctrl-C once a step has opened `began`, and its end."""
    os.mkfifo(folder / "began")
    (folder / "slow.toml").write_text(f'dsl = "1"\nname = "slow"\n[steps]\n{steps}\n')
    (folder / "slow_kit.py").write_text(
        "import asyncio, time\n"
        "def begin():\n    open('began', 'w').close()\n"
        "def blocks():\n    begin()\n    while True:\n        time.sleep(60)\n"
        "async def hangs():\n    begin()\n    await asyncio.to_thread(blocks_quietly)\n"
        "def blocks_quietly():\n    while True:\n        time.sleep(60)\n"
    )
    arguments = command or (sys.executable, "-m", "statemachine_flow", "rehearse", "slow.toml")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(arguments, cwd=folder, env=environment, **pipes)
    (folder / "began").open().close()
    process.send_signal(signal.SIGINT)
    return process


STEPS_THAT_HANG = {
    "a function in a thread": 'slow = { call = "slow_kit:blocks" }',
    "a function on the loop": 'slow = { call = "slow_kit:blocks", isolation = "inline" }',
    "a coroutine": 'slow = { call = "slow_kit:hangs" }',
    "a function in a process": 'slow = { call = "slow_kit:blocks", isolation = "process" }',
    "a command": 'slow = { run = "echo x > began; exec sleep 333" }',
}


@pytest.mark.skipif(os.name == "nt", reason="commands need POSIX")
@pytest.mark.parametrize("steps", STEPS_THAT_HANG.values(), ids=STEPS_THAT_HANG)
def test_one_ctrl_c_ends_a_rehearsal_whatever_is_carried_out(folder: Path, steps: str) -> None:
    """Else it would be the outcome of whatever step is under way, and the rehearsal would go on."""
    with interrupted(folder, steps) as process:
        _, told = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in told


@pytest.mark.skipif(os.name == "nt", reason="commands need POSIX")
def test_a_rehearsal_that_is_interrupted_ends_its_commands(folder: Path) -> None:
    with interrupted(folder, 'slow = { run = "echo $$ > pid; echo x > began; sleep 333; true" }') as process:
        process.communicate(timeout=60)

    assert not is_alive(int((folder / "pid").read_text()))


@pytest.mark.skipif(os.name == "nt", reason="commands need POSIX")
@pytest.mark.parametrize(
    "call",
    [
        "smf.testing.rehearse('slow.toml')",
        "smf.testing.SteppedEngine(MemoryStore(), clock=smf.testing.VirtualClock()).run('slow.toml')",
    ],
    ids=["rehearse", "engine"],
)
def test_ctrl_c_is_an_error_for_python(folder: Path, call: str) -> None:
    program = (
        "import statemachine_flow as smf; from statemachine_flow.stores.memory import MemoryStore\n"
        f"try:\n    {call}\nexcept KeyboardInterrupt:\n    print('interrupted')"
    )
    with interrupted(folder, STEPS_THAT_HANG["a function in a thread"], sys.executable, "-c", program) as process:
        out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (0, "interrupted\n")
