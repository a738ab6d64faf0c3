"""What runs are made of: the plans of definitions, and the functions that came with workflows or were registered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, final

from statemachine_flow.agents import Agents
from statemachine_flow.builder import Workflow
from statemachine_flow.errors import SmfError, StoreError
from statemachine_flow.functions import Function, Functions
from statemachine_flow.model import Definition
from statemachine_flow.plan import Plan
from statemachine_flow.snapshot import decode_definition
from statemachine_flow.stores.base import RunRow, Store

#: How many compiled definitions an engine keeps.
_PLANS_KEPT: Final = 16


@final
class Library:
    """The definitions, functions and agents of one engine.

    Args:
        store: where definitions are kept.
        functions: what `call` steps may call.
        agents: whom `agent` steps may ask.
        workflows: name -> what `workflow` steps may start by that name.
        strict_code: pause a run whose functions' code changed, instead of leaving a note.
    """

    def __init__(
        self, store: Store, functions: Functions, agents: Agents, workflows: Mapping[str, Any], *, strict_code: bool
    ) -> None:
        self.functions = functions
        self.agents = agents
        self.workflows = workflows
        self.strict_code = strict_code
        self._store = store
        self._plans: dict[str, Plan] = {}
        #: Content hash -> the functions that came with that workflow, for its runs alone.
        self._own_functions: dict[str, Mapping[str, Function]] = {}

    # --- functions

    def bring(self, content_hash: str, own: Mapping[str, Function]) -> None:
        """Keep the functions that came with a workflow, for runs of that workflow alone."""
        if own:
            self._own_functions[content_hash] = own

    def functions_of(self, content_hash: str) -> Functions:
        """What runs of a workflow may call: what came with it, above what is registered."""
        return self.functions.over(self._functions_with(content_hash))

    def _functions_with(self, content_hash: str) -> Mapping[str, Function]:
        return {**self._registered_functions.get(content_hash, {}), **self._own_functions.get(content_hash, {})}

    @cached_property
    def _registered_functions(self) -> Mapping[str, Mapping[str, Function]]:
        """Content hash -> the functions that came with a workflow that `workflow` steps start by its name."""
        found: dict[str, Mapping[str, Function]] = {}
        for workflow in self.workflows.values():
            if isinstance(workflow, Workflow):
                with contextlib.suppress(SmfError):  # who starts it is told what is wrong
                    found[workflow.content_hash] = workflow.functions
        return found

    def share(self, content_hash: str, above: str) -> None:
        """Let the runs of a workflow call what came with the workflow that starts them."""
        self.bring(content_hash, {**self._functions_with(above), **self._functions_with(content_hash)})

    # --- plans

    def plan(self, content_hash: str, definition: Callable[[], Definition]) -> Plan:
        """The plan of a definition; the last few are kept, so that runs of one workflow share it."""
        plan = self._plans.get(content_hash)
        if plan is None:
            while len(self._plans) >= _PLANS_KEPT:
                del self._plans[next(iter(self._plans))]
            plan = self._plans[content_hash] = Plan(definition())
        return plan

    def plan_of(self, content_hash: str) -> Plan:
        """The plan of a definition that the store has.

        Raises:
            StoreError: it is gone, or damaged.
        """
        return self.plan(content_hash, lambda: decode_definition(self._body(content_hash)))

    def plan_of_run(self, row: RunRow) -> Plan:
        """The plan of a run that the store has.

        Raises:
            StoreError: its definition is gone, or damaged.
        """
        body = self._body(row.definition, row.id)
        return self.plan(row.definition, lambda: decode_definition(body, run=row.id))

    def _body(self, content_hash: str, run_id: str | None = None) -> bytes:
        try:
            body = self._store.definition(content_hash)
        except StoreError as error:
            raise StoreError(error.message, kind=error.kind, hint=error.hint, run=run_id) from error
        if body is None:
            raise StoreError("the run's definition is gone", kind="store.corrupt", run=run_id)
        return body
