"""Case 41: what Ctrl-C and its relatives do to a run under way; in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from statemachine_flow.stores import open_store
from statemachine_flow.stores.base import Beat, Owner
from tests.cli.conftest import Smf, Start, step_began

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and FIFOs")

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("document", ["blocking.toml", "sleeping.toml"])
def test_case_41_a_signal_pauses_the_run(document: str, name: str, start: Start, folder: Path, process: Smf) -> None:
    """Even in a function that hears nothing: it is left behind, and does not keep the process from ending."""
    running = start("run", document, "--run-id", "r1", "--db", "my.db", "--grace", "50ms")
    with (folder / "began").open() as step:
        step.readline()
        running.send_signal(signal.Signals[name])
        out, err = running.communicate(timeout=60)
        step.read()  # which ends once nothing of the step is left
    status = process("status", "r1", "--db", "my.db", "--json").json

    assert (running.returncode, out) == (CODES[name], "")
    assert f"run r1 paused: 0/1 steps (1 interrupted): stopped by {name}\n" in err
    assert err.endswith("go on with: smf resume r1 --db my.db\n")
    assert (status["state"], status["reason"], status["owner"]) == ("paused", f"stopped by {name}", None)
    assert status["steps"]["a"]["state"] == "interrupted"


def test_case_41_a_function_that_is_stuck_in_printing_is_left_behind(start: Start, folder: Path) -> None:
    """It holds the lock of stdout, which Python looks at when it ends."""
    text = (
        "import sys\ndef block():\n    open('began', 'w').close()\n    sys.__stdout__.buffer.write(b'x' * 10_000_000)\n"
    )
    (folder / "deaf.py").write_text(text)
    running = start("run", "blocking.toml", "--run-id", "r1", "--grace", "50ms")
    step_began(folder)
    assert running.stdout is not None
    running.stdout.read(1)  # it prints, and now nobody reads on
    running.send_signal(signal.SIGINT)

    assert running.wait(timeout=60) == 130


def test_case_41_a_run_that_was_interrupted_is_resumed(start: Start, folder: Path) -> None:
    first = start("run", "blocking.toml", "--grace", "50ms", "--json")
    step_began(folder)
    first.send_signal(signal.SIGINT)
    out, _ = first.communicate(timeout=60)
    second = start("resume", "@last")
    step_began(folder)
    (folder / "gate").write_text("open")
    _, err = second.communicate(timeout=60)

    assert '"state": "paused"' in out
    assert (first.returncode, second.returncode) == (130, 0)
    assert "a started (attempt 2)" in err


def test_case_41_a_second_signal_ends_the_process_at_once(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1", "--grace", "1h")
    step_began(folder)
    running.send_signal(signal.SIGINT)
    assert running.stderr is not None
    while "once more to leave at once" not in running.stderr.readline():
        pass
    running.send_signal(signal.SIGTERM)

    assert running.wait(timeout=60) == 143
    again = start("resume", "r1")
    step_began(folder)
    (folder / "gate").write_text("open")
    again.communicate(timeout=60)
    assert again.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs and process groups")
def test_a_second_signal_leaves_nothing_behind_that_steps_have_started(start: Start, folder: Path) -> None:
    text = "trap '' TERM INT; exec 3> began; echo up >&3; sleep 600; true"
    (folder / "deaf.toml").write_text(f'dsl = "1"\nname = "deaf"\nsteps.a.run = "{text}"\n')
    running = start("run", "deaf.toml", "--grace", "1h")
    with (folder / "began").open() as step:
        step.readline()
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        while "once more" not in running.stderr.readline():
            pass
        running.send_signal(signal.SIGINT)
        assert step.read() == ""  # nobody holds the other end
    assert running.wait(timeout=60) == 130


def test_a_terminal_that_says_twice_that_it_goes_away_is_heard_once(start: Start, folder: Path) -> None:
    running = start("run", "blocking.toml", "--grace", "300ms")
    step_began(folder)
    running.send_signal(signal.SIGHUP)
    assert running.stderr is not None
    while "once more" not in running.stderr.readline():
        pass
    running.send_signal(signal.SIGHUP)
    _, err = running.communicate(timeout=60)

    assert running.returncode == 129
    assert "go on with: smf resume" in err


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(start: Start, folder: Path) -> None:
    """As under `nohup`."""
    running = start("run", "blocking.toml", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    step_began(folder)
    running.send_signal(signal.SIGHUP)
    (folder / "gate").write_text("open")
    running.communicate(timeout=60)

    assert running.returncode == 0


def test_a_run_that_is_not_saved_says_that_it_is_lost(start: Start, folder: Path) -> None:
    running = start("run", "blocking.toml", "--no-save", "--grace", "50ms")
    step_began(folder)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)

    assert running.returncode == 130
    assert err.endswith("it cannot go on: it was run with --no-save\n")


# --- runs that another process works on


def test_case_42_a_run_with_a_living_owner_is_left_alone(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    before = process("events", "r1", "--json").out
    done = process("resume", "r1", "--json")
    status = process("status", "r1", "--json").json

    assert (done.code, done.json["error"]["kind"]) == (5, "run.owned")
    assert f"process {running.pid} on {os.uname().nodename}" in done.json["error"]["message"]
    assert process("events", "r1", "--json").out == before
    assert (status["state"], status["owner"]["alive"]) == ("running", True)
    (folder / "gate").write_text("open")
    running.communicate(timeout=60)
    assert running.returncode == 0


def test_pause_reaches_a_run_that_another_process_works_on(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1", "--grace", "50ms")
    step_began(folder)
    done = process("pause", "r1", "--interrupt", "--reason", "lunch")
    _, err = running.communicate(timeout=60)

    assert (done.code, done.err) == (0, "run r1 is paused\ngo on with: smf resume r1\n")
    assert running.returncode == 8
    assert "run r1 paused: 0/1 steps (1 interrupted): lunch\n" in err


def test_cancel_reaches_a_run_that_another_process_works_on(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1", "--grace", "50ms")
    step_began(folder)
    done = process("cancel", "r1", "--reason", "enough", "--json")
    _, err = running.communicate(timeout=60)

    assert (done.code, done.json["state"], done.json["pending"]) == (0, "cancelled", False)
    assert running.returncode == 7
    assert "run r1 cancelled: 0/1 steps (1 cancelled)" in err
    assert err.endswith("enough\n")


def test_cancel_that_takes_longer_than_its_timeout_is_busy(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    running.send_signal(signal.SIGSTOP)
    done = process("cancel", "r1", "--timeout", "0")
    running.send_signal(signal.SIGCONT)

    assert done.code == 5
    assert f"process {running.pid} on " in done.err


def test_a_run_whose_owner_died_says_so_and_is_resumed(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    running.kill()
    running.communicate()
    listed, status = process("list"), process("status", "r1", "--json")
    again = start("resume", "r1")
    step_began(folder)
    (folder / "gate").write_text("open")
    again.communicate(timeout=60)

    assert "running (owner gone)" in listed.out
    assert status.json["owner"]["alive"] is False
    assert "resume" in status.json["allowed"]
    assert again.returncode == 0


def test_case_43_pausing_twice_and_cancelling_a_paused_run(start: Start, folder: Path, smf: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    running.kill()
    running.communicate()
    first, second = smf("pause", "r1", "--reason", "lunch"), smf("pause", "r1", "--json")
    reason = smf("status", "r1", "--json").json["reason"]
    cancelled = smf("cancel", "r1", "--json")

    assert (first.code, first.err) == (0, "run r1 is paused\ngo on with: smf resume r1\n")
    assert (second.code, second.json) == (0, {"run": "r1", "state": "paused", "already": True, "pending": False})
    assert reason == "lunch"
    assert (cancelled.code, cancelled.json["state"]) == (0, "cancelled")


def test_strict_pauses_a_run_whose_code_changed(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    running.kill()
    running.communicate()
    (folder / "deaf.py").write_text("def block():\n    return 1\n")
    strict = process("resume", "r1", "--strict")
    loose = process("resume", "r1")

    assert strict.code == 8
    assert "code_changed: deaf:block" in strict.err
    assert loose.code == 0
    assert "note: code changed since the run began: deaf:block" in loose.err


def test_take_over_takes_no_run_from_a_process_of_this_host_that_lives(
    start: Start, folder: Path, process: Smf
) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1")
    step_began(folder)
    refused = process("resume", "r1", "--take-over")
    begun = process("events", "r1").out.count("step.start")
    recovered = process("recover", "--json")
    running.kill()
    running.communicate()
    (folder / "deaf.py").write_text("def block():\n    return 1\n")
    taken = process("resume", "r1", "--take-over")

    assert (refused.code, begun) == (5, 1)
    assert f"process {running.pid} on " in refused.err
    assert "--take-over" not in refused.err, "it advises what it has just refused"
    assert (recovered.code, recovered.json) == (0, {"runs": [], "refused": {}})
    assert taken.code == 0


@pytest.mark.parametrize("verb", ["run", "resume", "recover"])
def test_a_lease_is_that_of_the_process_that_carries_the_run(start: Start, folder: Path, verb: str) -> None:
    if verb != "run":
        first = start("run", "blocking.toml", "--run-id", "r1", "--db", "my.db")
        step_began(folder)
        first.kill()
        first.communicate()
    rest = {"run": ["blocking.toml", "--run-id", "r1"], "recover": []}.get(verb, ["r1"])
    running = start(verb, *rest, "--db", "my.db", "--lease", "1m30s")
    step_began(folder)
    with contextlib.closing(open_store(folder / "my.db")) as store:
        row = store.row("r1")
    running.kill()
    running.communicate()

    assert row is not None
    assert row.owner is not None
    assert (row.owner.pid, row.owner.lease) == (running.pid, 90.0)


#: Of two functions one overruns its timeout; the other is called after that.
OVERRUN = """
dsl = "1"
name = "overrun"
[steps]
a = { call = "deaf:block", timeout = "1ms", optional = true }
b = { needs = ["a"], call = "deaf:answer" }
"""


@pytest.mark.parametrize(("most", "code"), [("1", 1), ("2", 0), ("0", 0)])
def test_so_many_functions_may_go_on_as_the_command_line_says(folder: Path, process: Smf, most: str, code: int) -> None:
    (folder / "overrun.toml").write_text(OVERRUN)
    (folder / "deaf.py").write_text(
        "import threading\n\ndef block():\n    threading.Event().wait()\n\ndef answer():\n    return 1\n"
    )
    done = process("run", "overrun.toml", "--grace", "0", "--max-abandoned", most)

    assert (done.code, "step.abandoned" in done.err) == (code, code == 1), done.err


def test_take_over_is_for_owners_on_hosts_that_are_gone(start: Start, folder: Path, process: Smf) -> None:
    running = start("run", "blocking.toml", "--run-id", "r1", "--db", "my.db")
    step_began(folder)
    running.kill()
    running.communicate()
    (folder / "deaf.py").write_text("def block():\n    return 1\n")
    with contextlib.closing(open_store(folder / "my.db")) as store:
        row = store.row("r1")
        assert row is not None
        assert store.claim("r1", row.epoch, Owner("elsewhere", "boot", 7, "then", "nonce"))
        store.beat(Beat("nonce", 1, time.time_ns() // 1000, 0.0), {"r1": row.epoch + 1})  # it lives
    refused = process("resume", "r1", "--db", "my.db")
    taken = process("resume", "r1", "--db", "my.db", "--take-over")

    assert refused.code == 5
    assert "process" in refused.err
    assert " on elsewhere " in refused.err
    assert taken.code == 0
