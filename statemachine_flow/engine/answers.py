"""What people and the world say to runs, as methods of `AsyncEngine`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from statemachine_flow.engine import entry, refusals
from statemachine_flow.engine.core import Core
from statemachine_flow.engine.outcome import clean_text
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import UsageError

#: The longest name of a signal; steps cannot wait for a longer one.
_EVENT_LENGTH: Final = 200

#: What can be said of an attempt that was cut off.
Resolution = Literal["completed", "failed", "retry"]


class Answers:
    """The part of `AsyncEngine` that tells runs what they wait for, whoever works on them."""

    _core: Core

    async def signal(
        self, run_id: str, event: str, payload: Any = None, *, key: str | None = None, by: str | None = None
    ) -> None:
        """Tell a run that something happened; it is durable when this returns, and kept until a step takes it.

        Args:
            run_id: the run, wherever it is worked on; one that nobody works on takes it when it is resumed.
            event: the signal's name.
            payload: plain data, the output of the step that takes it.
            key: tells signals of one name apart.
            by: who says so, for the journal.

        Raises:
            NotFoundError: no such run.
            ConflictError: `run.state`: it has come to rest for good.
            StepError: `step.unserializable`: the payload cannot be kept.
            UsageError: no step can wait for a signal with that name.
        """
        if not all(isinstance(text, str) for text in (event, key or "")):
            raise UsageError("the name and the key of a signal are text")
        if not 1 <= len(event) <= _EVENT_LENGTH:
            raise UsageError(f"the name of a signal has 1 to {_EVENT_LENGTH} characters, not {len(event)}")
        data = {"event": clean_text(event), "key": key, "payload": payload}
        await entry.tell(self._core, run_id, "signal", "", by, data)

    async def approve(
        self,
        run_id: str,
        step: str,
        *,
        choice: str = "approve",
        form: Mapping[str, Any] | None = None,
        by: str | None = None,
        reason: str = "",
        digest: str | None = None,
    ) -> None:
        """Decide an approval that a run waits for; the decision is durable when this returns.

        Args:
            run_id: the run, wherever it is worked on; one that nobody works on takes it when it is resumed.
            step: the path of the approval.
            choice: one of its choices.
            form: its fields by name.
            by: who decides; one of its approvers, where it names some.
            reason: why.
            digest: of what that person was shown, see `StepView.question`; the decision is refused if it is another
                by now.

        Raises:
            NotFoundError: no such run or step.
            ConflictError: `run.refused`: nobody is asked there, or not them, or it is no choice.
            InputError: the form is not filled in as it has to be.
        """
        data = {"step": step, "choice": choice, "form": dict(form or {}), "digest": digest}
        await entry.tell(self._core, run_id, "decide", clean_text(reason), by, data)

    async def reject(
        self,
        run_id: str,
        step: str,
        *,
        form: Mapping[str, Any] | None = None,
        by: str | None = None,
        reason: str = "",
        digest: str | None = None,
    ) -> None:
        """`approve` with the choice `reject`."""
        await self.approve(run_id, step, choice="reject", form=form, by=by, reason=reason, digest=digest)

    async def resolve(
        self,
        run_id: str,
        step: str,
        as_: Resolution,
        *,
        output: Any = None,
        reason: str = "",
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
    ) -> Run:
        """Say what became of an attempt of an `at_most_once` step that was cut off; it is durable when this returns.

        Args:
            run_id: the run.
            step: the path of the step.
            as_: `"completed"` with an output, `"failed"`, or `"retry"`: it took no effect.
            output: its result, if it completed.
            reason: how that is known, for the journal.
            by: who says so, for the journal.
            timeout: how long to wait for another process that works on the run to hear of it, in seconds; None waits
                until it has.
            wait: False returns as soon as it is durable.

        Returns:
            The run. If nobody works on it, it is as it was until somebody resumes it.

        Raises:
            NotFoundError: no such run or step.
            ConflictError: `run.refused`: the step was not cut off.
            UsageError: it cannot have ended like that.
        """
        if as_ not in get_args(Resolution):
            raise UsageError(f"an attempt ends as {', '.join(get_args(Resolution))}, not as {as_!r}")
        data = {"step": step, "as": as_, "output": output}
        with refusals.naming_the_dead(self._core, run_id):
            request = await entry.tell(self._core, run_id, "resolve", clean_text(reason), by, data)
        if request and wait:
            await entry.until_heard(self._core, run_id, request, timeout)
        return self._core.view(run_id)
