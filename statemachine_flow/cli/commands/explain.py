"""`smf explain`: a kind of error, or why a step of a run is as it is."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import click

from statemachine_flow.cli.options import TEXT, common_options, db_option, examples
from statemachine_flow.cli.output import paint, paint_state, sanitize, to_json, write
from statemachine_flow.cli.stores import reading_store
from statemachine_flow.cli.times import clock_time, date_and_time, iso
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import KINDS
from statemachine_flow.snapshot import decode_definition
from statemachine_flow.views.explain import Explanation, explain
from statemachine_flow.views.story import Story, explain_step


@click.command(
    "explain", epilog=examples("smf explain definition.cycle", "smf explain @last build", "smf explain | grep timeout")
)
@click.argument("what", metavar="[KIND|RUN]", required=False, type=TEXT)
@click.argument("step", metavar="[STEP]", required=False, type=TEXT)
@db_option
@common_options
def command(*, what: str | None, step: str | None, db: str | None, as_json: bool) -> None:
    """Explain a kind of error, or why a step is as it is.

    KIND is the word in brackets of an error: what it means, what usually causes it, how to mend it. With a RUN (its id,
    the beginning of one, or @last) and a STEP: what let the step run or kept it from running, what happened to it, and
    what it waits for now. Without arguments all kinds are listed.
    """
    if what is None:
        write(to_json(dict(KINDS)) if as_json else "\n".join(_kinds()))
    elif step is None:
        found = explain(what.strip("[]"))
        write(to_json(attrs.asdict(found)) if as_json else "\n".join(_kind(found)))
    else:
        story = _story(what, step, db)
        write(to_json(_data(story)) if as_json else "\n".join(_lines(story)))


def _kinds() -> Iterator[str]:
    width = max(map(len, KINDS))
    for kind, meaning in KINDS.items():
        yield f"{kind:<{width}}  {meaning}"


def _kind(found: Explanation) -> Iterator[str]:
    yield f"{paint(found.kind, 'bold')}: {found.meaning} (exit code {found.exit_code})"
    yield ""
    yield found.advice
    if found.example:
        yield ""
        yield from (f"    {line}" for line in found.example.splitlines())
    if found.rules:
        yield ""
        yield f"in the language's reference: {', '.join(found.rules)}"


def _story(run: str, step: str, db: str | None) -> Story:
    store = reading_store(db)
    with Engine(store) as engine:
        found = engine.get(engine.find(run))
        definition = decode_definition(store.definition(found.definition_hash) or b"", run=found.id)
        return explain_step(found, step, engine.events(found.id), definition)


def _lines(story: Story) -> Iterator[str]:
    yield f"{sanitize(story.step)} is {paint_state(story.state)}: {sanitize(story.verdict)}"
    for rule in story.rules:
        yield f"  {sanitize(rule)}"
    if story.facts:
        yield ""
    day = None
    for fact in story.facts:
        # The date is said once, for most of what belongs together happens on one day.
        if fact.at.astimezone().date() != day:
            day = fact.at.astimezone().date()
            shown = date_and_time(fact.at)
        else:
            shown = f"{clock_time(fact.at):>19}"
        yield f"{fact.seq:>5}  {shown}  {sanitize(fact.text)}"
    if story.now:
        yield ""
    for line in story.now:
        yield f"it waits for: {sanitize(line)}"


def _data(story: Story) -> dict[str, object]:
    facts = [{"seq": fact.seq, "at": iso(fact.at), "text": fact.text} for fact in story.facts]
    return {**attrs.asdict(story, recurse=False), "facts": facts}
