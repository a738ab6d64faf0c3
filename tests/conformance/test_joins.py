"""The engine joins steps as the table of the reference says: each of its rows is carried out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

import statemachine_flow as smf
from tests.conformance.tables import joins

#: What a step does so that it ends in that way.
_BODIES: dict[str, dict[str, Any]] = {
    "completed": {"call": "fine"},
    "failed": {"call": "broken"},
    "optional-failed": {"call": "broken", "optional": True},
    "skipped": {"call": "fine", "when": "false"},
    # Only what a failure sweeps away is cancelled.
    "cancelled": {"wait": {"event": "never.sent"}},
}
#: Steps under the other rules are swept away together with what they need.
_TOLERANT = ("all_done", "any_failed")


def broken() -> None:
    raise ValueError("as asked")


def states(ends: Sequence[str], rules: Sequence[str]) -> dict[str, str]:
    """Rule -> the state in which a step under it ended, when the steps it needs ended like this."""
    steps = {f"need-{number}": _BODIES[end] for number, end in enumerate(ends)}
    joined = {f"step-{rule}": {"call": "fine", "needs": list(steps), "trigger_rule": rule} for rule in rules}
    is_swept = "cancelled" in ends
    sweeper = {"sweeper": _BODIES["failed"]} if is_swept else {}
    document = {"dsl": "1", "name": "join", "continue_on_error": not is_swept, "steps": {**steps, **joined, **sweeper}}
    with smf.Engine("memory://", functions={"fine": lambda: None, "broken": broken}) as engine:
        run = engine.run(smf.load(json.dumps(document, indent=1)))

    assert [run.steps[need].state for need in steps] == [end.removeprefix("optional-") for end in ends]
    return {rule: run.steps[f"step-{rule}"].state for rule in rules}


@pytest.mark.parametrize(("ends", "truth"), joins(), ids=["+".join(ends) for ends, _ in joins()])
def test_a_step_runs_exactly_where_the_table_says_so(ends: tuple[str, ...], truth: dict[str, bool]) -> None:
    rules = _TOLERANT if "cancelled" in ends else tuple(truth)

    assert states(ends, rules) == {rule: "completed" if truth[rule] else "skipped" for rule in rules}
