"""What a document means: whether its steps, names and expressions fit together.

Works on a definition of sound shape, see `document`, whatever it was made from. Nothing is imported or run.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Final

from statemachine_flow.compiler.graph import Graph
from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.references import RUN_ROOTS, STEP_ROOTS, Place, References, result_roots
from statemachine_flow.compiler.source import Path, Source
from statemachine_flow.durations import format_duration
from statemachine_flow.errors import Problem
from statemachine_flow.model import Definition, Input, RetryPolicy, Step, Verb, document_key

_PLACEHOLDER: Final = "${{"
#: Finding one costs a walk through the whole graph.
_MOST_CIRCLES: Final = 10


def check(definition: Definition, source: Source | None = None) -> list[Problem]:
    """Find what does not fit together.

    Args:
        definition: as `structure` made it; where that refused a step, what hangs on it is left out.
        source: the document's text, for positions.

    Returns:
        Every problem; none for a workflow that can be run.

    Example:
        >>> from statemachine_flow.steps import Call
        >>> step = Step(id="a", verb=Call(call="f"), needs=("b",))
        >>> [problem.message for problem in check(Definition(name="w", steps=(step,)))]
        ["step 'a' needs 'b', which does not exist"]
    """
    graph = Graph(definition.steps)
    problems = Problems(source, graph.index)
    for name, declared in definition.inputs.items():
        _check_input(declared, ("inputs", name), problems)
    if definition.defaults.retry is not None:
        _check_retry(definition.defaults.retry, ("defaults", "retry"), problems)
    has_order = _check_graph(definition, graph, problems)
    references = References(definition, graph, problems, has_order=has_order)
    for step in definition.steps:
        if problems.is_full:
            break
        _check_step(step, references, problems)
    for name, value in definition.outputs.items():
        references.check_template(value, Place(("outputs", name), RUN_ROOTS))
    return problems.found


def _check_input(declared: Input, path: Path, problems: Problems) -> None:
    for index, value in enumerate(declared.enum or ()):
        if not declared.has_type(value):
            message = f"{value!r} is not of the type '{declared.type}'"
            problems.add("definition.type", message, (*path, "enum", index))
    if declared.default is None:
        return
    if not declared.has_type(declared.default):
        message = f"the default is not of the type '{declared.type}'"
        problems.add("definition.type", message, (*path, "default"))
    elif declared.enum is not None and declared.default not in declared.enum:
        problems.add("definition.range", "the default is not in 'enum'", (*path, "default"))


def _check_retry(policy: RetryPolicy, path: Path, problems: Problems) -> None:
    if policy.delay > policy.max_delay:
        delay, longest = format_duration(policy.delay), format_duration(policy.max_delay)
        message = f"the delay {delay} is longer than max_delay, which is {longest}"
        problems.add("definition.range", message, (*path, "delay"), hint="raise max_delay")


def _check_graph(definition: Definition, graph: Graph, problems: Problems) -> bool:
    """Check what steps need; the answer is whether it tells for sure who comes before whom."""
    is_sure = True
    for step in definition.steps:
        if type(step.verb) is Verb:
            is_sure = False
        if step.needs and not _check_needs(step, graph, problems):
            is_sure = False
    for circle in islice(graph.cycles(), _MOST_CIRCLES):
        is_sure = False
        message = "steps need each other in a circle: " + " -> ".join([*circle, circle[0]])
        problems.add("definition.cycle", message, ("steps", circle[0], "needs"), hint="each needs the next")
    return is_sure


def _check_needs(step: Step, graph: Graph, problems: Problems) -> bool:
    known = True
    path = ("steps", step.id, "needs")
    for index, need in enumerate(step.needs):
        if need == step.id:
            problems.add("definition.cycle", f"step '{step.id}' needs itself", (*path, index))
        elif need not in graph.index:
            known = False
            message = f"step '{step.id}' needs {shown(need)}, which does not exist"
            hint = problems.advise(need, graph.index)
            problems.add("definition.unknown_step", message, (*path, index), hint=hint)
    if len(set(step.needs)) < len(step.needs):
        twice, _ = Counter(step.needs).most_common(1)[0]
        message = f"step '{step.id}' needs {shown(twice)} more than once"
        problems.add("definition.duplicate", message, (*path, step.needs.index(twice)))
    return known


def _check_step(step: Step, references: References, problems: Problems) -> None:
    path = ("steps", step.id)
    for finding in step.verb.check():
        problems.add_finding(finding, path)
    if step.retry is not None:
        _check_retry(step.retry, (*path, "retry"), problems)
    if step.when is not None:
        _check_when(step.when, Place((*path, "when"), STEP_ROOTS, step), references, problems)
    for name in step.verb.templates:
        value = getattr(step.verb, name)
        if value:
            place = Place((*path, document_key(name)), STEP_ROOTS, step)
            references.check_template(value, place, is_shell=step.verb.is_shell(name))
    for name, text in step.outputs.items():
        references.check_expression(text, Place((*path, "outputs", name), result_roots(step), step))


def _check_when(text: str, place: Place, references: References, problems: Problems) -> None:
    if _PLACEHOLDER in text:
        message, hint = "`when` is an expression already", "write it without ${{ }}"
        problems.add("expression.syntax", message, place.path, hint=hint)
    else:
        references.check_expression(text, place)
