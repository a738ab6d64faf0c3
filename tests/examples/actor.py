"""A process that carries one example as far as the run waits or ends, or to its own death; started as a script.

usage: actor.py NAME RUN STORE INPUTS KIND STEP

NAME is the file of an example, INPUTS a JSON object. It dies by SIGKILL as soon as the record KIND of STEP ("" for
the run) is durable.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import statemachine_flow as smf

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

import agent_loop  # noqa: E402 - it lies in the examples


def workflow_of(name: str) -> smf.Workflow:
    """The workflow of an example, as a document or built in Python."""
    return agent_loop.build() if name == "agent_loop.py" else smf.load(EXAMPLES / name)


def engine_of(store: str) -> smf.Engine:
    """An engine that has what examples need."""
    return smf.Engine(store, agents=agent_loop.AGENTS)


def main(*words: str) -> None:
    """Carry it on."""
    name, run_id, store, inputs, *death = words

    def watch(event: smf.Event) -> None:
        if death == [event.kind, event.step or ""]:
            os.kill(os.getpid(), signal.SIGKILL)

    given: Mapping[str, Any] = json.loads(inputs)
    with engine_of(store) as engine:
        engine.run(workflow_of(name), given, run_id=run_id, on_event=watch)


if __name__ == "__main__":
    main(*sys.argv[1:])
