"""A level that is a graph, as configurations and moves: the joins, the stopping and the sweep of one level. Pure.

A configuration says of every step whether it has not begun, is open, or how it ended. A step that is open may be
backing off, interrupted or waiting: what it is exactly changes nothing for the others. How a step ended is kept only
while a step that has not begun needs it, and ends that no such step can tell apart are kept as one; this is what
keeps the number of configurations small.

What the engine concludes in one go - skips, begins, sweeps - is one move here. Its order is the engine's: the order
of the document.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

from statemachine_flow.proof.parts import Part, walk
from statemachine_flow.proof.rules import CANCELLED, SKIPPED, WAITS_FOR_FAILURE, Rules

#: Steps not begun, steps open, one number for each of `rules.ENDS`, flags; steps are the bits of numbers.
Config = tuple[int, ...]
#: A trigger and the step it is fired at; `OUTSIDE` where it comes from around the level.
Move = tuple[str, int]
Moves = tuple[Move, ...]
OUTSIDE: Final = -1

_PENDING, _OPEN, _ENDS, _FLAGS = 0, 1, 2, 7
#: A required step failed; nothing may begin; the level is being cut off.
_HURT, _HELD, _CUT = 1, 2, 4


def places(bits: int) -> Iterator[int]:
    """The places of the bits that are set, lowest first."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


@final
class Graph:
    """The moves of a level.

    Args:
        parts: its steps.
        rules: what is judged.
        goes_on: whether a failure stops nothing.
    """

    def __init__(self, parts: list[Part], rules: Rules, *, goes_on: bool) -> None:
        self.parts = parts
        self._rules = rules
        self._goes_on = goes_on
        self._needs = [part.needs_bits for part in parts]
        self._dependents = [part.dependent_bits for part in parts]
        self._joins = [rules.joins[part.step.trigger_rule] for part in parts]
        self._tolerant = sum(1 << part.place for part in parts if part.tolerant)
        self._crowded = sum(1 << part.place for part in parts if part.lane is not None)
        self._alike = [
            rules.alike(frozenset(parts[place].step.trigger_rule for place in part.dependents)) for part in parts
        ]
        self._again = {part.place: self._downstream(part.rewinds_to) for part in parts if part.rewinds_to is not None}
        # What a rewind makes undecided again must be able to see how these ended.
        self._kept = sum(
            1 << part.place
            for part in parts
            if any(
                self._dependents[part.place] & again and not again >> part.place & 1 for again in self._again.values()
            )
        )
        first = rules.step.states[0]
        self._can_skip = rules.step.dest(first, "skip") is not None
        self._can_cancel = rules.step.dest(first, "cancel") is not None
        self._can_fail = walk(rules, ("start", "fail"))[0] is not None
        #: Open steps that are cancelled as soon as somebody outside says so.
        self._given_up = sum(
            1 << part.place for part in parts if part.nature == "wait" and self._may_cancel(part.place)
        )
        self._cut_to: set[Config] = set()
        #: Steps that have not begun -> what `_choose` says.
        self._spokesmen: dict[int, list[int]] = {}
        #: Properties that the last moves broke, with the moves that did.
        self.noted: list[tuple[str, Moves]] = []

    def _downstream(self, place: int) -> int:
        found, queue = 0, [place]
        while queue:
            place = queue.pop()
            if not found >> place & 1:
                found |= 1 << place
                queue.extend(self.parts[place].dependents)
        return found

    def initial(self) -> list[tuple[Moves, Config]]:
        """How the level begins."""
        everything = (1 << len(self.parts)) - 1
        return self._conclude([everything, 0, 0, 0, 0, 0, 0, 0], everything, ())

    def end(self, config: Config) -> str | None:
        """How the level ended, if it did."""
        if config[_PENDING] or config[_OPEN]:
            return None
        if config[_FLAGS] & _CUT:
            return "cut"
        return "failed" if config[_FLAGS] & _HURT else "completed"

    def is_held(self, config: Config) -> bool:
        """Whether an operator has to let it go on."""
        return bool(config[_FLAGS] & _HELD)

    def is_hurt(self, config: Config) -> bool:
        """Whether a required step failed."""
        return bool(config[_FLAGS] & _HURT)

    def successors(self, config: Config) -> Iterator[tuple[Moves, Config, bool]]:
        """Moves, what they lead to, and whether they come from outside."""
        pending, opened, flags = config[_PENDING], config[_OPEN], config[_FLAGS]
        if flags & _CUT:
            for place in places(opened & -opened):
                way = self._any_way(place)
                if way is not None:
                    yield (way,), (0, opened & ~(1 << place), 0, 0, 0, 0, 0, _CUT), False
            return
        if pending or opened:
            yield from self._cut(config)
        stopping = flags & _HURT and not self._goes_on
        # While the level stops, ends do not touch each other: one order stands for all.
        for place in places(opened & -opened if stopping else opened):
            yield from self._ends(config, place, stopping=bool(stopping))
        if flags & _HELD:
            for moves, found in self._conclude([*config[:_FLAGS], flags & ~_HELD], pending, (("go", OUTSIDE),)):
                yield moves, found, True
        elif not stopping and pending:
            yield from self._delayed(config)
            yield (("hold", OUTSIDE),), (*config[:_FLAGS], flags | _HELD), True

    # --- what happens

    def _ends(self, config: Config, place: int, *, stopping: bool) -> Iterator[tuple[Moves, Config, bool]]:
        part = self.parts[place]
        for trigger, end in part.ways.items():
            for moves, found in self._ended(list(config), place, end, ((trigger, place),)):
                yield moves, found, False
        if stopping and not part.tolerant and (part.retriable or part.nature != "body") and self._may_cancel(place):
            for moves, found in self._ended(list(config), place, CANCELLED, (("cancel", place),)):
                yield moves, found, False
        if place in self._again and not stopping:
            for moves, found in self._rewound(config, place):
                yield moves, found, False

    def _ended(self, config: list[int], place: int, end: int, moves: Moves) -> list[tuple[Moves, Config]]:
        bit = 1 << place
        config[_OPEN] &= ~bit
        config[_ENDS + self._alike[place][end]] |= bit
        candidates = self._dependents[place]
        if moves[-1][0] == "fail" and not self.parts[place].step.optional and not config[_FLAGS] & _HURT:
            config[_FLAGS] |= _HURT
            candidates |= config[_PENDING]
        return self._conclude(config, candidates, moves)

    def _rewound(self, config: Config, place: int) -> list[tuple[Moves, Config]]:
        """A person goes back: the target and everything behind it begins again, this approval included."""
        if "complete" not in self.parts[place].ways:
            return []
        again = self._again[place]
        moves: list[Move] = [("complete", place)]
        moves += [("cancel", other) for other in places(config[_OPEN] & again & ~(1 << place))]
        moves += [("reset", other) for other in places(again & ~config[_PENDING])]
        if self._rules.step.dest("completed", "reset") is None:
            self.noted.append(("legal", tuple(moves)))
            return []
        anew = [part & ~again for part in config[:_FLAGS]]
        anew[_PENDING] |= again
        return self._conclude([*anew, config[_FLAGS]], again, tuple(moves))

    def _delayed(self, config: Config) -> Iterator[tuple[Moves, Config, bool]]:
        """Steps whose lane may be full begin at some later moment, each lane in the order of the document."""
        waiting = config[_PENDING] & self._crowded
        lanes: set[str | None] = set()
        for place in places(waiting):
            part = self.parts[place]
            if self._needs[place] & (config[_PENDING] | config[_OPEN]) or part.lane in lanes:
                continue
            lanes.add(part.lane)
            busy = [other for other in places(config[_OPEN]) if self.parts[other].lane == part.lane]
            if sum(not self.parts[other].retriable for other in busy) < part.slots:
                for moves, found in self._conclude(list(config), 1 << place, (), forced=place):
                    yield moves, found, False

    def _cut(self, config: Config) -> Iterator[tuple[Moves, Config, bool]]:
        left = 0 if self._can_cancel else config[_PENDING]
        target = (left, config[_OPEN] & ~self._given_up, 0, 0, 0, 0, 0, _CUT)
        moves: Moves = ()
        if target not in self._cut_to:  # what leads there first is told, and the rest only counts
            self._cut_to.add(target)
            swept = config[_OPEN] & self._given_up | config[_PENDING] & ~left
            moves = (("cut", OUTSIDE), *(("cancel", place) for place in places(swept)))
        yield moves, target, True

    def _may_cancel(self, place: int) -> bool:
        state = self.parts[place].open_state
        return state is not None and self._rules.step.dest(state, "cancel") is not None

    def _any_way(self, place: int) -> Move | None:
        if self._may_cancel(place):
            return ("cancel", place)
        return next(((trigger, place) for trigger in self.parts[place].ways), None)

    # --- what follows

    def _conclude(
        self, config: list[int], candidates: int, moves: Moves, forced: int | None = None
    ) -> list[tuple[Moves, Config]]:
        """Everything the engine concludes, in the order of the document; a condition may say one thing or another."""
        found = []
        queue = [(config, candidates, moves)]
        while queue:
            config, candidates, moves = queue.pop()
            while True:
                candidates &= config[_PENDING]
                stopping = bool(config[_FLAGS] & _HURT) and not self._goes_on
                if config[_FLAGS] & _HELD:
                    break
                if not candidates:
                    swept = config[_PENDING] & ~self._tolerant if stopping and not config[_OPEN] else 0
                    if not swept or not self._can_cancel:
                        break
                    moves = self._sweep(config, swept, moves)
                    candidates = config[_PENDING]
                    continue
                place = (candidates & -candidates).bit_length() - 1
                bit = 1 << place
                candidates &= ~bit
                if self._needs[place] & (config[_PENDING] | config[_OPEN]):
                    continue
                part = self.parts[place]
                if not self._runs(config, part, moves):
                    if self._can_skip:
                        moves = self._skip(config, part, moves)
                        candidates |= self._dependents[place]
                elif (stopping and not part.tolerant) or (bit & self._crowded and not stopping and place != forced):
                    continue
                else:
                    others, config, candidates, moves = self._begin(config, candidates, part, moves)
                    queue += others
            found.append((moves, self._forget(config)))
        return found

    def _runs(self, config: list[int], part: Part, moves: Moves) -> bool:
        needs, bits = self._needs[part.place], 0
        for end in range(5):
            if config[_ENDS + end] & needs:
                bits |= 1 << end
        runs, ought = self._joins[part.place][bits]
        if runs != ought:
            self.noted.append(("joins", (*moves, ("start" if runs else "skip", part.place))))
        return runs

    def _skip(self, config: list[int], part: Part, moves: Moves) -> Moves:
        bit = 1 << part.place
        config[_PENDING] &= ~bit
        config[_ENDS + self._alike[part.place][SKIPPED]] |= bit
        return (*moves, ("skip", part.place))

    def _sweep(self, config: list[int], swept: int, moves: Moves) -> Moves:
        for place in places(swept):
            moves = (*moves, ("cancel", place))
            config[_PENDING] &= ~(1 << place)
            config[_ENDS + self._alike[place][CANCELLED]] |= 1 << place
            if self.parts[place].step.trigger_rule in WAITS_FOR_FAILURE:
                self.noted.append(("stops", moves))
        return moves

    def _begin(
        self, config: list[int], candidates: int, part: Part, moves: Moves
    ) -> tuple[list[tuple[list[int], int, Moves]], list[int], int, Moves]:
        """The step begins, unless its condition is false or fails; which of these, nobody knows before."""
        place, bit = part.place, 1 << part.place
        others: list[tuple[list[int], int, Moves]] = []
        skipped = list(config)
        if part.condition == "never" and not self._can_skip:
            return [], config, candidates, moves
        if part.condition != "always" and self._can_skip:
            after = self._skip(skipped, part, moves)
            if part.condition == "never":
                return [], skipped, candidates | self._dependents[place], after
            others.append((skipped, candidates | self._dependents[place], after))
        if part.open_state is None:
            self.noted.append(("legal", (*moves, *((trigger, place) for trigger in self._refused(part)))))
            return others, config, candidates, moves
        if config[_FLAGS] & _HURT and not self._goes_on and part.step.trigger_rule not in WAITS_FOR_FAILURE:
            self.noted.append(("stops", (*moves, ("start", place))))
        if part.condition == "maybe" and self._can_fail:
            failed = list(config)
            failed[_PENDING] &= ~bit
            failed[_ENDS + self._alike[place][part.failure]] |= bit
            decided = candidates | self._dependents[place]
            if not part.step.optional:
                failed[_FLAGS] |= _HURT
                decided |= failed[_PENDING]
            others.append((failed, decided, (*moves, ("start", place), ("fail", place))))
        config[_PENDING] &= ~bit
        config[_OPEN] |= bit
        return others, config, candidates, (*moves, *((trigger, place) for trigger in part.begin))

    def _refused(self, part: Part) -> tuple[str, ...]:
        return part.begin[: walk(self._rules, part.begin)[1] + 1]

    def _forget(self, config: list[int]) -> Config:
        """Leave out how steps ended whose end nobody will ask for, or which another end says just as well."""
        pending, flags = config[_PENDING], config[_FLAGS]
        if not pending:
            if not config[_OPEN]:
                return (0, 0, 0, 0, 0, 0, 0, flags & _HURT)
            config[_FLAGS] &= ~_HELD
        spokesmen = self._spokesmen.get(pending)
        if spokesmen is None:
            spokesmen = self._spokesmen[pending] = self._choose(pending)
        for end in range(_ENDS, _FLAGS):
            told = 0
            for place in places(config[end]):
                told |= spokesmen[place]
            config[end] = told
        return tuple(config)

    def _choose(self, pending: int) -> list[int]:
        """For each step the one that says how it ended, as a bit; none where nobody asks.

        Joins look at which ends there are, not at how many. So of the steps that the same steps still ask about, the
        first speaks for all, and has then perhaps ended in several ways.
        """
        first: dict[int, int] = {0: 0}
        return [
            1 << place if self._kept >> place & 1 else first.setdefault(dependents & pending, 1 << place)
            for place, dependents in enumerate(self._dependents)
        ]
