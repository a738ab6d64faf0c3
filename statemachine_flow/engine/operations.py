"""What operators do with runs, as methods of `AsyncEngine`; `sync_operations` has their twins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from statemachine_flow.engine import control, forks, marking
from statemachine_flow.engine.checkpoints import Checkpoint, checkpoints_of, find_point, parse_checkpoint
from statemachine_flow.engine.control import Until, cleaned
from statemachine_flow.engine.copies import entries_of
from statemachine_flow.engine.core import Core
from statemachine_flow.engine.view import Event, Run, event_of
from statemachine_flow.journal import Record, require_end, verified

EventListener = Callable[[Event], None]


class Operations:
    """The part of `AsyncEngine` that changes runs as a whole, and makes new runs of them."""

    _core: Core

    async def pause(
        self,
        run_id: str,
        *,
        interrupt: bool = False,
        reason: str = "",
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
    ) -> Run:
        """Let no new attempt begin; those under way finish, or are stopped with `interrupt`.

        Args:
            run_id: the run, worked on here or in another process.
            interrupt: stop what is under way.
            reason: for the journal.
            by: who asks, for the journal.
            timeout: how long to wait until that is so, in seconds; None waits until it is.
            wait: False returns as soon as it is durable: in the journal, or as a request to that process.

        Returns:
            The run once nothing of it is under way; it is not paused yet if nobody waited, or not long enough, and
            will be. One that is paused already, or has not begun, is returned as it is.

        Raises:
            NotFoundError: no such run.
            ConflictError: `run.state`: it is at rest for good, or came to rest first.
        """
        return await control.pause(
            self._core, run_id, interrupt=interrupt, reason=reason, by=by, timeout=timeout, wait=wait
        )

    async def leave(self, run_id: str, *, reason: str = "", by: str | None = None) -> None:
        """Stop working on a run here, so that it can be taken up later; other processes are asked nothing.

        A run that is running is paused, with what is under way stopped; of one that is being cancelled the handlers
        are. Whoever waits here for what another process does with the run waits no longer.

        Args:
            run_id: the run; one that this engine does not work on is none of its concern.
            reason: for the journal, of a run that is paused.
            by: who asks, for the journal.
        """
        await control.leave(self._core, run_id, reason, by)

    async def cancel(
        self,
        run_id: str,
        *,
        reason: str = "",
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
        carry: bool = True,
    ) -> Run:
        """End a run, wherever it is worked on. Cancelling a cancelled run changes nothing.

        Of one that nobody works on, the handlers and compensations are carried out here.

        Args:
            run_id: the run.
            reason: for the journal.
            by: who asks, for the journal.
            timeout: how long to wait for its end, in seconds; None waits until it has come.
            wait: see `pause`.
            carry: False leaves what the end of a run that nobody works on asks for to whoever takes it up.

        Returns:
            The run; it is not at rest yet if nobody waited, or not long enough, and will be cancelled all the same,
            by its owner, or, where that is None, by whoever takes it up.

        Raises:
            NotFoundError: no such run.
            ConflictError: `run.state`: it completed or was quarantined, or came to rest before it could be cancelled.
        """
        return await control.cancel(self._core, run_id, reason=reason, by=by, timeout=timeout, wait=wait, carry=carry)

    async def quarantine(
        self,
        run_id: str,
        *,
        reason: str,
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
    ) -> Run:
        """Set a run aside for good: what is under way is stopped, and nothing touches it again.

        Its child runs are paused. A `fork` of it goes on from where it was.

        Args:
            run_id: the run, wherever it is worked on.
            reason: why, for whoever finds it.
            by: who asks, for the journal.
            timeout: how long to wait for another process to act on it, in seconds; None waits until it has.
            wait: see `pause`.

        Raises:
            NotFoundError: no such run.
            ConflictError: `run.state`: it is neither running, paused nor failed, or came to rest first.
            UsageError: there is no reason.
        """
        return await control.quarantine(self._core, run_id, reason=reason, by=by, timeout=timeout, wait=wait)

    # --- points to go back to

    async def checkpoint(
        self, run_id: str, label: str, *, reason: str = "", by: str | None = None, timeout: float | None = None
    ) -> Checkpoint:
        """Mark the point that a run has come to, so that `restore` finds it by its label.

        Args:
            run_id: the run, wherever it is worked on.
            label: letters, digits, `.`, `_` and `-`; of several points with one label, the last is found.
            reason: for the journal.
            by: who asks, for the journal.
            timeout: how long to wait for another process to act on it, in seconds; None waits until it has.

        Raises:
            NotFoundError: no such run.
            ConflictError: `run.state`: it is over; `run.owned`: that process has not done it yet, and will.
            UsageError: that cannot be a label.
        """
        reason, by = cleaned(reason, by)
        seq = await marking.mark(self._core, run_id, label, reason=reason, by=by, timeout=timeout)
        return next(one for one in await self.checkpoints(run_id) if one.seq == seq)

    async def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        """The points of a run that one can go back to, in order: its start, each end of a step, each marked one.

        Raises:
            NotFoundError: no such run.
            StoreError: `store.corrupt`: a record fails its checksum, or the last ones are gone.
        """
        written, records = self._core.row(run_id).seq, self._core.store.records(run_id)
        require_end(run_id, len(records), written)
        return checkpoints_of(run_id, records)

    async def restore(
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
        """Begin a new run at a checkpoint of another one, which stays as it is: `fork` without edits.

        Args:
            checkpoint: `RUN@SEQ` or `RUN@label`.
            run_id: see `fork`.
            reason: for the journal.
            by: who asks, for the journal.
            start: see `fork`.
            on_event: see `AsyncEngine.start`.
            until: see `AsyncEngine.wait`.

        Raises:
            NotFoundError: no such run or checkpoint.
            ConflictError: see `fork`.
            UsageError: it names no checkpoint.
        """
        source, point = parse_checkpoint(checkpoint)
        self._core.row(source)
        at = find_point(source, entries_of(verified(source, self._core.store.records(source), None)), point)
        return await self.fork(
            source, at=at, run_id=run_id, reason=reason, by=by, start=start, on_event=on_event, until=until
        )

    # --- new runs of old ones

    async def fork(
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
        """Begin a new run at exactly the state that another one had behind one of its records, and go on from there.

        Attempts that were under way there are interrupted, and begin again unless they are `at_most_once`; child runs
        that were waited for begin anew; what falls due does so after the time that was left. Of a run that was
        paused the copy is resumed; of one that had failed it is failed as well, and can be retried.

        Args:
            source: the run; it stays as it is.
            at: the number of the record; by default the last one from which a run can go on.
            set: what is changed in the copy: `inputs.NAME`, `steps.PATH.output`, `steps.PATH.outputs.NAME`, and
                behind a dot each further keys of mappings and numbers of lists -> value. What was computed from it
                before the record stays as it was.
            run_id: of the new run; as in `AsyncEngine.start`, forking twice with one id forks once.
            reason: for the journal.
            by: who asks, for the journal.
            start: False leaves the new run to whoever resumes it.
            on_event: see `AsyncEngine.start`.
            until: see `AsyncEngine.wait`.

        Raises:
            NotFoundError: no such run or record.
            ConflictError: `run.state`: the run is over at that record; `run.conflict`: the new id is taken.
            UsageError: the record is a part of one decision; `usage.edit`: something cannot be set.
            InputError: an input does not fit, or a secret one cannot be had.
        """
        reason, by = cleaned(reason, by)
        edits = dict(set or {})
        new_id = await forks.fork(self._core, source, at=at, edits=edits, new_id=run_id, reason=reason, by=by)
        return await self._go_on(new_id, by, on_event, until, start=start)

    async def rerun(
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
        """Begin a new run that keeps what another one did, except from one of its steps on: that is done anew.

        That step and all that comes after it begin anew; so does what failed, was cancelled or was undone beside it.

        Args:
            source: the run, in whatever state; it stays as it is.
            from_: the path of the step.
            run_id: see `fork`.
            reason: for the journal.
            by: who asks, for the journal.
            start: see `fork`.
            on_event: see `AsyncEngine.start`.
            until: see `AsyncEngine.wait`.

        Raises:
            NotFoundError: no such run or step.
            ConflictError: `run.conflict`: the new id is taken.
            UsageError: the step belongs to the end of the run.
            InputError: a secret input cannot be had.
        """
        reason, by = cleaned(reason, by)
        new_id = await forks.rerun(self._core, source, from_, new_id=run_id, reason=reason, by=by)
        return await self._go_on(new_id, by, on_event, until, start=start)

    async def _go_on(
        self, run_id: str, by: str | None, on_event: EventListener | None, until: Until, *, start: bool
    ) -> Run:
        if not start:
            return self._core.view(run_id)
        worker = await forks.go_on(self._core, run_id, by, as_listener(on_event))
        return worker if isinstance(worker, Run) else await control.rest(self._core, worker, until)


def as_listener(on_event: EventListener | None) -> Callable[[str, Record], None] | None:
    """A listener of events as one of records."""
    if on_event is None:
        return None
    return lambda run_id, record: on_event(event_of(run_id, record))
