"""A level of states as configurations and moves: one token, the routes it can take, and how the level ends. Pure.

How often the token came somewhere is left out: where it could come again, it may just as well have been there too
often. So a loop in which nothing fails ends too, at the latest by `max_visits`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, final

from statemachine_flow.model import END, Route, Step
from statemachine_flow.proof.graph import OUTSIDE, Move, Moves
from statemachine_flow.proof.parts import Part, condition_of, walk
from statemachine_flow.proof.rules import COMPLETED, FAILED, FORGIVEN, SKIPPED, Rules
from statemachine_flow.steps.approval import Approval

_PENDING, _OPEN, _CUT = "pending", "open", "cut"
#: Where the token is, and what its step does; or -1 and how the level ended.
Config = tuple[int, str]
_DEFAULT: Final = "default"


@final
class States:
    """The moves of a level of states.

    Args:
        parts: its steps.
        start: where the token begins.
        rules: what is judged.
    """

    def __init__(self, parts: list[Part], start: str, rules: Rules) -> None:
        self.parts = parts
        self._rules = rules
        self._index = {part.step.id: part.place for part in parts}
        self._start = self._index[start]
        self._can_skip = rules.step.dest(rules.step.states[0], "skip") is not None
        self._can_fail = walk(rules, ("start", "fail"))[0] is not None
        self._circle = circles([[self._index[to] for to in self._targets(part.step)] for part in parts])
        #: Properties that the last moves broke, with the moves that did.
        self.noted: list[tuple[str, Moves]] = []

    def initial(self) -> list[tuple[Moves, Config]]:
        """How the level begins."""
        return [((), (self._start, _PENDING))]

    def end(self, config: Config) -> str | None:
        """How the level ended, if it did."""
        return config[1] if config[0] < 0 else None

    def is_held(self, config: Config) -> bool:  # noqa: ARG002 - of every level
        """A token that is held up stands where it would stand anyway."""
        return False

    def is_hurt(self, config: Config) -> bool:
        """Whether a required step failed."""
        return config == (-1, "failed")

    def successors(self, config: Config) -> Iterator[tuple[Moves, Config, bool]]:
        """Moves, what they lead to, and whether they come from outside."""
        place, state = config
        if place < 0:
            return
        part = self.parts[place]
        if state == _CUT:
            way = self._leave(part)
            if way is not None:
                yield (way,), (-1, "cut"), False
            return
        if state == _PENDING:
            yield from self._begin(part)
        else:
            yield from self._finish(part)
        is_alive = state == _OPEN and part.nature != "wait"
        moves: Moves = (("cut", OUTSIDE), *(() if is_alive else (("cancel", place),)))
        yield moves, ((place, _CUT) if is_alive else (-1, "cut")), True

    def _leave(self, part: Part) -> Move | None:
        if part.open_state is not None and self._rules.step.dest(part.open_state, "cancel"):
            return ("cancel", part.place)
        return next(((trigger, part.place) for trigger in part.ways), None)

    def _begin(self, part: Part) -> Iterator[tuple[Moves, Config, bool]]:
        place = part.place
        if part.condition != "always" and self._can_skip:
            yield from self._go_on(part, SKIPPED, (("skip", place),))
        if part.condition == "never":
            return
        begin = tuple((trigger, place) for trigger in part.begin)
        if part.open_state is None:
            self.noted.append(("legal", begin[: walk(self._rules, part.begin)[1] + 1]))
            return
        yield begin, (place, _OPEN), False
        if part.condition == "maybe" and self._can_fail:
            yield from self._go_on(part, part.failure, (("start", place), ("fail", place)))

    def _finish(self, part: Part) -> Iterator[tuple[Moves, Config, bool]]:
        for trigger, end in part.ways.items():
            yield from self._go_on(part, end, ((trigger, part.place),))
        if part.rewinds_to is not None and "complete" in part.ways:
            yield from self._come(part, part.rewinds_to, (("complete", part.place),))

    def _go_on(self, part: Part, end: int, moves: Moves) -> Iterator[tuple[Moves, Config, bool]]:
        if end == FAILED:
            yield moves, (-1, "failed"), False
            return
        for target in dict.fromkeys(_ways_out(part.step, end)):
            if target is None:
                yield (*moves[:-1], ("fail", part.place)), (-1, "failed"), False
            elif target == END:
                yield moves, (-1, "completed"), False
            else:
                yield from self._come(part, self._index[target], moves)

    def _come(self, part: Part, target: int, moves: Moves) -> Iterator[tuple[Moves, Config, bool]]:
        if self._circle[part.place] == self._circle[target]:
            # The token may have been there: then the step is reset, or it was there too often.
            if self._rules.step.dest("completed", "reset") is None:
                self.noted.append(("legal", (*moves, ("reset", target))))
                return
            yield (*moves[:-1], ("fail", part.place)), (-1, "failed"), False
        yield moves, (target, _PENDING), False

    def _targets(self, step: Step) -> Iterator[str]:
        for end in (COMPLETED, SKIPPED, FORGIVEN):
            yield from (target for target in _ways_out(step, end) if target is not None and target != END)
        if self.parts[self._index[step.id]].rewinds_to is not None:
            yield self.parts[self.parts[self._index[step.id]].rewinds_to or 0].step.id


def _ways_out(step: Step, end: int) -> Iterator[str | None]:
    """Where the token can go from a step that ended so; None where no route fits, which fails the step."""
    match step.next:
        case None:
            yield END
        case str():
            yield step.next
        case Mapping():
            yield from _by_value(step, step.next, end)
        case _:
            yield from _by_condition(step.next, end)


def _by_value(step: Step, routes: Mapping[str, str], end: int) -> Iterator[str | None]:
    default = routes.get(_DEFAULT)
    if end != COMPLETED:
        yield default if default is not None else END
        return
    named = {value: target for value, target in routes.items() if value != _DEFAULT}
    decisions = _decisions(step)
    if decisions is not None:
        yield from (named.get(decision, default) for decision in decisions)
    else:
        yield from named.values()
        yield default


def _decisions(step: Step) -> tuple[str, ...] | None:
    """What an approval can decide while it completes, where that is the value its routes look at."""
    verb: Any = step.verb
    if not isinstance(verb, Approval) or step.outputs or step.for_each or step.matrix:
        return None
    return verb.choices if verb.approval.choices else ("approve",)


def _by_condition(routes: tuple[Route, ...], end: int) -> Iterator[str | None]:
    for route in routes:
        if route.default is not None:
            yield route.default
            return
        condition = condition_of(route.when)
        if condition != "never":
            yield route.goto
        if condition == "always":
            return
    yield None if end == COMPLETED else END


def circles(ways: list[list[int]]) -> list[int]:
    """For each place a number that places share exactly if each can be come to from the other (Kosaraju).

    Example:
        >>> circles([[1], [0, 2], []])
        [0, 0, 1]
    """
    back: list[list[int]] = [[] for _ in ways]
    for place, targets in enumerate(ways):
        for target in targets:
            back[target].append(place)
    number = [-1] * len(ways)
    count = 0
    for root in reversed(_finished(ways)):
        if number[root] < 0:
            stack = [root]
            number[root] = count
            while stack:
                for place in back[stack.pop()]:
                    if number[place] < 0:
                        number[place] = count
                        stack.append(place)
            count += 1
    return number


def _finished(ways: list[list[int]]) -> list[int]:
    """Places in the order in which a search that goes deep first is through with them."""
    order: list[int] = []
    seen = [False] * len(ways)
    for root in range(len(ways)):
        queue = [] if seen[root] else [(root, iter(ways[root]))]
        seen[root] = True
        while queue:
            place, left = queue[-1]
            for target in left:
                if not seen[target]:
                    seen[target] = True
                    queue.append((target, iter(ways[target])))
                    break
            else:
                order.append(place)
                queue.pop()
    return order
