"""The command group, whose commands are imported when they are asked for, and the boundary around all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from statemachine_flow._version import __version__
from statemachine_flow.cli.exits import MEANINGS, Exit
from statemachine_flow.cli.output import prepare_streams

_PROGRAM: Final = "smf"

#: Command -> what it does; a test holds the commands' own help to it.
COMMANDS: Final[dict[str, str]] = {
    "validate": "Check documents without running anything.",
    "fmt": "Lay documents out in the canonical way.",
    "convert": "Write a document in another format.",
    "run": "Run a workflow.",
    "recover": "Take over every run whose process died.",
    "resume": "Go on with a run that was paused or interrupted.",
    "retry": "Go on with a failed run: what failed begins anew.",
    "pause": "Let a run come to rest; `resume` goes on with it.",
    "cancel": "End a run, wherever it is worked on.",
    "quarantine": "Set a run aside for good; `fork` makes a new run of it.",
    "rerun": "Begin a new run that does one step and all after it anew.",
    "fork": "Begin a new run where another one was.",
    "checkpoint": "Mark the point that a run has come to.",
    "checkpoints": "List the points of a run that `restore` can go back to.",
    "restore": "Begin a new run at a checkpoint of another one.",
    "approve": "Decide an approval.",
    "reject": "Decide against an approval.",
    "signal": "Tell a run that something happened.",
    "resolve": "Say what became of a step that was cut off.",
    "list": "List runs, newest first.",
    "status": "Show a run and its steps.",
    "events": "Show a run's journal.",
    "graph": "Draw a workflow, or a run of it.",
    "plan": "Show what a run would do, without running anything.",
    "rehearse": "Kill a workflow at each of its writes, and see how it ends.",
    "diff": "Show how two workflows differ, and what that means.",
    "explain": "Explain a kind of error, or why a step is as it is.",
    "verify": "Check a run, or everything the store holds.",
    "backup": "Copy the store to a new file, while runs go on.",
    "doctor": "Show facts about the store.",
    "schema": "Print the JSON Schema of documents.",
}


class _LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for, and not for the list of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"statemachine_flow.cli.commands.{cmd_name}")
        command: click.Command = module.command
        if "logging" in sys.modules:  # else it carries nothing that could log
            from statemachine_flow.cli.logs import tell_logs  # noqa: PLC0415 - as the comment says

            tell_logs()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _exit_codes() -> str:
    return "\n".join(["\b", "Exit codes:", *(f"  {code:>3}  {MEANINGS[code]}" for code in Exit)])


@click.group(_PROGRAM, cls=_LazyGroup, epilog=_exit_codes(), context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name=_PROGRAM, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def group() -> None:
    """Durable workflows: run them, stop them anywhere, go on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `smf`.

    Args:
        arguments: without the program's name; by default those of this process.

    Returns:
        The exit code, see `exits`.
    """
    prepare_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    completing = os.environ.get("_SMF_COMPLETE")
    if completing:
        from click.shell_completion import shell_complete  # noqa: PLC0415 - only the shell asks for it

        return shell_complete(group, {}, _PROGRAM, "_SMF_COMPLETE", completing)
    return _call(given)


def _call(arguments: list[str]) -> int:
    try:
        with group.make_context(_PROGRAM, list(arguments)) as context:
            return int(group.invoke(context) or 0)
    except click.exceptions.Exit as wish:
        return wish.exit_code
    except (KeyboardInterrupt, click.Abort):
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        return int(Exit.OK)  # whoever read the output has seen enough of it
    except Exception as error:  # noqa: BLE001 - the boundary: nothing passes it but exit codes
        from statemachine_flow.cli.failures import report  # noqa: PLC0415 - the usual call has nothing to report

        # Asked of the arguments themselves, for click may have failed to read them.
        options = arguments[: arguments.index("--")] if "--" in arguments else arguments
        return report(error, as_json="--json" in options, debug="--debug" in options)
