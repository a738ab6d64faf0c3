"""The verb `run`: a command of the operating system, as an argument list or through the shell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, final

import attrs
import msgspec

from statemachine_flow.errors import StepError
from statemachine_flow.executors.process import Command, exit_error, run_command, shell_argv
from statemachine_flow.expressions import Template
from statemachine_flow.expressions.values import to_text
from statemachine_flow.model import VariableName
from statemachine_flow.steps.base import Attempt, ExecutableVerb, StepContext

Arguments = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
ExitStatus = Annotated[int, msgspec.Meta(ge=0, le=255)]
CommandLine = Annotated[str, msgspec.Meta(min_length=1)]
_STREAMS = ("stdout", "stderr")
_RESULT_NAMES = (
    *_STREAMS,
    "exit_code",
    *(f"{stream}_{part}" for stream in _STREAMS for part in ("truncated", "bytes", "blob")),
    "lossy",
)


@final
@attrs.frozen(kw_only=True)
class Run(ExecutableVerb):
    """Run a command; its output is a mapping with `stdout`, `stderr` and `exit_code`.

    The step's secrets are in its environment, and in what it writes they are replaced before anything is counted,
    cut or kept.

    More keys are there only when they are needed: of a stream too long to be kept as text, `stdout_truncated` (true),
    `stdout_bytes` and `stdout_blob`, for stderr likewise; and `lossy` (true) when bytes of either text were not UTF-8
    and became U+FFFD.
    """

    key: ClassVar[str] = "run"
    is_body: ClassVar[bool] = True
    templates: ClassVar[tuple[str, ...]] = ("run", "env", "cwd")
    result_names: ClassVar[tuple[str, ...]] = _RESULT_NAMES
    max_parallel: ClassVar[int] = max(4, 2 * (os.cpu_count() or 1))

    #: A list is an argument vector without a shell, in which a placeholder that gives a list becomes as many
    #: arguments; text goes to the shell, values in it quoted as one word each.
    run: Arguments | CommandLine
    #: Added to the few variables a command inherits.
    env: Mapping[VariableName, str] = attrs.field(factory=dict)
    #: Relative to the directory the run was started in.
    cwd: str | None = None
    #: Exit statuses that are no failure.
    allow_exit: Annotated[tuple[ExitStatus, ...], msgspec.Meta(min_length=1)] = (0,)

    def is_shell(self, field: str) -> bool:
        """See `Verb.is_shell`."""
        return field == "run" and isinstance(self.run, str)

    async def execute(self, attempt: Attempt) -> dict[str, Any]:
        """See `ExecutableVerb.execute`."""
        context, redactor = attempt.context, attempt.redactor
        command = Command(
            argv=shell_argv(self.run) if isinstance(self.run, str) else self.run,
            cwd=str(Path(attempt.cwd, self.cwd or "")),
            env={**attempt.env, **_variables(context), **context.secrets, **self.env, **attempt.mark},
        )
        if any(map(redactor.shows, command.argv)):
            message = "a secret stands in the arguments of the command, where other users of the machine can read it"
            hint = "name it in the step's `secrets`, and read it from the environment"
            raise StepError(message, kind="step.secret", name="SecretError", hint=hint)
        screen = redactor.stream if redactor else None
        result = await run_command(command, grace=attempt.grace, open_spill=attempt.open_spill, screen=screen)
        if result.leaked:
            context.logger.warning("a process left the step's group and still runs")
        if result.exit_code not in self.allow_exit:
            raise exit_error(command, result)
        output: dict[str, Any] = {"stdout": result.stdout, "stderr": result.stderr, "exit_code": result.exit_code}
        if result.lossy:
            output["lossy"] = True
        for stream in _STREAMS:
            if getattr(result, f"{stream}_truncated"):
                output[f"{stream}_truncated"] = True
                output[f"{stream}_bytes"] = getattr(result, f"{stream}_bytes")
                output[f"{stream}_blob"] = getattr(result, f"{stream}_spill")
        return output

    def output_names(self, output: Any) -> Mapping[str, Any]:
        """See `ExecutableVerb.output_names`."""
        # What a `verify` function or an operator says in the command's place may be anything.
        return {"result": output, **(output if isinstance(output, Mapping) else {})}

    def render_field(self, name: str, template: Template, names: Mapping[str, Any]) -> Any:
        """See `ExecutableVerb.render_field`."""
        if name == "run":
            if isinstance(self.run, str):
                return template.render(names, quote=True)
            return tuple(_arguments(template.render(names)))
        rendered = template.render(names)
        return {key: to_text(value) for key, value in rendered.items()} if name == "env" else to_text(rendered)


def _variables(context: StepContext) -> dict[str, str]:
    """What a command may know about its attempt."""
    variables = {
        "SMF_RUN_ID": context.run_id,
        "SMF_STEP_ID": context.step_id,
        "SMF_STEP_PATH": context.path,
        "SMF_ATTEMPT": str(context.attempt),
        "SMF_GENERATION": str(context.generation),
        "SMF_EPOCH": str(context.epoch),
        "SMF_IDEMPOTENCY_KEY": context.idempotency_key,
    }
    return variables if context.key is None else variables | {"SMF_ITEM_KEY": context.key}


def _arguments(items: list[Any]) -> list[str]:
    """One argument per item, and one per item of an item that is a list."""
    return [to_text(part) for item in items for part in (item if isinstance(item, list | tuple) else [item])]
