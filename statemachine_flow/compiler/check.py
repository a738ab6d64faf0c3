"""What a document means: whether its steps, names and expressions fit together, level by level.

Works on a definition of sound shape, see `document`, whatever it was made from. Nothing is imported or run.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Final, final

from statemachine_flow.compiler.doubts import doubt
from statemachine_flow.compiler.fields import Site, check_fields, check_retry_if
from statemachine_flow.compiler.levels import Around, Level, Roots, check_level
from statemachine_flow.compiler.problems import Problems
from statemachine_flow.compiler.references import Place, References
from statemachine_flow.compiler.routes import check_routes
from statemachine_flow.compiler.scopes import run_roots, step_roots, unwinding_roots
from statemachine_flow.compiler.settings import input_findings, retry_findings, step_findings
from statemachine_flow.compiler.source import Path, Source
from statemachine_flow.errors import Problem
from statemachine_flow.model import Definition, Finding, Step, Verb
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.workflow import Child

_HANDLERS: Final = (("on_failure", "on_failure"), ("finally", "finally_"))
#: The fields of a step that are looked at one by one, and their values where they are not set.
_LOOKED_AT: Final = (
    *("when", "for_each", "matrix", "repeat", "next", "retry", "delivery", "verify", "idempotency_key"),
    *("outputs", "output_schema", "compensate"),
)
_fields: Final = attrgetter(*_LOOKED_AT)
_UNSET: Final = _fields(Step(id="a", verb=Verb()))


def check(definition: Definition, source: Source | None = None) -> list[Problem]:
    """Find what does not fit together.

    Args:
        definition: as `structure` made it; where that refused a step, what hangs on it is left out.
        source: the document's text, for positions.

    Returns:
        Every problem, and behind them warnings, which are problems with `severity` "warning"; none for a workflow
        that can be run as it is meant.

    Example:
        >>> from statemachine_flow.steps import Call
        >>> step = Step(id="a", verb=Call(call="f"), needs=("b",))
        >>> [problem.message for problem in check(Definition(name="w", steps=(step,)))]
        ["step 'a' needs 'b', which does not exist"]
    """
    problems = Problems(source)
    levels = _Checks(problems).workflow(definition)
    for level in levels:  # after all problems, of which they may leave no room for one
        if problems.is_full:
            break
        doubt(level, problems)
    return problems.found


def _is_plain(step: Step) -> bool:
    """Whether there is nothing to look at in a step but its needs, which is so for most steps of large workflows."""
    verb = step.verb
    if not verb.is_body or _fields(step) != _UNSET:
        return False
    if step.timeout is not None and getattr(verb, "isolation", "") == "inline":
        return False
    return next(verb.templated(), None) is None and next(verb.check(), None) is None


@final
class _Checks:
    """Goes through a definition and all workflows in it."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._references = References(problems)
        self._sound: list[Level] = []

    def workflow(self, definition: Definition, path: Path = ()) -> list[Level]:
        """Check a workflow of its own; the answer is every level so far whose steps fit together."""
        for name, declared in definition.inputs.items():
            self._add(input_findings(declared), (*path, "inputs", name))
        roots = step_roots(definition.inputs)
        top = Level(definition.steps, (*path, "steps"), roots, definition.inputs, start=definition.start)
        policy = definition.defaults.retry
        if policy is not None:
            place = (*path, "defaults", "retry")
            self._add(retry_findings(policy), place)
            check_retry_if(policy, place, top, self._references)
        self._level(top)
        for key, field in _HANDLERS:
            steps = getattr(definition, field)
            if steps:
                handlers = unwinding_roots(roots)
                around = Around(top)
                level = Level(steps, (*path, key), handlers, top.inputs, around=around, is_unwinding=True)
                self._level(level)
        for name, value in definition.outputs.items():
            self._references.check_template(value, Place((*path, "outputs", name), run_roots(definition), top))
        return self._sound

    def _level(self, level: Level) -> None:
        before = len(self._problems.found)
        check_level(level, self._problems)
        check_routes(level, self._problems)
        if len(self._problems.found) == before:
            self._sound.append(level)
        for step in level.steps:
            if _is_plain(step):
                continue
            if self._problems.is_full:
                break
            self._step(Site(step, (*level.path, step.id), level, level.roots, step.id))

    def _step(self, site: Site) -> None:
        step = site.step
        self._add(step.verb.check(), site.path)
        self._add(step_findings(step, site.roots), site.path)
        inside = None
        if isinstance(step.verb, Group):
            inside = self._inside(site, step.verb)
        elif isinstance(step.verb, Child) and isinstance(step.verb.workflow, Definition):
            self.workflow(step.verb.workflow, (*site.path, "workflow"))
        check_fields(site, inside, self._references)
        if step.compensate is not None:
            self._compensation(site, step.compensate)

    def _inside(self, site: Site, group: Group) -> Level:
        """Check the steps of a group."""
        outer = site.level
        level = Level(
            group.steps,
            (*site.path, "steps"),
            site.inner_roots,
            outer.inputs,
            start=group.start,
            around=Around(outer, site.reader, is_over=site.is_after),
            is_unwinding=outer.is_unwinding or site.is_after,
        )
        self._level(level)
        return level

    def _compensation(self, site: Site, step: Step) -> None:
        path = (*site.path, "compensate")
        if site.level.is_unwinding or site.is_after:
            message = "what undoes other steps, and what follows a failure, is not undone itself"
            self._problems.add("definition.unknown_field", message, path, about_key=True)
        else:
            roots: Roots = unwinding_roots(site.inner_roots)
            self._step(Site(step, path, site.level, roots, site.reader, is_after=True))

    def _add(self, findings: Iterable[Finding], path: Path) -> None:
        for finding in findings:
            self._problems.add_finding(finding, path)
