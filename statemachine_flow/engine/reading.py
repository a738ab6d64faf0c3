"""What callers read of runs and of their store, as methods of `AsyncEngine`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from statemachine_flow.engine import entry
from statemachine_flow.engine.core import Core
from statemachine_flow.engine.examine import Verification, examine
from statemachine_flow.engine.view import Event, Run, event_of, rejected_event
from statemachine_flow.errors import NotFoundError, UsageError
from statemachine_flow.journal import require_end, verified
from statemachine_flow.lifecycle import RunState
from statemachine_flow.stores.base import RunFilter, RunRow


class Reading:
    """The part of `AsyncEngine` that changes no run: lists, journals, the store."""

    _core: Core

    async def get(self, run_id: str) -> Run:
        """The run as the store has it; one that is just being started here is waited for.

        Raises:
            NotFoundError: no such run.
        """
        await entry.until_durable(self._core, run_id)
        return self._core.view(run_id)

    async def list(
        self,
        *,
        states: Iterable[str] = (),
        workflow: str | None = None,
        since: int | None = None,
        limit: int = 100,
        owned: bool = False,
    ) -> Sequence[RunRow]:
        """Runs, newest first, one row each; one whose row is damaged passes every filter, see `RunRow.damage`.

        Args:
            states: only these.
            workflow: only runs of the workflow with this name.
            since: only runs created then or later, in microseconds UTC.
            limit: at most so many.
            owned: only runs that a process works on, or worked on when it died.

        Raises:
            UsageError: there is no such state.
        """
        if limit < 1:
            raise UsageError(f"a list of {limit} runs is none", hint="give a limit of 1 or more")
        wanted = tuple(states)
        for state in wanted:
            if state not in tuple(RunState):
                raise UsageError(f"there is no run state {state!r}", hint=f"states: {', '.join(RunState)}")
        which = RunFilter(states=wanted, workflow=workflow, since=since, limit=limit, owned=owned)
        return self._core.store.rows(which)

    async def events(self, run_id: str, *, after: int = 0) -> Sequence[Event]:
        """The run's journal from the record behind `after` on.

        Raises:
            NotFoundError: no such run.
            StoreError: `store.corrupt`: a record fails its checksum.
        """
        row = self._core.row(run_id)
        # The record before says what the first one has to follow.
        records = self._core.store.records(run_id, max(0, min(after, row.seq) - 1))
        require_end(run_id, records[-1].seq if records else 0, row.seq)
        before = records[0] if after > 0 and records else None
        following = records[1:] if before else records
        return [event_of(run_id, record) for record in verified(run_id, following, before) if record.seq > after]

    async def rejected(self, run_id: str) -> Sequence[Event]:
        """What owners wanted to add to the run's journal after they had lost it: kept for people, never believed.

        Their numbers are 0, for they have no place in the journal.

        Raises:
            NotFoundError: no such run.
        """
        self._core.row(run_id)
        return [rejected_event(record) for record in self._core.store.rejected(run_id)]

    async def find(self, name: str) -> str:
        """The id of the run that `name` stands for: an id, a unique prefix of one, or `@last`.

        That is the newest run; where another run started that one, the run above it.

        Raises:
            NotFoundError: nothing matches.
            UsageError: `usage.ambiguous`: several do.
        """
        store = self._core.store
        if name != "@last" and store.row(name) is not None:
            return name
        found = store.match("" if name == "@last" else name, 1 if name == "@last" else 6) if name else []
        if not found:
            store.confirm_absent(name)
            raise NotFoundError(f"no run {name[:100]!r}", hint="`smf list --all` shows every run")
        if len(found) > 1:
            some = ", ".join(found[:5])
            raise UsageError(f"{name!r} is the beginning of several runs: {some}", kind="usage.ambiguous")
        run_id = found[0]
        while name == "@last" and "." in run_id:  # as in the id of every child run
            parent = self._core.load(self._core.row(run_id))[1].created.parent
            if parent is None:
                break
            run_id = parent[0]
        return run_id

    # --- the store

    async def redact(self, run_id: str, text: str) -> str:
        """A text as it may be shown or logged: without the secrets of a run, as far as they are known here.

        Args:
            run_id: the run.
            text: what somebody said to it, for instance.

        Raises:
            NotFoundError: no such run.
        """
        return str(self._core.names_of(run_id).hide(text))

    async def verify(self, run_id: str | None = None) -> Verification:
        """Compute a run, or every run, again from its journal, and compare it with all that the store has of it.

        Args:
            run_id: the run; None looks at every run and at the store itself.

        Returns:
            What was looked at, and everything that is damaged; nothing is changed.

        Raises:
            NotFoundError: no such run.
        """
        store = self._core.store
        if run_id is not None and not store.match(run_id, 1):
            self._core.row(run_id)
        return examine(store, run_id)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the store, while runs go on, to a file that is a store of its own.

        It holds everything that was durable when this was called. Nobody owns its runs, so they can be resumed there;
        large outputs lie in the folder `PATH.blobs` beside it. The file appears once it is whole and was verified.

        Args:
            path: of the new file; nothing may be there.

        Raises:
            StoreError: `store.exists`, `store.full`, `store.io`; `store.corrupt` if the store is damaged.
            UsageError: the store has no file.
        """
        self._core.store.backup(path)

    async def health(self) -> Mapping[str, Any]:
        """Facts about the store, by name: where it lies, how it is set, how large it is, who works on its runs."""
        return self._core.store.health()
