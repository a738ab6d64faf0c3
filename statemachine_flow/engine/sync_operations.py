"""What operators do with runs, as methods of `Engine`: the twins of `operations`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.checkpoints import Checkpoint
from statemachine_flow.engine.control import Until
from statemachine_flow.engine.ids import new_run_id
from statemachine_flow.engine.operations import EventListener
from statemachine_flow.engine.view import Run

T = TypeVar("T")


class SyncOperations(ABC):
    """The part of `Engine` that changes runs as a whole, and makes new runs of them."""

    @abstractmethod
    def _call(self, make: Callable[[AsyncEngine], Coroutine[Any, Any, T]]) -> T:
        """Run one coroutine of the twin, and wait for it."""

    @abstractmethod
    def _interruptible(self, run_id: str, make: Callable[[AsyncEngine], Coroutine[Any, Any, Run]]) -> Run:
        """`_call`, where Ctrl-C pauses the run."""

    def pause(
        self,
        run_id: str,
        *,
        interrupt: bool = False,
        reason: str = "",
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
    ) -> Run:
        """See `AsyncEngine.pause`."""
        return self._call(
            lambda engine: engine.pause(run_id, interrupt=interrupt, reason=reason, by=by, timeout=timeout, wait=wait)
        )

    def cancel(
        self,
        run_id: str,
        *,
        reason: str = "",
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
        carry: bool = True,
    ) -> Run:
        """See `AsyncEngine.cancel`."""
        return self._call(
            lambda engine: engine.cancel(run_id, reason=reason, by=by, timeout=timeout, wait=wait, carry=carry)
        )

    def leave(self, run_id: str, *, reason: str = "", by: str | None = None) -> None:
        """See `AsyncEngine.leave`."""
        self._call(lambda engine: engine.leave(run_id, reason=reason, by=by))

    def quarantine(
        self,
        run_id: str,
        *,
        reason: str,
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
    ) -> Run:
        """See `AsyncEngine.quarantine`."""
        return self._call(lambda engine: engine.quarantine(run_id, reason=reason, by=by, timeout=timeout, wait=wait))

    def checkpoint(
        self, run_id: str, label: str, *, reason: str = "", by: str | None = None, timeout: float | None = None
    ) -> Checkpoint:
        """See `AsyncEngine.checkpoint`."""
        return self._call(lambda engine: engine.checkpoint(run_id, label, reason=reason, by=by, timeout=timeout))

    def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        """See `AsyncEngine.checkpoints`."""
        return self._call(lambda engine: engine.checkpoints(run_id))

    def restore(
        self,
        checkpoint: str,
        *,
        run_id: str | None = None,
        reason: str = "",
        by: str | None = None,
        start: bool = True,
        on_event: EventListener | None = None,
        until: Until = "waiting",
    ) -> Run:
        """See `AsyncEngine.restore`. Ctrl-C leaves the new run paused, to be resumed."""
        new_id = run_id or new_run_id()
        return self._interruptible(
            new_id,
            lambda engine: engine.restore(
                checkpoint, run_id=new_id, reason=reason, by=by, start=start, on_event=on_event, until=until
            ),
        )

    def fork(
        self,
        source: str,
        *,
        at: int | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - as on the command line
        run_id: str | None = None,
        reason: str = "",
        by: str | None = None,
        start: bool = True,
        on_event: EventListener | None = None,
        until: Until = "waiting",
    ) -> Run:
        """See `AsyncEngine.fork`. Ctrl-C leaves the new run paused, to be resumed.

        Example:
            >>> from statemachine_flow import Engine, Workflow
            >>> workflow = Workflow("greeting")
            >>> name = workflow.call("name", lambda: "you")
            >>> greet = workflow.call("greet", lambda name: f"Hello {name}", with_={"name": name.output})
            >>> with Engine("memory://") as engine:
            ...     first = engine.run(workflow, run_id="first")
            ...     named = next(one for one in engine.checkpoints("first") if one.step == "name")
            ...     engine.fork("first", at=named.seq, set={"steps.name.output": "me"}).steps["greet"].output
            ...     engine.rerun("first", from_="greet").steps["greet"].attempt
            ...     engine.restore(named.id).forked
            'Hello me'
            1
            Forked(run='first', seq=4, step='', edits='')
        """
        new_id = run_id or new_run_id()
        return self._interruptible(
            new_id,
            lambda engine: engine.fork(
                source,
                at=at,
                set=set,
                run_id=new_id,
                reason=reason,
                by=by,
                start=start,
                on_event=on_event,
                until=until,
            ),
        )

    def rerun(
        self,
        source: str,
        *,
        from_: str,
        run_id: str | None = None,
        reason: str = "",
        by: str | None = None,
        start: bool = True,
        on_event: EventListener | None = None,
        until: Until = "waiting",
    ) -> Run:
        """See `AsyncEngine.rerun`. Ctrl-C leaves the new run paused, to be resumed."""
        new_id = run_id or new_run_id()
        return self._interruptible(
            new_id,
            lambda engine: engine.rerun(
                source,
                from_=from_,
                run_id=new_id,
                reason=reason,
                by=by,
                start=start,
                on_event=on_event,
                until=until,
            ),
        )
