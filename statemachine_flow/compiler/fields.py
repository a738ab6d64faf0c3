"""Every expression and every placeholder of one step, each checked against what it can read where it stands."""

from __future__ import annotations

from typing import Final, final

import attrs

from statemachine_flow.compiler.levels import Level, Roots
from statemachine_flow.compiler.references import Place, References
from statemachine_flow.compiler.scopes import loop_names, output_keys, result_roots, retry_roots
from statemachine_flow.compiler.source import Path
from statemachine_flow.model import Definition, RetryPolicy, Route, Step
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.workflow import Child

#: Not in the outputs of a step, which are about its result.
_NOT_IN_OUTPUTS: Final = frozenset({"steps", "env", "feedback"})
_ARGUMENTS: Final = "the arguments of a command, which everybody on the machine can see"
_JOURNAL: Final = "the journal"
#: Fields of verbs whose text is kept as it is.
_KEPT: Final = frozenset({"wait", "approval"})


@final
@attrs.frozen(eq=False)
class Site:
    """Where one step stands."""

    step: Step
    path: Path
    #: Where ids of steps are looked up first.
    level: Level
    #: What its expressions can begin with, before the names of its own loop.
    roots: Roots
    #: The step of the level that it is, or that it compensates.
    reader: str
    #: Whether that step is at rest when this one begins.
    is_after: bool = False

    @property
    def inner_roots(self) -> Roots:
        """What stands inside it can begin with, the names of its own loop included."""
        step = self.step
        return self.roots if step.for_each is None and not step.matrix else {**self.roots, **loop_names(step)}

    def place(self, path: Path, roots: Roots, shown_to: str = "") -> Place:
        """A place in one of its fields."""
        return Place((*self.path, *path), roots, self.level, self.reader, self.is_after, shown_to)


def check_fields(site: Site, inside: Level | None, references: References) -> None:
    """Check all expressions and placeholders of a step, but for those of the steps inside it.

    Args:
        site: the step.
        inside: the level that it holds, if it is a group.
        references: what checks them.
    """
    step = site.step
    if step.when is not None:
        references.check_condition(step.when, site.place(("when",), site.roots))
    roots = site.inner_roots
    loop = step.for_each
    if loop is not None:
        references.check_template(loop.items, site.place(("for_each", "items"), site.roots, _JOURNAL))
        if loop.key is not None:
            references.check_template(loop.key, site.place(("for_each", "key"), roots, _JOURNAL))
    _check_verb(site, roots, references)
    if step.idempotency_key is not None:
        place = site.place(("idempotency_key",), roots, "a key that others are given")
        references.check_template(step.idempotency_key, place)
    if step.retry is not None:
        check_retry_if(step.retry, (*site.path, "retry"), site.level, references)
    if step.repeat is not None:
        until = site.place(("repeat", "until"), {**roots, **result_roots(step)})
        references.check_condition(step.repeat.until, until)
    if isinstance(step.next, tuple):
        _check_routes(step.next, site, references)
    if step.outputs:
        _check_outputs(site, roots, inside, references)


def check_retry_if(policy: RetryPolicy, path: Path, level: Level, references: References) -> None:
    """Check the condition of a retry policy."""
    if policy.retry_if is not None:
        place = Place((*path, "retry_if"), retry_roots(level.inputs), level)
        references.check_condition(policy.retry_if, place)


def _check_verb(site: Site, roots: Roots, references: References) -> None:
    step, verb = site.step, site.step.verb
    if step.secrets:
        roots = {**roots, "secrets": step.secrets}
    for path, value in verb.templated():
        if isinstance(verb, Child) and isinstance(verb.workflow, Definition):
            _check_inputs_of_child(verb.workflow, site, roots, references)
            continue
        shown_to = ""
        if path[0] in _KEPT:
            shown_to = _JOURNAL
        elif path == ("run",) and isinstance(verb, Run):
            shown_to = _ARGUMENTS
        references.check_template(value, site.place(path, roots, shown_to), is_shell=verb.is_shell(path[0]))


def _check_inputs_of_child(child: Definition, site: Site, roots: Roots, references: References) -> None:
    for name, value in site.step.verb.with_.items():  # type: ignore[attr-defined]  # the caller knows it for a child
        declared = child.inputs.get(name)
        shown_to = "" if declared is None or declared.secret else f"an input of the child that is no secret: {name}"
        references.check_template(value, site.place(("with", name), roots, shown_to))


def _check_routes(routes: tuple[Route, ...], site: Site, references: References) -> None:
    roots = {**site.roots, "result": output_keys(site.step)}
    for index, route in enumerate(routes):
        if route.when is not None:
            path = (*site.path, "next", index, "when")
            place = Place(path, roots, site.level, site.reader, reads_self=True)
            references.check_condition(route.when, place)


def _check_outputs(site: Site, roots: Roots, inside: Level | None, references: References) -> None:
    known = {name: keys for name, keys in roots.items() if name not in _NOT_IN_OUTPUTS}
    known = {**result_roots(site.step), **known}
    for name, text in site.step.outputs.items():
        if inside is None:
            place = site.place(("outputs", name), known)
        else:  # every step inside a group has ended by then
            place = Place((*site.path, "outputs", name), {**known, "steps": None}, inside)
        references.check_expression(text, place)
