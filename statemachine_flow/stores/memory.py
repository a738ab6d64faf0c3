"""A store that ends with its process: for tests, for trials, for runs that need no durability."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import msgspec

from statemachine_flow.errors import StoreError, UsageError
from statemachine_flow.journal import Record
from statemachine_flow.stores.base import Beat, NewRun, Owner, Rejected, Request, RunFilter, RunRow, Seen, Write
from statemachine_flow.stores.blobs import MemorySpill


@final
class MemoryStore:
    """The `Store` contract on plain dicts.

    Example:
        >>> store = MemoryStore()
        >>> store.row("nobody") is None
        True
    """

    name = "memory://"

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[str, RunRow] = {}
        #: Run -> step -> state and attempts.
        self._steps: dict[str, dict[str, tuple[str, int]]] = {}
        self._journals: dict[str, list[Record]] = {}
        self._definitions: dict[str, bytes] = {}
        self._requests: dict[int, Request] = {}
        self._last_request = 0
        self._beats: dict[str, Beat] = {}
        self._rejected: list[Rejected] = []
        self._writes = 0
        self._blobs: dict[str, bytes] = {}
        self._open = True

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        """See `Store.claim`."""
        with self._usable():
            row = self._rows.get(run_id)
            if row is None or row.epoch != epoch:
                return False
            row.epoch, row.owner = epoch + 1, owner
            self._writes += 1
            return True

    def release(self, run_id: str, epoch: int) -> None:
        """See `Store.release`."""
        with self._usable():
            row = self._rows.get(run_id)
            if row is not None and row.epoch == epoch:
                row.owner = None
                self._writes += 1

    def beat(self, beat: Beat, runs: Mapping[str, int]) -> list[str]:
        """See `Store.beat`."""
        with self._usable():
            self._writes += 1
            self._beats[beat.nonce] = beat
            return [run_id for run_id, epoch in runs.items() if self._rows[run_id].epoch != epoch]

    def last_beat(self, nonce: str) -> Beat | None:
        """See `Store.last_beat`."""
        with self._usable():
            return self._beats.get(nonce)

    def leave(self, nonce: str) -> None:
        """See `Store.leave`."""
        with self._usable():
            self._writes += self._beats.pop(nonce, None) is not None

    def reject(self, write: Write, owner: Owner, at: int) -> None:
        """See `Store.reject`."""
        with self._usable():
            self._writes += 1
            self._rejected += [
                Rejected(write.run_id, write.epoch, owner, at, record.kind, record.step, record.data)
                for record in write.records
            ]

    def rejected(self, run_id: str) -> list[Rejected]:
        """See `Store.rejected`."""
        with self._usable():
            return [record for record in self._rejected if record.run_id == run_id]

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        """See `Store.commit`."""
        with self._usable():
            self._writes += 1
            return [run_id for item in batch if (run_id := self._refuse(item))]

    def _refuse(self, item: NewRun | Write) -> str:
        """Keep one item; the run's id if it was refused, "" otherwise."""
        if isinstance(item, NewRun):
            if item.row.id in self._rows:
                return item.row.id
            for content_hash, body in {**item.children, item.row.definition: item.definition}.items():
                self._definitions.setdefault(content_hash, body)
            self._rows[item.row.id] = msgspec.structs.replace(item.row)
            self._journals[item.row.id] = []
            item = item.write
        row = self._rows.get(item.run_id)
        if row is None or (row.epoch, row.seq) != (item.epoch, item.seq):
            return item.run_id
        self._keep(row, item)
        return ""

    def _keep(self, row: RunRow, write: Write) -> None:
        self._journals[row.id].extend(write.records)
        row.seq += len(write.records)
        for change in write.steps:
            self._steps.setdefault(row.id, {})[change.step] = (change.state, change.attempt)
        row.steps_done, row.updated_at = write.steps_done, write.updated_at
        if write.states:
            row.state, row.message = write.states[-1], write.message
            row.started_at, row.ended_at = write.started_at, write.ended_at
        if write.release:
            row.owner = None
        if write.ends:
            self._requests = {key: request for key, request in self._requests.items() if request.run_id != row.id}
        for request in write.answered:
            self._requests.pop(request, None)

    def transact(self, work: Callable[[Any], object], write: Callable[[], NewRun | Write | None]) -> bool:  # noqa: ARG002 - as in the contract
        """See `Store.transact`: there is no connection here."""
        raise StoreError(
            "a step with `transaction` needs a SQLite store", kind="store.io", hint="open the engine on a file"
        )

    def row(self, run_id: str) -> RunRow | None:
        """See `Store.row`."""
        with self._usable():
            row = self._rows.get(run_id)
            return None if row is None else msgspec.structs.replace(row)

    def rows(self, which: RunFilter) -> list[RunRow]:
        """See `Store.rows`."""
        with self._usable():
            passing = (row for row in reversed(self._rows.values()) if which.passes(row))
            return [msgspec.structs.replace(row) for row, _ in zip(passing, range(which.limit), strict=False)]

    def match(self, prefix: str, limit: int) -> list[str]:
        """See `Store.match`."""
        with self._usable():
            return [run_id for run_id in reversed(self._rows) if run_id.startswith(prefix)][:limit]

    def records(self, run_id: str, after: int = 0) -> list[Record]:
        """See `Store.records`."""
        with self._usable():
            return self._journals.get(run_id, [])[after:]

    def definition(self, content_hash: str) -> bytes | None:
        """See `Store.definition`."""
        with self._usable():
            return self._definitions.get(content_hash)

    def request(  # noqa: PLR0917 - as in the contract
        self, run_id: str, action: str, by: str, reason: str, at: int, data: bytes = b"", *, seen: Seen | None = None
    ) -> int:
        """See `Store.request`."""
        with self._usable():
            if run_id not in self._rows:
                raise StoreError(f"no run {run_id[:100]!r} to ask something of", kind="store.io")
            if seen not in (None, self._seen(run_id)):
                return 0
            self._writes += 1
            self._last_request += 1
            self._requests[self._last_request] = Request(self._last_request, run_id, action, by, reason, at, data)
            return self._last_request

    def _seen(self, run_id: str) -> Seen:
        row = self._rows[run_id]
        asked = (key for key, request in self._requests.items() if request.run_id == run_id)
        return Seen(row.epoch, row.seq, max(asked, default=0))

    def requests(self, run_id: str | None = None) -> list[Request]:
        """See `Store.requests`."""
        with self._usable():
            return [request for request in self._requests.values() if run_id in (None, request.run_id)]

    def version(self) -> int:
        """See `Store.version`."""
        with self._usable():
            return self._writes

    def open_blob(self) -> MemorySpill:
        """See `Store.open_blob`."""
        return MemorySpill(self._blobs)

    def blob(self, digest: str) -> bytes:
        """See `Store.blob`."""
        try:
            return self._blobs[digest]
        except KeyError:
            raise StoreError(f"blob {digest[:80]} is missing or damaged", kind="store.corrupt") from None

    def steps(self, run_id: str) -> list[tuple[str, str, int]]:
        """See `Store.steps`."""
        with self._usable():
            return sorted((step, *where) for step, where in self._steps.get(run_id, {}).items())

    def confirm_absent(self, run_id: str) -> None:
        """See `Store.confirm_absent`: there is no damage here."""

    def damages(self) -> list[str]:
        """See `Store.damages`: there are none."""
        return []

    def backup(self, path: str | os.PathLike[str]) -> None:
        """See `Store.backup`: there is no file to be copied."""
        raise UsageError(f"a store in memory cannot be copied to {os.fspath(path)}", hint="open the engine on a file")

    def health(self) -> dict[str, Any]:
        """See `Store.health`."""
        with self._usable():
            return {"store": self.name, "runs": len(self._rows)}

    def close(self) -> None:
        """See `Store.close`; what was kept stays readable to nobody."""
        self._open = False

    def _usable(self) -> threading.RLock:
        if not self._open:
            raise UsageError("the store is closed", kind="usage.closed")
        return self._lock
