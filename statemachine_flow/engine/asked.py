"""What is asked of a run from outside, in the form in which it is also kept for a run's owner in another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, final

from statemachine_flow.clock import Clock
from statemachine_flow.engine import outside
from statemachine_flow.engine.attempt import require_output
from statemachine_flow.engine.decide import Decider
from statemachine_flow.engine.length import require_room
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.engine.recovery import require_certain
from statemachine_flow.errors import ConflictError, SmfError
from statemachine_flow.lifecycle import RunState
from statemachine_flow.plan import Node
from statemachine_flow.stores.base import Request
from statemachine_flow.values import decode_value, encode_value


class Target(Protocol):
    """A worker, or something that only finds out what a worker would do."""

    decider: Decider

    def tell(self, change: Callable[[Decider, int], None]) -> None:
        """Let the decider hear of something."""

    def go_on(self, by: str | None, reason: str) -> None:
        """Let a paused run take up where it stopped."""

    def as_completed(self, node: Node, output: Any) -> Outcome:
        """The outcome of an attempt of which somebody else says what it gave.

        Raises:
            SmfError: that cannot be the step's output.
        """
        ...


@final
class Trial:
    """Lets a decider hear of something whose consequences are dropped.

    Args:
        decider: over a fold that nobody else uses.
        clock: time.
    """

    def __init__(self, decider: Decider, clock: Clock) -> None:
        self.decider = decider
        self._clock = clock

    def tell(self, change: Callable[[Decider, int], None]) -> None:
        """See `Target.tell`."""
        change(self.decider, self._clock.now())

    def go_on(self, by: str | None, reason: str) -> None:
        """See `Target.go_on`."""
        self.decider.resume(self._clock.now(), by, reason)

    def as_completed(self, node: Node, output: Any) -> Outcome:
        """See `Target.as_completed`; its owner will compute what is declared once more."""
        require_output(node.step, output, self.decider.names(node))
        return Outcome(status="completed", output=encode_value(output))


def _cancel(target: Target, reason: str, by: str | None, _data: Mapping[str, Any]) -> None:
    target.tell(lambda decider, now: decider.cancel(now, reason, by))


def _pause(target: Target, reason: str, by: str | None, _data: Mapping[str, Any]) -> None:
    target.tell(lambda decider, now: decider.pause(now, reason, by, interrupt=False))


def _interrupt(target: Target, reason: str, by: str | None, _data: Mapping[str, Any]) -> None:
    if target.decider.fold.state == RunState.PAUSED:
        target.tell(lambda decider, _now: decider.interrupt())
    else:
        target.tell(lambda decider, now: decider.pause(now, reason, by, interrupt=True))


def _resume(target: Target, reason: str, by: str | None, _data: Mapping[str, Any]) -> None:
    fold = target.decider.fold
    if fold.state == RunState.RUNNING:
        return  # somebody else has asked for the same
    if fold.state != RunState.PAUSED:
        raise ConflictError(f"the run is {fold.state}: there is nothing to resume", run=fold.id)
    require_certain(target.decider)
    require_room(target.decider)
    target.go_on(by, reason)


def _signal(target: Target, _reason: str, by: str | None, data: Mapping[str, Any]) -> None:
    payload, event, key = encode_value(data["payload"]), data["event"], data["key"]
    target.tell(lambda decider, now: decider.signal(now, event=event, key=key, payload=payload, by=by))


def _decide(target: Target, reason: str, by: str | None, data: Mapping[str, Any]) -> None:
    target.tell(
        lambda decider, now: decider.decide(
            now,
            data["step"],
            choice=data["choice"],
            form=data["form"],
            by=by or "",
            reason=reason,
            digest=data["digest"],
        )
    )


#: What somebody said of an attempt, for the journal.
_SAID: Final[Mapping[str, str]] = {
    "completed": "took effect",
    "failed": "failed",
    "retry": "took no effect and begins again",
}


def _resolve(target: Target, reason: str, by: str | None, data: Mapping[str, Any]) -> None:
    path, as_ = data["step"], data["as"]
    outside.require_cut_off(target.decider, target.decider.node(path))
    outcome = target.as_completed(target.decider.node(path), data["output"]) if as_ == "completed" else None
    said = f"step '{path}' {_SAID[as_]}" + (f": {reason}" if reason else "")

    def change(decider: Decider, now: int) -> None:
        decider.note(now, said, by=by)
        decider.resolve(now, path, as_, outcome, by)

    target.tell(change)


def _quarantine(target: Target, reason: str, by: str | None, _data: Mapping[str, Any]) -> None:
    target.tell(lambda decider, now: decider.quarantine(now, reason, by))


def _checkpoint(target: Target, reason: str, by: str | None, data: Mapping[str, Any]) -> None:
    target.tell(lambda decider, now: decider.note(now, reason, label=data["label"], by=by))


#: Requests that stay until the run has come to rest: should its owner die on the way, the next one goes on with them.
LASTING: Final = frozenset({"quarantine"})
#: Requests of which only one is heard: what a second one says of the same step, the first has settled.
EXCLUSIVE: Final = frozenset({"decide", "resolve"})
#: What can be asked -> how it is done.
ACTIONS: Final[Mapping[str, Callable[[Target, str, str | None, Mapping[str, Any]], None]]] = {
    "cancel": _cancel,
    "pause": _pause,
    "interrupt": _interrupt,
    "resume": _resume,
    "signal": _signal,
    "decide": _decide,
    "resolve": _resolve,
    "quarantine": _quarantine,
    "checkpoint": _checkpoint,
}


def is_so(decider: Decider, action: str) -> bool:
    """Whether a run is already where a request would bring it, so that it is answered without having been done."""
    state = decider.fold.state
    if action == "cancel":
        return state == RunState.CANCELLING
    return action == "pause" and state == RunState.PAUSED


def dropped(request: Request, error: SmfError) -> str:
    """What is said, in its journal, of a request that a run no longer allowed when its owner heard of it."""
    data = decode_value(request.data) if request.data else {}
    about = f" of step '{data['step']}'" if "step" in data else ""
    what = str(data.get("choice") or data.get("as") or data.get("event") or "")
    said = f"{request.action}{f' {what!r}' if what else ''}{about}"
    return f"what {request.by or 'somebody'} asked for came too late and was dropped: {said}: {error}"


def carry_out(target: Target, action: str, reason: str, by: str | None, data: bytes) -> None:
    """Do what was asked.

    Args:
        target: the run's worker.
        action: a key of `ACTIONS`; one that only a newer version knows is dropped.
        reason: why.
        by: who asked.
        data: what belongs to it, encoded by `values`.

    Raises:
        SmfError: the run does not allow it.
    """
    perform = ACTIONS.get(action)
    if perform is not None:
        perform(target, reason, by or None, decode_value(data) if data else {})
