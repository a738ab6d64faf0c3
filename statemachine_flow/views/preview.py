"""What a run would do, as far as its inputs tell: nothing is executed, imported or looked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import attrs

from statemachine_flow.builder import Workflow, as_workflow
from statemachine_flow.engine.inputs import complete_inputs
from statemachine_flow.model import Definition
from statemachine_flow.views.known import Knowledge
from statemachine_flow.views.needed import Needed, every_step, needed_by
from statemachine_flow.views.prospects import Foresight, Prospect

_SECRET: Final = "***"  # noqa: S105 - what stands in its place


@attrs.frozen(kw_only=True)
class Preview:
    """A run before it begins."""

    definition: Definition
    #: Defaults filled in; `***` for secrets.
    inputs: Mapping[str, Any]
    #: Every step of the top level, in the order of the document.
    steps: tuple[Prospect, ...]
    on_failure: tuple[Prospect, ...]
    finally_: tuple[Prospect, ...]
    needed: Needed
    #: What limits how many attempts are under way at once: `*`, or the key of a verb.
    limits: Mapping[str, int]

    @property
    def waves(self) -> tuple[tuple[Prospect, ...], ...]:
        """The steps that are not skipped for sure, in the order in which they can begin at the earliest."""
        return waves_of(self.steps)

    def __str__(self) -> str:
        lines = [f"{number}. {', '.join(step.path for step in wave)}" for number, wave in enumerate(self.waves, 1)]
        lines += [f"skipped: {step.path} ({step.why})" for step in self.steps if step.verdict == "skipped"]
        return "\n".join(lines)


def waves_of(steps: tuple[Prospect, ...]) -> tuple[tuple[Prospect, ...], ...]:
    """Steps of a level that are not skipped for sure, by their waves; those without one come last."""
    found: dict[int, list[Prospect]] = {}
    last = 1 + max((step.wave or 0 for step in steps), default=0)
    for step in steps:
        if step.verdict != "skipped":
            found.setdefault(step.wave or last, []).append(step)
    return tuple(tuple(found[wave]) for wave in sorted(found))


def preview(
    workflow: Workflow | Definition | str | os.PathLike[str],
    inputs: Mapping[str, Any] | None = None,
    *,
    cwd: str | None = None,
) -> Preview:
    """Tell what a run would do.

    Args:
        workflow: as an engine takes it.
        inputs: by name.
        cwd: where relative paths begin; by default in the current directory.

    Raises:
        DefinitionError: the workflow is not valid.
        InputError: the inputs do not fit it.

    Example:
        >>> workflow = Workflow("w")
        >>> deep = workflow.input("deep", "boolean", default=False)
        >>> diff = workflow.run("diff", ["git", "diff"])
        >>> _ = workflow.run("scan", ["scan", diff.output.stdout], when="inputs.deep")
        >>> print(preview(workflow))
        1. diff
        skipped: scan (when inputs.deep: false)
    """
    definition = as_workflow(workflow).definition
    values = complete_inputs(definition, inputs or {}, os.getcwd() if cwd is None else cwd, find=lambda _: _SECRET)  # noqa: PTH109 - as text
    secrets = {name for name, declared in definition.inputs.items() if declared.secret}
    open_values = {name: value for name, value in values.items() if name not in secrets}
    foresight = Foresight(definition)

    def known() -> Knowledge:
        return Knowledge(open_values, {"workflow": definition.name, "version": definition.version})

    return Preview(
        definition=definition,
        inputs={name: _SECRET if name in secrets else value for name, value in values.items()},
        steps=foresight.level(definition.steps, definition.start, "", known()),
        on_failure=foresight.level(definition.on_failure, None, "@on_failure/", known()),
        finally_=foresight.level(definition.finally_, None, "@finally/", known()),
        needed=needed_by(definition),
        limits=_limits(definition),
    )


def _limits(definition: Definition) -> dict[str, int]:
    if definition.max_parallel is not None:
        return {"*": definition.max_parallel}
    steps = every_step((definition.steps, definition.on_failure, definition.finally_))
    return {
        verb.key: verb.max_parallel for verb in {type(step.verb): step.verb for step in steps}.values() if verb.is_body
    }
