"""Small things that add up: guarded transitions, start-up, reading documents."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.measure import Figure, at_least, at_most, figure, ratios, timed
from statemachine_flow import Engine, Workflow, load
from statemachine_flow.compiler import load_document
from statemachine_flow.durations import parse_duration
from statemachine_flow.journal import StepFold
from statemachine_flow.lifecycle import STEP
from statemachine_flow.plan import Plan


def transitions(_disk: Path, rounds: int) -> list[Figure]:
    """Guarded transitions through the library's machine."""
    count = 100_000

    def fire() -> None:
        step = StepFold("s")
        for _ in range(count // 2):
            STEP.fire(step, "start")
            STEP.fire(step, "interrupt")

    values = [count / timed(fire) for _ in range(rounds)]
    return [figure("guarded transitions", values, "1/s", goal=">= 250,000", met=at_least(250_000))]


def _process(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def start_up(_disk: Path, rounds: int) -> list[Figure]:
    """Importing the library, and everything that an engine needs, against its three main dependencies."""
    base = "import transitions, msgspec, apsw"
    figures = []
    for name, code, goal, limit in (
        ("import statemachine_flow", "import statemachine_flow", "<= 1.25", 1.25),
        ("import with Engine, Workflow and load", "from statemachine_flow import Engine, Workflow, load", "", None),
        (
            "smf --version",
            "import sys; sys.argv = ['smf', '--version']; from statemachine_flow.cli import main; main()",
            "",
            None,
        ),
    ):
        pairs = ratios(partial(_process, code), partial(_process, base), rounds * 2)
        values = [one / other for one, other in pairs]
        met = None if limit is None else at_most(limit)
        note = f"{min(one for one, _ in pairs) * 1000:.0f} ms, bare python {_process('pass') * 1000:.0f} ms"
        figures.append(figure(f"{name}, against `{base}`", values, "x", goal=goal, met=met, note=note))
    modules = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; before = set(sys.modules); import statemachine_flow; print(len(set(sys.modules) - before))",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    count = float(modules.stdout)
    figures.append(
        figure("modules imported by `import statemachine_flow`", [count], "", goal="<= 150", met=at_most(150))
    )
    return figures


def _calls(isolation: Literal["thread", "process", "inline"], steps: int) -> Callable[[], float]:
    """Time a step of a chain of calls of one tiny function, in seconds."""
    workflow = Workflow("calls")
    for i in range(steps):
        needs = [f"s{i - 1}"] if i else None
        workflow.call(f"s{i}", parse_duration, with_={"text": "5s"}, isolation=isolation, needs=needs)

    def go() -> float:
        with Engine("memory://") as engine:
            return timed(lambda: engine.run(workflow)) / steps

    return go


def isolation(_disk: Path, rounds: int) -> list[Figure]:
    """A call in a process of its own, against an interpreter that does nothing; one inline, against one in a thread."""
    processes = ratios(_calls("process", 5), partial(_process, "pass"), rounds)
    inline = ratios(_calls("inline", 500), _calls("thread", 500), rounds)
    return [
        figure(
            "a call in a process, against `python -c pass`",
            [one / other for one, other in processes],
            "x",
            note=f"{min(one for one, _ in processes) * 1e3:.0f} ms a step",
        ),
        figure(
            "a call inline, against one in a thread",
            [one / other for one, other in inline],
            "x",
            note=f"{min(one for one, _ in inline) * 1e6:.0f} us a step, {min(one for _, one in inline) * 1e6:.0f} us",
        ),
    ]


def _document(steps: int) -> str:
    lines = ['dsl = "1"', 'name = "document"', "[steps]"]
    for i in range(steps):
        needs = f'needs = ["s{i - 1}"], ' if i else ""
        lines.append(f's{i} = {{ {needs}call = "module:function" }}')
    return "\n".join(lines) + "\n"


def _planned(text: str) -> Plan:
    return Plan(load_document(text).definition)


def documents(_disk: Path, rounds: int) -> list[Figure]:
    """Reading a document, checked and planned, against the TOML parser alone."""
    figures = []
    for steps in (10, 1000, 10_000):
        text = _document(steps)
        pairs = ratios(
            partial(timed, partial(_planned, text)),
            partial(timed, partial(tomllib.loads, text)),
            rounds,
        )
        note = f"{min(one for one, _ in pairs) * 1000:.3g} ms"
        values = [one / other for one, other in pairs]
        figures.append(
            figure(
                f"TOML document of {steps:,} steps, against tomllib",
                values,
                "x",
                goal="<= 2.5",
                met=at_most(2.5),
                note=note,
            )
        )
    return figures


def validate(_disk: Path, rounds: int) -> list[Figure]:
    """`smf validate` of a 2,000-step chain, as a user waits for it."""
    text = _document(2000)
    values = [timed(lambda: load(text)) for _ in range(rounds)]
    return [figure("reading and checking a chain of 2,000", values, "s", goal="<= 1", met=at_most(1))]
