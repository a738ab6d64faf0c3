"""Runs the cases of `dsl/conformance` against this library, through its public API alone.

`dsl/README.md` describes the files. A case fails under its own name, such as `runs/retry/gives_up.toml`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import statemachine_flow as smf
from statemachine_flow.testing import ManualClock

CASES = Path(__file__).parents[2] / "dsl/conformance/v1"
SCHEMA = json.loads((CASES / "case.schema.json").read_text(encoding="utf-8"))
#: Folder -> how the file with the expectation ends, which is also its name in the schema.
EXPECTATIONS = {"valid": "plan", "invalid": "problems", "runs": "run"}
FORMATS = ("toml", "yaml", "json")
#: By how much the clock moves at a time, in seconds; times in cases are multiples of it.
TICK = 0.25


def is_expectation(path: Path) -> bool:
    return path.name.endswith(tuple(f".{kind}.json" for kind in EXPECTATIONS.values()))


def documents(folder: str) -> list[Path]:
    files = sorted((CASES / folder).rglob("*.*"))
    return [path for path in files if path.suffix[1:] in FORMATS and not is_expectation(path)]


def per_document(folder: str) -> Any:
    paths = documents(folder)
    return pytest.mark.parametrize("document", paths, ids=[path.relative_to(CASES).as_posix() for path in paths])


def expectation(document: Path) -> dict[str, Any]:
    folder = document.relative_to(CASES).parts[0]
    text = document.with_name(f"{document.stem}.{EXPECTATIONS[folder]}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def expanded(document: Path, case: Mapping[str, Any], folder: Path) -> Path:
    """The document with its markers replaced."""
    if "expand" not in case:
        return document
    text = document.read_text(encoding="utf-8")
    for marker, made in case["expand"].items():
        assert marker in text
        numbers = range(1, made["times"] + 1)
        text = text.replace(marker, "".join(made["text"].replace("{n}", str(number)) for number in numbers))
    copy = folder / document.name
    copy.write_text(text, encoding="utf-8")
    return copy


def told(error: smf.errors.ProblemsError) -> list[dict[str, Any]]:
    """The problems in the order of the text; at one place, by path and kind."""
    places = [(problem.position.line, problem.position.column) for problem in error.problems if problem.position]
    problems = [
        {"kind": problem.kind, "path": problem.path, "line": line, "column": column}
        for problem, (line, column) in zip(error.problems, places or [(0, 0)] * len(error.problems), strict=True)
    ]

    assert places == sorted(places)
    return sorted(problems, key=lambda problem: [problem[key] for key in ("line", "column", "path", "kind")])


def only(expected: Mapping[str, Any], actual: Mapping[str, Any], *always: str) -> dict[str, Any]:
    """The part of the actual that the case says something about."""
    return {key: value for key, value in actual.items() if key in expected or (key in always and value is not None)}


def exactly(value: Any) -> str:
    """A text that tells 1 from 1.0 and true."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


@per_document("valid")
def test_a_valid_document_means_its_plan(document: Path) -> None:
    case = expectation(document)
    workflow = smf.load(document)
    steps = workflow.definition.steps
    edges = sorted([need, step.id] for step in steps for need in step.needs)

    plan = {
        "tree": workflow.definition.tree(),
        "order": [step.id for step in steps],
        "edges": edges,
        "content_hash": workflow.content_hash,
    }
    assert exactly(plan) == exactly({key: case[key] for key in plan})


@per_document("invalid")
def test_an_invalid_document_has_exactly_its_problems(document: Path, tmp_path: Path) -> None:
    case = expectation(document)
    with pytest.raises(smf.errors.DefinitionError) as caught:
        smf.load(expanded(document, case, tmp_path))
    expected = case["problems"][document.suffix[1:]]
    actual = told(caught.value)

    assert [problem["kind"] for problem in actual] == [problem["kind"] for problem in expected]
    assert [only(*pair) for pair in zip(expected, actual, strict=True)] == expected


class Stage:
    """The world of one run: scripted functions, and a clock that moves on when nothing else can happen."""

    def __init__(self, attempts: Mapping[str, Any], max_parallel: int | None) -> None:
        self.clock = ManualClock()
        self.arguments: dict[str, list[Mapping[str, Any]]] = {}
        self._attempts = attempts
        self._max_parallel = max_parallel or len(attempts) + 1
        self._changed = asyncio.Event()
        self._running: set[str] = set()
        self._asleep = 0
        #: Step -> when its next attempt may begin, in microseconds.
        self._due: dict[str, int] = {}

    async def function(self, context: smf.StepContext, **arguments: Any) -> Any:
        """Stands for every function that the document calls."""
        self.arguments.setdefault(context.step_id, []).append(arguments)
        script = dict(enumerate(self._attempts.get(context.step_id, ()), 1)).get(context.attempt, {})
        if "takes" in script:
            await self._sleep(script["takes"])
        if "error" in script:
            raise error_class(script["error"])(script["error"].get("message", ""))
        return object() if "unserializable" in script else script.get("output")

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.clock.call_later(seconds, woken.set)
        self._asleep += 1
        self._changed.set()
        try:
            await woken.wait()
        finally:
            self._asleep -= 1

    def hear(self, event: smf.Event) -> None:
        if event.step is not None:
            self._running.discard(event.step)
            self._due.pop(event.step, None)
        if event.kind == "step.start":
            self._running.add(str(event.step))
        elif event.kind == "step.back_off":
            self._due[str(event.step)] = event.data["due"]
        elif event.kind == "step.fail" and not event.data.get("optional"):
            self._due.clear()  # the run is going to fail: nothing begins any more
        self._changed.set()

    async def pass_time(self) -> None:
        while True:
            for _ in range(10):  # what the last tick set off, on the loop
                await asyncio.sleep(0)
            if self._is_idle():
                self.clock.advance(TICK)
            else:
                self._changed.clear()
                await self._changed.wait()


    def _is_idle(self) -> bool:
        has_place = len(self._running) < self._max_parallel
        begins = has_place and any(due <= self.clock.now() for due in self._due.values())
        return bool(self._running or self._due) and len(self._running) == self._asleep and not begins


def error_class(error: Mapping[str, Any]) -> type[Exception]:
    cls: type[Exception] = Exception
    for name in [*reversed(error.get("is", ())), error["name"]]:
        cls = type(name, (cls,), {})
    return cls


async def carry_out(document: Path, case: Mapping[str, Any]) -> tuple[smf.Run, list[smf.Event], Stage]:
    workflow = smf.load(document)
    stage = Stage(case.get("attempts", {}), workflow.definition.max_parallel)
    called = [step.verb.call for step in workflow.definition.steps if hasattr(step.verb, "call")]
    functions = dict.fromkeys(case.get("functions", called), stage.function)
    clock = None if "real_time" in case else stage.clock
    async with smf.AsyncEngine("memory://", functions=functions, clock=clock) as engine:
        passing = asyncio.create_task(stage.pass_time())
        run = await engine.run(workflow, case.get("inputs"), run_id="case", on_event=stage.hear)
        passing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await passing
        return run, list(await engine.events(run.id)), stage


def told_error(error: Any) -> dict[str, Any] | None:
    return error and {"kind": error.kind, "name": error.name} | ({"step": error.step} if error.step else {})


def account(run: smf.Run, events: list[smf.Event], stage: Stage, expected: Mapping[str, Any]) -> dict[str, Any]:
    """How the run went, as far as the case says something about it."""
    begin = run.started_at
    assert begin is not None
    steps: dict[str, Any] = {}
    for step in run.steps.values():
        own = [event for event in events if event.step == step.id]
        actual = {
            "state": step.state,
            "records": [event.kind.removeprefix("step.") for event in own],
            "starts": [(event.at - begin).total_seconds() for event in own if event.kind == "step.start"],
            "arguments": stage.arguments.get(step.id, []),
            "output": step.output,
            "outputs": dict(step.outputs),
            "error": told_error(step.error),
        }
        steps[step.id] = only(expected["steps"].get(step.id, {}), actual, "state", "records", "error")
    ended = run.ended_at and (run.ended_at - begin).total_seconds()
    whole = {"state": run.state, "error": told_error(run.error), "outputs": dict(run.outputs), "ended": ended}
    return {**only(expected, whole, "state", "error"), "steps": steps}


@per_document("runs")
def test_a_run_goes_as_the_case_says(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = expectation(document)
    expected = case["expect"]
    monkeypatch.chdir(tmp_path)
    for name, value in case.get("environ", {}).items():
        monkeypatch.setenv(name, value)
    if "refused" in expected:
        with pytest.raises(smf.errors.ProblemsError) as caught:
            asyncio.run(carry_out(document, case))
        actual = told(caught.value)

        assert [only(*pair) for pair in zip(expected["refused"], actual, strict=True)] == expected["refused"]
    else:
        text = exactly(account(*asyncio.run(carry_out(document, case)), expected))

        assert text.replace(str(Path.cwd()), "<cwd>") == exactly(expected)


# The cases themselves.


def expectations() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(CASES.rglob("*.json")):
        if is_expectation(path):
            yield path, json.loads(path.read_text(encoding="utf-8"))
