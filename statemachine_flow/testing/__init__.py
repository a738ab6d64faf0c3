"""For users' tests: clocks, scripted outcomes, deaths at chosen writes, and rehearsals of whole workflows.

Layout, each module importing only from those above it:
    manual      a clock that is moved by hand
    timers      timers on a clock that is moved
    turns       the order of what is carried out in threads and other processes
    idle        what moves the clock of a loop that has nothing to do
    loop        an event loop where waiting takes no time, and that can be killed; `virtual`: its clock
    crash       a store that dies at a chosen write
    threads     threads for bodies
    places      which step a path means, those of child runs included
    checks      what the values of outcomes may be
    outcomes    what can happen to a step, as values
    reader      from plain data to outcomes; `fits`: whether they fit a workflow
    script      outcomes by path, from Python or a document
    player      plays a script in the place of step bodies
    compare     what became of a run, and how that differs from what became of another
    life        one life of a process that carries a run: to its rest, or to its death
    report      what a rehearsal found
    stores      new stores, in memory or in files that do not stay
    rehearsal   `rehearse`: a death at every write of a workflow
    stepped     an engine that works inside the calls that wait for it
    crashing    processes that die at a write, for single tests
    coverage    what runs have exercised of their workflows
    plugin      fixtures for pytest

Names are imported when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statemachine_flow.testing.coverage import Coverage
    from statemachine_flow.testing.crash import CrashStore, Died
    from statemachine_flow.testing.loop import Killed
    from statemachine_flow.testing.manual import ManualClock
    from statemachine_flow.testing.outcomes import Decide, Exit, Fail, Return, Signal
    from statemachine_flow.testing.player import Player
    from statemachine_flow.testing.rehearsal import rehearse
    from statemachine_flow.testing.report import Report
    from statemachine_flow.testing.script import Script
    from statemachine_flow.testing.stepped import SteppedEngine
    from statemachine_flow.testing.timers import Stuck
    from statemachine_flow.testing.virtual import VirtualClock

__all__ = [
    "Coverage",
    "CrashStore",
    "Decide",
    "Died",
    "Exit",
    "Fail",
    "Killed",
    "ManualClock",
    "Player",
    "Report",
    "Return",
    "Script",
    "Signal",
    "SteppedEngine",
    "Stuck",
    "VirtualClock",
    "rehearse",
]

_HOMES = {
    "Coverage": "coverage",
    "CrashStore": "crash",
    "Decide": "outcomes",
    "Died": "crash",
    "Exit": "outcomes",
    "Fail": "outcomes",
    "Killed": "loop",
    "ManualClock": "manual",
    "Player": "player",
    "Report": "report",
    "Return": "outcomes",
    "Script": "script",
    "Signal": "outcomes",
    "SteppedEngine": "stepped",
    "Stuck": "timers",
    "VirtualClock": "virtual",
    "rehearse": "rehearsal",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that a test run that needs none of them pays for none."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
