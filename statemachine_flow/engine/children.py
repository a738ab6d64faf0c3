"""Runs that steps of other runs started: begun, followed, stopped, and their ends reported."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from statemachine_flow.builder.children import pin
from statemachine_flow.engine.code import code_of
from statemachine_flow.engine.commands import StartChild, StopChild
from statemachine_flow.engine.inputs import complete_inputs, split_secrets
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.reasons import ABOVE_STOPPED, is_of_an_engine
from statemachine_flow.engine.rules import AT_WORK
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError, SmfError, StepError, StoreError
from statemachine_flow.journal import Created, ErrorInfo, RunFold
from statemachine_flow.lifecycle import RUN_AT_REST, RunState
from statemachine_flow.plan import Node
from statemachine_flow.steps.workflow import Child
from statemachine_flow.values import encode_value

if TYPE_CHECKING:
    from statemachine_flow.engine.core import Core


#: What says that somebody else works on a child run now.
_TAKEN: Final = ("run.owned", "run.fenced", "run.conflict")


@final
class Children:
    """The child runs of one engine's runs.

    Args:
        core: the engine.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        #: Child runs that nobody works on here and that have not ended: id -> who waits for them.
        self._elsewhere: dict[str, tuple[Worker, Node]] = {}

    def start(self, parent: Worker, command: StartChild) -> None:
        """Begin a child run; if there is one already, go on with it, or report how it ended."""
        node, run_id = command.node, command.run_id
        self._elsewhere.pop(run_id, None)
        try:
            self._follow(parent, command)
        except StoreError as error:
            parent.end(error)  # it says nothing of the child, whose end may be good
        except SmfError as error:
            if error.kind == "run.owned":
                self._elsewhere[run_id] = parent, node
            else:
                self._report(parent, node, run_id, failed(error))

    def _follow(self, parent: Worker, command: StartChild) -> None:
        core, node, run_id = self._core, command.node, command.run_id
        worker, row = core.workers.get(run_id), core.store.row(run_id)
        if worker is None and row is None:
            self._begin(parent, node, run_id)
            return
        fold = worker.fold if worker is not None else core.load(core.row(run_id))[1]
        if fold.created.parent != (parent.fold.id, node.path):
            raise ConflictError(f"the run id {run_id} is taken", kind="run.conflict", run=run_id)
        if worker is None and fold.state in RUN_AT_REST:
            self._report(parent, node, run_id, _outcome_of(fold), fold.ended_at)
            return
        is_stopped = parent.fold.state not in AT_WORK or parent.decider.frontier.is_stopped(node)
        if _stays_paused(fold, command) or (worker is None and is_stopped):  # nothing begins of what is about to end
            self._elsewhere[run_id] = parent, node
        elif worker is None:
            core.library.share(fold.created.definition, parent.fold.created.definition)
            self._give_secrets(parent, node, run_id, fold)
            worker = core.take_hold(run_id, listener=parent.on_record)
            core.go_on(worker, None)
        elif fold.state == RunState.PAUSED:  # it was paused with the run above it, and what was under way goes on
            core.go_on(worker, None)

    def _give_secrets(self, parent: Worker, node: Node, run_id: str, fold: RunFold) -> None:
        """Hand secret inputs down again: no journal has them. One that cannot be had is missed where it is read."""
        declared = self._core.library.plan_of(fold.created.definition).definition.inputs
        if any(one.secret for one in declared.values()):
            with contextlib.suppress(SmfError):
                given = self._given(parent, node)
                secrets = {name: value for name, value in given.items() if name in declared and declared[name].secret}
                self._core.secrets.give(run_id, secrets)

    @staticmethod
    def _given(parent: Worker, node: Node) -> dict[str, Any]:
        """The inputs that a step gives its child run.

        Raises:
            SmfError: one of them cannot be computed.
        """
        template = node.step.templates.get("with_")
        written = getattr(node.step.verb, "with_", {})
        return dict(written if template is None else template.render(parent.decider.names(node)))

    def _begin(self, parent: Worker, node: Node, run_id: str) -> Worker:
        core, fold, verb = self._core, parent.fold, node.step.verb
        assert isinstance(verb, Child)  # noqa: S101 - no other verb has child runs
        content_hash = fold.created.children.get(pin(fold.created.definition, verb.workflow))
        if content_hash is None:
            raise StepError(f"the workflow of step '{node.path}' was not there when the run began", kind="step.child")
        plan = core.library.plan_of(content_hash)
        find = partial(core.secrets.find, run_id)
        complete = complete_inputs(plan.definition, self._given(parent, node), fold.created.cwd, find=find)
        values, secrets = split_secrets(plan.definition, complete)
        core.secrets.give(run_id, secrets)
        created = Created(
            workflow=plan.definition.name,
            version=plan.definition.version,
            definition=content_hash,
            inputs=msgspec.Raw(encode_value(parent.decider.names.hide(values))),
            steps=len(plan.definition.steps),
            cwd=fold.created.cwd,
            code=code_of(core.library, content_hash, fold.created.definition),
            children=fold.created.children,
            parent=(fold.id, node.path),
            depth=fold.created.depth + 1,
        )
        return core.begin(run_id, plan.definition, created, parent.on_record, deadline=fold.deadline)

    def stop(self, parent: Worker, command: StopChild) -> None:
        """Have a child run cancelled or paused, whoever works on it."""
        core, run_id = self._core, command.run_id
        worker = core.workers.get(run_id)
        if worker is not None:
            with contextlib.suppress(SmfError):  # it came to rest, or was stopped before
                core.do(worker, command.action, ABOVE_STOPPED, None)
        elif (row := core.store.row(run_id)) is not None and row.state not in RUN_AT_REST:
            core.store.request(run_id, command.action, "", ABOVE_STOPPED, core.clock.now())
            with contextlib.suppress(SmfError):  # its owner will see it
                core.take_hold(run_id, listener=parent.on_record)  # which grants it

    def left(self, child: Worker) -> None:
        """A run is no longer worked on here: whoever waits for it is told how it ended, or looks for it elsewhere."""
        place, run_id = child.fold.created.parent, child.fold.id
        parent = None if place is None else self._core.workers.get(place[0])
        node = None if place is None or parent is None else parent.decider.frontier.nodes.get(place[1])
        if parent is None or node is None:
            return
        error = child.finished.exception()
        if error is None and child.fold.state in RUN_AT_REST:
            self._report(parent, node, run_id, _outcome_of(child.fold), child.fold.ended_at)
        elif isinstance(error, SmfError) and error.kind not in _TAKEN:
            parent.end(error)  # a full disk, a bug: what became of the child is known only when they are taken up again
        else:
            self._elsewhere[run_id] = parent, node

    async def kept(self, fold: RunFold) -> None:
        """Wait until what the child runs of a run were told is durable, those of its children included."""
        for step in fold.steps.values():
            child = self._core.workers.get(step.waits.run) if step.waits is not None and step.waits.run else None
            if child is not None and not child.finished.done():
                with contextlib.suppress(SmfError):
                    await child.kept()
                await self.kept(child.fold)

    def look(self) -> None:
        """See whether child runs that nobody works on here have come to rest, or were left to whoever comes next."""
        core = self._core
        for run_id, (parent, node) in list(self._elsewhere.items()):
            if core.workers.get(parent.fold.id) is not parent:
                del self._elsewhere[run_id]
                continue
            try:
                row = core.store.row(run_id)
            except StoreError:  # damaged, which `verify` tells, or not to be read for now; others still are
                continue
            if row is None or (row.owner is None and row.state != RunState.PAUSED) or core.ownership.is_left(row):
                self.start(parent, StartChild(node, run_id))

    def _report(self, parent: Worker, node: Node, run_id: str, outcome: Outcome, ended_at: int | None = None) -> None:
        self._elsewhere.pop(run_id, None)
        if self._core.workers.get(parent.fold.id) is parent:
            parent.hear(lambda decider, now: decider.child_ended(node.path, run_id, outcome, now, ended_at=ended_at))


def _stays_paused(fold: RunFold, command: StartChild) -> bool:
    """Whether a child run was paused for its own sake, and is resumed by itself."""
    return fold.state == RunState.PAUSED and not command.resumes and not is_of_an_engine(fold.reason)


def _outcome_of(fold: RunFold) -> Outcome:
    """How the end of a child run looks to the step that started it."""
    if fold.state == "completed":
        return Outcome(status="completed", output=bytes(fold.outputs or encode_value({})))
    cause: Any = fold.error
    message = f"run {fold.id} {fold.state}" + (f": {cause.message or cause.name}" if cause is not None else "")
    name = cause.name if cause is not None else "ChildCancelled"
    error = ErrorInfo("step.child", name, message, None if cause is None else cause.where)
    return Outcome(status="failed", error=error, names=(name,), retryable=fold.state == "failed")
