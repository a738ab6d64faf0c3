"""The row of a run that is only beginning."""

from __future__ import annotations

from statemachine_flow.journal import Created
from statemachine_flow.stores.base import Owner, RunRow


def new_row(run_id: str, created: Created, now: int, owner: Owner | None) -> RunRow:
    """The row as it stands before the first write about the run.

    Args:
        run_id: its id.
        created: what it begins with.
        now: the time.
        owner: who will work on it; None for nobody.
    """
    return RunRow(
        id=run_id,
        workflow=created.workflow,
        version=created.version,
        definition=created.definition,
        state="pending",
        seq=0,
        epoch=1,
        owner=owner,
        created_at=now,
        updated_at=now,
        started_at=None,
        ended_at=None,
        steps_total=created.steps,
        steps_done=0,
        message="",
    )
