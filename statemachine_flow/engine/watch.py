"""What an engine with runs looks at again and again: requests of other processes, and whether the clock was set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Final, final

from statemachine_flow.clock import Clock, Timer
from statemachine_flow.engine.asked import LASTING, carry_out, dropped, is_so
from statemachine_flow.engine.code import compare_code
from statemachine_flow.engine.library import Library
from statemachine_flow.engine.outcome import clean_text
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import SmfError, StoreError
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.stores.base import Request, Store

#: How often an engine with runs looks for requests of other processes: the store's change counter is read, no more.
WATCH_SECONDS: Final = 0.5
#: By how many seconds the wall clock has to have moved against the monotonic one to be looked at again.
_JUMP: Final = 1.0


@final
class Watch:
    """Looks at the store every `WATCH_SECONDS` while there are runs.

    Args:
        store: where other processes leave their requests.
        clock: time.
        library: what the runs call.
        workers: run id -> who works on it here.
        look_around: called each time, for what else is to be looked at.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        library: Library,
        workers: Mapping[str, Worker],
        look_around: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._library = library
        self._workers = workers
        self._look_around = look_around
        self._timer: Timer | None = None
        self._seen_version = -1
        self._offset = clock.now() / 1e6 - clock.monotonic()

    @property
    def is_on(self) -> bool:
        """Whether it will look again."""
        return self._timer is not None

    def begin(self) -> None:
        """Watch over one run more, of whose last owner somebody may have asked something."""
        self._seen_version = -1
        if self._timer is None:
            self._timer = self._clock.call_later(WATCH_SECONDS, self.look)

    def end(self) -> None:
        """Look no more, until there are runs again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Look now, and again later."""
        self._timer = self._clock.call_later(WATCH_SECONDS, self.look)
        self._look_at_clock()
        with contextlib.suppress(StoreError):  # it is busy or fails for now, and is looked at again
            self._look_around()
            self._look_at_requests()

    def _look_at_requests(self) -> None:
        version = self._store.version()
        if version == self._seen_version:
            return
        requests = self._requests()
        self._seen_version = version
        for request in requests:
            worker = self._workers.get(request.run_id)
            if worker is not None:
                self._grant(worker, request)

    def _requests(self) -> list[Request]:
        """All requests; where one is damaged, those of the runs whose own are not."""
        try:
            return self._store.requests()
        except StoreError as error:
            if error.kind != "store.corrupt":
                raise
        found: list[Request] = []
        for run_id in self._workers:
            with contextlib.suppress(StoreError):
                found += self._store.requests(run_id)
        return found

    def grant_all(self, worker: Worker) -> None:
        """Do what was asked while nobody worked on a run; if its functions are gone, nothing begins for that."""
        requests = self._store.requests(worker.fold.id)
        if requests:
            worker.decider.holds = compare_code(self._library, worker)[0] is not None
        for request in requests:
            self._grant(worker, request)
        worker.decider.holds = False

    def _look_at_clock(self) -> None:
        """Timers run by the monotonic clock; if the other one was set, or the machine slept, moments come otherwise."""
        offset = self._clock.now() / 1e6 - self._clock.monotonic()
        if abs(offset - self._offset) > _JUMP:
            self._offset = offset
            for worker in list(self._workers.values()):
                worker.hear(lambda decider, _now: decider.set_moments())

    @staticmethod
    def _grant(worker: Worker, request: Request) -> None:
        """Do what was asked; a request the lifecycle refuses by now is dropped, and the journal says so."""
        is_lasting = request.action in LASTING
        if not worker.answer(request.id, later=is_lasting):
            return
        try:
            carry_out(worker, request.action, request.reason, request.by, request.data)
        except SmfError as error:
            if is_lasting:
                worker.drop(request.id)
            if worker.fold.state not in RUN_AT_REST and not is_so(worker.decider, request.action):
                text = clean_text(dropped(request, error))
                worker.tell(lambda decider, now: decider.note(now, text, by=request.by or None))
            worker.host.changed(worker)
