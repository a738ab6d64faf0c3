"""Whether a store still holds what was written to it: each run's row and steps computed again from its journal.

Reading a run checks its journal's chain and its definition's checksum. This looks at everything else as well, reports
all it finds instead of stopping at the first, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs

from statemachine_flow.errors import SmfError, StoreError
from statemachine_flow.journal import RunFold, require_end, stream_blobs
from statemachine_flow.snapshot import decode_definition
from statemachine_flow.stores.base import RunFilter, RunRow, Store

#: How often a run is read again whose owner writes meanwhile, before only its journal is looked at.
_TRIES: Final = 5
_EVERY: Final = RunFilter(limit=2**62)


@attrs.frozen(kw_only=True)
class Damage:
    """One thing that is not as it was written.

    Example:
        >>> print(Damage(message="its checksum does not match", run="r1", step="a", seq=3))
        run r1, step a, seq 3: its checksum does not match
    """

    message: str
    #: The run it concerns, and where in it; None where it is about the store, or the run as a whole.
    run: str | None = None
    step: str | None = None
    seq: int | None = None

    def __str__(self) -> str:
        parts = [("run", self.run), ("step", self.step), ("seq", self.seq)]
        where = ", ".join(f"{name} {value}" for name, value in parts if value is not None)
        return f"{where}: {self.message}" if where else self.message


@attrs.frozen(kw_only=True)
class Verification:
    """What an examination looked at and found."""

    #: How many runs and records were looked at.
    runs: int
    records: int
    damages: tuple[Damage, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages


def examine(store: Store, run_id: str | None = None) -> Verification:
    """Look at a run, or at everything that a store holds.

    Args:
        store: it may be written to meanwhile.
        run_id: the run; None looks at the store itself and at every run.

    Returns:
        What was found; a store without a flaw has no damages.

    Example:
        >>> from statemachine_flow.stores.memory import MemoryStore
        >>> examine(MemoryStore()).ok
        True
    """
    damages: list[Damage] = []
    records = 0
    if run_id is None:
        damages += [Damage(message=text) for text in store.damages()]
        rows = _guarded(damages, None, lambda: store.rows(_EVERY)) or []
    else:
        rows = [row] if (row := _guarded(damages, run_id, lambda: store.row(run_id))) is not None else []
    for row in rows:
        if row.damage:
            damages.append(Damage(message=row.damage, run=row.id))
            continue
        fold = _guarded(damages, row.id, lambda row=row: _fold_of(store, row, damages))
        records += fold.seq if fold is not None else 0
    return Verification(runs=len(rows), records=records, damages=tuple(damages))


def _guarded(damages: list[Damage], run_id: str | None, look: Any) -> Any:
    """What a look gives; what is wrong there is added to the damages, and None given."""
    try:
        return look()
    except StoreError as error:
        if error.kind == "store.busy":
            raise
        damages.append(Damage(message=error.message, run=error.run or run_id, step=error.step, seq=error.seq))
        return None


def _fold_of(store: Store, row: RunRow, damages: list[Damage]) -> RunFold:
    """The run as its journal says, everything that differs from it being added to the damages."""
    fold = RunFold(row.id)
    fold.replay(store.records(row.id))
    require_end(row.id, fold.seq, row.seq)
    damages += [Damage(message=message, run=row.id) for message in _definitions(store, fold)]
    damages += _blobs(store, fold)
    for _ in range(_TRIES):
        steps, now = store.steps(row.id), store.row(row.id)
        if now is not None and now.seq == fold.seq:
            damages += _differences(now, steps, fold)
            break
        fold.replay(store.records(row.id, fold.seq))
    return fold


def _definitions(store: Store, fold: RunFold) -> Iterator[str]:
    for content_hash in dict.fromkeys((fold.created.definition, *fold.created.children.values())):
        try:
            body = store.definition(content_hash)
            if body is None:
                yield f"the definition {content_hash[:12]} is gone"
                continue
            found = decode_definition(body, run=fold.id).content_hash
        except SmfError as error:
            yield f"the definition {content_hash[:12]}: {error.message}"
        else:
            if found != content_hash:
                yield f"the definition {content_hash[:12]} is that of another workflow"


def _blobs(store: Store, fold: RunFold) -> Iterator[Damage]:
    for step in fold.steps.values():
        named = [*stream_blobs(step.output), *stream_blobs(step.previous)]
        for output in (step.blob, step.previous_blob):
            try:
                if output is not None:
                    named += stream_blobs(store.blob(output))
            except StoreError as error:
                yield Damage(message=error.message, run=fold.id, step=step.id)
        for digest in named:
            try:
                store.blob(digest)
            except StoreError as error:
                yield Damage(message=error.message, run=fold.id, step=step.id)


def _differences(row: RunRow, steps: list[tuple[str, str, int]], fold: RunFold) -> Iterator[Damage]:
    created = fold.created
    said: dict[str, tuple[object, object]] = {
        "workflow": (row.workflow, created.workflow),
        "version": (row.version, created.version),
        "definition": (row.definition, created.definition),
        "state": (row.state, fold.state),
        "seq": (row.seq, fold.seq),
        "created_at": (row.created_at, fold.created_at),
        "updated_at": (row.updated_at, fold.updated_at),
        "started_at": (row.started_at, fold.started_at),
        "ended_at": (row.ended_at, fold.ended_at),
        "steps_total": (row.steps_total, created.steps),
        "steps_done": (row.steps_done, created.steps - fold.open_steps),
        "message": (row.message, fold.error.message if fold.error is not None else fold.reason),
    }
    for column, (found, expected) in said.items():
        if found != expected:
            yield Damage(message=f"the row's {column} is not what the journal gives", run=row.id)
    kept = {step: (state, attempt) for step, state, attempt in steps}
    folded = {step.id: (step.state, step.attempt) for step in fold.steps.values()}
    for step_id in sorted(kept.keys() | folded.keys()):
        if kept.get(step_id) != folded.get(step_id):
            yield Damage(message="the row of the step is not what the journal gives", run=row.id, step=step_id)
