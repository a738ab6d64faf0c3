"""Runs the cases of `dsl/conformance` against this library, through its public API alone.

`dsl/README.md` describes the files. A case fails under its own name, such as `runs/retry/gives_up.toml`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from tests.conformance.stage import Stage, carry_out

CASES = Path(__file__).parents[2] / "dsl/conformance/v1"
#: Folder -> how the file with the expectation ends, which is also its name in the schema.
EXPECTATIONS = {"valid": "plan", "invalid": "problems", "runs": "run"}
FORMATS = ("toml", "yaml", "json")


def is_expectation(path: Path) -> bool:
    return path.name.endswith(tuple(f".{kind}.json" for kind in EXPECTATIONS.values()))


def documents(folder: str) -> list[Path]:
    """The documents of the cases; what they include lies in folders called `children`."""
    files = [path for path in sorted((CASES / folder).rglob("*.*")) if "children" not in path.parts]
    return [path for path in files if path.suffix[1:] in FORMATS and not is_expectation(path)]


def per_document(folder: str) -> pytest.MarkDecorator:
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
    """The problems in the order of the text; at one place, by path and kind. Warnings are left out."""
    errors = [problem for problem in error.problems if problem.severity == "error"]
    places = [(problem.position.line, problem.position.column) for problem in errors if problem.position]
    problems = [
        {
            "kind": problem.kind,
            "path": problem.path,
            "line": problem.position.line if problem.position else 0,
            "column": problem.position.column if problem.position else 0,
        }
        for problem in errors
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
    tree = workflow.definition.tree()
    order, edges = [], []
    for path, step in paths_of(tree):
        order.append(path)
        level = path[: len(path) - len(path.rpartition("/")[2])]
        edges += [[level + need, path] for need in step.get("needs", ())]
    warnings = [{"kind": problem.kind, "path": problem.path} for problem in workflow.warnings]

    plan = {"tree": tree, "order": order, "edges": sorted(edges), "content_hash": workflow.content_hash}
    assert exactly(plan) == exactly({key: case[key] for key in plan})
    assert warnings == case.get("warnings", [])


def paths_of(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every step of a canonical tree under its path, in the order of the document."""
    for level in ("steps", "on_failure", "finally"):
        for step_id, step in tree.get(level, {}).items():
            path = f"{prefix}{'' if level == 'steps' else f'@{level}/'}{step_id}"
            yield path, step
            yield from paths_of({"steps": step.get("steps", {})}, f"{path}/")


@per_document("invalid")
def test_an_invalid_document_has_exactly_its_problems(document: Path, tmp_path: Path) -> None:
    case = expectation(document)
    with pytest.raises(smf.errors.DefinitionError) as caught:
        smf.load(expanded(document, case, tmp_path))
    expected = case["problems"][document.suffix[1:]]
    actual = told(caught.value)

    assert [problem["kind"] for problem in actual] == [problem["kind"] for problem in expected]
    assert [only(*pair) for pair in zip(expected, actual, strict=True)] == expected


def told_error(error: Any) -> dict[str, Any] | None:
    return error and {"kind": error.kind, "name": error.name} | ({"step": error.step} if error.step else {})


def account(run: smf.Run, events: list[smf.Event], stage: Stage, expected: Mapping[str, Any]) -> dict[str, Any]:
    """How the run went, as far as the case says something about it."""
    begin = run.started_at
    assert begin is not None
    steps: dict[str, Any] = {}
    for path, step in run.steps.items():
        own = [event for event in events if event.step == path]
        if not own and path not in expected["steps"]:
            continue
        actual = {
            "state": step.state,
            "records": [event.kind.removeprefix("step.") for event in own],
            "next": [event.data["next"] for event in own if event.data.get("next") is not None],
            "generation": step.generation,
            "starts": [(event.at - begin).total_seconds() for event in own if event.kind == "step.start"],
            "arguments": stage.arguments.get(path, []),
            "output": step.output,
            "outputs": step.outputs if isinstance(step.outputs, list) else dict(step.outputs),
            "error": told_error(step.error),
        }
        steps[path] = only(expected["steps"].get(path, {}), actual, "state", "records", "error")
    ended = run.ended_at and (run.ended_at - begin).total_seconds()
    whole = {
        "state": run.state,
        "error": told_error(run.error),
        "outputs": dict(run.outputs),
        "ended": ended,
        "waiting": {view.path: view.on for view in run.waiting},
        "records": [event.kind if event.step is None else f"{event.step} {event.kind[5:]}" for event in events],
        "unwind": [event.data["outcome"] for event in events if event.kind == "run.unwind"],
    }
    return {**only(expected, whole, "state", "error"), "steps": steps}


@per_document("runs")
def test_a_run_goes_as_the_case_says(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = expectation(document)
    expected = case["expect"]
    store = f"sqlite:///{tmp_path}/runs.db" if "kill_at_waits" in case else "memory://"
    monkeypatch.chdir(tmp_path)
    for name, value in case.get("environ", {}).items():
        monkeypatch.setenv(name, value)
    if "refused" in expected:
        with pytest.raises(smf.errors.ProblemsError) as caught:
            asyncio.run(carry_out(document, case, store))
        actual = told(caught.value)

        assert [only(*pair) for pair in zip(expected["refused"], actual, strict=True)] == expected["refused"]
    else:
        text = exactly(account(*asyncio.run(carry_out(document, case, store)), expected))

        assert text.replace(str(Path.cwd()), "<cwd>") == exactly(expected)
