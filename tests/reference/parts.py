"""The small parts of random workflows: expressions, outcomes, policies, and steps that have no others inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from hypothesis import strategies as st

from tests.reference.script import ERRORS, Outcome

_ODD_VALUES: Final = (7, "text", [1, 2], {"m": 1})


@attrs.frozen
class Scope:
    """What a level is in, and what its expressions may read."""

    depth: int = 0
    #: Of its steps, with a slash at the end.
    path: str = ""
    #: Step id -> its kind, of the steps around it.
    reads: dict[str, str] = attrs.field(factory=dict)
    #: Other expressions.
    words: tuple[str, ...] = ("inputs.n", "default(feedback.decision, 'none')")
    #: Whether a person or a signal may be waited for, and steps be undone.
    is_handler: bool = False
    has_matrix: bool = False


class Parts:
    """Draws parts of one document, and remembers what the world does to them."""

    def __init__(self, draw: st.DrawFn, *, may_count: bool) -> None:
        self.draw = draw
        self.may_count = may_count
        self._durations = 0
        self.outcomes: dict[str, list[Outcome]] = {}
        self.decisions: dict[str, list[str]] = {}
        self.sent: dict[str, list[bool]] = {}
        self.events: list[str] = []

    def chance(self, of: int) -> bool:
        """True once in so many times; what is left out is simpler."""
        return bool(self.draw(st.integers(0, of - 1)) == of - 1)

    def pick(self, values: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(values))

    def duration(self) -> str:
        """Another one each time."""
        self._durations += 1
        return f"{7919 * self._durations % 100_003}ms"

    def value_of(self, scope: Scope) -> str:
        """An expression that may stand in `with`, and seldom fails."""
        reads = [f"default({self.number(step_id, kind)}, 0)" for step_id, kind in scope.reads.items()]
        reads += [f"steps.{step_id}.state" for step_id in scope.reads]
        if self.chance(3):
            reads = [self.number(step_id, kind) for step_id, kind in scope.reads.items()]
        return str(self.pick([*scope.words, *reads]))

    def number(self, step_id: str, kind: str) -> str:
        part = {"call": ".n", "named": "s.n", "event": ".n", "approval": ".decision"}.get(kind, "")
        return f"steps.{step_id}.output{part}"

    def condition(self, scope: Scope) -> str:
        """An expression that is sometimes true, sometimes false, and now and then neither."""
        choices = ["inputs.n < 5", "inputs.n > 5"]
        for step_id, kind in scope.reads.items():
            choices.append(f"steps.{step_id}.state == 'completed'")
            if kind in {"call", "named", "event"}:
                choices += [f"default({self.number(step_id, kind)}, 0) > 1", f"{self.number(step_id, kind)} > 1"]
            elif kind == "approval":
                choices.append(f"default(steps.{step_id}.output.decision, '') == 'approve'")
        return str(self.pick(choices))

    def outcome(self) -> Outcome:
        kind = self.pick(["ok", "error", "error", "echo", "small", "odd"])
        if kind == "error":
            return Outcome(error=self.pick(sorted(ERRORS)))
        if kind in {"small", "odd"}:
            return Outcome(
                value=self.pick(_ODD_VALUES) if kind == "odd" and self.chance(3) else {"n": self.pick([0, 2, 4])}
            )
        return Outcome(echo=kind == "echo")

    def retry(self) -> dict[str, Any]:
        policy: dict[str, Any] = {"max_attempts": self.pick([2, 3]), "delay": self.duration(), "jitter": "none"}
        extra = self.pick(["", "", "backoff", "retry_on", "abort_on", "retry_if"])
        if extra == "backoff":
            policy["backoff"] = "constant"
        elif extra == "retry_if":
            if self.may_count:
                policy["retry_if"] = f"attempt < {self.pick([1, 2, 3])}"
        elif extra:
            policy[extra] = [self.pick(["Flaky", "LookupError", "OutputsError"])]
        return policy

    def call(self, path: str, scope: Scope) -> dict[str, Any]:
        step: dict[str, Any] = {"call": "f"}
        if self.chance(2):
            step["with"] = {"v": "${{ " + self.value_of(scope) + " }}"}
        if self.chance(2):
            self.outcomes[path] = [self.outcome() for _ in range(self.pick([1, 2, 3]))]
        if self.chance(4):
            step["retry"] = self.retry()
        extra = self.pick(["", "", "", "", "", "outputs", "schema"])
        if extra == "outputs":
            step["outputs"] = {"n": self.pick(["result.n", "result.n", "default(result.n, 0) + 1", "result.m"])}
        elif extra == "schema":
            step["output_schema"] = {"type": "object"}
        return step

    def wait(self, path: str, *, may_signal: bool) -> tuple[str, dict[str, Any]]:
        if not may_signal or self.chance(2):
            return "timer", {"wait": {"for": self.duration()}}
        name = f"e{len(self.events)}"
        self.events.append(name)
        wait: dict[str, Any] = {"event": name}
        if self.chance(2):
            wait |= {"timeout": self.duration(), "then": self.pick(["fail", "complete"])}
            self.sent[path] = self.draw(st.lists(st.booleans(), max_size=2))
        return "event", {"wait": wait}

    def approval(self, path: str, scope: Scope, before: Sequence[str]) -> dict[str, Any]:
        question: dict[str, Any] = {"prompt": "Well? ${{ " + self.value_of(scope) + " }}"}
        kind = self.pick(["", "skip", "choices", "rewind", "rewind"])
        if kind == "choices":
            question["choices"] = ["yes", "no"]
        elif kind == "skip":
            question["on_reject"] = "skip"
        elif kind == "rewind" and before:
            question["on_reject"] = {"rewind_to": self.pick(before), "max_rounds": self.pick([2, 3])}
        choices = question.get("choices", ["approve", "reject"])
        if self.chance(3):
            question["deadline"] = {"after": self.duration(), "then": self.pick([*choices, "fail"])}
            choices = [*choices, "silent"]
        self.decisions[path] = [self.pick([choices[1], *choices]) for _ in range(self.pick([1, 1, 2, 3]))]
        return {"approval": question}

    def child(self, number: int) -> dict[str, Any]:
        """A whole workflow inside; nothing in it waits for the world."""
        name = f"kid{number}"
        steps = {"y1": self.call(f"{name}!y1", Scope()), "y2": {"needs": ["y1"], **self.call(f"{name}!y2", Scope())}}
        tree: dict[str, Any] = {"dsl": "1", "name": name, "max_parallel": 1, "steps": steps}
        tree["inputs"] = {"n": {"type": "integer", "default": 3}}
        tree["outputs"] = {"n": "${{ inputs.n }}", "r": "${{ default(steps.y2.output, null) }}"}
        step: dict[str, Any] = {"workflow": tree, "with": {"n": self.pick([1, 9])}}
        if self.chance(3):
            step["retry"] = self.retry()
        return step
