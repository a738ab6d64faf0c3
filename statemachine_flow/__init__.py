"""statemachine_flow: durable workflows inside your own process.

A document (TOML, YAML, JSON) or a `Workflow` built in Python compiles into explicit state machines for the run and
each of its steps; every change passes their guard and is journaled before anyone is told of it, so a process can be
killed at any moment and the run goes on from there.

Layout, from the top down; a module imports only from what stands below it:
    cli                     the `smf` command
    testing                 rehearsals, scripted outcomes, virtual time and deaths, for users' tests
    views                   workflows and runs drawn, compared, explained, foreseen
    engine                  starts runs and carries them through their lives
    proof                   what every run of a workflow keeps to
    builder                 workflows in Python, and `load`
    editing                 documents changed and laid out as texts, with their comments
    compiler                text -> checked definition, and back
    stores                  where journals are kept: memory, SQLite
    plan, snapshot          a definition compiled for execution; a definition as bytes
    steps                   one module per verb
    executors, functions    where step bodies run; which functions they may be
    journal                 records, and the fold that turns them into a run's state
    expressions, model      `${{ }}` and `when`; the nouns of a workflow
    values, lifecycle       user values as bytes; THE table of legal changes
    clock, durations        time
    errors                  every error, with its stable kind

Nothing below is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from statemachine_flow._version import __version__

if TYPE_CHECKING:
    from statemachine_flow import errors, testing
    from statemachine_flow.agents import AgentReply, AgentRequest
    from statemachine_flow.builder import Ref, Workflow, load
    from statemachine_flow.editing import Document, edit
    from statemachine_flow.engine.asynchronous import AsyncEngine
    from statemachine_flow.engine.checkpoints import Checkpoint
    from statemachine_flow.engine.sync import Engine
    from statemachine_flow.engine.view import Event, Run, StepView
    from statemachine_flow.lifecycle import RunState, StepState
    from statemachine_flow.model import Budget, CheckpointPolicy, ForEach, Repeat, RetryPolicy
    from statemachine_flow.proof import Proof, prove
    from statemachine_flow.steps.base import StepContext
    from statemachine_flow.views.changes import diff
    from statemachine_flow.views.drawing import draw
    from statemachine_flow.views.explain import explain
    from statemachine_flow.views.preview import preview
    from statemachine_flow.views.story import explain_step

__all__ = [
    "AgentReply",
    "AgentRequest",
    "AsyncEngine",
    "Budget",
    "Checkpoint",
    "CheckpointPolicy",
    "Document",
    "Engine",
    "Event",
    "ForEach",
    "Proof",
    "Ref",
    "Repeat",
    "RetryPolicy",
    "Run",
    "RunState",
    "StepContext",
    "StepState",
    "StepView",
    "Workflow",
    "__version__",
    "diff",
    "draw",
    "edit",
    "errors",
    "explain",
    "explain_step",
    "load",
    "preview",
    "prove",
    "testing",
]

_HOMES = {
    "AgentReply": "agents",
    "AgentRequest": "agents",
    "AsyncEngine": "engine.asynchronous",
    "Budget": "model",
    "Checkpoint": "engine.checkpoints",
    "CheckpointPolicy": "model",
    "Document": "editing",
    "Engine": "engine.sync",
    "Event": "engine.view",
    "ForEach": "model",
    "Proof": "proof",
    "Ref": "builder",
    "Repeat": "model",
    "RetryPolicy": "model",
    "Run": "engine.view",
    "RunState": "lifecycle",
    "StepContext": "steps.base",
    "StepState": "lifecycle",
    "StepView": "engine.view",
    "Workflow": "builder",
    "diff": "views.changes",
    "draw": "views.drawing",
    "edit": "editing",
    "explain": "views.explain",
    "explain_step": "views.story",
    "load": "builder",
    "preview": "views.preview",
    "prove": "proof",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package costs next to nothing."""
    if name in ("errors", "testing"):
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
