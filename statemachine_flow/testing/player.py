"""Plays a script in the place of step bodies, and remembers which began; it outlives every death."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final, cast, final

import attrs

from statemachine_flow.agents import AgentReply, Agents
from statemachine_flow.context import StepContext
from statemachine_flow.engine.verify import Verdict
from statemachine_flow.executors.command import Command, CommandResult, shell_argv
from statemachine_flow.executors.command_errors import exit_error
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.journal import Created
from statemachine_flow.steps.agent import Agent
from statemachine_flow.steps.base import Attempt, ExecutableVerb
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.parameters import shape_of
from statemachine_flow.steps.run import Run
from statemachine_flow.stores.base import Store
from statemachine_flow.testing.fits import written
from statemachine_flow.testing.loop import running_loop
from statemachine_flow.testing.outcomes import BodyOutcome, Decide, Exit, Fail, Found, Outcome, Return, Signal
from statemachine_flow.testing.script import Script
from statemachine_flow.testing.threads import BodyThreads
from statemachine_flow.testing.turns import Turns

_NOTHING: Final = object()


@attrs.define
class Began:
    """An attempt whose body began."""

    run_id: str
    path: str
    attempt: int
    #: The place of the step, counted from the run above all.
    place: str
    #: What it returned; nothing while it has not ended, or raised.
    output: Any = attrs.field(default=_NOTHING, repr=False)
    #: Whether it raised something.
    has_failed: bool = False


@final
class Player:
    """A `StandIn` that answers from a script, and lets bodies of which it says nothing do their own work.

    It works on a `VirtualLoop`. What is carried out in a thread or another process begins one after the other, and
    every end is told only when the one before has had its effects, so that a run writes the same records in every
    execution, and the end of each body in a write of its own.

    Args:
        script: what happens.
        store: where the journals are, behind anything that may die.
    """

    def __init__(self, script: Script, store: Store) -> None:
        self.script = script
        self.threads: ThreadExecutor = BodyThreads()
        #: Every body that began, in order.
        self.began: list[Began] = []
        self._store = store
        self._prefixes: dict[str, str] = {}

    # --- for the engine

    async def execute(self, verb: ExecutableVerb, attempt: Attempt) -> Any:
        """See `StandIn.execute`."""
        turns, outcome = running_loop().turns, self._body_outcome(attempt.context)
        if outcome is None and _is_elsewhere(verb, attempt):
            await turns.begin()
        rank, began = len(self.began), self._begin(attempt.context)
        try:
            began.output = await (_play(outcome, verb, attempt) if outcome else _carry_out(verb, attempt, turns))
        except (Exception, asyncio.CancelledError) as error:
            began.has_failed = isinstance(error, Exception)
            await turns.settled(rank)
            raise
        await turns.settled(rank)
        return began.output

    def execute_in(self, verb: ExecutableVerb, connection: Any, attempt: Attempt) -> Any:
        """See `StandIn.execute_in`."""
        began, outcome = self._begin(attempt.context), self._body_outcome(attempt.context)
        try:
            if outcome is None:
                began.output = cast(Any, verb).execute_in(connection, attempt)
            else:
                began.output = _said(outcome, verb)
        except Exception:
            began.has_failed = True
            raise
        return began.output

    def verdict(self, attempt: Attempt) -> Any:
        """See `StandIn.verdict`."""
        context = attempt.context
        if self._outcome(context.run_id, context.path, context.attempt) is None:
            return None  # the step's own function is asked
        return self.truth(context.run_id, context.path, context.attempt)

    # --- for people

    def place(self, run_id: str, path: str) -> str:
        """The place of a step of a run or of a child run, counted from the run above all."""
        if run_id not in self._prefixes:
            records = self._store.records(run_id)
            parent = cast(Created, records[0].decode()).parent if records else None
            self._prefixes[run_id] = "" if parent is None else self.place(*parent) + "/"
        return self._prefixes[run_id] + path

    def answer(self, run_id: str, path: str, attempt: int) -> Signal | Decide | None:
        """What the script says to a step that waits; None if nothing."""
        outcome = self._outcome(run_id, path, attempt)
        return outcome if isinstance(outcome, Signal | Decide) else None

    def truth(self, run_id: str, path: str, attempt: int) -> Verdict | None:
        """What somebody finds out about an attempt that was cut off; None if nobody can: its body did not end."""
        outcome = self._outcome(run_id, path, attempt)
        began = next(
            (one for one in self.began if (one.run_id, one.path, one.attempt) == (run_id, path, attempt)), None
        )
        found: Found | None = getattr(outcome, "found", None)
        if found is None:
            if began is None:
                found = "retry"
            elif began.has_failed or isinstance(outcome, Fail):
                found = "failed"
            elif began.output is not _NOTHING or isinstance(outcome, Return | Exit):
                found = "completed"
            else:
                return None
        output = _planned(outcome) if began is None or began.output is _NOTHING else began.output
        return Verdict(found, output if found == "completed" else None)

    def _begin(self, context: StepContext) -> Began:
        began = Began(context.run_id, context.path, context.attempt, self.place(context.run_id, context.path))
        self.began.append(began)
        return began

    def _body_outcome(self, context: StepContext) -> BodyOutcome | None:
        return cast("BodyOutcome | None", self._outcome(context.run_id, context.path, context.attempt))

    def _outcome(self, run_id: str, path: str, attempt: int) -> Outcome | None:
        """What the script says; an attempt that was cut off is followed by one that goes like it."""
        place = self.place(run_id, path)
        if self.script.outcome(place, 1) is None:
            return None
        cut_off = sum(record.kind == "step.interrupt" and record.step == path for record in self._store.records(run_id))
        is_last = self._is_cut_off(run_id, path)
        return self.script.outcome(place, attempt - cut_off + is_last)

    def _is_cut_off(self, run_id: str, path: str) -> bool:
        """Whether the last thing that is known of a step is that it was cut off."""
        kinds = [record.kind for record in self._store.records(run_id) if record.step == path]
        return kinds[-1:] == ["step.interrupt"]


def _is_process(verb: ExecutableVerb) -> bool:
    return isinstance(verb, Run) or (isinstance(verb, Call) and verb.isolation == "process")


def _is_elsewhere(verb: ExecutableVerb, attempt: Attempt) -> bool:
    """Whether a body is carried out in a thread or in another process."""
    if isinstance(verb, Agent):
        return not shape_of(attempt.agents.resolve(verb.agent)).is_async
    if isinstance(verb, Call) and verb.isolation == "thread":
        return not shape_of(attempt.functions.resolve(verb.call)).is_async
    return _is_process(verb)


async def _carry_out(verb: ExecutableVerb, attempt: Attempt, turns: Turns) -> Any:
    with turns.working() if _is_process(verb) else contextlib.nullcontext():
        return await verb.execute(attempt)


async def _play(outcome: BodyOutcome, verb: ExecutableVerb, attempt: Attempt) -> Any:
    if outcome.takes:
        await asyncio.sleep(outcome.takes)
    if not isinstance(verb, Agent) or not isinstance(outcome, Return):
        return _said(outcome, verb)
    # The verb itself makes of the answer what it makes of any: usage counted, JSON read.
    reply = AgentReply(outcome.value, cost_usd=outcome.cost_usd, tokens=outcome.tokens)
    asked = attrs.evolve(attempt, agents=Agents({verb.agent: lambda _request: reply}))
    try:
        return await verb.execute(asked)
    finally:
        attempt.meter.add(asked.meter)


def _planned(outcome: Outcome | None) -> Any:
    """What a body would have returned that did not come to it."""
    if isinstance(outcome, Exit):
        return {"stdout": outcome.stdout, "stderr": outcome.stderr, "exit_code": outcome.status}
    return outcome.value if isinstance(outcome, Return) else None


def _said(outcome: BodyOutcome, verb: ExecutableVerb) -> Any:
    if isinstance(outcome, Fail):
        raise outcome.error()
    if isinstance(verb, Run):
        return _output_of(outcome, verb)
    return outcome.value if isinstance(outcome, Return) else None


def _output_of(outcome: Return | Exit, verb: Run) -> Mapping[str, Any]:
    """The output of a command that was not started.

    Raises:
        StepError: its status is none that the step allows.
    """
    if (output := written(outcome, verb)) is not None:
        return output
    failed = cast(Exit, outcome)  # what a command returns is always allowed
    argv = shell_argv(verb.run) if isinstance(verb.run, str) else verb.run
    result = CommandResult(exit_code=failed.status, stdout=failed.stdout, stderr=failed.stderr)
    raise exit_error(Command(argv=argv, cwd="", env={}), result)
