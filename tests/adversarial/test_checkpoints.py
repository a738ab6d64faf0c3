"""Cases 63 to 70: values that steps give, through the engine and its store."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import hashlib
import math
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from statemachine_flow import Engine, Run, Workflow
from statemachine_flow.errors import StoreError
from statemachine_flow.journal import KINDS, Record
from statemachine_flow.snapshot import FORMAT
from statemachine_flow.stores.seal import add_seal
from tests.engine.harness import Gate, add


def give(folder: Path, body: Callable[[], Any], run_id: str = "r") -> tuple[Run, list[str]]:
    """A run of one step, as the next process reads it, and the kinds of its records."""
    workflow = Workflow("gives")
    add(workflow, "a", body)
    with Engine(folder / "runs.db") as engine:
        engine.run(workflow, run_id=run_id)
    with Engine(folder / "runs.db") as engine:
        return engine.get(run_id), [event.kind for event in engine.events(run_id)]


class Text(str):
    """A subclass of text."""

    __slots__ = ()


class Scalar(float):
    """As the scalars of numpy are: a float by inheritance, and more than one."""

    dtype = "float64"


def generator() -> Any:
    yield 1


UNKEPT: dict[str, tuple[Callable[[], Any], str, str]] = {
    "object": (object, "$", "object"),
    "lambda": (lambda: lambda: 1, "$", "function"),
    "file": (lambda: sys.__stderr__, "$", "TextIO"),
    "generator": (lambda: {"a": [1, generator()]}, "$.a[1]", "generator"),
    "exception": (lambda: [ValueError("x")], "$[0]", "ValueError"),
    "text": (lambda: {"a": Text("x")}, "$.a", "Text"),
    "scalar": (lambda: {"a": [1, 2, 3, Scalar(1.5)]}, "$.a[3]", "Scalar"),
    "class": (lambda: {"a": {"b": (1, {int})}}, "$.a.b", "type"),
    "key": (lambda: {"a": {(1, 2): 3}}, "$.a", "tuple"),
    "module": (lambda: {"a": sys}, "$.a", "module"),
    "bytearray": (lambda: bytearray(b"x"), "$", "bytearray"),
}


@pytest.mark.parametrize("what", UNKEPT)
def test_case_63_a_value_that_cannot_be_kept(tmp_path: Path, what: str) -> None:
    body, path, word = UNKEPT[what]
    run, kinds = give(tmp_path, body)
    error = run.steps["a"].error

    assert error is not None
    assert (run.state, error.kind, error.name) == ("failed", "step.unserializable", "Unserializable")
    assert path in error.message
    assert word in error.message
    assert "step.complete" not in kinds
    assert b"pickle" not in b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())


BERLIN_WINTER = dt.timezone(dt.timedelta(hours=1))
#: A value and how it comes back: exactly as it was, type and all.
EXACT: list[Any] = [
    2**70,
    -(2**70),
    math.inf,
    -math.inf,
    -0.0,
    b"",
    "",
    "\x00",
    "\U0001f600",
    dt.datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - naive on purpose
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC),
    dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN_WINTER),
    dt.date(2026, 1, 2),
    dt.timedelta(days=-1, microseconds=1),
    decimal.Decimal("1.10"),
    decimal.Decimal("NaN"),
    (1, (2, [3])),
    {1, 2},
    frozenset({1}),
    {1: "int", "1": "text", 2.5: "float", None: "none", b"1": "bytes"},
    [1, True, 1.0, "1", None],
    uuid.UUID(int=1),
]


def exact(value: Any) -> Any:
    """A form in which values are equal only if nothing about them differs."""
    if isinstance(value, dict):
        return ("dict", [(exact(key), exact(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), [exact(item) for item in value])
    if isinstance(value, set | frozenset):
        return (type(value), sorted(map(repr, value)))
    return (type(value), repr(value))


@pytest.mark.parametrize("value", EXACT, ids=lambda value: ascii(value)[:40])
def test_case_64_a_value_comes_back_exactly(tmp_path: Path, value: Any) -> None:
    run, _ = give(tmp_path, lambda: {"x": [value]})

    assert exact(run.steps["a"].output) == exact({"x": [value]})


def test_case_64_not_a_number_is_not_null(tmp_path: Path) -> None:
    output = give(tmp_path, lambda: math.nan)[0].steps["a"].output

    assert isinstance(output, float)
    assert math.isnan(output)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "make",
    [lambda: "\ud800", lambda: {"\udfff": 1}, lambda: nested(1000), lambda: nested(100_000), cyclic],
    ids=["lone surrogate", "as a key", "1000 levels", "100000 levels", "itself"],
)
def test_case_64_what_cannot_come_back_is_refused(tmp_path: Path, make: Callable[[], Any]) -> None:
    error = give(tmp_path, make)[0].steps["a"].error

    assert error is not None
    assert error.kind == "step.unserializable"


def test_case_65_fifty_mebibytes(tmp_path: Path) -> None:
    """In a blob under its digest; the journal stays small, and the memory of a reader bounded by the value."""
    size = 50 << 20
    run, _ = give(tmp_path, lambda: "x" * size)
    blobs = [path for path in (tmp_path / "runs.db.blobs").rglob("*") if path.is_file()]

    assert len(run.steps["a"].output) == size
    assert [hashlib.sha256(path.read_bytes()).hexdigest()[:8] in path.name or len(path.name) >= 32 for path in blobs]
    assert sum(path.stat().st_size for path in blobs) < size + 4096
    assert (tmp_path / "runs.db").stat().st_size < 1 << 20
    for path in tmp_path.glob("runs.db-wal"):
        assert path.stat().st_size < 1 << 20


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_case_66_a_blob_that_is_gone_or_altered(tmp_path: Path, damage: str) -> None:
    """The step that reads it is told; all else of the run is there."""
    workflow, gate = Workflow("blobs"), Gate()
    first = add(workflow, "first", lambda: "x" * (2 << 20))
    add(workflow, "wait", gate.ahold, needs=["first"])
    add(workflow, "reads", lambda x: x, with_={"x": first.output}, needs=["wait"], optional=True)
    add(workflow, "other", lambda: "fine", needs=["wait"])
    with Engine(tmp_path / "runs.db") as engine:
        run_id = engine.start(workflow)
        gate.begun()
        for path in [path for path in (tmp_path / "runs.db.blobs").rglob("*") if path.is_file()]:
            path.chmod(0o600)
            path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-1] + b"y")
        gate.open(1)
        run = engine.wait(run_id)
    assert run.steps["reads"].error is not None
    assert (run.state, run.steps["reads"].error.kind, run.steps["other"].output) == (
        "completed",
        "store.corrupt",
        "fine",
    )


#: User data that elsewhere would make an object.
LOOKALIKES: list[Any] = [
    {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}},
    {"__type__": "os:system", "__class__": "subprocess.Popen", "py/object": "os.system"},
    {"__reduce__": ["os.system", ["true"]], "$ref": "file:///etc/passwd", "!!python/object": "os.system"},
    b"cos\nsystem\n(S'true'\ntR.",
]


@pytest.mark.parametrize("value", LOOKALIKES, ids=["lc", "type", "reduce", "pickle"])
def test_case_68_data_that_looks_like_an_object(tmp_path: Path, value: Any) -> None:
    assert give(tmp_path, lambda: value)[0].steps["a"].output == value


INERT = """
import sys
trapped = []
from statemachine_flow import Engine
from statemachine_flow.errors import StoreError
from statemachine_flow.values import decode_value
with Engine(sys.argv[1]) as engine:
    engine.get("r")  # whatever is loaded for reading is loaded now
sys.addaudithook(lambda event, _: trapped.append(event) if event in WATCHED else None)
WATCHED = {"import", "exec", "compile", "subprocess.Popen", "os.system", "socket.connect", "pickle.find_class", "open"}
for number in range(256):
    for data in (bytes([0xc7, 9, number]) + b"os.system", bytes([0xd8, number]) + b"os.system,true//"):
        try:
            decode_value(data)
        except StoreError:
            pass
WATCHED -= {"open"}
with Engine(sys.argv[1]) as engine:
    print(engine.get("r").steps["a"].output == {"lc": 1, "id": ["os", "system"]}, trapped)
"""


def test_case_68_reading_imports_and_runs_nothing(tmp_path: Path) -> None:
    give(tmp_path, lambda: {"lc": 1, "id": ["os", "system"]})
    done = subprocess.run(
        [sys.executable, "-c", INERT, tmp_path / "runs.db"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "True []\n"


def altered(folder: Path, statement: str, change: Callable[[bytes], bytes]) -> StoreError | None:
    """What an engine says of a store in which one value was written as another version would have."""
    path = folder / "runs.db"
    workflow = Workflow("gives")
    add(workflow, "a", lambda: 1)
    with Engine(path) as engine:
        engine.run(workflow, run_id="r")
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        add_seal(connection)
        guards = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.create_scalar_function("altered", lambda *data: change(bytes(data[0])), 1)  # type: ignore[arg-type, misc, call-overload, unused-ignore]  # its stubs know no bytes
        connection.execute(statement)
        for _, sql in guards:
            connection.execute(str(sql))
    try:
        with Engine(path) as engine:
            engine.get("r")
    except StoreError as error:
        return error
    return None


#: The columns that hold versioned forms.
DEFINITIONS = "UPDATE definitions SET body = altered(body); UPDATE definitions SET seal = smf_seal(hash, body)"
LAST_RECORD = "UPDATE journal SET data = altered(data) WHERE seq = (SELECT max(seq) FROM journal)"


def test_case_69_a_form_of_a_newer_version(tmp_path: Path) -> None:
    """It is named as what it is, not as damage, and it stays as it was."""
    error = altered(tmp_path, DEFINITIONS, lambda body: bytes([FORMAT + 1]) + body[1:])

    assert error is not None
    assert (error.kind, error.exit_code, error.run) == ("store.newer", 6, "r")


def test_case_69_a_kind_of_record_of_a_newer_version() -> None:
    record = Record(1, "step.teleport", 0, "a", b"\x80", bytes(16))
    with pytest.raises(StoreError) as caught:
        record.decode()
    assert caught.value.kind == "store.newer"


def test_case_69_a_field_that_nobody_knows_is_no_silent_loss(tmp_path: Path) -> None:
    """A field is only ever added together with a version; without one it is damage."""

    def add_field(data: bytes) -> bytes:
        return msgspec.msgpack.encode({**msgspec.msgpack.decode(data), "added": 1})

    error = altered(tmp_path, LAST_RECORD, add_field)
    assert error is not None
    assert error.kind == "store.corrupt"


@pytest.mark.parametrize("kind", KINDS)
def test_case_69_a_field_that_was_not_there_yet_has_its_default(kind: str) -> None:
    """What every kind of record wrote before it had its optional fields can be read by this version."""
    fields = msgspec.structs.fields(KINDS[kind])
    oldest: dict[str, Any] = {field.encode_name: EXAMPLES.get(field.name, 1) for field in fields if field.required}
    record = Record(1, kind, 0, None, msgspec.msgpack.encode(oldest), bytes(16))
    data = record.decode()

    for field in fields:
        if not field.required and field.default is not msgspec.NODEFAULT:
            assert getattr(data, field.name) == field.default


#: Values for the required fields that are no numbers.
EXAMPLES: dict[str, Any] = {
    "workflow": "w",
    "version": "1",
    "definition": "d",
    "cwd": "/",
    "event": "e",
    "outcome": "failed",
    "on": "steps",
    "inputs": {},
    "outputs": {},
    "payload": None,
    "error": {"kind": "k", "name": "n", "message": "m"},
}


def test_case_70_what_happens_to_a_value_after_it_was_given(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"list": [1]}

    def first() -> dict[str, Any]:
        return shared

    def second(x: dict[str, Any]) -> list[int]:
        shared["list"].append("from outside")
        x["list"].append("from inside")
        return list(x["list"])

    workflow = Workflow("mutated")
    one = add(workflow, "first", first)
    two = add(workflow, "second", second, with_={"x": one.output})
    add(workflow, "third", lambda x: x, with_={"x": one.output}, needs=[two])
    with Engine(tmp_path / "runs.db") as engine:
        engine.run(workflow, run_id="r")
    with Engine(tmp_path / "runs.db") as engine:
        steps = engine.get("r").steps
    assert (steps["first"].output, steps["second"].output, steps["third"].output) == (
        {"list": [1]},
        [1, "from inside"],
        {"list": [1]},
    )
