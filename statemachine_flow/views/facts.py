"""Records of a journal as sentences about one step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final

from statemachine_flow.engine.view import Event

#: Kinds of records about the whole run that explain something about a step.
_OF_RUN: Final = {
    "run.pause": "the run was paused",
    "run.resume": "the run went on",
    "run.cancel": "the run was asked to end",
    "run.retry": "the run was retried",
    "run.quarantine": "the run was set aside",
}


def fact_of(event: Event, signals: Mapping[int, Event], *, is_own: bool) -> str | None:
    """What a record says, in words; None if it explains nothing about the step.

    Args:
        event: the record.
        signals: the records of signals, by number.
        is_own: whether it is about the step, not about its run.
    """
    data = event.data
    if not is_own:
        return _with_reason(_OF_RUN[event.kind], data) if event.kind in _OF_RUN else None
    trigger = event.kind.partition(".")[2]
    if trigger in _WORDS:
        return _with_reason(_WORDS[trigger], data) + _moved(data)
    if trigger == "complete":
        return f"completed{_decided(data)}{_taken(data, signals)}{_moved(data)}"
    return _WRITERS[trigger](data) if trigger in _WRITERS else trigger


def _started(data: Mapping[str, Any]) -> str:
    return f"attempt {data.get('attempt', 1)} began"


def _backed_off(data: Mapping[str, Any]) -> str:
    return f"the attempt failed: {_error(data)}; the next one may begin at {moment(data.get('due'))}"


def _failed(data: Mapping[str, Any]) -> str:
    forgiven = "; it is optional, so the run may complete" if data.get("optional") else ""
    return f"failed: {_error(data)}{forgiven}{_moved(data)}"


def _waiting(data: Mapping[str, Any]) -> str:
    return f"began to wait for {awaited(data)}"


def awaited(data: Mapping[str, Any]) -> str:
    """What a `step.wait` record says it waits for.

    Example:
        >>> awaited({"on": "event", "event": "ci.done", "key": "a"})
        "signal 'ci.done' with key 'a'"
    """
    on, due = data.get("on"), data.get("due")
    if on == "event":
        key = f" with key {data['key']!r}" if data.get("key") is not None else ""
        text = f"signal {data.get('event', '')!r}{key}"
    elif on == "run":
        text = f"child run {data.get('run', '')}"
    elif on == "items":
        keys = data.get("keys")
        text = "its items" if keys is None else f"its {len(keys)} items"
    else:
        text = {"steps": "the steps inside it", "approval": "somebody to decide", "timer": "the time"}.get(
            str(on), str(on)
        )
    if due is None:
        return text
    return f"{text}, at {moment(due)}" if on == "timer" else f"{text}, until {moment(due)} at most"


def moment(micros: Any) -> str:
    """Microseconds UTC as local time, to the second."""
    if not isinstance(micros, int):
        return "any time"
    return f"{dt.datetime.fromtimestamp(micros / 1e6, dt.UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def _error(data: Mapping[str, Any]) -> str:
    error = data.get("error") or {}
    return f"{error.get('name', '')}: {error.get('message', '')}"


def _moved(data: Mapping[str, Any]) -> str:
    return f"; the token went to {data['next']}" if data.get("next") is not None else ""


def _decided(data: Mapping[str, Any]) -> str:
    """Of an approval, what was decided."""
    output = data.get("output")
    if not isinstance(output, Mapping) or not {"decision", "by", "digest"} <= output.keys():
        return ""
    reason = f": {output['reason']}" if output.get("reason") else ""
    return f" with the decision {output['decision']!r} by {output['by']}{reason}"


def _taken(data: Mapping[str, Any], signals: Mapping[int, Event]) -> str:
    number = data.get("signal")
    if number is None:
        return ""
    sent = signals.get(number)
    if sent is None:
        return f" with the signal of record {number}"
    by = f" by {sent.data['by']}" if sent.data.get("by") else ""
    return f" with signal {sent.data.get('event', '')!r}, sent{by} as record {number}"


def _reset(data: Mapping[str, Any]) -> str:
    text = "was reset"
    if data.get("generation") is not None:
        text += f" to generation {data['generation']}"
    if data.get("round") is not None:
        text += f", round {data['round']}"
    text = _with_reason(text, data)
    return f"{text}; it may begin at {moment(data['due'])}" if data.get("due") is not None else text


def _with_reason(text: str, data: Mapping[str, Any]) -> str:
    text += f": {data['reason']}" if data.get("reason") else ""
    return f"{text} (by {data['by']})" if data.get("by") else text


#: Trigger -> how it is told.
_WORDS: Final = {"skip": "was skipped", "cancel": "was cancelled", "interrupt": "was cut off"}
_WRITERS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "start": _started,
    "wait": _waiting,
    "back_off": _backed_off,
    "fail": _failed,
    "reset": _reset,
}
