"""What one step says beside its expressions: loops, delivery, retries, waits. Each check sees one step alone."""

from __future__ import annotations

import keyword
import math
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

import attrs

from statemachine_flow.compiler.problems import shown
from statemachine_flow.compiler.schemas import schema_findings
from statemachine_flow.compiler.scopes import RESERVED
from statemachine_flow.durations import format_duration, parse_duration
from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.scan import placeholder_end
from statemachine_flow.expressions.values import to_text
from statemachine_flow.model import Finding, Input, RetryPolicy, Step
from statemachine_flow.steps.approval import Approval
from statemachine_flow.steps.call import Call, name_fault
from statemachine_flow.steps.wait import Wait

#: Items of a loop, combinations of a matrix.
MAX_ITEMS: Final = 10_000

_OPENING: Final = "${{"
_CLOSING: Final = "}}"


def input_findings(declared: Input) -> Iterator[Finding]:
    """What is wrong with a declared input."""
    if declared.secret:
        yield from _secret_findings(declared)
    for index, value in enumerate(declared.enum or ()):
        if not declared.has_type(value):
            yield Finding("definition.type", f"{value!r} is not of the type '{declared.type}'", ("enum", index))
    if declared.default is None:
        return
    if not declared.has_type(declared.default):
        yield Finding("definition.type", f"the default is not of the type '{declared.type}'", ("default",))
    elif declared.enum is not None and declared.default not in declared.enum:
        yield Finding("definition.range", "the default is not in 'enum'", ("default",))


def _secret_findings(declared: Input) -> Iterator[Finding]:
    if declared.type != "string":
        yield Finding("definition.range", f"a secret is a string, not of the type '{declared.type}'", ("type",))
    for field, value in (("default", declared.default), ("enum", declared.enum)):
        if value is not None:
            message = f"a secret has no '{field}', which would stand in the document for all to read"
            yield Finding("definition.range", message, (field,), about_key=True)


def retry_findings(policy: RetryPolicy) -> Iterator[Finding]:
    """What is wrong with a retry policy."""
    if policy.delay > policy.max_delay:
        delay, longest = format_duration(policy.delay), format_duration(policy.max_delay)
        message = f"the delay {delay} is longer than max_delay, which is {longest}"
        yield Finding("definition.range", message, ("delay",), "raise max_delay")


def step_findings(step: Step, taken: Collection[str]) -> Iterator[Finding]:
    """What is wrong with the fields of a step.

    Args:
        step: the step.
        taken: the names that its expressions begin with already.
    """
    if step.retry is not None:
        yield from (attrs.evolve(each, path=("retry", *each.path)) for each in retry_findings(step.retry))
    yield from _delivery_findings(step)
    if step.for_each is not None or step.matrix:
        yield from _loop_findings(step, taken)
    if step.output_schema is not None:
        for finding in schema_findings(step.output_schema):
            yield attrs.evolve(finding, path=("output_schema", *finding.path))
    if isinstance(step.verb, Wait):
        yield from _wait_findings(step.verb)
    elif isinstance(step.verb, Approval):
        for name, field in step.verb.approval.fields().items():
            for finding in input_findings(field):
                yield attrs.evolve(finding, path=("approval", "form", name, *finding.path))


def _delivery_findings(step: Step) -> Iterator[Finding]:
    if isinstance(step.verb, Call) and step.verb.isolation == "inline" and step.timeout is not None:
        message = "a function that is called inline keeps the engine's loop, and so cannot be timed out"
        yield Finding("definition.range", message, ("timeout",), "leave out one of the two", about_key=True)
    if step.delivery != "at_most_once" and step.verify is None:
        return
    if step.delivery != "at_most_once":
        message = "'verify' is asked about steps with delivery = \"at_most_once\" only"
        yield Finding("definition.range", message, ("verify",), about_key=True)
    elif step.retry is not None:
        message = 'a step with delivery = "at_most_once" is never tried again'
        yield Finding("definition.range", message, ("retry",), "leave out one of the two", about_key=True)
    if step.verify is not None and (fault := name_fault(step.verify)) is not None:
        hint = "write a registered name, or a public function as 'module:function'"
        yield Finding("definition.callable", fault, ("verify",), hint)


def _loop_findings(step: Step, taken: Collection[str]) -> Iterator[Finding]:
    loop = step.for_each
    if loop is not None:
        if step.matrix:
            message = "a step has either 'for_each' or 'matrix'"
            hint = "put one of them on a group around the step"
            yield Finding("definition.verb", message, ("matrix",), hint, about_key=True)
        yield from _name_findings(loop.as_, step, taken)
        yield from _items_findings(loop.items)
    if math.prod(len(values) for values in step.matrix.values()) > MAX_ITEMS:
        message = f"the matrix has more than {MAX_ITEMS:,} combinations"
        yield Finding("definition.too_many", message, ("matrix",))
        return
    for name, values in step.matrix.items():
        seen: set[str] = set()
        for index, text in enumerate(map(to_text, values)):
            if text in seen:
                message = f"{shown(text)} stands twice, and its combinations could not be told apart"
                yield Finding("definition.duplicate", message, ("matrix", name, index))
            seen.add(text)


def _name_findings(name: str, step: Step, taken: Collection[str]) -> Iterator[Finding]:
    if name in RESERVED or keyword.iskeyword(name) or name in (step.verb.result_names or ()):
        message = f"an item cannot be called {shown(name)}, which means something else in expressions"
    elif name in taken:
        message = f"{shown(name)} is what the loop around this one calls its items"
    else:
        return
    yield Finding("definition.name", message, ("for_each", "as"), "give the items another name with `as`")


def _items_findings(items: str | tuple[object, ...]) -> Iterator[Finding]:
    path = ("for_each", "items")
    if isinstance(items, str):
        if not is_placeholder(items):
            message = "'items' is a list, or one placeholder that gives a list and nothing around it"
            yield Finding("definition.type", message, path, "write '${{ ... }}' without anything before or after it")
    elif len(items) > MAX_ITEMS:
        yield Finding("definition.too_many", f"the list has more than {MAX_ITEMS:,} items", path)


def is_placeholder(text: str) -> bool:
    """Whether a text is one placeholder and nothing else, so that its value keeps its type.

    One that is broken counts, for that is told where placeholders are read.

    Example:
        >>> is_placeholder("${{ inputs.files }}"), is_placeholder("${{ a }} and ${{ b }}")
        (True, False)
    """
    if not text.startswith(_OPENING):
        return False
    try:
        return placeholder_end(text, len(_OPENING)) + len(_CLOSING) == len(text)
    except ExpressionError:
        return True


def _wait_findings(verb: Wait) -> Iterator[Finding]:
    wait = verb.wait
    if wait.for_ is not None and _OPENING not in wait.for_:
        try:
            parse_duration(wait.for_)
        except ValueError as error:
            yield Finding("definition.range", str(error), ("wait", "for"))
    if wait.until is not None and _OPENING not in wait.until:
        try:
            is_moment = datetime.fromisoformat(wait.until).utcoffset() is not None
        except (ValueError, OverflowError):
            is_moment = False
        if not is_moment:
            message = f"{shown(wait.until)} is no moment in ISO 8601 with its offset from UTC"
            yield Finding("definition.range", message, ("wait", "until"), 'write it like "2030-01-31T08:00:00+01:00"')
