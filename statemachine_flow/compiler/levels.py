"""A level of steps as the checks see it: where it stands, what stands around it, and whether its steps fit together.

What expressions read is for `references` to say, where routes lead for `routes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Final, final

import attrs

from statemachine_flow.compiler.graph import Graph
from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.source import Path
from statemachine_flow.model import END, Input, Step, Verb

#: Names that an expression can begin with -> the keys that are read from each; None where they are not known.
Roots = Mapping[str, Collection[str] | None]

#: Finding one costs a walk through the whole graph.
_MOST_CIRCLES: Final = 10
_MAX_VISITS: Final = attrs.fields(Step).max_visits.default


@final
@attrs.frozen(eq=False)
class Around:
    """What stands around a level."""

    level: Level
    #: The step that holds it; None for handlers, which begin when every step is at rest.
    holder: str | None = None
    #: Whether that step is at rest by then.
    is_over: bool = False


@final
class Level:
    """Steps that stand beside each other.

    Args:
        steps: in the order of the document; bare verbs stand for steps whose own form was refused.
        path: where they stand.
        roots: what expressions of its steps can begin with.
        inputs: of the workflow.
        start: the first step of a level of states.
        around: None for the top of a workflow.
        is_unwinding: whether it belongs to handlers or a compensation, where nothing is compensated.

    Example:
        >>> level = Level((Step(id="a", verb=Verb()),), ("steps",), {}, {})
        >>> level.find("a").id, level.find("b")
        ('a', None)
    """

    __slots__ = ("around", "graph", "has_order", "inputs", "is_unwinding", "path", "roots", "start", "steps")

    def __init__(
        self,
        steps: tuple[Step, ...],
        path: Path,
        roots: Roots,
        inputs: Mapping[str, Input],
        *,
        start: str | None = None,
        around: Around | None = None,
        is_unwinding: bool = False,
    ) -> None:
        self.steps = steps
        self.path = path
        self.roots = roots
        self.inputs = inputs
        self.start = start
        self.around = around
        self.is_unwinding = is_unwinding
        self.graph = Graph(steps)
        #: Whether needs tell for sure who comes before whom; see `check_level`.
        self.has_order = False

    @property
    def is_states(self) -> bool:
        """Whether a token moves through it; else it is a graph."""
        return self.start is not None

    @property
    def start_path(self) -> Path:
        """Where its `start` stands."""
        return (*self.path[:-1], "start")

    def find(self, step_id: str) -> Step | None:
        """The step of this level with that id."""
        index = self.graph.index.get(step_id)
        return None if index is None else self.steps[index]


def check_level(level: Level, problems: Problems) -> None:
    """Check ids, needs and shape of a level, and note whether its order is known."""
    problems.add_level(level.path, level.graph.index)
    if level.around is not None:
        _check_ids(level, level.around, problems)
    if level.start is not None:
        _check_states(level, problems)
    else:
        level.has_order = _check_graph(level, problems)


def _check_ids(level: Level, around: Around, problems: Problems) -> None:
    outer: Level | None = around.level
    while outer is not None:
        for step_id in level.graph.index.keys() & outer.graph.index.keys():
            message = f"the id {shown(step_id)} shadows that of a step further out, which could not be read any more"
            problems.add("definition.name", message, (*level.path, step_id), about_key=True, hint="give it another id")
        outer = outer.around.level if outer.around is not None else None


def _check_states(level: Level, problems: Problems) -> None:
    for step in level.steps:
        path = (*level.path, step.id)
        if step.id == END:
            message = "no step of a level of states is called 'end', which is where its token stops"
            problems.add("definition.name", message, path, about_key=True, hint="give it another id")
        fields = (("needs", step.needs), ("trigger_rule", step.trigger_rule != "all_success"))
        for field in (name for name, is_set in fields if is_set):
            message = f"'{field}' belongs to a graph, and this level has a 'start'"
            hint = "order the steps with `next`"
            problems.add("definition.shape", message, (*path, field), about_key=True, hint=hint)


def _check_graph(level: Level, problems: Problems) -> bool:
    """Check what steps need; the answer is whether it tells for sure who comes before whom."""
    is_sure = True
    for step in level.steps:
        if type(step.verb) is Verb:
            is_sure = False
        if step.needs and not _check_needs(step, level, problems):
            is_sure = False
        if step.next is not None or step.max_visits != _MAX_VISITS:
            is_sure = False
            _refuse_states(step, level, problems)
    for circle in islice(level.graph.cycles(), _MOST_CIRCLES):
        is_sure = False
        message = "steps need each other in a circle: " + " -> ".join([*circle, circle[0]])
        problems.add("definition.cycle", message, (*level.path, circle[0], "needs"), hint="each needs the next")
    return is_sure


def _refuse_states(step: Step, level: Level, problems: Problems) -> None:
    is_handler = level.is_unwinding and level.path[-1] != "steps"
    hint = "order the steps with `needs`" if is_handler else "name the first step in `start`, or use `needs`"
    for field, is_set in (("next", step.next is not None), ("max_visits", step.max_visits != _MAX_VISITS)):
        if is_set:
            message = f"'{field}' belongs to a level of states, and this level has no 'start'"
            problems.add("definition.shape", message, (*level.path, step.id, field), about_key=True, hint=hint)


def _check_needs(step: Step, level: Level, problems: Problems) -> bool:
    known = True
    index = level.graph.index
    for place, need in enumerate(step.needs):
        if need == step.id:
            path = (*level.path, step.id, "needs", place)
            problems.add("definition.cycle", f"step '{step.id}' needs itself", path)
        elif need not in index:
            known = False
            _note_unknown_need(step, place, level, problems)
    if len(set(step.needs)) < len(step.needs):
        twice, _ = Counter(step.needs).most_common(1)[0]
        message = f"step '{step.id}' needs {shown(twice)} more than once"
        path = (*level.path, step.id, "needs", step.needs.index(twice))
        problems.add("definition.duplicate", message, path)
    return known


def _note_unknown_need(step: Step, place: int, level: Level, problems: Problems) -> None:
    need = step.needs[place]
    outer = level.around
    while outer is not None and outer.level.find(need) is None:
        outer = outer.level.around
    if outer is None:
        message, hint = "which does not exist", problems.advise(need, level.graph.index)
    else:
        message = "which is not on its own level"
        hint = f"let '{outer.holder}' need it" if outer.holder else "every step has ended before this one begins"
    path = (*level.path, step.id, "needs", place)
    message = f"step '{step.id}' needs {shown(need)}, {message}"
    problems.add("definition.unknown_step", message, path, hint=hint)
