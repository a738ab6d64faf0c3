"""A workflow as boxes and arrows, level by level, with the states of a run: what every drawing is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Literal

import attrs

from statemachine_flow.model import END, Definition, Step
from statemachine_flow.steps.approval import Approval, Rewind
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.wait import Wait
from statemachine_flow.views.paths import Progress, progress

#: Characters of an expression or a name that a drawing shows.
_LONGEST: Final = 60
EACH: Final = "\u00d7"
AGAIN: Final = "\u21bb"

Shape = Literal["graph", "states"]


@attrs.frozen(kw_only=True)
class Node:
    """A step, or a mark of a level of states."""

    #: The path of the step, see `paths.place_of`; unique in a picture.
    path: str
    #: What it is called in its level.
    name: str
    #: The key of its verb; or `start` or `end`.
    kind: str
    #: None for a mark.
    step: Step | None = None
    progress: Progress | None = None
    #: The steps inside it.
    inside: Level | None = None
    #: Whether it is carried out only on a special occasion.
    is_handler: bool = False
    #: Whether it undoes a step of the same level.
    is_undo: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """What is special about the step, in words."""
        return () if self.step is None else tuple(_marks(self.step))

    @property
    def is_many(self) -> bool:
        """Whether it is carried out once per item."""
        return self.step is not None and (self.step.for_each is not None or bool(self.step.matrix))


@attrs.frozen(kw_only=True)
class Arrow:
    """What follows what."""

    #: Paths of nodes of one level.
    source: str
    target: str
    #: When the way is taken; "" where nothing is to be said.
    label: str = ""
    kind: Literal["need", "route", "undo", "rewind"] = "need"


@attrs.frozen(kw_only=True, slots=False)
class Level:
    """Steps beside each other."""

    #: The key of the document it stands under.
    name: str
    #: The path of the step around it, or the beginning of handlers' paths; "" for the document's own.
    path: str
    shape: Shape
    #: In the order of the document.
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]

    @cached_property
    def by_path(self) -> Mapping[str, Node]:
        """Its nodes by their paths."""
        return {node.path: node for node in self.nodes}

    @cached_property
    def ways(self) -> Mapping[str, Sequence[Arrow]]:
        """The arrows that begin at each node that has any."""
        found: dict[str, list[Arrow]] = {}
        for arrow in self.arrows:
            found.setdefault(arrow.source, []).append(arrow)
        return found


@attrs.frozen(kw_only=True)
class Picture:
    """A whole workflow."""

    name: str
    steps: Level
    #: `on_failure` and `finally`, as far as there are any.
    handlers: tuple[Level, ...] = ()

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that stand in no other."""
        return self.steps, *self.handlers

    def nodes(self) -> Iterator[tuple[Level, Node]]:
        """Every node with its level, a group before what is in it."""
        todo = [(level, node) for level in reversed(self.levels) for node in reversed(level.nodes)]
        while todo:
            level, node = todo.pop()
            yield level, node
            if node.inside is not None:
                todo.extend((node.inside, inner) for inner in reversed(node.inside.nodes))


def picture_of(definition: Definition, states: Mapping[str, str] | None = None) -> Picture:
    """Make the picture of a workflow.

    Args:
        definition: the workflow.
        states: path -> state, for a run.

    Example:
        >>> from statemachine_flow.steps.call import Call
        >>> steps = (Step(id="a", verb=Call(call="f")), Step(id="b", verb=Call(call="f"), needs=("a",)))
        >>> [(arrow.source, arrow.target) for arrow in picture_of(Definition(name="two", steps=steps)).steps.arrows]
        [('a', 'b')]
    """
    found = None if states is None else progress(states)
    handlers = (("on_failure", definition.on_failure), ("finally", definition.finally_))
    return Picture(
        name=definition.name,
        steps=_level("steps", "", definition.steps, definition.start, found),
        handlers=tuple(_level(name, f"@{name}", steps, None, found) for name, steps in handlers if steps),
    )


_States = Mapping[str, Progress] | None


def _level(name: str, path: str, steps: Sequence[Step], start: str | None, states: _States) -> Level:
    prefix = f"{path}/" if path else ""
    nodes: list[Node] = []
    arrows: list[Arrow] = []
    if start is not None:
        nodes.append(Node(path=f"{prefix}@start", name="start", kind="start"))
        arrows.append(Arrow(source=f"{prefix}@start", target=prefix + start, kind="route"))
    for step in steps:
        nodes.append(_node(prefix + step.id, step, states, is_handler=path.startswith("@")))
        if start is None:
            arrows.extend(Arrow(source=prefix + need, target=prefix + step.id) for need in step.needs)
        else:
            arrows.extend(_routes(prefix, step))
        if isinstance(step.verb, Approval) and isinstance(step.verb.approval.on_reject, Rewind):
            back = step.verb.approval.on_reject.rewind_to
            arrows.append(Arrow(source=prefix + step.id, target=prefix + back, label="reject", kind="rewind"))
        if step.compensate is not None:
            undo = _node(f"@compensate/{prefix}{step.id}", step.compensate, states, is_handler=True)
            nodes.append(attrs.evolve(undo, name=f"undo {step.id}", is_undo=True))
            arrows.append(Arrow(source=prefix + step.id, target=undo.path, label="undo", kind="undo"))
    if start is not None:
        nodes.append(Node(path=f"{prefix}@end", name=END, kind="end"))
    shape: Shape = "graph" if start is None else "states"
    return Level(name=name, path=path, shape=shape, nodes=tuple(nodes), arrows=tuple(arrows))


def _node(path: str, step: Step, states: _States, *, is_handler: bool) -> Node:
    inside = None
    if isinstance(step.verb, Group):
        inside = _level("steps", path, step.verb.steps, step.verb.start, states)
    return Node(
        path=path,
        name=step.id,
        kind=step.verb.key,
        step=step,
        progress=None if states is None else states.get(path, None if is_handler else Progress("pending")),
        inside=inside,
        is_handler=is_handler,
    )


def _routes(prefix: str, step: Step) -> Iterator[Arrow]:
    """The ways out of a step; those to the same step are one arrow."""
    labels: dict[str, list[str]] = {}
    for label, target in ways_out(step):
        labels.setdefault(target, []).append(label)
    for target, found in labels.items():
        goal = f"{prefix}@end" if target == END else prefix + target
        yield Arrow(source=prefix + step.id, target=goal, label=" | ".join(filter(None, found)), kind="route")


def ways_out(step: Step) -> Iterator[tuple[str, str]]:
    """The routes of a step in a level of states: when each is taken, in words, and where it leads.

    Example:
        >>> from statemachine_flow.steps.call import Call
        >>> list(ways_out(Step(id="a", verb=Call(call="f"), next={"yes": "b", "default": "end"})))
        [('yes', 'b'), ('default', 'end')]
    """
    if step.next is None:
        yield "", END
    elif isinstance(step.next, str):
        yield "", step.next
    elif isinstance(step.next, Mapping):
        yield from step.next.items()
    else:
        for route in step.next:
            if route.default is not None:
                yield "default", route.default
            else:
                yield short(route.when or ""), route.goto or END


def short(value: Any) -> str:
    """A text of a document, cut to what a drawing has room for."""
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _marks(step: Step) -> Iterator[str]:
    if step.for_each is not None:
        items = step.for_each.items
        yield f"{EACH} {step.for_each.as_} of {short(items if isinstance(items, str) else len(items))}"
    if step.matrix:
        yield f"{EACH} {short(', '.join(step.matrix))}"
    if step.repeat is not None:
        yield f"{AGAIN} until {short(step.repeat.until)}, {step.repeat.max} rounds at most"
    if step.trigger_rule != "all_success":
        yield f"[{step.trigger_rule}]"
    if step.optional:
        yield "optional"
    if step.delivery == "at_most_once":
        yield "at most once"
    if isinstance(step.verb, Wait):
        yield _awaited(step.verb)
    if step.when is not None:
        yield f"when {short(step.when)}"


def _awaited(verb: Wait) -> str:
    wait = verb.wait
    if wait.event is not None:
        return f"for signal '{short(wait.event)}'"
    return f"for {short(wait.for_)}" if wait.for_ is not None else f"until {short(wait.until)}"
