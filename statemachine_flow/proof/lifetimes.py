"""The run's machine around its level and its handlers: from its start to every way it can rest. Pure.

The workflow's level is seen from here as open, open with a required step failed, ended in one of its ways, or cut
off. The table is asked for more than the engine would ask: wherever it must refuse to end the run, that is tried.
A retry of a failed run counts as beginning anew: that steps which completed stay so is not looked into.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Final, Literal, final

import attrs

from statemachine_flow.lifecycle import RunState
from statemachine_flow.proof.findings import Findings
from statemachine_flow.proof.levels import CUT_OFF, Task
from statemachine_flow.proof.report import Trace

#: What the level is in, as the run sees it.
Status = Literal["none", "open", "hurt", "completed", "failed", "cut", "gone"]
#: Open steps, required steps that failed, attempts under way.
_COUNTS: Final[Mapping[str, tuple[int, int, int]]] = {
    "none": (1, 0, 0),
    "open": (1, 0, 1),
    "hurt": (1, 1, 1),
    "completed": (0, 0, 0),
    "failed": (0, 1, 0),
    "cut": (1, 0, 1),
    "gone": (0, 0, 0),
}
_ENDED: Final = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED})
_END_OF: Final = {"completing": "complete", "failing": "fail", "cancelling": "settle"}
_HANDLERS: Final = {
    "completing": ("@finally",),
    "failing": ("@compensate", "@on_failure", "@finally"),
    "cancelling": ("@compensate", "@finally"),
}


@attrs.frozen
class Config:
    """Where a run is."""

    run: str
    level: Status = "none"
    #: What the end is going to be, once the level has ended or is being cut off.
    path: str | None = None
    #: Handlers still to come; None until the level has ended.
    left: tuple[str, ...] | None = None
    #: Whether `finally` has begun.
    has_finally: bool = False


#: What happened, what it leads to, and whether an operator did it.
Step = tuple[Trace, Config, bool]


@final
class Lifetimes:
    """All that can happen to a run.

    Args:
        task: what is asked.
        main: what was found about the workflow's level.
        handlers: "@compensate", "@on_failure", "@finally" -> what was found about it; those there are.
    """

    def __init__(self, task: Task, main: Findings, handlers: Mapping[str, Findings]) -> None:
        self._rules = task.rules
        self._definition = task.definition
        self._main = main
        self._handlers = handlers
        self._found: dict[Config, tuple[Config | None, Trace]] = {}
        self._edges: list[tuple[Config, Config, bool]] = []
        self.broken: dict[str, Trace] = {}
        #: Handler -> how a run comes to it first.
        self.begins: dict[str, Trace] = {}

    @property
    def configurations(self) -> int:
        """How many there are."""
        return len(self._found)

    @property
    def can_complete(self) -> bool:
        """Whether some run completes."""
        return any(config.run == RunState.COMPLETED for config in self._found)

    def explore(self) -> None:
        """Look at everything."""
        first = Config(self._rules.run.states[0])
        self._found[first] = (None, ())
        queue = [first]
        for config in queue:
            for lines, target, is_operator in self._steps(config):
                self._edges.append((config, target, is_operator))
                if target not in self._found:
                    self._found[target] = (config, lines)
                    queue.append(target)
            self._judge(config)
        self._find_stuck()

    # --- what can happen

    def _steps(self, config: Config) -> Iterator[Step]:
        run = config.run
        if run == RunState.PENDING:
            yield from self._fire(config, "start", level="open")
            yield from self._fire(config, "cancel", is_operator=True)
        elif run == RunState.PAUSED:
            yield from self._fire(config, "resume", is_operator=True)
        elif run == RunState.FAILED:
            yield from self._fire(config, "cancel", is_operator=True)
            yield from self._fire(
                config, "retry", is_operator=True, level="open", path=None, left=None, has_finally=False
            )
        elif run in (RunState.RUNNING, RunState.CANCELLING):
            yield from self._go_on(config)
            yield from self._try_to_end(config)
        if run == RunState.RUNNING:
            yield from self._fire(config, "pause", is_operator=True)
        if run in (RunState.RUNNING, RunState.PAUSED):
            yield from self._cancel(config)
        if run in (RunState.RUNNING, RunState.PAUSED, RunState.FAILED):
            yield from self._fire(config, "quarantine", is_operator=True)

    def _go_on(self, config: Config) -> Iterator[Step]:
        if config.left is None:
            yield from self._level_goes_on(config)
        elif config.left:
            yield from self._handle(config, config.left[0])
        elif config.path is not None:
            yield from self._fire(config, _END_OF[config.path])

    def _level_goes_on(self, config: Config) -> Iterator[Step]:
        ends = self._main.ends
        match config.level:
            case "open" | "hurt":
                if config.level == "open" and self._main.hurt is not None:
                    yield (), attrs.evolve(config, level="hurt"), False
                if config.level == "open" and "completed" in ends:
                    yield from self._unwind(attrs.evolve(config, level="completed", path="completing"))
                    if self._definition.outputs:
                        yield from self._unwind(attrs.evolve(config, level="completed", path="failing"))
                if "failed" in ends:
                    yield from self._unwind(attrs.evolve(config, level="failed", path="failing"))
                if self._definition.timeout is not None and "cut" in ends:
                    yield ("(the timeout of the run)",), attrs.evolve(config, level="cut", path="failing"), True
            case "cut":
                yield from self._unwind(attrs.evolve(config, level="gone"))

    def _unwind(self, config: Config) -> Iterator[Step]:
        left = tuple(name for name in _HANDLERS[config.path or "failing"] if name in self._handlers)
        lines = ("run.unwind",) if left else ()
        yield lines, attrs.evolve(config, left=left), False

    def _handle(self, config: Config, name: str) -> Iterator[Step]:
        self.begins.setdefault(name, self.trace(config))
        handler, left = self._handlers[name], (config.left or ())[1:]
        after = attrs.evolve(config, left=left, has_finally=config.has_finally or name == "@finally")
        for end in ("completed", "failed"):
            if end in handler.ends:
                fails = end == "failed" and name == "@finally" and config.path == "completing"
                yield handler.ends[end], attrs.evolve(after, path="failing") if fails else after, False

    def _cancel(self, config: Config) -> Iterator[Step]:
        if config.left is not None or config.level == "cut":
            yield from self._fire(config, "cancel", is_operator=True, path="cancelling")
        elif "cut" in self._main.ends:
            yield from self._fire(config, "cancel", is_operator=True, level="cut", path="cancelling")

    def _try_to_end(self, config: Config) -> Iterator[Step]:
        """Ends that the table has to refuse, for steps are open, failed or under way."""
        opened, failed, alive = _COUNTS[config.level]
        if config.run == RunState.RUNNING and (opened or failed):
            yield from self._fire(config, "complete", must=False)
        if alive:
            yield from self._fire(config, "fail" if config.run == RunState.RUNNING else "settle", must=False)

    def _fire(
        self, config: Config, trigger: str, *, is_operator: bool = False, must: bool = True, **changes: object
    ) -> Iterator[Step]:
        opened, failed, alive = _COUNTS[config.level]
        cursor = SimpleNamespace(
            state=config.run, open_steps=opened, failed_steps=failed, alive_steps=alive, unwinding=None
        )
        edge = self._rules.run_edge(config.run, trigger, cursor)
        if edge is not None:
            after = attrs.evolve(config, run=edge.dest, **changes)  # type: ignore[arg-type]  # fields of Config
            yield (f"run.{trigger}",), after, is_operator
        elif must:
            self.broken.setdefault("legal", (*self.trace(config), f"run.{trigger} (refused)"))

    # --- what is judged

    def _judge(self, config: Config) -> None:
        opened, failed, alive = _COUNTS[config.level]
        if config.run == RunState.COMPLETED and failed:
            self.broken.setdefault("honest", self.trace(config))
        if config.run in _ENDED and config.level != "none" and (opened or alive):
            self.broken.setdefault("clean", self.trace(config))
        has_missed = "@finally" in self._handlers and not config.has_finally and config.level != "none"
        if config.run in _ENDED and has_missed:
            self.broken.setdefault("finally", self.trace(config))

    def _find_stuck(self) -> None:
        back: dict[Config, list[Config]] = {}
        for source, target, is_operator in self._edges:
            if not is_operator:
                back.setdefault(target, []).append(source)
        resting = _ENDED | {RunState.PAUSED, RunState.QUARANTINED}
        queue = [config for config in self._found if config.run in resting]
        can_rest = set(queue)
        while queue:
            for source in back.get(queue.pop(), ()):
                if source not in can_rest:
                    can_rest.add(source)
                    queue.append(source)
        for config in self._found:
            if config not in can_rest:
                self.broken.setdefault("rests", self.trace(config))

    # --- how it came about

    def trace(self, config: Config) -> Trace:
        """The history of a configuration, with what happened in the level in its place."""
        chain: list[tuple[Status, Trace]] = []
        place: Config | None = config
        while place is not None:
            before, lines = self._found[place]
            chain.append((place.level, lines))
            place = before
        told: list[str] = []
        has_level = False
        for level, lines in reversed(chain):
            if not has_level and level == "cut":
                told += self._story_of_cut(config.level, lines)
                has_level = True
                continue
            if not has_level and level in ("hurt", "completed", "failed") and config.level not in ("cut", "gone"):
                told += self._story(config.level)
                has_level = True
            told += lines
        return tuple(told)

    def _story(self, level: Status) -> Trace:
        if level == "hurt":
            return self._main.hurt or ()
        return self._main.ends.get(level, ())

    def _story_of_cut(self, level: Status, lines: Trace) -> Trace:
        """The shortest way the level is cut off, with what cut it off; to its end, if it has come to that."""
        story = self._main.ends.get("cut", ())
        cut = story.index(CUT_OFF) if CUT_OFF in story else len(story)
        return (*story[:cut], *lines, *(story[cut + 1 :] if level == "gone" else ()))
