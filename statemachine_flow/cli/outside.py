"""What `signal`, `approve`, `reject` and `resolve` share: they say something to a run, whoever works on it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

import attrs
import click

from statemachine_flow.cli.actor import user
from statemachine_flow.cli.describe import is_worked_on
from statemachine_flow.cli.inputs import read_fields
from statemachine_flow.cli.options import TEXT
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.cli.stores import command_line, working_engine
from statemachine_flow.compiler import read_text
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import DefinitionError, NotFoundError

_F = TypeVar("_F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Answer:
    """What goes with the choice that somebody makes."""

    #: The form, as NAME=VALUE.
    pairs: tuple[str, ...]
    #: Who decides; None for the user of this shell.
    by: str | None
    reason: str


_ANSWER_OPTIONS: Final = (
    click.option("--reason", metavar="TEXT", default="", type=TEXT, help="Why, for the journal."),
    click.option(
        "--by", metavar="NAME", type=TEXT, help="Who decides; one of the approvers. By default the user of this shell."
    ),
    click.option(
        "--form", "pairs", metavar="NAME=VALUE", multiple=True, type=TEXT, help="A field of the form; repeatable."
    ),
)


def answer_options(command: _F) -> _F:
    """`--form`, `--by` and `--reason`; the command gets them as `answer`."""

    @functools.wraps(command)
    def collected(*, pairs: tuple[str, ...], by: str | None, reason: str, **others: Any) -> Any:
        return command(answer=Answer(pairs=pairs, by=by, reason=reason), **others)

    for option in _ANSWER_OPTIONS:
        collected = option(collected)
    return cast(_F, collected)


def decide(run: str, step: str, choice: str, answer: Answer, *, db: str | None, as_json: bool) -> None:
    """Decide an approval, and say so."""
    with working_engine(db) as engine:
        found = engine.get(engine.find(run))
        question = found.steps[step].question if step in found.steps else {}
        form = read_fields(question.get("form", {}), answer.pairs)
        # The digest makes sure that nobody decides something else than what was there a moment ago.
        digest, who = question.get("digest"), user() if answer.by is None else answer.by
        with naming_steps(found, step, db):
            engine.approve(found.id, step, choice=choice, form=form, by=who, reason=answer.reason, digest=digest)
        tell(engine, found, f"step {step} of run {found.id}: {choice}", db, as_json=as_json)


@contextlib.contextmanager
def naming_steps(run: Run, step: str, db: str | None) -> Iterator[None]:
    """Say where to look if a step is named that the run does not have."""
    try:
        yield
    except NotFoundError as error:
        inside = [path for path in run.children if step.startswith(f"{path}/")]
        if inside:
            path = max(inside, key=len)
            error.hint = f"'{path}' is a run of its own, {run.children[path]}, with a step '{step[len(path) + 1 :]}'"
        else:
            error.hint = f"`{command_line('status', run.id, db)}` shows its steps"
        raise


def tell(engine: Engine, run: Run, said: str, db: str | None, *, as_json: bool) -> None:
    """Confirm what was said to a run, and how it goes on.

    Args:
        engine: knows the runs above it.
        run: the run as it was before.
        said: what was said.
        db: the store that was named.
        as_json: whether to print an object to stdout instead of talking.
    """
    top = run
    while top.parent is not None and not is_worked_on(top.owner):
        top = engine.get(top.parent[0])
    owned = is_worked_on(top.owner)
    said = engine.redact(run.id, said)  # whoever said it may have named a secret
    if as_json:
        write(to_json({"run": run.id, "state": str(run.state), "said": said, "owned": owned}))
        return
    say(sanitize(said))
    if not owned:
        say(f"go on with: {sanitize(command_line('resume', top.id, db))}")


def read_json(text: str, option: str) -> Any:
    """A value that is given as JSON.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        values: Mapping[str, Any] = read_text(f'{{"value": {text}}}', format="json", name=option)[0]
    except DefinitionError as error:
        message = "; ".join(problem.message for problem in error.problems)
        raise click.BadParameter(message, ctx=click.get_current_context(), param_hint=option) from None
    if set(values) != {"value"}:
        raise click.BadParameter("it is not one JSON value", ctx=click.get_current_context(), param_hint=option)
    return values["value"]
