"""What runs have exercised of their workflows: which ends of which steps, which routes, which decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import attrs

from statemachine_flow.builder import Workflow
from statemachine_flow.journal import Record
from statemachine_flow.model import Definition, Step
from statemachine_flow.plan.routes import targets_of
from statemachine_flow.snapshot import decode_definition
from statemachine_flow.steps.approval import Approval
from statemachine_flow.steps.wait import Wait
from statemachine_flow.stores.base import RunFilter, Store
from statemachine_flow.testing.places import own_steps, without_items
from statemachine_flow.values import decode_value

_MANY: Final = RunFilter(limit=100_000)
_OF_RECORDS: Final[Mapping[str, str]] = {
    "step.complete": "completes",
    "step.fail": "fails",
    "step.skip": "is skipped",
    "step.back_off": "is tried again",
}


def marks_of(definition: Definition) -> Iterator[tuple[str, str]]:
    """Everything that can be exercised of a workflow: place, and what happens there; "" is the run.

    Example:
        >>> workflow = Workflow("one")
        >>> _ = workflow.run("build", ["make"], when="true", retry={"max_attempts": 2})
        >>> [f"{place} {what}" for place, what in marks_of(workflow.definition)][2:]
        ['build completes', 'build fails', 'build is tried again', 'build is skipped']
    """
    yield "", "completes"
    yield "", "fails"
    for place, step in own_steps(definition):
        yield place, "completes"
        if step.verb.is_retried:
            yield place, "fails"
            retry = step.retry or (definition.defaults.retry if step.verb.is_body else None)
            if retry is not None and retry.max_attempts > 1:
                yield place, "is tried again"
        if step.when is not None:
            yield place, "is skipped"
        if step.repeat is not None:
            yield place, "is repeated"
        yield from ((place, what) for what in _of_world(step))
        if step.next is not None:
            yield from ((place, f"goes to {target}") for target in targets_of(step))


def _of_world(step: Step) -> Iterator[str]:
    if isinstance(step.verb, Approval):
        yield from (f"is decided: {choice}" for choice in step.verb.choices)
        if step.verb.approval.deadline is not None:
            yield "is decided by nobody in time"
    elif isinstance(step.verb, Wait) and step.verb.wait.timeout is not None:
        yield "waits in vain"


@attrs.define
class Covered:
    """One workflow, and what was exercised of it."""

    name: str
    #: All that can be.
    marks: list[tuple[str, str]]
    hits: set[tuple[str, str]] = attrs.field(factory=set)

    @property
    def never(self) -> list[tuple[str, str]]:
        """What was not exercised, in the order of the document."""
        return [mark for mark in self.marks if mark not in self.hits]


@final
class Coverage:
    """Collects what the runs of stores have exercised, by workflow.

    Example:
        >>> from statemachine_flow.engine.sync import Engine
        >>> from statemachine_flow.stores.memory import MemoryStore
        >>> workflow = Workflow("one")
        >>> _ = workflow.run("build", ["true"], when="true")
        >>> coverage, store = Coverage(), MemoryStore()
        >>> with Engine(store) as engine:
        ...     _ = engine.run(workflow)
        ...     coverage.add(store)
        >>> print(coverage)
        one: 2 of 5 exercised
          never: the run fails
          never: build fails
          never: build is skipped
    """

    def __init__(self) -> None:
        #: Stores that are counted once more whenever somebody asks.
        self.open: list[Store] = []
        #: Content hash -> the workflow.
        self.workflows: dict[str, Covered] = {}

    def add(self, store: Store) -> None:
        """Count what the runs of a store have done so far; to count one twice changes nothing."""
        for row in store.rows(_MANY):
            if row.definition not in self.workflows:
                body = store.definition(row.definition)
                if body is None:
                    continue
                self._know(row.definition, decode_definition(body))
            for record in store.records(row.id):
                self.workflows[row.definition].hits.update(_hits(record))

    def count(self) -> None:
        """Count what the runs of the open stores have done."""
        for store in self.open:
            self.add(store)

    def _know(self, content_hash: str, definition: Definition) -> Covered:
        known = self.workflows.get(content_hash)
        if known is None:
            known = self.workflows[content_hash] = Covered(definition.name, list(marks_of(definition)))
        return known

    def never(self, workflow: Workflow) -> list[str]:
        """What no run of a workflow has done, such as `gate is decided: reject`."""
        self.count()
        return [_sentence(mark) for mark in self._know(workflow.content_hash, workflow.definition).never]

    def __str__(self) -> str:
        self.count()
        lines: list[str] = []
        for covered in self.workflows.values():
            never = covered.never
            lines.append(f"{covered.name}: {len(covered.marks) - len(never)} of {len(covered.marks)} exercised")
            lines += [f"  never: {_sentence(mark)}" for mark in never]
        return "\n".join(lines)

    # --- for processes that share the work

    def data(self) -> dict[str, Any]:
        """As plain data, for `merge` in another process."""
        self.count()
        return {
            content_hash: [one.name, [list(mark) for mark in one.marks], [list(mark) for mark in sorted(one.hits)]]
            for content_hash, one in self.workflows.items()
        }

    def merge(self, data: Mapping[str, Any]) -> None:
        """Add what another process counted."""
        for content_hash, (name, marks, hits) in data.items():
            own = self.workflows.setdefault(content_hash, Covered(name, [(place, what) for place, what in marks]))
            own.hits.update((place, what) for place, what in hits)


def _sentence(mark: tuple[str, str]) -> str:
    place, what = mark
    return f"{place or 'the run'} {what}"


def _hits(record: Record) -> Iterator[tuple[str, str]]:
    if record.step is None:
        if record.kind in ("run.complete", "run.fail"):
            yield "", "completes" if record.kind == "run.complete" else "fails"
        return
    place, data = without_items(record.step), record.decode()
    if (what := _OF_RECORDS.get(record.kind)) is not None:
        yield place, what
    if (target := getattr(data, "next", None)) is not None:
        yield place, f"goes to {target}"
    if getattr(data, "round", None) is not None:
        yield place, "is repeated"
    yield from ((place, what) for what in _decided(record.kind, data))


def _decided(kind: str, data: Any) -> Iterator[str]:
    """What the end of a step says of the world that it waited for."""
    if kind == "step.fail" and data.error.kind == "step.timeout":
        yield "waits in vain"
    if kind == "step.fail" and data.error.kind == "step.rejected":
        yield "is decided: reject"
        if "by deadline" in data.error.message:
            yield "is decided by nobody in time"
    if kind != "step.complete" or not bytes(data.output):
        return
    output = decode_value(data.output)
    if isinstance(output, Mapping) and "decision" in output:
        yield f"is decided: {output['decision']}"
        if output.get("by") == "deadline":
            yield "is decided by nobody in time"
    elif output is None and data.signal is None:
        yield "waits in vain"
