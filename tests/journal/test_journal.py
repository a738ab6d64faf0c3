"""The journal: what a fold adds up to, that replay gives it back, and that no damage passes unseen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings, strategies as st

from statemachine_flow.errors import StoreError, TransitionRefused
from statemachine_flow.journal import (
    ABSENT,
    KINDS,
    BackedOff,
    Created,
    Data,
    ErrorInfo,
    Failed,
    Note,
    Reason,
    Record,
    RunCompleted,
    RunFold,
    RunRetried,
    RunStarted,
    Signalled,
    StepCompleted,
    StepInterrupted,
    StepReset,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Unwinding,
    Usage,
    chain,
)
from statemachine_flow.lifecycle import RUN, STEP
from statemachine_flow.values import encode_value

STEPS = ("a", "b", "c")
AT_REST = {"completed", "failed", "skipped", "cancelled"}


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(encode_value(value))


def created(steps: int = len(STEPS)) -> Created:
    return Created(workflow="w", version="1", definition="d", inputs=raw({"x": 1}), steps=steps, cwd="/")


def snapshot(fold: RunFold) -> dict[str, object]:
    """Every field, down to the bytes."""
    fields: dict[str, object] = {name: getattr(fold, name, None) for name in RunFold.__slots__}
    fields["steps"] = {step.id: _plain(msgspec.structs.asdict(step)) for step in fold.steps.values()}
    fields["notes"] = list(fold.notes)
    for name in ("created", "unwinding"):
        fields[name] = msgspec.msgpack.encode(fields[name])
    fields["signals"] = {name: [(seq, bytes(raw)) for seq, raw in kept] for name, kept in fold.signals.items()}
    return _plain(fields)


def _plain(fields: dict[str, Any]) -> dict[str, object]:
    return {name: _comparable(value) for name, value in fields.items()}


def _comparable(value: object) -> object:
    if isinstance(value, msgspec.Raw):
        return bytes(value)
    return msgspec.msgpack.encode(value) if isinstance(value, StepWaiting) else value


# --- random journals

ERRORS = st.builds(
    ErrorInfo,
    kind=st.sampled_from(["step.failed", "step.timeout"]),
    name=st.sampled_from(["ValueError", "Größer"]),
    message=st.text(max_size=8),
    where=st.none() | st.just("f.py:1 in g"),
    step=st.none() | st.sampled_from(STEPS),
)
RAWS = st.sampled_from([raw(None), raw((1, 2)), raw({"k": [b"x", 2**80]})])
REASONS = st.builds(Reason, reason=st.text(max_size=8), by=st.none() | st.text(max_size=3))
TIMES = st.none() | st.integers(0, 2**52)
USAGES = st.none() | st.builds(Usage, cost_usd=st.sampled_from([0.0, 0.25]), tokens=st.integers(0, 9))
TARGETS = st.none() | st.sampled_from([*STEPS, "end"])
EVENTS = st.sampled_from(["one", "two"])


def data_of(draw: st.DrawFn, kind: str, fold: RunFold, step: str | None) -> Data:
    """Something a record of this kind may say."""
    if kind == "step.start":
        return StepStarted(attempt=fold.step(step or "").attempt + 1)
    made: dict[type[Data], st.SearchStrategy[Any]] = {
        Reason: REASONS,
        Note: st.builds(Note, reason=st.text(max_size=8), label=st.sampled_from(["", "mark"])),
        RunStarted: st.builds(RunStarted, deadline=TIMES),
        RunRetried: st.builds(RunRetried, deadline=TIMES),
        RunCompleted: st.builds(RunCompleted, outputs=RAWS),
        Failed: st.builds(Failed, error=ERRORS, optional=st.booleans(), next=TARGETS, usage=USAGES),
        Signalled: st.builds(Signalled, event=EVENTS, payload=RAWS, key=st.none() | st.just("k"), by=st.none()),
        Unwinding: st.builds(Unwinding, outcome=st.sampled_from(["failed", "completed"]), error=st.none() | ERRORS),
        StepSkipped: st.builds(StepSkipped, reason=st.text(max_size=8), next=TARGETS),
        StepWaiting: st.builds(
            StepWaiting,
            on=st.sampled_from(["steps", "items", "timer", "event", "approval", "run"]),
            due=TIMES,
            event=EVENTS,
            run=st.sampled_from(["", "r.a"]),
            keys=st.none() | st.just(("0", "1")),
            items=RAWS | st.just(ABSENT),
        ),
        StepReset: st.builds(
            StepReset,
            reason=st.text(max_size=8),
            generation=st.none() | st.integers(2, 5),
            round=st.none() | st.integers(2, 5),
            due=TIMES,
            previous=RAWS | st.just(ABSENT),
            feedback=RAWS | st.just(ABSENT),
            deaths=st.integers(0, 2),
        ),
        StepInterrupted: st.builds(StepInterrupted, reason=st.text(max_size=8), killed=st.booleans()),
        StepCompleted: st.builds(
            StepCompleted,
            output=RAWS | st.just(ABSENT),
            outputs=RAWS | st.just(ABSENT),
            blob=st.none() | st.just("f" * 64),
            next=TARGETS,
            signal=st.none() | st.integers(1, 30),
            usage=USAGES,
        ),
        BackedOff: st.builds(BackedOff, error=ERRORS, due=st.integers(0, 2**52), usage=USAGES),
    }
    drawn: Data = draw(made[KINDS[kind]])
    return drawn


def legal(fold: RunFold) -> Iterator[tuple[str, str | None]]:
    """Every change the fold's machines would allow now, guards aside, and what changes no state."""
    for kind in ("run.note", "run.signal", "run.unwind"):
        yield kind, None
    for trigger in RUN.allowed(fold.state):
        yield f"run.{trigger}", None
    for step in STEPS:
        for trigger in STEP.allowed(fold.state_of(step)):
            yield f"step.{trigger}", step


@st.composite
def journals(draw: st.DrawFn) -> tuple[RunFold, list[Record]]:
    """A run as it was written: its fold, each record checked on the way, and its records."""
    fold = RunFold("r")
    records = [fold.add("run.create", created(), 1)]
    for number in range(draw(st.integers(0, 30))):
        kind, step = draw(st.sampled_from(sorted(legal(fold), key=str)))
        data = data_of(draw, kind, fold, step)
        before = snapshot(fold)
        try:
            records.append(fold.add(kind, data, 2 + number, step))
        except TransitionRefused:
            assert kind in ("run.complete", "run.fail", "run.settle")
            assert snapshot(fold) == before
        recount(fold)
    return fold, records


def recount(fold: RunFold) -> None:
    """The counters, from scratch."""
    states = [fold.state_of(step) for step in STEPS]
    failed = [step for step in fold.steps.values() if step.state == "failed" and not step.forgiven]
    children = [
        step for step in fold.steps.values() if step.state == "waiting" and step.waits and step.waits.on == "run"
    ]
    alive = states.count("running") + len(children)
    expected = (sum(state not in AT_REST for state in states), alive, len(children), len(failed))

    assert (fold.open_steps, fold.alive_steps, fold.child_runs, fold.failed_steps) == expected


def replayed(records: list[Record]) -> RunFold:
    fold = RunFold("r")
    fold.replay(records)
    return fold


@given(journals())
@settings(max_examples=300, deadline=None)
def test_replay_gives_the_live_fold_field_by_field(journal: tuple[RunFold, list[Record]]) -> None:
    live, records = journal
    again = replayed(records)

    assert snapshot(again) == snapshot(live)
    recount(again)


@given(journals(), st.data())
@settings(max_examples=50, deadline=None)
def test_replay_in_two_parts_gives_the_same_fold(journal: tuple[RunFold, list[Record]], data: st.DataObject) -> None:
    live, records = journal
    cut = data.draw(st.integers(1, len(records)))
    again = RunFold("r")
    again.replay(records[:cut])
    again.replay(records[cut:])

    assert snapshot(again) == snapshot(live)


@given(journals())
@settings(max_examples=100, deadline=None)
def test_sequence_numbers_have_no_gap_and_digests_form_a_chain(journal: tuple[RunFold, list[Record]]) -> None:
    live, records = journal
    digest = bytes(16)
    for seq, record in enumerate(records, start=1):
        assert record.seq == seq
        digest = chain(digest, record.seq, record.kind, record.at, record.step, record.data)
        assert record.digest == digest

    assert (live.seq, live.digest, live.updated_at) == (len(records), digest, records[-1].at)


@given(journals())
@settings(max_examples=100, deadline=None)
def test_what_a_record_says_survives_its_stored_form(journal: tuple[RunFold, list[Record]]) -> None:
    _, records = journal
    for record in records:
        decoded = record.decode()
        assert type(decoded) is KINDS[record.kind]
        assert msgspec.msgpack.encode(decoded) == record.data


# --- a small journal with one record of nearly every kind


def small() -> list[Record]:
    fold = RunFold("r")
    error = ErrorInfo("step.failed", "ValueError", "bad")
    changes: list[tuple[str, Data, str | None]] = [
        ("run.create", created(), None),
        ("run.start", RunStarted(deadline=77), None),
        ("step.start", StepStarted(attempt=1), "a"),
        ("step.back_off", BackedOff(error=error, due=5), "a"),
        ("step.start", StepStarted(attempt=2), "a"),
        ("step.complete", StepCompleted(output=raw([1, "x"])), "a"),
        ("run.note", Note(reason="note", by="me"), None),
        ("run.note", Note(reason="note", by="me"), None),
        ("step.start", StepStarted(attempt=1), "b"),
        ("step.fail", Failed(error=error, optional=True), "b"),
        ("step.skip", StepSkipped(reason="because"), "c"),
        ("run.complete", RunCompleted(outputs=raw({})), None),
    ]
    return [fold.add(kind, data, number, step) for number, (kind, data, step) in enumerate(changes)]


def test_a_record_takes_the_type_of_its_kind_alone() -> None:
    fold = RunFold("r")
    fold.add("run.create", created(), 0)
    with pytest.raises(AssertionError, match=r"run\.note takes Note"):
        fold.add("run.note", Reason(reason="a note without what a note has"), 1)


def flips(data: bytes) -> Iterator[bytes]:
    for place in range(len(data) * 8):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)


def number_flips(number: int) -> Iterator[int]:
    return (number ^ 1 << bit for bit in range(63))


def text_flips(text: str) -> Iterator[str]:
    return (changed.decode("utf-8", "replace") for changed in flips(text.encode()))


def altered(record: Record) -> Iterator[Record]:
    """The record with one bit of one field flipped, or a field that is none taken for another."""
    change = msgspec.structs.replace
    yield from (change(record, seq=seq) for seq in number_flips(record.seq))
    yield from (change(record, at=at) for at in number_flips(record.at))
    yield from (change(record, kind=kind) for kind in text_flips(record.kind))
    yield from (change(record, data=data) for data in flips(record.data))
    yield from (change(record, digest=digest) for digest in flips(record.digest))
    yield change(record, data=record.data + b"\0")
    yield change(record, data=record.data[:-1])
    if record.step is None:
        yield from (change(record, step=step) for step in ("", "None", "a"))
    else:
        yield from (change(record, step=step) for step in text_flips(record.step))
        yield change(record, step=None)
        yield change(record, step=f"{record.step} ", data=record.data)
        yield change(record, step=f"{record.step} {record.data[:1].decode('latin-1')}", data=record.data[1:])


def error_of(records: list[Record]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        replayed(records)
    return caught.value


@pytest.mark.parametrize("index", range(len(small())))
def test_every_flipped_bit_of_a_record_is_corruption_that_names_it(index: int) -> None:
    records = small()
    for changed in altered(records[index]):
        error = error_of([*records[:index], changed, *records[index + 1 :]])
        assert (error.kind, error.run, error.seq) == ("store.corrupt", "r", changed.seq), changed


@pytest.mark.parametrize("field", Record.__struct_fields__)
@pytest.mark.parametrize("value", [None, 7, 1.5, "text", b"bytes"], ids=str)
def test_a_field_of_another_type_is_corruption(field: str, value: object) -> None:
    """SQLite gives what the file holds, whatever type the table declares."""
    records = small()
    if getattr(records[4], field) == value:
        return
    records[4] = msgspec.structs.replace(records[4], **{field: value})

    assert error_of(records).kind == "store.corrupt"


def test_a_dropped_doubled_or_swapped_record_is_corruption() -> None:
    records = small()
    for index in range(len(records) - 1):
        dropped = records[:index] + records[index + 1 :]
        doubled = [*records[: index + 1], *records[index:]]
        swapped = [*records[:index], records[index + 1], records[index], *records[index + 2 :]]
        for damaged in (dropped, doubled, swapped):
            assert error_of(damaged).kind == "store.corrupt"


def test_records_that_are_swapped_with_their_numbers_are_corruption() -> None:
    """The two notes are alike but for their numbers and times: only the chain tells them apart."""
    records = small()
    one, two = records[6], records[7]
    records[6] = msgspec.structs.replace(two, seq=one.seq)
    records[7] = msgspec.structs.replace(one, seq=two.seq)

    assert error_of(records).kind == "store.corrupt"


def test_the_chain_tells_the_run_from_a_step_of_any_name() -> None:
    digests = {chain(bytes(16), 1, "step.start", 1, step, b"\x80") for step in (None, "None", "'None'", "", "a")}

    assert len(digests) == 5


def test_records_of_another_run_are_corruption() -> None:
    """All the same but its inputs: from the first record on, no digest fits the other journal."""
    mine, other = small(), RunFold("other")
    other.add("run.create", msgspec.structs.replace(created(), inputs=raw({"x": 2})), 0)
    mine[1] = other.add("run.start", RunStarted(deadline=77), 1)

    assert (error_of(mine).kind, error_of(mine).seq) == ("store.corrupt", 2)


def test_a_cut_end_leaves_a_shorter_journal_which_the_row_gives_away() -> None:
    """The chain cannot tell: whoever loads a run compares the last number with the run's row."""
    records = small()

    assert replayed(records[:-1]).seq == len(records) - 1


# --- records that are well chained and make no sense


def forged(*changes: tuple[str, bytes, str | None]) -> list[Record]:
    """Records with right numbers and digests, whatever they say."""
    records, digest = [], bytes(16)
    for seq, (kind, data, step) in enumerate(changes, start=1):
        digest = chain(digest, seq, kind, seq, step, data)
        records.append(Record(seq, kind, seq, step, data, digest))
    return records


CREATE = ("run.create", msgspec.msgpack.encode(created()), None)
START = ("run.start", msgspec.msgpack.encode(RunStarted()), None)


@pytest.mark.parametrize(
    "kind", ["run.explode", "step.explode", "", "run", "run.", "RUN.START", "to_completed", "item.start"]
)
def test_an_unknown_kind_was_written_by_a_newer_version(kind: str) -> None:
    error = error_of(forged(CREATE, (kind, b"\x80", None)))

    assert (error.kind, error.seq) == ("store.newer", 2)


PLAIN = {
    "workflow": "w",
    "version": "1",
    "definition": "d",
    "inputs": {},
    "steps": 1,
    "cwd": "/",
    "attempt": 1,
    "error": {"kind": "step.failed", "name": "N", "message": "m"},
    "due": 1,
    "outputs": {},
    "event": "e",
    "payload": 1,
    "outcome": "failed",
    "on": "timer",
}


def body(kind: str) -> dict[str, Any]:
    """A plain mapping with every field that a record of this kind needs."""
    fields = msgspec.structs.fields(KINDS[kind])
    return {field.name: PLAIN[field.name] for field in fields if field.required}


@pytest.mark.parametrize("kind", KINDS)
def test_data_that_a_kind_does_not_have_is_corruption(kind: str) -> None:
    pack, good = msgspec.msgpack.encode, body(kind)
    bad: dict[str, bytes] = {
        "unknown field": pack({**good, "surprise": 1}),
        "no mapping": pack([1]),
        "nothing": b"",
        "cut": pack(good)[:-1],
        "trailing": pack(good) + b"\0",
        "number for a key": pack({**good, 7: 1}),
        "reserved": b"\xc1",
        "deep": b"\x91" * 100_000,
        "long": b"\xdf\xff\xff\xff\xff",
        **{f"without {name}": pack({key: value for key, value in good.items() if key != name}) for name in good},
        **{
            f"strange {name}": pack({**good, name: msgspec.msgpack.Ext(99, b"")})
            for name in good
            if name not in ("inputs", "outputs", "payload")
        },
    }
    for what, data in bad.items():
        with pytest.raises(StoreError) as caught:
            Record(1, kind, 1, None, data, b"").decode()
        assert (caught.value.kind, caught.value.seq) == ("store.corrupt", 1), what


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [None, "a"])
@pytest.mark.parametrize("before", [[], [CREATE], [CREATE, START]])
def test_a_record_in_the_wrong_place_is_corruption_and_no_other_error(
    kind: str, step: str | None, before: list[tuple[str, bytes, str | None]]
) -> None:
    records = forged(*before, (kind, msgspec.msgpack.encode(body(kind)), step))
    fits = {
        (0, "run.create", None),
        (1, "run.start", None),
        (1, "run.cancel", None),
        *((number, f"run.{kind}", None) for kind in ("note", "signal", "unwind") for number in (1, 2)),
        *((2, f"run.{trigger}", None) for trigger in ("pause", "cancel", "quarantine", "fail")),
        *((number, f"step.{trigger}", "a") for trigger in ("start", "skip", "cancel") for number in (1, 2)),
    }

    if (len(before), kind, step) in fits:
        replayed(records)
    else:
        assert (error_of(records).kind, error_of(records).seq) == ("store.corrupt", len(records))


# --- adding


def refused_adds() -> Iterator[tuple[str, Data, str | None]]:
    yield "run.complete", RunCompleted(outputs=raw({})), None
    yield "run.resume", Reason(), None
    yield "step.complete", StepCompleted(), "b"
    yield "step.reset", StepReset(), "c"


@pytest.mark.parametrize("change", list(refused_adds()), ids=lambda change: change[0])
def test_a_refused_record_leaves_the_fold_as_it_was(change: tuple[str, Data, str | None]) -> None:
    fold = replayed(small()[:3])
    before = snapshot(fold)
    kind, data, step = change
    with pytest.raises(TransitionRefused):
        fold.add(kind, data, 99, step)

    assert snapshot(fold) == before


def test_text_that_cannot_be_stored_leaves_the_fold_as_it_was() -> None:
    fold = replayed(small()[:3])
    before = snapshot(fold)
    with pytest.raises(UnicodeEncodeError):
        fold.add("run.pause", Reason(reason="\ud800"), 99)

    assert snapshot(fold) == before


def test_a_reset_keeps_the_count_of_attempts_and_nothing_else() -> None:
    fold = replayed(small()[:6])
    fold.add("step.reset", StepReset(reason="retry"), 50, "a")
    step = fold.steps["a"]

    assert (step.attempt, step.failures, step.state, step.reason) == (2, 0, "pending", "retry")
    assert [step.output, step.outputs, step.blob, step.error, step.due, step.ended_at] == [None] * 6
    assert fold.open_steps == 3


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=60))
@example("run.create", b"\xde\xff\xff")
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_a_record_or_a_store_error(kind: str, data: bytes) -> None:
    found = "a record"
    try:
        Record(1, kind, 1, None, data, b"").decode()
    except StoreError as error:
        found = error.kind
    assert found in ("a record", "store.corrupt")
