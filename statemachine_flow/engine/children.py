"""Runs that steps of other runs started: begun, followed, stopped, and their ends reported."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, final

import msgspec

from statemachine_flow.builder.children import pin
from statemachine_flow.engine.commands import StartChild, StopChild
from statemachine_flow.engine.inputs import complete_inputs, split_secrets
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError, SmfError, StepError
from statemachine_flow.journal import Created, ErrorInfo, RunFold
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.plan import Node
from statemachine_flow.steps.workflow import Child
from statemachine_flow.values import encode_value

if TYPE_CHECKING:
    from statemachine_flow.engine.core import Core


@final
class Children:
    """The child runs of one engine's runs.

    Args:
        core: the engine.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        #: Child runs that another process works on: id -> who waits for them.
        self._elsewhere: dict[str, tuple[Worker, Node]] = {}

    def start(self, parent: Worker, command: StartChild) -> None:
        """Begin a child run; if there is one already, go on with it, or report how it ended."""
        node, run_id = command.node, command.run_id
        try:
            worker = self._worker(parent, node, run_id)
        except ConflictError as error:
            if error.kind != "run.owned":
                self._report(parent, node, run_id, failed(error))
            self._elsewhere[run_id] = parent, node
        except SmfError as error:
            self._report(parent, node, run_id, failed(error))
        else:
            if worker is not None:
                worker.finished.add_done_callback(lambda _: self._ended(parent, node, run_id, worker.fold))

    def _worker(self, parent: Worker, node: Node, run_id: str) -> Worker | None:
        core = self._core
        if run_id in core.workers:
            return core.workers[run_id]
        row = core.store.row(run_id)
        if row is None:
            return self._begin(parent, node, run_id)
        fold = core.load(row)[1]
        if fold.created.parent != (parent.fold.id, node.path):
            raise ConflictError(f"the run id {run_id} is taken", kind="run.conflict", run=run_id)
        if row.state in RUN_AT_REST:
            self._ended(parent, node, run_id, fold)
            return None
        core.share(fold.created.definition, parent.fold.created.definition)
        worker = core.take_hold(run_id, listener=parent.on_record)
        core.go_on(worker, None)
        return worker

    def _begin(self, parent: Worker, node: Node, run_id: str) -> Worker:
        core, fold, verb = self._core, parent.fold, node.step.verb
        assert isinstance(verb, Child)  # noqa: S101 - no other verb has child runs
        content_hash = fold.created.children.get(pin(fold.created.definition, verb.workflow))
        if content_hash is None:
            raise StepError(f"the workflow of step '{node.path}' was not there when the run began", kind="step.child")
        plan = core.plan_of(content_hash)
        template = node.step.templates.get("with_")
        given = dict(verb.with_) if template is None else template.render(parent.decider.names(node))
        find = partial(core.secrets.find, run_id)
        complete = complete_inputs(plan.definition, given, fold.created.cwd, find=find)
        values, secrets = split_secrets(plan.definition, complete)
        core.secrets.give(run_id, secrets)
        created = Created(
            workflow=plan.definition.name,
            version=plan.definition.version,
            definition=content_hash,
            inputs=msgspec.Raw(encode_value(values)),
            steps=len(plan.definition.steps),
            cwd=fold.created.cwd,
            code=core.code_of(content_hash, fold.created.definition),
            children=fold.created.children,
            parent=(fold.id, node.path),
            depth=fold.created.depth + 1,
        )
        return core.begin(run_id, plan.definition, created, parent.on_record, deadline=fold.deadline)

    def stop(self, command: StopChild) -> None:
        """Have a child run cancelled or paused, whoever works on it."""
        core, run_id = self._core, command.run_id
        worker = core.workers.get(run_id)
        if worker is not None:
            with contextlib.suppress(SmfError):  # it came to rest, or was stopped before
                core.do(worker, command.action, "the run above it was stopped", None)
        elif (row := core.store.row(run_id)) is not None and row.state not in RUN_AT_REST:
            core.store.request(run_id, command.action, "", "the run above it was stopped", core.clock.now())
            with contextlib.suppress(SmfError):  # its owner will see it
                core.take_hold(run_id)  # which grants it

    def look(self) -> None:
        """See whether child runs that other processes work on have come to rest."""
        for run_id, (parent, node) in list(self._elsewhere.items()):
            row = self._core.store.row(run_id)
            if row is not None and (row.state in RUN_AT_REST or row.owner is None):
                del self._elsewhere[run_id]
                self.start(parent, StartChild(node, run_id))

    def _ended(self, parent: Worker, node: Node, run_id: str, fold: RunFold) -> None:
        if fold.state in RUN_AT_REST:
            self._report(parent, node, run_id, _outcome_of(fold))

    def _report(self, parent: Worker, node: Node, run_id: str, outcome: Outcome) -> None:
        if self._core.workers.get(parent.fold.id) is parent:
            parent.hear(lambda decider, now: decider.child_ended(node.path, run_id, outcome, now))


def _outcome_of(fold: RunFold) -> Outcome:
    """How the end of a child run looks to the step that started it."""
    if fold.state == "completed":
        return Outcome(status="completed", output=bytes(fold.outputs or encode_value({})))
    cause: Any = fold.error
    message = f"run {fold.id} {fold.state}" + (f": {cause.message or cause.name}" if cause is not None else "")
    name = cause.name if cause is not None else "ChildCancelled"
    error = ErrorInfo("step.child", name, message, None if cause is None else cause.where)
    return Outcome(status="failed", error=error, names=(name,), retryable=fold.state == "failed")
