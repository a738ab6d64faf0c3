"""Fixtures for pytest, and what tests exercised of their workflows; loaded by pytest itself where this is installed.

Everything heavy is imported when a fixture is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from statemachine_flow.engine.asynchronous import WorkflowLike
    from statemachine_flow.engine.sync import Engine
    from statemachine_flow.engine.view import Run
    from statemachine_flow.stores.base import Store
    from statemachine_flow.testing.coverage import Coverage
    from statemachine_flow.testing.virtual import VirtualClock

_OPTION: Final = "--smf-coverage"
_SHARED: Final = "smf_coverage"


class Crash(Protocol):
    """What `smf_crash` gives."""

    def __call__(
        self,
        workflow: WorkflowLike,
        inputs: Mapping[str, Any] | None = None,
        *,
        at: int,
        when: Literal["before", "after"] = "after",
    ) -> Run:
        """Run a workflow in a process that dies at its n-th write, and go on with it in another one.

        Args:
            workflow: what is run.
            inputs: by name.
            at: at which write, counted from 1.
            when: on which side of it: whether it is kept.

        Returns:
            The run at its rest.
        """
        ...


_COVERAGE: Final = pytest.StashKey["Coverage"]()


def _coverage(config: pytest.Config) -> Coverage:
    """What is collected in this process; made when somebody asks for it."""
    if _COVERAGE not in config.stash:
        from statemachine_flow.testing.coverage import Coverage  # noqa: PLC0415 - see above

        config.stash[_COVERAGE] = Coverage()
    return config.stash[_COVERAGE]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--smf-coverage`."""
    group = parser.getgroup("statemachine_flow")
    group.addoption(_OPTION, action="store_true", help="Tell what no test exercised of the workflows that were run.")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell what was never exercised, if that is asked for."""
    if config.getoption(_OPTION):
        terminalreporter.section("workflow coverage")
        text = str(_coverage(config))
        terminalreporter.write_line(text or "no test ran a workflow in `smf_engine` or `smf_crash`")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this process counted, where several share the tests."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and session.config.getoption(_OPTION):
        output[_SHARED] = _coverage(session.config).data()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001 - pytest-xdist names its arguments
    """Take over what a process of pytest-xdist counted."""
    shared = getattr(node, "workeroutput", {}).get(_SHARED)
    if shared:
        _coverage(node.config).merge(shared)


@contextlib.contextmanager
def _watching(config: pytest.Config, store: Store) -> Iterator[None]:
    coverage = _coverage(config)
    coverage.open.append(store)
    try:
        yield
    finally:
        coverage.add(store)
        coverage.open.remove(store)


@pytest.fixture
def smf_clock() -> VirtualClock:
    """The time of `smf_engine` and `smf_crash`: it jumps as soon as nothing else can happen."""
    from statemachine_flow.testing.virtual import VirtualClock  # noqa: PLC0415 - see above

    return VirtualClock()


@pytest.fixture
def smf_script() -> dict[str, Any]:
    """Outcomes by path; a test fills it in, or has a fixture of its own with this name.

    They are of bodies; of people for `smf_crash` alone: with `smf_engine`, the test itself approves and signals.
    """
    return {}


@pytest.fixture
def smf_options() -> dict[str, Any]:
    """Options of the engines, see `AsyncEngine`; for fixtures of your own with this name."""
    return {}


@pytest.fixture
def smf_store() -> Iterator[Store]:
    """The store of `smf_engine`: in memory. A fixture of your own with this name gives another one."""
    from statemachine_flow.stores.memory import MemoryStore  # noqa: PLC0415 - see above

    store = MemoryStore()
    yield store
    store.close()


@pytest.fixture
def smf_engine(
    request: pytest.FixtureRequest,
    smf_store: Store,
    smf_clock: VirtualClock,
    smf_script: Mapping[str, Any],
    smf_options: Mapping[str, Any],
) -> Iterator[Engine]:
    """An engine whose work is done inside its calls, where waiting takes no time; its runs are checked at the end."""
    from statemachine_flow.testing.stepped import SteppedEngine  # noqa: PLC0415 - see above

    with _watching(request.config, smf_store):
        with SteppedEngine(smf_store, clock=smf_clock, script=smf_script, **smf_options) as engine:
            yield engine
        engine.check()


@pytest.fixture
def smf_crash(
    request: pytest.FixtureRequest,
    smf_clock: VirtualClock,
    smf_script: Mapping[str, Any],
    smf_options: Mapping[str, Any],
) -> Iterator[Crash]:
    """Kill a process at its n-th write, and go on in another one: `smf_crash(workflow, at=3)`."""
    from statemachine_flow.testing.crashing import Crashes  # noqa: PLC0415 - see above

    with contextlib.ExitStack() as stack:

        def watch(store: Store) -> None:
            stack.enter_context(_watching(request.config, store))

        crashes = stack.enter_context(Crashes(smf_clock, smf_script, smf_options, watch))
        yield crashes
        crashes.check()


@pytest.fixture
def smf_coverage(request: pytest.FixtureRequest) -> Coverage:
    """What the tests so far, this one included, have exercised of their workflows: `smf_coverage.never(workflow)`."""
    return _coverage(request.config)
