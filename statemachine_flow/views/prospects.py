"""What will become of each step of a level, as far as that is certain before the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import product
from typing import Any, Final, Literal

import attrs

from statemachine_flow.model import END, Definition, Route, Step
from statemachine_flow.plan.joins import End, holds
from statemachine_flow.steps.group import Group
from statemachine_flow.views.known import Answer, Knowledge
from statemachine_flow.views.picture import ways_out

Verdict = Literal["begins", "skipped", "undecided", "fails"]

#: Keys of items that are told.
_MOST_KEYS: Final = 10


@attrs.frozen(kw_only=True)
class Prospect:
    """A step before the run."""

    path: str
    step: Step
    #: `begins` once what it needs completes; `fails` for sure.
    verdict: Verdict
    #: Why, where it does not simply begin.
    why: str = ""
    #: What an undecided step depends on.
    depends: tuple[str, ...] = ()
    #: Counts from 1; steps with the same number may be under way at the same time. None for a skipped one.
    wave: int | None = None
    #: How many times it is carried out; None for a step without items, -1 if only the run can tell.
    items: int | None = None
    #: The first keys of its items, as far as they are known.
    keys: tuple[str, ...] = ()
    #: Attempts at most, the first included.
    max_attempts: int = 1
    #: Seconds for one attempt.
    timeout: float | None = None
    #: Of a group.
    inside: tuple[Prospect, ...] = ()


@attrs.frozen
class Foresight:
    """Looks ahead in one workflow."""

    definition: Definition

    def level(self, steps: Sequence[Step], start: str | None, prefix: str, known: Knowledge) -> tuple[Prospect, ...]:
        """What will become of the steps of a level, in the order of the document.

        Args:
            steps: of the level.
            start: where a level of states begins; None for a graph.
            prefix: what the paths of the level begin with.
            known: what expressions may read; learns which steps are skipped.
        """
        found = dict(self._states(steps, start, known) if start is not None else self._graph(steps, known))
        return tuple(self._filled(found[step.id], prefix, known) for step in steps)

    def _graph(self, steps: Sequence[Step], known: Knowledge) -> Iterator[tuple[str, Prospect]]:
        by_id = {step.id: step for step in steps}
        ends: dict[str, frozenset[End]] = {}
        waves: dict[str, int] = {}
        for step_id in TopologicalSorter({step.id: step.needs for step in steps}).static_order():
            step = by_id[step_id]
            prospect = _joined(step, ends, known)
            before = [waves[need] for need in step.needs]
            is_skipped = prospect.verdict == "skipped"
            # A step that is skipped takes no time of its own.
            waves[step_id] = max(before, default=0) + (not is_skipped)
            ends[step_id] = _possible(prospect)
            if is_skipped:
                known.skip(step_id)
            yield step_id, attrs.evolve(prospect, wave=None if is_skipped else waves[step_id])

    def _states(self, steps: Sequence[Step], start: str, known: Knowledge) -> Iterator[tuple[str, Prospect]]:
        by_id = {step.id: step for step in steps}
        way: dict[str, Prospect] = {}
        here, crossing = start, ""
        while here != END and here not in way:
            step = by_id[here]
            prospect = attrs.evolve(_asked(step, known), wave=len(way) + 1)
            way[here] = prospect
            following = _next(step, prospect, known)
            if following is None:
                crossing = here
                break
            here = following
        reachable = _reachable(by_id, crossing) if crossing else set()
        for step in steps:
            if step.id in way:
                yield step.id, way[step.id]
            elif step.id in reachable:
                why = f"depends on the route that {crossing} takes"
                yield step.id, _prospect(step, "undecided", why, (f"steps.{crossing}.outputs",))
            else:
                yield step.id, _prospect(step, "skipped", "no route leads to it with these inputs")

    def _filled(self, prospect: Prospect, prefix: str, known: Knowledge) -> Prospect:
        """With its path, its items, its policies, and what is inside of it."""
        step, path = prospect.step, prefix + prospect.step.id
        items = _items(step, known)
        defaults = self.definition.defaults
        retry = step.retry
        if retry is None and step.verb.is_body and step.delivery == "at_least_once" and not _is_transaction(step):
            retry = defaults.retry
        timeout = step.timeout if step.timeout is not None or not step.verb.is_body else defaults.timeout
        verdict, why = prospect.verdict, prospect.why
        if items.error and verdict == "begins":
            verdict, why = "fails", items.error
        inside: tuple[Prospect, ...] = ()
        if isinstance(step.verb, Group) and verdict != "skipped":
            inside = self.level(step.verb.steps, step.verb.start, f"{path}/", known.inner())
        return attrs.evolve(
            prospect,
            path=path,
            verdict=verdict,
            why=why,
            depends=prospect.depends or items.depends,
            items=_count(step, items),
            keys=tuple(_keys(step, items)),
            max_attempts=1 if retry is None else retry.max_attempts,
            timeout=timeout,
            inside=inside,
        )


def _prospect(step: Step, verdict: Verdict, why: str = "", depends: tuple[str, ...] = ()) -> Prospect:
    return Prospect(path=step.id, step=step, verdict=verdict, why=why, depends=depends)


def _joined(step: Step, ends: Mapping[str, frozenset[End]], known: Knowledge) -> Prospect:
    """What the join rule says, and then the condition."""
    sides = [ends[need] for need in step.needs]
    if not _may_hold(step, sides):
        sure = {frozenset({"skipped"}): "is skipped", frozenset({"failed"}): "fails"}
        told = ", ".join(f"{need} {sure[ends[need]]}" for need in step.needs if ends[need] in sure)
        return _prospect(step, "skipped", f"its rule {step.trigger_rule} cannot hold" + (f": {told}" if told else ""))
    asked = _asked(step, known)
    if asked.verdict in ("skipped", "undecided"):
        return asked
    if step.trigger_rule == "any_failed":
        return _prospect(
            step, "undecided", "only if a step it needs fails", tuple(f"steps.{n}.state" for n in step.needs)
        )
    # As long as everything goes well: what nobody can tell then is not decided.
    open_needs = [need for need in step.needs if "completed" in ends[need] and "skipped" in ends[need]]
    if open_needs and step.trigger_rule in ("all_success", "any_success") and not _surely_holds(step, ends):
        why = f"only if {', '.join(open_needs)} {'is' if len(open_needs) == 1 else 'are'} not skipped"
        return _prospect(step, "undecided", why, tuple(f"steps.{need}.state" for need in open_needs))
    return asked


def _surely_holds(step: Step, ends: Mapping[str, frozenset[End]]) -> bool:
    """Whether `any_success` has a need that no condition keeps from running."""
    return step.trigger_rule == "any_success" and any(
        "completed" in ends[need] and "skipped" not in ends[need] for need in step.needs
    )


def _may_hold(step: Step, sides: Sequence[frozenset[End]]) -> bool:
    """Whether the rule holds for some ends of the needs; each kind of end matters once, so one of each will do."""
    rule = step.trigger_rule
    if rule in ("all_success", "none_failed"):
        return all(any(holds(rule, [end]) for end in side) for side in sides)
    if not sides or rule == "all_done":
        return holds(rule, [])
    return any(holds(rule, [end]) for side in sides for end in side)


def _possible(prospect: Prospect) -> frozenset[End]:
    failed: End = "forgiven" if prospect.step.optional else "failed"
    if prospect.verdict == "skipped":
        return frozenset({"skipped"})
    if prospect.verdict == "fails":
        return frozenset({failed})
    ran: frozenset[End] = frozenset({"completed", failed, "cancelled"})
    return ran | {"skipped"} if prospect.verdict == "undecided" else ran


def _asked(step: Step, known: Knowledge) -> Prospect:
    """What the condition says."""
    if step.when is None:
        return _prospect(step, "begins")
    answer = known.ask(step.when)
    if not answer.is_known:
        return _prospect(step, "undecided", f"when {step.when}", answer.depends)
    if answer.error:
        return _prospect(step, "fails", f"when {step.when}: {answer.error}")
    return _prospect(step, "begins") if answer.value else _prospect(step, "skipped", f"when {step.when}: false")


def _next(step: Step, prospect: Prospect, known: Knowledge) -> str | None:
    """Where the token goes from a step; None if only the run can tell."""
    is_skipped = prospect.verdict == "skipped"
    if step.next is None or isinstance(step.next, str):
        return step.next or END
    if prospect.verdict != "begins" and not is_skipped:
        return None
    if isinstance(step.next, Mapping):
        return step.next.get("default", END) if is_skipped else None
    return _first_route(step.next, known, END if is_skipped else None)


def _first_route(routes: Sequence[Route], known: Knowledge, otherwise: str | None) -> str | None:
    for route in routes:
        answer = Answer(is_known=True, value=True) if route.when is None else known.ask(route.when)
        if not answer.is_known:
            return None
        if answer.value is True:
            return route.goto or route.default
    return otherwise


def _reachable(steps: Mapping[str, Step], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for _, target in ways_out(steps[todo.pop()]):
            if target != END and target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def _items(step: Step, known: Knowledge) -> Answer:
    """The items of a loop, as far as they are known."""
    if step.for_each is not None:
        items = step.for_each.items
        answer = known.fill(list(items) if isinstance(items, tuple) else items)
        if answer.is_known and not answer.error and not isinstance(answer.value, list | tuple):
            return Answer(is_known=True, error="expression.type: its items are no list")
        return answer
    if step.matrix:
        return Answer(is_known=True, value=list(product(*step.matrix.values())))
    return Answer(is_known=False)


def _count(step: Step, items: Answer) -> int | None:
    if step.for_each is None and not step.matrix:
        return None
    return len(items.value) if items.is_known and not items.error else -1


def _keys(step: Step, items: Answer) -> Iterator[str]:
    if not items.is_known or items.error:
        return
    for index, item in enumerate(items.value[:_MOST_KEYS]):
        if step.matrix:
            yield ",".join(map(_text, item))
        elif step.for_each is not None and step.for_each.key is None:
            yield str(index)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _is_transaction(step: Step) -> bool:
    return bool(getattr(step.verb, "transaction", False))
