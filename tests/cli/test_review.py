"""What the command line says of values, failures and owners that are easily lost or misread."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow import Engine, Workflow
from statemachine_flow.stores import open_store
from statemachine_flow.stores.base import Beat, Owner

KIT = """
import asyncio
def value(x): return x
def key(): return {}["name"]
def mute(): raise TimeoutError
async def late(): await asyncio.wait_for(asyncio.sleep(60), 0.001)
"""
ELSEWHERE = Owner(host="far.example", boot="b", pid=7, started="s", nonce="n")


@pytest.fixture
def kit(folder: Path) -> Path:
    """Functions for steps to call."""
    path = folder / f"kit_{folder.name}.py".replace("-", "_")
    path.write_text(KIT)
    return path


def document(path: Path, *steps: str, inputs: str = "") -> str:
    path.write_text("\n".join(['dsl = "1"', 'name = "d"', inputs, "[steps]", *steps, ""]))
    return path.name


# --- values


@pytest.mark.parametrize("value", ["0", "0.0", "false", '""', "{}", "[]"])
def test_events_show_every_output(smf: Any, folder: Path, kit: Path, value: str) -> None:
    name = document(folder / "doc.toml", f'a = {{ call = "{kit.stem}:value", with = {{ x = {value} }} }}')
    smf("run", name)
    lines = [line for line in smf("events", "@last").out.splitlines() if "step.complete" in line]

    assert [line.split()[-1] for line in lines] == [f"output={value}"]


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("n=1e999", "input 'n' takes a number such as 2.5, not '1e999'; inf is not a finite number"),
        ("n=Infinity", "input 'n' takes a number such as 2.5, not 'Infinity'; inf is not a finite number"),
        ('o={"a":1,"a":2}', "input 'o' takes a JSON object"),
        (r'o={"x":"\ud800"}', "the text holds half of a surrogate pair"),
        ("i=99999999999999999999", "the whole number does not fit into 64 bits"),
        ('i=1, "more": 2', "input 'i' takes an integer such as 5, not '1, \"more\": 2'"),
        ('i=1, "value": 2', "input 'i' takes an integer such as 5"),
        ("i=", "input 'i' takes an integer such as 5, not ''"),
        ("i=1}", "input 'i' takes an integer such as 5, not '1}'"),
    ],
)
def test_an_input_is_read_as_strictly_as_inputs_are(smf: Any, folder: Path, pair: str, said: str) -> None:
    inputs = 'inputs.n.type = "number"\ninputs.o.type = "object"\ninputs.i.type = "integer"'
    done = smf("run", document(folder / "doc.toml", 'a.run = "true"', inputs=inputs), "--input", pair)

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert smf("list", "--all", "--json").json == {"runs": []}


# --- failures


def test_an_error_has_its_name_wherever_it_is_shown(smf: Any, folder: Path, kit: Path) -> None:
    steps = ["key", "mute", "late"]
    for step in steps:
        document(folder / f"{step}.toml", f'a.call = "{kit.stem}:{step}"')
    texts = {"key": "KeyError: 'name'", "mute": "TimeoutError", "late": "TimeoutError"}
    for step, text in texts.items():
        done = smf("run", f"{step}.toml", "--run-id", step)
        lines = done.err.splitlines()
        status = smf("status", step).out
        where = f"{kit}:{4 + steps.index(step)} in {step}"

        assert lines[2].split(" ", 1)[1] == f"a failed: {text}"
        assert re.fullmatch(rf"run {step} failed: 0/1 steps \(1 failed\) in \S+ s", lines[3])
        assert lines[4:] == [
            f"error[step.failed]: step 'a' failed: {text} - {where}",
            f"go on with: smf retry {step}",
        ]
        assert f"error     step.failed: step 'a' failed: {text}\nwhere     {where}\n" in status
        assert re.search(rf"^a +failed +1 +\S+ s +{re.escape(text)}$", status, re.MULTILINE)


def test_the_error_of_a_run_as_such_has_its_name(smf: Any, folder: Path) -> None:
    name = document(folder / "doc.toml", 'a.run = "sleep 60"', inputs='timeout = "10ms"')
    done = smf("run", name, "--no-save", "--grace", "0")

    assert "error[run.timeout]: TimeoutError: the run took longer than 0.01 s" in done.err.splitlines()


def test_a_run_whose_functions_are_gone_says_what_to_do(process: Any, folder: Path, kit: Path) -> None:
    process("run", document(folder / "doc.toml", f'a.call = "{kit.stem}:key"'), "--run-id", "r1")
    kit.unlink()
    done = process("retry", "r1")

    assert done.code == 8
    assert "code_missing" in done.err
    assert re.search(
        r"^its functions cannot be imported here: call `smf` in the folder .*\ngo on with: smf resume r1\n\Z",
        done.err,
        re.MULTILINE,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there a current directory cannot be deleted")
def test_a_current_directory_that_is_gone_is_an_error_of_the_caller(
    smf: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smf("run", "bad.toml", "--db", str(folder / "x.db"))
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    for words in (["run", str(folder / "good.toml")], ["retry", "@last"], ["resume", "@last"]):
        done = smf(*words, "--db", str(folder / "x.db"))

        assert (done.code, done.err) == (
            2,
            "error[usage]: the current directory is gone - change to one that exists\n",
        )


# --- owners and states


def test_a_run_of_another_host_is_neither_alive_nor_gone(smf: Any, folder: Path) -> None:
    owned_elsewhere(folder / "runs.db")
    status, listed = (smf(*words, "--db", "runs.db") for words in (["status", "r1"], ["list"]))
    data = [
        smf("status", "r1", "--db", "runs.db", "--json").json,
        *smf("list", "--db", "runs.db", "--json").json["runs"],
    ]

    assert re.search(r"^state +paused \(owner unknown: another host\)$", status.out, re.MULTILINE)
    assert re.search(r"^owner +process 7 on far.example \(unknown: another host\)$", status.out, re.MULTILINE)
    assert "paused (owner unknown: another host)" in listed.out
    assert [one["owner"] for one in data] == [{"pid": 7, "host": "far.example", "alive": None}] * 2


def test_resume_says_how_to_take_a_run_over_from_another_host(smf: Any, folder: Path) -> None:
    owned_elsewhere(folder / "runs.db")
    (folder / "flag").touch()
    refused = smf("resume", "r1", "--db", "runs.db")
    done = smf("resume", "r1", "--db", "runs.db", "--take-over", "--json")

    assert refused.code == 5
    assert refused.err.endswith(
        "wait for it; if that host is known to be dead: smf resume r1 --take-over --db runs.db\n"
    )
    assert (done.code, done.json["state"]) == (0, "completed")


def owned_elsewhere(path: Path) -> None:
    """A run that a process of another host holds, by its store."""
    workflow = Workflow("w")
    workflow.run("a", "test -e flag || sleep 600")
    with Engine(path, grace=0) as engine:
        engine.start(workflow, run_id="r1")
        engine.pause("r1", interrupt=True)
    store = open_store(path)
    row = store.row("r1")
    assert row is not None
    assert store.claim("r1", row.epoch, ELSEWHERE)
    store.beat(Beat(ELSEWHERE.nonce, 1, time.time_ns() // 1000, 0.0), {"r1": row.epoch + 1})
    store.close()


def test_cancel_of_what_is_cancelled_is_done_and_of_what_completed_a_conflict(
    smf: Any, run_of: Callable[..., str]
) -> None:
    run_of("bad.toml", "--run-id", "bad")
    run_of("good.toml", "--run-id", "good")
    codes = [smf("cancel", "bad").code, smf("cancel", "bad").code]
    refused = smf("cancel", "good")

    assert codes == [0, 0]
    assert refused.code == 5
    assert refused.err.startswith("error[run.state]: the run is completed")
