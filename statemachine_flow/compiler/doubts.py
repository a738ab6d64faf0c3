"""Warnings: what can be run, but is hardly meant, because a step never begins or a token never ends.

Only what is certain is told. A condition is judged by its text, see `conditions`; every step that begins may complete
or fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, final

from statemachine_flow.compiler.conditions import NEVER, Fact, always_holds, facts_of, never_holds
from statemachine_flow.compiler.levels import Level
from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.routes import reached, rewind_of, targets
from statemachine_flow.compiler.source import Path
from statemachine_flow.model import END, Step, Verb
from statemachine_flow.plan.joins import End, holds
from statemachine_flow.plan.routes import DEFAULT
from statemachine_flow.steps.approval import Approval

#: Facts about one thing, and all in all, that are compared with each other; of more, the first ones.
_MOST_ABOUT_ONE: Final = 60
_MOST_FACTS: Final = 1_500
_RUNS: Final[tuple[End, ...]] = ("completed", "failed", "skipped", "cancelled")
_RUNS_OPTIONAL: Final[tuple[End, ...]] = ("completed", "forgiven", "skipped", "cancelled")
_NEVER_RUNS: Final[tuple[End, ...]] = ("skipped", "cancelled")
#: Conditions that are false and nothing else; others that are never true may still fail to have a value.
_FALSE: Final = frozenset({"false", "False", "not true", "not True"})


def doubt(level: Level, problems: Problems) -> None:
    """Warn of what is hardly meant on a level whose steps fit together."""
    if level.is_states:
        _doubt_states(level, problems)
    elif level.has_order:
        _Branches(level, problems).doubt()


@final
class _Branches:
    """What is known about the steps of a graph: how each can end, and what is so if it completed."""

    def __init__(self, level: Level, problems: Problems) -> None:
        self._level = level
        self._problems = problems
        self._facts = {step.when: facts_of(step.when) for step in level.steps if step.when is not None}
        #: Facts as bits.
        self._bits: dict[Fact, int] = {}
        #: Per bit, those that contradict it.
        self._against: list[int] = []
        #: Per step, what is so whenever it completed, and what is not.
        self._true: dict[str, int] = {}
        self._false: dict[str, int] = {}
        self._ends: dict[str, tuple[End, ...]] = {}
        self._never: set[str] = set()

    def doubt(self) -> None:
        self._number_facts()
        if not self._may_doubt():
            return
        for index in self._level.graph.order():
            step = self._level.steps[index]
            reason = self._look_at(step)
            if reason is None:
                self._ends[step.id] = _RUNS_OPTIONAL if step.optional else _RUNS
            else:
                kind, message, field, hint = reason
                self._never.add(step.id)
                self._ends[step.id] = _NEVER_RUNS
                if field == ("when",) and step.when not in _FALSE:
                    self._ends[step.id] = ("forgiven" if step.optional else "failed", *_NEVER_RUNS)
                path = (*self._level.path, step.id, *field)
                self._problems.warn(kind, message, path, about_key=not field, hint=hint)

    def _number_facts(self) -> None:
        about: dict[str, list[Fact]] = {}
        for facts in self._facts.values():
            for fact in facts:
                if fact in self._bits or len(self._bits) >= _MOST_FACTS:
                    continue
                if len(same := about.setdefault(fact.subject, [])) < _MOST_ABOUT_ONE:
                    self._bits[fact] = len(self._against)
                    self._against.append(0)
                    same.append(fact)
        for same in about.values():
            for place, one in enumerate(same):
                for other in same[:place]:
                    if one.excludes(other):
                        self._against[self._bits[one]] |= 1 << self._bits[other]
                        self._against[self._bits[other]] |= 1 << self._bits[one]

    def _may_doubt(self) -> bool:
        """Whether there is anything that a step that never runs could come from."""
        if any(self._against) or any(NEVER in facts for facts in self._facts.values()):
            return True
        return any(step.trigger_rule == "any_failed" for step in self._level.steps)

    def _look_at(self, step: Step) -> tuple[str, str, Path, str | None] | None:
        """Why a step never runs, and where that stands; None if it may."""
        true = false = 0
        meeting: tuple[str, str] | None = None
        if step.trigger_rule == "all_success":
            # A failure that is forgiven lets the step run whatever the condition of the optional one was.
            sure = [need for need in step.needs if "forgiven" not in self._ends[need]]
            for need in sure:
                if false & self._true[need] and meeting is None:
                    meeting = (self._first_against(sure, need), need)
                true |= self._true[need]
                false |= self._false[need]
        reason = None
        if not self._may_begin(step):
            reason = self._blocked(step)
        elif meeting is not None:
            message = f"'{meeting[0]}' and '{meeting[1]}' exclude each other, so that '{step.id}' never runs"
            hint = 'write trigger_rule = "none_failed" or "any_success"'
            reason = ("definition.exclusive_join", message, ("needs",), hint)
        if step.when is not None and reason is None:
            own_true, own_false = self._of(self._facts[step.when])
            if NEVER in self._facts[step.when] or own_true & own_false:
                reason = ("definition.never_runs", f"the condition of '{step.id}' is never true", ("when",), None)
            elif own_false & true:
                message = f"the condition of '{step.id}' excludes those of the steps that it needs"
                reason = ("definition.never_runs", message, ("when",), None)
            true, false = true | own_true, false | own_false
        self._true[step.id], self._false[step.id] = true, false
        return reason

    def _may_begin(self, step: Step) -> bool:
        """Whether the ends that its needs can have ever let it run.

        Every rule asks for all or for any of the ends, so for each need the end that would do alone is the best one.
        """
        rule = step.trigger_rule
        best: list[End] = [
            next((end for end in self._ends[need] if holds(rule, [end])), self._ends[need][0]) for need in step.needs
        ]
        return holds(rule, best)

    def _blocked(self, step: Step) -> tuple[str, str, Path, str | None]:
        if not step.needs:
            message = f"'{step.id}' waits for the failure of a step that it needs, and needs none"
            return "definition.never_runs", message, ("trigger_rule",), None
        dead = next(need for need in step.needs if need in self._never)
        message = f"'{step.id}' never runs, because '{dead}' never does"
        return "definition.never_runs", message, ("needs",), None

    def _of(self, facts: Iterable[Fact]) -> tuple[int, int]:
        true = false = 0
        for fact in facts:
            bit = self._bits.get(fact)
            if bit is not None:
                true |= 1 << bit
                false |= self._against[bit]
        return true, false

    def _first_against(self, needs: Iterable[str], need: str) -> str:
        return next(other for other in needs if self._false[other] & self._true[need])


def _doubt_states(level: Level, problems: Problems) -> None:
    if any(type(step.verb) is Verb for step in level.steps):
        return  # nobody knows where a refused step leads
    ways = {step.id: _ways(step) for step in level.steps}
    for step in level.steps:
        _doubt_routes(step, (*level.path, step.id), problems)
    seen = reached(level, ways)
    everywhere = reached(
        level, {step.id: [*(to for _, to in targets(step)), rewind_of(step) or END] for step in level.steps}
    )
    for step in level.steps:
        path = (*level.path, step.id)
        if step.id not in seen:
            if step.id in everywhere:
                message = f"the routes to step '{step.id}' are never taken"
                problems.warn("definition.never_runs", message, path, about_key=True)
        elif step.when is not None and never_holds(step.when):
            message = f"the condition of '{step.id}' is never true"
            problems.warn("definition.never_runs", message, (*path, "when"))
    if END not in seen:
        message = "the token of this level never comes to an end"
        hint = "let one of its steps lead to 'end', or to nothing"
        problems.warn("definition.never_ends", message, level.start_path, hint=hint)


def _ways(step: Step) -> list[str]:
    """Where the token can go from a step, but for routes that are never taken."""
    if step.next is None:
        ways = [END]
    elif isinstance(step.next, str):
        ways = [step.next]
    elif isinstance(step.next, Mapping):
        ways = [*step.next.values()]
        if _may_be_passed(step) and DEFAULT not in step.next:
            ways.append(END)
    else:
        ways = []
        for route in step.next:
            target = route.goto if route.when is not None else route.default
            if target is not None and not (route.when is not None and never_holds(route.when)):
                ways.append(target)
            if route.when is None or always_holds(route.when):
                break
        if _may_be_passed(step) and all(route.default is None for route in step.next):
            ways.append(END)
    back = rewind_of(step)
    return ways if back is None else [*ways, back]


def _may_be_passed(step: Step) -> bool:
    """Whether the token may go on although the step did not complete."""
    if step.optional or step.when is not None:
        return True
    return isinstance(step.verb, Approval) and step.verb.approval.on_reject == "skip"


def _doubt_routes(step: Step, path: Path, problems: Problems) -> None:
    if isinstance(step.next, tuple):
        is_taken = ""
        for index, route in enumerate(step.next):
            if is_taken:
                message = f"the route is never taken, because {shown(is_taken)} before it is always true"
                problems.warn("definition.route", message, (*path, "next", index))
                break
            if route.when is not None and never_holds(route.when):
                message = f"the condition {shown(route.when)} is never true"
                problems.warn("definition.route", message, (*path, "next", index, "when"))
            elif route.when is not None and always_holds(route.when):
                is_taken = route.when
    elif isinstance(step.next, Mapping) and "reject" in step.next and _ignores_rejections(step):
        message = "a rejection does not complete the step, so that this route is never taken"
        hint = 'write choices = ["approve", "reject"]'
        problems.warn("definition.route", message, (*path, "next", "reject"), about_key=True, hint=hint)


def _ignores_rejections(step: Step) -> bool:
    return isinstance(step.verb, Approval) and step.verb.approval.choices is None and not step.outputs
