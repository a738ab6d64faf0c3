"""What the inputs of each fuzz target are made from: the saved corpus, and what the repository has of that kind."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import tomllib
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from statemachine_flow.builder import Workflow
from statemachine_flow.cli.app import COMMANDS
from statemachine_flow.compiler import load_document
from statemachine_flow.engine.sync import Engine
from statemachine_flow.expressions import FUNCTIONS
from statemachine_flow.journal.records import KINDS
from statemachine_flow.snapshot import encode_definition
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing.crash import CrashStore
from statemachine_flow.values import encode_value

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
_CASES = ROOT / "dsl" / "conformance" / "v1"
#: One document in so many is a seed: all of them would teach no more.
_SPARSE = 5

_EXPRESSIONS = (
    "a + 1",
    "b[0] + b[1] * 2 - -3 // 4 % 5",
    "c.list[-1] == 2 and not c.n > 0 or 'x' in c.text",
    "[x * 2 for x in c.list if x > 1]",
    "default(steps.one.output.k[0], 'none')",
    "steps['one'].outputs.text + inputs.who",
    "{'k': [1, {'n': none}]}",
    "[[i, j] for i in big for j in big]",
    "'a' * 100 + str(10 ** 18)",
    "1 if a < 2 < 3 else 2",
    "().__class__.__mro__[1].__subclasses__()",
    "'{0.__class__}'.format(a)",
    "9**9**9",
    "(lambda: 1)()",
    *(f"{name}(b)" for name in sorted(FUNCTIONS)),
    *(f"{name}('a,b', ',')" for name in sorted(FUNCTIONS)),
)
_TEMPLATES = (
    "a ${{ a + 1 }} b",
    "${{ b }}",
    "grep ${{ c.text }} $${{ literal }}",
    "${{ raw(c.text) }} '${{ c.text }}' \"${{ a }}\" `${{ a }}` $(${{ a }}) <<E\n${{ a }}\nE",
    "${{ '}}' }} ${{ \"{{\" }}",
    "${{ steps.one.outputs.text }}",
    *(f"${{{{ {text} }}}}" for text in _EXPRESSIONS[:10]),
)
_VALUES = (
    None,
    {"a": (1, {2}), "b": 2**70, 3: b"x", None: -0.0},
    [True, float("nan"), float("inf"), "ä\0", frozenset({(1,)})],
    decimal.Decimal("1.50"),
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=5), "x"), fold=1),
    dt.datetime(1, 1, 1),  # noqa: DTZ001 - a date and time without a zone is a value, too
    [dt.date.max, dt.time(23, 59, fold=1), dt.timedelta(-1, 2, 3), uuid.UUID(int=7)],
    [[[[[[[[["deep"]]]]]]]]],
)


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """What the inputs of a target begin with: first what failed once, then what is there of its kind."""
    return (b"", *corpus(target), *made(target))


def corpus(target: str) -> list[bytes]:
    """What failed once, or was made up to."""
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]


@cache
def made(target: str) -> tuple[bytes, ...]:
    """Decent inputs of a target."""
    return tuple(_MADE[target]())


def documents(suffix: str, step: int = _SPARSE) -> list[bytes]:
    """Documents of the examples, and one in so many of the conformance cases."""
    cases = [path for path in sorted(_CASES.rglob(f"*{suffix}")) if path.stat().st_size < 20_000]
    paths = [*sorted((ROOT / "examples").rglob(f"*{suffix}")), *cases[::step]]
    return [path.read_bytes() for path in paths]


def _json_documents() -> list[bytes]:
    found = []
    for data in documents(".toml"):
        try:
            found.append(json.dumps(tomllib.loads(data.decode())).encode())
        except (ValueError, TypeError):  # a case of a broken document, or of a date
            continue
    return found


def _snapshots() -> list[bytes]:
    """Snapshots of valid documents, without their heads."""
    paths = sorted((_CASES / "valid").rglob("*.toml"))[::_SPARSE]
    return [encode_definition(load_document(path).definition)[17:] for path in paths]


def _records() -> list[bytes]:
    """Records of a run, behind the number of their kind and the name of their step."""
    store, kinds = MemoryStore(), sorted(KINDS)
    workflow = Workflow("seeds", max_parallel=1)
    workflow.run("a", ["printf", "x"], outputs={"n": "1"})
    workflow.run("b", ["printf", "${{ item }}"], for_each={"items": [1, 2]}, needs=["a"])
    workflow.wait("w", "1ms", needs=["b"])
    workflow.approval("p", "?", needs=["w"])
    with Engine(CrashStore(store)) as engine:
        run = engine.run(workflow)
        engine.signal(run.id, "go", {"x": 1})
        engine.approve(run.id, "p", by="ann", reason="fine")
    return [
        bytes([kinds.index(record.kind)]) + (record.step or " ").encode()[:1] + record.data
        for record in store.records(run.id)
    ] + [bytes([number, 97, 0x80]) for number in range(len(kinds))]


def _command_lines() -> list[bytes]:
    lines = [
        ["--version"],
        ["--help"],
        ["validate", "d.toml", "--json"],
        ["status", "x", "--db", "s"],
        ["list", "--db", "s", "--json"],
        ["events", "x", "--db", "s"],
        ["graph", "d.toml"],
        ["plan", "d.toml", "--input", "a=1"],
        ["diff", "d.toml", "d.toml"],
        ["fmt", "--check", "d.toml"],
        ["convert", "d.toml", "--to", "yaml"],
        ["explain", "store.full"],
        ["approve", "x", "a", "--db", "s", "--reason", "fine"],
        ["signal", "x", "go", "--db", "s", "--data", '{"a": [1]}'],
    ]
    return ["\n".join(line).encode() for line in lines] + [name.encode() for name in COMMANDS]


_MADE: dict[str, Any] = {
    "toml": lambda: documents(".toml"),
    "yaml": lambda: documents(".yaml"),
    "json": _json_documents,
    "expression": lambda: [text.encode() for text in _EXPRESSIONS],
    "template": lambda: [text.encode() for text in _TEMPLATES],
    "values": lambda: list(map(encode_value, _VALUES)),
    "record": _records,
    "definition_snapshot": _snapshots,
    "store_open": lambda: [
        bytes([0, 0, page, 0]) + bytes([number]) * 16 for page, number in enumerate(range(0, 256, 9))
    ],
    "cli_argv": _command_lines,
}
