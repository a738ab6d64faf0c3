"""Real processes, killed with SIGKILL at random moments: what was reported as done is done, once, for good.

The oracle stands outside: each attempt of each step appends its name and number to a file. A child of `fork` runs
the engine, so that a round costs no start of an interpreter; it is a process of its own all the same.
"""

from __future__ import annotations

import os
import random
import select
import signal
from collections import Counter
from pathlib import Path

import pytest

from statemachine_flow import Engine, Event, Workflow

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

STEPS = [f"s{number}" for number in range(20)]


def chain(effects: Path) -> Workflow:
    """Twenty commands in a row, each of which leaves a trace."""
    workflow = Workflow("lottery")
    for before, step in zip([None, *STEPS], STEPS, strict=False):
        needs = [before] if before else []
        workflow.run(step, f"echo {step} $SMF_ATTEMPT >> {effects}", needs=needs)
    return workflow


class Lottery:
    """One store, one run after the other, each killed and gone on with until it completes."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.store = folder / "runs.db"
        self.folder = folder
        self.random = random.Random(seed)
        self.kills = 0
        self.runs = 0

    def play(self, kills: int) -> None:
        """Runs until that many children were killed."""
        while self.kills < kills:
            self._one_run(f"run-{self.runs}")
            self.runs += 1

    def _one_run(self, run_id: str) -> None:
        effects = self.folder / f"{run_id}.txt"
        workflow = chain(effects)
        reported: dict[str, int] = {}
        while not self._one_process(workflow, run_id, reported):
            pass
        self._check(run_id, effects, reported)

    def _one_process(self, workflow: Workflow, run_id: str, reported: dict[str, int]) -> bool:
        """Go on with the run in a process of its own; whether it came to its end before it was killed."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _work(self.store, workflow, run_id, writing)
        os.close(writing)
        lines, delay = self.random.randint(0, 30), self.random.uniform(0, 0.008)
        text = _read(reading, lines, delay)
        killed = not text.endswith("end\n")
        if killed:
            os.kill(child, signal.SIGKILL)
            self.kills += 1
        # What it had written is in the pipe, killed or not.
        text += _read(reading, lines=-1, delay=None)
        os.close(reading)
        os.waitpid(child, 0)
        for line in text.splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "step.complete":
                step, attempt = rest.split()
                assert step not in reported, f"{step} was reported complete twice"
                reported[step] = int(attempt)
        return "end\n" in text

    def _check(self, run_id: str, effects: Path, reported: dict[str, int]) -> None:
        with Engine(self.store) as engine:
            run, events = engine.get(run_id), engine.events(run_id)
        traces = Counter(effects.read_text(encoding="utf-8").splitlines())
        attempts = Counter(event.step for event in events if event.kind == "step.start")

        assert run.ok
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        # A kill between the commit and the report leaves a step done that nobody was told of.
        told = {step: run.steps[step].attempt for step in reported}
        assert told == reported, "a step that was reported complete was begun again"
        assert [trace for trace, count in traces.items() if count > 1] == [], "an attempt was executed twice"
        assert {trace.split()[0] for trace in traces} == set(STEPS)
        assert all(int(trace.split()[1]) <= attempts[trace.split()[0]] for trace in traces)


def _work(store: Path, workflow: Workflow, run_id: str, pipe: int) -> None:
    """The child: report each record once it is durable, and end without any of the parent's clean-up."""
    numbers: dict[str | None, int] = {}

    def report(event: Event) -> None:
        if event.kind == "step.start":
            numbers[event.step] = event.data["attempt"]
        line = f"{event.kind} {event.step} {numbers.get(event.step, 0)}\n"
        os.write(pipe, line.encode())

    try:
        with Engine(store, poison_after=None) as engine:
            engine.run(workflow, run_id=run_id, on_event=report)
        os.write(pipe, b"end\n")
    finally:
        os._exit(0)


def _read(pipe: int, lines: int, delay: float | None) -> str:
    """What comes until there are that many lines and then for `delay` seconds more, or until the end."""
    text = ""
    while True:
        enough = 0 <= lines <= text.count("\n")
        ready, _, _ = select.select([pipe], [], [], delay if enough else None)
        data = os.read(pipe, 65536) if ready else b""
        text += data.decode()
        if not data or text.endswith("end\n"):
            return text


def test_200_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    Lottery(tmp_path, seed=1).play(kills=200)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_10000_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    """Ten times 1,000, each with its own sequence of moments."""
    Lottery(tmp_path, seed=100 + seed).play(kills=1000)
