"""Documents that tests write out as they would stand in a file, and a step that does not heed what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from statemachine_flow.builder import Workflow, load
from statemachine_flow.steps.base import StepContext
from tests.engine.harness import Gate


def document(steps: Mapping[str, Any], **fields: Any) -> Workflow:
    """A workflow of these steps, and of the document's other fields."""
    return load({"dsl": "1", "name": "w", **fields, "steps": dict(steps)})


def calls(name: str, *needs: str, **fields: Any) -> dict[str, Any]:
    """A step that calls a function."""
    return {"call": name, **({"needs": list(needs)} if needs else {}), **fields}


def patient(attempts: int, delay: str = "10s") -> dict[str, Any]:
    """A retry policy without chance."""
    return {"max_attempts": attempts, "delay": delay, "jitter": "none", "backoff": "constant"}


class Stubborn:
    """A step body that never ends by itself, and once it is cancelled only when it is let go."""

    def __init__(self) -> None:
        self._held = Gate()
        self._going = Gate()

    async def ahold(self, context: StepContext) -> None:
        """The body, as a coroutine."""
        try:
            await self._held.ahold(context)
        except asyncio.CancelledError:
            await self._going.ahold(context)
            raise

    def begun(self) -> None:
        """Wait for the next attempt to begin."""
        self._held.begun()

    def told(self) -> None:
        """Wait until an attempt is told to end."""
        self._going.begun()

    def release(self) -> None:
        """Let the attempts that were told to end do so."""
        self._going.open()
