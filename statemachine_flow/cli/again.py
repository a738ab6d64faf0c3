"""A command line that repeats the one that was given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import click
from click.core import ParameterSource

from statemachine_flow.cli.inputs import read_source
from statemachine_flow.cli.output import to_json

#: Stands for a value that must not be shown.
_HIDDEN: Final = "***"


def arguments_of(context: click.Context, leave_out: Collection[str], secrets: Collection[str]) -> tuple[str, ...]:
    """The arguments of a command, without its own name: first those without a name, then the options.

    Args:
        context: of the command.
        leave_out: names of parameters that are left out.
        secrets: names of inputs whose values are secret.
    """
    given = [
        parameter
        for parameter in context.command.params
        if parameter.name not in leave_out
        and context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    plain = [_plain(context.params[str(one.name)]) for one in given if isinstance(one, click.Argument)]
    options = [one for one in given if isinstance(one, click.Option)]
    return (*plain, *(part for one in options for part in _option(one, context.params[str(one.name)], secrets)))


def _plain(value: str) -> str:
    """An argument that nobody takes for an option."""
    return f"./{value}" if value.startswith("-") else value


def _option(option: click.Option, value: Any, secrets: Collection[str]) -> Iterator[str]:
    name = max(option.opts, key=len)
    if option.is_flag:
        yield name
        return
    for one in value if option.multiple else [value]:
        yield name
        yield _without_secrets(name, str(one), secrets)


def _without_secrets(option: str, text: str, secrets: Collection[str]) -> str:
    if option == "--input":
        name, equals, _ = text.partition("=")
        return f"{name}{equals}{_HIDDEN}" if name in secrets else text
    if option == "--inputs" and text.lstrip().startswith("{") and secrets:
        return to_json({name: _hidden(name, value, secrets) for name, value in read_source(text).items()})
    return text


def _hidden(name: str, value: Any, secrets: Iterable[str]) -> Any:
    return _HIDDEN if name in secrets else value
