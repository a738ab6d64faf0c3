"""What reads bytes of strangers, one function each: nothing but errors of this library, limits kept, exact copies.

A target takes any bytes and raises only if the library is wrong. `TARGETS` names them all.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from statemachine_flow import snapshot, values
from statemachine_flow.cli import main
from statemachine_flow.cli.exits import Exit
from statemachine_flow.compiler import check, read_text, structure, write
from statemachine_flow.compiler.plain import Limits
from statemachine_flow.compiler.source import Format
from statemachine_flow.errors import ExpressionError, SmfError, StoreError, UsageError
from statemachine_flow.expressions import Expression, Template
from statemachine_flow.expressions.budget import MAX_RESULT
from statemachine_flow.journal import Created, Record, RunFold
from statemachine_flow.journal.records import DIGEST_SIZE, KINDS, chain, encode_data
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.sqlite import SqliteStore
from tests.values.test_values import assert_same

LIMITS = Limits()

#: What expressions read here; `big` makes operations on it expensive.
NAMES: Mapping[str, Any] = {
    "a": 1,
    "b": [1, 2.5, "three", None, True],
    "c": {"n": -3, "list": [3, 1, 2], "text": "ä\n'\"$"},
    "big": list(range(1000)),
    "steps": {"one": {"output": {"k": ["v"]}, "outputs": {"text": "${{ 7*7 }}"}}},
    "inputs": {"who": "you; rm -rf ~"},
}


def _check_told(error: SmfError) -> None:
    assert str(error).strip()


# --- documents


def _document(data: bytes, syntax: Format) -> None:
    try:
        plain, source = read_text(data, format=syntax)
    except SmfError as error:
        _check_told(error)
        return
    _check_limits(plain)
    definition, problems = structure(plain, source)
    if definition is None:
        assert problems
        return
    problems += check(definition, source)
    assert all(str(problem) for problem in problems)
    if any(problem.severity == "error" for problem in problems):
        return
    for writer, back in ((write.to_toml, "toml"), (write.to_yaml, "yaml"), (write.to_json, "json")):
        try:
            text = writer(definition)
        except UsageError:  # TOML has no null
            continue
        again, _ = structure(*_read_again(text, back))
        assert again is not None
        assert again.tree() == definition.tree(), f"it is another workflow once it is written as {back}"
    assert snapshot.decode_definition(snapshot.encode_definition(definition)) == definition


def _read_again(text: str, syntax: Any) -> tuple[dict[str, Any], Any]:
    """What was written may be longer than what was read."""
    return read_text(text, format=syntax, limits=Limits(max_bytes=len(text) * 4 + 1))


def _check_limits(plain: Any) -> None:
    nodes, level = 0, [plain]
    depth = 0
    while level:
        nodes += len(level)
        below = [value.values() if isinstance(value, dict) else value for value in level if type(value) in (dict, list)]
        depth += bool(below)
        level = [item for values_ in below for item in values_]
    assert nodes <= LIMITS.max_nodes
    assert depth <= LIMITS.max_depth


def fuzz_toml(data: bytes) -> None:
    """A document in TOML."""
    _document(data, "toml")


def fuzz_yaml(data: bytes) -> None:
    """A document in YAML."""
    _document(data, "yaml")


def fuzz_json(data: bytes) -> None:
    """A document in JSON."""
    _document(data, "json")


# --- expressions


def _text(data: bytes) -> str:
    """Any bytes as text, with halves of surrogate pairs for what is not UTF-8."""
    return data.decode(errors="surrogateescape")


def fuzz_expression(data: bytes) -> None:
    """An expression."""
    try:
        result = Expression.parse(_text(data)).evaluate(NAMES)
    except ExpressionError as error:
        _check_told(error)
        return
    assert len(repr(result)) <= MAX_RESULT * 10


def fuzz_template(data: bytes) -> None:
    """A text with placeholders, once as it is and once as a command for a shell."""
    text = _text(data)
    template, problems = Template.parse({"key": [text]})
    for _, error in problems:
        assert isinstance(error, ExpressionError)
    if problems:
        return
    for _, error in template.shell_problems():
        assert isinstance(error, ExpressionError)
    for quote in (False, True):
        with contextlib.suppress(ExpressionError):
            template.render(NAMES, quote=quote)


# --- what is stored


def fuzz_values(data: bytes) -> None:
    """A stored value: what can be read is kept again, and is the same then."""
    try:
        value = values.decode_value(data)
    except StoreError:
        return
    values.jsonable(value)
    try:
        again = values.encode_value(value)
    except SmfError:  # deeper than what is written, or a text that UTF-8 does not hold
        return
    assert_same(values.decode_value(again), value)


def fuzz_record(data: bytes) -> None:
    """Records with any contents but a chain that fits, replayed behind a run's first one."""
    kinds = sorted(KINDS)
    kind, step = kinds[(data[:1] or b"\0")[0] % len(kinds)], _text(data[1:2]) or None
    body = data[2:]
    try:
        decoded = Record(1, kind, 0, None, body, bytes(DIGEST_SIZE)).decode()
    except StoreError:
        decoded = None
    if decoded is not None:
        again = Record(1, kind, 0, None, encode_data(decoded), bytes(DIGEST_SIZE)).decode()
        assert encode_data(again) == encode_data(decoded)
    fold = RunFold("r")
    created = Created(workflow="w", version="1", definition="d", inputs=msgspec.Raw(b"\x80"), steps=2, cwd="/")
    fold.add("run.create", created, 1)
    for about in (None, step, "a", "a/b[0]"):
        digest = chain(fold.digest, fold.seq + 1, kind, 0, about, body)
        with contextlib.suppress(SmfError):
            fold.replay([Record(fold.seq + 1, kind, 0, about, body, digest)])


def fuzz_definition_snapshot(data: bytes) -> None:
    """The snapshot of a definition: as it is, and with a head that fits."""
    head = bytes([snapshot.FORMAT]) + snapshot._digest(data)
    for whole in (data, head + data):
        try:
            definition = snapshot.decode_definition(whole)
        except StoreError:
            continue
        again = snapshot.encode_definition(definition)
        assert snapshot.encode_definition(snapshot.decode_definition(again)) == again  # NaN is not itself


# --- files and words


@cache
def small_store() -> bytes:
    """The file of a store with a run in it, its log moved into it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runs.db")
        with contextlib.redirect_stdout(_Output()), contextlib.redirect_stderr(_Output()):
            code = main(["run", str(_small_document(folder)), "--db", str(path)])
        assert code == 0
        store = SqliteStore(path)
        store._database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        store.close()
        return path.read_bytes()


def _small_document(folder: str) -> Path:
    path = Path(folder, "small.toml")
    path.write_text('dsl = "1"\nname = "small"\nsteps.a.run = "true"\n', encoding="utf-8")
    return path


def fuzz_store_open(data: bytes) -> None:
    """A store's file: four bytes say where, the others what is put there instead."""
    whole = bytearray(small_store())
    for begin in range(0, len(data), 20):
        part = data[begin : begin + 20]
        offset = int.from_bytes(part[:4], "big") % len(whole)
        whole[offset : offset + len(part[4:])] = part[4:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runs.db")
        for readonly in (True, False):
            path.write_bytes(whole)
            with contextlib.suppress(SmfError):
                _read_all(path, readonly=readonly)


def _read_all(path: Path, *, readonly: bool) -> None:
    """Read what a store has, each part for itself: one that is damaged says nothing about the next."""
    store = SqliteStore(path, readonly=readonly)
    try:
        ids = store.match("", 10)
        for read in (lambda: store.rows(RunFilter()), store.requests, store.version):
            with contextlib.suppress(SmfError):
                read()
        for run_id in ids:
            with contextlib.suppress(SmfError):
                fold = RunFold(run_id)
                fold.replay(store.records(run_id))
                row = store.row(run_id)
                if row is not None:
                    snapshot.decode_definition(store.definition(row.definition) or b"")
    finally:
        store.close()


#: Commands that would go on with something, or wait for it.
_WORKING = ("run", "resume", "retry")


def fuzz_cli_argv(data: bytes) -> None:
    """The words of a command line, divided by line ends; a document and a store are there, called `d.toml` and `s`."""
    words = [word.replace("/", "_").replace("\0", "_") for word in _text(data).split("\n")][:20]
    words = [word for word in words if word not in (*_WORKING, "--debug")]
    with _workplace():
        with contextlib.redirect_stdout(_Output()) as out, contextlib.redirect_stderr(_Output()) as err:
            code = main(words)
        assert code in set(Exit) - {Exit.INTERNAL, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.TERMINATED}, (code, err.text())
        for text in (out.text(), err.text()):
            assert "Traceback" not in text
            assert not any(ord(char) < 32 and char not in "\n\t\r" for char in text), "a control character is printed"


class _Output(io.TextIOWrapper):
    """A stream like that of a process."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8")

    def text(self) -> str:
        self.flush()
        return self._bytes.getvalue().decode(errors="replace")


@contextlib.contextmanager
def _workplace() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        _small_document(folder).rename(Path(folder, "d.toml"))
        Path(folder, "s").write_bytes(small_store())
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {
    name.removeprefix("fuzz_"): function
    for name, function in list(globals().items())
    if name.startswith("fuzz_") and callable(function)
}
