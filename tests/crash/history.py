"""What clients of many processes were told, and whether one lifecycle per run explains all of it.

Each client writes down, before it asks and after it was answered, what it asked and what it was told, with the time of
the clock that all processes of the host share. A history is explained if every call can be given a place in the journal
of its run, at which the answer was right, such that a call that was answered before another was made has no later
place than that one. A call that was never answered may have done what it was to do, or not. (The idea is that of Wing
and Gong, "Testing and verifying concurrent objects", 1993; it is cheap here, for the journal has the order of states.)
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from statemachine_flow.lifecycle import RUN, RUN_AT_REST
from statemachine_flow.stores.base import RunFilter, Store
from statemachine_flow.values import decode_value

#: Before a run is created.
ABSENT: Final = "absent"
_EXISTS: Final = frozenset(RUN.states)
_AT_WORK: Final = _EXISTS - RUN_AT_REST
#: Operation -> the states in which it may be refused as not allowed.
_REFUSES: Final[Mapping[str, frozenset[str]]] = {
    "resume": frozenset(RUN_AT_REST),
    "signal": frozenset(RUN_AT_REST),
    "pause": _EXISTS - {"running", "paused"},
    "cancel": frozenset(RUN_AT_REST) - {"cancelled"},
    "retry": _EXISTS - {"failed"},
    "wait": _EXISTS,
}
#: Kind of error -> the states that explain it, whatever was asked.
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "run.not_found": frozenset({ABSENT}),
    "run.owned": _AT_WORK | {"failed"},  # by whoever is about to retry it
    "run.fenced": _EXISTS,
    "run.conflict": _EXISTS,
    "transition.refused": _EXISTS,
}


@attrs.frozen
class Call:
    """One operation of a client."""

    operation: str
    #: "" for what is done to all runs.
    run_id: str
    #: By the clock that all clients share, in seconds.
    begun: float
    ended: float = math.inf
    answer: Literal["ok", "fail", "unknown"] = "unknown"
    #: The state that it was told, or the kind of the error.
    said: str = ""
    #: What a signal carries.
    word: str = ""
    #: What an error says, for people.
    text: str = ""


@attrs.frozen
class Journal:
    """What a run's journal says of the run itself."""

    #: Kinds of records, such as `run.pause`.
    kinds: Sequence[str]
    #: What signals carried.
    words: Sequence[str] = ()


def read_calls(logs: Sequence[Path]) -> list[Call]:
    """What clients wrote down; the last line of one that was killed may be cut off."""
    calls: dict[str, Call] = {}
    for log in logs:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            entry = json.loads(line)
            number = entry.pop("call")
            calls[number] = attrs.evolve(calls[number], **entry) if number in calls else Call(**entry)
    return list(calls.values())


def read_journals(store: Store) -> dict[str, Journal]:
    """The journals of all runs of a store."""
    found = {}
    for row in store.rows(RunFilter(limit=10_000)):
        records = [record for record in store.records(row.id) if record.step is None]
        signals: list[Any] = [record.decode() for record in records if record.kind == "run.signal"]
        words = [decode_value(signal.payload) for signal in signals]
        found[row.id] = Journal([record.kind for record in records], words)
    return found


def explain(calls: Sequence[Call], journals: Mapping[str, Journal]) -> list[str]:
    """What no legal lifecycle of the runs explains; empty if all is well."""
    problems: list[str] = []
    by_run: dict[str, list[Call]] = {run_id: [] for run_id in journals}
    for call in calls:
        by_run.setdefault(call.run_id, []).append(call)
    for run_id, asked in by_run.items():
        states = _states(run_id, journals.get(run_id, Journal([])), problems)
        problems += _unplaced(asked, states)
        problems += _unheard(asked, states[-1], journals.get(run_id, Journal([])))
    return problems


def _states(run_id: str, journal: Journal, problems: list[str]) -> list[str]:
    """Every state the run was in, in order."""
    states = [ABSENT]
    for kind in journal.kinds:
        trigger = kind.removeprefix("run.")
        if trigger == "create":
            states.append("pending")
        elif trigger in RUN.sources:
            dest = RUN.dest(states[-1], trigger)
            if dest is None:
                problems.append(f"{run_id} was {states[-1]}, and its journal says {kind}")
            states.append(dest or states[-1])
    return states


def _unplaced(calls: Sequence[Call], states: Sequence[str]) -> list[str]:
    """Calls for which there is no place. Each takes the first that is left to it, so that it is in nobody's way."""
    problems: list[str] = []
    placed: list[tuple[float, int]] = []
    for call in sorted(calls, key=lambda call: call.begun):
        if call.answer == "unknown":
            continue
        first = max((place for ended, place in placed if ended < call.begun), default=0)
        right = explaining(call)
        is_refused = call.operation in ("signal", "resume") and call.said == "run.state"
        if is_refused and _is_asked_to_end(call, calls):
            right = _EXISTS
        place = next((at for at in range(first, len(states)) if states[at] in right), None)
        if place is None:
            problems.append(f"nothing explains {call}: the run was {', '.join(states[first:])}")
        else:
            placed.append((call.ended, place))
    return problems


def _is_asked_to_end(call: Call, calls: Sequence[Call]) -> bool:
    """Whether a cancellation may wait for the run's owner, behind which nothing else would be heard any more."""
    return any(other.operation == "cancel" and other.begun < call.ended for other in calls)


def explaining(call: Call) -> frozenset[str]:
    """The states in which a call may be answered as it was."""
    if call.answer == "ok":
        return {"start": _EXISTS, "signal": _AT_WORK, "recover": frozenset({ABSENT})}.get(
            call.operation, frozenset({call.said})
        )
    if call.said == "run.state":
        if call.operation == "pause" and "running again" in call.text:  # somebody resumed it while that was waited for
            return frozenset({"running"})
        return _REFUSES.get(call.operation, frozenset())
    return _KINDS.get(call.said, frozenset())


def _unheard(calls: Sequence[Call], state: str, journal: Journal) -> list[str]:
    """What was said to a run is in its journal once, unless it came to rest before it heard it."""
    heard, problems = Counter(journal.words), []
    for call in calls:
        if call.operation == "signal":
            times = heard.pop(call.word, 0)
            is_lost = times == 0 and call.answer == "ok" and state not in RUN_AT_REST
            if times > 1 or is_lost or (times and call.answer == "fail"):
                problems.append(f"{call} was heard {times} times")
    return [*problems, *(f"{word!r} was heard, and nobody said it" for word in heard)]
