"""The workflows of the simulator: small ones, that wait, fail, retry, branch, loop and have runs of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from statemachine_flow.builder import Workflow
from tests.crash.referee import TIMEOUTS

_RETRY: Final[Mapping[str, Any]] = {"max_attempts": 3, "delay": "5s"}


def chain() -> Workflow:
    workflow = Workflow("chain")
    workflow.call("a", "work")
    workflow.call("flaky", "work", needs=["a"], retry=_RETRY)
    workflow.call("timed", "work", needs=["flaky"], timeout=TIMEOUTS["timed"], retry=_RETRY)
    workflow.call("d", "work", needs=["timed"])
    return workflow


def fan() -> Workflow:
    workflow = Workflow("fan", max_parallel=3)
    workflow.call("source", "work")
    for name in ("w", "x", "y", "z"):
        workflow.call(name, "work", needs=["source"], optional=name == "z", retry=_RETRY)
    workflow.call("sink", "work", needs=["w", "x", "y", "z"])
    return workflow


def asking() -> Workflow:
    """People, signals and times."""
    workflow = Workflow("asking")
    workflow.call("a", "work", retry=_RETRY)
    workflow.approval("gate", "Go on?", needs=["a"], on_reject="skip")
    workflow.wait("ear", event="go", needs=["a"])
    workflow.wait("pause", 7, needs=["a"])
    workflow.call("last", "work", needs=["gate", "ear", "pause"], trigger_rule="all_done")
    return workflow


def careful() -> Workflow:
    """A step that must not be done twice."""
    workflow = Workflow("careful")
    workflow.call("a", "work", retry=_RETRY)
    workflow.call("once", "work", needs=["a"], delivery="at_most_once")
    workflow.call("last", "work", needs=["once"])
    return workflow


def nested() -> Workflow:
    inner = Workflow("inner")
    inner.call("a", "work", retry=_RETRY)
    inner.call("b", "work", needs=["a"], retry=_RETRY)
    workflow = Workflow("nested")
    workflow.call("a", "work", retry=_RETRY)
    workflow.child("c", inner, needs=["a"])
    workflow.call("last", "work", needs=["c"])
    return workflow


def looping() -> Workflow:
    workflow = Workflow("looping")
    workflow.call("each", "work", for_each={"items": ["p", "q", "r"], "max_parallel": 2}, retry=_RETRY)
    workflow.call("rounds", "work", needs=["each"], repeat={"until": "round == 3", "delay": "2s"}, retry=_RETRY)
    return workflow


MAKERS: Final[tuple[Callable[[], Workflow], ...]] = (chain, fan, asking, careful, nested, looping)
