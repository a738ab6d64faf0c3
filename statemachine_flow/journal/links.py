"""The chain of records: whether they follow each other, and are as they were written."""

from __future__ import annotations

from collections.abc import Iterable

from statemachine_flow.errors import StoreError
from statemachine_flow.journal.records import DIGEST_SIZE, Record, chain


def fits(record: Record) -> bool:
    """Whether a record is about what its kind says, and creates the run exactly if it is the first."""
    about_run = record.kind.startswith("run.")
    return about_run == (record.step is None) and (record.kind == "run.create") == (record.seq == 1)


def verified(run_id: str, records: Iterable[Record], before: Record | None) -> list[Record]:
    """Records of a run that follow `before`, or begin the journal, with their sequence and digests checked.

    Raises:
        StoreError: `store.corrupt` naming the first record that does not fit.
    """
    seq, digest = (before.seq, before.digest) if before is not None else (0, bytes(DIGEST_SIZE))
    checked: list[Record] = []
    for record in records:
        check_link(run_id, record, seq, digest)
        seq, digest = record.seq, record.digest
        checked.append(record)
    return checked


def check_link(run_id: str, record: Record, seq: int, digest: bytes) -> None:
    """That a record follows the one with that sequence number and digest, and is as it was written."""
    if record.seq != seq + 1:
        raise corrupt(run_id, record, f"expected record {seq + 1}, found {record.seq}")
    if type(record.data) is not bytes:  # in a damaged file a column may have any type
        raise corrupt(run_id, record, "its data is not bytes")
    if chain(digest, record.seq, record.kind, record.at, record.step, record.data) != record.digest:
        raise corrupt(run_id, record, "its checksum does not match")


def require_end(run_id: str, found: int, written: int) -> None:
    """That a journal which ends at record `found` has lost none: the chain of a shorter one is whole.

    Args:
        run_id: the run.
        found: number of the last record there is.
        written: number of the last one that was written, at least.

    Raises:
        StoreError: `store.corrupt` naming the first record that is gone.
    """
    if found < written:
        message = f"the journal is damaged: it ends at record {found}, and {written} were written"
        raise StoreError(message, kind="store.corrupt", run=run_id, seq=found + 1)


def corrupt(run_id: str, record: Record, why: str) -> StoreError:
    """The error that names a record which does not fit."""
    return StoreError(
        f"the journal is damaged: {why}", kind="store.corrupt", run=run_id, step=record.step, seq=record.seq
    )
