"""What a durable step costs: against a bare loop, as runs grow, and as graphs widen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import cast

import apsw

from benchmarks import workflows
from benchmarks.measure import Figure, at_least, at_most, figure, folder, ratios, timed
from statemachine_flow.model import Definition
from statemachine_flow.stores.base import Store

_names = itertools.count()
#: A row of the bare loop: what one step's records take in the journal.
_BODY = b"x" * 300


def _bare_loop(path: Path, commits: int) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE journal (run TEXT, seq INTEGER, body BLOB, PRIMARY KEY (run, seq)) WITHOUT ROWID")
    for seq in range(commits):
        connection.execute("INSERT INTO journal VALUES ('r', ?, ?)", (seq, _BODY))
    connection.close()


def _engine_on(where: Path, definition: Definition) -> Callable[[], float]:
    return lambda: timed(lambda: workflows.run(definition, where / f"{next(_names)}.db"))


def chain_against_bare_loop(disk: Path, rounds: int) -> list[Figure]:
    """The durable chain: its share of a loop that commits one row per step with the same setting, on the same disk."""
    steps = 1000
    with folder(disk) as where:
        pairs = ratios(
            lambda: timed(lambda: _bare_loop(where / f"{next(_names)}.db", steps)),
            _engine_on(where, workflows.chain(steps)),
            rounds,
        )
    note = (
        f"{min(b for b, _ in pairs) * 1e6 / steps:.0f} us bare, {min(e for _, e in pairs) * 1e6 / steps:.0f} us engine"
    )
    share = [bare / engine for bare, engine in pairs]
    return [
        figure(
            "durable chain of 1,000, share of a bare loop",
            share,
            "x",
            goal=">= 0.80",
            met=at_least(0.8),
            note=note,
        )
    ]


def _run_in(where: Path, steps: int) -> Callable[[], float]:
    definition = workflows.chain(steps)
    return lambda: workflows.seconds_of_run(definition, where / f"{next(_names)}.db")


def growth(disk: Path, rounds: int) -> list[Figure]:
    """Cost per step of a chain as it grows, against that of 1,000 steps; opening the store is not part of it."""
    figures = []
    with folder(disk) as where:
        for steps in (100, 10_000):
            pairs = ratios(_run_in(where, steps), _run_in(where, 1000), rounds)
            values = [(one / steps) / (other / 1000) for one, other in pairs]
            note = f"{min(one for one, _ in pairs) * 1e6 / steps:.0f} us a step"
            name = f"cost per step at {steps:,} steps, against 1,000"
            figures.append(figure(name, values, "x", goal="<= 1.3", met=at_most(1.3), note=note))
    return figures


def graphs(disk: Path, rounds: int) -> list[Figure]:
    """Wide and dense graphs: twice the size must not cost much more than twice the time."""
    cases = {
        "fan-out of 5,000, against 2,500": (workflows.fan_out(5000), workflows.fan_out(2500), 5002),
        "2,000 steps with 25,000 edges, against half of both": (
            workflows.dense(2000, 25_000),
            workflows.dense(1000, 12_500),
            2000,
        ),
    }
    figures = []
    with folder(disk) as where:
        for name, (whole, half, steps) in cases.items():
            pairs = ratios(_engine_on(where, whole), _engine_on(where, half), max(3, rounds // 2))
            note = f"{min(one for one, _ in pairs) * 1e6 / steps:.0f} us a step"
            values = [one / other for one, other in pairs]
            figures.append(figure(name, values, "x", goal="<= 2.6", met=at_most(2.6), note=note))
    return figures


def counts(disk: Path, _rounds: int) -> list[Figure]:
    """Counts that no noise touches: commits, and bytes on disk."""
    figures = []
    with folder(disk) as where:
        for name, definition, units, goal, limit in (
            ("commits per step of a chain", workflows.chain(1000), 1000, "<= 1.01", 1.01),
            ("commits per 1,000 steps of a fan-out", workflows.fan_out(5000), 5, "<= 20", 20.0),
        ):
            path = where / f"{next(_names)}.db"
            store = workflows.CountingStore(path)
            workflows.run(definition, cast("Store", store))
            figures.append(figure(name, [store.commits / units], "", goal=goal, met=at_most(limit)))
        path = where / f"{next(_names)}.db"
        workflows.run(workflows.chain(10_000), path)
        with apsw.Connection(str(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = path.stat().st_size / 10_000
        figures.append(figure("bytes on disk per step", [size], "B", goal="<= 700", met=at_most(700)))
    return figures
