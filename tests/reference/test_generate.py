"""Whether the random workflows are worth comparing: valid, bounded, and full of what can go wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from statemachine_flow.builder import load
from tests.reference.generate import Example, examples
from tests.reference.interpreter import Interpreter
from tests.reference.world import Unbounded

MANY = settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))

#: Kinds of errors that steps of the examples come to.
KINDS = {
    "expression.type",
    "expression.undefined",
    "step.child",
    "step.failed",
    "step.group",
    "step.items",
    "step.limit",
    "step.outputs",
    "step.rejected",
    "step.timeout",
}
STATES = {"completed", "failed", "skipped", "cancelled"}


def test_random_workflows_are_valid_and_come_to_everything() -> None:
    found: Counter[Any] = Counter()

    @seed(1)
    @MANY
    @given(examples())
    def see(example: Example) -> None:
        tree = load(example.tree).definition.tree()
        found["examples"] += 1
        try:
            result = Interpreter(tree, {}, example.script).run()
        except Unbounded:
            found["unbounded"] += 1
            return
        found[result.state] += 1
        found.update(act.kind for act in result.acts)
        for path, each in result.paths.items():
            found.update([each.state, each.error, path.partition("/")[0] if path.startswith("@") else None])
            found.update(["again"] if each.attempts > 1 else [])
            found.update(["inside"] if path.count("/") + path.count("[") > 1 else [])

    see()
    assert found["unbounded"] < found["examples"] / 20
    assert min(found["failed"], found["completed"]) > 50
    wanted = {*KINDS, *STATES, "again", "inside", "advance", "decide", "signal"}
    wanted |= {"@compensate", "@on_failure", "@finally"}
    assert wanted <= found.keys()
