"""Fixtures of the engine suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.harness import Driver, EngineKind, StoreKind, World

_EVERY: list[tuple[EngineKind, StoreKind]] = [
    ("sync", "memory"),
    ("sync", "sqlite"),
    ("async", "memory"),
    ("async", "sqlite"),
]


@pytest.fixture(params=_EVERY, ids=["-".join(kinds) for kinds in _EVERY])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world of every kind; at its end every run in it is checked against its journal."""
    engine, store = request.param
    world = World(engine, store, tmp_path)
    yield world
    world.close()


@pytest.fixture
def one_world(tmp_path: Path) -> Iterator[World]:
    """One kind of world, for what does not depend on it: the public engine on a file."""
    world = World("sync", "sqlite", tmp_path)
    yield world
    world.close()


@pytest.fixture
def quick_world(tmp_path: Path) -> Iterator[World]:
    """One kind of world, for many examples: a coroutine's engine in memory."""
    world = World("async", "memory", tmp_path)
    yield world
    world.close()


@pytest.fixture
def engine(world: World) -> Driver:
    """An engine of every kind."""
    return world.open()
